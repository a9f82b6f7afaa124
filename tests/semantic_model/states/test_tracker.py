from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from schemas.accumulate import accumulate
from schemas.belief import BeliefState, SlotValue, TurnUpdate
from schemas.mentions import Words
from semantic_model.states.features import AliasTable
from semantic_model.states.logistic import Example, Logistic
from semantic_model.states.taught import TaughtTracker, _lessons, _sure_lessons
from semantic_model.states.tracker import (
    FEWEST_DIALOGUES,
    Beliefs,
    LabelledDialogue,
    Rows,
    RuleTracker,
    StateTracker,
    TurnState,
    fit_tracker,
    product_choices,
)
from semantic_model.states.turn_reading import TurnReader
from tests.semantic_model.states.shop import ATTRIBUTES, SHOP, labelled, state, turns

TEACHERS = [labelled(number) for number in range(24)]
TAUGHT = TaughtTracker.fit(TEACHERS, SHOP, ATTRIBUTES)


def predicted(*said: str) -> list[TurnUpdate]:
    rows = turns(*(part for text in said for part in (("user", text), ("system", "How about this?", "a"))))
    return [read.update for read in TAUGHT.track(rows)]


def test_labels_teach_other_words_for_values():
    assert predicted("I need a red coat", "Something posh, please")[1] == TurnUpdate(want={"price": ("40 and over",)})
    assert TAUGHT.aliases.values["posh"] == {("price", "40 and over"): 1.0}


def test_labels_teach_which_mentions_people_mark():
    assert predicted("I need a blue dress", "Who makes that coat?") == [
        TurnUpdate(want={"color": ("blue",), "type": ("dress",)}),
        TurnUpdate(),
    ]


def test_labels_that_are_silent_about_what_to_avoid_leave_it_to_the_rules():
    """Some of the dialogues refuse a colour, which no label says."""
    said = ["I need a red coat", "no blue please"] * 12
    wanted = state(color="red", type="coat")
    dialogues = [
        LabelledDialogue(turns(("user", text), dialogue=f"d{at}"), {0: wanted * ("need" in text)})
        for at, text in enumerate(said)
    ]
    tracker = TaughtTracker.fit(dialogues, SHOP, ATTRIBUTES)
    rows = turns(("user", "I need a red coat"), ("system", "This?", "a"), ("user", "No black please"))
    *_, last = tracker.track(rows)
    assert SlotValue("color", "black", "dislike") in last.state
    assert last.beliefs["color", "black", "dislike"] == pytest.approx(0.85)


def test_labels_teach_what_is_not_to_be_avoided():
    """They mark it where red is refused, and never where blue is."""
    red = ("no red shoes", (SlotValue("color", "red", "dislike"),))
    dialogues = [
        LabelledDialogue(turns(("user", text), dialogue=f"d{number}"), {0: held})
        for number, (text, held) in enumerate([red, ("no blue coat", ())] * 12)
    ]
    tracker = TaughtTracker.fit(dialogues, SHOP, ATTRIBUTES)
    for text, held in (red, ("no blue coat", ())):
        (read,) = tracker.track(turns(("user", text)))
        assert read.state == held


def test_labels_teach_that_another_kind_starts_over():
    update = predicted("I need a blue dress", "Show me shoes")[1]
    assert update.want == {"type": ("shoes",)}
    assert update.new_topic or update.drop == {"color"}


def test_the_same_labels_teach_the_same_lexicon():
    again = TaughtTracker.fit(TEACHERS, SHOP, ATTRIBUTES)
    assert again.wanted.weights == TAUGHT.wanted.weights
    rows = labelled(77).rows
    assert again.track(rows) == TAUGHT.track(rows)


def test_a_score_is_a_probability_and_higher_where_the_words_are_known():
    scores = [read.sure for read in TAUGHT.track(labelled(5).rows)]
    assert all(0 < score <= 1 for score in scores)
    (strange,) = TAUGHT.track(turns(("user", "black or blue, coat, dress or striped shoes, who knows")))
    assert strange.sure < scores[0]


