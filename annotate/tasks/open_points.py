"""What an ontology leaves open for annotators: slots that look alike, near-synonyms, words where only numbers are.

Each open point comes with what the guideline says until the owner decides. A decision stands in ``ontology.json``, as
``"decisions": {"size / available_sizes": "Mark size, always."}``: what it is about, and what annotators then read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise

from schemas.folding import fold
from schemas.mentions import Words, name_stems
from schemas.ontology import Ontology, Slot, Value, is_number

_NEAR_SYNONYMS = tuple(
    tuple(group.split(", "))
    for group in """
affordable, budget, cheap, inexpensive, low priced
aqua, teal, turquoise
area rug, carpet, rug
athletic, sporty, sports
bag, handbag, purse
baggy, loose, oversized, relaxed, slouchy
beige, cream, ecru, ivory, off white, sand
body con, bodycon, fitted, skinny, slim, tight
bordeaux, burgundy, maroon, wine
boys, male, man, men, mens
casual, everyday, informal
cell phone, mobile, mobile phone, phone, smartphone
check, checked, checkered, gingham, plaid, tartan
children, kids
couch, sofa
crew neck, round neck
dark blue, navy, navy blue
dots, dotted, polka dot, spots, spotted
elegant, formal, smart
expensive, high priced, luxury, premium, pricey
female, girls, ladies, woman, women, womens
floor length, full, full length, long, maxi
floral, flowers, flowery
gold, golden
gray, grey
half, short
high neck, polo neck, roll neck, turtleneck
jumper, pullover, sweater
knee length, midi
laptop, notebook
long sleeve, long sleeves, full sleeve, full sleeves
metal, metallic
mini, short
pants, slacks, trousers
plain, solid
purple, violet
silver, silvery
sneakers, trainers
stripe, striped, stripes
wood, wooden
""".strip().splitlines()
)
_SAME_WORD = {"colour": "color", "review": "rating", "star": "rating", "score": "rating"} | {
    "fabric": "material",
    "neckline": "neck",
    "cost": "price",
    "mrp": "price",
    "manufacturer": "brand",
    "category": "type",
    "kind": "type",
}
_ADDS_NOTHING = frozenset(
    ("article", "available", "average", "avg", "base", "customer", "for", "item", "main", "overall", "product", "range")
)
_TOO_GENERAL = frozenset(("detail", "feature", "name", "style", "type"))
_IN_MANY_SLOTS = frozenset(("any", "false", "multi", "n/a", "no", "none", "other", "others", "true", "unknown", "yes"))
_MOST_COMPARED = 300
_LONG_ENOUGH = 7
_SHARED_BY_ALIKE = 2
_MOST_SHARED_SHOWN = 3


@dataclass(frozen=True)
class OpenPoint:
    """Something that the ontology does not settle."""

    about: str  # the slots, or the values as ``slot=value``, with " / " between; the key of a decision on it
    question: str  # what is open
    default: str  # what annotators are told until it is decided
    slot: str  # the slot it concerns first

    def as_json(self) -> dict[str, str]:
        """The point as one JSON object."""
        return {"about": self.about, "question": self.question, "default": self.default}


def open_points(ontology: Ontology) -> list[OpenPoint]:
    """The points that the owner has not decided."""
    return [point for point in points(ontology) if decision_on(point.about, ontology) is None]


def decision_on(about: str, ontology: Ontology) -> str | None:
    """What the owner decided, however the key is spelled and ordered; None when nothing."""
    return next((text for key, text in ontology.decisions.items() if _key(key) == _key(about)), None)


def other_decisions(ontology: Ontology, abouts: Iterable[str]) -> dict[str, str]:
    """The decisions that are on none of these."""
    known = {_key(about) for about in abouts}
    return {about: text for about, text in ontology.decisions.items() if _key(about) not in known}


def _key(about: str) -> frozenset[str]:
    return frozenset(fold(part) for part in re.split(r"\s+/\s+", about))


def points(ontology: Ontology) -> list[OpenPoint]:
    """All points, decided or not: slots that look alike first, then slot by slot."""
    found = list(_alike_slots(ontology))
    for slot in ontology.slots:
        found += [*_words(slot), *_gaps(slot), *_near_synonyms(slot)]
    return found


def _alike_slots(ontology: Ontology) -> Iterator[OpenPoint]:
    values = {slot.name: _telling_values(slot) for slot in ontology.slots}
    groups: list[list[str]] = [[slot.name] for slot in ontology.slots]
    for one, other in combinations(ontology.slots, 2):
        of_one, of_other = values[one.name].keys(), values[other.name].keys()
        shared, fewer = len(of_one & of_other), min(len(of_one), len(of_other))
        if (shared >= _SHARED_BY_ALIKE and 4 * shared >= fewer) or _are_alike(one, other):
            first, second = (next(g for g in groups if slot.name in g) for slot in (one, other))
            if first is not second:
                first.extend(second)
                groups.remove(second)
    order = {slot.name: place for place, slot in enumerate(ontology.slots)}
    for group in groups:
        if len(group) > 1:
            yield _alike(sorted(group, key=lambda name: order[name]), values)


def _alike(names: Sequence[str], values: Mapping[str, Mapping[str, str]]) -> OpenPoint:
    times = Counter(value for name in names for value in values[name])
    spelled = {folded: text for name in reversed(names) for folded, text in values[name].items()}
    shared = [spelled[value] for value, n in sorted(times.items(), key=lambda item: (-item[1], item[0])) if n > 1]
    both = f" and share values ({', '.join(shared[:_MOST_SHARED_SHOWN])})" if shared else ""
    return OpenPoint(
        " / ".join(names),
        f"{_listed(names, 'and')} look alike{both}: which one does a value belong to?",
        f"Mark the slot that fits the user's words or the product they want; if in doubt, {names[0]}.",
        names[0],
    )


def _telling_values(slot: Slot) -> dict[str, str]:
    """Words that are values, folded and as the slot has them; numbers and "yes" mean nothing without their slot."""
    words = {fold(value.value): value.value for value in slot.offered if _is_word(value)}
    return {folded: text for folded, text in words.items() if folded not in _IN_MANY_SLOTS}


def _are_alike(one: Slot, other: Slot) -> bool:
    first, second = _name_words(one.name), _name_words(other.name)
    fewer = first & second
    return fewer in (first, second) and bool(fewer) and (first == second or not fewer <= _TOO_GENERAL)


def _name_words(name: str) -> frozenset[str]:
    """The words that a slot's name is made of, those that add nothing left out: ``baseColours`` is "color"."""
    same = frozenset(_SAME_WORD.get(word, word) for words in name_stems((name,)) for word in words)
    return same - _ADDS_NOTHING or same


