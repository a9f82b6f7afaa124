from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.corpus.catalogue import Catalogue, price_of
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.records import ProductRecord
from pipeline.ontology.derivation import AttributeCounts, derive_ontology, grown
from schemas.ontology import Ontology, Slot


def product(number: int, price: object = None, currency: str | None = None, source: str = "shop", **attributes: str):
    amount, text = price_of(price)
    given = {name: (value,) for name, value in attributes.items()} | ({"price": (text,)} if text else {})
    return ProductRecord(
        f"p{number:03}", attributes=given, price=amount, price_text=text, currency=currency, source=source
    )


def catalogue(records: Sequence[ProductRecord]) -> tuple[list[Any], Catalogue, dict[str, Any]]:
    ledger = Ledger()
    made = Catalogue(records, ledger)
    ledger.check()
    rows = [(one.price, one.currency, one.attributes.get("price")) for one in made.products]
    return rows, made, ledger.as_json()


def ontology_of(made: Catalogue) -> Ontology:
    return derive_ontology(counts_of(made))


def counts_of(made: Catalogue) -> AttributeCounts:
    counts = AttributeCounts()
    for one in made.products:
        counts.add(one.attributes, one.currency)
    return counts


def price_slot(made: Catalogue) -> Slot:
    return ontology_of(made).slot("price")


@pytest.mark.parametrize(
    ("written", "price", "currency", "attribute"),
    [
        ("39,90 \u20ac", 39.9, "EUR", "39.9"),
        ("1.299,00", 1299, None, "1299"),
        ("1.299", 1299, None, "1299"),
        ("1\u202f299,00 \u20ac", 1299, "EUR", "1299"),
        ("Rs. 1,29,999/-", 129999, "Rs", "129999"),
        (24.125, 24.125, None, "24.1250"),
        (0, 0, None, "0"),
        ("12.50", 12.5, None, "12.5"),
    ],
)
def test_prices_are_read(written: object, price: float, currency: str | None, attribute: str):
    rows, _, ledger = catalogue([product(1, written)])
    assert rows == [(price, currency, (attribute,))]
    assert ledger["prices"] == {"in": 1, "kept": 1, "dropped": {}}


@pytest.mark.parametrize(
    ("written", "named", "reason"),
    [
        ("$24.99 - $39.99", None, "not_a_price"),
        ("on request", None, "not_a_price"),
        ("1.250", "KWD", "price_may_be_one_of_two"),
        ("39,90 \u20ac", "USD", "price_in_another_currency_than_named"),
        (float("inf"), None, "not_a_price"),
    ],
)
def test_what_is_no_price_is_counted_and_kept_as_it_is_written(written: object, named: str | None, reason: str):
    rows, made, ledger = catalogue([product(1, written, named), product(2)])
    assert rows[0][0] is None
    assert rows[0][2] == (price_of(written)[1],)
    assert ledger["prices"] == {"in": 1, "kept": 0, "dropped": {reason: 1}}
    assert made.currencies == {}


@pytest.mark.parametrize("written", [-1.0, "-5", "\u2212$5"])
def test_a_price_below_zero_is_counted_and_in_no_range(written: object):
    rows, made, ledger = catalogue([product(1, written), *(product(10 + i, 20.0 + i) for i in range(8))])
    assert rows[0] == (None, None, None)
    assert ledger["prices"]["dropped"] == {"price_below_zero": 1}
    assert sum(value.count for value in price_slot(made).values) == 8


def test_a_column_tells_its_decimal_mark_and_each_source_its_own():
    here = [product(1, "24.125", source="a"), product(2, "19.99", source="a")]
    there = [product(3, "24.125", source="b"), product(4, "19,99", source="b")]
    rows, _, _ = catalogue(here + there)
    assert [price for price, _, _ in rows] == [24.125, 19.99, 24125, 19.99]


def test_a_sign_stands_for_the_only_currency_of_its_kind_that_is_named():
    rows, made, _ = catalogue([product(1, "$20"), product(2, 30.0, "cad"), product(3, "40 $", "CAD")])
    assert [currency for _, currency, _ in rows] == ["CAD", "CAD", "CAD"]
    assert made.currencies == {"CAD": 3}
    rows, _, _ = catalogue([product(1, "$20"), product(2, 30.0, "CAD"), product(3, 40.0, "USD")])
    assert [currency for _, currency, _ in rows] == ["$", "CAD", "USD"]


