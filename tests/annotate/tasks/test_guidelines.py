# ruff: noqa: E501 - one table row a line reads best
from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from annotate.tasks.guidelines import guideline_html, guideline_markdown
from annotate.tasks.label_config import build
from schemas.folding import fold
from schemas.ontology import Ontology, Slot, Value
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
    assert "“Black, please.” | Wants `color=black` |" in text
    assert "| “No, blue instead.” | Wants `color=blue`: it replaces what was wanted before |" in text


def test_every_flag_and_edge_case_is_explained():
    text = guideline_markdown(ONTOLOGY)
    for flag in ("new\\_topic", "unsure", "bad\\_turn", "bad\\_dialogue", "images\\_missing"):
        assert f"flag={flag}".replace("\\", "") in text
    for case in ("2nd one", "Anything but", "does not matter any more", "Never repeat"):
        assert case in text


def test_screen_and_guideline_say_the_same_of_the_keys_and_that_nobody_knows_how_users_count():
    text, screen = guideline_markdown(ONTOLOGY), build(ONTOLOGY).xml
    assert "Enter alone picks nothing" in text
    assert "letters typed sooner are lost" in text
    assert screen.count('placeholder="click, type to search, then ↓ and Enter"') == 2
    assert "wait for the matches, then press ↓ and Enter" in screen
    assert "How its users count, the corpus does not say" in text
    for page in (text, screen):
        assert "shopper" not in page.lower()


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
    for row in (line for line in text.splitlines() if line.startswith("| “A`b")):
        assert row.replace("\\|", "").count("|") == 3


LENGTHS = Slot(
    name="length", attribute="length", values=(Value(value="long", count=3), Value(value="full-length", count=1))
)
COLOURS = Slot(name="color", attribute="color", values=(Value(value="blue", count=2), Value(value="light blue")))
PRICES = Slot(
    name="price",
    attribute="price",
    kind="numeric",
    values=(Value(value="under 40", high=40), Value(value="40 up", low=40)),
)
SIZES = tuple(
    Slot(name=name, attribute=name, values=(Value(value="S"), Value(value="M"))) for name in ("size", "sizes to be had")
)
DOUBTFUL = Ontology(slots=(COLOURS, PRICES, LENGTHS, *SIZES))


def test_doubtful_cases_are_decided_with_this_corpus_slots_and_values():
    text = guideline_markdown(DOUBTFUL)
    for case in (
        "| “Do you have it in blue?” “What about light blue?” “Is there nothing cheaper?” | A question that asks for products is a wish: Wants `color=blue`.",
        "| A value that the lists lack: “cheaper”, “good reviews”, “something special” | Type it into Other in the user's words, under the slot that it speaks of: `price=cheaper`.",
        "| A limit: “under 50”, “at least 4” | Pick the range if the list has exactly this one; else type the limit as it is said: `price=under 50`. |",
        "| “blue”, where the list has blue and light blue | Mark what the words say, nothing more exact: `color=blue`. |",
        "| size / sizes to be had | Mark the slot that fits the user's words or the product they want; if in doubt, size. |",
    ):
        assert case in text
    prices, lengths = text.index("### price"), text.index("### length")
    assert prices < text.index("- “cheap” or “expensive”: type the word into Other (price=cheap)") < lengths
    assert text.index("- “long” or “full-length”: mark the one that the user says; else long.") > lengths


def test_the_owners_decisions_stand_where_the_defaults_stood_and_none_is_left_out():
    decisions = {
        "sizes to be had / size": "Mark <size>, always.",
        "Length=full-length / length=long": "full-length is for *coats*.",
        "questions": "A question is never a wish.",
        "brands": "Mark a brand only by its name.",
    }
    decided = Ontology(slots=DOUBTFUL.slots, decisions=decisions)
    text, page = guideline_markdown(decided), guideline_html(decided)
    assert "| size / sizes to be had | Mark \\<size\\>, always. |" in text
    assert "- full-length is for \\*coats\\*.\n" in text
    assert "| brands | Mark a brand only by its name. |" in text
    assert "A question is never a wish. |" in text
    for default in ("if in doubt", "mark the one that the user says", "A question that asks"):
        assert default not in text
        assert default not in page
    assert "Mark &lt;size&gt;, always." in page
    assert sum(page.count(rule) for rule in ("never a wish", "for *coats*", "by its name")) == 3


def test_words_beside_ranges_are_picked_and_no_range_instead():
    words = (*PRICES.values, Value(value="cheap"))
    text = guideline_markdown(Ontology(slots=(PRICES.model_copy(update={"values": words}),)))
    assert "Words are values too: pick `cheap` when the user says it, and no range." in text
    assert "do not guess a number" not in text
