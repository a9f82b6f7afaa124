"""``semctl agreement``: what it prints, writes and exits with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from annotate.annotations.annotation import Annotation
from pipeline.cli import _run
from pipeline.workspace import Workspace
from schemas.ontology import Ontology, Slot, Value
from schemas.tables import ANNOTATIONS, write_table
from tests.annotate.agreement.given_answers import annotation
from tests.labelling_corpus import PAYLOADS, dialogue, turn, write_workspace

ONTOLOGY = Ontology(
    slots=(
        Slot(name="color", attribute="color", values=(Value(value="red", count=1), Value(value="blue", count=1))),
        Slot(name="size", attribute="size", values=(Value(value="XL", count=1),)),
        Slot(name="fit", attribute="fit", values=(Value(value="slim", count=1),)),
    )
)
SPLITS = {"d1": "train", "d2": "train", "d3": "valid"}

ANN = {
    "d1": {0: ["color=red"], 2: ["size=XL"]},
    "d2": {0: ["color=blue"], 2: []},
    "d3": {0: ["color=red"], 2: ["drop=color"]},
}
BO = {
    "d1": {0: ["color=red"], 2: ["size=XL"]},
    "d2": {0: ["color=red"], 2: []},
    "d3": {0: ["color=red"], 2: ["drop=color"]},
}


def labelled(workspace: Workspace, annotations: Sequence[Annotation]) -> None:
    rows = [row for each in sorted(annotations, key=lambda a: a.key) for row in each.rows()]
    write_table(workspace.annotations, ANNOTATIONS, rows)


def of(annotator: str, dialogues: Mapping[str, Mapping[int, Sequence[str]]], **more: Any) -> list[Annotation]:
    return [annotation(name, annotator, turns, **more) for name, turns in dialogues.items()]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = write_workspace(
        tmp_path / "shop", [dialogue(name, split=split) for name, split in SPLITS.items()], ontology=ONTOLOGY
    )
    labelled(made, [*of("ann@x", ANN), *of("bo@x", BO)])
    return made


@pytest.fixture
def semctl(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = _run(["-w", str(workspace.root), "agreement", "--bootstrap", "40", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_json_has_the_agreed_keys_and_the_figures_worked_by_hand(semctl: Any):
    code, out, _ = semctl("--json")
    assert code == 0
    found = json.loads(out)
    # color: six units, 12 values: red 5, blue 1, drop 2, nothing 4; one unit differs.
    # expected (144 - 25 - 1 - 4 - 16) / 11 = 98 / 11; size: expected (144 - 4 - 100) / 11 = 40 / 11
    assert found["slots"]["color"]["alpha"] == pytest.approx(1 - 2 * 11 / 98)
    assert found["slots"]["color"]["n"] == 6
    assert found["slots"]["color"]["low"] <= found["slots"]["color"]["alpha"] <= found["slots"]["color"]["high"]
    assert found["overall"]["alpha"] == pytest.approx(1 - 2 * 11 / 138)
    assert {"alpha", "low", "high"} <= found["overall"].keys()
    (pair,) = found["pairs"]
    assert pair["annotators"] == ["ann@x", "bo@x"]
    # color: p_o 5/6; nothing 2*2, red 2*3, drop 1*1: p_e 11/36; with size: 1 - (1) / (6 - 11/6 + 6 - 26/6)
    assert pair["slots"]["color"] == pytest.approx(1 - (1 / 6) / (25 / 36))
    assert pair["kappa"] == pytest.approx(1 - 1 / (6 - 11 / 6 + 6 - 26 / 6))
    assert found["overall"]["f1"]["value"] == pytest.approx(2 * 4 / 10)
    assert found["overall"]["joint_goal_accuracy"]["value"] == pytest.approx(4 / 6)
    assert found["dialogues"][0]["dialogue_id"] == "d2"
    assert found["confusions"][0]["said"] == ["blue", "red"]


def test_a_slot_that_nobody_marks_has_null_and_a_reason(semctl: Any):
    found = json.loads(semctl("--json")[1])
    fit = found["slots"]["fit"]
    assert (fit["alpha"], fit["low"], fit["high"], fit["f1"]["value"]) == (None, None, None, None)
    assert fit["undefined"] == "nobody says anything of it"
    assert list(found["slots"]) == ["color", "size", "fit"], "worst first, those without alpha last"


def test_the_tables_show_slots_worst_first_with_interval_and_word(semctl: Any):
    code, out, _ = semctl()
    assert code == 0
    lines = [re.split(r"\s*[│┃]\s*", line)[1:] for line in out.splitlines() if "│" in line]
    slots = [line for line in lines if line[0] in ("color", "size", "fit")]
    assert [line[0] for line in slots[:3]] == ["color", "size", "fit"]
    assert slots[0][1] == "0.78"
    assert re.fullmatch(r"-?\d\.\d\d to \d\.\d\d", slots[0][2])
    assert slots[0][3] == "tentative"
    assert slots[1][1:4:2] == ["1.00", "good"]
    assert slots[2][1:4:2] == ["-", "undefined"]
    assert "Krippendorff 2004" in out


def test_alpha_below_the_threshold_exits_with_3_and_says_how_far(semctl: Any):
    code, out, err = semctl("--min-alpha", "0.9")
    assert code == 3
    assert "alpha is 0.841, 0.059 below 0.9, 95 % interval" in err
    assert "color" in out
    code, out, err = semctl("--min-alpha", "0.9", "--json")
    assert code == 3
    assert json.loads(out)["check"] == {"min_alpha": 0.9, "held": False}
    assert "0.059 below" in err
    code, out, _ = semctl("--min-alpha", "0.8", "--json")
    assert code == 0
    assert json.loads(out)["check"]["held"] is True


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        (of("ann@x", ANN), "no turn was answered by two people"),
        ([], "no turn was answered by two people"),
        ([*of("ann@x", ANN), *of("corpus", BO)], "no turn was answered by two people"),
        ([*of("ann@x", {"d1": {0: []}}), *of("bo@x", {"d1": {0: []}})], "only one value occurs"),
        ([*of("ann@x", {"d1": {0: ["unsure"]}}), *of("bo@x", {"d1": {0: []}})], "no turn was answered by two people"),
    ],
    ids=["one annotator", "nobody", "one and the corpus", "all say nothing", "unsure"],
)
def test_undefined_alpha_is_null_and_fails_a_threshold(
    semctl: Any, workspace: Workspace, tmp_path: Path, annotations: list[Annotation], reason: str
):
    labelled(workspace, annotations)
    code, out, _ = semctl("--json", "--html", str(tmp_path / "page.html"))
    assert code == 0
    found = json.loads(out)
    assert (found["overall"]["alpha"], found["overall"]["low"], found["overall"]["high"]) == (None, None, None)
    assert reason in found["overall"]["undefined"]
    assert reason in (tmp_path / "page.html").read_text()
    code, _, err = semctl("--min-alpha", "0.67")
    assert code == 3
    assert f"no alpha to hold against 0.67: {reason}" in err


def test_unanimous_answers_are_exactly_one(semctl: Any, workspace: Workspace):
    labelled(workspace, [*of("ann@x", ANN), *of("bo@x", ANN)])
    code, out, _ = semctl("--json", "--min-alpha", "1")
    assert code == 0
    found = json.loads(out)["overall"]
    assert (found["alpha"], found["low"], found["high"], found["f1"]["value"]) == (1.0, 1.0, 1.0, 1.0)


def test_annotators_and_splits_can_be_chosen(semctl: Any, workspace: Workspace):
    labelled(workspace, [*of("ann@x", ANN), *of("bo@x", BO), *of("cy@x", {"d1": {0: ["fit=slim"], 2: []}})])
    everybody = json.loads(semctl("--json")[1])
    assert set(everybody["annotators"]) == {"ann@x", "bo@x", "cy@x"}
    two = json.loads(semctl("--json", "--annotators", "bo@x, ann@x")[1])
    assert set(two["annotators"]) == {"ann@x", "bo@x"}
    assert two["overall"]["alpha"] == pytest.approx(1 - 2 * 11 / 138)
    valid = json.loads(semctl("--json", "--split", "valid")[1])
    assert (valid["overall"]["dialogues"], valid["overall"]["turns"]) == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--annotators", "ann@x"), "--annotators names ann@x only"),
        (("--annotators", "ann@x,bob@x"), "no labels by 'bob@x'; did you mean 'bo@x'?"),
        (("--split", "dev"), "no split 'dev'; take one of train, valid, test"),
        (("--distance", "cosine"), "no distance 'cosine'; take one of nominal, masi"),
        (("--html", "/nowhere/that/is/page.html"), "cannot write the page"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    semctl: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
):
    if arguments[0] == "--html":

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pipeline.reports.agreement_report.write_atomic", refuse)
    code, _, err = semctl(*arguments)
    assert code == 2
    assert message in " ".join(err.split())


def test_answers_to_what_is_no_longer_there_are_counted(semctl: Any, workspace: Workspace):
    more = [*of("ann@x", {"gone": {0: []}}), *of("bo@x", {"gone": {0: []}}), *of("cy@x", {"d1": {9: []}})]
    labelled(workspace, [*of("ann@x", ANN), *of("bo@x", BO), *more])
    code, out, _ = semctl("--json")
    assert code == 0
    assert json.loads(out)["left_out"] == {
        "dialogues no longer in the corpus": 1,
        "answers to turns no longer in the corpus": 1,
    }


def test_nothing_ingested_yet_names_the_command(semctl: Any, workspace: Workspace):
    workspace.annotations.unlink()
    code, _, err = semctl()
    assert code == 2
    assert f"semctl -w {workspace.root} ingest-labels" in err


def test_a_newer_answer_of_the_same_annotator_counts(semctl: Any, workspace: Workspace):
    newer = annotation("d2", "ann@x", ANN["d2"] | {0: ["color=red"]}, updated_at="2026-02-01")
    labelled(workspace, [*of("ann@x", ANN), newer, *of("bo@x", BO)])
    assert json.loads(semctl("--json")[1])["overall"]["alpha"] == 1.0


# --- the page

PAGE = ["html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "nav", "a", "div", "span", "b", "bdi"]
TERMS = ["dl", "dt", "dd"]
TABLE = ["table", "thead", "tbody", "tr", "th", "td"]
SVG = ["svg", "line", "circle", "polygon", "text", "title"]


class MarkupSeen(HTMLParser):
    """What a browser would take for markup."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.targets += [value or "" for name, value in attrs if name in ("href", "xlink:href")]


