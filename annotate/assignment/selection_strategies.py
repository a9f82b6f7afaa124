"""In which order to label dialogues: drawn at random, by coverage of what is seen in them, or far from each other.

Every strategy is greedy and looks at nothing but what was chosen before: the first 20 of 100 are the 20 it would have
chosen alone. Ties are broken by a seeded order, so that the same dialogues and seed give the same list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.belief import TurnUpdate
from schemas.mentions import MentionFinder
from schemas.ontology import Ontology

_BOUNDS = (1, 2, 4, 8, 16)
"""Upper ends of the classes of length: 1, 2, 3 to 4, 5 to 8, 9 to 16, and more."""


class DialogueFeatures(NamedTuple):
    """What is seen of one dialogue."""

    user_turns: int  # turns of the user
    recommendation_turns: int  # turns of the shop that recommend a product
    wanted: frozenset[int]  # columns of the values that the user names
    refused: frozenset[int]  # columns of the values that the user names after a negation only


class OntologyValues:
    """All values of all slots side by side, and where texts name them.

    Args:
        ontology: its slots with their values, in order.

    Attributes:
        columns: slot and value of each column.
    """

    def __init__(self, ontology: Ontology) -> None:
        self.columns = tuple((slot.name, value.value) for slot in ontology.slots for value in slot.values)
        self._finder = MentionFinder.of_slots((slot, value) for slot in ontology.slots for value in slot.values)

    def look_at(self, texts: Iterable[str], recommendation_turns: int) -> DialogueFeatures:
        """What is seen of a dialogue whose user says these texts."""
        wanted, refused, turns = set[int](), set[int](), 0
        for text in texts:
            turns += 1
            for column, negated in self._finder.mentions(text):
                (refused if negated else wanted).add(column)
        return DialogueFeatures(turns, recommendation_turns, frozenset(wanted), frozenset(refused - wanted))

    def update_of(self, text: str) -> TurnUpdate:
        """What a turn changes, if it means exactly the values that it names."""
        want: dict[str, tuple[str, ...]] = {}
        dislike: dict[str, tuple[str, ...]] = {}
        for column, negated in self._finder.mentions(text):
            slot, value = self.columns[column]
            side = dislike if negated else want
            side[slot] = (*side.get(slot, ()), value)
        return TurnUpdate(want, dislike)


@dataclass(frozen=True)
class FeatureTable:
    """Which features each of D dialogues has: values named, values refused, and the classes of its lengths."""

    names: tuple[str, ...]  # of the features, for people
    starts: npt.NDArray[np.int64]  # where each dialogue's features begin [D + 1]
    # of the dialogues, one after the other, ascending within each [sum]; every dialogue has some
    features: npt.NDArray[np.int64]

    @classmethod
    def of(cls, seen: Sequence[DialogueFeatures], values: OntologyValues) -> FeatureTable:
        """The features of some dialogues; ``values`` names the columns."""
        width, classes = len(values.columns), len(_BOUNDS) + 1
        names = (
            *(f"{slot}={value}" for slot, value in values.columns),
            *(f"not {slot}={value}" for slot, value in values.columns),
            *(f"{_class_name(number)} user turns" for number in range(classes)),
            *("no recommendation", *(f"{_class_name(number)} recommendations" for number in range(classes))),
        )
        starts, features = [0], list[int]()
        for each in seen:
            features += sorted(each.wanted)
            features += [width + column for column in sorted(each.refused)]
            features.append(2 * width + _class_of(each.user_turns))
            recommended = each.recommendation_turns
            features.append(2 * width + classes + (1 + _class_of(recommended) if recommended else 0))
            starts.append(len(features))
        return cls(names, np.array(starts, dtype=np.int64), np.array(features, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, dialogue: int) -> npt.NDArray[np.int64]:
        """Features of a dialogue."""
        return self.features[self.starts[dialogue] : self.starts[dialogue + 1]]

    def counts(self) -> npt.NDArray[np.int64]:
        """How many of the dialogues have each feature [F]."""
        return np.bincount(self.features, minlength=len(self.names))

    def totals(self, worth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The sum of each dialogue's features' worth, [F] -> [D]; equal features give exactly equal sums."""
        found: npt.NDArray[np.float64] = np.add.reduceat(worth[self.features], self.starts[:-1])
        return found


def _class_of(turns: int) -> int:
    return sum(turns > bound for bound in _BOUNDS)


def _class_name(number: int) -> str:
    if number == len(_BOUNDS):
        return f"more than {_BOUNDS[-1]}"
    low = _BOUNDS[number - 1] + 1 if number else 1
    return str(low) if low == _BOUNDS[number] else f"{low} to {_BOUNDS[number]}"


Numbers = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

_CELLS = 1 << 22  # distances held at a time
_NEGLIGIBLE = 1e-12  # squared distances below are rounding
_MOST_NAMED = 3  # features in a reason


class Choice(NamedTuple):
    """One dialogue of an order."""

    row: int  # which one
    score: float  # what it was chosen for; its unit is the strategy's
    why: str  # the same, for people


def place_in_order(dialogue_id: str, seed: int) -> bytes:
    """By what dialogues are sorted into a seeded order, whatever other dialogues there are."""
    return hashlib.sha256(f"{seed}:{dialogue_id}".encode()).digest()


def seeded_order(dialogue_ids: Iterable[str], seed: int) -> list[str]:
    """The dialogues in an order that depends on their ids and the seed alone."""
    return sorted(dialogue_ids, key=lambda name: place_in_order(name, seed))


