from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.modelling.product_filter import FilterError, ProductFilters, read_filter
from schemas.errors import Excerpt
from schemas.ontology import Ontology, Slot, Value
from semantic_model.data.records import Product

ONTOLOGY = Ontology(
    slots=(
        Slot(
            name="color",
            attribute="color",
            aliases=("shade",),
            values=(
                Value(value="red", count=2, aliases=("crimson",)),
                Value(value="light blue", count=1),
                Value(value="black and white", count=1),
            ),
        ),
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            values=(
                Value(value="under 40", count=2, high=40),
                Value(value="40 and over", count=2, low=40),
                Value(value="cheap"),
            ),
        ),
        Slot(name="sleeveLength", attribute="sleeve_length", values=(Value(value="long", count=1),)),
        Slot(name="shoeSize", attribute="shoe_size", values=(Value(value="37.5", count=1), Value(value="40", count=1))),
    )
)


def product(name: str, price: float | None = None, currency: str | None = "EUR", **attributes: str) -> Product:
    said = {key: tuple(text.split("/")) for key, text in attributes.items()}
    if price is not None:
        said["price"] = (str(price),)
    return Product(name, name, name, said, None, None, "", price, None if price is None else currency)


PRODUCTS = (
    product("a", 19.9, color="Red", gender="women", sleeve_length="long", shoe_size="37,5"),
    product("b", 40.0, color="crimson/Light Blue", gender="men", weight="300"),
    product("c", 99.5, color="black and white", gender="Women", weight="250.5"),
    product("d", gender="women and men"),
)


def names(text: str, products: tuple[Product, ...] = PRODUCTS) -> str:
    mask = ProductFilters(products, ONTOLOGY).mask(text)
    return "".join(each.product_id for each, fits in zip(products, mask, strict=True) if fits)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("color = red", "ab"),  # an alias in the catalogue
        ("COLOR = Crimson", "ab"),  # and in the filter
        ("shade=red", "ab"),  # a name of the slot
        ("color = light blue", "b"),
        ("color = 'black and white'", "c"),
        ('color = "black and white" or color = “light blue”', "bc"),
        ("color != red", "cd"),  # what has none, too
        ("not color = red", "cd"),
        ("not not color = red", "ab"),
        ("color in (red, light blue)", "ab"),
        ("color not in (red, 'black and white')", "d"),
        ("sleeve length = long", "a"),
        ("sleeve_length = LONG", "a"),
        ("gender = women", "ac"),  # no slot of the ontology
        ("gender = 'women and men'", "d"),
        ("price < 40", "a"),
        ("price <= 40", "ab"),
        ("price ≤ '40,00'", "ab"),
        ("price > 40", "c"),
        ("price >= 99.50", "c"),
        ("price = 40", "b"),
        ("price <> 40", "acd"),
        ("price = 40.00 EUR", "b"),
        ("price < 40 USD", ""),
        ("price = under 40", "a"),  # a range by its name
        ("price = '40 and over'", "bc"),
        ("price = cheap", ""),  # a word that nobody's price is
        ("price in (19.9, 99.5)", "ac"),
        ("weight < 300", "c"),
        ("weight = 300", "b"),
        ("weight = 300.0", "b"),
        ("shoe size = 37.5", "a"),  # as the ontology reads it
        ("shoeSize < 40", "a"),
        ("product_id in (a, d)", "ad"),
        # "and" binds closer than "or"
        ("color = red or color = light blue and price > 1000", "ab"),
        ("(color = red or color = light blue) and price > 1000", ""),
        ("color=red and(price<20)", "a"),
        ("gender = women and price < 50", "a"),
    ],
)
def test_what_a_filter_lets_through(text: str, expected: str):
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "word", "message"),
    [
        ("colour = red", "colour", r"no product has an attribute 'colour'.*did you mean 'color'\?"),
        ("zzz = red", "zzz", r"there are color, price, sleeveLength, shoeSize, product_id, gender, weight"),
        ("color = rde", "rde", r"no product has color 'rde'.*did you mean 'red'\?"),
        (
            "price < 50 and gender = boys",
            "boys",
            r"no product has gender 'boys' .*; its values are women, men, women and men$",
        ),
        ("color < 3", "3", "no product has a number as its color"),
        ("price < cheap", "cheap", "'cheap' is not a number"),
        ("price < 1,299", ",", "'and' or 'or' is expected, and there is ',' .*; quote values"),
        (
            "color red",
            "",
            "a comparison is expected after 'color red', and the filter ends .*; write it as in color = red",
        ),
        ("color =", "", "a value is expected, and the filter ends"),
        ("color = and", "and", "a value is expected, and there is 'and'"),
        ("color = ''", "''", "a value is expected, and the quotes are empty"),
        ("= red", "=", "the name of an attribute is expected, and there is '='"),
        ("", "", "the name of an attribute is expected, and the filter ends"),
        ("color = red)", ")", r"'and' or 'or' is expected, and there is '\)'"),
        ("(color = red", "", r"'\)' is expected, and the filter ends"),
        ("color in red", "red", r"'\(' is expected after 'in'"),
        ("color in (red blue", "", r"',' or '\)' is expected"),
        ("color not = red", "=", "'in' is expected after 'not'"),
        ("color = 'red", "'", "a quotation mark that is not closed"),
        ("color = red ! x", "!", "'!' has no meaning here"),
        ("__import__('os').system('x') = 1", "(", "a comparison is expected after '__import__'"),
    ],
)
def test_a_mistake_is_pointed_at(text: str, word: str, message: str):
    with pytest.raises(FilterError, match=message) as caught:
        names(text)
    excerpt = caught.value.excerpt
    assert excerpt is not None
    assert excerpt.text[excerpt.start : excerpt.stop] == word
    assert f"(character {excerpt.start + 1} of the filter)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_prices_of_several_currencies_are_compared_within_one():
    products = (product("a", 30, "EUR"), product("b", 30, "USD"), product("c", 50, "EUR"))
    with pytest.raises(FilterError, match=r"prices are in EUR, USD .*; say in which, as 40 EUR"):
        names("price < 40", products)
    assert names("price < 40 EUR", products) == "a"
    assert names("price < $40", products) == "b"


