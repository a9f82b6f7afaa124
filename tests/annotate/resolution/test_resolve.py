from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.annotations.annotation import Annotation, Mark, turn_update
from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.resolution.ballots import answers_sha256
from annotate.resolution.policies import Adjudicated, DawidSkene, Majority, Policy, Reliability, Weighted
from annotate.resolution.resolve import Resolution, resolve
from annotate.states.splits import label_dialogue
from schemas.belief import DIALOGUE_OPS, TurnUpdate
from tests.annotate.belief_strategies import ONTOLOGY

TURNS = (0, 2, 4)
EQUALLY_GOOD = Weighted(DawidSkene(0.5, {who: Reliability(0.9, 0.9) for who in ("ann", "bo", "cy", "di")}, 1, True))
POLICIES: tuple[Policy, ...] = (Majority(), Adjudicated(), EQUALLY_GOOD)
DAY = "2026-01-01"


def said(name: str, by: str, at: str, *, turns=TURNS, value="red", uid="d#0", project="1", more=()) -> Annotation:
    marks = [Mark(turn, "want", "color", value) for turn in turns]
    return Annotation(name, "d", by, at, task_uid=uid, project=project).with_marks([*marks, *more])


def of(by: str, *marks: Mark, at: str = DAY, role="label", turns: Sequence[int] = (0,)) -> Annotation:
    """One annotator's answer; the turns that have no mark change nothing."""
    spoken = {mark.turn for mark in marks if mark.op not in DIALOGUE_OPS}
    rest = [Mark(turn, "none") for turn in turns if turn not in spoken]
    return Annotation(f"of {by} {role} {at}", "d", by, at, task_uid="d#0", role=role).with_marks([*marks, *rest])


def want(value: str, turn: int = 0, slot: str = "color") -> Mark:
    return Mark(turn, "want", slot, value)


def avoid(value: str, turn: int = 0, slot: str = "color") -> Mark:
    return Mark(turn, "dislike", slot, value)


def corpus(value: str = "gold") -> Annotation:
    marks = [Mark(turn, "want", "color", value, "corpus") for turn in TURNS]
    return Annotation("corpus:d", "d", "corpus").with_marks(marks)


def values(annotations, policy: Policy | None = None) -> list[str | None]:
    updates = resolve(annotations, TURNS, ONTOLOGY, policy).updates
    return [None if update is None or not update.want else update.want["color"][0] for update in updates]


def in_force(annotations) -> set[str]:
    return {each.annotation_id for each in resolve(annotations, TURNS, ONTOLOGY).in_force}


def states(annotations, policy: Policy | None = None, turns: Sequence[int] = (0,)) -> list[dict[str, object]]:
    found = resolve(annotations, turns, ONTOLOGY, policy)
    return label_dialogue("d", IndexedDialogue("train", tuple(turns), b""), found, ONTOLOGY).rows


def only(annotations, policy: Policy | None = None) -> dict[str, object]:
    """The state of a dialogue of one turn, as people write it."""
    (row,) = states(annotations, policy)
    items = row["state"]
    written = (
        None if items is None else {f"{'!' * (i['polarity'] == 'dislike')}{i['slot']}={i['value']}" for i in items}  # type: ignore[attr-defined]
    )
    return {**row, "state": written}


# --- whose answers count


def test_the_corpus_speaks_where_nobody_else_does():
    assert values([corpus()]) == ["gold"] * 3
    assert values([]) == [None] * 3
    assert [turn.decided_by for turn in resolve([corpus()], TURNS, ONTOLOGY).turns] == ["corpus"] * 3


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


def test_a_turn_refused_in_the_newest_answer_to_a_task_does_not_bring_the_older_answer_back():
    older, newer = said("a", "user:1", "2026-01-01"), said("b", "user:1", "2026-01-02", turns=(0, 2), value="blue")
    assert values([older, newer]) == ["blue", "blue", None]


def test_windows_of_other_projects_are_other_tasks_and_the_newest_answer_to_a_turn_stands():
    wide = said("a", "user:1", "2026-01-01", turns=(2, 4), uid="d#1", project="1", value="blue")
    narrow = said("b", "user:1", "2026-01-02", turns=(2,), uid="d#1", project="2")
    assert values([wide, narrow]) == [None, "red", "blue"]
    assert in_force([wide, narrow]) == {"a", "b"}