def draw(dialogue_ids: Sequence[str], seed: int) -> Iterator[Choice]:
    """The strategy ``random``: the dialogues as they come; their score is their place in the seeded order, from 1 to 0.

    Args:
        dialogue_ids: in the seeded order.
    """
    for row, name in enumerate(dialogue_ids):
        place = int.from_bytes(place_in_order(name, seed)[:8]) / 2**64
        yield Choice(row, 1.0 - place, f"drawn at random, seed {seed}")


def cover(table: FeatureTable, labelled: FeatureTable) -> Iterator[Choice]:
    """The strategy ``stratified``: greedy maximisation of a weighted coverage with decreasing gain.

        f(A) = sum over features v of w_v (1 + 1/2 + ... + 1/c_v(A)),   w_v = log(1 + D / d_v)

    c_v(A) is how many chosen dialogues have the feature, d_v how many of all D have it: rare ones count most, and each
    further dialogue with a feature brings less of it. f is monotone and submodular, so that the greedy order is within
    1 - 1/e of the best set of each size (Nemhauser, Wolsey and Fisher 1978).

    Args:
        table: features of the candidates, in the order in which ties are broken.
        labelled: features of the dialogues labelled already; they count as chosen.

    Yields:
        All candidates; the score is the gain in f.
    """
    chosen = labelled.counts()
    everywhere = table.counts() + chosen
    # a feature that nobody has is never asked for
    weight = np.log1p((len(table) + len(labelled)) / np.maximum(everywhere, 1))
    left = np.ones(len(table), dtype=np.bool_)
    for _ in range(len(table)):
        worth = weight / (1 + chosen)
        gain = np.where(left, table.totals(worth), -np.inf)
        row = int(np.argmax(gain))
        features = table.row(row)
        yield Choice(row, float(gain[row]), _what_is_new(table.names, features, worth, chosen, everywhere))
        left[row] = False
        chosen[features] += 1


def _what_is_new(names: Sequence[str], features: Rows, worth: Numbers, chosen: Rows, everywhere: Rows) -> str:
    best = sorted(features.tolist(), key=lambda feature: (-worth[feature], feature))[:_MOST_NAMED]
    return "; ".join(f"{names[v]} ({chosen[v]} of {everywhere[v]} covered)" for v in best)


def spread_out(
    vectors: npt.NDArray[np.floating],
    known: npt.NDArray[np.floating],
    names: Sequence[str],
    known_names: Sequence[str],
    *,
    weights: Numbers | None = None,
) -> Iterator[Choice]:
    """The strategies ``diversity`` and ``hybrid``: greedy k-centre, exact.

        the next one = argmax over d of u_d min over c of |x_d - x_c|

    over what was labelled or chosen before, c; u is 1, or the uncertainty. With u = 1 the farthest of all dialogues is
    at most twice as far from a chosen one as with the best set of that size (Gonzalez 1985). When nothing was labelled
    or chosen before, the first is the one nearest to the mean, or the most uncertain one.

    It takes 8 D + 60 bytes a dialogue and 100 MB: 0.3 GB for 100,000 dialogues of D = 256 numbers. Time grows with
    dialogues x D for each one chosen, and never with the square of the dialogues.

    Args:
        vectors: of the candidates [N, D], in the order in which ties are broken.
        known: of the dialogues labelled already [K, D].
        names, known_names: their ids, for the reasons.
        weights: u [N], not negative.

    Yields:
        All candidates; the score is what was maximised, of the first one without any before its distance to the mean,
        or its uncertainty.
    """
    x = vectors.astype(np.float64)
    square = np.einsum("nd,nd->n", x, x)
    u = np.ones(len(x)) if weights is None else weights
    others = (*known_names, *names)
    distance, nearest = _nearest(x, square, known.astype(np.float64))
    left = np.ones(len(x), dtype=np.bool_)
    for turn in range(len(x)):
        if turn == 0 and not len(known):
            first = _first(x, weights)
            yield first
            row = first.row
        else:
            score = u * distance
            row = int(np.argmax(np.where(left, score, -np.inf)))
            why = f"{distance[row]:.2f} from {others[nearest[row]]}, the nearest one chosen or labelled before"
            if weights is not None:
                why = f"uncertainty {u[row]:.3f}; {why}"
            yield Choice(row, float(score[row]), why)
        left[row] = False
        reached = _root(square + square[row] - 2 * (x @ x[row]))
        closer = reached < distance
        distance[closer], nearest[closer] = reached[closer], len(known) + row


def _first(x: Numbers, weights: Numbers | None) -> Choice:
    if weights is not None:
        row = int(np.argmax(weights))
        return Choice(row, float(weights[row]), f"uncertainty {weights[row]:.3f}, the highest; nothing is labelled yet")
    from_mean = np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1))
    row = int(np.argmin(from_mean))
    return Choice(row, float(from_mean[row]), "the nearest to the mean of all; nothing is labelled yet")


def _nearest(x: Numbers, square: Numbers, known: Numbers) -> tuple[Numbers, Rows]:
    """Distance of each row to the nearest known one, and which that is."""
    distance = np.full(len(x), np.inf)
    nearest = np.zeros(len(x), dtype=np.int64)
    if not len(known):
        return distance, nearest
    known_square = np.einsum("nd,nd->n", known, known)
    step = max(1, _CELLS // len(known))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        table = square[part, None] + known_square - 2 * (x[part] @ known.T)
        nearest[part] = table.argmin(axis=1)
        distance[part] = _root(np.take_along_axis(table, nearest[part, None], axis=1)[:, 0])
    return distance, nearest


def _root(squared: Numbers) -> Numbers:
    root: Numbers = np.sqrt(np.where(squared < _NEGLIGIBLE, 0.0, squared))
    return root
