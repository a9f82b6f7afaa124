"""Whatever is done to a corpus, the ledger adds up, candidates stay apart, and texts survive."""

from __future__ import annotations

import json
import math
import random
import string
import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.catalogue import price_of
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.corpus.parsing import NotJsonError, as_text, parse_json, snake_case, split_values
from pipeline.corpus.records import MergedTurns, Utterance
from pipeline.workspace import Workspace
from schemas.errors import CorpusError
from schemas.folding import fold_name
from schemas.tables import PRODUCTS, RECOMMENDATIONS, TURNS, read_table

URLS = [f"http://x.invalid/{i}.jpg" for i in range(6)]

junk = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just([]), st.just({}))
references = st.lists(st.one_of(st.sampled_from([*URLS, "http://x.invalid/none.jpg"]), junk), max_size=6)
slot_values = st.dictionaries(
    st.sampled_from(["color", "colors", "type", "Brand", "mood", ""]), st.one_of(st.text(max_size=8), junk), max_size=4
)
informable = st.fixed_dictionaries(
    {"slot": st.lists(st.sampled_from(["colors", "types >> a (b)"]), max_size=1), "values": st.lists(junk, max_size=2)},
    optional={"sentiment": st.sampled_from([["Like"], ["Dislike"], [], None])},
)
states = st.one_of(
    st.builds(lambda v: {"dst": {"slot_values": v}}, slot_values),
    st.builds(lambda v, r: {"ds": {"informable": v, "requestable": r}}, st.lists(informable, max_size=3), junk),
    st.builds(lambda v: {"ds": v}, junk),
    st.just({}),
)
utterances = st.builds(
    lambda speaker, said, state: {"speaker": speaker, "utterance": said, **state},
    st.sampled_from(["user", "system", "user", "system", "nobody", None]),
    st.one_of(
        junk,
        st.fixed_dictionaries(
            {}, optional={"nlg": st.one_of(st.text(), junk), "images": references, "false images": references}
        ),
    ),
    states,
)
elements = st.recursive(st.one_of(utterances, junk), lambda inner: st.lists(inner, max_size=3), max_leaves=6)
dialogues = st.lists(elements, max_size=8)


def write_corpus(root: Path, files: list[list[Any]], damage: list[bool], seed: int) -> None:
    rng = random.Random(seed)
    (root / "products").mkdir(parents=True)
    (root / "dialogues/train").mkdir(parents=True)
    for i, url in enumerate(URLS[:4]):
        record = {"id": f"p{i}", "color": rng.choice("abc"), "type": "dress", "image_filename": url}
        (root / f"products/{i}.json").write_text(json.dumps(record))
    (root / "url2img.txt").write_text("".join(f"{url} {i}.jpg\n" for i, url in enumerate(URLS)))
    for i, (dialogue, damaged) in enumerate(zip(files, damage, strict=True)):
        content = bytearray(json.dumps(dialogue).encode())
        if damaged:
            for _ in range(rng.randint(1, 3)):
                place = rng.randrange(len(content) + 1)
                content[place : place + rng.randint(0, 3)] = rng.choice([b"", b"{", b'"', b"\xff", b"]"])
        (root / f"dialogues/train/{i}.json").write_bytes(bytes(content))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(dialogues, st.booleans()), min_size=1, max_size=4), st.integers(0, 2**20))
def test_the_ledger_adds_up_whatever_is_done_to_the_files(files: list[tuple[list[Any], bool]], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root / "corpus", [d for d, _ in files], [b for _, b in files], seed)
        workspace = Workspace(root / "work")
        try:
            report = import_corpus(workspace, ImportRequest(root / "corpus", "mmd"))
        except CorpusError as problem:
            assert "none of the dialogues can be used" in str(problem)  # noqa: PT017
            assert not workspace.root.exists()
            return
        ledger = report.ledger.as_json()
        for line in ledger.values():
            assert line["in"] == line["kept"] + sum(line["dropped"].values())
        assert ledger["dialogues"]["in"] == len(files)
        turns = read_table(workspace.turns, TURNS).to_pylist()
        recommendations = read_table(workspace.recommendations, RECOMMENDATIONS).to_pylist()
        known = set(read_table(workspace.products, PRODUCTS)["product_id"].to_pylist())
        assert len(turns) == ledger["turns"]["kept"]
        assert len(turns) == ledger["utterances"]["kept"] - sum(ledger["turns"]["dropped"].values())
        assert len(recommendations) == report.recommendation_turns
        for first, second in pairwise(turns):
            if first["dialogue_id"] == second["dialogue_id"]:
                assert second["turn"] == first["turn"] + 1
                assert second["speaker"] != first["speaker"]
        for row in recommendations:
            assert row["positives"]
            assert row["negatives"]
            both = [*row["positives"], *row["negatives"]]
            assert len(both) == len(set(both))
            assert set(both) <= known
        kept = {"positives": 0, "negatives": 0}
        for row in recommendations:
            for side in kept:
                kept[side] += len(row[side])
        assert kept == {side: ledger.get(side, {"kept": 0})["kept"] for side in kept}


