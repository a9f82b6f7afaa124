"""Labelled turns as examples for a language model: those whose words are most like those of the turn in question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_array

from schemas.accumulate import difference
from schemas.belief import BeliefState, TurnUpdate
from schemas.mentions import Words

Rows = Sequence[Mapping[str, Any]]
"""Of one dialogue: rows of ``turns.parquet``, in order."""

_BEFORE = 0.5
"""Weight of a word that the system said right before, beside one of the user's."""


class Labelled(Protocol):
    """A labelled dialogue."""

    @property
    def rows(self) -> Rows:
        """What was said."""
        ...

    @property
    def states(self) -> Mapping[int, BeliefState | None]:
        """After each user turn, by its number; None where nothing is known."""
        ...


@dataclass(frozen=True)
class Example:
    """A labelled user turn."""

    dialogue: str
    rows: Rows  # of the dialogue
    place: int  # of the turn among them
    update: TurnUpdate  # what the turn changes


class Examples:
    """Finds examples by cosine of tf-idf over word stems, without learning anything.

    Args:
        labelled: dialogues whose states are known.
    """

    def __init__(self, labelled: Mapping[str, Labelled]) -> None:
        self._examples = [each for name in sorted(labelled) for each in _labelled_turns(name, labelled[name])]
        weights = [_weights(each.rows, each.place) for each in self._examples]
        turns = Counter(word for each in weights for word in each)
        self._columns = {word: column for column, word in enumerate(sorted(turns))}
        self._rarity = [log((1 + len(weights)) / (1 + turns[word])) + 1 for word in self._columns]
        vectors = [self._vector(each) for each in weights]
        data = [value for vector in vectors for value in vector.values()]
        columns = [column for vector in vectors for column in vector]
        starts = np.cumsum([0, *map(len, vectors)])
        self._table = csr_array((data, columns, starts), shape=(len(vectors), len(turns)))

    def nearest(self, rows: Rows, place: int, count: int) -> list[Example]:
        """The examples most like the turn at ``place``, at most ``count`` and one of a dialogue; the most alike last,
        where models heed it most.
        """
        asked = np.zeros(len(self._columns))
        for column, value in self._vector(_weights(rows, place)).items():
            asked[column] = value
        found: dict[str, Example] = {}
        for index in np.argsort(-(self._table @ asked), kind="stable"):
            example = self._examples[index]
            found.setdefault(example.dialogue, example)
            if len(found) >= count:
                break
        return list(found.values())[::-1]

    def _vector(self, weights: Mapping[str, float]) -> dict[int, float]:
        """Column -> value, of length 1 where any word is known."""
        known = {self._columns[word]: weight for word, weight in weights.items() if word in self._columns}
        values = {column: weight * self._rarity[column] for column, weight in known.items()}
        length = sum(value * value for value in values.values()) ** 0.5
        return {column: value / length for column, value in values.items()}


def _weights(rows: Rows, place: int) -> dict[str, float]:
    """Stem -> weight, of what the user says and what the system said right before."""
    found: dict[str, float] = {}
    for row, weight in ((rows[place], 1.0), *((row, _BEFORE) for row in rows[max(0, place - 1) : place])):
        for stem in Words.of(row["text"]).stems:
            found[stem] = found.get(stem, 0.0) + weight
    return found


def _labelled_turns(name: str, dialogue: Labelled) -> Iterator[Example]:
    before: BeliefState | None = ()
    for place, row in enumerate(dialogue.rows):
        if row["speaker"] == "user":
            after = dialogue.states.get(row["turn"])
            if before is not None and after is not None:
                yield Example(name, dialogue.rows, place, difference(before, after))
            before = after
