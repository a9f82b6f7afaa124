"""How tables fit a terminal: words whole, long names broken at their joints, columns without room below the others."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as RichConsole

from pipeline import console as console_module
from pipeline.console import Bar, Console
from pipeline.table_layout import Part, Texts, fit, wrapped


def shown(monkeypatch: pytest.MonkeyPatch, width: int, *table: object) -> list[str]:
    """The lines that a console of this width prints."""
    out = io.StringIO()
    monkeypatch.setattr(console_module, "_Pipe", lambda **_: RichConsole(file=out, width=width, emoji=False))
    Console().table(*table)  # type: ignore[arg-type]
    return out.getvalue().splitlines()


def test_a_table_with_room_is_one_part_as_wide_as_its_texts():
    assert fit([Texts("slot", ("color",)), Texts("times", ("3",))], 80, 3, len) == [Part((0, 1), (5, 5))]


def test_cells_are_broken_between_words_before_columns_go_below():
    # 4 and 50 characters in 30, of which 3 a column are borders: 30 - 6 - 4 = 20 are left for the text
    text = "one two three four five six seven eight nine tenth"
    assert fit([Texts("", ("slot",)), Texts("what", (text,))], 30, 3, len) == [Part((0, 1), (4, 20))]


def test_columns_that_do_not_fit_follow_beside_the_first_again():
    numbers = [Texts(f"NDCG@{k}", ("63.72",)) for k in (5, 10, 20)]
    # name 10 + 3, then 6 + 3, 7 + 3: 32 of 35; the last, 7 + 3, does not fit
    assert fit([Texts("", ("popularity",)), *numbers], 35, 3, len) == [
        Part((0, 1, 2), (10, 6, 7)),
        Part((0, 3), (10, 7)),
    ]


def test_a_short_cell_stays_on_one_line():
    (part,) = fit([Texts("95 %", ("0.78 to 0.85",)), Texts("", ("a b c d e f g h i j k l m n",))], 30, 3, len)
    assert part.widths == (12, 12)


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("wants type=coat", 10, ["wants", "type=coat"]),
        ("contradicts_recommendation", 16, ["contradicts_", "recommendation"]),
        ("owner@semctl.local", 12, ["owner@", "semctl.local"]),
        ("  owner@semctl.local", 14, ["  owner@", "semctl.local"]),
        ("-12.75 and 3.5", 6, ["-12.75", "and", "3.5"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("first\nsecond", 10, ["first", "second"]),
        ("", 5, [""]),
    ],
)
def test_where_a_text_is_broken(text: str, width: int, lines: list[str]):
    assert wrapped(text, width, len).split("\n") == lines


@given(st.text(alphabet="ab _/@=.", max_size=40), st.integers(1, 12))
def test_wrapping_loses_nothing_and_keeps_to_the_width(text: str, width: int):
    lines = wrapped(text, width, len).split("\n")
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(len(line.rstrip()) <= width for line in lines)


def test_no_number_is_broken_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch):
    columns = ["", *(f"{name}@{k}" for k in (5, 10, 20) for name in ("P", "R", "NDCG")), "±"]
    lines = shown(monkeypatch, 80, "figures", columns, [["semantic", *[22.75] * 9, 5.25], ["popularity", *[1.25] * 10]])
    assert max(map(len, lines)) <= 80
    assert "".join(lines).count("22.75") == 9
    assert "".join(lines).count("NDCG@") == 3
    assert [line for line in lines if "popularity" in line][1].count("1.25") >= 1


def test_a_title_is_not_broken_by_a_narrow_table_and_a_table_without_headings_has_none(monkeypatch: pytest.MonkeyPatch):
    assert shown(monkeypatch, 80, "since the last ingest", ("", ""), [("new", 1)]) == [
        "since the last ingest",
        "┌─────┬───┐",
        "│ new │ 1 │",
        "└─────┴───┘",
    ]


def test_a_drawing_is_never_broken(monkeypatch: pytest.MonkeyPatch):
    rows = [["somebody@example.org", "a project with a long name", Bar(1, 0, 2), "12/144", "many words here"]]
    lines = shown(monkeypatch, 60, "progress", ["annotator", "project", "tasks", "turns", "finish"], rows)
    assert any("━" * 8 + "  50 %" in line for line in lines)
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize(("total", "counted"), [(150, "120/150"), (None, "120")])
def test_a_bar_counts_and_its_note_does_not_take_its_place(
    monkeypatch: pytest.MonkeyPatch, total: float | None, counted: str
):
    out = io.StringIO()
    made = [RichConsole(file=io.StringIO()), RichConsole(file=out, width=80, force_terminal=True, color_system=None)]
    monkeypatch.setattr(console_module, "_Pipe", lambda **_: made.pop(0))
    with Console().task("training", total) as task:
        task.advance(120, note="epoch 1, and what else is worth knowing of it while it lasts")
    last = [line for line in out.getvalue().replace("\r", "\n").split("\n") if "epoch 1" in line][-1]
    assert f" {counted} " in last
    assert "?" not in last
    assert last.index(counted) - last.index("training") == len("training ") + 24 + len(" ")
    assert len(last.rstrip()) <= 80 + len("\x1b[2K")
