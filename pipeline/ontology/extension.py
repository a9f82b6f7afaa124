"""An ontology that people have worked on, grown by what the catalogue has anew."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from pipeline.ontology.derivation import AttributeCounts, catalogue_slot
from schemas.folding import fold, fold_name
from schemas.ontology import Growth, Ontology, Slot, Value


def grown(existing: Ontology, derived: Ontology, counts: AttributeCounts) -> Ontology:
    """What people edited, with what the catalogue has anew: slots and values are added, counts follow the catalogue.

    Names, titles, hints, orders, aliases, ranges and kinds of what is there stay, and so do the steps by which it was
    changed. The version rises by one when anything changed, which is a step of its own.
    """
    slots = list(existing.slots)
    fresh: list[str] = []
    matched: set[int] = set()
    names = {fold_name(name) for slot in slots for name in (slot.name, *slot.aliases)}
    for new in derived.slots:
        index = _position(slots, new)
        if index is None:
            aliases = tuple(alias for alias in new.aliases if fold_name(alias) not in names)
            slots.append(new.model_copy(update={"aliases": aliases}))
            names.update(fold_name(name) for name in (new.name, *aliases))
            fresh.append(new.name)
            matched.add(len(slots) - 1)
            continue
        matched.add(index)
        old = slots[index]
        if new.kind != old.kind:  # the catalogue's numbers changed, or people decided otherwise
            forced = catalogue_slot(new.name, new.attribute, counts, kind=old.kind)
            new = forced.model_copy(update={"aliases": new.aliases})
        aliases = tuple(name for name in (new.name, *new.aliases) if fold_name(name) not in names)
        names.update(map(fold_name, aliases))
        slots[index] = old.model_copy(
            update={"aliases": (*old.aliases, *aliases), "values": _grown_values(old, new, counts)}
        )
    for index, old in enumerate(slots):
        if index not in matched and counts.values.get(old.attribute):  # added by people
            there = catalogue_slot(old.name, old.attribute, counts, kind=old.kind)
            slots[index] = old.model_copy(update={"values": _grown_values(old, there, counts)})
    if tuple(slots) == existing.slots:
        return existing
    values = sum(len(new.values) - len(old.values) for old, new in zip(existing.slots, slots, strict=False))
    step = Growth(version=existing.version + 1, slots=tuple(fresh), values=values)
    # built anew rather than copied, so that the checks of a slot and of the whole hold
    changed = {"version": step.version, "slots": tuple(slots), "history": (*existing.history, step)}
    return Ontology.model_validate(existing.model_copy(update=changed).model_dump())


def _position(slots: Sequence[Slot], new: Slot) -> int | None:
    for index, slot in enumerate(slots):
        if fold_name(slot.attribute) == fold_name(new.attribute):
            return index
    for index, slot in enumerate(slots):
        if fold_name(new.name) in {fold_name(slot.name), *map(fold_name, slot.aliases)}:
            return index
    return None


def _grown_values(old: Slot, new: Slot, counts: AttributeCounts) -> tuple[Value, ...]:
    edited_ranges = any(value.is_range for value in old.values)
    currencies = {value.currency for value in old.values if value.is_range}
    # one currency is that of the ranges there are, whether it was known to be or not
    is_new = {value.currency for value in new.values if value.is_range} - currencies - {None}
    if len(is_new) == 1 and currencies == {None}:
        is_new = set()
    found: Counter[str] = Counter()
    spelled: defaultdict[str, list[str]] = defaultdict(list)
    added: list[Value] = []
    for value in new.values:
        if edited_ranges and value.is_range:
            if value.currency in is_new:
                added.append(value)
            continue
        known = old.find(value.value)
        if known is None:
            spellings = tuple(alias for alias in value.aliases if old.find(alias) is None)
            added.append(value.model_copy(update={"aliases": spellings}))
        else:
            found[known.value] += value.count
            if value.count and not value.is_range:
                spelled[known.value] += value.catalogue or (value.value,)
    if edited_ranges:
        both = Slot(**{**dict(old), "values": (*old.values, *added)})
        for text, n in counts.values[new.attribute].items():
            known = both.find(text)
            if known is not None:
                found[known.value] += n
    return (*(_recounted(value, found[value.value], spelled[value.value]) for value in old.values), *added)


def _recounted(value: Value, count: int, spelled: Sequence[str]) -> Value:
    """The value with its products, and how they spell it, the commonest first; no longer there: as they spelled it."""
    if [*map(fold, spelled)] == [fold(value.value)]:
        spelled = ()
    elif not spelled or {*map(fold, spelled)} == {*map(fold, value.catalogue)}:
        spelled = value.catalogue
    return value.model_copy(update={"count": count, "catalogue": tuple(spelled)})
