"""What can be seen of a dialogue before anybody labels it: how long it is, and which values its user names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.belief import TurnUpdate
from schemas.mentions import MentionFinder
from schemas.ontology import Ontology

__all__ = ["DialogueFeatures", "FeatureTable", "OntologyValues"]

_BOUNDS = (1, 2, 4, 8, 16)
"""Upper ends of the classes of length: 1, 2, 3 to 4, 5 to 8, 9 to 16, and more."""


class DialogueFeatures(NamedTuple):
    """What is seen of one dialogue.

    Attributes:
        user_turns: turns of the user.
        recommendation_turns: turns of the shop that recommend a product.
        wanted: columns of the values that the user names.
        refused: columns of the values that the user names after a negation only.
    """

    user_turns: int
    recommendation_turns: int
    wanted: frozenset[int]
    refused: frozenset[int]


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
    """Which features each of D dialogues has: values named, values refused, and the classes of its lengths.

    Attributes:
        names: of the features, for people.
        starts: where each dialogue's features begin [D + 1].
        features: of the dialogues, one after the other, ascending within each [sum]; every dialogue has some.
    """

    names: tuple[str, ...]
    starts: npt.NDArray[np.int64]
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
