"""States as the corpus gives them, turned into per-turn updates over one set of slots."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from annotate.states.accumulate import difference_by_slot, one_after_the_other
from pipeline.corpus.catalogue import ProductLookup
from pipeline.corpus.images import ImageReferences
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.records import Dialogue, TurnState
from pipeline.corpus.slots import Said, SlotKeys
from pipeline.corpus.state_readings import Reading, StateReadings
from schemas.belief import Polarity, TurnUpdate
from schemas.tables import ANNOTATIONS

TopicChange = Literal["reset", "keep"]
"""Whether a per-turn state that names another category than before starts a new topic."""


class CorpusUpdates:
    """Turns the states of one dialogue after the other into updates whose slots are keys of ``slots``.

    Args:
        slots: the keys.
        products, images: to look up products whose attributes are liked or disliked.
        not_slots: slot names (snake case) that are annotation machinery; their values are counted and dropped.
        topic_change: what another category means in corpora that give states per turn.
        ledger: lines ``states``, ``state_values`` and ``feedback`` are filled, completely so by :meth:`take_said`.
    """

    def __init__(
        self,
        slots: SlotKeys,
        products: ProductLookup,
        image_refs: ImageReferences,
        *,
        not_slots: frozenset[str],
        topic_change: TopicChange,
        ledger: Ledger,
    ) -> None:
        self._readings = StateReadings(slots, products, image_refs, not_slots, ledger)
        self._reset = topic_change == "reset"
        self._states = ledger["states"]
        self._at_the_start = Reading()

    def of(self, dialogue: Dialogue) -> tuple[list[int], list[UpdateRows]]:
        """The user turns that carry a state, and the rows of their updates."""
        turns = dialogue.turns
        labelled: list[int] = []
        updates: list[UpdateRows] = []
        self._states.keep(sum(map(len, turns.states.values())))
        topic: dict[str, tuple[str, ...]] = {}
        before = self._at_the_start
        gap = False
        for turn, speaker in enumerate(turns.speakers):
            if speaker != "user":
                continue
            states = turns.states.get(turn)
            if states is None:
                gap = True
                continue
            labelled.append(turn)
            said: TurnUpdate | None = None
            for state in states:
                reading = self._readings.of(state)
                if isinstance(state, TurnState):
                    update = self._of_turn(reading, topic)
                    # what holds after it is not worked out here: a cumulative state after it is said anew
                    said, gap = update if said is None else one_after_the_other(said, update), True
                elif gap:
                    # what was changed since the last cumulative state is unknown, so the whole state is said again
                    whole = difference_by_slot({}, reading.by_slot)
                    said = TurnUpdate(whole.want, whole.dislike, new_topic=True)
                    before, gap = reading, False
                elif reading is not before:
                    said = difference_by_slot(before.by_slot, reading.by_slot)
                    before = reading
            updates.append(NOTHING if said is None else rows_of(said))
        return labelled, updates

    def take_said(self) -> list[Said]:
        """The slots that were named since the last call, with their values."""
        self._readings.count()
        said = self._readings.said.copy()
        self._readings.said.clear()
        return said

    def _of_turn(self, reading: Reading, topic: dict[str, tuple[str, ...]]) -> TurnUpdate:
        new_topic = bool(reading.new_topic)
        if reading.category is not None:
            category, named = reading.category
            if reading.new_topic is None and self._reset and topic.get(category, named) != named:
                new_topic = True
            topic[category] = named
        return TurnUpdate(reading.like, reading.dislike, reading.drop, new_topic)


UpdateRows = tuple[tuple[str, str | None, str | None, Polarity | None], ...]
"""(op, slot, value, polarity) of each row of one turn."""

NOTHING: UpdateRows = (("none", None, None, None),)
"""The row of a turn that changes nothing."""

_STRING_CODES = pa.dictionary(pa.int32(), pa.string())

_SAID = ("op", "slot", "value", "polarity")

UPDATE_COLUMNS = pa.schema(
    [("dialogue_id", _STRING_CODES), ("turn", pa.int32()), *((name, _STRING_CODES) for name in _SAID)]
)
"""Updates before the ontology has named the slots: these are given by key."""


def rows_of(update: TurnUpdate) -> UpdateRows:
    """The rows of an update, in a fixed order."""
    rows: list[tuple[str, str | None, str | None, Polarity | None]] = []
    if update.new_topic:
        rows.append(("new_topic", None, None, None))
    if update.drop:
        rows += [("drop", slot, None, None) for slot in sorted(update.drop)]
    if update.want:
        rows += [("want", slot, value, "like") for slot in sorted(update.want) for value in update.want[slot]]
    if update.dislike:
        rows += [
            ("dislike", slot, value, "dislike") for slot, values in sorted(update.dislike.items()) for value in values
        ]
    return tuple(rows) or NOTHING


class UpdateTable:
    """Gathers updates by turn; a row that several turns have is kept once."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._dialogue_ids: list[str] = []
        self._lengths: list[int] = []
        self._turns: list[int] = []
        self._updates: list[UpdateRows] = []

    def __len__(self) -> int:
        """How many turns there are."""
        return len(self._updates)

    def add(self, dialogue_id: str, turns: list[int], updates: list[UpdateRows]) -> None:
        """Add the updates of a dialogue's labelled turns."""
        self._dialogue_ids.append(dialogue_id)
        self._lengths.append(len(turns))
        self._turns += turns
        self._updates += updates

    def take(self) -> pa.Table:
        """The rows gathered so far, as :data:`UPDATE_COLUMNS`; afterwards there are none."""
        rows = np.fromiter(map(len, self._updates), np.int64, len(self._updates))
        dialogues = np.repeat(np.arange(len(self._lengths), dtype=np.int32), self._lengths)
        places: dict[tuple[str | None, ...], int] = {}
        codes = pa.array(
            [places.setdefault(row, len(places)) for row in chain.from_iterable(self._updates)], pa.int32()
        )
        columns = [
            pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(dialogues, rows)), pa.array(self._dialogue_ids, pa.string())
            ),
            pa.array(np.repeat(np.array(self._turns, np.int32), rows)),
        ]
        for values in zip(*places, strict=True) if places else ((),) * len(_SAID):
            distinct = pa.array(values, pa.string()).dictionary_encode()
            columns.append(pa.DictionaryArray.from_arrays(distinct.indices.take(codes), distinct.dictionary))
        self._clear()
        return pa.table(columns, schema=UPDATE_COLUMNS)


def annotation_rows(updates: pa.Table, names: Mapping[str, str], ontology_version: int) -> pa.Table:
    """Rows of ``annotations``."""
    n = len(updates)
    columns: dict[str, pa.Array] = {field.name: pa.nulls(n, field.type) for field in ANNOTATIONS.columns}
    ids, keys = updates["dialogue_id"].combine_chunks(), updates["slot"].combine_chunks()
    annotation_ids = pc.binary_join_element_wise("corpus", ids.dictionary, ":")
    columns["annotation_id"] = annotation_ids.take(ids.indices)
    for name in ("dialogue_id", "op", "value", "polarity"):
        columns[name] = updates[name].cast(pa.string())
    spelled = pa.array([names.get(key, key) for key in keys.dictionary.to_pylist()], pa.string())
    columns["slot"] = spelled.take(keys.indices)
    columns["turn"] = updates["turn"]
    for name in ("origin", "annotator"):
        columns[name] = pa.repeat("corpus", n)
    columns["role"], columns["untouched"] = pa.repeat("label", n), pa.repeat(False, n)
    columns["ontology_version"] = pa.repeat(pa.scalar(ontology_version, pa.int32()), n)
    return pa.table(list(columns.values()), schema=ANNOTATIONS.columns)
