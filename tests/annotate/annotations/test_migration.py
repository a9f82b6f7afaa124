"""Answers of older versions in the current one: worked by hand, and as properties of random histories."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.annotations.annotation import Annotation, Mark, turn_update
from annotate.annotations.migration import Migration
from annotate.exports.refusals import Refused
from annotate.exports.results import read_result
from pipeline.ontology.edits import (
    add_slot,
    add_value,
    merge_slots,
    merge_values,
    rename_slot,
    rename_value,
    split_value,
)
from schemas.errors import InputError
from schemas.folding import fold
from schemas.ontology import Ontology, Slot, Value
from tests.label_exports import pick, typed

V1 = Ontology(
    slots=(
        Slot(
            name="color",
            attribute="color",
            aliases=("colour",),
            values=(
                Value(value="grey", count=5, aliases=("gray",)),
                Value(value="black", count=4),
                Value(value="jet black", count=2),
                Value(value="blue", count=3),
            ),
        ),
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            values=(Value(value="under 40", count=3, high=40), Value(value="40 and over", count=2, low=40)),
        ),
    )
)
COLOR = V1.slots[0]
PRODUCTS = {"grey": 5, "black": 4, "jet black": 2, "blue": 3}
PRICES = {"12": 1, "24.99": 2, "99": 2}


def marked(*marks: Mark, version: int = 1, annotator: str = "ann") -> Annotation:
    return Annotation("a", "d1", annotator, ontology_version=version).with_marks(marks)


def want(value: str, slot: str = "color", turn: int = 0) -> Mark:
    return Mark(turn, "want", slot, value)


def dislike(value: str, slot: str = "color", turn: int = 0) -> Mark:
    return Mark(turn, "dislike", slot, value)


def unknown(slot: str = "color", turn: int = 0) -> Mark:
    return Mark(turn, "unknown", slot)


def now(ontology: Ontology, *marks: Mark, version: int = 1, annotator: str = "ann") -> tuple[Mark, ...]:
    return Migration(ontology).annotation(marked(*marks, version=version, annotator=annotator)).marks


def test_an_ontology_that_never_changed_leaves_answers_as_they_are():
    given = marked(want("GRAY"))
    assert Migration(V1).annotation(given) is given


def test_renamed_slots_and_values_are_found_by_their_old_names():
    renamed = rename_slot(rename_value(V1, "color", "grey", "charcoal"), "color", "shade")
    assert now(renamed, want("Gray"), Mark(2, "drop", "colour")) == (
        want("charcoal", "shade"),
        Mark(2, "drop", "shade"),
    )
    assert now(renamed, want("charcoal", "shade"), version=3) == (want("charcoal", "shade"),)


def test_a_value_that_was_split_is_unknown_with_everything_said_of_its_slot_in_that_turn():
    split = split_value(V1, "color", "blue", ["navy", "sky"], PRODUCTS)
    said = (want("blue"), want("black"), want("under 40", "price"), want("black", turn=2))
    assert now(split, *said) == (want("under 40", "price"), unknown(), want("black", turn=2))
    assert now(split, want("blue"), version=2) == (unknown(),)  # typed, since the screen does not offer it
    assert now(split, want("navy"), version=2) == (want("navy"),)


def test_a_value_that_stays_as_a_part_is_clear_in_answers_that_came_after_the_split():
    split = split_value(V1, "color", "blue", ["blue", "navy"], PRODUCTS)
    assert now(split, dislike("Blue")) == (unknown(),)
    assert now(split, dislike("Blue"), version=2) == (dislike("blue"),)


def test_parts_that_are_merged_again_are_clear_once_more():
    split = split_value(V1, "color", "blue", ["navy", "sky"], PRODUCTS)
    merged = merge_values(split, "color", ["navy", "sky"], "blue")
    assert now(merged, want("blue")) == (want("blue"),)
    assert now(merged, want("sky"), version=2) == (want("blue"),)
    named = merge_values(split, "color", ["navy", "sky"], "bluish")
    assert now(named, want("blue")) == (want("bluish"),)


def test_what_the_corpus_said_is_older_than_every_step():
    split = split_value(V1, "color", "blue", ["blue", "navy"], PRODUCTS)
    assert now(split, want("blue"), version=2, annotator="corpus") == (unknown(),)


def test_two_values_that_became_one_cannot_be_wanted_and_disliked_at_once():
    merged = merge_values(V1, "color", ["black", "jet black"], "black")
    assert now(merged, want("black"), dislike("jet black"), want("blue", turn=2)) == (unknown(), want("blue", turn=2))
    # the corpus may say so of one value; a dislike counts then, as it always did
    both = (want("black"), dislike("black"))
    assert now(merged, *both, annotator="corpus") == both


def test_numbers_keep_their_value_when_their_range_is_cut():
    cut = split_value(V1, "price", "under 40", ["under 20", "20 to 40"], PRICES)
    assert now(cut, want("24.99", "price")) == (want("24.99", "price"),)
    assert now(cut, want("under 40", "price")) == (unknown("price"),)
    assert cut.link(cut.slot("price"), "24.99").value == "24.99"


def test_a_new_slot_is_unknown_in_older_answers_unless_they_are_taken_to_say_nothing_of_it():
    fit = Slot(name="fit", attribute="fit")
    old = (want("blue"), Mark(2, "none"))
    assert now(add_slot(V1, fit), *old) == (want("blue"), unknown("fit"), unknown("fit", 2), Mark(2, "none"))
    assert now(add_slot(V1, fit), *old, version=2) == old
    assert now(add_slot(V1, fit, assume_none=True), *old) == old
    assert turn_update(now(add_slot(V1, fit), *old)[1:3]).unknown == {"fit"}


def test_flags_and_notes_stay():
    split = split_value(V1, "color", "blue", ["navy", "sky"], PRODUCTS)
    flags = (Mark(0, "new_topic"), Mark(0, "bad_dialogue"), Mark(0, "note", value="blue?"), Mark(2, "unsure"))
    assert set(now(split, *flags)) == set(flags)


RESULT = [pick("want_0", "color=black"), pick("dislike_0", "color=jet black"), pick("op_0", "drop=price")]


def test_nothing_is_refused_that_an_older_version_knew():
    merged = merge_values(rename_slot(V1, "price", "cost"), "color", ["black", "jet black"], "black")
    read = read_result(RESULT, [0], merged, version=1)
    assert set(read.marks) == {want("black"), dislike("jet black"), Mark(0, "drop", "price")}
    with pytest.raises(Refused, match="both: color=black"):
        read_result(RESULT, [0], merged)


def test_answers_are_stored_in_the_names_of_their_version():
    two = Ontology(
        slots=(
            Slot(name="hue", attribute="color", values=(Value(value="red"),)),
            Slot(name="shade", attribute="color", values=(Value(value="dark"),)),
        )
    )
    one = rename_slot(merge_slots(two, ["hue", "shade"], "hue"), "hue", "tone")
    said = [typed("free_0", "Shade=dark", "hue=red")]
    assert set(read_result(said, [0], one, version=1).marks) == {want("dark", "shade"), want("red", "hue")}
    assert set(read_result(said, [0], one, version=2).marks) == {want("dark", "hue"), want("red", "hue")}
    assert set(read_result(said, [0], one).marks) == {want("dark", "tone"), want("red", "tone")}
    assert set(now(one, want("dark", "shade"), want("red", "hue"))) == {want("dark", "tone"), want("red", "tone")}


NAMES = ["grey", "black", "jet black", "blue", "navy", "sky", "teal", "noir"]
Edit = Callable[[Ontology], Ontology]
names = st.sampled_from(NAMES)
some = st.lists(names, min_size=2, max_size=3)
edits: st.SearchStrategy[Edit] = st.one_of(
    st.builds(lambda value, to: lambda o: rename_value(o, "color", value, to), names, names),
    st.builds(lambda values, to: lambda o: merge_values(o, "color", values, to), some, names),
    st.builds(lambda value, into: lambda o: split_value(o, "color", value, into, PRODUCTS), names, some),
    st.builds(lambda value, alias: lambda o: add_value(o, "color", value, [alias]), names, names),
    st.builds(lambda to: lambda o: rename_slot(o, "color", to), st.sampled_from(["shade", "tone", "color"])),
)  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[Ontology]:
    """Every version of an ontology, oldest first."""
    versions = [V1]
    for edit in draw(st.lists(edits, min_size=1, max_size=8)):
        try:
            after = edit(versions[-1])
        except InputError:
            continue
        if after != versions[-1]:
            versions.append(after)
    return versions


def means(ontology: Ontology, texts: frozenset[str], version: int) -> frozenset[str]:
    migration = Migration(ontology)
    return frozenset(value for text in texts for value in migration.values(ontology.slot("color"), text, version))


@given(histories(), names, st.data())
@settings(max_examples=300, deadline=None)
def test_two_steps_at_once_mean_the_same_as_one_after_the_other(
    versions: list[Ontology], text: str, data: st.DataObject
):
    first, second, third = sorted(data.draw(st.integers(0, len(versions) - 1)) for _ in range(3))
    straight = means(versions[third], means(versions[first], frozenset([text]), first + 1), first + 1)
    between = means(versions[second], means(versions[first], frozenset([text]), first + 1), first + 1)
    assert means(versions[third], between, second + 1) == straight


@given(
    histories(), st.lists(st.builds(Mark, st.just(0), st.sampled_from(["want", "dislike"]), st.just("color"), names))
)
@settings(max_examples=200, deadline=None)
def test_migrating_what_is_migrated_changes_nothing(versions: list[Ontology], marks: list[Mark]):
    newest = versions[-1]
    once = now(newest, *marks)
    assert now(newest, *once, version=newest.version) == once


@given(histories())
@settings(max_examples=200, deadline=None)
def test_every_name_there_ever_was_is_understood_and_no_product_is_lost(versions: list[Ontology]):
    newest = versions[-1].slot("color")
    assert sum(value.count for value in newest.values) == sum(value.count for value in COLOR.values)
    for ontology in versions:
        for value in ontology.slot("color").values:
            for text in value.spellings:
                assert newest.find(text) is not None
    for value in COLOR.values:  # a product keeps a value that names its own spelling
        found = newest.find(value.value)
        assert found is not None
        keyed = found.catalogue or (found.value,)
        assert fold(value.value) in map(fold, keyed)


@given(histories())
@settings(max_examples=100, deadline=None)
def test_it_comes_back_from_json_with_its_steps(versions: list[Ontology]):
    assert Ontology.model_validate(versions[-1].model_dump(mode="json")) == versions[-1]
    assert [step.version for step in versions[-1].history] == list(range(2, len(versions) + 1))