def test_a_withdrawn_annotation_does_not_count_and_lets_the_corpus_speak():
    gone = Annotation("a", "d", "user:1", "2026-01-02").with_marks([Mark(0, "withdrawn")])
    assert values([corpus(), said("a", "user:1", "2026-01-01"), gone]) == ["gold"] * 3


def test_annotations_of_turns_that_are_gone_are_counted():
    found = resolve([said("a", "user:1", "2026-01-01", turns=(0, 8)), corpus()], TURNS, ONTOLOGY)
    assert found.orphaned == 1
    assert [update is not None for update in found.updates] == [True, False, False]


def test_values_no_product_has_are_named():
    marks = [want("crimson"), avoid("grey"), Mark(2, "want", "price", "99")]
    found = resolve([Annotation("a", "d", "user:1").with_marks(marks)], TURNS, ONTOLOGY)
    assert list(found.values_without_product(ONTOLOGY)) == [("color", "grey"), ("price", "99")]


# --- several annotators, hand-worked


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_alike_answers_merge_and_name_everybody_whatever_the_spelling(policy: Policy):
    row = only([of("bo", want("Crimson")), of("ann", want("red"))], policy)
    assert row["state"] == {"color=red"}
    assert row["annotators"] == ["ann", "bo"]
    assert row["source_annotations"] == [f"of ann label {DAY}", f"of bo label {DAY}"]
    assert (row["decided_by"], row["disputed_slots"]) == ("agreement", [])


def test_two_of_three_decide_under_majority_and_the_third_is_no_source():
    row = only([of("ann", want("red")), of("bo", want("grey")), of("cy", want("red"))])
    assert (row["state"], row["annotators"], row["decided_by"]) == ({"color=red"}, ["ann", "cy"], "majority")
    assert row["labelled_slots"] == ["color", "price", "sleeveLength"]


def test_what_one_of_three_marks_is_not_in_the_label_and_the_two_silent_ones_are_its_sources():
    row = only([of("ann", want("red")), of("bo"), of("cy")])
    assert (row["state"], row["annotators"], row["decided_by"]) == (set(), ["bo", "cy"], "majority")


def test_a_value_is_decided_by_itself_in_a_slot_of_several():
    row = only([of("ann", want("red"), want("grey")), of("bo", want("red")), of("cy", want("grey"))])
    assert row["state"] == {"color=red", "color=grey"}


def test_halves_leave_their_slot_in_dispute_and_only_that():
    both = want("cheap", slot="price")
    row = only([of("ann", want("red"), both), of("bo", want("grey"), both)])
    assert (row["state"], row["decided_by"], row["disputed_slots"]) == ({"price=cheap"}, "disputed", ["color"])
    assert row["labelled_slots"] == ["price", "sleeveLength"]
    assert row["annotators"] == ["ann", "bo"]


def test_three_different_values_are_a_dispute_and_not_a_majority_for_none():
    row = only([of("ann", want("red")), of("bo", want("grey")), of("cy", want("blue"))])
    assert (row["disputed_slots"], row["labelled_slots"]) == (["color"], ["price", "sleeveLength"])


def test_wanted_by_one_and_disliked_by_the_other_is_a_dispute():
    assert only([of("ann", want("red")), of("bo", avoid("red"))])["disputed_slots"] == ["color"]


def test_under_adjudicated_one_of_three_is_enough_for_a_dispute():
    row = only([of("ann", want("red")), of("bo"), of("cy")], Adjudicated())
    assert (row["decided_by"], row["disputed_slots"]) == ("disputed", ["color"])


def test_two_unreliable_ones_are_outweighed_by_a_reliable_one():
    reliable, guessing = Reliability(0.99, 0.99), Reliability(0.55, 0.55)
    model = DawidSkene(0.5, {"ann": reliable, "bo": guessing, "cy": guessing}, 1, True)
    answers = [of("ann", want("red")), of("bo", want("grey")), of("cy", want("grey"))]
    # grey: odds (0.01 / 0.99) (0.55 / 0.45)^2 = 0.015; red: 99 (0.45 / 0.55)^2 = 66
    row = only(answers, Weighted(model))
    assert (row["state"], row["decided_by"], row["annotators"]) == ({"color=red"}, "dawid-skene", ["ann"])
    assert only(answers)["state"] == {"color=grey"}


