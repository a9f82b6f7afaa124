"""Changes of values and slots: pure functions from one version of an ontology to the next, with the step that says so.

A change that was made already gives the ontology back as it is, so that a command that was interrupted can be run
again. Nothing is deleted: names that are given up stay as other ways to say what they stood for, and no name ever
comes to stand for something else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from pydantic import ValidationError

from schemas.errors import OntologyError, UsageError
from schemas.folding import fold, fold_name
from schemas.ontology import (
    AddSlot,
    AddValue,
    MergedSlot,
    MergedValue,
    MergeSlots,
    MergeValues,
    Ontology,
    RenameSlot,
    RenameValue,
    Slot,
    SplitValue,
    Step,
    Value,
    is_number,
)
from schemas.validation import first_mistake, nearest

_RANGE = re.compile(r"under (?P<under>.+)|(?P<low>.+) to (?P<high>.+)|(?P<over>.+) and over")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


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
    ordered = sorted(ranges, key=lambda value: value.ends[0])
    for lower, upper in pairwise(ordered):
        if lower.high != upper.low:
            raise OntologyError(f"the ranges '{lower.value}' and '{upper.value}' do not touch", fix="merge neighbours")
    if ordered[0].low is None and ordered[-1].high is None:
        raise OntologyError("merged, every number would lie in one range", fix="leave two ranges at least")
    return ordered[0].low, ordered[-1].high


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
    if not text or _CONTROL_CHARACTER.search(text):
        raise UsageError("a value is one line of text", where=f"{slot.name}={text!r}")
    if slot.kind == "numeric" and is_number(text):
        raise UsageError(f"in the slot '{slot.name}' a number is a value of itself", where=text, fix="give it a word")
    return text


def split_value(ontology: Ontology, name: str, value: str, into: Sequence[str], counts: Mapping[str, int]) -> Ontology:
    """Let several values take the place of one.

    A part may be the value itself (which from then on means less), one of its other spellings, which becomes a value
    of its own with the products spelled so, another value of the slot, or new. Unless it is one of its parts, the value
    is no longer offered; products that the catalogue spells like it stay keyed to it.

    The parts of a range are ranges that fill it, written "under 20", "20 to 40" or "40 and over".

    Args:
        counts: spelling -> products of the catalogue that have it.

    Raises:
        OntologyError: no such slot or value; fewer than two parts; a part that stands for another value; ranges that
            leave numbers out.
    """
    slot = ontology.slot(name)
    known = slot.named(value)
    parts = tuple({fold(part): part.strip() for part in reversed(into) if part.strip()}.values())[::-1]
    if _is_done(ontology, slot, known, parts):
        return ontology
    was = find_value(slot, value)
    if len(parts) < 2:
        raise OntologyError(f"'{slot.name}={was.value}' needs two parts at least", fix="name them with --into A,B")
    fresh, rest = _ranges(slot, was, parts) if was.is_range else _words(slot, was, parts)
    if not any(fold(part) == fold(was.value) for part in parts):
        rest = rest.model_copy(update={"split_into": parts})
    values = [one for known in slot.values for one in ((rest, *fresh) if known is was else (known,))]
    found = _counted(changed(slot, values=tuple(values)), counts)
    values = [
        one.model_copy(update={"count": found[one.value]}) if one is rest or one in fresh else one for one in values
    ]
    step = SplitValue(
        version=ontology.version + 1, slot=slot.name, value=was.value, spellings=was.spellings, into=parts
    )
    return stepped(ontology, step, {slot.name: changed(slot, values=tuple(values))})


def _counted(slot: Slot, counts: Mapping[str, int]) -> Counter[str]:
    """Value -> products that have it."""
    found: Counter[str] = Counter()
    for text, n in counts.items():
        value = slot.find(text)
        if value is not None:
            found[value.value] += n
    return found


def _is_done(ontology: Ontology, slot: Slot, known: Value | None, parts: Sequence[str]) -> bool:
    """Whether this split was made already: the value is gone into these parts, or it was the last step of all."""
    asked = set(map(fold, parts))
    if known is not None and known.split_into:
        return set(map(fold, known.split_into)) == asked
    last = ontology.history[-1] if ontology.history else None
    if not isinstance(last, SplitValue) or known is None or last.slot != slot.name:
        return False
    return fold(last.value) == fold(known.value) and set(map(fold, last.into)) == asked


def _words(slot: Slot, was: Value, parts: Sequence[str]) -> tuple[list[Value], Value]:
    """The values that are new, and what is left of the old one."""
    fresh = []
    for part in parts:
        other = slot.named(part)
        if fold(part) == fold(was.value):
            continue
        if other is None or other is was:
            fresh.append(Value(value=part))
        elif other.split_into or fold(other.value) != fold(part):
            what = "was split itself" if other.split_into else f"is another way to say '{slot.name}={other.value}'"
            raise OntologyError(f"the part '{part}' {what}", fix="name the value itself, or a new one")
    claimed = {fold(value.value) for value in fresh}
    keyed = tuple(text for text in was.catalogue if fold(text) not in claimed)
    aliases = tuple(text for text in was.aliases if fold(text) not in claimed)
    same = [fold(text) for text in keyed] == [fold(was.value)]
    return fresh, was.model_copy(update={"aliases": aliases, "catalogue": () if same else keyed})


def _ranges(slot: Slot, was: Value, parts: Sequence[str]) -> tuple[list[Value], Value]:
    found = sorted((_range(slot, part, was.currency) for part in parts), key=lambda value: value.ends[0])
    fills = found[0].low == was.low and found[-1].high == was.high
    if not fills or any(lower.high != upper.low for lower, upper in pairwise(found)):
        low = "below" if was.low is None else f"from {was.low:g}"
        high = "up" if was.high is None else f"to {was.high:g}"
        raise OntologyError(f"the parts of '{slot.name}={was.value}' do not fill it", fix=f"cut it {low} {high}")
    return found, was.model_copy(update={"low": None, "high": None})


def _range(slot: Slot, part: str, currency: str | None) -> Value:
    match = _RANGE.fullmatch(fold(part).replace(fold(f" {currency}"), ""))
    read = {name: slot.number(text) for name, text in match.groupdict().items() if text is not None} if match else {}
    ends = {name: number.value for name, number in read.items() if number is not None and number.value is not None}
    if not read or len(ends) < len(read):
        raise OntologyError(f"the part '{part}' is no range", fix="write 'under 20', '20 to 40' or '40 and over'")
    if slot.named(part) is not None:
        raise OntologyError(f"the part '{part}' is a value of '{slot.name}' already")
    low, high = ends.get("low", ends.get("over")), ends.get("high", ends.get("under"))
    if low is not None and high is not None and low >= high:
        raise OntologyError(f"the part '{part}' holds no number")
    return Value(value=part, low=low, high=high, currency=currency)


def rename_slot(ontology: Ontology, name: str, to: str) -> Ontology:
    """Give a slot another name."""
    slot, to = ontology.slot(name), to.strip()
    if slot.name == to:
        return ontology
    _free_name(ontology, to, but=slot)
    aliases = [alias for alias in (*slot.aliases, slot.name) if fold_name(alias) != fold_name(to)]
    renamed = changed(slot, name=to, aliases=tuple(dict.fromkeys(aliases)))
    return stepped(ontology, RenameSlot(version=ontology.version + 1, slot=slot.name, to=to), {slot.name: renamed})


def merge_slots(ontology: Ontology, names: Sequence[str], into: str) -> Ontology:
    """Make one slot of several that key to the same product attribute.

    Raises:
        OntologyError: no such slot; they key to different attributes; ``into`` is none of them and not free; or a word
            stands for different values in them.
    """
    found = [ontology.slot(name) for name in names]
    slots = [slot for slot in ontology.slots if slot in found]  # in the order that annotators see
    into = into.strip()
    if len(slots) == 1:
        return ontology if fold_name(into) == fold_name(slots[0].name) else rename_slot(ontology, slots[0].name, into)
    first = slots[0]
    for other in slots[1:]:
        if fold_name(other.attribute) != fold_name(first.attribute):
            raise OntologyError(
                f"'{first.name}' keys to the product attribute '{first.attribute}', '{other.name}' to "
                f"'{other.attribute}': a slot's values are looked up in one attribute",
                fix="merge slots of one attribute only",
            )
        if other.kind != first.kind:
            raise OntologyError(f"'{first.name}' is {first.kind}, '{other.name}' is {other.kind}")
    target = ontology.find(into)
    if target is None or target not in slots:
        _free_name(ontology, into, but=first)
    kept = target if target is not None and target in slots else first
    name = kept.name if kept is target else into
    names_given_up = [alias for slot in slots for alias in (slot.name, *slot.aliases)]
    merged = changed(
        kept,
        name=name,
        aliases=tuple(dict.fromkeys(alias for alias in names_given_up if fold_name(alias) != fold_name(name))),
        values=_all_values(kept, [slot for slot in slots if slot is not kept]),
    )
    step = MergeSlots(
        version=ontology.version + 1,
        slots=tuple(MergedSlot(name=slot.name, names=(slot.name, *slot.aliases)) for slot in slots),
        into=name,
    )
    gone = {slot.name: None for slot in slots if slot is not kept}
    return stepped(ontology, step, {**gone, kept.name: merged})


def _all_values(kept: Slot, others: Sequence[Slot]) -> tuple[Value, ...]:
    values = list(kept.values)
    for slot in others:
        for value in slot.values:
            same = next((known for known in values if fold(known.value) == fold(value.value)), None)
            if same is None:
                values.append(value)
            elif _meaning(same) != _meaning(value):
                raise OntologyError(
                    f"'{value.value}' is one thing in '{kept.name}' and another in '{slot.name}'",
                    fix=f"rename it in one of them: semctl ontology rename '{slot.name}={value.value}' NEW",
                )
            else:
                aliases = tuple(dict.fromkeys((*same.aliases, *value.aliases)))
                values[values.index(same)] = same.model_copy(update={"aliases": aliases})
    return tuple(values)


def _meaning(value: Value) -> tuple[object, ...]:
    return value.low, value.high, value.currency, value.split_into


def add_slot(ontology: Ontology, slot: Slot, *, assume_none: bool = False) -> Ontology:
    """Add a slot.

    Args:
        assume_none: what earlier answers do not say of it counts as nothing wanted; else as unknown.
    """
    same = ontology.find(slot.name)
    if same is not None and fold_name(same.attribute) == fold_name(slot.attribute) and same.name == slot.name:
        return ontology
    _free_name(ontology, slot.name)
    for other in ontology.slots:
        if fold_name(other.attribute) == fold_name(slot.attribute):
            raise OntologyError(
                f"the product attribute '{slot.attribute}' is the slot '{other.name}' already",
                fix=f"rename that slot if you like: semctl ontology rename {other.name} {slot.name}",
            )
    step = AddSlot(version=ontology.version + 1, slot=slot.name, attribute=slot.attribute, assume_none=assume_none)
    return stepped(ontology, step, {}, slot)


def _free_name(ontology: Ontology, name: str, *, but: Slot | None = None) -> None:
    """Refuse a name that another slot has or had, or whose attribute it is: it would be found in its stead."""
    if not name or _CONTROL_CHARACTER.search(name):
        raise UsageError("a slot's name is one line of text", where=repr(name))
    for slot in ontology.slots:
        taken = map(fold_name, (slot.name, *slot.aliases, slot.attribute))
        if slot is not but and fold_name(name) in taken:
            raise OntologyError(f"'{name}' names the slot '{slot.name}' already", fix="choose another name")
