from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import OntologyError
from schemas.ontology import Ontology, Slot, Value, fold_name, nearest
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
    assert nearest("x", []) is None


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
        ({"slots": [{"name": "a", "attribute": "a", "colour": 1}]}, "slots.0.colour"),
        ({"version": 0}, "version"),
        ([], "the file"),
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
