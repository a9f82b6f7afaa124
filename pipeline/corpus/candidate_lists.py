"""Lists of candidates of many turns as numpy columns.

Lists lie one after the other in flat columns of numbers; a list is a span of them, a start and a length.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["CandidateLists", "Candidates", "Numbers", "ReferenceCodes", "expand", "reference_lists", "string_lists"]

Numbers = npt.NDArray[np.signedinteger[Any]]

_UNKNOWN = -1


def expand(starts: Numbers, lengths: Numbers) -> Numbers:
    """The places in all spans, one span after the other: starts 5, 0 and lengths 2, 3 give 5, 6, 0, 1, 2."""
    offsets = np.cumsum(lengths) - lengths
    places = np.arange(lengths.sum(), dtype=np.int32)
    places += np.repeat((starts - offsets).astype(np.int32), lengths)
    return places


class ReferenceCodes(dict[str, int]):
    """Numbers the distinct references of a corpus; a new one is looked up in the catalogue when it is asked for.

    Args:
        row_of: the row of the product that a reference names, or None.

    Attributes:
        references: the references by number.
    """

    def __init__(self, row_of: Callable[[str], int | None]) -> None:
        self._row_of = row_of
        self._rows = array("i")
        self.references: list[str] = []

    def __missing__(self, reference: str) -> int:
        row = self._row_of(reference)
        code = self[reference] = len(self.references)
        self.references.append(reference)
        self._rows.append(_UNKNOWN if row is None else row)
        return code

    def rows(self, codes: Numbers) -> Numbers:
        """The product rows that numbered references name, -1 for none."""
        rows = np.array(self._rows, np.int32)  # a copy: the array cannot grow while it is looked at
        return rows[codes]


class CandidateLists:
    """The positives, or the negatives, of turns as they are gathered.

    MMD has one pool of negatives per dialogue and category, so turn after turn lists the same ones; a list that
    equals the one before is kept and resolved once.

    Attributes:
        references: how many references the turns list.
        distinct_references: how many of them are kept.
    """

    def __init__(self) -> None:
        self.lists: list[Sequence[str]] = []
        self.which = array("q")
        self.references = 0
        self.distinct_references = 0

    def add(self, references: Sequence[str]) -> None:
        """Take in what one turn lists."""
        if not self.lists or (self.lists[-1] is not references and self.lists[-1] != references):
            self.lists.append(references)
            self.distinct_references += len(references)
        self.which.append(len(self.lists) - 1)
        self.references += len(references)


class Candidates:
    """The same, resolved.

    Args:
        gathered: the lists.
        codes: looks references up.
        products: how many products there are.

    Attributes:
        listed, unknown, known: of each turn, how many references it lists, how many of them name no product, and how
            many distinct products the rest name.
    """

    def __init__(self, gathered: CandidateLists, codes: ReferenceCodes, products: int) -> None:
        n, size = len(gathered.lists), gathered.distinct_references
        self._which = np.array(gathered.which, np.int64)
        self._products = products
        self._lengths = np.fromiter(map(len, gathered.lists), np.int64, n)
        self._codes = np.fromiter(map(codes.__getitem__, chain.from_iterable(gathered.lists)), np.int32, size)
        rows, owners = codes.rows(self._codes), np.repeat(np.arange(n), self._lengths)
        is_known = rows != _UNKNOWN
        # Arrow's unique keeps the order of first occurrence, so each list's products stay together and in order
        self._keys: Numbers = pc.unique(pa.array((owners * products + rows)[is_known])).to_numpy()
        self._rows = (self._keys % products).astype(np.int32)
        self._known_lengths = np.bincount(self._keys // products, minlength=n)
        self.listed = self._lengths[self._which]
        self.unknown = np.bincount(owners[~is_known], minlength=n)[self._which]
        self.known = self._known_lengths[self._which]

    def by_turn(self, turns: Numbers) -> tuple[Numbers, Numbers]:
        """The lengths of the turns' lists of products, and the places of these products in :attr:`rows`."""
        which = self._which[turns]
        lengths = self._known_lengths[which]
        return lengths, expand((np.cumsum(self._known_lengths) - self._known_lengths)[which], lengths)

    def products_at(self, places: Numbers) -> Numbers:
        """The product rows at places."""
        rows: Numbers = self._rows[places]
        return rows

    def references_of(self, turns: Numbers) -> tuple[Numbers, Numbers]:
        """The lengths of the turns' lists, and the numbers of the references in them."""
        which = self._which[turns]
        lengths = self._lengths[which]
        return lengths, self._codes[expand((np.cumsum(self._lengths) - self._lengths)[which], lengths)]

    def clashes(self, others: Candidates) -> tuple[Numbers, Numbers]:
        """Products that a turn lists here and in ``others``: turns, and places here; ordered by turn."""
        turns = np.arange(len(self._which))
        lengths, places = others.by_turn(turns)
        turn_of = np.repeat(turns, lengths)
        wanted = pa.array(self._which[turn_of] * self._products + others.products_at(places))
        found = pc.index_in(wanted, value_set=pa.array(self._keys)).to_numpy(zero_copy_only=False)
        hit = ~np.isnan(found) if found.dtype.kind == "f" else np.ones(len(found), bool)
        return turn_of[hit], found[hit].astype(np.int64)


def string_lists(lengths: Numbers, numbers: Numbers, strings: Sequence[str]) -> pa.ListArray:
    """A column of lists of strings given by number, with a dictionary of those strings that occur, by number."""
    occurs = np.zeros(len(strings), bool)
    occurs[numbers] = True
    used = np.flatnonzero(occurs)
    place = np.empty(len(strings), np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return _lists(lengths, pa.array(place[numbers]), [strings[number] for number in used.tolist()])


def reference_lists(lengths: Numbers, numbers: Numbers, strings: Sequence[str]) -> pa.ListArray:
    """The same with the strings in the order of their first occurrence, whatever their numbers."""
    coded = pa.array(numbers).dictionary_encode()
    return _lists(lengths, coded.indices, [strings[number] for number in coded.dictionary.to_pylist()])


def _lists(lengths: Numbers, codes: pa.Array, strings: Sequence[str]) -> pa.ListArray:
    ends = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    dictionary = pa.array(strings, pa.string())
    return pa.ListArray.from_arrays(pa.array(ends), pa.DictionaryArray.from_arrays(codes, dictionary))
