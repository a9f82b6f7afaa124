from __future__ import annotations

from pathlib import Path

import pytest

from annotate.annotations.annotation import Mark
from annotate.checks.catalogue import CatalogueIndex
from annotate.checks.findings import CODES, SEVERITIES, codes_of
from annotate.checks.values import Spellings
from schemas.errors import UsageError
from schemas.ontology import Ontology, Slot, Value
from tests.checked_labels import annotation, findings, told, wants


def of_value(folder: Path, slot: str, value: str, **more) -> list[tuple]:
    return told(findings(folder, annotation(*wants(0, slot, value), Mark(2, "none"), Mark(4, "none")), **more))


def test_values_that_products_have_are_no_finding(tmp_path: Path):
    for slot, value in (("type", "Dress"), ("color", "red"), ("price", "24.99"), ("price", "under 25"), ("size", "s")):
        assert of_value(tmp_path, slot, value) == []


def test_a_value_nobody_knows_is_not_in_the_catalogue(tmp_path: Path):
    assert of_value(tmp_path, "color", "teal") == [("value_not_in_catalogue", 0, "color", "teal")]


def test_a_value_that_products_have_and_the_ontology_lacks_says_so(tmp_path: Path):
    narrow = Ontology(slots=(Slot(name="color", attribute="color", values=(Value(value="red", count=1),)),))
    catalogue = CatalogueIndex(narrow)
    catalogue.add("1", {"color": ["Teal"]})
    (found,) = findings(
        tmp_path, annotation(*wants(0, "color", "teal")), ontology=narrow, catalogue=catalogue, says=["x"]
    )
    assert found.code == "value_not_in_catalogue"
    assert found.detail == "1 products have 'teal', but the ontology does not know it"


def test_a_number_that_may_be_one_of_two_and_a_price_in_another_currency_are_told(tmp_path: Path):
    heights = (Value(value="under 2", high=2, count=1), Value(value="2 and over", low=2, count=1))
    prices = tuple(
        Value(value=value, low=low, high=high, count=1, currency="EUR")
        for value, low, high in (("under 500", None, 500), ("500 and over", 500, None))
    )
    shop = Ontology(
        slots=(
            Slot(name="height", attribute="height", kind="numeric", values=heights),
            Slot(name="price", attribute="price", kind="numeric", values=prices),
        )
    )
    catalogue = CatalogueIndex(shop)
    catalogue.add("1", {"height": ["1.5"], "price": ["600"]})
    said = [*wants(0, "height", "1,299"), *wants(2, "price", "$600"), *wants(4, "price", "1.299 euros")]
    found = findings(tmp_path, annotation(*said), ontology=shop, catalogue=catalogue)
    assert told(found) == [("ambiguous_number", 0, "height", "1,299"), ("value_not_in_catalogue", 2, "price", "$600")]
    assert found[1].detail == "price=$600 is in no currency that the catalogue's ranges are in"


@pytest.mark.parametrize(
    ("slot", "typed", "meant"),
    [
        ("color", "blakc", "black"),
        ("color", "Lightblue", "light blue"),
        ("color", "light-blue", "light blue"),
        ("type", "dresses", "dress"),
        ("color", "light", "light blue"),
        ("color", "crimsom", "red"),
        ("color", "faded red", "red"),
    ],
)
def test_a_slip_is_near_the_value_meant(tmp_path: Path, slot: str, typed: str, meant: str):
    assert of_value(tmp_path, slot, typed) == [("near_miss", 0, slot, typed, f"{slot}={meant}")]


def test_several_values_in_one_are_all_suggested(tmp_path: Path):
    found = of_value(tmp_path, "color", "red and black")
    assert found == [("near_miss", 0, "color", "red and black", "color=black, color=red")]


def test_short_texts_and_other_numbers_are_near_nothing(tmp_path: Path):
    assert of_value(tmp_path, "size", "L") == [("value_not_in_catalogue", 0, "size", "L")]
    assert of_value(tmp_path, "price", "under 35") == [("value_not_in_catalogue", 0, "price", "under 35")]
    assert of_value(tmp_path, "price", "least cheap") == [("value_not_in_catalogue", 0, "price", "least cheap")]


def test_a_value_of_another_slot_is_suggested_there(tmp_path: Path):
    assert of_value(tmp_path, "type", "light blue") == [("wrong_slot", 0, "type", "light blue", "color=light blue")]
    assert of_value(tmp_path, "type", "crimson") == [("wrong_slot", 0, "type", "crimson", "color=red")]


