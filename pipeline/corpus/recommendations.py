"""Recommendation turns: which products a system turn shows, and which it was chosen over.

A turn of MMD lists some six hundred negatives, so nearly all strings of a corpus are references to candidates. They
are gathered in batches and worked on as numpy columns of numbers: each distinct reference is looked up once, each
distinct list is gone through once, and the table gets numbers into a dictionary of strings.
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

from pipeline.corpus.catalogue import Setting
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.records import Dialogue
from schemas.tables import RECOMMENDATIONS

Numbers = npt.NDArray[np.signedinteger[Any]]

_UNKNOWN = -1


def expand(starts: Numbers, lengths: Numbers) -> Numbers:
    """The places in all spans, one span after the other: starts 5, 0 and lengths 2, 3 give 5, 6, 0, 1, 2."""
    offsets = np.cumsum(lengths) - lengths
    places = np.arange(lengths.sum(), dtype=np.int32)
    places += np.repeat((starts - offsets).astype(np.int32), lengths)
    return places


class ReferenceCodes(dict[str, int]):
    """Numbers the distinct references of a corpus; a new one is looked up in the catalogue when it is asked for."""

    def __init__(self, row_of: Callable[[str], int | None]) -> None:
        self._row_of = row_of
        self._rows = array("i")
        self.references: list[str] = []  # by number

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
    """

    def __init__(self) -> None:
        self.lists: list[Sequence[str]] = []
        self.which = array("q")
        self.references = 0  # that the turns list
        self.distinct_references = 0  # of these, in the lists that are kept

    def add(self, references: Sequence[str]) -> None:
        if not self.lists or (self.lists[-1] is not references and self.lists[-1] != references):
            self.lists.append(references)
            self.distinct_references += len(references)
        self.which.append(len(self.lists) - 1)
        self.references += len(references)


