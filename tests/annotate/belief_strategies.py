"""Belief states of any content, for hypothesis."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from schemas.belief import BeliefState, SlotValue
from schemas.folding import fold
from schemas.ontology import Ontology, Slot, Value

ONTOLOGY = Ontology(
    slots=(
        Slot(
            name="color",
            attribute="color",
            aliases=("colour",),
            values=(
                Value(value="red", count=2, aliases=("crimson",)),
                Value(value="polka-dot, blue", count=1),
                Value(value="grey", count=0),
            ),
        ),
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            values=(Value(value="cheap", count=3, high=25.0), Value(value="25-50", count=1, low=25.0, high=50.0)),
        ),
        Slot(name="sleeveLength", attribute="sleeve_length"),
    )
)

_anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_awkward = st.sampled_from(["a=b", "red, blue", "T-shirt", '"x"', "日本 “x” 😀", "49.99", "RED", "red!", "5²"])
values = (
    st.one_of(
        st.sampled_from(["red", "crimson", "polka-dot, blue", "grey", "cheap", "25-50", "30"]), _awkward, _anything
    )
    .map(str.strip)
    .filter(bool)
    # a line that people type holds one value, which begins with no operator and with nothing invisible
    .filter(
        lambda text: (
            not re.search(r"^[-−–!=<>~^≠≈¬≤≥≦≧＜＞！＝﹗︕﹦⁼₌\u0338]|[\r\n\u00ad\u200b-\u200f\u2060\ufeff]", text)
        )
    )
)


@st.composite
def states(draw: st.DrawFn) -> BeliefState:
    """A state as :func:`schemas.accumulate.accumulate` would give it."""
    held: dict[tuple[str, str], SlotValue] = {}
    names = st.sampled_from([slot.name for slot in ONTOLOGY.slots])
    polarities = st.sampled_from(["like", "dislike"])
    for name, value, polarity in draw(st.lists(st.tuples(names, values, polarities), max_size=5)):
        item = ONTOLOGY.link(ONTOLOGY.slot(name), value, polarity)
        held[item.slot, fold(item.value)] = item
    return tuple(sorted(held.values(), key=lambda item: (item.slot, item.polarity == "dislike", item.value)))
