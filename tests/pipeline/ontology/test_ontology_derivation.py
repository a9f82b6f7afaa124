"""Slots and values derived from small catalogues worked out by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.catalogue import Catalogue
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.records import ProductRecord
from pipeline.corpus.slots import CorpusSlots
from pipeline.ontology.derivation import AttributeCounts, CorpusSlot, derive_ontology, grown, ranges
from schemas.ontology import Ontology, Slot, Value


def counted(products: list[dict[str, tuple[str, ...]]]) -> AttributeCounts:
    counts = AttributeCounts()
    for product in products:
        counts.add(product)
    return counts


SHIRTS = [
    {
        "type": ("shirt",) if i % 2 else ("Dress",),
        "color": (("red", "blue", "Red", "gray")[i % 4],),
        "sku": (f"s{i}",),
        "motto": (f"a long text that nobody would ever ask for, number {i % 3}, really",),
        "serial": (f"n{i}",),
        "country": ("nowhere",),
        "price": (str(10 * (i + 1)),),
        "neck_style": (("v_neck", "crew_neck")[i % 2],),
    }
    for i in range(60)
]


def test_the_category_comes_first_and_useless_attributes_are_left_out() -> None:
    ontology = derive_ontology(counted(SHIRTS))
    assert [slot.name for slot in ontology.slots] == ["type", "color", "price", "neck_style"]
    assert [slot.title for slot in ontology.slots] == ["Type", "Color", "Price", "Neck style"]


def test_values_are_merged_by_spelling_counted_and_said_in_other_ways() -> None:
    ontology = derive_ontology(counted(SHIRTS))
    assert ontology.slot("color").values == (
        Value(value="Red", count=30),
        Value(value="blue", count=15),
        Value(value="gray", count=15, aliases=("grey",)),
    )
    assert ontology.slot("neck_style").values[0] == Value(value="crew_neck", count=30, aliases=("crew neck",))
    assert ontology.link(ontology.slot("color"), "GREY").catalogue_value == "gray"


def test_prices_become_ranges_of_equal_counts_at_round_edges() -> None:
    # 10, 20 ... 600: quartiles at 160, 310, 460, rounded to a step of 50 (a twentieth of 590, made round)
    price = derive_ontology(counted(SHIRTS)).slot("price")
    assert [(value.value, value.low, value.high, value.count) for value in price.values] == [
        ("under 150", None, 150.0, 14),
        ("150 to 300", 150.0, 300.0, 15),
        ("300 to 450", 300.0, 450.0, 15),
        ("450 and over", 450.0, None, 16),
    ]
    assert price.kind == "numeric"
    found = price.find("$299")
    assert found is not None
    assert found.value == "150 to 300"


@given(st.lists(st.floats(0, 1e6).map(lambda x: round(x, 2)), min_size=1, max_size=60), st.booleans())
def test_ranges_hold_every_number_exactly_once(numbers: list[float], money: bool) -> None:
    found = ranges(Counter(map(str, numbers)), money=money)
    assert sum(value.count for value in found) == len(numbers)
    slot = Slot(name="price", attribute="price", kind="numeric", values=tuple(found))
    for number in numbers:
        inside = [v for v in found if (v.low is None or number >= v.low) and (v.high is None or number < v.high)]
        assert [slot.find(format(number, ".2f"))] == inside


def test_corpus_slots_are_named_as_the_corpus_names_them_and_none_is_lost() -> None:
    slots = [
        CorpusSlot("colors", "color", ("colors", "main colour"), {"red": 9}),
        CorpusSlot("types", "type", ("types",), {"shirt": 2}),
        CorpusSlot("mood", "mood", ("mood",), {"gloomy": 1, "happy": 4}),
        CorpusSlot("serial", "serial", ("serial",), {"n1": 1}),
        CorpusSlot("price", "price", ("price",), {"cheap": 3, "dear": 1, "20": 8}),
    ]
    ontology = derive_ontology(counted(SHIRTS), corpus_slots=slots)
    assert [slot.name for slot in ontology.slots][:3] == ["types", "price", "colors"]
    assert {slot.name for slot in ontology.slots} == {"types", "price", "colors", "mood", "serial", "neck_style"}
    assert ontology.slot("main colour").attribute == "color"
    assert ontology.slot("color").name == "colors"
    assert [(v.value, v.count) for v in ontology.slot("mood").values] == [("happy", 0), ("gloomy", 0)]
    words = [v.value for v in ontology.slot("price").values if v.low is None and v.high is None]
    assert words == ["cheap"]
    assert ontology.link(ontology.slot("price"), "cheap").in_catalogue is False


def test_a_slot_finds_its_attribute_by_table_then_name_then_values() -> None:
    slots = CorpusSlots(["available_sizes", "color", "hem_length", "flavour"])
    for name in ("sizes", "Colour", "hemLengths", "taste", "mood", "materials >> upper (shoes)", ">>", "a=b"):
        slots.count(name)
    slots.count("sizes")
    assert slots.key("sizes") == "available_sizes"
    assert slots.key("materials >> upper (shoes)") == slots.key("material") == "material"
    assert slots.key("!") == ""
    slots.say("taste", ["Sweet", "sweet", "salty"])
    slots.say("mood", ["gloomy", "sweet", "happy"])
    assert slots.attribute_of({"flavour": ["sweet", "sour"], "color": ["red"]}) == {
        "available_sizes": "available_sizes",
        "color": "color",
        "hem_length": "hem_length",
        "taste": "flavour",
        "mood": None,
        "material": None,
        "ab": None,
    }
    assert slots.name_of("color") == "Colour"


def test_names_for_one_thing_become_one_under_the_sources_own_name() -> None:
    own = frozenset({"pattern", "sleeve_length"})
    records = [
        ProductRecord(
            f"p{i}",
            attributes={
                "style": (pattern,),
                "sleeves": ("long",),
                "pattern": (pattern,),
                "sleeve_length": ("long",),
                "hemLengths": ("a", pattern),
                "hem_length": (pattern,),
            },
            own=own,
        )
        for i, pattern in enumerate(["plain", "striped", "plain"])
    ]
    catalogue = Catalogue(records, Ledger())
    assert catalogue.aliases == {"pattern": ("style",)}  # one value everywhere proves nothing of sleeves
    assert set(catalogue.products[0].attributes) == {"pattern", "sleeves", "sleeve_length", "hem_length"}
    assert catalogue.products[0].attributes["hem_length"] == ("a", "plain")


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        # stars, and how many gave some; on sale, and sold; for the fuller figure, and a code
        (("4.5", "3", "4"), ("1203", "3", "880"), False),
        (("yes", "no", "yes"), ("100", "101", "102"), False),
        (("no", "yes", "no"), ("yes", "no", "no"), False),
        # singular and plural of one thing, also where products have only one of them
        (("red", "blue", "red"), ("Red", "blue", "red"), True),
        (("red", "", "blue"), ("", "red", ""), True),
        (("36", "", "38"), ("", "36", ""), True),
        (("red", "", "blue"), ("", "cotton", ""), False),
        # of numbers, some are the same by chance
        (("5", "4", "", "", ""), ("", "", "5", "812", "96"), False),
    ],
)
def test_singular_and_plural_are_one_attribute_where_their_values_overlap(
    one: tuple[str, ...], other: tuple[str, ...], is_one: bool
) -> None:
    records = [
        ProductRecord(
            f"p{i}", attributes={name: (v,) for name, v in (("mark", a), ("marks", b)) if v} | {"kind": ("x",)}
        )
        for i, (a, b) in enumerate(zip(one, other, strict=True))
    ]
    catalogue = Catalogue(records, Ledger())
    if is_one:
        (name,) = set(catalogue.attributes) - {"kind"}
        assert [{value.casefold() for value in p.attributes.get(name, ())} for p in catalogue.products] == [
            {value.casefold() for value in (a, b) if value} for a, b in zip(one, other, strict=True)
        ]
    else:
        assert [(p.attributes.get("mark", ("",)), p.attributes.get("marks", ("",))) for p in catalogue.products] == [
            ((a,), (b,)) for a, b in zip(one, other, strict=True)
        ]
        slots = CorpusSlots(catalogue.attributes)
        assert [slots.key(name) for name in ("Mark", "MARKS", "mark_s")] == ["mark", "marks", "marks"]


def test_names_spelled_alike_in_one_product_are_merged_and_counted() -> None:
    ledger = Ledger()
    records = [
        ProductRecord("p1", attributes={"hemLength": ("a",), "hem_length": ("b",), "c+": ("x",), "c#": ("y",)}),
        ProductRecord("p2", attributes={"hem_length": ("b",)}),
    ]
    first, second = Catalogue(records, ledger).products
    assert first.attributes == {"hem_length": ("a", "b"), "c+": ("x",), "c#": ("y",)}
    assert second.attributes == {"hem_length": ("b",)}
    assert ledger.dropped() == {"product_keys/merged_into_one_spelled_alike": 1}


def test_growing_adds_and_never_takes_away() -> None:
    counts = counted(SHIRTS)
    derived = derive_ontology(counts)
    assert grown(derived, derived, counts) == derived
    edited = Ontology(
        version=3,
        slots=(
            Slot(name="kind", attribute="type", values=(Value(value="dress", count=1), Value(value="robe"))),
            Slot(
                name="price",
                attribute="price",
                kind="numeric",
                values=(Value(value="cheap", high=100), Value(value="dear", low=100)),
            ),
        ),
    )
    result = grown(edited, derived, counts)
    assert result.version == 4
    assert [slot.name for slot in result.slots] == ["kind", "price", "color", "neck_style"]
    kind = {value.value: value.count for value in result.slot("kind").values}
    assert kind == {"dress": 30, "robe": 0, "shirt": 30}
    assert result.slot("type").name == "kind"
    assert [(v.value, v.count) for v in result.slot("price").values] == [("cheap", 9), ("dear", 51)]
    assert grown(result, derived, counts) == result


def test_shoe_sizes_stay_the_sizes_that_people_say() -> None:
    shoes = [{"size": (str(36 + i % 11), ("37,5", "37.5")[i % 2])} for i in range(22)]
    size = derive_ontology(counted(shoes)).slot("size")
    numbers = [str(n) for n in range(36, 47)]
    assert [value.value for value in size.values] == ["36", "37", "37,5", *numbers[2:]]
    assert size.kind == "categorical"
    assert size.rule == "numbers as products have them: only 12 different numbers"
    half = size.find("37.50")
    assert half is not None
    assert (half.count, half.catalogue, half.catalogue_value) == (22, ("37,5", "37.5"), "37,5")
    assert Ontology(slots=(size,)).link(size, "99").in_catalogue is False


def test_capacities_with_a_unit_are_found_however_they_are_spaced() -> None:
    phones = [{"storage": (f"{2**i} GB",), "color": ("red",)} for i in range(4, 10)]
    storage = derive_ontology(counted(phones)).slot("storage")
    assert [value.value for value in storage.offered] == ["16 GB", "32 GB", "64 GB", "128 GB", "256 GB", "512 GB"]
    assert storage.rule == ""
    found = storage.find("128gb")
    assert found is not None
    assert found.value == "128 GB"
    assert storage.find("128") is None
    assert storage.find("128 MB") is None


def test_measures_become_ranges_though_nearly_all_are_different_and_numbers_of_records_do_not() -> None:
    bags = [{"weight": (str(150 + i * i),), "style_no": (str(80_000 + i * i),)} for i in range(60)]
    ontology = derive_ontology(counted(bags))
    assert [slot.name for slot in ontology.slots] == ["weight"]
    weight = ontology.slots[0]
    assert weight.kind == "numeric"
    assert weight.rule.endswith("60 different numbers without regular steps")
    assert len(weight.values) == 4


def test_a_slot_keeps_its_kind_when_the_catalogue_grows() -> None:
    few = counted([{"size": (str(36 + i),)} for i in range(8)])
    many = counted(
        [{"size": (str(36 + i),)} for i in range(8)] + [{"size": (f"{60 + 7.3 * i:.1f}",)} for i in range(8)]
    )
    sizes = derive_ontology(few)
    after = grown(sizes, derive_ontology(many), many)
    assert derive_ontology(many).slot("size").kind == "numeric"
    assert after.slot("size").kind == "categorical"
    assert [value.value for value in after.slot("size").values][:9] == [*map(str, range(36, 44)), "60"]
    cut = (Value(value="small", high=40), Value(value="large", low=40))
    edited = Ontology(slots=(Slot(name="size", attribute="size", kind="numeric", values=cut),))
    recounted = grown(edited, sizes, few)
    assert [(value.value, value.count) for value in recounted.slot("size").values] == [("small", 4), ("large", 4)]
    assert grown(recounted, sizes, few) == recounted


def test_one_number_written_in_two_ways_stays_one_value_when_the_catalogue_grows() -> None:
    counts = counted([{"size": ("42",)}, {"size": ("42.0",)}, {"size": ("43",)}])
    ontology = derive_ontology(counts)
    assert [(v.value, v.count, v.catalogue) for v in ontology.slot("size").values] == [
        ("42", 2, ("42", "42.0")),
        ("43", 1, ()),
    ]
    assert grown(ontology, ontology, counts) == ontology


def test_two_numbers_in_one_are_values_of_their_own_except_in_ratings() -> None:
    sizes = [f"{waist}/{length}" for waist in (28, 30, 32) for length in (30, 32, 34)]
    jeans = derive_ontology(counted([{"size": (size,), "stars": (f"{i % 5 + 1}/5",)} for i, size in enumerate(sizes)]))
    assert [value.value for value in jeans.slot("size").values] == sizes
    assert jeans.slot("size").rule == ""
    assert jeans.slot("size").find("32/30") is not jeans.slot("size").find("32/32")
    assert jeans.slot("size").find("32") is None
    assert [value.value for value in jeans.slot("stars").values] == ["1/5", "2/5", "3/5", "4/5", "5/5"]


def test_whole_numbers_that_a_program_wrote_as_decimals_are_called_as_people_say_them() -> None:
    counts = counted([{"size": (f"{36 + i % 3}.0",), "belt": (f"{36 + i % 3 / 2:.1f}",)} for i in range(9)])
    ontology = derive_ontology(counts)
    size = ontology.slot("size")
    assert next((v.value, v.count, v.catalogue) for v in size.values) == ("36", 3, ("36.0",))
    assert [size.find(text) is size.values[0] for text in ("36", "36.0", "36,0")] == [True, True, True]
    assert ontology.link(size, "36").catalogue_value == "36.0"
    assert [value.value for value in ontology.slot("belt").values] == ["36", "36.5", "37"]
    assert grown(ontology, ontology, counts) == ontology