def test_two_currencies_never_share_a_range():
    euros = [product(i, 20.0 + i, "EUR") for i in range(8)]
    rupees = [product(10 + i, f"Rs. {1800 + 100 * i}") for i in range(6)]
    unnamed = [product(30, 25.0)]
    rows, made, _ = catalogue([*euros, *rupees, *unnamed])
    assert made.currencies == {"EUR": 8, "Rs": 6, "unknown": 1}
    assert rows[0] == (20.0, "EUR", ("20 EUR",))
    slot = price_slot(made)
    assert {value.currency for value in slot.values} == {"EUR", "Rs"}
    assert sum(value.count for value in slot.values if value.currency == "EUR") == 8
    assert sum(value.count for value in slot.values if value.currency == "Rs") == 6
    for written, currency in (("25 EUR", "EUR"), ("\u20ac 5.000", "EUR"), ("25 INR", "Rs"), ("Rs. 2,000", "Rs")):
        found = slot.find(written)
        assert found is not None
        assert found.currency == currency
        assert currency in found.value
    assert slot.find("25") is None  # of which currency?
    assert slot.find("$25") is None


def test_a_price_in_another_currency_is_keyed_to_no_range_of_a_catalogue_in_one():
    _, made, _ = catalogue([product(i, 20.0 + i, "EUR") for i in range(8)])
    slot = price_slot(made)
    assert all("EUR" not in value.value for value in slot.values)
    assert slot.find("25") is not None
    assert slot.find("25 euros") is not None
    assert slot.find("25 dollars") is None
    assert slot.find("1,299") is slot.find("1299")


def test_ranges_that_people_keep_are_joined_by_those_of_a_second_currency():
    _, first, _ = catalogue([product(i, 20.0 + i, "EUR") for i in range(8)])
    before = ontology_of(first)
    both = [*(product(i, 20.0 + i, "EUR") for i in range(8)), *(product(10 + i, 2000.0 + i, "INR") for i in range(6))]
    _, second, _ = catalogue(both)
    after = grown(before, ontology_of(second), counts_of(second)).slot("price")
    old = before.slot("price").values
    assert after.values[: len(old)] == old
    assert {value.currency for value in after.values[len(old) :]} == {"INR"}
    assert sum(value.count for value in after.values[len(old) :]) == 6


@pytest.mark.parametrize(
    ("beside", "text", "number"),
    [
        (["3", "7", "1,204"], "1,203", "1203"),
        (["0,5", "2,25"], "1,203", "1.2030"),
        (["0,5", "2,25"], "1.203", "1203"),
        (["0.5", "2.25"], "1,203", "1203"),
    ],
)
def test_other_columns_of_numbers_tell_how_to_read_theirs(beside: list[str], text: str, number: str):
    records = [product(i, reviews=value) for i, value in enumerate([text, *beside])]
    _, made, ledger = catalogue(records)
    assert made.products[0].attributes["reviews"] == (number,)
    assert not ledger["attribute_numbers"]["dropped"]


def test_columns_that_do_not_tell_are_counted_and_left_alone():
    records = [product(i, reviews=value) for i, value in enumerate(["1,203", "1,204", "1,205"])]
    words = [product(10 + i, model=value) for i, value in enumerate(["1.203", "XR 7", "Z"])]
    _, made, ledger = catalogue([*records, *words])
    assert [one.attributes.get("reviews") for one in made.products[:3]] == [("1,203",), ("1,204",), ("1,205",)]
    assert made.products[3].attributes["model"] == ("1.203",)
    assert ledger["attribute_numbers"] == {"in": 3, "kept": 0, "dropped": {"number_may_be_one_of_two": 3}}


def test_whole_numbers_typed_with_a_mark_are_thousands():
    _, made, _ = catalogue([product(i, reviews=str(3 + 70 * i), kind="ab"[i % 2]) for i in range(40)])
    slot = ontology_of(made).slot("reviews")
    assert slot.whole
    assert slot.find("1,203") is slot.find("1.203") is slot.find("1203")
