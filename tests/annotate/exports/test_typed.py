from __future__ import annotations

from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.exports.typed import TypedLine, UnreadableLine, lines_of, read_typed
from schemas import folding
from schemas.ontology import Ontology, Slot, Value

SHOP = Ontology(
    slots=(
        Slot(
            name="color",
            attribute="colour_name",
            aliases=("shade",),
            values=tuple(Value(value=name, count=1) for name in ("red", "navy", "no print", "black, white", "-")),
        ),
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            values=(Value(value="under 500", high=500), Value(value="500 and over", low=500)),
        ),
        Slot(name="sleeveLength", attribute="sleeves"),
        Slot(name="warmth", attribute="warmth", kind="numeric", values=(Value(value="under 5", high=5),)),
        Slot(name="$x", attribute="$x"),
        Slot(name="\u0930\u0902\u0917", attribute="rang"),
    )
)


def read(text: str) -> TypedLine:
    def name(typed: str) -> str:
        found = SHOP.find(typed)
        if found is None:
            raise UnreadableLine("unknown_slot", typed)
        return found.name

    (line,) = lines_of(text)
    return read_typed(line, SHOP, name)


@pytest.mark.parametrize(
    ("text", "disliked", "slot", "value"),
    [
        ("color=red", False, "color", "red"),
        (" Shade = RED ", False, "color", "RED"),
        ("!color=red", True, "color", "red"),
        ("! color = red", True, "color", "red"),
        ("\uff01color\uff1dred", True, "color", "red"),
        ("\u200b!color=red\ufeff", True, "color", "red"),
        ("sleeve-length=3/4", False, "sleeveLength", "3/4"),
        ("SLEEVE LENGTH=3/4", False, "sleeveLength", "3/4"),
        ("$x=1", False, "$x", "1"),
        ("!\u0930\u0902\u0917=\u0932\u093e\u0932", True, "\u0930\u0902\u0917", "\u0932\u093e\u0932"),
        # values that the slot has may look like anything
        ("color=no print", False, "color", "no print"),
        ("color=black, white", False, "color", "black, white"),
        ("color=-", False, "color", "-"),
        # what is unknown is kept as it is typed
        ("color=off-white", False, "color", "off-white"),
        ("color=non-fading", False, "color", "non-fading"),
        ("color=off-white!", False, "color", "off-white!"),
        ("color=a=b", False, "color", "a=b"),
        ("color=red navy", False, "color", "red navy"),
        ("price=max 500", False, "price", "max 500"),
        ("price=no more than 500", False, "price", "no more than 500"),
        ("price=500-1000", False, "price", "500-1000"),
        ("warmth=-5", False, "warmth", "-5"),
        ("color=5\u00b2", False, "color", "5\u00b2"),
    ],
)
def test_lines_of_the_grammar(text: str, disliked: bool, slot: str, value: str):
    assert read(text) == TypedLine(disliked, slot, value)


AVOID = "write color=red for a wish, !color=red for something to avoid"


@pytest.mark.parametrize(
    ("text", "slot", "advice"),
    [
        *((form, "color", AVOID) for form in ("color!=red", "color !=red", "color~=red", "color==red")),
        *((form, "color", AVOID) for form in ("!!color=red", "-color=red", "\u2212color=red", "\u2013 color=red")),
        *((form, "color", AVOID) for form in ("~color=red", "\u00accolor=red", "\u00a1color=red", "*color=red")),
        *((form, "color", AVOID) for form in ("\U0001f6ab color=red", "\u2717color=red", "color-=red", "color:=red")),
        *((form, "color", AVOID) for form in ("not color=red", "no color=red", "non shade=red", "(color=red)")),
        *((form, "color", AVOID) for form in ("color=!red", "color=\uff01red", "color=not red", "color=NOT red")),
        *((form, "color", AVOID) for form in ("color=-red", "color=~red", "color=anything but red", "color=never red")),
        *((form, "color", AVOID) for form in ("color\u2260red", "color=\u0338red", "color:red", "color: red")),
        *(
            (form, "color", AVOID)
            for form in ("color\uff1ared", "not(color=red)", "color not=red", "\u201ccolor=red\u201d")
        ),
        *((form, "color", "write color=red for a wish") for form in ("color=red -> dislike", "color=red<navy")),
        ("color=red/navy", "color", "write each value in a line of its own: color=red, color=navy"),
        ("price>=2000", "price", "write price= and a value of the list, as in price=under 500"),
        ("price=<500", "price", "write price= and a value of the list, as in price=under 500"),
        ("price<500", "price", "write price= and a value of the list, as in price=under 500"),
        ("price=\u2264500", "price", "write price= and a value of the list, as in price=under 500"),
        ("price=-500", "price", "no price is below zero"),
        ("price=not 500", "price", "write price=500 for a wish, !price=500"),
        ("color=red, price=20", "color", "write each slot=value in a line of its own"),
        ("color=red;!price=20", "color", "write each slot=value in a line of its own"),
        ("color=red sleeve length=long", "color", "write each slot=value in a line of its own"),
        ("color=red,navy", "color", "write each value in a line of its own: color=red, color=navy"),
        ("color=red or navy", "color", "write each value in a line of its own: color=red, color=navy"),
        ("not red", "", "write slot=value for a wish, !slot=value for something to avoid"),
        ("red", "", "write slot=value"),
        ("=red", "", "write slot=red"),
        ("!", "", "write slot=value"),
    ],
)
def test_any_other_operator_is_refused_with_what_to_write(text: str, slot: str, advice: str):
    with pytest.raises(UnreadableLine) as problem:
        read(text)
    assert problem.value.refusal.reason == "malformed_free_text"
    assert problem.value.refusal.slot == slot
    assert advice in problem.value.refusal.detail
    assert text.strip() in problem.value.refusal.detail


def test_lines_typed_at_once_are_lines():
    assert list(lines_of("color=red\r\n\n  !price=20 \n\u200b")) == ["color=red", "!price=20"]


@given(st.text(st.characters(categories=["P", "S", "Z", "Cf"]), min_size=1, max_size=3), st.booleans())
def test_no_sign_around_a_slot_is_read_as_a_plain_wish(signs: str, before: bool):
    text = f"{signs}color=red" if before else f"color{signs}=red"
    try:
        found = [read(line) for line in lines_of(text)]
    except UnreadableLine:
        return
    # what names never differ in, such as a trademark sign, apart
    folded = folding.plain(signs if before else f"color{signs}").removeprefix("color")
    visible = "".join(c for c in folded if not c.isspace() and c != "_" and category(c) != "Cf")
    plain = [line for line in found if line.value == "red"]
    assert plain == [] or (visible == "" and plain == [TypedLine(False, "color", "red")]) or is_mark(visible, plain)


def is_mark(visible: str, plain: list[TypedLine]) -> bool:
    """The one sign that there is: an exclamation mark of any width before the slot."""
    return visible in ("!", "\uff01", "\ufe57", "\ufe15") and plain == [TypedLine(True, "color", "red")]


def test_a_very_long_line_is_cut_in_messages():
    with pytest.raises(UnreadableLine) as problem:
        read("color!=" + "x" * 100_000)
    assert len(problem.value.refusal.detail) < 400
    assert "(100,007 characters)" in problem.value.refusal.detail
    assert read("color=" + "x" * 100_000).value == "x" * 100_000