def test_what_is_weighed_to_be_both_wanted_and_disliked_is_a_dispute():
    careful = Reliability(0.5, 0.99)  # marks half of what is there and next to nothing else
    model = DawidSkene(0.4, {"ann": careful, "bo": careful}, 1, True)
    assert only([of("ann", want("red")), of("bo", avoid("red"))], Weighted(model))["disputed_slots"] == ["color"]


def test_a_slot_in_dispute_stays_unknown_until_it_is_said_again():
    ann = of("ann", want("red"), want("grey", 4), turns=TURNS)
    bo = of("bo", avoid("red"), want("grey", 4), turns=TURNS)
    rows = states([ann, bo], turns=TURNS)
    assert [row["labelled_slots"] for row in rows] == [["price", "sleeveLength"]] * 2 + [
        ["color", "price", "sleeveLength"]
    ]
    assert [row["disputed_slots"] for row in rows] == [["color"], [], []]
    assert [row["state"] is None for row in rows] == [False] * 3


def test_a_disputed_new_topic_leaves_known_only_what_the_turn_itself_sets():
    topic = Mark(0, "new_topic")
    row = only([of("ann", want("red"), topic), of("bo", want("red"))])
    assert (row["state"], row["labelled_slots"]) == ({"color=red"}, ["color"])
    assert row["disputed_slots"] == ["price", "sleeveLength"]
    decided = only([of("ann", want("red"), topic), of("bo", want("red")), of("cy", want("red"), topic)])
    assert (decided["labelled_slots"], decided["decided_by"]) == (["color", "price", "sleeveLength"], "majority")


def test_a_turn_that_half_of_them_could_not_label_is_unlabelled_and_in_dispute():
    row = only([of("ann", want("red")), of("bo", Mark(0, "unsure"))])
    assert (row["state"], row["labelled_slots"], row["decided_by"]) == (None, [], "disputed")
    assert row["disputed_slots"] == ["color", "price", "sleeveLength"]


def test_who_could_not_label_a_turn_has_no_say_in_what_it_changes():
    row = only([of("ann", want("red")), of("bo", Mark(0, "unsure"), want("grey")), of("cy", want("red"))])
    assert (row["state"], row["annotators"], row["decided_by"]) == ({"color=red"}, ["ann", "cy"], "majority")


def test_most_of_them_could_not_label_the_turn():
    row = only([of("ann", want("red")), of("bo", Mark(0, "unsure")), of("cy", Mark(0, "bad_turn"))])
    assert (row["state"], row["annotators"], row["decided_by"]) == (None, ["bo", "cy"], "majority")


def test_a_bad_dialogue_is_unlabelled_throughout():
    bad = said("a", "user:1", "2026-01-02", turns=(0,), more=[Mark(0, "bad_dialogue")])
    good = said("b", "user:1", "2026-01-01", turns=(2, 4), uid="d#1")
    assert resolve([bad, good], TURNS, ONTOLOGY).updates == (TurnUpdate(readable=False),) * 3


def test_a_bad_dialogue_is_voted_on_and_those_outvoted_have_no_say_in_it():
    bad = of("ann", Mark(0, "bad_dialogue"), want("grey"))
    assert only([bad, of("bo", want("red"))])["decided_by"] == "disputed"
    row = only([bad, of("bo", want("red")), of("cy", want("red"))])
    assert (row["state"], row["annotators"], row["decided_by"]) == ({"color=red"}, ["bo", "cy"], "majority")
    row = only([bad, of("bo", Mark(0, "bad_dialogue")), of("cy", want("red"))])
    assert (row["state"], row["decided_by"]) == (None, "majority")


# --- verdicts


def test_a_verdict_decides_its_turns_and_no_others():
    ann, bo = (of(who, *(want(value, turn) for turn in TURNS)) for who, value in (("ann", "red"), ("bo", "grey")))
    verdict = of("chief", want("blue", 2), role="review", turns=(2,))
    found = resolve([ann, bo, verdict], TURNS, ONTOLOGY)
    assert [turn.decided_by for turn in found.turns] == ["disputed", "verdict", "disputed"]
    assert values([ann, bo, verdict]) == [None, "blue", None]
    assert [source.annotator for source in found.turns[1].sources] == ["chief"]
    assert len(found.in_force) == 3