def test_turns_without_gold_teach_nothing():
    holes = [LabelledDialogue(each.rows, {**each.states, 2: None}) for each in TEACHERS]
    assert "posh" not in TaughtTracker.fit(holes, SHOP, ATTRIBUTES).aliases.values


def test_a_dialogue_labelled_in_one_turn_is_read_by_rules_around_it():
    """The label says "white" where the rules read "black": they read on from what it says."""
    each = labelled(0)
    some = LabelledDialogue(each.rows, {2: state(color="white", type="dress")})
    reader = TurnReader(SHOP)
    lessons = [(plain(one.before), plain(one.after), one.source) for one in _lessons(some, reader, ATTRIBUTES)]
    black, white = ({("color", color, "like"), ("type", "dress", "like")} for color in ("black", "white"))
    coat = {("type", "coat", "like")}
    assert lessons == [(set(), black, "rules"), (black, white, "label"), (white, coat, "rules")]
    assert not list(_lessons(LabelledDialogue(each.rows, {2: None}), reader, ATTRIBUTES))
    assert all(one.source == "label" for one in _lessons(each, reader, ATTRIBUTES))


def test_of_a_turn_labelled_in_some_slots_the_rules_read_the_others():
    """The label says "white", and nothing of the pattern; of the type, on which it is silent, rules say "dress"."""
    each = labelled(0)
    some = LabelledDialogue(each.rows, {2: state(color="white")}, {2: frozenset({"color", "pattern"})})
    _, lesson, after = _lessons(some, TurnReader(SHOP), ATTRIBUTES)
    assert plain(lesson.before) == {("color", "black", "like"), ("type", "dress", "like")}
    assert plain(lesson.after) == {("color", "white", "like"), ("type", "dress", "like")} == plain(after.before)
    assert [lesson.source_of(slot) for slot in ("color", "pattern", "type")] == ["label", "label", "rules"]
    assert plain(lesson.labels(lesson.after)) == {("color", "white", "like")}
    assert some.whole(2) is None
    assert not RuleTracker(TurnReader(SHOP), ATTRIBUTES).beliefs_given(some)


def test_labels_of_some_slots_teach_words_and_are_none_of_those_that_a_tracker_needs():
    parts = [
        LabelledDialogue(
            each.rows,
            {turn: tuple(item for item in said or () if item.slot == "price") for turn, said in each.states.items()},
            dict.fromkeys(each.states, frozenset({"price"})),
        )
        for each in TEACHERS
    ]
    taught = TaughtTracker.fit(parts, SHOP, ATTRIBUTES)
    assert taught.aliases.values["posh"] == {("price", "40 and over"): 1.0}
    assert isinstance(fit_tracker(parts, SHOP, ATTRIBUTES), RuleTracker)
    assert isinstance(fit_tracker([*TEACHERS[:FEWEST_DIALOGUES], *parts], SHOP, ATTRIBUTES), TaughtTracker)


def test_labels_of_single_turns_teach_words():
    turns = [LabelledDialogue(each.rows, {2: each.states[2]}) for each in TEACHERS]
    tracker = fit_tracker(turns, SHOP, ATTRIBUTES)
    assert isinstance(tracker, TaughtTracker)
    assert tracker.aliases.values["posh"] == {("price", "40 and over"): 1.0}
    read = tracker.track(labelled(0).rows)
    assert plain(read[1].state) == plain(labelled(0).states[2] or ())