def payload_workspace(root: Path) -> Workspace:
    rows = []
    for index, payload in enumerate(PAYLOADS):
        rows.append(
            [
                turn(0, "user", f"{payload} \x00\x1b[31m", dialogue=f"p{index}"),
                turn(1, "system", payload, dialogue=f"p{index}"),
            ]
        )
    rows.append(
        [
            turn(0, "user", "x", dialogue="d"),
            turn(1, "system", PAYLOADS[0], dialogue="d"),
            turn(2, "user", "y", dialogue="d"),
        ]
    )
    made = write_workspace(root, rows, ontology=ONTOLOGY)
    first, second = "<b>ann</b>", "bo\"onload='1"
    given = []
    for index, payload in enumerate(PAYLOADS):
        given += [
            annotation(f"p{index}", first, {0: [f"color={payload}"]}),
            annotation(f"p{index}", second, {0: ["color=red"]}),
        ]
    given += [annotation("d", first, {2: [f"fit={PAYLOADS[1]}"]}), annotation("d", second, {2: []})]
    labelled(made, given)
    return made


def test_the_page_escapes_every_text_and_names_no_other_resource(tmp_path: Path):
    made = payload_workspace(tmp_path / "shop<script>")
    page = tmp_path / "page.html"
    assert _run(["-q", "-w", str(made.root), "agreement", "--bootstrap", "0", "--html", str(page)]) == 0
    text = page.read_text()
    seen = MarkupSeen()
    seen.feed(text)
    assert seen.tags <= {
        *[
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "h1",
            "h2",
            "h3",
            "p",
            "nav",
            "a",
            "div",
            "span",
            "b",
            "bdi",
            "dl",
            "dt",
            "dd",
        ],
        *TERMS,
        *TABLE,
        *SVG,
    }
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert seen.attributes.isdisjoint({"src", "srcdoc", "style", "action"})
    assert all(target.startswith("#") for target in seen.targets)
    assert "&lt;script&gt;window.fired = 1&lt;/script&gt;" in text
    assert not re.search(r"url\(|@import|http-equiv=\"refresh", text)
    assert "\x00" not in text
    assert "\x1b" not in text


