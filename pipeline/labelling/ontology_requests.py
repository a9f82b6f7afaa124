"""What a command line asks of the ontology, as the edit that does it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.labelling.ontology_changes import Edit
from pipeline.ontology.derivation import AttributeCounts, catalogue_slot
from pipeline.ontology.edits import add_value, merge_values, rename_value
from pipeline.ontology.slots import add_slot, merge_slots, rename_slot
from pipeline.ontology.split import split_value
from pipeline.workspace import Workspace
from schemas.errors import OntologyError, UsageError
from schemas.folding import fold_name
from schemas.ontology import Ontology, Slot
from schemas.tables import PRODUCTS, open_table
from schemas.validation import did_you_mean


def renaming(target: str, to: str) -> Edit:
    """Rename ``SLOT`` or ``SLOT=VALUE``."""
    slot, value = _slot_and_value(target)
    if value is None:
        return lambda ontology: rename_slot(ontology, slot, to)
    return lambda ontology: rename_value(ontology, slot, value, _alone(slot, to))


def merging(targets: Sequence[str], into: str) -> Edit:
    """Merge values of one slot, or slots of one attribute."""
    parsed = [_slot_and_value(target) for target in targets]
    values = [value for _, value in parsed if value is not None]
    if len(parsed) < 2:
        raise UsageError("name two or more to merge", fix="semctl ontology merge SLOT=A SLOT=B --into A")
    if not values:
        return lambda ontology: merge_slots(ontology, [slot for slot, _ in parsed], into)
    if len(values) < len(parsed):
        raise UsageError("a slot cannot be merged with a value", fix="write all as SLOT, or all as SLOT=VALUE")

    def edit(ontology: Ontology) -> Ontology:
        names = dict.fromkeys(ontology.slot(slot).name for slot, _ in parsed)
        if len(names) > 1:
            raise UsageError(f"values of {' and '.join(names)}: only values of one slot can be merged")
        return merge_values(ontology, next(iter(names)), values, _alone(next(iter(names)), into))

    return edit


def splitting(workspace: Workspace, target: str, into: Sequence[str]) -> Edit:
    """Split ``SLOT=VALUE``; each text of ``into`` is a part, or several with commas between."""
    slot, value = _slot_and_value(target)
    if value is None:
        raise UsageError("only a value can be split", where=target, fix="semctl ontology split SLOT=VALUE --into A,B")

    def edit(ontology: Ontology) -> Ontology:
        found = ontology.slot(slot)
        counts = _catalogue(workspace).values[found.attribute]
        return split_value(ontology, slot, value, [part for text in into for part in _parts(found, text)], counts)

    return edit


def adding(
    workspace: Workspace,
    target: str,
    *,
    attribute: str | None = None,
    aliases: Sequence[str] = (),
    assume_none: bool = False,
) -> Edit:
    """Add ``SLOT=VALUE`` with aliases, or ``SLOT`` for a product attribute."""
    slot, value = _slot_and_value(target)
    if value is not None:
        if attribute is not None or assume_none:
            raise UsageError("--attribute and --assume-none are for slots", fix="leave them out, or add SLOT")
        return lambda ontology: add_value(ontology, slot, value, aliases)
    if aliases:
        raise UsageError("--alias is for values", fix="semctl ontology add SLOT=VALUE --alias WORD")

    def edit(ontology: Ontology) -> Ontology:
        known = ontology.find(slot)
        if known is not None and known.name == slot and attribute is None:
            return ontology
        catalogue = _catalogue(workspace)
        named = next((name for name in catalogue.values if fold_name(name) == fold_name(attribute or slot)), None)
        if named is None and attribute is not None:
            fix = did_you_mean(attribute, catalogue.values, "leave --attribute out for a slot that no product has")
            raise OntologyError(f"no product has the attribute '{attribute}'", fix=fix)
        return add_slot(ontology, catalogue_slot(slot, named or slot, catalogue), assume_none=assume_none)

    return edit


def _slot_and_value(target: str) -> tuple[str, str | None]:
    slot, equals, value = target.partition("=")
    slot, value = slot.strip(), value.strip()
    if not slot or (equals and not value):
        raise UsageError(f"'{target}' names nothing", fix="write SLOT or SLOT=VALUE")
    return slot, value if equals else None


def _alone(slot: str, text: str) -> str:
    """A new value, which people may have written with its slot in front."""
    name, equals, value = text.partition("=")
    return value if equals and fold_name(name) == fold_name(slot) else text


def _parts(slot: Slot, text: str) -> list[str]:
    """The parts that a text names: itself when the slot has it, commas and all, else what the commas divide."""
    whole = _alone(slot.name, text.strip())
    return [whole] if slot.named(whole) else [_alone(slot.name, part.strip()) for part in whole.split(",")]


def _catalogue(workspace: Workspace) -> AttributeCounts:
    counts = AttributeCounts()
    with open_table(workspace.products, PRODUCTS) as file:
        for batch in file.iter_batches(columns=["attributes", "currency"]):
            columns = (column.to_pylist() for column in batch.columns)
            for attributes, currency in zip(*columns, strict=True):
                counts.add(dict(attributes), currency)
    return counts
