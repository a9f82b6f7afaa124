from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.simulated_annotators import offered_choices
from annotate.tasks import label_config as labels
from schemas.errors import OntologyError, UsageError
from schemas.folding import fold
from schemas.ontology import Ontology, Slot, Value
from tests.labelling_corpus import ONTOLOGY


def offered(xml: str, control: str) -> list[str]:
    taxonomy = next(t for t in ElementTree.fromstring(xml).iter("Taxonomy") if t.get("name", "").startswith(control))
    return [str(choice.get("value")) for choice in taxonomy]


def ontology_of(values: list[str], name: str = "color") -> Ontology:
    return Ontology(slots=(Slot(name=name, attribute="a", values=tuple(Value(value=text) for text in values)),))


def test_wants_and_dislikes_offer_every_value_commonest_first_and_ranges_in_their_order():
    xml = labels.build(ONTOLOGY).xml
    expected = ["color=black", "color=blue", "color=red", "price=cheap", "price=25-50"]
    assert offered(xml, "want_") == expected
    assert offered(xml, "dislike_") == expected


def entries(xml: str) -> dict[str, str]:
    """What each entry of the wants list stores -> what it shows, which is what the search looks through."""
    taxonomy = next(t for t in ElementTree.fromstring(xml).iter("Taxonomy") if t.get("name", "").startswith("want_"))
    return {labels.stored_text(choice): str(choice.get("value")) for choice in taxonomy}


def test_an_entry_shows_the_other_ways_to_say_its_value_and_stores_the_value_alone():
    values = (
        Value(value="S", aliases=("small",)),
        Value(value="grey", aliases=("gray", "ash"), catalogue=("Grey", "GRIS")),
        Value(value="tshirt", aliases=("T-shirt", "shirt", "tee")),
        Value(value="plain"),
    )
    shown = entries(labels.build(Ontology(slots=(Slot(name="x", attribute="x", values=values),))).xml)
    assert shown == {
        "x=S": "x=S (small)",
        "x=grey": "x=grey (gray, ash, GRIS)",  # a search takes no notice of capitals, "Grey" is found already
        "x=tshirt": "x=tshirt (T-shirt, tee)",  # and "shirt" stands in "tshirt"
        "x=plain": "x=plain",
    }


def test_a_value_in_parentheses_is_never_taken_for_one_with_an_alias():
    values = (
        Value(value="S", aliases=("small",)),
        Value(value="S (small)"),
        Value(value="M (medium)", aliases=("mid",)),
    )
    shown = entries(labels.build(Ontology(slots=(Slot(name="size", attribute="size", values=values),))).xml)
    assert shown == {"size=S": "size=S", "size=S (small)": "size=S (small)", "size=M (medium)": "size=M (medium) (mid)"}


_WORDS = st.text(st.sampled_from("ab ()=,"), min_size=1, max_size=8)


@given(st.lists(st.tuples(_WORDS, st.lists(_WORDS, max_size=3)), max_size=5))
def test_whatever_the_aliases_every_value_is_offered_once_under_a_line_of_its_own(given: list[tuple[str, list[str]]]):
    taken: set[str] = set()
    values = []
    for value, others in given:
        fresh = [text for text in dict.fromkeys((value, *others)) if fold(text) not in taken]
        if value in fresh:
            values.append(Value(value=value, aliases=tuple(text for text in fresh if fold(text) != fold(value))))
            taken.update(map(fold, fresh))
    xml = labels.build(Ontology(slots=(Slot(name="s", attribute="s", values=tuple(values)),))).xml
    shown = entries(xml)
    assert shown.keys() == {f"s={value.value}" for value in values}
    assert len(set(shown.values())) == len(values)
    assert offered_choices(xml) == shown.keys()


def test_each_slot_can_be_dropped_and_each_turn_flagged():
    xml = labels.build(ONTOLOGY).xml
    assert offered(xml, "op_") == ["drop=color", "drop=price", "flag=new_topic", "flag=unsure", "flag=bad_turn"]
    assert offered(xml, "dialogue_op") == ["flag=bad_dialogue", "flag=images_missing"]
    assert labels.slots_offered(xml) == {"color", "price"}


