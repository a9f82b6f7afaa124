"""Changes of an ontology's values: each a pure function from one version to the next, with the step that records it.

A change that was made already gives the ontology back as it is, so that a command that was interrupted can be run
again. Nothing is deleted: names that are given up stay as other ways to say what they stood for, and no name ever
comes to stand for something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from pydantic import ValidationError

from schemas.errors import OntologyError, UsageError
from schemas.folding import fold
from schemas.ontology import AddValue, MergedValue, MergeValues, Ontology, RenameValue, Slot, Step, Value, is_number
from schemas.validation import first_mistake, nearest

CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


def rename_value(ontology: Ontology, name: str, value: str, to: str) -> Ontology:
    """Give a value another name; products stay keyed to it by the catalogue's spelling."""
    slot = ontology.slot(name)
    was, to = find_value(slot, value), _proper_value(slot, to)
    if was.value == to:
        return ontology
    _free_value(slot, to, but=[was])
    renamed = _merged([was], to)
    values = tuple(renamed if one is was else one for one in slot.values)
    step = RenameValue(version=ontology.version + 1, slot=slot.name, value=was.value, to=to)
    return stepped(ontology, step, {slot.name: changed(slot, values=values)})


def merge_values(ontology: Ontology, name: str, values: Sequence[str], into: str) -> Ontology:
    """Make one value of several, called as one of them or by a name that is free.

    Merging all parts of a value that was split back into its name undoes the split.

    Raises:
        OntologyError: no such slot or value; ``into`` stands for a value that is not among them; ranges that do not
            touch.
    """
    slot, into = ontology.slot(name), _proper_value(ontology.slot(name), into)
    split = slot.named(into)
    whole = split if split is not None and split.split_into else None
    sources = list({found.value: found for found in (_part(slot, value, whole) for value in values)}.values())
    if whole is not None:
        parts = {part.value for text in whole.split_into if (part := slot.named(text)) is not None}
        if not parts <= {one.value for one in sources}:
            raise OntologyError(
                f"'{slot.name}={whole.value}' was split; only all of its parts can be merged into it again",
                fix=f"merge {' '.join(f'{slot.name}={part}' for part in sorted(parts))}, or choose another name",
            )
        sources = [whole, *(one for one in sources if one is not whole)]
    _free_value(slot, into, but=sources)
    if len(sources) == 1:
        return ontology if sources[0].value == into else rename_value(ontology, name, sources[0].value, into)
    one = _merged(sources, into)
    place = next((value for value in sources if fold(value.value) == fold(into)), sources[0])
    kept = (one if value is place else value for value in slot.values if value is place or value not in sources)
    step = MergeValues(
        version=ontology.version + 1,
        slot=slot.name,
        values=tuple(MergedValue(value=value.value, spellings=value.spellings) for value in sources if value != whole),
        into=into,
    )
    return stepped(ontology, step, {slot.name: changed(slot, values=tuple(kept))})


def _part(slot: Slot, text: str, whole: Value | None) -> Value:
    return whole if whole is not None and slot.named(text) is whole else find_value(slot, text)


def add_value(ontology: Ontology, name: str, value: str, aliases: Iterable[str] = (), count: int = 0) -> Ontology:
    """Add a value, or other ways to say one that is there.

    Args:
        count: products that have it under this name.

    Raises:
        OntologyError: no such slot; the value or an alias stands for another value.
    """
    slot = ontology.slot(name)
    value, said = _proper_value(slot, value), [_proper_value(slot, alias) for alias in aliases]
    known = slot.named(value)
    if known is not None and fold(known.value) != fold(value):
        raise OntologyError(
            f"'{value}' is another way to say '{slot.name}={known.value}' already",
            fix=f"nothing is to be added, or rename that value: semctl ontology rename '{slot.name}={known.value}' NEW",
        )
    _not_split(slot, known)
    there = known or Value(value=value, count=count)
    for alias in said:
        _free_value(slot, alias, but=[there])
    spelled = {fold(text) for text in there.spellings}
    fresh = tuple({fold(alias): alias for alias in reversed(said) if fold(alias) not in spelled}.values())[::-1]
    if known is not None and not fresh:
        return ontology
    grown = there.model_copy(update={"aliases": (*there.aliases, *fresh)})
    values = (*slot.values, grown) if known is None else tuple(grown if one is known else one for one in slot.values)
    step = AddValue(version=ontology.version + 1, slot=slot.name, value=there.value, aliases=fresh)
    return stepped(ontology, step, {slot.name: changed(slot, values=values)})


