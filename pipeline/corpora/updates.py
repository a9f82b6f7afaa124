"""States as the corpus gives them, turned into per-turn updates over one set of slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from annotate.accumulate import difference
from pipeline.corpora.catalogue import Catalogue
from pipeline.corpora.ledger import Ledger
from pipeline.corpora.parsing import snake_case
from pipeline.corpora.pictures import Pictures
from pipeline.corpora.records import CumulativeState, Dialogue, TurnState
from pipeline.corpora.slots import CATEGORY_ATTRIBUTES, CorpusSlots
from schemas.belief import BeliefState, Polarity, SlotValue, TurnUpdate
from schemas.ontology import fold
from schemas.tables import ANNOTATIONS, TableWriter

__all__ = ["CorpusUpdates", "TopicChange", "UpdateTable"]

TopicChange = Literal["reset", "keep"]
"""Whether a per-turn state that names another category than before starts a new topic."""


class CorpusUpdates:
    """Turns the states of one dialogue after the other into updates whose slots are keys of ``slots``.

    Args:
        slots: collects the slots used.
        catalogue, pictures: to look up products whose attributes are liked or disliked.
        not_slots: slot names (snake case) that are annotation machinery; their values are counted and dropped.
        topic_change: what another category means in corpora that give states per turn.
        ledger: lines ``states``, ``state_values`` and ``feedback`` are filled.
    """

    def __init__(
        self,
        slots: CorpusSlots,
        catalogue: Catalogue,
        pictures: Pictures,
        *,
        not_slots: frozenset[str],
        topic_change: TopicChange,
        ledger: Ledger,
    ) -> None:
        self._slots = slots
        self._catalogue = catalogue
        self._pictures = pictures
        self._not_slots = not_slots
        self._reset = topic_change == "reset"
        self._states, self._values, self._feedback = ledger["states"], ledger["state_values"], ledger["feedback"]

    def of(self, dialogue: Dialogue) -> list[tuple[int, TurnUpdate]]:
        """(turn, update) for every user turn that carries a state."""
        updates: list[tuple[int, TurnUpdate]] = []
        topic: dict[str, tuple[str, ...]] = {}
        before: BeliefState = ()
        gap = False
        for turn, utterance in enumerate(dialogue.utterances):
            if utterance.speaker != "user":
                continue
            state = utterance.state
            if state is None:
                gap = True
                continue
            self._states.keep()
            if isinstance(state, TurnState):
                updates.append((turn, self._of_turn(state, topic)))
                continue
            after = self._belief(state)
            if gap:
                # what the unlabelled turn changed is unknown, so the whole state is said again
                said = difference((), after)
                updates.append((turn, TurnUpdate(said.want, said.dislike, new_topic=True)))
            else:
                updates.append((turn, difference(before, after)))
            before, gap = after, False
        return updates

    def _of_turn(self, state: TurnState, topic: dict[str, tuple[str, ...]]) -> TurnUpdate:
        want, dislike = self._cleaned(state.want), self._cleaned(state.dislike)
        drop = frozenset(filter(None, map(self._key, state.drop)))
        category = next((name for name in CATEGORY_ATTRIBUTES if name in want), None)
        new_topic = bool(state.new_topic)
        if category is not None:
            named = tuple(sorted(map(fold, want[category])))
            if state.new_topic is None and self._reset and topic.get(category, named) != named:
                new_topic = True
            topic[category] = named
        return TurnUpdate(want, dislike, drop, new_topic)

    def _key(self, slot: str) -> str | None:
        return None if snake_case(slot) in self._not_slots else self._slots.key(slot)

    def _cleaned(self, slot_values: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        cleaned: dict[str, tuple[str, ...]] = {}
        for slot, values in slot_values.items():
            if not values:
                self._values.drop("no_value")
                continue
            key = self._key(slot)
            if key is None:
                self._values.drop("not_a_product_attribute", len(values))
            elif not key:
                self._values.drop("no_slot_name", len(values))
            else:
                self._values.keep(len(values))
                self._slots.say(key, values)
                cleaned[key] = tuple(dict.fromkeys((*cleaned.get(key, ()), *values)))
        return cleaned

    def _belief(self, state: CumulativeState) -> BeliefState:
        like, dislike = self._cleaned(state.like), self._cleaned(state.dislike)
        said = like.keys() | dislike.keys()
        for item in state.feedback:
            product_id = self._catalogue.of_picture(item.picture, self._pictures)
            if product_id is None:
                self._feedback.drop("unknown_product", len(item.likes) + len(item.dislikes))
                continue
            attributes = self._catalogue.by_id[product_id].attributes
            for side, names in ((like, item.likes), (dislike, item.dislikes)):
                for name in names:
                    key = self._key(name)
                    values = attributes.get(key or "")
                    if not key or values is None:
                        self._feedback.drop("attribute_not_known_of_the_product")
                    elif key in said:
                        self._feedback.drop("already_said")
                    else:
                        self._feedback.keep()
                        side[key] = tuple(dict.fromkeys((*side.get(key, ()), *values)))
        held: dict[tuple[str, str], SlotValue] = {}
        sides: tuple[tuple[Polarity, Mapping[str, tuple[str, ...]]], ...] = (("like", like), ("dislike", dislike))
        for polarity, slots in sides:  # a value on both sides counts as disliked
            for key, values in slots.items():
                held.update(((key, fold(value)), SlotValue(key, value, polarity)) for value in values)
        return tuple(sorted(held.values(), key=lambda item: (item.slot, item.polarity == "dislike", item.value)))


class UpdateTable:
    """Writes updates as rows of the table ``annotations``, by the annotator ``corpus``.

    A turn that changes nothing has one row ``none``. Rows are gathered by column: there are as many as utterances.
    """

    def __init__(self, table: TableWriter) -> None:
        self._table = table
        self._columns: dict[str, list[str | int | None]] = {}
        self._clear()

    def _clear(self) -> None:
        self._columns = {name: [] for name in ("dialogue_id", "turn", "op", "slot", "value", "polarity")}

    def write(self, dialogue_id: str, turn: int, update: TurnUpdate) -> None:
        """Add one turn's update."""
        rows: list[tuple[str, str | None, str | None, Polarity | None]] = []
        if update.new_topic:
            rows.append(("new_topic", None, None, None))
        rows += [("drop", slot, None, None) for slot in sorted(update.drop)]
        rows += [("want", slot, value, "like") for slot in sorted(update.want) for value in update.want[slot]]
        rows += [
            ("dislike", slot, value, "dislike") for slot in sorted(update.dislike) for value in update.dislike[slot]
        ]
        columns = self._columns
        for op, slot, value, polarity in rows or _NOTHING:
            columns["dialogue_id"].append(dialogue_id)
            columns["turn"].append(turn)
            columns["op"].append(op)
            columns["slot"].append(slot)
            columns["value"].append(value)
            columns["polarity"].append(polarity)
        if len(columns["op"]) >= _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows gathered so far."""
        n = len(self._columns["op"])
        if not n:
            return
        columns: dict[str, pa.Array] = {}
        for field in ANNOTATIONS.columns:
            values = self._columns.get(field.name)
            columns[field.name] = pa.nulls(n, field.type) if values is None else pa.array(values, field.type)
        columns["annotation_id"] = pc.binary_join_element_wise("corpus", columns["dialogue_id"], ":")
        for name in ("origin", "annotator"):
            columns[name] = pa.array(["corpus"] * n, pa.string())
        columns["ontology_version"] = pa.array([0] * n, pa.int32())
        self._table.write_arrow(pa.table(list(columns.values()), schema=ANNOTATIONS.columns))
        self._clear()


_NOTHING: list[tuple[str, str | None, str | None, Polarity | None]] = [("none", None, None, None)]
_BATCH_ROWS = 20_000
