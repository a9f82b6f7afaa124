"""States as the corpus gives them, read over one set of slots and turned into updates of turns.

A state that holds for several turns is worked out once and counted as often as it was used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.catalogue import Setting
from pipeline.corpus.ledger import Ledger, LedgerLine
from pipeline.corpus.parsing import snake_case
from pipeline.corpus.records import CumulativeState, Dialogue, StateRecord, TurnState
from pipeline.corpus.slots import Said, SlotKeys
from schemas.accumulate import Sides, difference_by_slot, one_after_the_other
from schemas.belief import Polarity, TurnUpdate
from schemas.folding import fold
from schemas.ontology import CATEGORY_ATTRIBUTES
from schemas.tables import ANNOTATIONS

_REMEMBERED = 2_000

_folded = lru_cache(maxsize=50_000)(fold)


class Mention:
    """A slot with values, as states name it: its key ("" where it cannot be used), and what is counted for it."""

    __slots__ = ("_counting", "key", "liked", "times", "values")

    def __init__(self, key: str, values: tuple[str, ...], counting: Callable[[int], None]) -> None:
        self.key = key
        self.values = values
        self.liked: Sides = (_distinct(values), ())
        self.times = 0  # mentioned and not counted yet
        self._counting = counting

    def count(self) -> None:
        if self.times:
            self._counting(self.times)
            self.times = 0


class Reading:
    """One state, its slots named by key; readings are the same when they are one object."""

    # slot -> values, as far as they can be used
    like: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    dislike: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    drop: frozenset[str] = frozenset()  # slots that no longer matter
    new_topic: bool | None = None  # as the corpus says, if it does
    category: tuple[str, tuple[str, ...]] | None = None  # the slot that says what is looked for, its folded values
    by_slot: Mapping[str, Sides] = MappingProxyType({})  # each sorted; a value on both sides is avoided
    mentions: Sequence[Mention] = ()  # what to count each time that it is read; ``times`` says how often that was
    times = 0


class _Mentions(dict[tuple[str, tuple[str, ...]], Mention]):
    """Mentions by (slot, values); one that is asked for the first time is made."""

    def __init__(self, slots: SlotKeys, not_slots: frozenset[str], line: LedgerLine, said: list[Said]) -> None:
        self._slots = slots
        self._said = said
        self._not_slots = not_slots
        self._line = line

    def __missing__(self, named: tuple[str, tuple[str, ...]]) -> Mention:
        found = self[named] = self._made(*named)
        return found

    def _made(self, slot: str, values: tuple[str, ...]) -> Mention:
        line, said, n = self._line, self._said, len(values)
        if not values:
            return Mention("", values, lambda times: line.drop("no_value", times))
        if snake_case(slot) in self._not_slots:
            return Mention("", values, lambda times: line.drop("not_a_product_attribute", n * times))
        key = self._slots.key(slot)
        if not key:
            return Mention("", values, lambda times: line.drop("no_slot_name", n * times))

        def keep(times: int) -> None:
            line.keep(n * times)
            said.append((slot, values, times))

        return Mention(key, values, keep)


class StateReadings:
    """Reads states; only after :meth:`count` are the ledger's line ``state_values`` and :attr:`said` complete."""

    def __init__(self, setting: Setting, ledger: Ledger) -> None:
        self.said: list[Said] = []  # slots that were named, in the order of their first mention since the last count
        self._slots = SlotKeys(setting.attributes)
        self._products = setting.products
        self._images = setting.image_refs
        self._not_slots = setting.not_slots
        self._feedback = ledger["feedback"]
        self._readings: dict[StateRecord, Reading] = {}
        self._mentions = _Mentions(self._slots, self._not_slots, ledger["state_values"], self.said)
        self._mentioned_now: list[Mention] = []

    def of(self, state: StateRecord) -> Reading:
        """The reading of a state; the same object for the same state, as long as it is remembered."""
        reading = self._readings.get(state)
        if reading is None:
            if len(self._readings) >= _REMEMBERED:
                self.count()
            reading = self._read(state)
            if state.drop if isinstance(state, TurnState) else state.feedback:  # partly counted as it is read
                self._add_times(reading.mentions, 1)
                return reading
            self._readings[state] = reading
        reading.times += 1
        return reading

    def count(self) -> None:
        """Count what was read, and forget it: what is counted next does not depend on what was read before."""
        for reading in self._readings.values():
            self._add_times(reading.mentions, reading.times)
        self._readings.clear()
        for mention in self._mentioned_now:
            mention.count()
        self._mentioned_now.clear()
        if len(self._mentions) >= _REMEMBERED:
            self._mentions.clear()

    def _add_times(self, mentions: Iterable[Mention], times: int) -> None:
        for mention in mentions:
            if not mention.times:
                self._mentioned_now.append(mention)
            mention.times += times

    def _read(self, state: StateRecord) -> Reading:
        reading = Reading()
        if isinstance(state, TurnState):
            liked, disliked = self._mentioned(state.want), self._mentioned(state.dislike)
            reading.like, reading.dislike = _by_key(liked), _by_key(disliked)
            reading.drop = frozenset(filter(None, [self._named(name) for name in sorted(state.drop)]))
            reading.new_topic = state.new_topic
            category = next((name for name in CATEGORY_ATTRIBUTES if name in reading.like), None)
            if category is not None:
                reading.category = category, tuple(sorted(map(_folded, reading.like[category])))
            reading.mentions = (*liked, *disliked)
            return reading
        liked = reading.mentions = self._mentioned(state.like)
        by_slot = {mention.key: mention.liked for mention in liked}
        if state.dislike or state.feedback or "" in by_slot or len(by_slot) < len(liked):
            disliked = self._mentioned(state.dislike)
            reading.mentions = (*liked, *disliked)
            like, dislike = _by_key(liked), _by_key(disliked)
            self._add_feedback(state, like, dislike)
            by_slot = _by_slot(like, dislike)
        reading.by_slot = by_slot
        return reading

    def _mentioned(self, said: Mapping[str, tuple[str, ...]]) -> list[Mention]:
        return list(map(self._mentions.__getitem__, said.items()))

    def _named(self, slot: str) -> str | None:
        """The key of a slot that is named without values, which is counted at once."""
        if snake_case(slot) in self._not_slots:
            return None
        self.said.append((slot, (), 1))
        return self._slots.key(slot)

    def _add_feedback(
        self, state: CumulativeState, like: dict[str, tuple[str, ...]], dislike: dict[str, tuple[str, ...]]
    ) -> None:
        line, said = self._feedback, like.keys() | dislike.keys()
        for item in state.feedback:
            product_id = self._products.of_image(item.image, self._images)
            if product_id is None:
                line.drop("unknown_product", len(item.likes) + len(item.dislikes))
                continue
            attributes = self._products.attributes[product_id]
            for side, names in ((like, item.likes), (dislike, item.dislikes)):
                for name in names:
                    key = self._named(name)
                    values = attributes.get(key or "")
                    if not key or values is None:
                        line.drop("attribute_not_known_of_the_product")
                    elif key in said:
                        line.drop("already_said")
                    else:
                        line.keep()
                        side[key] = tuple(dict.fromkeys((*side.get(key, ()), *values)))


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """Of values that differ only in spelling the last, sorted."""
    return tuple(sorted({_folded(value): value for value in values}.values()))


