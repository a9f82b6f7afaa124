from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from annotate.annotations import Annotation, Mark
from annotate.resolve import resolve
from schemas.belief import TurnUpdate

TURNS = (0, 2, 4)


def said(name: str, by: str, at: str, *, turns=TURNS, value="red", uid="d#0", project="1", more=()) -> Annotation:
    marks = [Mark(turn, "want", "color", value) for turn in turns]
    return Annotation(name, "d", by, at, task_uid=uid, project=project).with_marks([*marks, *more])


def corpus(value: str = "gold") -> Annotation:
    marks = [Mark(turn, "want", "color", value, "corpus") for turn in TURNS]
    return Annotation("corpus:d", "d", "corpus").with_marks(marks)


def values(annotations) -> list[str | None]:
    return [None if update is None else update.want["color"][0] for update in resolve(annotations, TURNS).updates]


def in_force(annotations) -> set[str]:
    return {each.annotation_id for each in resolve(annotations, TURNS).in_force}


def test_the_corpus_speaks_where_nobody_else_does():
    assert values([corpus()]) == ["gold"] * 3
    assert values([]) == [None] * 3


def test_people_win_over_the_corpus_in_all_of_a_dialogue():
    human = said("a", "user:1", "2026-01-01", turns=(0,))
    assert values([corpus(), human]) == ["red", None, None]
    assert in_force([corpus(), human]) == {"a"}


def test_the_newest_version_of_an_annotation_counts():
    versions = [said("a", "user:1", f"2026-01-0{day}", value=str(day)) for day in (1, 3, 2)]
    assert values(versions) == ["3"] * 3


def test_an_edit_that_loses_a_turn_does_not_bring_the_old_answer_back():
    versions = [said("a", "user:1", "2026-01-01"), said("a", "user:1", "2026-01-02", turns=(0, 2), value="blue")]
    assert values(versions) == ["blue", "blue", None]


def test_of_two_answers_of_one_annotator_to_one_task_the_newest_is_in_force():
    first, second = said("a", "user:1", "2026-01-02"), said("b", "user:1", "2026-01-01", value="blue")
    assert values([first, second]) == ["red"] * 3
    assert in_force([first, second]) == {"a"}


def test_answers_of_two_annotators_are_both_in_force_and_the_newest_speaks():
    first, second = said("a", "user:1", "2026-01-02"), said("b", "user:2", "2026-01-01", value="blue")
    assert values([first, second]) == ["red"] * 3
    assert in_force([first, second]) == {"a", "b"}


def test_windows_of_other_projects_are_other_tasks():
    wide = said("a", "user:1", "2026-01-01", turns=(2, 4), uid="d#1", project="1", value="blue")
    narrow = said("b", "user:1", "2026-01-02", turns=(2,), uid="d#1", project="2")
    assert values([wide, narrow]) == [None, "red", "blue"]


def test_a_withdrawn_annotation_does_not_count_and_lets_the_corpus_speak():
    gone = Annotation("a", "d", "user:1", "2026-01-02").with_marks([Mark(0, "withdrawn")])
    assert values([corpus(), said("a", "user:1", "2026-01-01"), gone]) == ["gold"] * 3


def test_a_bad_dialogue_is_unlabelled_throughout():
    bad = said("a", "user:1", "2026-01-02", turns=(0,), more=[Mark(0, "bad_dialogue")])
    good = said("b", "user:1", "2026-01-01", turns=(2, 4), uid="d#1")
    assert resolve([bad, good], TURNS).updates == (TurnUpdate(readable=False),) * 3


def test_a_bad_dialogue_that_a_later_annotator_could_label_is_labelled():
    bad = said("a", "user:1", "2026-01-01", more=[Mark(0, "bad_dialogue")])
    assert values([bad, said("b", "user:2", "2026-01-02", value="blue")]) == ["blue"] * 3


def test_annotations_of_turns_that_are_gone_are_counted():
    found = resolve([said("a", "user:1", "2026-01-01", turns=(0, 8)), corpus()], TURNS)
    assert found.orphaned == 1
    assert [update is not None for update in found.updates] == [True, False, False]


annotations = st.lists(
    st.builds(
        said,
        name=st.sampled_from("abc"),
        by=st.sampled_from(["user:1", "user:2"]),
        at=st.sampled_from(["1", "2", "3"]),
        turns=st.sets(st.sampled_from(TURNS), min_size=1).map(sorted),
        value=st.sampled_from(["red", "blue"]),
        uid=st.sampled_from(["d#0", "d#1"]),
    ),
    max_size=6,
    unique_by=lambda each: each.key,
)


@given(annotations, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(given: list[Annotation], order: random.Random):
    shuffled = order.sample(given, len(given))
    assert resolve(shuffled, TURNS) == resolve(given, TURNS)


@given(annotations)
def test_every_update_comes_from_an_annotation_in_force_that_speaks_of_its_turn(given: list[Annotation]):
    found = resolve(given, TURNS)
    for turn, update, source in zip(TURNS, found.updates, found.sources, strict=True):
        speaking = [each for each in found.in_force if turn in each.turns()]
        assert (update is None) == (source is None) == (not speaking)
        if source is not None:
            assert source in speaking
            assert source.updated_at == max(each.updated_at for each in speaking)


def test_values_no_product_has_are_named():
    from tests.annotate.belief_strategies import ONTOLOGY

    marks = [Mark(0, "want", "color", "crimson"), Mark(0, "dislike", "color", "grey"), Mark(2, "want", "price", "99")]
    found = resolve([Annotation("a", "d", "user:1").with_marks(marks)], TURNS)
    assert list(found.values_without_product(ONTOLOGY)) == [("color", "grey"), ("price", "99")]
