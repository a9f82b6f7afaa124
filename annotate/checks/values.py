"""Checks of single values: unknown ones, those spelled otherwise, those of another slot, drops of nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

from annotate.checks.catalogue import CatalogueIndex
from annotate.checks.dialogue import DialogueLabels, TurnLabels
from annotate.checks.findings import Finding
from schemas.folding import fold, fold_name
from schemas.mentions import Words
from schemas.ontology import Ontology, Slot, Value


def check_values(labels: DialogueLabels, catalogue: CatalogueIndex, spellings: Spellings) -> Iterator[Finding]:
    """``wrong_slot``, ``near_miss``, ``value_not_in_catalogue``, ``ambiguous_number``, ``without_product``,
    ``alias_used``, ``wanted_and_disliked`` within one label, and ``dropped_nothing``.

    An unknown value gets one of the first four, never two of them.
    """
    for at in labels.turns:
        if at.update is None or not at.update.readable:
            continue
        for marked in (at.update.want, at.update.dislike):
            for name, values in marked.items():
                for value in values:
                    yield from _check_value(labels, at, labels.ontology.slot(name), value, catalogue, spellings)
        yield from _both_ways(labels, at)
        yield from _dropped_nothing(labels, at)


def _check_value(
    labels: DialogueLabels, at: TurnLabels, slot: Slot, value: str, catalogue: CatalogueIndex, spellings: Spellings
) -> Iterator[Finding]:
    found = slot.find(value)
    if found is not None:
        names = {fold(found.value), *map(fold, found.catalogue)}
        if fold(value) not in names and fold(value) in map(fold, found.aliases):
            detail = f"'{value}' is linked to '{found.value}'"
            yield labels.finding("alias_used", detail, at, slot=slot.name, value=value, suggestion=found.value)
        if not found.count:
            detail = f"'{found.value}' is a word of the ontology that no product has"
            yield labels.finding("without_product", detail, at, slot=slot.name, value=value)
        return
    number = slot.number(value) if slot.kind == "numeric" else None
    if number is not None and number.is_ambiguous:
        detail = f"{slot.name}={value} may be one of thousands or a decimal"
        yield labels.finding("ambiguous_number", detail, at, slot=slot.name, value=value)
        return
    having = catalogue.count(slot.name, fold(value))
    if having:
        detail = f"{having} products have '{value}', but the ontology does not know it"
        yield labels.finding("value_not_in_catalogue", detail, at, slot=slot.name, value=value)
        return
    if number is not None and number.currency is not None:
        detail = f"{slot.name}={value} is in no currency that the catalogue's ranges are in"
        yield labels.finding("value_not_in_catalogue", detail, at, slot=slot.name, value=value)
        return
    meant = spellings.suggest(slot.name, value)
    if meant is not None:
        code = "near_miss" if meant.slot == slot.name else "wrong_slot"
        detail = f"'{value}' is no known {slot.name}, but {meant} {meant.why}"
        yield labels.finding(code, detail, at, slot=slot.name, value=value, suggestion=str(meant))
    elif any(known.count for known in slot.values):
        detail = f"neither the ontology nor any product has {slot.name}={value}"
        yield labels.finding("value_not_in_catalogue", detail, at, slot=slot.name, value=value)
    else:
        detail = f"the catalogue says nothing of {slot.name}"
        yield labels.finding("without_product", detail, at, slot=slot.name, value=value)


def _both_ways(labels: DialogueLabels, at: TurnLabels) -> Iterator[Finding]:
    """Values that the turn's update marks both ways, and different spellings that its state holds both ways."""
    if at.update is None:
        return
    found: dict[tuple[str, str], str] = {}
    wanted = _linked(labels, at.update.want)
    for key, value in _linked(labels, at.update.dislike).items():
        if key in wanted:
            found[key] = f"{key[0]}={value} is wanted and disliked in one turn"
    keyed = [(item, (item["slot"], fold(item["catalogue_value"]))) for item in at.state or () if item["in_catalogue"]]
    likes = {key: item["value"] for item, key in keyed if item["polarity"] == "like"}
    for item, key in keyed:
        if item["polarity"] == "like" or key not in likes or key in found:
            continue
        if at.turn in (at.since[key[0], fold(item["value"])], at.since[key[0], fold(likes[key])]):
            found[key] = (
                f"{key[0]}={likes[key]} is wanted, {key[0]}={item['value']} disliked: they are the same products"
            )
    for (slot, value), detail in sorted(found.items()):
        yield labels.finding("wanted_and_disliked", detail, at, slot=slot, value=value)


