"""The ontology's values as columns: which of them a product has, a state wants, and a text mentions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.belief import BeliefState
from schemas.ontology import Ontology, Slot, Value, fold

__all__ = ["Mention", "SlotValues", "Wishes"]

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_BREAK = re.compile(r"[.,;:!?()]|\bbut\b")  # "no, red please", "not black but red": what comes after is not negated
_NEGATIONS = frozenset(
    ("not", "no", "without", "except", "avoid", "hate", "dislike", "never", "nothing", "neither", "nor")
)
_REACH = 3  # words after a negation that it may be about


class Mention(NamedTuple):
    """A value that a text names.

    Attributes:
        column: of the value.
        negated: a negation stands shortly before it.
    """

    column: int
    negated: bool


class Wishes(NamedTuple):
    """A state as columns.

    Attributes:
        like: the values liked [V].
        dislike: the values disliked [V].
        known: whether every value that the state has in a slot is in the ontology [n].
    """

    like: npt.NDArray[np.bool_]
    dislike: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


class SlotValues:
    """All values of all slots, side by side: V columns.

    Args:
        ontology: its slots, in order, with their values, in order.

    Attributes:
        slots: n slots.
        slot_of: slot of each column [V].
        values: the value of each column.
    """

    def __init__(self, ontology: Ontology) -> None:
        self.ontology = ontology
        self.slots: tuple[Slot, ...] = ontology.slots
        self.values: tuple[Value, ...] = tuple(value for slot in self.slots for value in slot.values)
        self.slot_of: npt.NDArray[np.int64] = np.repeat(
            np.arange(len(self.slots)), [len(slot.values) for slot in self.slots]
        )
        first = np.cumsum([0, *(len(slot.values) for slot in self.slots)])
        self._columns: list[Mapping[str, int]] = [
            {value.value: int(start) + at for at, value in enumerate(slot.values)}
            for slot, start in zip(self.slots, first, strict=False)
        ]
        self._numbers = {slot.name: number for number, slot in enumerate(self.slots)}

    def __len__(self) -> int:
        return len(self.values)

    def of_attributes(self, attributes: Mapping[str, Sequence[str]]) -> npt.NDArray[np.bool_]:
        """Which values a product with these attributes has [V]; a number counts as the range it lies in."""
        found = np.zeros(len(self), dtype=np.bool_)
        for number, slot in enumerate(self.slots):
            for text in attributes.get(slot.attribute, ()):
                value = slot.find(text)
                if value is not None:
                    found[self._columns[number][value.value]] = True
        return found

    def of_state(self, state: BeliefState) -> Wishes:
        """Which values are liked and disliked; values and slots that the ontology lacks are left out."""
        like, dislike = np.zeros(len(self), dtype=np.bool_), np.zeros(len(self), dtype=np.bool_)
        found = Wishes(like, dislike, known=np.ones(len(self.slots), dtype=np.bool_))
        for item in state:
            number = self._numbers.get(item.slot)
            if number is None:
                continue
            value = self.slots[number].find(item.value)
            if value is None:
                found.known[number] = False
            else:
                wanted = found.like if item.polarity == "like" else found.dislike
                wanted[self._columns[number][value.value]] = True
        return found

    def mentions(self, text: str) -> list[Mention]:
        """The values that a text names, by spelling or alias, each once; the longest spelling at a place wins.

        Words are compared without case, plural endings, hyphens and spaces: "T-shirts" names ``tshirt``. A value that
        is both negated and not is not. A negation is about the three words after it, up to a punctuation mark or "but".
        """
        words, clauses = _words(text)
        stems = [_stem(word) for word in words]
        found: dict[int, bool] = {}
        at = 0
        while at < len(stems):
            length, columns = self._longest(stems, at)
            before = range(max(0, at - _REACH), at)
            negated = any(clauses[i] == clauses[at] and _is_negation(words[i]) for i in before)
            for column in columns:
                found[column] = found.get(column, True) and negated
            at += length
        return [Mention(column, negated) for column, negated in found.items()]

    def _longest(self, stems: Sequence[str], at: int) -> tuple[int, Sequence[int]]:
        for length in range(min(self._most_words, len(stems) - at), 0, -1):
            columns = self._spellings.get("".join(stems[at : at + length]))
            if columns:
                return length, columns
        return 1, ()

    @cached_property
    def _spellings(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for column, value in enumerate(self.values):
            for spelling in (value.value, *value.aliases):
                joined = "".join(map(_stem, _words(spelling)[0]))
                if joined and column not in found.setdefault(joined, []):
                    found[joined].append(column)
        return found

    @cached_property
    def _most_words(self) -> int:
        """Words of the longest spelling, and one more, as texts may write apart what it writes as one."""
        spellings = (spelling for value in self.values for spelling in (value.value, *value.aliases))
        return 1 + max((len(_words(spelling)[0]) for spelling in spellings), default=0)

    def texts(self) -> Iterator[str]:
        """Each column's value as a text."""
        return (value.value for value in self.values)


def _words(text: str) -> tuple[list[str], list[int]]:
    """The words of a text, folded as the ontology's spellings are, and the number of the clause that each is in."""
    words: list[str] = []
    clauses: list[int] = []
    for number, clause in enumerate(_BREAK.split(fold(text).replace("\u2019", "'"))):
        found = _WORD.findall(clause)
        words += found
        clauses += [number] * len(found)
    return words, clauses


def _stem(word: str) -> str:
    """One form of singular, plural and possessive: ``dresses``, ``blouses``, ``hoodie``, ``men's``."""
    word = word.removesuffix("'s")
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if len(word) > 4 and word.endswith(("ies", "ie")):
        return word.removesuffix("s")[:-2] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _is_negation(word: str) -> bool:
    return word in _NEGATIONS or word.endswith("n't")
