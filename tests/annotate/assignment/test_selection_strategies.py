"""Orders of labelling against what they are by definition: hand-worked, and beside slow oracles."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.assignment.selection_strategies import (
    DialogueFeatures,
    FeatureTable,
    OntologyValues,
    cover,
    draw,
    seeded_order,
    spread_out,
)
from schemas.ontology import Ontology, Slot, Value

ONTOLOGY = Ontology(
    slots=(
        Slot(
            name="color",
            attribute="color",
            values=(Value(value="red", count=2, aliases=("crimson",)), Value(value="blue"), Value(value="teal")),
        ),
        Slot(name="type", attribute="type", values=(Value(value="dress"), Value(value="T-shirt"))),
    )
)
VALUES = OntologyValues(ONTOLOGY)
RED, BLUE, TEAL, DRESS, SHIRT = range(5)


def seen(*wanted: int, refused: tuple[int, ...] = (), turns: int = 3, recommendations: int = 1) -> DialogueFeatures:
    return DialogueFeatures(turns, recommendations, frozenset(wanted), frozenset(refused))


def table(*dialogues: DialogueFeatures) -> FeatureTable:
    return FeatureTable.of(dialogues, VALUES)


EMPTY = table()


def rows(order) -> list[int]:
    return [choice.row for choice in order]


def test_what_is_seen_are_values_named_and_values_refused():
    found = VALUES.look_at(["A crimson dress, please", "not blue, and no dresses", "t shirts then"], 2)
    assert found == DialogueFeatures(
        3, 2, frozenset({RED, DRESS, SHIRT}), frozenset({BLUE})
    )  # the dress was asked for, too


def test_a_turn_read_by_its_words_wants_and_refuses_what_it_names():
    update = VALUES.update_of("a red or teal dress but not blue")
    assert update.want == {"color": ("red", "teal"), "type": ("dress",)}
    assert update.dislike == {"color": ("blue",)}


def test_features_are_values_and_classes_of_length():
    found = table(seen(RED, refused=(BLUE,), turns=4, recommendations=0), seen(turns=17, recommendations=9))
    assert [found.names[v] for v in found.row(0)] == [
        "color=red",
        "not color=blue",
        "3 to 4 user turns",
        "no recommendation",
    ]
    assert [found.names[v] for v in found.row(1)] == ["more than 16 user turns", "9 to 16 recommendations"]
    assert found.counts().sum() == 6


def test_random_order_is_that_of_the_hash_and_scores_fall_along_it():
    names = seeded_order(["b", "a", "d", "c"], 7)
    assert names == seeded_order(["d", "c", "b", "a"], 7)
    scores = [choice.score for choice in draw(names, 7)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    orders = {tuple(seeded_order("abcd", seed)) for seed in range(20)}
    assert len(orders) > 5


def test_coverage_prefers_rare_values_and_then_what_is_not_covered():
    # of four dialogues, all of one class of length: red in three, teal in one, dress in two
    dialogues = table(seen(RED), seen(RED, DRESS), seen(RED, DRESS), seen(TEAL))
    order = list(cover(dialogues, EMPTY))
    red, teal, dress, everywhere = math.log(1 + 4 / 3), math.log(5), math.log(3), 2 * math.log(2)
    # rows 1 and 2 bring red + dress = 1.95, row 3 brings teal = 1.61; after row 1, row 2 brings half of the same
    assert [choice.row for choice in order] == [1, 3, 2, 0]
    assert order[0].score == pytest.approx(red + dress + everywhere)
    assert order[1].score == pytest.approx(teal + everywhere / 2)
    assert order[2].score == pytest.approx(red / 2 + dress / 2 + everywhere / 3)
    assert order[3].score == pytest.approx(red / 3 + everywhere / 4)
    assert order[1].why.startswith("color=teal (0 of 1 covered)")


def test_what_is_labelled_already_counts_as_covered():
    dialogues = table(seen(RED, DRESS), seen(TEAL, SHIRT))
    assert rows(cover(dialogues, EMPTY))[0] == 0  # a tie: the order given decides
    assert rows(cover(dialogues, table(seen(RED, DRESS))))[0] == 1


dialogue = st.builds(
    DialogueFeatures,
    st.integers(1, 20),
    st.integers(0, 9),
    st.frozensets(st.integers(0, 4)),
    st.frozensets(st.integers(0, 4)),
)


@given(st.lists(dialogue, min_size=1, max_size=9), st.lists(dialogue, max_size=3))
@settings(max_examples=60, deadline=None)
def test_coverage_is_greedy_in_the_function_that_it_names(pool, labelled):
    candidates, known = table(*pool), table(*labelled)
    everyone = [set(candidates.row(i).tolist()) for i in range(len(candidates))]
    before = [set(known.row(i).tolist()) for i in range(len(known))]
    weight = {
        v: math.log(1 + (len(everyone) + len(before)) / sum(v in features for features in everyone + before))
        for v in set().union(*everyone, *before)
    }

    def f(chosen: list[int]) -> float:
        have = before + [everyone[i] for i in chosen]
        return sum(w * sum(1 / k for k in range(1, sum(v in each for each in have) + 1)) for v, w in weight.items())

    order = list(cover(candidates, known))
    assert sorted(choice.row for choice in order) == list(range(len(pool)))
    gains = [choice.score for choice in order]
    assert all(first >= second - 1e-9 for first, second in itertools.pairwise(gains))  # decreasing: submodular
    for place, choice in enumerate(order):
        chosen = [other.row for other in order[:place]]
        gain = {i: f([*chosen, i]) - f(chosen) for i in range(len(pool)) if i not in chosen}
        assert choice.score == pytest.approx(gain[choice.row])
        assert gain[choice.row] == pytest.approx(max(gain.values()))


POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 1.0]])
NAMES = ["a", "b", "c", "d", "e"]
NOBODY = np.zeros((0, 2))


def test_diversity_begins_in_the_middle_and_goes_to_the_farthest():
    order = list(spread_out(POINTS, NOBODY, NAMES, []))
    # the mean is (1.8, 0.8): b is nearest; from b, d is sqrt(18) away; then c is 3 from both, then e and a
    assert [NAMES[choice.row] for choice in order] == ["b", "d", "c", "e", "a"]
    assert [choice.score for choice in order] == pytest.approx(
        [math.hypot(0.8, 0.8), math.sqrt(18), 3, math.sqrt(2), 1]
    )
    assert order[1].why == "4.24 from b, the nearest one chosen or labelled before"


def test_diversity_keeps_away_from_what_is_labelled():
    order = list(spread_out(POINTS, np.array([[4.0, 2.0]]), NAMES, ["old"]))
    assert NAMES[order[0].row] == "a"
    assert order[0].score == pytest.approx(math.sqrt(20))
    assert "from old" in order[0].why


def test_hybrid_weighs_distance_by_uncertainty():
    unsure = np.array([0.1, 0.9, 0.2, 0.1, 0.5])
    order = list(spread_out(POINTS, NOBODY, NAMES, [], weights=unsure))
    # b is the most uncertain; then e 0.5 sqrt(2) = 0.71 beats c 0.2 * 3 = 0.6 and d 0.1 sqrt(18) = 0.42
    assert [NAMES[choice.row] for choice in order[:3]] == ["b", "e", "c"]
    assert [choice.score for choice in order[:3]] == pytest.approx([0.9, 0.5 * math.sqrt(2), 0.6])


def test_equal_dialogues_follow_in_the_order_given():
    order = list(spread_out(np.ones((4, 3), dtype=np.float32) / 3, np.zeros((0, 3)), list("abcd"), []))
    assert [choice.row for choice in order] == [0, 1, 2, 3]
    assert [choice.score for choice in order[1:]] == [0, 0, 0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(0, 4), st.booleans())
@settings(max_examples=80, deadline=None)
def test_diversity_is_what_brute_force_finds(seed: int, count: int, labelled: int, weighted: bool):
    generator = np.random.default_rng(seed)
    vectors, known = generator.normal(size=(count, 3)), generator.normal(size=(labelled, 3))
    weights = generator.uniform(0.1, 1, size=count) if weighted else None
    order = list(
        spread_out(vectors, known, [str(i) for i in range(count)], [f"k{i}" for i in range(labelled)], weights=weights)
    )
    assert sorted(choice.row for choice in order) == list(range(count))
    chosen: list[int] = []
    for place, choice in enumerate(order):
        if place or labelled:
            centres = [*known, *vectors[chosen]]
            score = {
                i: (1 if weights is None else weights[i]) * min(math.dist(vectors[i], centre) for centre in centres)
                for i in range(count)
                if i not in chosen
            }
            assert choice.row == max(score, key=lambda i: score[i])
            assert choice.score == pytest.approx(score[choice.row], abs=1e-9)
        chosen.append(choice.row)


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_no_dialogue_is_more_than_twice_as_far_away_as_it_must_be(seed: int, size: int):
    vectors = np.random.default_rng(seed).normal(size=(9, 2))

    def radius(chosen) -> float:
        return max(min(math.dist(x, vectors[c]) for c in chosen) for x in vectors)

    chosen = [
        choice.row for choice in itertools.islice(spread_out(vectors, np.zeros((0, 2)), list("abcdefghi"), []), size)
    ]
    best = min(radius(some) for some in itertools.combinations(range(9), size))
    assert radius(chosen) <= 2 * best + 1e-9


def test_ten_thousand_dialogues_take_seconds():
    generator = np.random.default_rng(0)
    dialogues = [
        seen(*generator.integers(0, 5, size=3).tolist(), turns=int(generator.integers(1, 20))) for _ in range(10_000)
    ]
    began = time.process_time()
    assert len(list(itertools.islice(cover(table(*dialogues), EMPTY), 100))) == 100
    vectors = generator.normal(size=(10_000, 256)).astype(np.float32)
    names = [str(i) for i in range(10_000)]
    assert len(list(itertools.islice(spread_out(vectors[500:], vectors[:500], names[500:], names[:500]), 100))) == 100
    assert time.process_time() - began < 20
