"""CSV files that people and programs get wrong: each is read as it was meant, or refused with line and remedy."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.csv_files import CsvTable, read_csv
from schemas.errors import CorpusError


def table(folder: Path, content: str | bytes) -> CsvTable:
    path = folder / "products.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv(path)


def refused(folder: Path, content: str | bytes) -> str:
    with pytest.raises(CorpusError) as raised:
        table(folder, content)
    assert raised.value.fix
    return str(raised.value)


ROWS = [f"k-{n},lamp {n},{n}0" for n in range(1, 9)]


def spoiled(**lines: str) -> str:
    """Eight products in lines 2 to 9, some of them replaced."""
    rows = ["sku,name,watts", *ROWS]
    for number, line in lines.items():
        rows[int(number.removeprefix("line")) - 1] = line
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (spoiled(line4='k-3,"lamp 3,30'), "line 4"),
        (spoiled(line4='k-3,"lamp 3,30', line7='k-6,"lamp 6,60'), "lines 4 to 7"),
        (spoiled(line4='k-3,"lamp 3,30', line7='k-6,lamp 6",60'), "line 4 makes line 5 part of a cell"),
        (spoiled(line4='k-3,"lamp 3,30', line5='k-4,lamp 4",40'), "line 4 makes line 5 part of a cell"),
        (spoiled(line9='k-8,lamp 8,"80'), "line 9"),
        (spoiled(line4='k-3,"lamp" 3,30'), "line 4"),
        (spoiled(line1='sku,"name,watts'), "line 1"),
    ],
)
def test_a_quotation_mark_too_few_never_swallows_a_product(tmp_path: Path, content: str, said: str) -> None:
    assert said in refused(tmp_path, content)


def test_whole_quotes_keep_commas_line_breaks_and_quotation_marks(tmp_path: Path) -> None:
    read = table(tmp_path, 'sku,text\nk-1,"Soft, warm\nand ""light"", too"\nk-2, "a, b"\nk-3,a 24" screen\n')
    assert read.rows == [
        (2, ["k-1", 'Soft, warm\nand "light", too']),
        (4, ["k-2", "a, b"]),
        (5, ["k-3", 'a 24" screen']),
    ]


def test_a_line_of_a_description_is_no_row_because_it_has_a_comma(tmp_path: Path) -> None:
    assert len(table(tmp_path, 'sku,text\nk-1,"Two colours:\nred, blue"\nk-2,plain\n').rows) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sku;name;price\nk-1;a;3,50\n", "semicolons (;) between cells"),
        ("sku\tname\nk-1\ta\n", "tabs between cells"),
        ("sku|name\nk-1|a\n", "bars (|) between cells"),
        ("sep=;\nsku;name\n", "semicolons (;) between cells"),
        ("sku,name\nk-1,Größe\n".encode("cp1252"), "probably Windows-1252"),
        ("sku,name\nk-1,Größe\n".encode("utf-16"), "UTF-16"),
        ("sku,name\nk-1,a\n".encode("utf-16-le"), "UTF-16"),
        ("sku,name\nk-1,платье\n".encode("cp1251"), "another encoding"),
        (b"PK\x03\x04\x00\x00\xff", "a spreadsheet"),
        (b"\x1f\x8b\x08\x00\xff", "compressed"),
    ],
)
def test_another_delimiter_or_encoding_is_told_by_name(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert said in refused(tmp_path, content)


def test_the_line_with_the_first_letter_of_another_encoding_is_named(tmp_path: Path) -> None:
    assert "line 3" in refused(tmp_path, b"sku,name\nk-1,plain\nk-2,Gr\xf6\xdfe\n")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_byte_order_mark_and_blank_lines_do_not_matter(tmp_path: Path, end: str) -> None:
    read = table(tmp_path, "\ufeff" + end.join(["sku,name", "", "k-1,a", ",", "k-2,b"]))
    assert read.header == ("sku", "name")
    assert read.rows == [(3, ["k-1", "a"]), (5, ["k-2", "b"])]


@pytest.mark.parametrize("header", ["colour,Colour", "hem length,hem_length", "sleeveLength,Sleeve Length", " a ,a"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, header: str) -> None:
    assert "columns 2 and 3" in refused(tmp_path, f"sku,{header}\nk-1,x,y\n")


def test_columns_without_a_name_are_left_out_when_nothing_is_lost(tmp_path: Path) -> None:
    read = table(tmp_path, ",Unnamed: 0,sku,name,\n0,5,k-1,a,\n1,6,k-2,b,\n")
    assert read.header == ("sku", "name")
    assert read.rows == [(2, ["k-1", "a"]), (3, ["k-2", "b"])]
    assert read.left_out == (
        "column 1 (no name, an index)",
        "column 2 (no name, an index)",
        "column 5 (no name, nothing in it)",
    )
    assert "line 3" in refused(tmp_path, "sku,,name\nk-1,,a\nk-2,blue,b\n")


def test_rows_of_another_length_are_told_apart(tmp_path: Path) -> None:
    read = table(tmp_path, "sku,name,price\nk-1,a,1\nk-2,b\nk-3,c,3,4\nk-4,d,4,,\n")
    assert read.ragged == [(3, 2), (4, 4)]
    assert [cells for _, cells in read.rows] == [["k-1", "a", "1"], ["k-4", "d", "4"]]
    with pytest.raises(CorpusError, match=r"fewer cells than columns: 2.*line 3.*empty cell"):
        list(read.fitting(tmp_path))


def test_what_pandas_did_to_whole_numbers_and_truth_values_is_undone_by_column(tmp_path: Path) -> None:
    read = table(tmp_path, "sku,size,rating,sale,usb\n00123,38.0,4.0,True,2.0\n1e5,,4.5,False,2.0 mini\n123,40.0,,,\n")
    assert [cells for _, cells in read.rows] == [
        ["00123", "38", "4.0", "yes", "2.0"],
        ["1e5", "", "4.5", "no", "2.0 mini"],
        ["123", "40", "", "", ""],
    ]


def test_the_header_of_a_second_file_is_no_product(tmp_path: Path) -> None:
    assert "the header again (" in refused(tmp_path, "sku,name\nk-1,a\nsku , name\nk-2,b\n")


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    assert "the file is empty" in refused(tmp_path, content)


CELLS = st.text(st.sampled_from('ab "\n,;é')).map(str.strip)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_what_was_written_as_csv_is_read_the_same(rows: list[list[str]]) -> None:
    numbered = [[f"k-{n}", *row] for n, row in enumerate(rows)]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["sku", "one", "two", "three"], *numbered])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.csv"
        path.write_text(buffer.getvalue(), newline="")
        assert [cells for _, cells in read_csv(path).rows] == numbered


@given(st.integers(0, 7), st.integers(0, 7), st.integers(0, 2), st.booleans())
@settings(max_examples=200, deadline=None)
def test_forgotten_quotation_marks_lose_nothing(one: int, other: int, column: int, at_the_end: bool) -> None:
    """One or two quotation marks anywhere before or after a cell: every row is there, or the file is refused."""
    rows = [row.split(",") for row in ROWS]
    for place in {one, other}:
        cell = rows[place][column]
        rows[place][column] = f'{cell}"' if at_the_end and place == max(one, other) else f'"{cell}'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.csv"
        path.write_text("\n".join(["sku,name,watts", *map(",".join, rows)]) + "\n")
        with contextlib.suppress(CorpusError):
            assert len(read_csv(path).rows) == len(ROWS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sku^name^watts\nk-1^lamp^30\n", "line 1); save it with commas"),
        ("sku，name，watts\nk-1，lamp，30\n", "full-width commas between cells"),
        ("sku,name\nk-1,la\0mp\n", "a zero byte within the text (PATH, line 2)"),
        ('sku,name\nk-1,"' + "x" * 200_000 + '"\n', "a cell of more than 131,072 characters"),
        ("sku,Name,name\nk-1,a,b\n", "columns 2 and 3 (PATH, line 1)"),
    ],
)
def test_every_error_names_what_it_is_and_the_line(tmp_path: Path, content: str, said: str) -> None:
    assert said.replace("PATH", str(tmp_path / "products.csv")) in refused(tmp_path, content)


def test_digits_kept_from_a_spreadsheet_as_a_formula_are_digits(tmp_path: Path) -> None:
    read = table(tmp_path, 'sku,name\n"=""00123""",lamp\n="7","=A1"\n')
    assert read.rows == [(2, ["00123", "lamp"]), (3, ["7", "=A1"])]


def test_what_is_not_seen_around_a_cell_is_no_part_of_it(tmp_path: Path) -> None:
    read = table(tmp_path, "\u200bsku\u200b,name\n\ufeffk-1\u00a0,\u200e lamp \u200f\n")
    assert (read.header, read.rows) == (("sku", "name"), [(2, ["k-1", "lamp"])])