class Teacher:
    """Reads what it is told to, and is as sure of it as it is told to be."""

    version = "told"

    def __init__(self, *told: tuple[BeliefState, float]) -> None:
        self.told = told

    def track(self, rows: Rows) -> list[TurnState]:
        turns = [row["turn"] for row in rows if row["speaker"] == "user"]
        return [
            TurnState(turn, TurnUpdate(), said, sure, {}) for turn, (said, sure) in zip(turns, self.told, strict=True)
        ]

    def beliefs_given(self, dialogue: LabelledDialogue) -> dict[int, Beliefs]:
        raise NotImplementedError


def test_a_tracker_learns_from_the_turns_alone_that_it_is_sure_of():
    """The unsure turn in the middle teaches nothing, and stands before the last one all the same."""
    red, blue, coat = state(color="red"), state(color="blue"), state(type="coat")
    teacher = Teacher((red, 0.95), (blue, 0.5), (coat, 0.9))
    lessons = list(_sure_lessons(labelled(0).rows, teacher, TurnReader(SHOP), ATTRIBUTES))
    assert [(one.turn.number, one.before, one.after, one.source) for one in lessons] == [
        (0, (), red, "itself"),
        (4, blue, coat, "itself"),
    ]


def test_what_rules_read_teaches_throughout_as_they_never_know():
    reader = TurnReader(SHOP)
    lessons = list(_sure_lessons(labelled(0).rows, RuleTracker(reader, ATTRIBUTES), reader, ATTRIBUTES))
    assert [one.turn.number for one in lessons] == [0, 2, 4]


def test_self_training_teaches_beside_labels_and_without_any():
    others = [labelled(number).rows for number in range(30, 60)]
    taught = fit_tracker(TEACHERS, SHOP, ATTRIBUTES, unlabelled=others)
    assert re.fullmatch(r"lexicon-v1@ontology1\+24dialogues\+30unlabelled:[0-9a-f]{6}", taught.version)
    assert taught.version != fit_tracker(TEACHERS, SHOP, ATTRIBUTES, unlabelled=others[1:] + others[:1]).version
    assert isinstance(taught, TaughtTracker)
    assert taught.changes.weights != TAUGHT.changes.weights
    assert taught.aliases.values == TAUGHT.aliases.values  # words are learned from labels alone
    by_itself = fit_tracker((), SHOP, ATTRIBUTES, unlabelled=others)
    assert isinstance(by_itself, TaughtTracker)
    read = by_itself.track(turns(("user", "I need a red coat")))
    assert plain(read[0].state) == {("color", "red", "like"), ("type", "coat", "like")}
    assert fit_tracker(TEACHERS, SHOP, ATTRIBUTES, unlabelled=()).version == TAUGHT.version


def test_a_value_that_no_ontology_lists_is_known_from_one_label():
    """Aliases want two dialogues; a value's own words in a label do with one."""
    rows = turns(("user", "I need a mauve coat"), dialogue="m")
    mauve = (*state(type="coat"), SlotValue("color", "mauve", "like"))
    tracker = fit_tracker([*TEACHERS, LabelledDialogue(rows, {0: mauve})], SHOP, ATTRIBUTES)
    assert ("color", "mauve") not in TAUGHT.reader.named("a mauve dress")
    assert ("color", "mauve") in tracker.reader.named("a mauve dress")  # type: ignore[attr-defined]
    assert ("color", "mauve", "like") in plain(tracker.track(turns(("user", "I need a mauve dress")))[0].state)


def test_doubts_worked_by_hand():
    """Red is held and doubted by 0.3, blue is not and may be with 0.2, the coat nobody believes in any more."""
    beliefs: Beliefs = {("color", "red", "like"): 0.7, ("color", "blue", "like"): 0.2}
    read = TurnState(0, TurnUpdate(), state(color="red", type="coat"), 1.0, beliefs)
    assert read.doubts == {
        ("color", "red", "like"): pytest.approx(0.3),
        ("color", "blue", "like"): 0.2,
        ("type", "coat", "like"): 1.0,
    }
    assert TurnState(0, TurnUpdate(), (), 1.0, {}).doubts == {}