def test_a_numeric_slot_shows_its_ranges():
    choices = ElementTree.fromstring(labels.build(ONTOLOGY).xml).iter("Choice")
    hints = {choice.get("value"): choice.get("hint") for choice in choices}
    assert hints["price=cheap"] == "below 25"
    assert hints["price=25-50"] == "from 25 below 50"
    assert hints["color=red"] is None


def test_the_sdk_accepts_the_configuration():
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(labels.build(ONTOLOGY).xml)
    interface.validate()
    names = {f"{control}_{{{{idx}}}}" for control in ("want", "dislike", "op", "free", "offer")} | {
        "dialogue_op",
        "note",
    }
    assert {control.name for control in interface.controls} == names


def test_no_control_can_have_a_hotkey():
    root = ElementTree.fromstring(labels.build(ONTOLOGY).xml)
    # Label Studio gives choices letters by itself, but not those that have a key
    (offers,) = root.iter("Choices")
    assert (offers.get("name"), offers.get("value")) == ("offer_{{idx}}", "$user_turns[{{idx}}].offers")
    assert [(choice.get("value"), choice.get("hotkey")) for choice in offers] == [("no offer", "f19")]
    assert all(element in list(offers) or "hotkey" not in element.attrib for element in root.iter())


def test_a_reviewer_can_take_answers_by_a_click_and_by_no_key():
    from label_studio_sdk.label_interface import LabelInterface

    config = labels.build(ONTOLOGY, review=True)
    LabelInterface(config.xml).validate()
    assert labels.is_intact(config.xml)
    (choices,) = ElementTree.fromstring(config.xml).iter("Choices")
    assert (choices.get("name"), choices.get("value")) == ("take_{{idx}}", "$user_turns[{{idx}}].answers")
    assert [(choice.get("value"), choice.get("hotkey")) for choice in choices] == [("as filled in", "f19")]
    assert offered(config.xml, "want_") == offered(labels.build(ONTOLOGY).xml, "want_")


@given(st.lists(st.text(min_size=1, max_size=12), max_size=6, unique_by=fold))
def test_any_value_is_offered_exactly_or_left_to_be_typed(values: list[str]):
    config = labels.build(ontology_of(values))
    unwritable = [v for v in values if any(ord(c) < 32 or ord(c) in (127, 0xFFFE, 0xFFFF) for c in v)]
    assert set(offered(config.xml, "want_")) == {f"color={v}" for v in values if v not in unwritable}
    assert config.values_typed == len(unwritable)


@pytest.mark.parametrize("value", ["a › b", "a › b ›› c", "{{idx}}", "x {{iidx}} y {{idx}}"])
def test_what_separates_paths_and_marks_the_turn_occurs_in_no_value(value: str):
    root = ElementTree.fromstring(labels.build(ontology_of([value])).xml)
    repeater = next(root.iter("Repeater"))
    assert str(repeater.get("indexFlag")) not in value
    assert all(str(t.get("pathSeparator")) not in value for t in root.iter("Taxonomy"))
    expanded = ElementTree.tostring(repeater, encoding="unicode").replace(str(repeater.get("indexFlag")), "0")
    assert {t.get("name") for t in ElementTree.fromstring(expanded).iter("Taxonomy")} == {"want_0", "dislike_0", "op_0"}


def test_rare_values_are_left_to_be_typed():
    slot = Slot(name="brand", attribute="brand", values=tuple(Value(value=f"b{i}", count=i) for i in range(9)))
    config = labels.build(Ontology(slots=(slot,)), max_values_per_slot=3)
    assert offered(config.xml, "want_") == ["brand=b8", "brand=b7", "brand=b6"]
    assert config.values_typed == 6


def test_sizes_are_offered_in_their_order_the_commonest_of_too_many():
    counts = {"37.5": 3, "9": 1, "42": 7, "100": 5}
    slot = Slot(name="size", attribute="size", values=tuple(Value(value=v, count=n) for v, n in counts.items()))
    assert offered(labels.build(Ontology(slots=(slot,))).xml, "want_") == [
        f"size={v}" for v in ("9", "37.5", "42", "100")
    ]
    config = labels.build(Ontology(slots=(slot,)), max_values_per_slot=2)
    assert offered(config.xml, "want_") == ["size=42", "size=100"]


