"""Changes of an ontology's slots, as :mod:`pipeline.ontology.edits` does for its values."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.ontology.edits import CONTROL_CHARACTER, changed, stepped
from schemas.errors import OntologyError, UsageError
from schemas.folding import fold, fold_name
from schemas.ontology import AddSlot, MergedSlot, MergeSlots, Ontology, RenameSlot, Slot, Value


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
    if not name or CONTROL_CHARACTER.search(name):
        raise UsageError("a slot's name is one line of text", where=repr(name))
    for slot in ontology.slots:
        taken = map(fold_name, (slot.name, *slot.aliases, slot.attribute))
        if slot is not but and fold_name(name) in taken:
            raise OntologyError(f"'{name}' names the slot '{slot.name}' already", fix="choose another name")
