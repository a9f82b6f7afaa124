"""Splitting a value: its parts, and which of the catalogue's spellings go to which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pipeline.ontology.edits import changed, find_value, low_end, stepped
from schemas.errors import OntologyError
from schemas.folding import fold
from schemas.ontology import Ontology, Slot, SplitValue, Value

_RANGE = re.compile(r"under (?P<under>.+)|(?P<low>.+) to (?P<high>.+)|(?P<over>.+) and over")


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
    found = [_range(slot, part, was.currency) for part in parts]
    found.sort(key=low_end)
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
