"""Every figure against plain loops over the answers."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from annotate.agreement.aligned_labels import CellReader, Element
from annotate.agreement.coefficients import DISTANCES, Distance
from annotate.agreement.figures import Figures, measure
from annotate.agreement.report import GOOD, TENTATIVE, word
from annotate.annotations.annotation import turn_update
from annotate.resolution.ballots import items_of
from schemas.accumulate import accumulate
from tests.annotate.agreement.given_answers import (
    ONTOLOGY,
    SLOTS,
    TURNS,
    Dialogues,
    dialogues,
    mark,
    plain_cells,
    plain_pairs,
    plain_turns,
    tallied,
)
from tests.annotate.agreement.plain_alpha import alpha_of_units

THREE: Dialogues = [
    {"ann": {0: ["color=red"], 2: ["size=S"]}, "bo": {0: ["color=crimson"], 2: []}, "cy": {0: ["color=blue"]}},
    {"ann": {0: [], 2: ["color=red", "color=blue"]}, "bo": {0: ["new_topic"], 2: ["color=blue"], 4: ["size=XL"]}},
]


def figures(
    given: Dialogues, distance: Distance = "nominal", weights: list[int] | None = None
) -> dict[str, np.ndarray]:
    tally = tallied(given, distance)
    counted = np.ones((1, len(tally.dialogues))) if weights is None else np.array([weights], float)
    return {name: values[0] for name, values in Figures(tally).at(counted).items()}


def equal(found: float, expected: float) -> bool:
    return (math.isnan(found) and math.isnan(expected)) or math.isclose(found, expected, abs_tol=1e-9)


def over(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def units_of(given: Dialogues, slot: str) -> list[list[frozenset[Element]]]:
    def cell(things: frozenset[str]) -> frozenset[Element]:
        return frozenset(Element("want", thing) for thing in things)

    return [[cell(cells[slot]) for cells in read.values()] for _, _, read in plain_turns(given)]


def test_a_small_corpus_worked_by_hand():
    found = figures(THREE)
    # color: units (red red blue), (- -), (- - ) of turn 2 of d0, (red+blue blue); size: (- - -), (S -), (- -), (- -).
    # color: 9 values: red 2, blue 2, both 1, nothing 4; observed 2*1*2/2 + 2 = 4; expected (81-4-4-1-16)/8 = 7
    color, size, new_topic = found["slot_alpha"]
    assert color == pytest.approx(1 - 4 / 7)
    # size: 9 values: S 1, nothing 8; observed 2; expected (81 - 1 - 64) / 8 = 2
    assert size == pytest.approx(1 - 2 / 2)
    assert new_topic == pytest.approx(0)
    assert found["alpha"] == pytest.approx(1 - (4 + 2) / (7 + 2))
    # pairs: red red 1 of 1+1, red blue twice, S -, red+blue blue 1 of 2+1: both 2, said 2+2+2+1+3 = 10
    assert found["f1"] == pytest.approx(2 * 2 / 10)
    # of six pairs of answers only ann and bo at turn 0 of d0 say the same
    assert found["same"] == pytest.approx(1 / 6)


@given(dialogues, st.sampled_from(DISTANCES))
def test_alpha_of_each_slot_is_that_of_its_cells(given: Dialogues, distance: Distance):
    found = figures(given, distance)
    for slot, alpha in zip(SLOTS, found["slot_alpha"], strict=True):
        assert equal(alpha, alpha_of_units(units_of(given, slot), distance))


@given(dialogues)
def test_overall_alpha_adds_up_disagreements_within_slots(given: Dialogues):
    observed = expected = 0.0
    for slot in ("color", "size"):
        values = [value for unit in units_of(given, slot) for value in unit]
        apart = sum(one != other for one, other in combinations(values, 2)) * 2
        expected += apart / (len(values) - 1) if len(values) > 1 else 0
        for unit in units_of(given, slot):
            observed += 2 * sum(one != other for one, other in combinations(unit, 2)) / (len(unit) - 1)
    assert equal(float(figures(given)["alpha"]), 1 - over(observed, expected))


@given(dialogues)
def test_kappa_of_a_pair_is_that_of_scikit_learn_in_each_slot(given: Dialogues):
    tally = tallied(given)
    kappas = Figures(tally).group_slot_kappa()
    for group, number in tally.groups.numbers.items():
        if group.kind == "pair":
            for place, slot in enumerate(SLOTS):
                cells = [
                    (str(sorted(first[slot])), str(sorted(second[slot])))
                    for _, _, one, other, first, second in plain_pairs(given)
                    if (one, other) == (group.first, group.second)
                ]
                first, second = zip(*cells, strict=True)
                theirs = math.nan if len({*first, *second}) == 1 else cohen_kappa_score(first, second)
                assert equal(kappas[number, place], theirs)


@given(dialogues)
def test_f1_and_joint_goal_accuracy_are_those_of_plain_loops(given: Dialogues):
    tally, found = tallied(given), figures(given)
    states = {}
    for number, answers in enumerate(given):
        for who, turns in answers.items():
            updates = [
                turn_update(mark(turn, text.replace("colour", "color")) for text in turns[turn])
                if turn in turns
                else None
                for turn in TURNS
            ]
            states[number, who] = dict(zip(TURNS, accumulate(updates, ONTOLOGY), strict=True))
    totals = np.zeros(6)
    per_pair: dict[tuple[str, str], np.ndarray] = {}
    per_person: dict[str, np.ndarray] = {}
    for number, turn, one, other, first, second in plain_pairs(given):
        things = [{(slot, thing) for slot in ("color", "size") for thing in cells[slot]} for cells in (first, second)]
        mine, theirs = states[number, one][turn], states[number, other][turn]
        known = mine.known_slots & theirs.known_slots
        held = [
            {(i.slot, i.value.casefold(), i.polarity) for i in s.state or () if i.slot in known} for s in (mine, theirs)
        ]
        counts = [len(things[0] & things[1]), len(things[0]), len(things[1]), bool(known)]
        counts += [bool(known) and held[0] == held[1], first == second]
        totals += counts
        per_pair.setdefault((one, other), np.zeros(6))[:] += counts
        swapped = [counts[0], counts[2], counts[1], *counts[3:]]
        per_person.setdefault(one, np.zeros(6))[:] += counts
        per_person.setdefault(other, np.zeros(6))[:] += swapped
    assert equal(found["f1"], over(2 * totals[0], totals[1] + totals[2]))
    assert equal(found["joint_goal_accuracy"], over(totals[4], totals[3]))
    for group, number in tally.groups.numbers.items():
        if group.kind == "pair":
            both, mine, theirs, known, joint, _ = per_pair[group.first, group.second]
            assert equal(found["group_f1"][number], over(2 * both, mine + theirs))
            assert equal(found["group_joint_goal_accuracy"][number], over(joint, known))
    for who, number in tally.annotators.numbers.items():
        both, mine, theirs, known, joint, _ = per_person[who]
        assert equal(found["annotator_precision"][number], over(both, mine))
        assert equal(found["annotator_recall"][number], over(both, theirs))
        assert equal(found["annotator_f1"][number], over(2 * both, mine + theirs))
        assert equal(found["annotator_joint_goal_accuracy"][number], over(joint, known))


@given(dialogues)
def test_agreement_on_one_value_is_alpha_of_saying_it(given: Dialogues):
    tally, found = tallied(given), figures(given)
    for (slot, element), key in tally.elements.numbers.items():
        units = [
            [
                str(str(element) in cells[SLOTS[slot]] or (element.op == "new_topic" and bool(cells[SLOTS[slot]])))
                for cells in read.values()
            ]
            for _, _, read in plain_turns(given)
        ]
        assert equal(found["element_alpha"][key], alpha_of_units(units))
        pairs = [pair for unit in units for pair in combinations(unit, 2)]
        both = sum(one == other == "True" for one, other in pairs)
        said = sum((one == "True") + (other == "True") for one, other in pairs)
        assert equal(found["element_f1"][key], over(2 * both, said))


@given(dialogues)
def test_overall_alpha_is_the_weighted_mean_of_annotators_and_of_dialogues(given: Dialogues):
    tally, found = tallied(given), figures(given)
    if math.isnan(found["alpha"]):
        return
    turns = tally.annotators.sums(np.ones((1, len(tally.dialogues))))["turns"][0]
    assert found["alpha"] == pytest.approx(np.average(found["annotator_alpha"], weights=turns))
    answers = tally.annotators.of_dialogues("turns")
    assert found["alpha"] == pytest.approx(np.average(Figures(tally).dialogue_alpha(), weights=answers))


@settings(max_examples=50)
@given(dialogues, st.sampled_from(DISTANCES), st.data())
def test_weights_count_dialogues_as_if_they_were_there_more_often(
    given: Dialogues, distance: Distance, data: st.DataObject
):
    comparable = [answers for answers in given if any(plain_turns([answers]))]
    weights = [data.draw(st.integers(0, 3)) for _ in comparable]
    found = figures(comparable, distance, weights)
    repeated = [answers for answers, times in zip(comparable, weights, strict=True) for _ in range(times)]
    expected = figures(repeated, distance)
    for name in ("alpha", "slot_alpha", "f1", "slot_f1", "joint_goal_accuracy", "same"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-9, err_msg=name)
    first, again = tallied(comparable), tallied(repeated)
    for who, number in again.annotators.numbers.items():
        assert equal(found["annotator_alpha"][first.annotators.numbers[who]], expected["annotator_alpha"][number])
    for group, number in again.groups.numbers.items():
        assert equal(found["group_kappa"][first.groups.numbers[group]], expected["group_kappa"][number])


@given(dialogues)
def test_the_order_of_annotators_and_their_names_change_nothing(given: Dialogues):
    names = {"ann": "zoe", "bo": "bo", "cy": "abe"}
    renamed = [{names[who]: turns for who, turns in answers.items()} for answers in given]
    one, other = figures(given), figures(renamed)
    for name in ("alpha", "slot_alpha", "f1", "joint_goal_accuracy"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-12)


@given(dialogues)
def test_a_report_can_be_made_of_anything(given: Dialogues):
    tally = tallied(given)
    report = measure(tally, bootstrap=20)
    found = report.as_json()
    assert (report.alpha.value is None) == (report.undefined is not None)
    assert found["overall"]["turns"] == sum(1 for _ in plain_turns(given))
    assert sum(each["count"] for each in found["confusions"] + found["omissions"]) >= bool(report.differing_turns)
    for slot in report.slots:
        assert (slot.alpha.value is None) == (slot.undefined is not None)
    for estimate in (report.alpha, report.f1, *(slot.alpha for slot in report.slots)):
        if estimate.low is not None and estimate.high is not None:
            assert estimate.low <= estimate.high


# --- how answers are read


@given(st.lists(st.sampled_from(["color=red", "!colour=CRIMSON", "color=teal", "size=XL", "drop=size"]), max_size=4))
def test_values_are_told_apart_as_when_answers_are_resolved(texts: list[str]):
    marks = [mark(0, text) for text in texts]
    reader = CellReader(ONTOLOGY)
    update = reader.update(marks)
    assert update is not None
    read = {(e.op, SLOTS[slot], e.value.casefold()) for slot, cell in reader.cells(update).items() for e in cell}
    items = {tuple(item) for item in items_of(marks, ONTOLOGY)}
    both_ways = {("want", slot, value) for op, slot, value in items if op == "dislike"}
    assert read == items - both_ways


def test_an_unsure_answer_is_missing_and_not_an_empty_one():
    assert plain_cells(["unsure"]) is None
    both = [{"ann": {0: ["unsure"]}, "bo": {0: ["color=red"]}}]
    assert measure(tallied(both)).turns == 0


def test_marks_of_an_unknown_slot_are_counted_and_left_out():
    reader = CellReader(ONTOLOGY)
    update = reader.update([mark(0, "fit=slim"), mark(0, "color=red")])
    assert update is not None
    assert [list(map(str, cell)) for cell in reader.cells(update).values()] == [["red"]]
    assert reader.unknown_slots == {"fit": 1}


def test_a_slot_of_which_one_answer_does_not_tell_is_a_missing_value():
    told = [{"ann": {0: ["color=red"], 2: ["size=S"]}, "bo": {0: ["color=blue"], 2: ["size=S"]}, "cy": {0: [], 2: []}}]
    report = measure(tallied(told))
    assert {slot.slot: slot.n for slot in report.slots} == {"color": 2, "size": 2}
    from annotate.agreement.aligned_labels import read_dialogue
    from annotate.agreement.tally import Tally
    from annotate.annotations.annotation import Mark
    from tests.annotate.agreement.given_answers import annotation

    given = [annotation("d0", who, turns) for who, turns in told[0].items()]
    # cy answered before the slot color was there; ann's size at turn 2 is not told, bo's neither: no unit is left
    given[2] = given[2].with_marks([*given[2].marks, Mark(0, "unknown", "color"), Mark(2, "unknown", "color")])
    given[0] = given[0].with_marks([m for m in given[0].marks if m.slot != "size"] + [Mark(2, "unknown", "size")])
    given[1] = given[1].with_marks([m for m in given[1].marks if m.slot != "size"] + [Mark(2, "unknown", "size")])
    reader = CellReader(ONTOLOGY)
    tally = Tally(reader.slots)
    tally.add("d0", read_dialogue(given, TURNS, reader, ONTOLOGY))
    found = measure(tally)
    assert {slot.slot: slot.n for slot in found.slots} == {"color": 2, "size": 1}
    # color: (red blue), (- -): four values, one pair apart: 1 - 2 / ((16 - 1 - 1 - 4) / 3)
    assert {slot.slot: slot.alpha.value for slot in found.slots}["color"] == pytest.approx(1 - 2 / (10 / 3))
    # size: (- - -) only
    assert {slot.slot: slot.alpha.value for slot in found.slots}["size"] is None
    assert math.isclose(found.alpha.value or 0, 1 - 2 / (10 / 3))


def test_verdicts_and_prelabels_are_compared_on_their_own():
    from annotate.agreement.aligned_labels import read_dialogue
    from annotate.agreement.tally import Tally
    from tests.annotate.agreement.given_answers import annotation

    given = [
        annotation("d0", "ann", {0: ["color=red"], 2: ["size=S"]}, prelabel="lexicon-1", untouched=True),
        annotation("d0", "bo", {0: ["color=blue"], 2: ["size=S"]}, prelabel="lexicon-1"),
        annotation("d0", "cy", {0: ["color=blue"], 2: []}),
        annotation("d0", "boss", {0: ["color=blue"]}, role="review"),
    ]
    reader = CellReader(ONTOLOGY)
    tally = Tally(reader.slots)
    tally.add("d0", read_dialogue(given, TURNS, reader, ONTOLOGY))
    report = measure(tally)
    same = {each.first: (each.same.value, each.turns) for each in report.verdicts}
    assert same == {"ann": (0.0, 1), "bo": (1.0, 1), "cy": (1.0, 1)}
    assert {each.first: (each.same.value, each.turns) for each in report.prelabels} == {
        "with": (0.5, 2),
        "mixed": (0.25, 4),
    }
    assert "boss" not in tally.annotators.numbers
    assert {each.annotator: each.untouched for each in report.annotators} == {"ann": 2, "bo": 0, "cy": 0}
    assert report.as_json()["prelabels"]["with"]["same"]["value"] == 0.5


def test_what_is_mixed_up_is_what_remains_after_what_both_say():
    given = [
        {"ann": {0: ["color=red", "color=blue"], 2: ["!color=red"]}, "bo": {0: ["color=blue"], 2: ["color=crimson"]}},
        {"ann": {0: ["color=red"]}, "bo": {0: ["color=red", "color=blue"]}},
    ]
    report = measure(tallied(given))
    confusions = [(each.slot, each.first, each.second, each.count) for each in report.confusions]
    assert confusions == [("color", "not red", "red", 1)]
    assert {(each.first, each.second, each.count) for each in report.omissions} == {
        ("red", "nothing", 1),
        ("blue", "nothing", 1),
    }
    (where,) = report.confusions[0].examples
    assert (where.dialogue_id, where.turn, where.first, where.second) == ("d0", 2, "ann", "bo")


def test_dialogues_are_listed_worst_first():
    given = [
        {"ann": {0: ["color=red"], 2: ["color=red"]}, "bo": {0: ["color=red"], 2: ["color=blue"]}},
        {"ann": {0: ["color=blue"]}, "bo": {0: ["color=blue"]}},
        {"ann": {0: ["color=blue"]}, "bo": {0: ["size=S"]}},
    ]
    report = measure(tallied(given))
    assert [each.dialogue_id for each in report.worst] == ["d2", "d0", "d1"]
    assert [(each.turns, each.differing_turns) for each in report.worst] == [(1, 1), (2, 1), (1, 0)]
    assert report.worst[2].alpha == 1.0


def test_words_follow_krippendorffs_thresholds():
    assert [word(alpha) for alpha in (None, TENTATIVE - 1e-6, TENTATIVE, GOOD - 1e-6, GOOD, 1.0)] == [
        "undefined",
        "poor",
        "tentative",
        "tentative",
        "good",
        "good",
    ]
