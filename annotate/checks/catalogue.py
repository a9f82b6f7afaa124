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

from schemas.ontology import Ontology, fold
from schemas.tables import PRODUCTS, open_table

__all__ = ["CatalogueIndex", "Wish"]

_READ_ROWS = 5_000
_SETS_KEPT = 4_096
_STATES_KEPT = 100_000
_NONE = array("I")


class Wish(NamedTuple):
    """What a state says of one slot, in values that products have.

    Attributes:
        slot: its name.
        wanted: folded values, as the ontology names them, sorted.
        avoided: the same.
    """

    slot: str
    wanted: tuple[str, ...]
    avoided: tuple[str, ...]


class CatalogueIndex:
    """Products by the values they have.

    Args:
        ontology: its slots say which attributes count; a number counts as the range it lies in.

    Attributes:
        size: how many products there are.
    """

    def __init__(self, ontology: Ontology) -> None:
        self.size = 0
        self._ontology = ontology
        self._having: dict[tuple[str, str], array[int]] = {}
        self._saying: dict[str, array[int]] = {slot.name: array("I") for slot in ontology.slots}
        self._spelled: dict[tuple[str, str], str] = {}
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []
        self._pictured: dict[str, int] = {}
        self._values_of: dict[str, list[str]] = {}
        self._kin = _kin(ontology)
        self._known = lru_cache(maxsize=_SETS_KEPT * 16)(self._fold)
        self._among = lru_cache(maxsize=_SETS_KEPT)(self._unite)
        self._allowing = lru_cache(maxsize=_SETS_KEPT)(self._allow)
        self.satisfiable = lru_cache(maxsize=_STATES_KEPT)(self._satisfiable)

    @classmethod
    def read(cls, products: Path, ontology: Ontology) -> CatalogueIndex:
        """Index ``products.parquet``.

        Raises:
            WorkspaceError: there is no such file.
            SchemaError: it is another table, another version, or not readable.
        """
        index = cls(ontology)
        with open_table(products, PRODUCTS) as file:
            for batch in file.iter_batches(_READ_ROWS, columns=["product_id", "attributes", "image_ids"]):
                for row in batch.to_pylist():
                    index.add(row["product_id"], dict(row["attributes"]), row["image_ids"])
        return index

    def add(self, product_id: str, attributes: Mapping[str, Sequence[str]], image_ids: Sequence[str] = ()) -> None:
        """Add one product; all of them before the first question."""
        row = self.size
        self.size += 1
        self._rows[product_id] = row
        self._ids.append(product_id)
        for image_id in image_ids:
            self._pictured.setdefault(image_id, row)
        for slot in self._ontology.slots:
            texts = attributes.get(slot.attribute)
            if not texts:
                continue
            self._saying[slot.name].append(row)
            for folded in {self._known(slot.name, text) for text in texts}:
                key = slot.name, folded
                if key not in self._having:
                    self._having[key] = array("I")
                    self._values_of.setdefault(slot.name, []).append(folded)
                self._having[key].append(row)

    def _fold(self, slot_name: str, text: str) -> str:
        slot = self._ontology.slot(slot_name)
        value = slot.find(text)
        folded = fold(text if value is None else value.value)
        self._spelled.setdefault((slot_name, folded), text if value is None else value.value)
        return folded

    def wishes(self, state: Iterable[Mapping[str, Any]]) -> tuple[Wish, ...]:
        """A state as products can be held against it.

        Values that no product has (``cheap``) are left out, and so are those held both ways (24 wanted, "under 25"
        disliked), which is a finding of its own.

        Args:
            state: rows as in ``states.parquet``.
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
        """The product that a picture shows, if any."""
        row = self._pictured.get(image_id)
        return None if row is None else self._ids[row]

    def count(self, slot: str, value: str) -> int:
        """How many products have a value, folded."""
        return len(self._having.get((slot, value), ()))

    def values(self, product_id: str, slot: str) -> tuple[str, ...]:
        """What a product has in a slot, as the ontology spells it; folds it where it does not know it."""
        row = self._rows.get(product_id)
        if row is None:
            return ()
        bit = 1 << row
        known = {value for name in self._kin[slot] for value in self._values_of.get(name, ())}
        return tuple(self.spelled(slot, value) for value in sorted(known) if self._among(slot, (value,)) & bit)

    def says(self, product_id: str, slot: str) -> bool:
        """Whether a product has a value in a slot at all; False for one that is not in the catalogue."""
        row = self._rows.get(product_id)
        return row is not None and bool(self._among(slot, None) >> row & 1)

    def has(self, product_id: str, slot: str, values: tuple[str, ...]) -> bool:
        """Whether a product has one of these folded values in a slot."""
        row = self._rows.get(product_id)
        return row is not None and bool(values) and bool(self._among(slot, values) >> row & 1)

    def conflict(self, wishes: tuple[Wish, ...], since: Mapping[str, int]) -> tuple[Wish, ...]:
        """Wishes that no product satisfies together, none of which can be left out; the newest are kept first.

        Args:
            wishes: a state that is not satisfiable.
            since: slot -> the turn that last spoke of it.
        """
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

    def violates(self, product_id: str, wish: Wish) -> bool:
        """Whether a product violates a slot; False for one that is not in the catalogue."""
        row = self._rows.get(product_id)
        return row is not None and not self._allowing(wish) >> row & 1

    def _allow(self, wish: Wish) -> int:
        allowed = everything = (1 << self.size) - 1
        if wish.wanted:
            allowed = self._among(wish.slot, wish.wanted) | (everything ^ self._among(wish.slot, None))
        if wish.avoided:
            others = {value for name in self._kin[wish.slot] for value in self._values_of.get(name, ())}
            another = self._among(wish.slot, tuple(sorted(others - set(wish.avoided))))
            allowed &= another | (everything ^ self._among(wish.slot, wish.avoided))
        return allowed

    def _unite(self, slot: str, values: tuple[str, ...] | None) -> int:
        """The products that have one of the values, or any value at all for None, as bits."""
        bits = bytearray(self.size // 8 + 1)
        for name in self._kin[slot]:
            some = [self._saying[name]] if values is None else [self._having.get((name, v), _NONE) for v in values]
            for row in chain.from_iterable(some):
                bits[row >> 3] |= 1 << (row & 7)
        return int.from_bytes(bits, "little")


def _kin(ontology: Ontology) -> dict[str, tuple[str, ...]]:
    """Each slot, and those that have the same values in the catalogue; numbers are never the same ones."""
    values = {
        slot.name: frozenset(fold(value.value) for value in slot.values if value.count) for slot in ontology.slots
    }
    return {
        slot.name: tuple(
            other.name
            for other in ontology.slots
            if other.name == slot.name
            or (
                slot.kind == other.kind == "categorical"
                and values[slot.name]
                and values[slot.name] == values[other.name]
            )
        )
        for slot in ontology.slots
    }
