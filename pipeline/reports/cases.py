"""Single recommendation turns (Figure 8): what was said, what is recommended, what is right, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from annotate.assignment.selection_strategies import seeded_order
from pipeline.modelling.training_data import state_before
from schemas.belief import BeliefState, SlotValue
from schemas.json_form import json_form
from schemas.safe_text import shortened
from schemas.state_metrics import items_of
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import Query
from semantic_model.evaluation.explanation import Explanation, explain
from semantic_model.ranking.ranker import Ranker
from semantic_model.ranking.top_products import top_rows

Numbers = npt.NDArray[np.float64]

TOP = 10
METRIC = f"ndcg@{TOP}"

Outcome = Literal["won", "lost", "alike", "found", "missed"]
"""Against another run: a higher, lower or equal NDCG@10. Without one: whether a right product is among the first 10."""

_SAID = 6  # utterances shown before a recommendation
_LONGEST = 320  # characters of one
_SHOWN_WITH_IT = 5  # images of one
_WANTED = 5  # right products that are not among the first ten
_LEAST_BELIEF = 0.05
_BELIEVED = 0.5  # from here on a value that gold does not have is a mistake
_MOST_BELIEFS = 8
_LEAST_PART = 0.05
_MOST_PARTS = 6
_LONGEST_NAME = 80
_CELLS = 1 << 24  # scores held at a time


class Picked(NamedTuple):
    """A turn to show."""

    row: int  # of the queries
    outcome: Outcome


class Said(NamedTuple):
    """An utterance of the context."""

    turn: int
    speaker: str
    text: str  # its first 320 characters, and how many there are if there are more
    images: tuple[str, ...]  # the first five images shown with it
    more_images: int
    weight: float | None  # what the student attends to it, 0 to 1; None where the model does not tell, or reads it not


class ProductShown(NamedTuple):
    """A product of a case."""

    rank: int  # from 1; products with one score share it
    product_id: str
    name: str
    image: str | None
    right: bool
    parts: tuple[tuple[str, float], ...]  # what its score is the sum of, the largest first; empty without


class Chip(NamedTuple):
    """A value of a state."""

    text: str
    probability: float | None
    # right, wrong: as in gold, or not; missing: in gold only; said: no gold to compare with, or hardly believed in
    kind: Literal["right", "wrong", "missing", "said"]


@dataclass(frozen=True)
class Case:
    """One recommendation turn."""

    dialogue_id: str
    turn: int
    outcome: Outcome
    figure: float  # the run's NDCG@10
    other: float | None  # the other run's; None without one
    said: tuple[Said, ...]  # the last utterances before it
    earlier: int  # how many came before these
    products: tuple[ProductShown, ...]  # the first ten of the whole catalogue
    wanted: tuple[ProductShown, ...]  # right ones further down, at most five
    more_wanted: int
    other_rank: int | None  # of the right product that the other run ranks first; None without one
    gold: bool  # whether there is a gold state
    state: tuple[Chip, ...] | None  # what is read; None where the model's states cannot be read
    beliefs: tuple[Chip, ...]  # what it ranks by; empty where the model has none
    slots: Mapping[str, tuple[tuple[str, float], ...]]  # text, images -> the slots attended to most

    @property
    def best_rank(self) -> int:
        """Of the right product that is ranked first."""
        return min(product.rank for product in (*self.products, *self.wanted) if product.right)

    def as_json(self) -> dict[str, Any]:
        return {**json_form(self), "best_rank": self.best_rank}


@dataclass(frozen=True)
class Cases:
    """Cases, and how all turns came out."""

    shown: tuple[Case, ...]
    tally: Mapping[str, int]  # outcome -> turns of the split
    images: tuple[str, ...]  # of all that is shown, the products first
    explained: tuple[str, ...]  # what the model tells of itself: states, beliefs, slots, turns, parts

    def as_json(self) -> dict[str, Any]:
        return json_form(self, "images")


def pick(
    queries: Sequence[tuple[str, int]], figures: Sequence[Numbers], count: int, seed: int
) -> tuple[list[Picked], Counter[str]]:
    """Turns to show, and how many there are of each outcome.

    Against another run as many won as lost ones are picked, as far as there are, then others. Without one they are
    drawn as they come. The order is that of a hash, so a larger count adds to a smaller one.

    Args:
        queries: dialogue and turn of each [Q].
        figures: NDCG@10 of each by the run, and by the other one, if there is one [Q].
        count: how many, at most.
        seed: of the order.
    """
    outcomes = [_outcome(*each) for each in zip(*figures, strict=True)]
    names = {f"{dialogue}\t{turn}": row for row, (dialogue, turn) in enumerate(queries)}
    order = [names[name] for name in seeded_order(list(names), seed)]
    if len(figures) > 1:
        won, lost = ([row for row in order if outcomes[row] == kind] for kind in ("won", "lost"))
        both = [row for pair in zip(won, lost, strict=False) for row in pair]
        fewer = min(len(won), len(lost))
        order = [*both, *won[fewer:], *lost[fewer:], *(row for row in order if outcomes[row] == "alike")]
    return [Picked(row, outcomes[row]) for row in order[:count]], Counter(outcomes)


def _outcome(mine: float, other: float | None = None) -> Outcome:
    if other is None:
        return "found" if mine > 0 else "missed"
    return "alike" if abs(mine - other) < 1e-9 else "won" if mine > other else "lost"


def make_cases(
    rankers: Sequence[tuple[Ranker, Corpus]],
    queries: Sequence[Query],
    picked: Sequence[Picked],
    figures: Sequence[Numbers],
    gold: Mapping[str, Sequence[tuple[int, BeliefState]]],
    tally: Mapping[str, int],
) -> Cases:
    """Rank the whole catalogue for the turns picked, and explain it.

    Args:
        rankers: the run's, and that of the run it is compared with, if there is one; each with its corpus.
        queries: all [Q].
        picked: which of them.
        figures: as :func:`pick` takes them.
        gold: dialogue -> its states.
        tally: outcomes of all queries.
    """
    ranker, corpus = rankers[0]
    asked = [queries[each.row] for each in picked]
    ranked, table = _ranked(corpus, ranker, asked)
    theirs = [_ranked(their_corpus, other, asked)[0] for other, their_corpus in rankers[1:]]
    wanted = [
        sorted(set(query.positives) - set(each.top), key=each.ranks.__getitem__)
        for query, each in zip(asked, ranked, strict=True)
    ]
    # as many products for each: a right one that is not among the first ten, if any, else the first one again
    looked_at = [[*each.top, *(rows[:1] or each.top[:1])] for each, rows in zip(ranked, wanted, strict=True)]
    explained = explain(ranker, asked, table, looked_at)
    shown = []
    for number, (each, query, why) in enumerate(zip(picked, asked, explained, strict=True)):
        mine, known = ranked[number], gold.get(query.dialogue_id)
        right = None if known is None else state_before(known, query.turn)
        parts = dict(zip(looked_at[number], why.parts, strict=bool(why.parts))) if why.parts else {}
        best = [min(other[number].ranks[row] for row in query.positives) for other in theirs]
        shown.append(
            Case(
                query.dialogue_id,
                query.turn,
                each.outcome,
                float(figures[0][each.row]),
                float(figures[1][each.row]) if theirs else None,
                _said(corpus, query, why.turns),
                max(0, len(query.history) - _SAID),
                tuple(_product(corpus, row, mine, query, parts) for row in mine.top),
                tuple(_product(corpus, row, mine, query, parts) for row in wanted[number][:_WANTED]),
                max(0, len(wanted[number]) - _WANTED),
                best[0] if best else None,
                right is not None,
                None if why.state is None else _read(why, right),
                _beliefs(why, right),
                {name: _largest(weights.items(), 4) for name, weights in why.slots.items()},
            )
        )
    return Cases(tuple(shown), dict(tally), _images(shown), _told(explained))


class _Ranked(NamedTuple):
    """What of a ranking of the whole catalogue is shown."""

    top: list[int]  # product rows of the first ten
    ranks: Mapping[int, int]  # of these, and of the right ones


def _ranked(corpus: Corpus, ranker: Ranker, queries: Sequence[Query]) -> tuple[list[_Ranked], Any]:
    """The catalogue ranked for each query, and the catalogue as the ranker encodes it."""
    own = [query._replace(history=corpus.history(query.dialogue_id, query.turn)) for query in queries]
    table, contexts = ranker.encode_products(corpus.products), ranker.encode_contexts(own)
    found = []
    step = max(1, _CELLS // max(1, len(corpus.products)))
    for start in range(0, len(own), step):
        scores = ranker.score(contexts[start : start + step], table)
        for line, query in zip(scores, own[start : start + step], strict=True):
            top = top_rows(line, TOP)
            ranks = {row: 1 + int(np.count_nonzero(line > line[row])) for row in (*top, *query.positives)}
            found.append(_Ranked(top, ranks))
    return found, table


def _product(
    corpus: Corpus, row: int, ranked: _Ranked, query: Query, parts: Mapping[int, Mapping[str, float]]
) -> ProductShown:
    product = corpus.products[row]
    large = _largest(parts.get(row, {}).items(), _MOST_PARTS)
    return ProductShown(
        ranked.ranks[row],
        product.product_id,
        shortened(product.name or product.product_id, _LONGEST_NAME),
        product.image_id,
        row in query.positives,
        tuple((name, value) for name, value in large if abs(value) >= _LEAST_PART),
    )


def _largest(items: Iterable[tuple[str, float]], most: int) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(items, key=lambda item: -abs(item[1]))[:most])


def _said(corpus: Corpus, query: Query, weights: Sequence[float]) -> tuple[Said, ...]:
    turns = [turn for turn, _ in corpus.utterances(query.dialogue_id)]  # a history is the beginning of them
    last = len(query.history)
    found = []
    for at in range(max(0, last - _SAID), last):
        said, read = query.history[at], at - (last - len(weights))
        found.append(
            Said(
                turns[at],
                said.speaker,
                shortened(said.text, _LONGEST),
                said.image_ids[:_SHOWN_WITH_IT],
                max(0, len(said.image_ids) - _SHOWN_WITH_IT),
                weights[read] if 0 <= read < len(weights) else None,
            )
        )
    return tuple(found)


def _read(why: Explanation, gold: BeliefState | None) -> tuple[Chip, ...]:
    """The state that is read, each value with the probability of what is read of its slot; then what it misses."""
    assert why.state is not None
    chips = [_chip(item, why.state.sure.get(item.slot), gold) for item in why.state.state]
    read = items_of(why.state.state)
    missing = [item for item in gold or () if not items_of((item,)) <= read]
    return (*chips, *(Chip(_text(item), None, "missing") for item in missing))


def _beliefs(why: Explanation, gold: BeliefState | None) -> tuple[Chip, ...]:
    likely = [each for each in why.beliefs if each.probability >= _LEAST_BELIEF]
    likely.sort(key=lambda each: -each.probability)
    return tuple(
        _chip(SlotValue(each.slot, each.value, each.polarity), each.probability, gold)
        for each in likely[:_MOST_BELIEFS]
    )


def _chip(item: SlotValue, probability: float | None, gold: BeliefState | None) -> Chip:
    if gold is None:
        return Chip(_text(item), probability, "said")
    if items_of((item,)) <= items_of(gold):
        return Chip(_text(item), probability, "right")
    return Chip(_text(item), probability, "wrong" if probability is None or probability >= _BELIEVED else "said")


def _text(item: SlotValue) -> str:
    return f"{item.slot}: {'not ' if item.polarity == 'dislike' else ''}{shortened(item.value, _LONGEST_NAME)}"


def _images(cases: Sequence[Case]) -> tuple[str, ...]:
    products = (product.image for case in cases for product in (*case.products, *case.wanted))
    said = (image for case in cases for each in case.said for image in each.images)
    return tuple(dict.fromkeys(image for image in (*products, *said) if image is not None))


def _told(explained: Sequence[Explanation]) -> tuple[str, ...]:
    every = {"states": "state", "beliefs": "beliefs", "slots": "slots", "turns": "turns", "parts": "parts"}
    return tuple(name for name, field in every.items() if any(getattr(each, field) for each in explained))
