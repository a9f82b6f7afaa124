from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from annotate.guidelines import guideline_html, guideline_markdown
from schemas.ontology import Ontology, Slot, Value, fold
from tests.labelling_corpus import ONTOLOGY

ALLOWED_TAGS = {"div", "h2", "h3", "h4", "p", "ul", "li", "table", "tr", "th", "td", "code"}


def test_every_slot_is_explained_with_its_values_and_hint():
    text = guideline_markdown(ONTOLOGY)
    for slot in ONTOLOGY.slots:
        assert f"### {slot.name}" in text
        assert slot.hint in text
        for value in slot.values:
            assert f"`{value.value}`" in text


def test_examples_use_this_corpus_values_the_colour_first():
    text = guideline_markdown(ONTOLOGY)
    assert "“I would like black.” | Wants `color=black` |" in text
    assert "| “No, blue instead.” | Wants `color=blue`: it replaces what was wanted before |" in text


def test_every_flag_and_edge_case_is_explained():
    text = guideline_markdown(ONTOLOGY)
    for flag in ("new\\_topic", "unsure", "bad\\_turn", "bad\\_dialogue", "images\\_missing"):
        assert f"flag={flag}".replace("\\", "") in text
    for case in ("2nd one", "Anything but", "does not matter any more", "Never repeat"):
        assert case in text


def test_an_ontology_without_values_still_gives_a_guideline():
    text = guideline_markdown(Ontology(slots=(Slot(name="size", attribute="size"),)))
    assert "No values are known; type them into Other as `size=...`" in text


@given(
    st.lists(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cn")), min_size=1), min_size=2, unique_by=fold)
)
def test_whatever_a_value_holds_the_html_is_well_formed_and_shows_it(values: list[str]):
    slot = Slot(name="color", attribute="color", values=tuple(Value(value=value) for value in values))
    page = guideline_html(Ontology(slots=(slot,)))
    tree = ElementTree.fromstring(f"<div>{page}</div>")
    assert {element.tag for element in tree.iter()} <= ALLOWED_TAGS
    assert all(not element.attrib for element in tree.iter())
    assert min(values) in {code.text for code in tree.iter("code")}


def test_a_value_with_backticks_and_bars_stays_one_piece_of_markdown():
    values = (Value(value="a`b|c", count=2), Value(value="plain"))
    text = guideline_markdown(Ontology(slots=(Slot(name="color", attribute="color", values=values),)))
    assert "`` a`b|c ``" in text
    for row in (line for line in text.splitlines() if line.startswith("| “I would like")):
        assert row.replace("\\|", "").count("|") == 3
