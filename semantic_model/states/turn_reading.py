"""User turns as the lexicon reads them: values and amounts that each names, and what was shown and said before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from schemas.folding import fold
from schemas.mentions import MentionFinder, Span, Stance, Words, name_stems, plain_apostrophes, stance
from schemas.numbers import NUMBER_IN_TEXT, read_number
from schemas.ontology import Ontology, Slot, Value

_NUMBER = rf"(?<![\w.,]){NUMBER_IN_TEXT}(?!\w)"
_BELOW = r"under|below|less than|lower than|cheaper than|no more than|not more than|at most|up to|within|max(?:imum)?"
_ABOVE = r"over|above|more than|higher than|better than|at least|no less than|not less than|min(?:imum)?"
_BELOW_AFTER = r"(?:or|and) (?:less|under|below|lower|cheaper)|max(?:imum)?|tops|at (?:the )?most"
_ABOVE_AFTER = r"(?:or|and) (?:more|up|upwards?|over|above|higher|better)|min(?:imum)?|at (?:the )?least"
_ABOUT = r"(?<!what )(?<!how )(?:around|about)|approximately|roughly|close to"
_AMOUNT = re.compile(
    rf"(?P<between>between {_NUMBER} and {_NUMBER}|{_NUMBER}\s?(?:to|-|–)\s?{_NUMBER})"
    rf"|\b(?P<bound>(?:{_BELOW}|{_ABOVE})(?: of)? {_NUMBER})"
    rf"|(?P<bound_after>{_NUMBER}(?: stars?)?(?: (?:{_BELOW_AFTER}|{_ABOVE_AFTER})\b| ?\+(?![\w+])(?: stars?\b)?))"
    rf"|\b(?:{_ABOUT}) (?P<about>{_NUMBER})"
    rf"|(?P<money>{_NUMBER})"
)
_ONE = re.compile(_NUMBER)
_GOES_ON = re.compile(r" (?!please\b|stars?\b|for\b|if\b)\w")
_RATING = re.compile(r"\b(?:stars?|rated|ratings?|reviews?|scores?)\b")


class Amount(NamedTuple):
    """An amount that a text gives."""

    slot: str | None  # the numeric slot that it can only be of; None where it may be of several or of none
    said: str  # as the user put it
    start: int  # where it stands in the text, with the words that make it a bound
    stop: int
    is_sure: bool  # it is an amount, even where it is of no slot: a number with a bound or a currency


def find_amounts(text: str, ontology: Ontology) -> Iterator[Amount]:
    """The amounts that a folded sentence gives.

    Of which slot: the numeric one that speaks of money, or of a rating, as the sentence does; else the only numeric one
    within whose ranges the number lies.
    """
    if not any(letter.isdigit() for letter in text):
        return
    numeric = [slot for slot in ontology.slots if slot.kind == "numeric"]
    for match in _AMOUNT.finditer(text):
        said = next(part for part in match.groups() if part)
        is_money = _is_money(said)
        if match["money"] and (said[0].isdigit() or not is_money):
            continue
        if match["bound_after"] and not is_money and _GOES_ON.match(text, match.end()):
            continue  # "4 or more shirts"
        slot = _slot(numeric, said, text, is_money=is_money)
        name = None if slot is None else slot.name
        yield Amount(name, " ".join(said.split()), *match.span(), is_sure=is_money or not match["between"])


def _slot(numeric: list[Slot], said: str, sentence: str, *, is_money: bool) -> Slot | None:
    if is_money:
        return _only([slot for slot in numeric if slot.is_money])
    if _RATING.search(sentence):
        return _only([slot for slot in numeric if slot.is_rating])
    return _only([slot for slot in numeric if _spans(slot, said)])


def _is_money(said: str) -> bool:
    numbers = [read_number(text) for text in _ONE.findall(said)]
    return any(number is not None and number.currency is not None for number in numbers)


def _spans(slot: Slot, said: str) -> bool:
    """Whether the largest number is of the size of the slot's ranges; a bound is passed by no more than four times."""
    bounds = [bound for value in slot.values for bound in (value.low, value.high) if bound is not None]
    numbers = [slot.number(text) for text in _ONE.findall(said)]
    values = [number.value for number in numbers if number is not None and number.value is not None]
    return bool(bounds and values) and min(bounds) / 4 <= max(values) <= max(bounds) * 4


def _only(slots: list[Slot]) -> Slot | None:
    return slots[0] if len(slots) == 1 else None


Choice = tuple[str, str]
"""Slot and value."""

