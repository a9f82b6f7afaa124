"""SIMMC 2.0: dialogues over objects of a 3-D scene, a catalogue, and a map from each dialogue's objects to items.

A system turn recommends the items of the objects it speaks of; the candidates it was chosen over are the other items
of that dialogue's objects. An object that could be one of several items is left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.corpora.layout import Folders
from pipeline.corpora.ledger import Ledger
from pipeline.corpora.mmd_states import turn_state
from pipeline.corpora.parsing import as_text
from pipeline.corpora.records import StateRecord, Utterance
from pipeline.corpora.simmc import SimmcReader, read_object
from schemas.errors import CorpusError

__all__ = ["Simmc2Reader"]

OBJECT_MAP = "dialogue_object_to_item.json"


class Simmc2Reader(SimmcReader):
    """Reads SIMMC 2.0's own JSON.

    Raises:
        CorpusError: dialogues, catalogue or object map are not there.
    """

    source = "simmc2"
    other_files = (OBJECT_MAP,)

    def __init__(self, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> None:
        super().__init__(folders, ledger, with_states=with_states)
        found = folders.find(OBJECT_MAP)
        if found is None:
            raise CorpusError(
                f"no map from objects to items here: there is no {OBJECT_MAP}",
                where=folders.root,
                fix='make one: {dialogue: {object: {"items": [item ids]}}}',
            )
        self._objects = read_object(found, self._files)

    def _utterances(self, dialogue: Mapping[str, Any], turn: Mapping[str, Any], ledger: Ledger) -> list[Utterance]:
        utterances = []
        user, system = turn.get("transcript"), turn.get("system_transcript")
        if isinstance(user, str):
            act, attributes = _annotation(turn.get("transcript_annotated"))
            state: StateRecord | None = None
            slot_values = attributes.get("slot_values")
            if self._with_states and isinstance(slot_values, dict):
                state = turn_state(slot_values)
            elif self._with_states and slot_values is not None:
                ledger["states"].drop("not_readable")
            utterances.append(Utterance("user", act, as_text(user), state=state))
        if isinstance(system, str):
            act, attributes = _annotation(turn.get("system_transcript_annotated"))
            objects = attributes.get("objects")
            positives, negatives = self._candidates(dialogue, objects if isinstance(objects, list) else [], ledger)
            utterances.append(Utterance("system", act, as_text(system), (), positives, negatives))
        if not utterances:
            ledger["utterances"].drop("no_transcript")
        return utterances

    def _candidates(
        self, dialogue: Mapping[str, Any], objects: list[Any], ledger: Ledger
    ) -> tuple[list[str], list[str]]:
        if not objects:
            return [], []
        known = self._objects.get(str(dialogue.get("dialogue_idx")))
        item_of = {name: _items(value) for name, value in known.items()} if isinstance(known, dict) else {}
        positives: list[str] = []
        for name in map(str, objects):
            items = item_of.get(name, [])
            if len(items) == 1:
                positives += items
            else:
                ledger["positives"].drop("ambiguous_object" if items else "object_not_in_the_map")
        if not positives:
            ledger["recommendation_turns"].drop("no_unambiguous_object")
            return [], []
        others = {items[0]: None for items in item_of.values() if len(items) == 1 and items[0] not in positives}
        return positives, list(others)


def _items(value: object) -> list[str]:
    items = value.get("items") if isinstance(value, dict) else value
    return [str(item) for item in items if isinstance(item, str | int)] if isinstance(items, list) else []


def _annotation(value: object) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(value, dict):
        return "", {}
    attributes = value.get("act_attributes")
    return as_text(value.get("act")), attributes if isinstance(attributes, dict) else {}