def find_value(slot: Slot, text: str) -> Value:
    """The value that ``text`` names."""
    found = slot.named(text)
    if found is None:
        close = nearest(text, [value.value for value in slot.values])
        fix = f"did you mean '{slot.name}={close}'?" if close else f"see `semctl ontology show {slot.name}`"
        raise OntologyError(f"the slot '{slot.name}' has no value '{text}'", fix=fix)
    _not_split(slot, found)
    return found


def stepped(ontology: Ontology, step: Step, slots: dict[str, Slot | None], *new: Slot) -> Ontology:
    """The next version: some slots replaced (None: taken out), some added, and the step that says so."""
    kept = [slots.get(slot.name, slot) for slot in ontology.slots]
    try:
        return Ontology(
            version=step.version,
            slots=(*(slot for slot in kept if slot is not None), *new),
            history=(*ontology.history, step),
            decisions=ontology.decisions,
        )
    except ValidationError as problem:
        raise OntologyError(first_mistake(problem).what) from None


def changed(slot: Slot, **fields: object) -> Slot:
    """A slot with other fields, checked as a whole."""
    try:
        return Slot.model_validate({**{name: getattr(slot, name) for name in Slot.model_fields}, **fields})
    except ValidationError as problem:
        raise OntologyError(first_mistake(problem).what) from None


def _merged(values: Sequence[Value], name: str) -> Value:
    """One value with the spellings of all, keyed to the products of all."""
    keyed = {
        spelling: value.count
        for value in sorted(values, key=lambda value: -value.count)
        if value.count and not value.is_range
        for spelling in value.catalogue or (value.value,)
    }
    catalogue = () if all(fold(spelling) == fold(name) for spelling in keyed) else tuple(keyed)
    said = {fold(text): text for value in reversed(values) for text in reversed(value.spellings)}
    low, high = _bounds([value for value in values if value.is_range])
    return Value(
        value=name,
        count=sum(value.count for value in values),
        aliases=tuple(text for text in reversed(said.values()) if fold(text) != fold(name)),
        low=low,
        high=high,
        catalogue=catalogue,
        currency=next((value.currency for value in values if value.is_range), None),
    )


def _bounds(ranges: Sequence[Value]) -> tuple[float | None, float | None]:
    if not ranges:
        return None, None
    if len({value.currency for value in ranges}) > 1:
        raise OntologyError("ranges of prices in different currencies cannot be one", fix="merge those of one currency")
    ordered = sorted(ranges, key=low_end)
    for lower, upper in pairwise(ordered):
        if lower.high != upper.low:
            raise OntologyError(f"the ranges '{lower.value}' and '{upper.value}' do not touch", fix="merge neighbours")
    if ordered[0].low is None and ordered[-1].high is None:
        raise OntologyError("merged, every number would lie in one range", fix="leave two ranges at least")
    return ordered[0].low, ordered[-1].high


def low_end(value: Value) -> float:
    """Where a range begins."""
    return value.ends[0]


def _free_value(slot: Slot, text: str, *, but: Sequence[Value]) -> None:
    known = slot.named(text)
    if known is not None and known not in but:
        raise OntologyError(
            f"'{text}' stands for '{slot.name}={known.value}' already",
            fix=f"merge them: semctl ontology merge '{slot.name}=...' '{slot.name}={known.value}' --into ...",
        )


def _not_split(slot: Slot, value: Value | None) -> None:
    if value is not None and value.split_into:
        raise OntologyError(
            f"'{slot.name}={value.value}' was split into {' and '.join(value.split_into)}",
            fix="name one of these; merging all of them into its name again undoes the split",
        )


def _proper_value(slot: Slot, text: str) -> str:
    text = text.strip()
    if not text or CONTROL_CHARACTER.search(text):
        raise UsageError("a value is one line of text", where=f"{slot.name}={text!r}")
    if slot.kind == "numeric" and is_number(text):
        raise UsageError(f"in the slot '{slot.name}' a number is a value of itself", where=text, fix="give it a word")
    return text
