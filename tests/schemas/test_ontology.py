from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import OntologyError
from schemas.folding import fold_name
from schemas.ontology import Ontology, Slot, Value
from tests.annotate.belief_strategies import ONTOLOGY, values

COLOR, PRICE, SLEEVES = ONTOLOGY.slots


@pytest.mark.parametrize("name", ["sleeveLength", "sleeve_length", "Sleeve length", "SLEEVE-LENGTH", "sleeve length "])
def test_a_slot_is_found_however_it_is_spelled(name: str):
    assert ONTOLOGY.find(name) is SLEEVES


def test_a_slot_is_found_by_alias_and_by_attribute_and_its_own_name_comes_first():
    crossed = Ontology(slots=(Slot(name="size", attribute="fit"), Slot(name="fit", attribute="size")))
    assert ONTOLOGY.find("Colour") is COLOR
    assert ONTOLOGY.find("sleeve_length") is SLEEVES
    found = crossed.find("fit")
    assert found is not None
    assert found.attribute == "size"


def test_names_in_any_script_are_told_apart():
    both = Ontology(slots=(Slot(name="色", attribute="a"), Slot(name="サイズ", attribute="b")))
    assert both.find("色") is both.slots[0]
    assert both.find("サイズ") is both.slots[1]
    assert fold_name("!?") != fold_name("??")


def test_an_unknown_slot_names_the_nearest_and_where():
    with pytest.raises(OntologyError, match=r"unknown slot 'colr' \(turn 3\); did you mean 'color'\?"):
        ONTOLOGY.slot("colr", where="turn 3")
    with pytest.raises(OntologyError, match=r"see ontology\.json"):
        ONTOLOGY.slot("zzz")


@pytest.mark.parametrize(
    ("slot", "text", "value", "catalogue_value", "in_catalogue"),
    [
        (COLOR, "RED ", "red", "red", True),
        (COLOR, "Crimson", "red", "red", True),
        (COLOR, "polka-dot,  Blue", "polka-dot, blue", "polka-dot, blue", True),
        (COLOR, "grey", "grey", None, False),
        (COLOR, "teal", "teal", None, False),
        (PRICE, "CHEAP", "cheap", "cheap", True),
        (PRICE, "24.99", "24.99", "cheap", True),
        (PRICE, "$25", "$25", "25-50", True),
        (PRICE, "49,99 euros", "49,99 euros", "25-50", True),
        (PRICE, "50", "50", None, False),
        (PRICE, "-3", "-3", "cheap", True),
        (PRICE, "20 or 30", "20 or 30", None, False),
        (SLEEVES, "long", "long", None, False),
    ],
)
def test_a_value_is_keyed_to_what_the_catalogue_has(slot, text, value, catalogue_value, in_catalogue):
    found = ONTOLOGY.link(slot, text, "dislike")
    assert (found.value, found.catalogue_value, found.in_catalogue) == (value, catalogue_value, in_catalogue)
    assert (found.slot, found.attribute, found.polarity) == (slot.name, slot.attribute, "dislike")


def test_a_number_of_another_measure_lies_in_no_range():
    def found(name: str, edge: float, *texts: str) -> list[bool]:
        ranges = (Value(value="low", high=edge, count=1), Value(value="high", low=edge, count=1))
        slot = Slot(name=name, attribute=name, kind="numeric", values=ranges)
        return [slot.find(text) is not None for text in texts]

    assert found("price", 500, "50", "50 EUR", "50%", "4.5/5", "4 stars") == [True, True, False, False, False]
    assert found("rating", 4.5, "4.5/5", "4 stars", "4.5", "9/10", "90%") == [True, True, True, False, False]
    assert found("review_score", 8, "9/10", "4/5", "90%") == [True, False, False]
    assert found("satisfaction rating", 80, "90%", "4/5") == [True, False]
    assert found("alcohol", 4.5, "5.1 %", "5.1") == [True, True]


@given(st.sampled_from(ONTOLOGY.slots), values)
def test_keying_a_keyed_value_changes_nothing(slot: Slot, text: str):
    once = ONTOLOGY.link(slot, text)
    assert ONTOLOGY.link(slot, once.value) == once


def test_it_comes_back_from_its_file_with_the_same_hash(tmp_path: Path):
    ONTOLOGY.write(tmp_path / "ontology.json")
    read = Ontology.read(tmp_path / "ontology.json")
    assert read == ONTOLOGY
    assert read.sha256() == ONTOLOGY.sha256()
    assert Ontology(version=2, slots=ONTOLOGY.slots).sha256() != ONTOLOGY.sha256()


def colours(*values: Any) -> dict[str, Any]:
    rows = [value if isinstance(value, dict) else {"value": value} for value in values]
    return {"slots": [{"name": "color", "attribute": "color", "values": rows}]}