def test_a_word_of_another_slot_that_no_product_has_is_neither_suggested_nor_a_slip(tmp_path: Path):
    assert of_value(tmp_path, "type", "winter") == [("value_not_in_catalogue", 0, "type", "winter")]
    plaid = Slot(name="pattern", attribute="pattern", values=(Value(value="plaid", count=1),))
    style = Slot(name="style", attribute="style", values=(Value(value="plain"),))
    assert Spellings(Ontology(slots=(plaid, style))).suggest("pattern", "plain") is None
    assert str(Spellings(Ontology(slots=(plaid,))).suggest("pattern", "plain")) == "pattern=plaid"


def test_of_several_near_values_the_commonest_is_suggested():
    values = (Value(value="gold", count=1), Value(value="bold", count=3), Value(value="cold", count=2))
    spellings = Spellings(Ontology(slots=(Slot(name="s", attribute="s", values=values),)))
    assert str(spellings.suggest("s", "told")) == "s=bold"


def test_an_alias_is_linked_and_told(tmp_path: Path):
    assert of_value(tmp_path, "color", "Crimson") == [("alias_used", 0, "color", "Crimson", "red")]


def test_a_known_word_without_a_product_is_told_apart_from_an_unknown_one(tmp_path: Path):
    assert of_value(tmp_path, "price", "cheap") == [("without_product", 0, "price", "cheap")]
    assert of_value(tmp_path, "season", "summer") == [("without_product", 0, "season", "summer")]


def test_values_to_be_avoided_are_checked_too(tmp_path: Path):
    found = findings(tmp_path, annotation(Mark(0, "dislike", "color", "teal")), says=["x"])
    assert told(found) == [("value_not_in_catalogue", 0, "color", "teal")]
    assert found[0].annotators == ("user:1",)
    assert found[0].annotation_ids == ("a",)


def test_a_value_in_dispute_is_no_label_and_no_finding(tmp_path: Path):
    one = annotation(*wants(0, "color", "teal"))
    other = annotation(*wants(0, "color", "red"), name="b", by="user:2")
    assert told(findings(tmp_path, one, other, says=["x"])) == []


def test_a_value_marked_both_ways_is_an_error(tmp_path: Path):
    marks = [*wants(0, "color", "red"), Mark(0, "dislike", "color", "crimson")]
    found = findings(tmp_path, annotation(*marks, by="corpus"), says=["x"])
    assert ("wanted_and_disliked", 0, "color", "red") in told(found)


def test_two_spellings_of_one_range_held_both_ways_are_an_error_where_it_begins(tmp_path: Path):
    marks = [*wants(0, "price", "24"), Mark(2, "dislike", "price", "under 25"), Mark(4, "none")]
    assert told(findings(tmp_path, annotation(*marks))) == [("wanted_and_disliked", 2, "price", "under 25")]


def test_a_change_of_mind_is_no_contradiction(tmp_path: Path):
    marks = [*wants(0, "color", "red"), Mark(2, "dislike", "color", "red"), *wants(4, "color", "red")]
    assert told(findings(tmp_path, annotation(*marks))) == []


def test_dropping_what_is_not_held_is_told(tmp_path: Path):
    marks = [*wants(0, "color", "red"), Mark(2, "drop", "color"), Mark(4, "drop", "color")]
    assert told(findings(tmp_path, annotation(*marks))) == [("dropped_nothing", 4, "color")]


def test_dropping_what_is_unknown_or_goes_with_the_topic_is_no_finding(tmp_path: Path):
    marks = [Mark(0, "unsure"), Mark(2, "drop", "color"), Mark(4, "drop", "size"), Mark(4, "new_topic")]
    assert [code for code, *_ in told(findings(tmp_path, annotation(*marks)))] == ["unsure"]


def test_every_code_has_a_severity_a_meaning_and_a_remedy():
    assert list(SEVERITIES) == sorted(SEVERITIES, key=[check.severity for check in CODES.values()].index)
    assert all(name == check.code and check.meaning and check.remedy for name, check in CODES.items())


def test_codes_are_named_by_themselves_or_by_severity():
    assert codes_of(["near_miss", "error"]) == {*("near_miss", "quarantined", "line_refused", "wanted_and_disliked")}
    assert codes_of(["all"]) == set(CODES)
    assert codes_of(["none"]) == codes_of([]) == frozenset()
    with pytest.raises(UsageError, match="did you mean 'near_miss'"):
        codes_of(["nearmiss"], where="--requeue")


def test_checks_need_no_values_to_compare_with(tmp_path: Path):
    bare = Ontology(slots=(Slot(name="color", attribute="color"),))
    found = findings(tmp_path, annotation(*wants(0, "color", "red")), ontology=bare, catalogue=CatalogueIndex(bare))
    assert [finding.code for finding in found] == ["without_product", "missing_window"]