def _words(slot: Slot) -> Iterator[OpenPoint]:
    """Words for amounts of money and ratings, where only numbers are values."""
    if not all(any(map(str.isdigit, value.value)) for value in slot.offered) or not slot.offered:
        return
    names = _name_words(slot.name) | _name_words(slot.attribute)
    if slot.kind == "numeric" and (slot.is_money or "price" in names):
        said = ("cheap", "expensive")
    elif "rating" in names:
        said = ("good", "well rated")
    else:
        return
    words = " or ".join(f"“{word}”" for word in said)
    yield OpenPoint(
        slot.name,
        f"users say {words}, and {slot.name} has only numbers: which of them are meant?",
        f"{words}: type the word into Other ({slot.name}={said[0]}); do not guess a number.",
        slot.name,
    )


def _gaps(slot: Slot) -> Iterator[OpenPoint]:
    """Numbers between ranges that no range holds."""
    ranges = [value for value in slot.values if value.is_range]
    for currency in sorted({value.currency or "" for value in ranges}):
        ordered = sorted((value for value in ranges if (value.currency or "") == currency), key=lambda v: v.ends)
        for lower, upper in pairwise(ordered):
            if lower.ends[1] < upper.ends[0]:
                gap = f"{lower.ends[1]:.10g} to {upper.ends[0]:.10g} {currency}".strip()
                yield OpenPoint(
                    f"{slot.name}={lower.value} / {slot.name}={upper.value}",
                    f"no range of {slot.name} holds {gap}",
                    f"{gap}: type the number into Other.",
                    slot.name,
                )


def _near_synonyms(slot: Slot) -> Iterator[OpenPoint]:
    words = [value.value for value in slot.offered if _is_word(value)]
    plain = {_plain(word): word for word in reversed(words)}
    for group in _NEAR_SYNONYMS:
        there = [plain[word] for word in group if word in plain]
        if len(there) > 1:
            yield _synonyms(slot, there, "mean nearly the same: which one, when?")
    for one, other in _spelled_alike(words[:_MOST_COMPARED]):
        if not any(_plain(one) in group and _plain(other) in group for group in _NEAR_SYNONYMS):
            yield _synonyms(slot, [one, other], "are spelled nearly the same: are they one value?")


def _spelled_alike(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Words that differ in a plural, in hyphens and spaces, or in one letter of many."""
    keys = [("".join(Words.of(word).stems), _plain(word), word) for word in words]
    for (stems, plain, one), (other_stems, other_plain, other) in combinations(keys, 2):
        if stems == other_stems:
            alike = bool(stems)
        else:
            alike = min(len(plain), len(other_plain)) >= _LONG_ENOUGH and _is_typo(plain, other_plain)
        if alike:
            yield one, other


def _synonyms(slot: Slot, values: Sequence[str], what: str) -> OpenPoint:
    rank = {value.value: value.count for value in slot.values}
    ordered = sorted(values, key=lambda value: (-rank[value], value))
    return OpenPoint(
        " / ".join(f"{slot.name}={value}" for value in ordered),
        f"{_listed(ordered, 'and')} {what}",
        f"{_listed([f'“{value}”' for value in ordered], 'or')}: mark the one that the user says; else {ordered[0]}.",
        slot.name,
    )


def _is_word(value: Value) -> bool:
    return not value.is_range and not is_number(value.value)


@lru_cache(maxsize=4_096)
def _plain(text: str) -> str:
    return " ".join(Words.of(text).words)


def _is_typo(one: str, other: str) -> bool:
    """Whether two texts differ in one letter; digits tell things apart."""
    from rapidfuzz.distance import Levenshtein

    if Levenshtein.distance(one, other, score_cutoff=1) > 1:
        return False
    return re.sub(r"\D", "", one) == re.sub(r"\D", "", other)


def _listed(names: Sequence[str], word: str) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
