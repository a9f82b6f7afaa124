"""The ontology: which slots a belief state can hold, which product attribute each keys to, and the values known.

``semctl import`` derives ``ontology.json`` from the catalogue, and people edit it: change a slot's ``title``, add
values and aliases, write a ``hint`` for annotators. ``semctl ontology`` renames, merges, splits and adds, one recorded
step and one version at a time. It only ever grows: a name that was given up still finds what it stood for.

Answers stay stored as they were given, with the version they were given in; the steps say what they mean now (see
:mod:`annotate.annotations.migration`). Names and values of a step are those of the version before it; ``spellings``
are all ways to say a value at that time.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)

from schemas.belief import Polarity, SlotValue
from schemas.errors import OntologyError
from schemas.files import read_json, sha256_bytes, write_json
from schemas.folding import fold, fold_name
from schemas.numbers import THREE_DECIMALS, Number, read_number, read_quantity, same_currency
from schemas.validation import did_you_mean, first_mistake, nearest

CATEGORY_ATTRIBUTES = tuple("type category product_category article_type product_type sub_category synset".split())
"""Attributes that say what kind of thing a product is, the most telling first."""


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


SlotKind = Literal["categorical", "numeric"]
_Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Value(_Part):
    """One value of a slot, how often it occurs in the catalogue, and other ways to say it.

    A numeric slot's values are ranges: ``low`` <= x < ``high``, either end open when None.
    """

    value: str = Field(min_length=1)
    count: int = Field(default=0, ge=0)
    aliases: tuple[str, ...] = ()
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    catalogue: tuple[str, ...] = ()  # how the catalogue writes it, the commonest first; empty: as ``value`` does
    split_into: tuple[str, ...] = ()  # what took its place; it is no longer offered; products may still have it
    currency: str | None = None  # of a range of prices, where it is known: ISO 4217 code or sign, as numbers are read

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _lean(write(self), "catalogue", "split_into", "currency")

    @property
    def is_range(self) -> bool:
        """Whether numbers lie in it; a word such as "cheap" is a value without a range."""
        return self.low is not None or self.high is not None

    @property
    def ends(self) -> tuple[float, float]:
        """Its lowest number, and the one that it stays below; infinite where it is open."""
        return -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high

    @property
    def spellings(self) -> tuple[str, ...]:
        """All ways to say it, its own name first, each once."""
        first: dict[str, str] = {}
        for text in (self.value, *self.catalogue, *self.aliases):
            first.setdefault(fold(text), text)
        return tuple(first.values())

    @property
    def catalogue_value(self) -> str | None:
        """How the catalogue writes it most often, or the name of its range; None when no product has it."""
        if self.count == 0:
            return None
        return self.catalogue[0] if self.catalogue else self.value


def _lean(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """Without those that are empty: an ontology that was never changed is written, and hashed, as it always was."""
    return {name: value for name, value in fields.items() if value or name not in names}


def _shared(form: Callable[[str], str], spellings: Iterable[Iterable[str]]) -> Iterator[tuple[str, int, int]]:
    """Spellings that two entries have in the same form: the spelling, and the places of the two entries."""
    seen: dict[str, int] = {}
    for place, texts in enumerate(spellings):
        for text in texts:
            first = seen.setdefault(form(text), place)
            if first != place:
                yield text, first, place


class Slot(_Part):
    """One slot of the belief state, keyed to one product attribute."""

    name: str = Field(min_length=1, pattern=r"^[^=!\s][^=\n]*$")
    attribute: str = Field(min_length=1)
    kind: SlotKind = "categorical"
    title: str = ""
    hint: str = ""
    aliases: tuple[str, ...] = ()
    values: tuple[Value, ...] = ()
    whole: bool = False  # its numbers are whole ones, so that "1,299" is 1299 and not 1.299
    rule: str = ""  # how the import made values of the catalogue's numbers, and why

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _lean(write(self), "whole", "rule")

    @model_validator(mode="after")
    def _values_are_distinct(self) -> Slot:
        for spelling, first, place in _shared(fold, (value.spellings for value in self.values)):
            one, other = self.values[first].value, self.values[place].value
            what = f"'{spelling}' stands for both '{one}' and '{other}'"
            if one == other:
                what = f"the value '{one}' is there twice"
            raise ValueError(f"slot '{self.name}': {what}, at values.{first} and values.{place}")
        return self

    @model_validator(mode="after")
    def _ranges_are_apart(self) -> Slot:
        ranges: defaultdict[str | None, list[tuple[float, float, int]]] = defaultdict(list)
        for place, value in enumerate(self.values):
            if not value.is_range:
                continue
            here = f"slot '{self.name}': the range '{value.value}', at values.{place},"
            if self.kind != "numeric":
                raise ValueError(f"{here} needs a slot whose kind is numeric")
            low, high = value.ends
            if low >= high:
                raise ValueError(f"{here} holds no number: {low:g} is not below {high:g}")
            ranges[self._currency(value)].append((low, high, place))
        for of_one_currency in ranges.values():
            for (_, high, first), (low, _, second) in pairwise(sorted(of_one_currency)):
                if high > low:
                    names = " and ".join(f"'{self.values[place].value}'" for place in (first, second))
                    raise ValueError(
                        f"slot '{self.name}': the ranges {names} overlap: a number would lie in both, "
                        f"at values.{first} and values.{second}"
                    )
        return self

    @property
    def offered(self) -> tuple[Value, ...]:
        """The values that annotators pick from: numbers and ranges in their order, the commonest of others first."""
        values = [value for value in self.values if not value.split_into]
        if self.kind == "numeric":
            return tuple(values)
        amounts = {value.value: found for value in values if (found := self._quantity(value.value)) is not None}
        units = {unit for _, unit in amounts.values()}
        if len(amounts) == len(values) and len(units) < 2 and not any(unit[:1].isalpha() for unit in units):
            return tuple(sorted(values, key=lambda value: amounts[value.value]))
        return tuple(sorted(values, key=lambda value: (-value.count, value.value)))

    @cached_property
    def _by_spelling(self) -> dict[str, Value]:
        return {fold(s): value for value in self.values for s in value.spellings}

    @cached_property
    def _by_quantity(self) -> dict[tuple[float, str], Value]:
        found: dict[tuple[float, str], Value] = {}
        for value in self.values:
            for spelling in value.spellings:
                amount = self._quantity(spelling)
                if amount is not None:
                    found.setdefault(amount, value)
        return found

    def _quantity(self, text: str) -> tuple[float, str] | None:
        return read_quantity(text, thousands=self._thousands)

    def named(self, text: str) -> Value | None:
        """The value with this spelling; unlike :meth:`find`, a number in a range names nothing."""
        return self._by_spelling.get(fold(text))

    @property
    def is_money(self) -> bool:
        """Whether its numbers are amounts of money."""
        return self._currencies != {None} or any(
            word in name.casefold() for name in (self.name, self.attribute, *self.aliases) for word in _MONEY
        )

    @cached_property
    def _ranges(self) -> tuple[Value, ...]:
        return tuple(value for value in self.values if value.is_range)

    @cached_property
    def _currencies(self) -> frozenset[str | None]:
        return frozenset(map(self._currency, self._ranges)) or frozenset({None})

    def _currency(self, value: Value) -> str | None:
        """The currency of a range; one that is added by hand without any is of the only one that the others have."""
        return self._only_currency if value.currency is None else value.currency

    @cached_property
    def _only_currency(self) -> str | None:
        named = {one.currency for one in self._ranges} - {None}
        return next(iter(named)) if len(named) == 1 else None

    @cached_property
    def _most(self) -> int:
        """The most that its numbers can be, were they ratings."""
        highest = max((abs(end) for one in self._ranges for end in one.ends if math.isfinite(end)), default=0)
        return next((most for most in (5, 10) if highest <= most), 100)

    @property
    def is_rating(self) -> bool:
        """Whether its numbers are ratings."""
        return any(word in name.casefold() for name in (self.name, self.attribute, *self.aliases) for word in _RATING)

    @cached_property
    def _thousands(self) -> bool:
        return self.whole or (self.is_money and self._currencies.isdisjoint(THREE_DECIMALS))

    def number(self, text: str) -> Number | None:
        """The number that a text names among those of this slot; None when it names none, or is of another measure.

        No price is a percentage or a number of stars, and no rating out of five is one out of ten.
        """
        number = read_number(text, thousands=self._thousands)
        if number is None or number.of is None:
            return number
        is_of_it = not self.is_money and (number.of == self._most or (number.of == 100 and not self.is_rating))
        return number if is_of_it else None

    def find(self, text: str) -> Value | None:
        """The value that ``text`` names: by spelling or alias, or by its number.

        In a numeric slot a number names the range it lies in, else the value of that number: "37,5" is "37.5", and
        "128GB" is "128 GB". Prices lie in ranges of their currency; one without a currency lies in none where ranges
        have several.
        """
        found = self.named(text)
        if found is not None:
            return found
        if self.kind != "numeric":
            amount = self._quantity(text)
            return None if amount is None else self._by_quantity.get(amount)
        number = self.number(text)
        if number is None or number.value is None:
            return None
        currencies = self._currencies
        if number.currency is not None:
            written = frozenset(one for one in currencies if one is not None and same_currency(one, number.currency))
            currencies = written or currencies & {None}
        if len(currencies) != 1:
            return None
        for value in self._ranges:
            low, high = value.ends
            if low <= number.value < high and self._currency(value) in currencies:
                return value
        return None


_RATING = ("rating", "review", "star", "score")
_MONEY = ("price", "cost", "budget")


def is_number(text: str) -> bool:
    """Whether a text names one number, as "24.99" and "$25" do, even if it may be one of two ("1,299")."""
    return read_number(text) is not None


class Ontology(_Part):
    """All slots, in the order annotators see them."""

    version: int = Field(default=1, ge=1)
    slots: tuple[Slot, ...] = ()
    history: tuple[Step, ...] = ()
    # of the owner where slots and values leave it open, by what it is about; see :mod:`annotate.tasks.open_points`
    decisions: dict[_Words, _Words] = {}

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _lean(write(self), "history", "decisions")

    @model_validator(mode="after")
    def _steps_are_in_order(self) -> Ontology:
        versions = [step.version for step in self.history]
        if versions != sorted(set(versions)) or (versions and versions[-1] > self.version):
            raise ValueError("the steps of its history are not in the order of their versions, up to its own")
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Ontology:
        for name, first, place in _shared(fold_name, ((slot.name, *slot.aliases) for slot in self.slots)):
            one, other = self.slots[first].name, self.slots[place].name
            what = f"the name '{name}' stands for both slot '{one}' and slot '{other}'"
            if one == other:
                what = f"the slot '{one}' is there twice"
            raise ValueError(f"{what}, at slots.{first} and slots.{place}")
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
            fix = did_you_mean(name, [slot.name for slot in self.slots], "see ontology.json for the slots there are")
            raise OntologyError(f"unknown slot '{name}'", where=where, fix=fix)
        return found

    def link(self, slot: Slot, value: str, polarity: Polarity = "like") -> SlotValue:
        """Key a value to the slot's attribute; a value no product has stays as it is, with ``in_catalogue`` false.

        ``catalogue_value`` is spelled as products are, whatever the value is called here.
        """
        found = slot.find(value)
        catalogue_value = None if found is None else found.catalogue_value
        spelled = value
        if found is not None and (slot.kind == "categorical" or not is_number(value)):
            spelled = found.value
        return SlotValue(
            slot=slot.name,
            value=spelled,
            polarity=polarity,
            attribute=slot.attribute,
            catalogue_value=catalogue_value,
            in_catalogue=catalogue_value is not None,
        )

    def changed_since(self, version: int) -> Step | None:
        """The first step after a version that makes its labels read differently; None when there is none."""
        later = (step for step in self.history if step.version > version)
        return next((step for step in later if not isinstance(step, AddValue | Growth)), None)

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
            found = cls.model_validate(value)
            json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_once, parse_int=str, parse_float=str)
        except _TwiceError as problem:
            raise OntologyError(str(problem), where=path, fix="leave one of them") from None
        except ValidationError as problem:
            wrong = first_mistake(problem)
            at = f" at {wrong.key}" if wrong.key else ""
            says = wrong.what
            if wrong.is_unknown:
                known = [name for part in (Ontology, Slot, Value) for name in part.model_fields]
                close = nearest(str(wrong.at[-1]), known)
                says = "there is no such field" + (f"; did you mean '{close}'?" if close else "")
            raise OntologyError(f"ontology not valid{at}: {says}", where=path, fix="correct it there") from None
        for place, slot in enumerate(found.slots):
            for number, entry in enumerate(slot.values):
                if not fold(entry.value):
                    what = f"ontology not valid at slots.{place}.values.{number}: the value is blank"
                    raise OntologyError(what, where=path, fix="remove it")
        return found

    def write(self, path: Path) -> None:
        """Write ``ontology.json`` atomically."""
        write_json(path, self.model_dump(mode="json"))


class _TwiceError(ValueError):
    pass


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON whose keys are different: of two equal ones a reader would take the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        name = found.get("name", found.get("value", found.get("op", "")))
        raise _TwiceError(f"'{twice}' is there twice in " + (f"the part '{name}'" if name else "one part"))
    return found
