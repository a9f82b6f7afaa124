"""Recommendation turns: which products a system turn shows, and which it was chosen over.

A turn of MMD lists some six hundred negatives, so nearly all strings of a corpus are references to candidates. They
are gathered in batches and worked on as Arrow and numpy columns: each distinct reference is looked up once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpora.catalogue import Catalogue
from pipeline.corpora.ledger import Ledger, LedgerLine
from pipeline.corpora.records import Dialogue, Reader, Utterance
from schemas.tables import RECOMMENDATIONS, TableWriter

__all__ = ["Recommendations"]

Rows = npt.NDArray[np.int64]

_BATCH_REFERENCES = 200_000
_UNKNOWN = -1


class _Side:
    """The positives, or the negatives, of the turns of a batch.

    MMD has one pool of negatives per dialogue and category, so turn after turn lists the same ones; a list that
    equals the one before is kept and resolved once.
    """

    def __init__(self) -> None:
        self.lists: list[Sequence[str]] = []
        self.which: list[int] = []
        self.kept: list[Rows] = []

    def add(self, references: Sequence[str]) -> None:
        """Take in what one turn lists."""
        if not self.lists or self.lists[-1] != references:
            self.lists.append(references)
        self.which.append(len(self.lists) - 1)

    def resolve(self, row_of: Callable[[str], int]) -> None:
        """Look every distinct reference up."""
        ends = np.cumsum([0, *map(len, self.lists)]).astype(np.int32)
        listed = pa.array([reference for references in self.lists for reference in references], pa.string())
        encoded = listed.dictionary_encode()
        rows = np.fromiter(map(row_of, encoded.dictionary.to_pylist()), np.int64, len(encoded.dictionary))
        found = rows[encoded.indices.to_numpy()] if len(listed) else rows
        self._listed = pa.ListArray.from_arrays(pa.array(ends), listed)
        resolved = [found[start:end] for start, end in pairwise(ends.tolist())]
        self._unknown = [int(np.count_nonzero(rows == _UNKNOWN)) for rows in resolved]
        self._known = [_distinct(rows) for rows in resolved]

    def of(self, turn: int) -> tuple[int, int, Rows]:
        """How many references a turn lists, how many of them name no product, and the distinct products of the rest."""
        which = self.which[turn]
        return len(self.lists[which]), self._unknown[which], self._known[which]

    def listed_of(self, turns: Sequence[int]) -> pa.ListArray:
        """The references of the given turns as they were listed."""
        return self._listed.take(pa.array([self.which[turn] for turn in turns], pa.int64()))

    def kept_as(self, product_ids: pa.Array) -> pa.ListArray:
        """The kept candidates as product ids."""
        ends = np.cumsum([0, *map(len, self.kept)]).astype(np.int32)
        rows = np.concatenate(self.kept) if self.kept else np.empty(0, np.int64)
        return pa.ListArray.from_arrays(pa.array(ends), product_ids.take(pa.array(rows)))


def _distinct(rows: Rows) -> Rows:
    known = dict.fromkeys(rows.tolist())
    known.pop(_UNKNOWN, None)
    return np.fromiter(known, np.int64, len(known))


class _Batch:
    """Recommendation turns waiting to be written."""

    def __init__(self) -> None:
        self.dialogue_ids: list[str] = []
        self.turns: list[int] = []
        self.splits: list[str] = []
        self.positives = _Side()
        self.negatives = _Side()
        self.references = 0

    def add(self, dialogue: Dialogue, turn: int, utterance: Utterance) -> None:
        """Take in one turn."""
        self.dialogue_ids.append(dialogue.dialogue_id)
        self.turns.append(turn)
        self.splits.append(dialogue.split)
        self.positives.add(utterance.positives)
        self.negatives.add(utterance.negatives)
        self.references += len(utterance.positives) + len(utterance.negatives)


class Recommendations:
    """Writes the table ``recommendations``: system turns that keep a positive and, where needed, a negative.

    A candidate is kept when its product is in the catalogue, whether or not its picture can still be had. Kept
    candidates are distinct, and none is on both sides.

    Args:
        reader: says what candidates are named by, and maps pictures.
        catalogue: the products, their pictures linked.
        table: where rows go; call :meth:`flush` at the end.
        ledger: lines ``recommendation_turns``, ``positives`` and ``negatives`` are filled.
    """

    def __init__(self, reader: Reader, catalogue: Catalogue, table: TableWriter, ledger: Ledger) -> None:
        self._product_ids = pa.array([product.product_id for product in catalogue.products], pa.string())
        row_of = {product.product_id: row for row, product in enumerate(catalogue.products)}
        if reader.candidates == "pictures":
            pictures, known = reader.pictures, dict[str, int]()

            def by_picture(reference: str) -> int:
                row = known.get(reference)
                if row is None:
                    pictures.resolve(reference)
                    row = known[reference] = row_of.get(catalogue.of_picture(reference, pictures) or "", _UNKNOWN)
                return row

            self._row_of: Callable[[str], int] = by_picture
        else:
            self._row_of = lambda reference: row_of.get(reference, _UNKNOWN)
        self._negatives_needed = reader.negatives_needed
        self._turns = ledger["recommendation_turns"]
        self._positives, self._negatives = ledger["positives"], ledger["negatives"]
        self._table = table
        self._batch = _Batch()

    def add(self, dialogue: Dialogue) -> None:
        """Take in the recommendation turns of a dialogue."""
        for turn, utterance in enumerate(dialogue.utterances):
            if utterance.speaker == "system" and (utterance.positives or utterance.negatives):
                self._batch.add(dialogue, turn, utterance)
        if self._batch.references >= _BATCH_REFERENCES:
            self.flush()

    def flush(self) -> None:
        """Write the turns gathered so far."""
        batch, self._batch = self._batch, _Batch()
        if not batch.turns:
            return
        positives, negatives = batch.positives, batch.negatives
        positives.resolve(self._row_of)
        negatives.resolve(self._row_of)
        kept = [turn for turn in range(len(batch.turns)) if self._keep(positives, negatives, turn)]
        columns = {
            "dialogue_id": [batch.dialogue_ids[turn] for turn in kept],
            "turn": [batch.turns[turn] for turn in kept],
            "positives": positives.kept_as(self._product_ids),
            "negatives": negatives.kept_as(self._product_ids),
            "positives_listed": positives.listed_of(kept),
            "negatives_listed": negatives.listed_of(kept),
            "split": [batch.splits[turn] for turn in kept],
        }
        self._table.write_arrow(pa.table(list(columns.values()), schema=RECOMMENDATIONS.columns))

    def _keep(self, positives: _Side, negatives: _Side, turn: int) -> bool:
        listed, unknown, products = positives.of(turn)
        listed_against, unknown_against, against = negatives.of(turn)
        candidates = against
        for product in products.tolist():
            candidates = candidates[candidates != product]
        reason = None
        if not listed:
            reason = "no_positive_listed"
        elif not len(products):
            reason = "no_positive_with_a_known_product"
        elif self._negatives_needed and not listed_against:
            reason = "no_negative_listed"
        elif self._negatives_needed and not len(candidates):
            reason = "no_negative_with_a_known_product"
        if reason is not None:
            self._turns.drop(reason)
            self._positives.drop("in_dropped_recommendation_turn", listed)
            self._negatives.drop("in_dropped_recommendation_turn", listed_against)
            return False
        self._turns.keep()
        _count(self._positives, listed, unknown, len(products))
        _count(self._negatives, listed_against, unknown_against, len(against))
        self._negatives.take_back("also_positive", len(against) - len(candidates))
        positives.kept.append(products)
        negatives.kept.append(candidates)
        return True


def _count(line: LedgerLine, listed: int, unknown: int, known: int) -> None:
    line.keep(known)
    line.drop("unknown_product", unknown)
    line.drop("listed_twice", listed - unknown - known)
