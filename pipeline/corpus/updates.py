"""States as the corpus gives them, turned into per-turn updates over one set of slots."""

from __future__ import annotations

from typing import Literal

from annotate.states.accumulate import difference_by_slot, one_after_the_other
from pipeline.corpus.catalogue import ProductLookup
from pipeline.corpus.images import ImageReferences
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.records import Dialogue, TurnState
from pipeline.corpus.slots import Said, SlotKeys
from pipeline.corpus.state_readings import Reading, StateReadings
from pipeline.corpus.update_table import NOTHING, UpdateRows, rows_of
from schemas.belief import TurnUpdate

__all__ = ["CorpusUpdates", "TopicChange"]

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