def test_a_verdict_that_nothing_is_said_empties_the_turn_and_one_that_is_unsure_unlabels_it():
    answers = [of("ann", want("red")), of("bo", want("red"))]
    assert only([*answers, of("chief", role="review")])["state"] == set()
    assert only([*answers, of("chief", Mark(0, "unsure"), role="review")])["state"] is None


def test_the_newest_verdict_on_a_turn_stands():
    early, late = (
        of(who, want(value), at=at, role="review") for who, value, at in (("x", "red", "1"), ("a", "blue", "2"))
    )
    assert values([late, early])[0] == "blue"
    assert in_force([late, early]) == {late.annotation_id}


def test_a_reviewer_who_calls_the_dialogue_useless_unlabels_all_of_it():
    ann = of("ann", want("red"), turns=TURNS)
    verdict = of("chief", Mark(2, "bad_dialogue"), role="review", turns=(2,))
    found = resolve([ann, verdict], TURNS, ONTOLOGY)
    assert found.updates == (TurnUpdate(readable=False),) * 3
    assert {turn.decided_by for turn in found.turns} == {"verdict"}


def review(by: str, *marks: Mark, decides: Sequence[str] | None, at: str = "2026-02-01", **more: str) -> Annotation:
    """A review of turn 0 in which these slots were touched; None: taken over as a whole."""
    slots = (None,) if decides is None else decides
    kept = [Mark(0, "decided", slot, more.get("shown")) for slot in slots] or [Mark(0, "left_open")]
    return of(by, *marks, *kept, at=at, role="review", turns=())


def test_a_reviewer_decides_the_slots_they_touched_and_the_others_stay_open():
    ann = of("ann", want("red"), want("cheap", slot="price"), Mark(0, "drop", "sleeveLength"))
    bo = of("bo", want("grey"), want("25-50", slot="price"), Mark(0, "drop", "sleeveLength"))
    chief = review("chief", want("grey"), Mark(0, "drop", "sleeveLength"), decides=["color"])
    row = only([ann, bo, chief])
    assert (row["state"], row["decided_by"], row["disputed_slots"]) == ({"color=grey"}, "disputed", ["price"])
    assert row["labelled_slots"] == ["color", "sleeveLength"]
    assert row["annotators"] == ["ann", "bo", "chief"]
    later = review("boss", want("cheap", slot="price"), decides=["price"], at="2026-02-02")
    row = only([ann, bo, chief, later])
    assert (row["state"], row["decided_by"]) == ({"color=grey", "price=cheap"}, "verdict")
    assert only([ann, bo, later, review("chief", want("red"), decides=["color"], at="2026-02-03")])["state"] == {
        "color=red",
        "price=cheap",
    }


def test_a_slot_that_a_reviewer_emptied_says_nothing_and_is_decided():
    ann, bo = of("ann", want("red"), want("grey")), of("bo", want("red"))
    assert only([ann, bo])["state"] == set()
    row = only([ann, bo, review("chief", decides=["color"])])
    assert (row["state"], row["decided_by"], row["disputed_slots"]) == (set(), "verdict", [])


def test_agreed_slots_follow_the_annotators_after_the_review():
    ann, bo = of("ann", want("red"), want("cheap", slot="price")), of("bo", want("grey"), want("cheap", slot="price"))
    chief = review("chief", want("grey"), want("cheap", slot="price"), decides=["color"])
    both = [
        of(who, want(value), want("25-50", slot="price"), at="2026-03-01")
        for who, value in (("ann", "red"), ("bo", "grey"))
    ]
    assert only([ann, bo, chief])["state"] == {"color=grey", "price=cheap"}
    assert only([ann, bo, *both, chief])["state"] == {"color=grey", "price=25-50"}


def test_where_it_is_open_whether_the_topic_changes_a_reviewer_may_leave_it_so():
    ann, bo = of("ann", Mark(0, "new_topic"), want("red")), of("bo", want("grey"))
    row = only([ann, bo, review("chief", want("grey"), decides=["color"])])
    assert (row["state"], row["disputed_slots"]) == ({"color=grey"}, ["price", "sleeveLength"])
    row = only([ann, bo, review("chief", want("grey"), Mark(0, "new_topic"), decides=["", "color"])])
    assert (row["state"], row["decided_by"]) == ({"color=grey"}, "verdict")


