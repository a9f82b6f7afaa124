"""The ontology: which slots a belief state can hold, which product attribute each keys to, and the values known.

``semctl import`` derives ``ontology.json`` from the catalogue, and people edit it: change a slot's ``title``, add
values and aliases, write a ``hint`` for annotators. It only ever grows.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.belief import Polarity, SlotValue
from schemas.errors import OntologyError
from schemas.files import read_json, sha256_bytes, write_json
from schemas.folding import fold, fold_name

__all__ = ["Ontology", "Slot", "SlotKind", "Value", "fold", "fold_name", "nearest"]

SlotKind = Literal["categorical", "numeric"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest in spelling, or None when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return close[0] if close else None


class Value(BaseModel):
    """One value of a slot: as the catalogue writes it, how often it occurs there, and other ways to say it.

    A numeric slot's values are ranges: ``low`` <= x < ``high``, either end open when None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str = Field(min_length=1)
    count: int = Field(default=0, ge=0)
    aliases: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


class Slot(BaseModel):
    """One slot of the belief state, keyed to one product attribute."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, pattern=r"^[^=!\s][^=\n]*$")
    attribute: str = Field(min_length=1)
    kind: SlotKind = "categorical"
    title: str = ""
    hint: str = ""
    aliases: tuple[str, ...] = ()
    values: tuple[Value, ...] = ()

    @model_validator(mode="after")
    def _values_are_distinct(self) -> Slot:
        seen: dict[str, str] = {}
        for value in self.values:
            for spelling in (value.value, *value.aliases):
                other = seen.setdefault(fold(spelling), value.value)
                if other != value.value:
                    raise ValueError(f"slot '{self.name}': '{spelling}' stands for both '{other}' and '{value.value}'")
        return self

    @cached_property
    def _by_spelling(self) -> dict[str, Value]:
        return {fold(s): value for value in self.values for s in (value.value, *value.aliases)}

    def find(self, text: str) -> Value | None:
        """The value that ``text`` names: by spelling or alias, or, in a numeric slot, the range a number lies in."""
        found = self._by_spelling.get(fold(text))
        if found is None and self.kind == "numeric":
            number = _number(text)
            if number is not None:
                for value in self.values:
                    if value.low is None and value.high is None:
                        continue  # a word such as "cheap" rather than a range
                    if (value.low is None or number >= value.low) and (value.high is None or number < value.high):
                        return value
        return found


def _number(text: str) -> float | None:
    match = re.fullmatch(r"[^\d-]{0,4}(-?\d+(?:[.,]\d+)?)[^\d]{0,8}", text.strip())
    return None if match is None else float(match.group(1).replace(",", "."))


class Ontology(BaseModel):
    """All slots, in the order annotators see them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(default=1, ge=1)
    slots: tuple[Slot, ...] = ()

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Ontology:
        seen: dict[str, str] = {}
        for slot in self.slots:
            for name in (slot.name, *slot.aliases):
                other = seen.setdefault(fold_name(name), slot.name)
                if other != slot.name:
                    raise ValueError(f"the name '{name}' stands for both slot '{other}' and slot '{slot.name}'")
        return self

    @cached_property
    def _by_name(self) -> dict[str, Slot]:
        names = {fold_name(slot.attribute): slot for slot in reversed(self.slots)}
        names.update({fold_name(name): slot for slot in self.slots for name in (slot.name, *slot.aliases)})
        return names

    def find(self, name: str) -> Slot | None:
        """The slot with this name, alias or attribute, however it is spelled; None when there is none."""
        return self._by_name.get(fold_name(name))

    def slot(self, name: str, *, where: object | None = None) -> Slot:
        """The slot with this name.

        Raises:
            OntologyError: no such slot; names the nearest one.
        """
        found = self.find(name)
        if found is None:
            close = nearest(name, [slot.name for slot in self.slots])
            fix = f"did you mean '{close}'?" if close else "see ontology.json for the slots there are"
            raise OntologyError(f"unknown slot '{name}'", where=where, fix=fix)
        return found

    def link(self, slot: Slot, value: str, polarity: Polarity = "like") -> SlotValue:
        """Key a value to the slot's attribute; a value no product has stays as it is, with ``in_catalogue`` false."""
        found = slot.find(value)
        in_catalogue = found is not None and found.count > 0
        spelled = value
        if found is not None and (slot.kind == "categorical" or _number(value) is None):
            spelled = found.value
        return SlotValue(
            slot=slot.name,
            value=spelled,
            polarity=polarity,
            attribute=slot.attribute,
            catalogue_value=found.value if found is not None and in_catalogue else None,
            in_catalogue=in_catalogue,
        )

    def sha256(self) -> str:
        """Hash of the content, for manifests."""
        return sha256_bytes(self.model_dump_json().encode())

    @classmethod
    def read(cls, path: Path) -> Ontology:
        """Read ``ontology.json``.

        Raises:
            OntologyError: missing, not JSON, or edited into something invalid; says which field.
        """
        value = read_json(path, error=OntologyError, fix="run `semctl import` to derive it again")
        try:
            return cls.model_validate(value)
        except ValidationError as problem:
            first = problem.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise OntologyError(
                f"ontology not valid at {field}: {first['msg']}", where=path, fix="mend that field"
            ) from None

    def write(self, path: Path) -> None:
        """Write ``ontology.json`` atomically."""
        write_json(path, self.model_dump(mode="json"))
