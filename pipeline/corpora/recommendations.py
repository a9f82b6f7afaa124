"""Recommendation turns: which products a system turn shows, and which it was chosen over.

A turn of MMD lists some six hundred negatives, so nearly all strings of a corpus are references to candidates. They
are gathered in batches and worked on as Arrow and numpy columns: each distinct reference is looked up once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
_FEW = 20


class _Batch:
    """Recommendation turns waiting to be written; references of all turns stand one after the other."""

    def __init__(self) -> None:
        self.dialogue_ids: list[str] = []
        self.turns: list[int] = []
        self.splits: list[str] = []
        self.positives: list[str] = []
        self.negatives: list[str] = []
        self.positive_ends = [0]
        self.negative_ends = [0]

    def add(self, dialogue: Dialogue, turn: int, utterance: Utterance) -> None:
        self.dialogue_ids.append(dialogue.dialogue_id)
        self.turns.append(turn)
        self.splits.append(dialogue.split)
        self.positives += utterance.positives
        self.negatives += utterance.negatives
        self.positive_ends.append(len(self.positives))
        self.negative_ends.append(len(self.negatives))


class _Side:
    """The positives, or the negatives, of all turns of a batch, resolved to product rows."""

    def __init__(self, listed: list[str], ends: list[int], row_of: Callable[[str], int]) -> None:
        self.ends = ends
        self.listed = pa.array(listed, pa.string())
        encoded = self.listed.dictionary_encode()
        rows = np.fromiter(map(row_of, encoded.dictionary.to_pylist()), np.int64, len(encoded.dictionary))
        self.rows: Rows = rows[encoded.indices.to_numpy()] if len(listed) else rows
        self.kept: list[Rows] = []

    def of(self, turn: int) -> Rows:
        """What a turn lists."""
        return self.rows[self.ends[turn] : self.ends[turn + 1]]

    def listed_of(self, turns: Sequence[int]) -> pa.ListArray:
        """The references of the given turns as they were listed."""
        if len(turns) == len(self.ends) - 1:
            return pa.ListArray.from_arrays(pa.array(self.ends, pa.int32()), self.listed)
        whole = pa.ListArray.from_arrays(pa.array(self.ends, pa.int32()), self.listed)
        return whole.take(pa.array(turns, pa.int64()))

    def kept_as(self, product_ids: pa.Array) -> pa.ListArray:
        """The kept candidates as product ids."""
        ends = np.cumsum([0, *map(len, self.kept)]).astype(np.int32)
        rows = np.concatenate(self.kept) if self.kept else np.empty(0, np.int64)
        return pa.ListArray.from_arrays(pa.array(ends), product_ids.take(pa.array(rows)))


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
        self._first_at: Rows = np.zeros(len(catalogue.products) + 1, np.int64)
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
        if len(self._batch.positives) + len(self._batch.negatives) >= _BATCH_REFERENCES:
            self.flush()

    def flush(self) -> None:
        """Write the turns gathered so far."""
        batch, self._batch = self._batch, _Batch()
        if not batch.turns:
            return
        positives = _Side(batch.positives, batch.positive_ends, self._row_of)
        negatives = _Side(batch.negatives, batch.negative_ends, self._row_of)
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
        listed, against = positives.of(turn), negatives.of(turn)
        known_positives, known_negatives = self._distinct(listed), self._distinct(against)
        # the marks that _distinct left tell which negatives are positives without comparing every pair
        self._first_at[known_positives] = -1
        candidates = known_negatives[self._first_at[known_negatives] >= 0]
        reason = None
        if not len(listed):
            reason = "no_positive_listed"
        elif not len(known_positives):
            reason = "no_positive_with_a_known_product"
        elif self._negatives_needed and not len(against):
            reason = "no_negative_listed"
        elif self._negatives_needed and not len(candidates):
            reason = "no_negative_with_a_known_product"
        if reason is not None:
            self._turns.drop(reason)
            self._positives.drop("in_dropped_recommendation_turn", len(listed))
            self._negatives.drop("in_dropped_recommendation_turn", len(against))
            return False
        self._turns.keep()
        _count(self._positives, listed, len(known_positives))
        _count(self._negatives, against, len(known_negatives))
        self._negatives.take_back("also_positive", len(known_negatives) - len(candidates))
        positives.kept.append(known_positives)
        negatives.kept.append(candidates)
        return True

    def _distinct(self, rows: Rows) -> Rows:
        """Known rows, each where it first stands: every place writes itself, the first one last, and is then asked."""
        if len(rows) < _FEW:
            distinct = dict.fromkeys(rows.tolist())
            distinct.pop(_UNKNOWN, None)
            known = np.fromiter(distinct, np.int64, len(distinct))
            self._first_at[known] = 0
            return known
        places = np.arange(len(rows))
        self._first_at[rows[::-1]] = places[::-1]
        first: Rows = rows[(self._first_at[rows] == places) & (rows != _UNKNOWN)]
        return first


def _count(line: LedgerLine, listed: Rows, known: int) -> None:
    unknown = int(np.count_nonzero(listed == _UNKNOWN))
    line.keep(known)
    line.drop("unknown_product", unknown)
    line.drop("listed_twice", len(listed) - unknown - known)
