"""Which products satisfy a state, and which violate it: sets of products as bits of whole numbers.

A product satisfies a state when it violates nothing of it. It violates a slot when it has values there and none of
those wanted, several wanted ones being alternatives, or when it has a value to be avoided and no other. A product that
says nothing of an attribute violates nothing there: catalogues have gaps, and a gap is no evidence.

Slots whose values are the same ones (the size shown, the sizes to be had) are taken together: a product has a value
when it has it in either.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from schemas.folding import fold
from schemas.ontology import Ontology, Slot
from schemas.tables import PRODUCTS, open_table

_READ_ROWS = 5_000
_VALUES_KEPT = 100_000
_SETS_KEPT = 4_096
_STATES_KEPT = 100_000


class Wish(NamedTuple):
    """What a state says of one slot, in values that products have."""

    slot: str
    wanted: tuple[str, ...]  # folded values, as the ontology names them, sorted
    avoided: tuple[str, ...]  # the same


class CatalogueIndex:
    """Products by the values they have in the slots of an ontology; a number counts as the range it lies in."""

    def __init__(self, ontology: Ontology) -> None:
        self.size = 0
        self._slots = {slot.name: slot for slot in ontology.slots}
        self._kin = _kin(ontology)
        self._columns = {slot.name: _Column() for slot in ontology.slots}
        self._spelled: dict[tuple[str, str], str] = {}
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []
        self._imaged: dict[str, int] = {}
        self._known = lru_cache(maxsize=_VALUES_KEPT)(self._fold)
        self._silent = lru_cache(maxsize=None)(self._without)
        self._allowing = lru_cache(maxsize=_SETS_KEPT)(self._allow)
        self.satisfiable = lru_cache(maxsize=_STATES_KEPT)(self._satisfiable)

    @classmethod
    def read(cls, products: Path, ontology: Ontology) -> CatalogueIndex:
        """Index ``products.parquet``."""
        index = cls(ontology)
        with open_table(products, PRODUCTS) as file:
            for batch in file.iter_batches(_READ_ROWS, columns=["product_id", "attributes", "image_ids"]):
                columns = (column.to_pylist() for column in batch.columns)
                for product_id, attributes, image_ids in zip(*columns, strict=True):
                    index.add(product_id, dict(attributes), image_ids)
        return index

    def add(self, product_id: str, attributes: Mapping[str, Sequence[str]], image_ids: Sequence[str] = ()) -> None:
        """Add one product; all of them before the first question."""
        row = self.size
        self.size += 1
        self._rows[product_id] = row
        self._ids.append(product_id)
        for image_id in image_ids:
            self._imaged.setdefault(image_id, row)
        for name, slot in self._slots.items():
            texts = attributes.get(slot.attribute, ())
            self._columns[name].add(row, {self._known(name, text) for text in texts})

    def _fold(self, slot_name: str, text: str) -> str:
        value = self._slots[slot_name].find(text)
        spelled = text if value is None else value.value
        folded = fold(spelled)
        self._spelled.setdefault((slot_name, folded), spelled)
        return folded

    def wishes(self, state: Iterable[Mapping[str, Any]]) -> tuple[Wish, ...]:
        """A state, as rows of ``states.parquet``, as products can be held against it.

        Values that no product has (``cheap``) are left out, and so are those held both ways (24 wanted, "under 25"
        disliked), which is a finding of its own.
        """
        sides: dict[str, tuple[set[str], set[str]]] = {}
        for item in state:
            if item["in_catalogue"]:
                side = sides.setdefault(item["slot"], (set(), set()))[item["polarity"] == "dislike"]
                side.add(self._known(item["slot"], item["value"]))
        return tuple(
            Wish(slot, tuple(sorted(wanted - avoided)), tuple(sorted(avoided - wanted)))
            for slot, (wanted, avoided) in sorted(sides.items())
            if wanted != avoided
        )

    def spelled(self, slot: str, value: str) -> str:
        """A folded value as the ontology spells it."""
        return self._spelled.get((slot, value), value)

    def product_of(self, image_id: str) -> str | None:
        """The product that an image shows, if any."""
        row = self._imaged.get(image_id)
        return None if row is None else self._ids[row]

    def count(self, slot: str, value: str) -> int:
        """How many products have a value, folded."""
        return len(self._columns[slot].having(value))

    def values(self, product_id: str, slot: str) -> frozenset[str]:
        """What a product has in a slot, folded; nothing of one that is not in the catalogue."""
        row = self._rows.get(product_id)
        return frozenset() if row is None else self._values(row, slot)

    def violates(self, product_id: str, wish: Wish) -> bool:
        """Whether a product violates a slot; False for one that is not in the catalogue."""
        return _violates(self.values(product_id, wish.slot), wish)

    def conflict(self, wishes: tuple[Wish, ...], since: Mapping[str, int]) -> tuple[Wish, ...]:
        """Wishes that no product satisfies together, none of which can be left out; those spoken of last are kept."""
        kept = list(wishes)
        for wish in sorted(wishes, key=lambda wish: (since.get(wish.slot, -1), wish.slot)):
            without = [other for other in kept if other != wish]
            if not self.satisfiable(tuple(without)):
                kept = without
        return tuple(kept)

    def _satisfiable(self, wishes: tuple[Wish, ...]) -> bool:
        """Whether at least one product satisfies all wishes; no wishes ask for nothing."""
        left = (1 << self.size) - 1
        for wish in wishes:
            left &= self._allowing(wish)
            if not left:
                return False
        return True

    def _allow(self, wish: Wish) -> int:
        """The products that do not violate a slot, as bits."""
        kin = [self._columns[name] for name in self._kin[wish.slot]]
        allowed = everything = (1 << self.size) - 1
        if wish.wanted:
            having = chain.from_iterable(column.having(value) for column in kin for value in wish.wanted)
            allowed = self._bits(having) | self._silent(wish.slot)
        if wish.avoided:
            having = chain.from_iterable(column.having(value) for column in kin for value in wish.avoided)
            allowed &= everything ^ self._bits(row for row in having if _violates(self._values(row, wish.slot), wish))
        return allowed

    def _without(self, slot: str) -> int:
        """The products without a value in a slot, as bits."""
        speaking = chain.from_iterable(self._columns[name].speaking for name in self._kin[slot])
        return ((1 << self.size) - 1) ^ self._bits(speaking)

    def _bits(self, rows: Iterable[int]) -> int:
        bits = bytearray(self.size // 8 + 1)
        for row in rows:
            bits[row >> 3] |= 1 << (row & 7)
        return int.from_bytes(bits, "little")

    def _values(self, row: int, slot: str) -> frozenset[str]:
        return frozenset(value for name in self._kin[slot] for value in self._columns[name].values(row))


def _violates(values: frozenset[str], wish: Wish) -> bool:
    if not values:
        return False
    return bool(wish.wanted and values.isdisjoint(wish.wanted)) or bool(wish.avoided and values <= set(wish.avoided))


class _Column:
    """The values of one slot, product by product and value by value."""

    def __init__(self) -> None:
        self.speaking = array("I")
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._having: list[array[int]] = []
        self._ends = array("Q")  # of each product's stretch of _held
        self._held = array("I")

    def add(self, row: int, values: Iterable[str]) -> None:
        """Add the next product."""
        before = len(self._held)
        for value in values:
            number = self._numbers.setdefault(value, len(self._names))
            if number == len(self._names):
                self._names.append(value)
                self._having.append(array("I"))
            self._having[number].append(row)
            self._held.append(number)
        self._ends.append(len(self._held))
        if len(self._held) > before:
            self.speaking.append(row)

    def having(self, value: str) -> Sequence[int]:
        """Rows of the products with a value, ascending."""
        number = self._numbers.get(value)
        return () if number is None else self._having[number]

    def values(self, row: int) -> list[str]:
        """What a product has."""
        start = self._ends[row - 1] if row else 0
        return [self._names[number] for number in self._held[start : self._ends[row]]]


def _kin(ontology: Ontology) -> dict[str, tuple[str, ...]]:
    """Each slot, and those that have the same values in the catalogue; numbers are never the same ones."""
    values = {
        slot.name: frozenset(fold(value.value) for value in slot.values if value.count) for slot in ontology.slots
    }

    def is_kin(one: Slot, other: Slot) -> bool:
        both_words = one.kind == other.kind == "categorical"
        same = both_words and bool(values[one.name]) and values[one.name] == values[other.name]
        return one.name == other.name or same

    return {one.name: tuple(other.name for other in ontology.slots if is_kin(one, other)) for one in ontology.slots}