def prices(*ends: tuple[Any, Any]) -> dict[str, Any]:
    rows = [{"value": f"v{place}", "low": low, "high": high} for place, (low, high) in enumerate(ends)]
    return {"slots": [{"name": "price", "attribute": "price", "kind": "numeric", "values": rows}]}


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            {"slots": [{"name": "color", "attribute": "a"}, {"name": "Colo-r", "attribute": "b"}]},
            "stands for both slot",
        ),
        (
            {"slots": [{"name": "c", "attribute": "a", "values": [{"value": "x"}, {"value": "y", "aliases": ["X"]}]}]},
            "both",
        ),
        ({"slots": [{"name": "a=b", "attribute": "a"}]}, "slots.0.name"),
        ({"slots": [{"name": "!a", "attribute": "a"}]}, "slots.0.name"),
        ({"slots": [{"name": "a", "attribute": "a", "kind": "colour"}]}, "slots.0.kind"),
        ({"slots": [{"name": "a", "attribute": "a", "colour": 1}]}, r"slots\.0\.colour: there is no such field"),
        ({"slots": [{"name": "a", "attribute": "a", "titel": "A"}]}, r"slots\.0\.titel: .* did you mean 'title'\?"),
        (colours("red", " "), r"slots\.0\.values\.1: the value is blank"),
        (colours("red", "blue", "red"), r"slots\.0: .*the value 'red' is there twice, at values\.0 and values\.2"),
        (
            {"slots": [{"name": name, "attribute": "a"} for name in ("color", "size", "color")]},
            r"the slot 'color' is there twice, at slots\.0 and slots\.2",
        ),
        (
            {"slots": [{"name": "a", "attribute": "a"}, {"name": "b", "attribute": "b", "aliases": ["A"]}]},
            r"the name 'A' stands for both slot 'a' and slot 'b', at slots\.0 and slots\.1",
        ),
        (
            colours("red", {"value": "blue", "catalogue": ["navy", "Red"]}),
            r"'Red' stands for both 'red' and 'blue', at values\.0 and values\.1",
        ),
        (prices((None, 40), (30, 60), (60, None)), "ranges 'v0' and 'v1' overlap.*values.0 and values.1"),
        (prices((60, None), (None, 40), (50, 61)), "ranges 'v2' and 'v0' overlap.*values.2 and values.0"),
        (prices((None, 40), (None, 20)), "overlap"),
        (prices((1, 2), (1, 2)), "overlap"),
        (prices((40, 40)), "'v0', at values.0, holds no number: 40 is not below 40"),
        (prices((60, 40)), "holds no number"),
        (prices(("NaN", 40)), r"values\.0\.low"),
        (prices((0, "inf")), r"values\.0\.high"),
        (prices((None, 40)) | {"slots": [prices((None, 40))["slots"][0] | {"kind": "categorical"}]}, "kind is numeric"),
        ({"version": 0}, "version"),
        ([], "not valid: Input should be"),
        ({"decisions": {"size / available_sizes": " "}}, "decisions.size / available_sizes: String should"),
    ],
)
def test_an_ontology_edited_into_something_invalid_says_where(tmp_path: Path, edit, says: str):
    path = tmp_path / "ontology.json"
    path.write_text(json.dumps(edit))
    with pytest.raises(OntologyError, match=says) as problem:
        Ontology.read(path)
    assert "\n" not in str(problem.value)


def test_no_file_and_broken_json_say_what_to_do(tmp_path: Path):
    with pytest.raises(OntologyError, match=r"no such file .* run `semctl import`"):
        Ontology.read(tmp_path / "ontology.json")
    (tmp_path / "ontology.json").write_text("{")
    with pytest.raises(OntologyError, match="not valid JSON"):
        Ontology.read(tmp_path / "ontology.json")


def test_values_of_a_slot_are_distinct_in_spelling():
    with pytest.raises(ValueError, match="'RED' stands for both 'red' and 'RED'"):
        Slot(name="c", attribute="c", values=(Value(value="red"), Value(value="RED")))


def test_ranges_that_touch_leave_gaps_or_have_other_currencies_are_apart():
    rows = prices((None, 40), (40, 60), (80, None))["slots"][0]
    slot = Slot.model_validate(rows)
    assert [found and found.value for found in map(slot.find, ("39.99", "40", "70", "80"))] == ["v0", "v1", None, "v2"]
    euros = [row | {"value": f"{row['value']} EUR", "currency": "EUR"} for row in rows["values"]]
    both = Slot.model_validate(rows | {"values": euros + [row | {"currency": "INR"} for row in rows["values"]]})
    assert both.find("50 EUR") is not both.find("50 INR") is not None


def test_a_range_added_without_a_currency_is_of_the_only_one_that_the_others_have():
    euros = [Value(value="under 40", high=40, currency="EUR"), Value(value="40 to 80", low=40, high=80, currency="EUR")]
    slot = Slot(name="p", attribute="p", kind="numeric", values=(*euros, Value(value="dear", low=80)))
    assert [found and found.value for found in map(slot.find, ("20", "90", "90 EUR"))] == ["under 40", "dear", "dear"]
    with pytest.raises(ValueError, match="ranges 'under 40' and 'cheap' overlap"):
        Slot(name="p", attribute="p", kind="numeric", values=(*euros, Value(value="cheap", low=0, high=30)))


@pytest.mark.parametrize(("key", "more"), [("values", "[]"), ("name", '"old"')])
def test_a_key_written_twice_is_refused_rather_than_half_of_it_lost(tmp_path: Path, key: str, more: str):
    path = tmp_path / "ontology.json"
    ONTOLOGY.write(path)
    path.write_text(path.read_text().replace('"kind": "numeric",', f'"kind": "numeric", "{key}": {more},', 1))
    with pytest.raises(OntologyError, match=rf"'{key}' is there twice in the part 'price'"):
        Ontology.read(path)


def test_an_ontology_written_before_there_were_rules_keeps_its_hash():
    # as hashed by the version before ranges knew currencies and slots their rule
    assert ONTOLOGY.sha256() == "a25d2669ca08524775c4ca3d97ccb85a41b20a98d440400ff62bde980b9269f7"
    assert "rule" not in ONTOLOGY.model_dump_json()


def test_a_file_that_an_editor_began_with_a_byte_order_mark_is_read(tmp_path: Path):
    ONTOLOGY.write(tmp_path / "ontology.json")
    (tmp_path / "ontology.json").write_text((tmp_path / "ontology.json").read_text(), encoding="utf-8-sig")
    assert Ontology.read(tmp_path / "ontology.json") == ONTOLOGY