def test_fewer_values_are_offered_when_one_turn_would_fill_the_page():
    slot = Slot(name="brand", attribute="brand", values=tuple(Value(value=f"b{i}") for i in range(100)))
    config = labels.build(Ontology(slots=(slot,)), max_values_per_slot=90, max_choices=100)
    assert config.values_per_turn == 50


def test_an_ontology_with_more_slots_than_a_page_holds_is_refused():
    slots = tuple(Slot(name=f"s{i}", attribute="a", values=(Value(value="x"),)) for i in range(60))
    with pytest.raises(OntologyError, match="60 slots do not fit"):
        labels.build(Ontology(slots=slots), max_choices=100)


def test_an_ontology_without_slots_is_refused():
    with pytest.raises(OntologyError, match="no slots"):
        labels.build(Ontology())


SCREEN_WORDS = ("drop", "flag", "want", "dislike", "op", "free", "note", "tail", "past", "new_topic", "unsure", "idx")


@pytest.mark.parametrize("name", [*SCREEN_WORDS, "$x", "$", "{{idx}}", "$user_turns", "<b>", 'a"b', "छाता", "s" * 300])
def test_a_slot_may_be_named_like_anything_on_the_screen(name: str):
    ontology = ontology_of(["6", "unsure", "drop=6"], name=name)
    config = labels.build(ontology)
    assert set(offered(config.xml, "want_")) == {f"{name}=6", f"{name}=unsure", f"{name}=drop=6"}
    assert offered(config.xml, "op_")[0] == f"drop={name}"
    assert labels.slots_offered(config.xml) == {name}
    assert labels.slots_lost(config.xml, config) == []


def test_only_slots_that_are_gone_are_lost_when_a_project_is_extended():
    drop = Slot(name="drop", attribute="d", values=(Value(value="6"), Value(value="8")))
    cut = Slot(name="cut", attribute="c", values=(Value(value="slim"),))
    before, after = labels.build(Ontology(slots=(drop, cut))), labels.build(Ontology(slots=(drop,)))
    assert labels.slots_lost(before.xml, after) == ["cut"]
    assert labels.slots_lost(after.xml, before) == []


def test_a_slot_name_with_control_characters_is_refused():
    with pytest.raises(OntologyError, match="control characters"):
        labels.build(ontology_of(["x"], name="a\x07b"))


@pytest.mark.parametrize(("values", "window"), [(83, 30), (250, 10), (1000, 2), (2500, 1), (4000, 1)])
def test_the_window_is_the_largest_that_keeps_the_page_under_five_thousand_choices(values: int, window: int):
    config = labels.LabelConfig("", "", values_per_turn=values, values_typed=0)
    assert labels.window_size(config) == window


def test_a_window_that_does_not_fit_is_refused_and_the_largest_named():
    config = labels.LabelConfig("", "", values_per_turn=250, values_typed=0)
    assert labels.window_size(config, asked=10) == 10
    with pytest.raises(UsageError, match="--window 10 at most"):
        labels.window_size(config, asked=11)


@given(st.integers(1, 3000), st.integers(100, 20_000))
def test_window_times_values_times_two_stays_below_the_limit(values: int, limit: int):
    config = labels.LabelConfig("", "", values_per_turn=values, values_typed=0)
    window = labels.window_size(config, max_choices=limit)
    assert window == 1 or window * values * 2 <= limit


def test_the_same_ontology_gives_the_same_bytes():
    first, second = labels.build(ONTOLOGY), labels.build(Ontology.model_validate(ONTOLOGY.model_dump()))
    assert first == second


def test_an_edit_by_hand_breaks_the_seal_and_a_web_form_line_ending_does_not():
    xml = labels.build(ONTOLOGY).xml
    assert labels.is_intact(xml)
    assert labels.is_intact(xml.replace("\n", "\r\n"))
    assert not labels.is_intact(xml.replace("color=red", "color=RED"))
    assert not labels.is_intact(xml.split("\n", 1)[1])
    assert not labels.is_intact("<View></View>")
