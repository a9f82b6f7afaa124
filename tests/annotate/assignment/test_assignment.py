"""Dealing dialogues out: worked by hand where it is small, held as properties where it is not."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.assignment.assignment import AssignmentTerms, Round, assign, reassign, shares_of, turns_of
from schemas.errors import UsageError

ANN, BO, CY = "ann@x", "bo@x", "cy@x"
PEOPLE = [ANN, BO, CY, "di@x", "ed@x", "fay@x"]


def shared(round_: Round) -> set[str]:
    return {dialogue for dialogue, assigned in round_.assigned_to.items() if len(assigned) > 1}


def exact(overlap: float) -> Fraction:
    return Fraction(repr(overlap))


def half_up(number: Fraction) -> int:
    return floor(number + Fraction(1, 2))


def spread(rounds: list[Round], people: list[str]) -> int:
    turns = turns_of(rounds)
    return max(turns[each] for each in people) - min(turns[each] for each in people)


def test_four_dialogues_of_two_people_are_assigned_longest_first():
    # 5 to one, 4 to the other, who then has least and gets 3 as well; 1 evens out: 5 + 1 and 4 + 3
    round_ = assign({"a": 5, "b": 4, "c": 3, "d": 1}, [ANN, BO], AssignmentTerms(overlap=0))
    assigned = {dialogue: who for dialogue, (who,) in round_.assigned_to.items()}
    assert assigned["a"] == assigned["d"] != assigned["b"] == assigned["c"]
    assert sorted(turns_of([round_]).values()) == [6, 7]


def test_what_is_shared_by_two_of_three_makes_each_pair_once():
    # three dialogues of one length, all shared: 1-2, then the third with one of them, then the pair that is left
    round_ = assign({"a": 2, "b": 2, "c": 2}, [ANN, BO, CY], AssignmentTerms(overlap=1))
    assert sorted(round_.assigned_to.values()) == [(ANN, BO), (ANN, CY), (BO, CY)]
    assert turns_of([round_]) == {ANN: 4, BO: 4, CY: 4}


def test_everything_goes_to_everybody_with_full_overlap_and_redundancy():
    round_ = assign({"a": 9, "b": 1}, [ANN, BO, CY], AssignmentTerms(overlap=1, redundancy=3))
    assert set(round_.assigned_to.values()) == {(ANN, BO, CY)}


@pytest.mark.parametrize(
    ("overlap", "dialogues", "expected"),
    [(0.2, 10, 2), (0.2, 12, 2), (0.2, 13, 3), (0.25, 10, 3), (0.1, 5, 1), (0.1, 4, 0), (0.29, 100, 29), (1, 7, 7)],
)
def test_the_share_is_rounded_half_up(overlap: float, dialogues: int, expected: int):
    # 2.4 -> 2, 2.6 -> 3, 2.5 -> 3, 0.5 -> 1; 0.29 x 100 is 29, not 28.999...
    round_ = assign({f"d{number}": 1 for number in range(dialogues)}, [ANN, BO], AssignmentTerms(overlap))
    assert len(shared(round_)) == expected


def test_many_small_rounds_share_as_much_as_one_large_one():
    rounds: list[Round] = []
    for number in range(10):  # 0.2 of one dialogue rounds to nothing, ten times
        rounds.append(assign({f"d{number}": 3}, [ANN, BO], AssignmentTerms(0.2), rounds))
    assert sum(len(shared(round_)) for round_ in rounds) == 2


def test_another_overlap_counts_for_the_new_dialogues_only():
    first = assign({f"a{number}": 1 for number in range(10)}, [ANN, BO], AssignmentTerms(0.2))
    second = assign({f"b{number}": 1 for number in range(10)}, [ANN, BO], AssignmentTerms(0.5), [first])
    third = assign({f"c{number}": 1 for number in range(10)}, [ANN, BO], AssignmentTerms(0), [first, second])
    assert [len(shared(round_)) for round_ in (first, second, third)] == [2, 5, 0]


def test_somebody_who_comes_later_gets_the_new_work_until_they_have_as_much():
    first = assign({f"a{number}": 4 for number in range(6)}, [ANN, BO], AssignmentTerms(0))  # 12 turns each
    second = assign({f"b{number}": 4 for number in range(4)}, [ANN, BO, CY], AssignmentTerms(0), [first])
    assert list(second.assigned_to.values()).count((CY,)) == 3
    assert sorted(turns_of([first, second]).values()) == [12, 12, 16]


def test_the_order_of_names_and_dialogues_changes_nothing_and_the_seed_does():
    new = {f"d{number}": number % 7 + 1 for number in range(30)}
    one = assign(new, PEOPLE, AssignmentTerms(0.3, 2, seed=5))
    other = assign(dict(reversed(new.items())), PEOPLE[::-1], AssignmentTerms(0.3, 2, seed=5))
    assert one.assigned_to == other.assigned_to
    assert list(one.assigned_to) == list(new)
    assert one.assigned_to != assign(new, PEOPLE, AssignmentTerms(0.3, 2, seed=6)).assigned_to


def test_who_leaves_hands_what_is_named_to_those_who_do_not_have_it():
    rounds = [Round(0.5, {"a": (ANN, BO), "b": (BO,), "c": (BO,), "d": (ANN,)}, {"a": 3, "b": 2, "c": 2, "d": 5})]
    changed, nobody = reassign(rounds, BO, ["a", "b"], [ANN, CY])
    assert nobody == []
    assert changed[0].assigned_to == {
        "a": (ANN, CY),
        "b": (CY,),
        "c": (BO,),
        "d": (ANN,),
    }  # cy has least, and is not ann
    assert changed[0].turns == rounds[0].turns


def test_what_everybody_has_already_stays_with_one_fewer():
    rounds = [Round(1, {"a": (ANN, BO)}, {"a": 3})]
    changed, nobody = reassign(rounds, BO, ["a"], [ANN])
    assert (changed[0].assigned_to, nobody) == ({"a": (ANN,)}, ["a"])


def test_terms_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match=r"--overlap 1\.2 is no share of the dialogues; give 0 to 1"):
        AssignmentTerms(1.2)
    with pytest.raises(UsageError, match=r"--overlap -0\.1 is no share"):
        AssignmentTerms(-0.1)
    with pytest.raises(UsageError, match="--overlap nan is no share"):
        AssignmentTerms(float("nan"))
    with pytest.raises(UsageError, match="--redundancy 0"):
        AssignmentTerms(0.2, 0)
    with pytest.raises(UsageError, match="--redundancy 1 shares nothing"):
        AssignmentTerms(0.2, 1)
    with pytest.raises(UsageError, match="--redundancy 3 with 2 annotators; name 3 annotators or more"):
        assign({"a": 1}, [ANN, BO], AssignmentTerms(0.2, 3))
    with pytest.raises(ValueError, match="assigned before: a"):
        assign({"a": 1}, [ANN], AssignmentTerms(0), [Round(0, {"a": (BO,)}, {"a": 1})])


LENGTHS = st.lists(st.integers(1, 25), min_size=1, max_size=60)


@st.composite
def deals(draw: st.DrawFn) -> tuple[dict[str, int], list[str], AssignmentTerms]:
    people = PEOPLE[: draw(st.integers(1, 6))]
    redundancy = draw(st.integers(1, len(people)))
    overlap = draw(st.sampled_from([0, 0.1, 0.2, 1 / 3, 0.5, 1])) if redundancy > 1 else 0
    new = {f"d{number}": turns for number, turns in enumerate(draw(LENGTHS))}
    return new, people, AssignmentTerms(overlap, redundancy, draw(st.integers(0, 3)))


@given(deals())
@settings(deadline=None)
def test_every_dialogue_has_exactly_as_many_different_annotators_as_it_should(
    deal_: tuple[dict[str, int], list[str], AssignmentTerms],
):
    new, people, terms = deal_
    round_ = assign(new, people, terms)
    assert set(round_.assigned_to) == set(new)
    sizes = Counter(len(assigned) for assigned in round_.assigned_to.values())
    expected = half_up(exact(terms.overlap) * len(new))
    assert sizes == +Counter({terms.redundancy: expected}) + +Counter({1: len(new) - expected})
    for assigned in round_.assigned_to.values():
        assert len(set(assigned)) == len(assigned)
        assert set(assigned) <= set(people)


@given(deals())
@settings(deadline=None)
def test_nobody_has_more_than_the_longest_dialogue_more_than_another(
    deal_: tuple[dict[str, int], list[str], AssignmentTerms],
):
    new, people, terms = deal_
    assert spread([assign(new, people, terms)], people) <= max(new.values())


@given(deals())
@settings(deadline=None)
def test_pairs_share_about_equally_much(deal_: tuple[dict[str, int], list[str], AssignmentTerms]):
    new, people, terms = deal_
    shares = shares_of([assign(new, people, terms)])
    counts = [shares[pair] for pair in combinations(sorted(people), 2)]
    assert not counts or max(counts) - min(counts) <= 4


@given(deals(), LENGTHS, st.sampled_from([0, 0.2, 1]), st.booleans())
@settings(deadline=None)
def test_a_later_round_moves_nothing_and_never_makes_the_loads_less_even(
    deal_: tuple[dict[str, int], list[str], AssignmentTerms], lengths: list[int], overlap: float, somebody_new: bool
):
    new, people, terms = deal_
    first = assign(new, people, terms)
    before = dict(first.assigned_to)
    people = [*people, "new@x"] if somebody_new else people
    later = {f"e{number}": turns for number, turns in enumerate(lengths)}
    terms = AssignmentTerms(overlap if terms.redundancy > 1 else 0, terms.redundancy, terms.seed)
    second = assign(later, people, terms, [first])
    assert first.assigned_to == before
    assert set(second.assigned_to) == set(later)
    assert spread([first, second], people) <= max(spread([first], people), max(lengths))
    if terms.overlap:
        owed = half_up(exact(first.overlap) * len(new) + exact(overlap) * len(later))
        assert len(shared(second)) == min(max(owed - len(shared(first)), 0), len(later))


@given(deals(), st.integers(0, 5))
@settings(deadline=None)
def test_handing_over_moves_only_what_is_named_and_never_doubles_it(
    deal_: tuple[dict[str, int], list[str], AssignmentTerms], who: int
):
    new, people, terms = deal_
    leaving = people[who % len(people)]
    others = [each for each in [*people, "new@x"] if each != leaving]
    round_ = assign(new, people, terms)
    theirs = [dialogue for dialogue, assigned in round_.assigned_to.items() if leaving in assigned]
    named = theirs[::2]
    (changed,), nobody = reassign([round_], leaving, named, others)
    assert nobody == []  # new@x has nothing yet
    for dialogue, assigned in round_.assigned_to.items():
        if dialogue in named:
            assert leaving not in changed.assigned_to[dialogue]
            assert set(assigned) - {leaving} < set(changed.assigned_to[dialogue])
            assert len(set(changed.assigned_to[dialogue])) == len(assigned)
        else:
            assert changed.assigned_to[dialogue] == assigned