def test_the_page_shows_worst_dialogues_with_both_answers_and_their_turns(semctl: Any, tmp_path: Path):
    page = tmp_path / "page.html"
    code, _, err = semctl("--html", str(page))
    assert code == 0
    assert "written:" in err
    text = page.read_text()
    dialogues = text[text.index("Dialogues agreed on least</h2>") : text.index("How it was counted</h2>")]
    assert "Dialogue d2" in dialogues
    assert "I want red 0" in dialogues
    assert 'class="chip apart">color: blue' in dialogues
    assert 'class="chip apart">color: red' in dialogues
    assert "Dialogue d1" not in dialogues, "all agree on it"
    assert text.count("<svg") > 5
    before = text
    semctl("--html", str(page))
    assert page.read_text() == before


def test_a_verdict_stands_beside_the_answers(semctl: Any, workspace: Workspace, tmp_path: Path):
    labelled(workspace, [*of("ann@x", ANN), *of("bo@x", BO), *of("boss@x", {"d2": {0: ["color=blue"]}}, role="review")])
    page = tmp_path / "page.html"
    code, out, _ = semctl("--html", str(page), "--json")
    assert code == 0
    against = {each["annotators"][0]: each["same"]["value"] for each in json.loads(out)["verdicts"]}
    assert against == {"ann@x": 1.0, "bo@x": 0.0}
    assert 'class="ruling"' in page.read_text()
    assert "against the verdicts" in page.read_text()