def _linked(labels: DialogueLabels, marked: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for name, values in marked.items():
        slot = labels.ontology.slot(name)
        for value in values:
            item = labels.ontology.link(slot, value)
            found[item.slot, fold(item.value)] = item.value
    return found


def _dropped_nothing(labels: DialogueLabels, at: TurnLabels) -> Iterator[Finding]:
    # with a new topic everything is dropped: saying so of a slot again is no mistake
    if at.update is None or at.update.new_topic or at.before is None:
        return
    held = {item["slot"] for item in at.before}
    for name in sorted(at.update.drop):
        slot = labels.ontology.slot(name).name
        if slot in at.known_before and slot not in held:
            yield labels.finding("dropped_nothing", f"nothing was held of {slot} before this turn", at, slot=slot)


_DIGITS = re.compile(r"\d+")


class Suggestion(NamedTuple):
    """What may be meant."""

    slot: str  # as the ontology writes them
    values: tuple[str, ...]
    why: str  # for people

    def __str__(self) -> str:
        return ", ".join(f"{self.slot}={value}" for value in self.values)


class Spellings:
    """All spellings of an ontology.

    The nearest value of the slot itself is one that has the same letters, or the same words in singular or plural; else
    one that begins with the given words (``knee``: knee length), or those that stand in them (``red and black``); else
    one within an edit distance (optimal string alignment: insert, delete, replace, swap neighbours) of 1, or 2 from
    eight letters on. Before the last comes a value that another slot knows and products have. Short texts and texts
    with other numbers are never near. Of several the commonest in the catalogue wins.
    """

    def __init__(self, ontology: Ontology) -> None:
        self._slots = {slot.name: _Spelled(slot) for slot in ontology.slots}
        self._known: dict[str, list[tuple[int, str, str]]] = {}
        for slot in ontology.slots:
            for value in slot.values:
                for spelling in value.spellings:
                    self._known.setdefault(fold(spelling), []).append((-value.count, slot.name, value.value))
        self.suggest = lru_cache(maxsize=50_000)(self._suggest)

    def _suggest(self, slot_name: str, text: str) -> Suggestion | None:
        """The likeliest meaning of a text that the slot does not know, or None."""
        slot, folded = self._slots[slot_name], fold(text)
        known = self._known.get(folded, [])
        return (
            slot.with_letters(text)
            or slot.with_words(text)
            or slot.in_part(text)
            or next((Suggestion(name, (value,), "is known") for count, name, value in sorted(known) if count), None)
            # what is spelled right is no slip of another word
            or (None if known else slot.spelled_nearly(folded))
        )


class _Spelled:
    """The spellings of one slot, ready to be compared with."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._letters: dict[str, list[Value]] = {}
        self._words: dict[tuple[str, ...], list[Value]] = {}
        self._folded: dict[str, Value] = {}
        for value in slot.values:
            for spelling in value.spellings:
                self._letters.setdefault(fold_name(spelling), []).append(value)
                self._words.setdefault(Words.of(spelling).stems, []).append(value)
                self._folded[fold(spelling)] = value

    def with_letters(self, text: str) -> Suggestion | None:
        return self._commonest(self._letters.get(fold_name(text), []), "has the same letters")

    def with_words(self, text: str) -> Suggestion | None:
        return self._commonest(self._words.get(Words.of(text).stems, []), "has the same words")

    def in_part(self, text: str) -> Suggestion | None:
        given = Words.of(text).stems
        # "least expensive" is not expensive: words for numbers are not taken apart
        if self._slot.kind == "numeric" or not given or len(given[0]) < 3 or _DIGITS.search(given[0]):
            return None
        begins = [value for words, values in self._words.items() if words[: len(given)] == given for value in values]
        if begins:
            return self._commonest(begins, "begins so")
        inside = [words for words in self._words if len("".join(words)) > 2 and _stands_in(words, given)]
        # "light blue" stands in "very light blue", and "blue" only as a part of it
        whole = [words for words in inside if not any(words != other and _stands_in(words, other) for other in inside)]
        names = {value.value for words in whole for value in self._words[words]}
        return Suggestion(self._slot.name, tuple(sorted(names)), "stands in it") if names else None

    def spelled_nearly(self, folded: str) -> Suggestion | None:
        near = process.extract_iter(folded, self._folded.keys(), scorer=OSA.distance, processor=None, score_cutoff=2)
        found = [self._folded[spelling] for spelling, distance, _ in near if _is_near(spelling, folded, distance)]
        return self._commonest(found, "is spelled nearly so")

    def _commonest(self, found: list[Value], why: str) -> Suggestion | None:
        if not found:
            return None
        return Suggestion(self._slot.name, (min(found, key=lambda value: (-value.count, value.value)).value,), why)


def _stands_in(words: tuple[str, ...], text: tuple[str, ...]) -> bool:
    return any(text[at : at + len(words)] == words for at in range(len(text) - len(words) + 1))


def _is_near(known: str, given: str, distance: float) -> bool:
    shorter = min(len(known), len(given))
    if shorter < 4 or _DIGITS.findall(known) != _DIGITS.findall(given):
        return False
    return distance <= (1 if shorter < 8 else 2)
