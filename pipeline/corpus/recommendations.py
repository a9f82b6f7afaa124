"""Recommendation turns: which products a system turn shows, and which it was chosen over.

A turn of MMD lists some six hundred negatives, so nearly all strings of a corpus are references to candidates. They
are gathered in batches and worked on as numpy columns of numbers: each distinct reference is looked up once, each
distinct list is gone through once, and the table gets numbers into a dictionary of strings.
"""

from __future__ import annotations

from array import array

import numpy as np
import pyarrow as pa

from pipeline.corpus.candidate_lists import (
    CandidateLists,
    Candidates,
    Numbers,
    ReferenceCodes,
    reference_lists,
    string_lists,
)
from pipeline.corpus.catalogue import ProductLookup
from pipeline.corpus.images import ImageReferences
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.records import CandidateKind, Dialogue
from schemas.tables import RECOMMENDATIONS

__all__ = ["RECOMMENDATION_COLUMNS", "Recommendations"]

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

    Args:
        kind: what candidates are named by.
        negatives_needed: whether a turn without negatives is dropped.
        products: the catalogue.
        images: maps references.
        ledger: lines ``recommendation_turns``, ``positives`` and ``negatives`` are filled by :meth:`take`.
    """

    def __init__(
        self,
        kind: CandidateKind,
        negatives_needed: bool,
        products: ProductLookup,
        image_refs: ImageReferences,
        ledger: Ledger,
    ) -> None:
        self._product_ids = products.product_ids
        row_of = {product_id: row for row, product_id in enumerate(self._product_ids)}
        if kind == "images":

            def by_image(reference: str) -> int | None:
                image_refs.resolve(reference)
                return row_of.get(products.of_image(reference, image_refs) or "")

            self._codes = ReferenceCodes(by_image)
        else:
            self._codes = ReferenceCodes(row_of.get)
        self._negatives_needed = negatives_needed
        self._turn_line = ledger["recommendation_turns"]
        self._positive_line, self._negative_line = ledger["positives"], ledger["negatives"]
        self._clear()

    def _clear(self) -> None:
        self._dialogue_ids: list[str] = []
        self._splits: list[str] = []
        self._turns = array("i")
        self._positives, self._negatives = CandidateLists(), CandidateLists()

    def add(self, dialogue: Dialogue) -> None:
        """Take in the recommendation turns of a dialogue."""
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
        """How many references the turns gathered so far list."""
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
            string_lists(shown_lengths, shown.products_at(shown_places), self._product_ids),
            string_lists(lengths - clashes[kept], against.products_at(places[~is_clash]), self._product_ids),
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