def test_a_tracker_learns_from_twenty_dialogues_on():
    others = [labelled(number) for number in range(4, 24)]
    rows = labelled(0).rows
    few = fit_tracker(others[1:], SHOP, ATTRIBUTES)
    assert few.version == "lexicon-v1@ontology1"
    enough = fit_tracker(others, SHOP, ATTRIBUTES)
    assert re.fullmatch(rf"lexicon-v1@ontology1\+{FEWEST_DIALOGUES}dialogues:[0-9a-f]{{6}}", enough.version)
    relabelled = [*others[:-1], LabelledDialogue(others[-1].rows, {**others[-1].states, 4: ()})]
    assert fit_tracker(relabelled, SHOP, ATTRIBUTES).version != enough.version
    read = few.track(rows)
    assert read[2].update == TurnUpdate(want={"type": ("coat",)}, new_topic=True)
    assert read[1].sure == 0.85
    states = list(labelled(0).states.values())
    assert [each.state for each in accumulate([each.update for each in enough.track(rows)], SHOP)] == states


def plain(state: Iterable[SlotValue]) -> set[tuple[str, str, str]]:
    return {(item.slot, item.value, item.polarity) for item in state}


@pytest.mark.parametrize("tracker", [TAUGHT, fit_tracker((), SHOP, ATTRIBUTES)])
def test_what_a_tracker_reads_hangs_together(tracker: StateTracker):
    """Updates accumulate to states, and beliefs are probabilities that favour what the state says."""
    for number in range(8):
        read = tracker.track(labelled(number).rows)
        reached = accumulate([each.update for each in read], SHOP)
        for each, known in zip(read, reached, strict=True):
            assert plain(each.state) == plain(known.state or ())
            assert all(0 < belief <= 1 for belief in each.beliefs.values())
            assert all(each.beliefs[item] > 0.5 for item in plain(each.state))


def test_beliefs_worked_by_hand():
    """A slot of one value: said 0.6 and 0.2 of it; what was believed before stays with 0.5 where neither is."""
    evidence = SimpleNamespace(keep_features=lambda slot, value, new: ["stays"])
    tracker = replace(TAUGHT, kept=Logistic({}), single=frozenset({"color"}))  # no weight: it stays with 0.5
    said: Beliefs = {("color", "red", "like"): 0.6, ("color", "blue", "like"): 0.2, ("type", "coat", "dislike"): 0.9}
    before: Beliefs = {("color", "black", "like"): 1.0, ("color", "red", "like"): 0.5, ("type", "dress", "like"): 0.8}
    found = tracker._believed(evidence, said, {}, before, moves=False)  # type: ignore[arg-type]
    assert found == {
        ("color", "red", "like"): pytest.approx(0.6 + 0.2 * 0.5 * 0.5),
        ("color", "blue", "like"): pytest.approx(0.2),
        ("color", "black", "like"): pytest.approx(0.2 * 0.5 * 1.0),
        ("type", "coat", "dislike"): pytest.approx(0.9),
        ("type", "dress", "like"): pytest.approx(0.4),
    }


LIKE = "like"


def test_beliefs_given_labels_worked_by_hand():
    """Without weights all is as likely as not: said 1/2, and kept 1/2 of what the label gave before."""
    blank = Logistic({})
    tracker = replace(TAUGHT, changes=blank, wanted=blank, kept=blank, single=frozenset(), aliases=AliasTable({}))
    rows = turns(("user", "I need a red coat"), ("system", "Here"), ("user", "Thank you"))
    wrong = state(color="blue", type="coat")
    found = tracker.beliefs_given(LabelledDialogue(rows, {0: wrong, 2: wrong}))
    assert found[0] == {("color", "red", LIKE): 0.5, ("type", "coat", LIKE): 0.5}
    assert found[2] == {("color", "blue", LIKE): 0.5, ("type", "coat", LIKE): 0.5}