def test_a_turn_that_nobody_but_the_reviewer_could_label_is_known_where_they_decided():
    answers = [of("ann", Mark(0, "unsure")), of("bo", Mark(0, "unsure"))]
    row = only([*answers, review("chief", want("red"), decides=["color"])])
    assert (row["state"], row["labelled_slots"], row["decided_by"]) == ({"color=red"}, ["color"], "disputed")
    assert only([*answers, review("chief", want("red"), decides=None)])["decided_by"] == "verdict"
    assert only([review("chief", want("red"), decides=["color"])])["labelled_slots"] == ["color"]  # others withdrew


def test_a_verdict_is_outdated_once_an_answer_that_nobody_showed_says_something_else():
    ann, bo = of("ann", want("red")), of("bo", want("grey"))
    chief = review("chief", want("red"), decides=["color"])

    def outdated(*answers: Annotation) -> list[str]:
        (turn,) = resolve([*answers], (0,), ONTOLOGY).turns
        return sorted(turn.outdated)

    assert outdated(ann, bo, chief) == []
    assert outdated(ann, of("bo", want("red"), at="2026-03-01"), chief) == []
    assert outdated(ann, of("bo", want("teal"), at="2026-03-01"), chief) == ["color"]
    assert outdated(ann, bo, of("cy", want("cheap", slot="price"), at="2026-03-01"), chief) == ["color"]
    assert outdated(ann, bo, of("cy", want("Crimson"), want("cheap", slot="price"), at="2026-03-01"), chief) == []
    (turn,) = resolve([ann, bo], (0,), ONTOLOGY).turns
    known = review("chief", want("red"), decides=["color"], shown=answers_sha256(turn.ballots))
    assert outdated(ann, bo, known) == []
    assert outdated(ann, of("bo", want("teal"), at="2026-01-15"), known) == ["color"]  # before, but not on the page


# --- of any answers

WHO = ("ann", "bo", "cy", "di")
_marks = st.one_of(
    st.builds(want, st.sampled_from(["red", "Crimson", "grey", "teal"]), st.sampled_from(TURNS)),
    st.builds(avoid, st.sampled_from(["red", "grey"]), st.sampled_from(TURNS)),
    st.builds(lambda turn: want("cheap", turn, "price"), st.sampled_from(TURNS)),
    st.builds(lambda turn, slot: Mark(turn, "drop", slot), st.sampled_from(TURNS), st.sampled_from(["color", "price"])),
    st.builds(Mark, st.sampled_from(TURNS), st.sampled_from(["new_topic", "unsure", "bad_turn"])),
    st.just(Mark(0, "bad_dialogue")),
)
_answers = st.lists(_marks, max_size=5)
_annotations = st.dictionaries(st.sampled_from(WHO), _answers, max_size=4).map(
    lambda answers: [of(who, *marks, turns=TURNS) for who, marks in answers.items()]
)
_policies = st.sampled_from(POLICIES)