def test_a_price_that_only_the_catalogues_column_has():
    bare = Product("a", "a", "a", {}, None, None, "", 12.5, None)
    assert names("price = under 40 and price < 13", (bare,)) == "a"


def test_what_could_exhaust_the_machine_is_refused():
    deep = "(" * 60 + "color = red" + ")" * 60
    with pytest.raises(FilterError, match="at most 50 parentheses"):
        names(deep)
    assert names("(" * 50 + "color = red" + ")" * 50) == "ab"
    assert names("not " * 900 + "color = red") == "ab"
    assert names(" or ".join(["color = red"] * 250)) == "ab"
    with pytest.raises(FilterError, match="a filter of 4,001 characters; at most 4,000"):
        names("x" * 4001)
    with pytest.raises(FilterError) as caught:
        names(f"color = {'x' * 3000}")
    assert len(str(caught.value)) < 300


@given(st.text(st.sampled_from(" ()=<>!,'\"“andornti\x1b\n\u202e色red57.$€colr"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_filter_or_an_error_that_points_into_it(text: str):
    excerpt = None
    try:
        read_filter(text)
    except FilterError as problem:
        excerpt = problem.excerpt or Excerpt("", -1, -1)
    assert excerpt is None or (excerpt.text == text and 0 <= excerpt.start <= len(text))


Row = dict[str, Any]
Case = tuple[str, Callable[[Row], bool]]
ROWS: list[Row] = [
    {"color": {"red"}, "gender": {"women"}, "price": 19.9},
    {"color": {"red", "light blue"}, "gender": {"men"}, "price": 40.0},
    {"color": {"black and white"}, "gender": {"women"}, "price": 99.5},
    {"color": set(), "gender": {"women and men"}, "price": None},
]
"""PRODUCTS again, without any code of the package."""


def _spelled(draw: st.DrawFn, value: str) -> str:
    plain = not {"and", "or", "not", "in"} & set(value.split())
    form = draw(st.sampled_from(["{}", '"{}"', "'{}'"] if plain else ['"{}"', "'{}'"]))
    case = draw(st.sampled_from([str, str.upper, str.title]))
    return form.format(case(value))


@st.composite
def comparisons(draw: st.DrawFn) -> Case:
    space = draw(st.sampled_from([" ", "  ", "\t"]))
    if draw(st.booleans()):
        sign, number = draw(st.sampled_from(["<", "<=", ">", ">=", "=", "!="])), draw(st.sampled_from([19.9, 40, 50.5]))
        found = {
            "<": lambda row: row["price"] is not None and row["price"] < number,
            "<=": lambda row: row["price"] is not None and row["price"] <= number,
            ">": lambda row: row["price"] is not None and row["price"] > number,
            ">=": lambda row: row["price"] is not None and row["price"] >= number,
            "=": lambda row: row["price"] == number,
            "!=": lambda row: row["price"] != number,
        }[sign]
        return f"price{space}{sign}{space}{number}", found
    name = draw(st.sampled_from(["color", "gender"]))
    known = ["red", "light blue", "black and white"] if name == "color" else ["women", "men", "women and men"]
    wanted = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
    values = [_spelled(draw, value) for value in wanted]
    kind = draw(st.sampled_from(["=", "!=", "in", "not in"]))
    if kind in ("=", "!="):
        first = wanted[0]
        return f"{name}{space}{kind}{space}{values[0]}", lambda row: (first in row[name]) == (kind == "=")
    return (
        f"{name}{space}{kind}{space}({f'{space},'.join(values)})",
        lambda row: bool(row[name] & set(wanted)) == (kind == "in"),
    )


def _joined(parts: list[Case], word: str) -> Case:
    every = {"and": all, "or": any}[word]
    text = f" {word} ".join(f"({said})" for said, _ in parts)
    return text, lambda row: every(holds(row) for _, holds in parts)


FILTERS: st.SearchStrategy[Case] = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(_joined, st.lists(inner, min_size=1, max_size=3), st.sampled_from(["and", "or"])),
        inner.map(lambda case: (f"NOT ({case[0]})", lambda row: not case[1](row))),
    ),
    max_leaves=8,
)


@given(FILTERS)
@settings(max_examples=300, deadline=None)
def test_filters_hold_for_what_a_predicate_in_python_holds_for(case: Case):
    text, holds = case
    assert names(text) == "".join(name for name, row in zip("abcd", ROWS, strict=True) if holds(row))


@given(st.lists(comparisons(), min_size=2, max_size=5), st.data())
@settings(max_examples=200, deadline=None)
def test_without_parentheses_and_binds_closer_than_or(parts: list[Case], data: st.DataObject):
    words = [data.draw(st.sampled_from(["and", "or"])) for _ in parts[1:]]
    text = parts[0][0] + "".join(f" {word} {said}" for word, (said, _) in zip(words, parts[1:], strict=True))

    def holds(row: Row) -> bool:
        groups = [[parts[0][1](row)]]
        for word, (_, each) in zip(words, parts[1:], strict=True):
            if word == "or":
                groups.append([])
            groups[-1].append(each(row))
        return any(all(group) for group in groups)

    assert names(text) == "".join(name for name, row in zip("abcd", ROWS, strict=True) if holds(row))