class Candidates:
    """Lists of candidates with their references resolved."""

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
        self.rows: Numbers = (self._keys % products).astype(np.int32)
        self._known_lengths = np.bincount(self._keys // products, minlength=n)
        # of each turn: references listed, those that name no product, and distinct products that the rest name
        self.listed = self._lengths[self._which]
        self.unknown = np.bincount(owners[~is_known], minlength=n)[self._which]
        self.known = self._known_lengths[self._which]

    def by_turn(self, turns: Numbers) -> tuple[Numbers, Numbers]:
        """The lengths of the turns' lists of products, and the places of these products in :attr:`rows`."""
        which = self._which[turns]
        lengths = self._known_lengths[which]
        return lengths, expand((np.cumsum(self._known_lengths) - self._known_lengths)[which], lengths)

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
        wanted = pa.array(self._which[turn_of] * self._products + others.rows[places])
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
    return _coded_lists(lengths, pa.array(place[numbers]), [strings[number] for number in used.tolist()])


def reference_lists(lengths: Numbers, numbers: Numbers, strings: Sequence[str]) -> pa.ListArray:
    """The same with the strings in the order of their first occurrence, whatever their numbers."""
    coded = pa.array(numbers).dictionary_encode()
    return _coded_lists(lengths, coded.indices, [strings[number] for number in coded.dictionary.to_pylist()])


def _coded_lists(lengths: Numbers, codes: pa.Array, strings: Sequence[str]) -> pa.ListArray:
    return lists_of(lengths, pa.DictionaryArray.from_arrays(codes, pa.array(strings, pa.string())))


def lists_of(lengths: Numbers, values: pa.Array) -> pa.ListArray:
    """A column of lists, which hold values one after the other."""
    ends = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    return pa.ListArray.from_arrays(pa.array(ends), values)


_KEPT = 0
_REASONS = (
    "",
    "no_positive_listed",
    "no_positive_with_a_known_product",
    "no_negative_listed",
    "no_negative_with_a_known_product",
)

_STRING_CODES = pa.dictionary(pa.int32(), pa.string())

RECOMMENDATION_COLUMNS = pa.schema(
    [
        field.with_type(pa.list_(_STRING_CODES)) if pa.types.is_list(field.type) else field
        for field in RECOMMENDATIONS.columns
    ]
)
"""The table's columns as :class:`Recommendations` writes them."""


class Recommendations:
    """Makes the table ``recommendations``: system turns that keep a positive and, where needed, a negative.

    A candidate is kept when its product is in the catalogue, whether or not its image can still be had. Kept
    candidates are distinct, and none is on both sides.

    The ledger's lines ``recommendation_turns``, ``positives`` and ``negatives`` are filled by :meth:`take`.
    """

    def __init__(self, setting: Setting, ledger: Ledger) -> None:
        products, image_refs = setting.products, setting.image_refs
        self._product_ids = products.product_ids
        row_of = products.row_of
        if setting.candidates == "images":

            def by_image(reference: str) -> int | None:
                image_refs.resolve(reference)
                return row_of.get(products.of_image(reference, image_refs) or "")

            self._codes = ReferenceCodes(by_image)
        else:
            self._codes = ReferenceCodes(row_of.get)
        self._negatives_needed = setting.negatives_needed
        self._turn_line = ledger["recommendation_turns"]
        self._positive_line, self._negative_line = ledger["positives"], ledger["negatives"]
        self._clear()

    def _clear(self) -> None:
        self._dialogue_ids: list[str] = []
        self._splits: list[str] = []
        self._turns = array("i")
        self._positives, self._negatives = CandidateLists(), CandidateLists()

    def add(self, dialogue: Dialogue) -> None:
        candidates = dialogue.turns.candidates
        if not candidates:
            return
        self._dialogue_ids += [dialogue.dialogue_id] * len(candidates)
        self._splits += [dialogue.split] * len(candidates)
        self._turns.extend(candidates)
        for positives, negatives in candidates.values():
            self._positives.add(positives)
            self._negatives.add(negatives)

    @property
    def references(self) -> int:
        return self._positives.references + self._negatives.references

    def take(self) -> pa.Table:
        """The rows of the turns gathered so far, as :data:`RECOMMENDATION_COLUMNS`; afterwards there are none."""
        shown = Candidates(self._positives, self._codes, len(self._product_ids))
        against = Candidates(self._negatives, self._codes, len(self._product_ids))
        clashing_turns, clashing_places = against.clashes(shown)
        clashes = np.bincount(clashing_turns, minlength=len(self._turns))
        reason = self._reasons(shown, against, against.known - clashes)
        kept = np.flatnonzero(reason == _KEPT)
        self._count(reason, kept, shown, against)
        self._negative_line.take_back("also_positive", int(clashes[kept].sum()))
        lengths, places = against.by_turn(kept)
        is_clash = np.zeros(len(places), bool)
        of_kept = reason[clashing_turns] == _KEPT
        order = np.searchsorted(kept, clashing_turns[of_kept])
        starts = np.cumsum(lengths) - lengths
        is_clash[starts[order] + clashing_places[of_kept] - places[starts[order]]] = True
        shown_lengths, shown_places = shown.by_turn(kept)
        columns = [
            pa.array(self._dialogue_ids, pa.string()).take(pa.array(kept)),
            pa.array(np.array(self._turns, np.int32)[kept]),
            string_lists(shown_lengths, shown.rows[shown_places], self._product_ids),
            string_lists(lengths - clashes[kept], against.rows[places[~is_clash]], self._product_ids),
            reference_lists(*shown.references_of(kept), self._codes.references),
            reference_lists(*against.references_of(kept), self._codes.references),
            pa.array(self._splits, pa.string()).take(pa.array(kept)),
        ]
        self._clear()
        return pa.table(columns, schema=RECOMMENDATION_COLUMNS)

    def _reasons(self, shown: Candidates, against: Candidates, candidates: Numbers) -> Numbers:
        """Of each turn, why it is dropped, as its place in :data:`_REASONS`."""
        conditions = [
            shown.listed == 0,
            shown.known == 0,
            (against.listed == 0) & self._negatives_needed,
            (candidates == 0) & self._negatives_needed,
        ]
        return np.select(conditions, range(1, len(_REASONS)), _KEPT)

    def _count(self, reason: Numbers, kept: Numbers, shown: Candidates, against: Candidates) -> None:
        self._turn_line.keep(len(kept))
        for number, n in enumerate(np.bincount(reason, minlength=len(_REASONS)).tolist()):
            if number != _KEPT:
                self._turn_line.drop(_REASONS[number], n)
        for line, side in ((self._positive_line, shown), (self._negative_line, against)):
            listed, unknown, known = (int(column[kept].sum()) for column in (side.listed, side.unknown, side.known))
            line.keep(known)
            line.drop("unknown_product", unknown)
            line.drop("listed_twice", listed - unknown - known)
            line.drop("in_dropped_recommendation_turn", int(side.listed.sum()) - listed)