def _by_key(mentions: Iterable[Mention]) -> dict[str, tuple[str, ...]]:
    """Slot -> values; a slot that is named in two ways has those of both."""
    found: dict[str, tuple[str, ...]] = {}
    for mention in mentions:
        key, values = mention.key, mention.values
        if key:
            found[key] = tuple(dict.fromkeys((*found[key], *values))) if key in found else values
    return found


def _by_slot(like: Mapping[str, tuple[str, ...]], dislike: Mapping[str, tuple[str, ...]]) -> dict[str, Sides]:
    found: dict[str, Sides] = {}
    for slot in {**like, **dislike}:
        avoided = {_folded(value): value for value in dislike.get(slot, ())}
        liked = {_folded(value): value for value in like.get(slot, ())}
        found[slot] = (
            tuple(sorted([value for key, value in liked.items() if key not in avoided])),
            tuple(sorted(avoided.values())),
        )
    return found


class CorpusUpdates:
    """Turns the states of one dialogue after the other into updates whose slots are keys of ``slots``.

    The ledger's lines ``states``, ``state_values`` and ``feedback`` are filled, completely so by :meth:`take_said`.
    """

    def __init__(self, setting: Setting, ledger: Ledger) -> None:
        self._readings = StateReadings(setting, ledger)
        self._reset = setting.topic_change == "reset"
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
    rows += [("drop", slot, None, None) for slot in sorted(update.drop)]
    rows += [("want", slot, value, "like") for slot in sorted(update.want) for value in update.want[slot]]
    rows += [("dislike", slot, value, "dislike") for slot in sorted(update.dislike) for value in update.dislike[slot]]
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
        return len(self._updates)

    def add(self, dialogue_id: str, turns: list[int], updates: list[UpdateRows]) -> None:
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
