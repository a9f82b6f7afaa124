"""One shopper turn as the lexicon reads it: the values it names, for or against, and where in the sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from annotate.lexicon.amounts import find_amounts
from schemas.folding import fold
from schemas.mentions import MentionFinder, Span, Words, is_negation
from schemas.ontology import Ontology

__all__ = ["Choice", "Named", "Sentence", "TurnReader"]

Choice = tuple[str, str]
"""Slot and value."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|[\n;]+")
_NOT_A_NEGATION = re.compile(
    r"\b(?:not only|no (?:problem|worries|doubt|matter)|not (?:sure|bad)|nothing but"
    r"|(?:do|does|did|are|is|have|has|can|could|would|wo|why do)n't (?:you|there|we|they|it))\b"
)
"""Negative in form alone: "don't you have red ones?"."""
_AGAINST = (("instead", "of"), ("rather", "than"), ("other", "than"), ("sick", "of"), ("tired", "of"))
_EXCEPTIONS = ("except", "besides", "excluding")
_REACH = 3
_REACH_OF_A_VERB = 5  # "don't want it to be black"
_VERBS_AGAINST = ("hate", "dislike", "avoid", "loathe")
_JOINING = frozenset(("or", "and", "nor", "any", "a", "an", "the"))


@dataclass(frozen=True)
class Named:
    """A value that a sentence names.

    Attributes:
        slot, value: as the ontology has them; a number as the shopper put it.
        negated: it is to be avoided.
        span: the words that name it; None for a number.
    """

    slot: str
    value: str
    negated: bool
    span: Span | None = None

    @property
    def choice(self) -> Choice:
        return self.slot, self.value


@dataclass(frozen=True)
class Sentence:
    """One sentence of a turn.

    Attributes:
        text: folded, with plain apostrophes.
        words: it, cut into words.
        named: the values named, from left to right.
        question: it ends in a question mark.
    """

    text: str
    words: Words
    named: tuple[Named, ...]
    question: bool


class TurnReader:
    """Reads turns with the values of an ontology, and with spellings learned beside them.

    Args:
        ontology: its values and their aliases.
    """

    def __init__(self, ontology: Ontology) -> None:
        self.ontology = ontology
        offered = [(slot.name, value) for slot in ontology.slots for value in slot.values if not value.split_into]
        self._choices: list[Choice] = [(slot, value.value) for slot, value in offered]
        self._finder = MentionFinder((value.value, *value.aliases) for _, value in offered)

    @cached_property
    def slot_words(self) -> dict[str, tuple[frozenset[str], ...]]:
        """Slot -> the sets of stems that name it: ``sleeveLength`` is named by "sleeve length"."""
        return {
            slot.name: tuple(
                frozenset(Words.of(_spaced(name)).stems) for name in (slot.name, slot.attribute, *slot.aliases)
            )
            for slot in self.ontology.slots
        }

    def names_slot(self, slot: str, words: Words) -> bool:
        """Whether the words name the slot itself, as in "the same color"."""
        there = set(words.stems)
        return any(name and name <= there for name in self.slot_words[slot])

    def sentences(self, text: str) -> list[Sentence]:
        """A turn, sentence by sentence."""
        return [self._sentence(part) for part in _SENTENCE.split(text) if part.strip()]

    def choices(self, text: str) -> list[Choice]:
        """All values that a text names, whatever it says of them."""
        found = [self._choices[column] for span in self._finder.spans(Words.of(text)) for column in span.columns]
        return list(dict.fromkeys(found))

    def _sentence(self, text: str) -> Sentence:
        folded = fold(text.replace("\u00e2\u20ac\u2122", "'")).replace("\u2019", "'")  # the first is UTF-8 read wrongly
        words = Words.of(folded)
        spans = self._finder.spans(words)
        named = list(self._named(words, spans, folded))
        taken = {item.choice for item in named}
        for slot, value in find_amounts(folded, self.ontology):
            if (slot, value) not in taken and not any(item.slot == slot and item.span for item in named):
                named.append(Named(slot, value, negated=False))
        return Sentence(folded, words, tuple(named), text.rstrip().endswith("?"))

    def _named(self, words: Words, spans: Sequence[Span], text: str) -> Iterator[Named]:
        harmless = _NOT_A_NEGATION.search(text) is not None
        negated_before: Span | None = None
        for span in spans:
            negated = not harmless and _is_negated(words, span.start)
            listed = negated_before is not None and _is_listed(words, negated_before, span)
            negated = negated or listed
            negated_before = span if negated else None
            for column in span.columns:
                yield Named(*self._choices[column], negated=negated, span=span)


def _is_negated(words: Words, at: int) -> bool:
    """Whether a word stands in the reach of a negation, or is what an exception leaves out."""
    clause = [i for i in range(at) if words.clauses[i] == words.clauses[at]]
    negations = [i for i in clause if is_negation(words.words[i]) and words.words[i] not in _EXCEPTIONS]
    exceptions = [i for i in clause if words.words[i] in _EXCEPTIONS]
    if exceptions and at - exceptions[-1] <= _REACH + 1:
        return not any(i < exceptions[-1] for i in negations)  # "no dresses except black ones" wants black ones
    for i in negations:
        is_verb = words.words[i].endswith("n't") or words.words[i] in _VERBS_AGAINST
        if at - i <= (_REACH_OF_A_VERB if is_verb else _REACH):
            return True
    pairs = [i for i in clause if words.words[i : i + 2] in _AGAINST]
    return any(at - i - 1 <= _REACH for i in pairs)


def _is_listed(words: Words, before: Span, span: Span) -> bool:
    """Whether a value goes on a list begun by a negated one: "no black or white"."""
    if words.clauses[before.start] != words.clauses[span.start]:
        return False
    between = words.words[before.stop : span.start]
    return len(between) <= 2 and ("or" in between or "nor" in between) and set(between) <= _JOINING


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-]+", " ", name)
