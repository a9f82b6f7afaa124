"""Checks of single values: unknown ones, those spelled otherwise, those of another slot, drops of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from annotate.checks.catalogue import CatalogueIndex
from annotate.checks.dialogue import DialogueLabels, TurnLabels
from annotate.checks.finding import Finding
from annotate.checks.spelling import Spellings
from schemas.ontology import Slot, fold

__all__ = ["check_values"]


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
