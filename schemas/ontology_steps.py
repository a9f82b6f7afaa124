"""The steps by which an ontology changed after its import, as ``ontology.json`` records them.

Answers stay stored as they were given, with the version they were given in; these steps say what they mean now (see
:mod:`annotate.annotations.migration`). Names and values are those of the version before the step; ``spellings`` are
all ways to say a value at that time.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AddSlot",
    "AddValue",
    "Growth",
    "MergeSlots",
    "MergeValues",
    "MergedSlot",
    "MergedValue",
    "RenameSlot",
    "RenameValue",
    "SplitValue",
    "Step",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Step(_Part):
    """One change: the version of the ontology that it made."""

    version: int = Field(ge=2)


class RenameSlot(_Step):
    """A slot has another name; the old one still finds it."""

    op: Literal["rename_slot"] = "rename_slot"
    slot: str
    to: str

    def __str__(self) -> str:
        return f"{self.slot} is now {self.to}"


class RenameValue(_Step):
    """A value has another name; the old one still finds it."""

    op: Literal["rename_value"] = "rename_value"
    slot: str
    value: str
    to: str

    def __str__(self) -> str:
        return f"{self.slot}={self.value} is now {self.slot}={self.to}"


class MergedSlot(_Part):
    """A slot that went into another, and all its names."""

    name: str
    names: tuple[str, ...]


class MergeSlots(_Step):
    """Several slots of one product attribute are one."""

    op: Literal["merge_slots"] = "merge_slots"
    slots: tuple[MergedSlot, ...]
    into: str

    def __str__(self) -> str:
        return f"{' and '.join(slot.name for slot in self.slots)} are one slot, {self.into}"


class MergedValue(_Part):
    """A value that went into another."""

    value: str
    spellings: tuple[str, ...]


class MergeValues(_Step):
    """Several values of a slot are one."""

    op: Literal["merge_values"] = "merge_values"
    slot: str
    values: tuple[MergedValue, ...]
    into: str

    def __str__(self) -> str:
        return f"{' and '.join(f'{self.slot}={value.value}' for value in self.values)} are one value, {self.into}"


class SplitValue(_Step):
    """A value stands for several: what was marked with it before can be any of them."""

    op: Literal["split_value"] = "split_value"
    slot: str
    value: str
    spellings: tuple[str, ...]
    into: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.slot}={self.value} is split into {' and '.join(self.into)}"


class AddValue(_Step):
    """A value, or other ways to say one."""

    op: Literal["add_value"] = "add_value"
    slot: str
    value: str
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f", also said as {', '.join(self.aliases)}" if self.aliases else ""
        return f"{self.slot}={self.value} was added{said}"


class AddSlot(_Step):
    """A slot that answers of older versions could not speak of."""

    op: Literal["add_slot"] = "add_slot"
    slot: str
    attribute: str
    assume_none: bool = False  # take their silence for "nothing wanted of it"; else the slot is unknown in them

    def __str__(self) -> str:
        older = "nothing wanted of it" if self.assume_none else "unknown"
        return f"the slot {self.slot} was added; in answers older than it: {older}"


class Growth(_Step):
    """What an import added; nothing that was there means anything else."""

    op: Literal["import"] = "import"
    slots: tuple[str, ...] = ()
    values: int = 0

    def __str__(self) -> str:
        slots = f"the slots {', '.join(self.slots)}; " if self.slots else ""
        return f"an import added {slots}values to older slots: {self.values}"


Step = Annotated[
    RenameSlot | RenameValue | MergeSlots | MergeValues | SplitValue | AddValue | AddSlot | Growth,
    Field(discriminator="op"),
]