def test_an_early_slip_is_not_told_again_later():
    right = labelled(1)
    slip = {0: state(color="blue", type="coat"), 2: state(color="blue", type="coat"), 4: right.states[4]}
    assert right.states[0] == right.states[2] == state(color="white", type="coat")
    given = TAUGHT.beliefs_given(LabelledDialogue(right.rows, slip))
    assert given[0]["color", "white", LIKE] > 0.5 > given[0].get(("color", "blue", LIKE), 0.0)
    assert given[2]["color", "blue", LIKE] > 0.5
    assert ("color", "white", LIKE) not in given[2]


def test_only_turns_between_known_states_are_judged():
    holes = LabelledDialogue(labelled(0).rows, {**labelled(0).states, 2: None})
    assert set(TAUGHT.beliefs_given(holes)) == {0}
    assert set(fit_tracker((), SHOP, ATTRIBUTES).beliefs_given(holes)) == {0}


def test_rules_are_as_sure_of_all_they_say():
    rows = turns(("user", "I need a red coat"), ("system", "Here"), ("user", "Who makes that dress?"))
    label = LabelledDialogue(rows, {0: state(color="red", type="coat"), 2: state(color="red", type="coat")})
    found = fit_tracker((), SHOP, ATTRIBUTES).beliefs_given(label)
    assert found[0] == {("color", "red", LIKE): 0.85, ("type", "coat", LIKE): 0.85}
    assert found[2] == {**found[0], ("type", "dress", LIKE): pytest.approx(0.15)}


def test_numbers_of_products_stay_numbers():
    found = product_choices(SHOP, {"type": ["Dress"], "price": ["19.99"], "color": ["mauve"], "weight": ["3"]})
    assert found == {("type", "dress"), ("price", "19.99")}


def test_aliases_worked_by_hand():
    posh, cheap = ("price", "expensive"), ("price", "cheap")
    said = [
        ("d1", "something posh", {posh}),
        ("d2", "a posh one", {posh}),
        ("d3", "posh", set()),
        ("d4", "a bargain", {cheap}),
        ("d4", "a bargain", {cheap}),
    ]
    table = AliasTable.mine((name, Words.of(text), frozenset(wanted)) for name, text, wanted in said)
    assert table.values == {"posh": {posh: pytest.approx(2 / 3)}}  # "bargain" is of one dialogue only
    assert table.find(Words.of("Very posh!")) == {posh: {"posh": pytest.approx(2 / 3)}}


def test_logistic_regression_agrees_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(0)
    matrix = random.random((80, 6)) < 0.4
    answers = (matrix @ [2.0, -1.0, 0.5, 0.0, 1.0, -2.0] + random.normal(size=80)) > 0
    examples = [
        Example([f"f{at}" for at in np.flatnonzero(row)], bool(answer))
        for row, answer in zip(matrix, answers, strict=True)
    ]
    mine = Logistic.fit(examples, penalty=0.5)
    oracle = sklearn.LogisticRegression(C=2.0, fit_intercept=False, tol=1e-8).fit(matrix, answers)
    assert [mine.weights[f"f{at}"] for at in range(6)] == pytest.approx(oracle.coef_[0].tolist(), abs=2e-3)
    assert mine.probability(["f0", "never seen"]) == pytest.approx(1 / (1 + np.exp(-mine.weights["f0"])))


def test_features_seen_once_and_no_examples_weigh_nothing():
    assert Logistic.fit([]).probability(["a"]) == 0.5
    assert Logistic.fit([Example(["a", "b"], True), Example(["a"], False)]).weights.keys() == {"a"}


def test_an_example_that_counts_twice_weighs_as_two():
    once, other = Example(["a"], True), Example(["a", "b"], False)
    twice = Logistic.fit([once, once, other, other, other])
    assert Logistic.fit([once._replace(times=2), other, other, other]).weights == pytest.approx(twice.weights)