@given(st.lists(st.tuples(st.sampled_from(["user", "system"]), st.text(string.ascii_letters, min_size=1))))
def test_merging_alternates_speakers_and_keeps_every_word_in_order(said: list[tuple[Any, str]]) -> None:
    merged = MergedTurns()
    for speaker, text in said:
        merged.add(Utterance(speaker, text=text))
    assert all(a != b for a, b in pairwise(merged.speakers))
    assert " ".join(merged.texts) == " ".join(text for _, text in said)
    assert merged.utterances == len(said)


@given(st.text())
def test_texts_are_one_line_and_cleaning_twice_changes_nothing(text: str) -> None:
    once = as_text(text)
    assert "\n" not in once
    assert as_text(as_text(once)) == as_text(once)


@given(st.text(string.ascii_letters + "_ 颜é", max_size=20))
def test_snake_case_keeps_the_folded_name(name: str) -> None:
    if snake_case(name):
        assert fold_name(snake_case(name)) == fold_name(name)
    assert snake_case(snake_case(name)) == snake_case(name)


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_are_refused_in_one_way(content: bytes) -> None:
    with suppress(NotJsonError):
        parse_json(content)


def test_deep_json_is_refused_without_a_crash() -> None:
    for depth in (2_000, 200_000):
        with suppress(NotJsonError):
            parse_json(b"[" * depth + b"]" * depth)


def test_values_split_at_commas_but_not_in_brands_and_numbers() -> None:
    assert split_values("color", "black, white ,, black") == ("black", "white")
    assert split_values("brand", "Smith, Jones") == ("Smith, Jones",)
    assert split_values("price", "1,299") == ("1,299",)
    assert split_values("sizes", "['S', 'XL']") == ("S", "XL")
    assert split_values("sizes", ["S", None, "unk", 4.0, True]) == ("S", "4", "yes")
    assert split_values("sizes", {"a": 1}) == ()


def test_a_comma_within_a_number_is_no_comma_of_a_list() -> None:
    assert split_values("size", "36,38") == ("36", "38")
    assert split_values("size", "36,5") == ("36,5",)  # sizes are listed from small to large
    assert split_values("waist", "1,299 mm, 1,350 mm") == ("1,299 mm", "1,350 mm")
    assert split_values("cost", "39,90 \u20ac") == ("39,90 \u20ac",)
    assert split_values("price", "1.299,00") == ("1.299,00",)
    assert split_values("price", "$1,299 - $1,499") == ("$1,299 - $1,499",)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("15,6 inches", ("15,6 inches",)),
        ("10,5 x 20,5 cm", ("10,5 x 20,5 cm",)),
        ("0,75 l, 1,5 l", ("0,75 l", "1,5 l")),
        ("1,25", ("1,25",)),
        ("XS,S,36,38", ("XS", "S", "36", "38")),
        ("36,38,40 EU", ("36", "38", "40 EU")),
        ("1.5,2.5", ("1.5", "2.5")),
        ("80% wool,20% silk", ("80% wool", "20% silk")),
    ],
)
def test_decimals_with_units_stay_whole_and_lists_do_not(text: str, values: tuple[str, ...]) -> None:
    assert split_values("capacity", text) == values


def test_a_number_becomes_a_text_that_reads_in_one_way() -> None:
    assert split_values("weight", 1.125) == ("1.1250",)
    assert split_values("weight", [0.125, 24.5, 3]) == ("0.125", "24.5", "3")
    assert price_of(None, "n/a", 1.125) == (1.125, "1.1250")
    assert price_of(float("nan"), True, " 39,90  \u20ac ") == (None, "39,90 \u20ac")
    assert price_of(None, "", {}) == (None, "")


def test_a_number_beyond_all_bounds_is_no_number() -> None:
    digits = "1" + "0" * 400
    assert price_of(10**400) == (None, digits)
    assert price_of(-math.inf) == (None, "-inf")
    assert parse_json(f"[{digits}, -{digits}, {2**64}]".encode()) == [None, None, 2.0**64]
    assert parse_json(f"[{digits}]".encode(), long_numbers=True) == [10**400]
