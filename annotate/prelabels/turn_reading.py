"""One user turn as the lexicon reads it: the values it names, for or against, and where in the sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from annotate.prelabels.amounts import Amount, find_amounts
from schemas.folding import fold
from schemas.mentions import MentionFinder, Span, Stance, Words, name_stems, plain_apostrophes, stance
from schemas.ontology import Ontology

__all__ = ["Choice", "Named", "Sentence", "TurnReader"]

Choice = tuple[str, str]
"""Slot and value."""

_SENTENCE = re.compile(r"(?<=[.!?؟])\s+|(?<=[。！？।])\s*|[\n;]+")
_JOINING = frozenset(("or", "and", "nor", "any", "a", "an", "the"))


@dataclass(frozen=True)
class Named:
    """A value that a sentence names."""

    slot: str  # as the ontology has them; a number as the user put it
    value: str
    negated: bool  # it is to be avoided
    span: Span | None = None  # the words that name it; None for a number

    @property
    def choice(self) -> Choice:
        return self.slot, self.value


@dataclass(frozen=True)
class Sentence:
    """One sentence of a turn."""

    text: str  # folded, with plain apostrophes
    words: Words
    named: tuple[Named, ...]  # the values named, from left to right
    question: bool  # it ends in a question mark


class TurnReader:
    """Reads turns with the values of an ontology, and with spellings learned beside them."""

    def __init__(self, ontology: Ontology) -> None:
        self.ontology = ontology
        offered = [(slot, value) for slot in ontology.slots for value in slot.values if not value.split_into]
        self._choices: list[Choice] = [(slot.name, value.value) for slot, value in offered]
        self._finder = MentionFinder.of_slots(offered)

    @cached_property
    def slot_words(self) -> dict[str, tuple[frozenset[str], ...]]:
        """Slot -> the sets of stems that name it: ``sleeveLength`` is named by "sleeve length"."""
        return {
            slot.name: tuple(map(frozenset, name_stems((slot.name, slot.attribute, *slot.aliases))))
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
        folded = fold(plain_apostrophes(text.replace("\u00e2\u20ac\u2122", "'")))  # that is UTF-8 read wrongly
        words = Words.of(folded)
        spans = self._finder.spans(words)
        found = [(amount, _within(words, amount)) for amount in find_amounts(folded, self.ontology)]
        amounts = [
            (amount._replace(slot=None) if self._is_of_values(words, place) else amount, place)
            for amount, place in found
        ]
        numbers = [place for amount, place in amounts if amount.is_sure or amount.slot]
        spans = [span for span in spans if not any(_is_number_of(words, span, place) for place in numbers)]
        named = list(self._named(words, spans))
        taken = {item.choice for item in named}
        spelled = {item.slot for item in named}
        for amount, place in amounts:
            if amount.slot is not None and (amount.slot, amount.said) not in taken and amount.slot not in spelled:
                said = stance(words, place)
                if said != "open":
                    named.append(Named(amount.slot, amount.said, negated=said == "against"))
        return Sentence(folded, words, tuple(named), text.rstrip().endswith(("?", "？", "؟")))

    def _is_of_values(self, words: Words, amount: Span) -> bool:
        """Whether a slot without ranges is named right before an amount: "size 36-42" is no price."""
        end = amount.start
        while end and words.words[end - 1] in ("is", "are", "of", "from"):
            end -= 1
        return any(
            frozenset(words.stems[max(0, end - len(name)) : end]) == name
            for slot in self.ontology.slots
            if slot.kind != "numeric"
            for name in self.slot_words[slot.name]
            if name
        )

    def _named(self, words: Words, spans: Sequence[Span]) -> Iterator[Named]:
        before: Span | None = None
        said: Stance = "for"
        for span in spans:
            on_the_list = "for" if before is None or said == "for" else self._listed(words, before, said, span)
            said = on_the_list if on_the_list != "for" else stance(words, span)
            before = span
            for column in span.columns if said != "open" else ():
                yield Named(*self._choices[column], negated=said == "against", span=span)

    def _listed(self, words: Words, before: Span, said: Stance, span: Span) -> Stance:
        """What a list says of a value where it says this of the one before; ``for``: it is not on the list.

        "No black or white" and "all but black and white" refuse both; of "no black, white or red" nobody can tell.
        """
        slots = {self._choices[column][0] for column in before.columns}
        is_alike = any(self._choices[column][0] in slots for column in span.columns)
        between = words.words[before.stop : span.start]
        clause = words.clauses[span.start]
        if words.clauses[before.start] == clause:
            is_listed = len(between) <= 2 and set(between) <= _JOINING
            return said if is_listed and ("or" in between or "nor" in between or is_alike) else "for"
        is_next = not between and words.clauses[before.start] + 1 == clause
        after = (word for i, word in enumerate(words.words) if i >= span.stop and words.clauses[i] == clause)
        return "open" if is_next and is_alike and next(after, "") in ("or", "nor") else "for"


def _within(words: Words, amount: Amount) -> Span:
    """The words of an amount."""
    inside = [at for at, start in enumerate(words.starts()) if amount.start <= start < amount.stop]
    return Span(inside[0], inside[-1] + 1, ()) if inside else Span(0, 0, ())


def _is_number_of(words: Words, span: Span, amount: Span) -> bool:
    """Whether a span is the bare number of an amount: "under 45" names no size."""
    return amount.start <= span.start < amount.stop and all(
        w[:1].isdigit() for w in words.words[span.start : span.stop]
    )