_SENTENCE = re.compile(r"(?<=[.!?؟])\s+|(?<=[。！？।])\s*|[\n;]+")
_SHORT = 500  # characters; what is read of longer sentences is not kept
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
    """Reads turns with the values of an ontology, and with others that labels have beside them."""

    def __init__(self, ontology: Ontology, unlisted: Iterable[Choice] = ()) -> None:
        self.ontology = ontology
        self.unlisted = tuple(unlisted)
        offered = [(slot, value) for slot in ontology.slots for value in slot.values if not value.split_into]
        more = [(ontology.slot(slot), Value(value=value)) for slot, value in self.unlisted]
        self._choices: list[Choice] = [(slot.name, value.value) for slot, value in (*offered, *more)]
        self._finder = MentionFinder.of_slots(offered)
        self._unlisted_finder = MentionFinder.of_slots(more) if more else None
        self._offered = len(offered)
        self._read_once = lru_cache(maxsize=1 << 13)(self._sentence)  # a pass over a corpus reads what others have

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
        parts = (part for part in _SENTENCE.split(text) if part.strip())
        return [self._read_once(part) if len(part) <= _SHORT else self._sentence(part) for part in parts]

    def choices(self, text: str) -> list[Choice]:
        """All values that a text names, whatever it says of them."""
        found = [self._choices[column] for span in self._finder.spans(Words.of(text)) for column in span.columns]
        return list(dict.fromkeys(found))

    def named(self, text: str) -> set[Choice]:
        """All values and amounts that a text names, whatever it says of them."""
        return {item.choice for sentence in self.sentences(text) for item in sentence.named} | {*self.choices(text)}

    def _sentence(self, text: str) -> Sentence:
        folded = fold(plain_apostrophes(text.replace("\u00e2\u20ac\u2122", "'")))  # that is UTF-8 read wrongly
        words = Words.of(folded)
        spans = self._spans(words)
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

    def _spans(self, words: Words) -> list[Span]:
        """Where values stand, from left to right; those that the ontology lists go before others."""
        spans = self._finder.spans(words)
        if self._unlisted_finder is None:
            return spans
        taken = {at for span in spans for at in range(span.start, span.stop)}
        more = [span for span in self._unlisted_finder.spans(words) if taken.isdisjoint(range(span.start, span.stop))]
        spans += [Span(*span[:2], tuple(self._offered + column for column in span.columns)) for span in more]
        return sorted(spans, key=lambda span: span.start)

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


_ORDINALS = {
    **{word: number for number, word in enumerate(("first", "second", "third", "fourth", "fifth", "sixth"), start=1)},
    **{f"{number}{end}": number for number, end in enumerate(("st", "nd", "rd", "th", "th", "th"), start=1)},
}
_THING = r"(?:one|ones|picture|image|photo|pic|product|item|option)s?"
_IMAGE = re.compile(
    rf"#\s?(?P<hash>\d{{1,2}})\b"
    rf"|\b(?:picture|image|photo|pic|number|option)\s(?P<number>\d{{1,2}})\b"
    rf"|\b(?P<ordinal>{'|'.join(_ORDINALS)}|last)\s{_THING}\b"
    # of a scene, not of the images: "the second one on the left"
    r"(?!\s(?:on|from|at|to|down|up|over|behind|hanging|above|below|along)\b"
    r"|\sin\s(?:the|that|this|there|back|front|middle|cent(?:er|re))\b)"
)


@dataclass(frozen=True)
class Turn:
    """A user turn with what stood before it."""

    number: int
    text: str  # as written
    sentences: tuple[Sentence, ...]  # read
    asked: str  # what the system said right before
    images: tuple[frozenset[Choice], ...]  # what the products of the last images shown have, in the order of the images
    seen: tuple[frozenset[Choice], ...]  # the same of all images shown so far, the latest first
    is_first: bool  # the user has said nothing before


def dialogue_turns(
    rows: Sequence[Mapping[str, Any]], reader: TurnReader, attributes: Mapping[str, frozenset[Choice]]
) -> Iterator[Turn]:
    """The user turns of one dialogue, given its rows of ``turns.parquet`` in order and what the product in each
    image has.
    """
    asked = ""
    images: tuple[frozenset[Choice], ...] = ()
    seen: list[frozenset[Choice]] = []
    is_first = True
    for row in rows:
        shown = tuple(attributes.get(image, frozenset()) for image in row["image_ids"])
        if row["speaker"] == "user":
            sentences = tuple(reader.sentences(row["text"]))
            yield Turn(row["turn"], row["text"], sentences, asked, images, tuple(seen), is_first)
            is_first, asked = False, ""
        else:
            asked = row["text"]
            images = shown or images
        seen[:0] = shown
        del seen[_REMEMBERED:]


_REMEMBERED = 24


def referred(turn: Turn) -> frozenset[Choice] | None:
    """What the product has that the turn points at by the place of its image: "the second one", "#2"."""
    match = _IMAGE.search(fold(turn.text))
    if match is None or not turn.images:
        return None
    if match["ordinal"]:
        number = len(turn.images) if match["ordinal"] == "last" else _ORDINALS[match["ordinal"]]
    else:
        number = int(match["hash"] or match["number"])
    return turn.images[number - 1] if 1 <= number <= len(turn.images) else None