def without_names(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [
        {key: value for key, value in row.items() if key not in ("annotators", "source_annotations", "decided_by")}
        for row in rows
    ]


@given(_answers, st.integers(2, 4), _policies)
def test_unanimous_answers_are_the_answer_of_one(marks: list[Mark], people: int, policy: Policy):
    alone = [of("ann", *marks, turns=TURNS)]
    together = [of(who, *marks, turns=TURNS) for who in WHO[:people]]
    assert without_names(states(together, policy, TURNS)) == without_names(states(alone, policy, TURNS))


@given(_answers, _policies)
def test_one_annotator_alone_is_taken_as_is(marks: list[Mark], policy: Policy):
    alone = of("ann", *marks, turns=TURNS)
    useless = Mark(0, "bad_dialogue") in alone.marks
    expected = [TurnUpdate(readable=False) if useless else turn_update(alone.turns()[turn]) for turn in TURNS]
    found = resolve([alone], TURNS, ONTOLOGY, policy)
    assert list(found.updates) == expected
    assert {turn.decided_by for turn in found.turns} == {"one"}


def plain(found: Resolution) -> tuple[object, ...]:
    return found.turns, found.in_force, found.orphaned


@given(_annotations, _policies, st.randoms(use_true_random=False))
def test_the_order_of_annotations_does_not_matter(given: list[Annotation], policy: Policy, order: random.Random):
    shuffled = order.sample(given, len(given))
    assert plain(resolve(shuffled, TURNS, ONTOLOGY, policy)) == plain(resolve(given, TURNS, ONTOLOGY, policy))


@given(st.lists(_answers, min_size=1, max_size=4), _policies, st.permutations(WHO))
def test_who_says_what_does_not_matter_where_all_count_the_same(
    answers: list[list[Mark]], policy: Policy, names: list[str]
):
    given, renamed = (
        [of(who, *marks, turns=TURNS) for who, marks in zip(people, answers, strict=False)] for people in (WHO, names)
    )
    assert without_names(states(given, policy, TURNS)) == without_names(states(renamed, policy, TURNS))


@given(_annotations, _policies, _answers.filter(lambda marks: Mark(0, "bad_dialogue") not in marks))
def test_a_verdict_always_wins(given: list[Annotation], policy: Policy, marks: list[Mark]):
    verdict = of("chief", *(mark for mark in marks if mark.turn == 2), role="review", turns=(2,))
    turn = resolve([*given, verdict], TURNS, ONTOLOGY, policy).turns[1]
    assert (turn.update, turn.decided_by) == (turn_update(verdict.turns()[2]), "verdict")


@given(_annotations, _policies)
def test_what_is_in_dispute_is_unknown_and_unlabelled_is_never_empty(given: list[Annotation], policy: Policy):
    for row in states(given, policy, TURNS):
        set_here = {item["slot"] for item in row["state"] or ()}  # type: ignore[attr-defined]
        assert set_here <= set(row["labelled_slots"])  # type: ignore[call-overload]
        assert not set(row["disputed_slots"]) & set(row["labelled_slots"])  # type: ignore[call-overload]
        assert (row["state"] is None) == (not row["labelled_slots"])


@given(_annotations, _policies)
def test_every_update_comes_from_annotations_in_force_that_speak_of_its_turn(given: list[Annotation], policy: Policy):
    found = resolve(given, TURNS, ONTOLOGY, policy)
    assert {each.key for each in found.in_force} == {each.key for each in given}
    for turn in found.turns:
        assert (turn.update is None) == (not turn.sources) == (turn.decided_by is None)
        assert all(source in found.in_force and turn.turn in source.turns() for source in turn.sources)


@given(_annotations, st.sampled_from(POLICIES), st.sampled_from(TURNS), _answers)
def test_a_review_left_as_it_was_changes_nothing(
    answers: list[Annotation], policy: Policy, turn: int, marks: list[Mark]
):
    shown = [mark for mark in marks if mark.turn == turn and mark.op != "bad_dialogue"] or [Mark(turn, "none")]
    left = of("chief", *shown, Mark(turn, "left_open"), at="2026-02-01", role="review", turns=())
    before, after = (resolve(given, TURNS, ONTOLOGY, policy) for given in (answers, [*answers, left]))
    assert after.turns == before.turns
    assert {*after.in_force} == {*before.in_force, left}


@given(_annotations, st.sampled_from(POLICIES), st.sampled_from(["red", "grey", None]))
def test_what_a_reviewer_decides_of_one_slot_holds_and_the_other_slots_stay_as_they_were(
    answers: list[Annotation], policy: Policy, value: str | None
):
    said = [want(value)] if value else []
    before, after = (
        resolve(given, TURNS, ONTOLOGY, policy).turns[0]
        for given in (answers, [*answers, review("chief", *said, decides=["color"])])
    )
    assert after.update is not None
    assert after.update.want.get("color") == ((value,) if value else None)
    assert not after.update.dislike.get("color")
    if before.update is not None and before.update.readable and not before.update.new_topic:
        for name in ("price", "sleeveLength"):
            assert after.update.want.get(name) == before.update.want.get(name)
            assert (name in after.update.drop) == (name in before.update.drop)
            assert (name in after.disputed_slots) == (name in before.disputed_slots)
