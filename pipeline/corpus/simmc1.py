"""SIMMC 1.0: a turn is what the user says, what the system answers, dialogue acts with slots, and the item in focus.

A recommendation turn is one whose action brings another item into focus (``SearchDatabase``, ``SearchMemory``); that
item is the only positive, and no negatives are listed. The action stands in the turn, in a file ``*_api_calls.json``
beside it, or, in the release, in what the assistant clicked on; of furniture, the clicks are not read. Slots of acts
that ask or chat are no wishes. Slots of ``DISPREFER`` are disliked. ``theme`` names the kind of garment where its value
is one of the catalogue's types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.corpus.layout import UNREADABLE, Folders
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.parsing import as_text, id_text, pairs, snake_case, split_values, structure
from pipeline.corpus.records import ProductRecord, StateRecord, TurnState, Utterance
from pipeline.corpus.simmc import SimmcDialogue, SimmcReader, count_unread, domain_of_file
from schemas.folding import fold, fold_name

WISH = frozenset({"CONFIRM", "INFORM", "REQUEST"})
"""First parts of acts whose slots say what the user wants."""

NO_WISH = frozenset(
    "ASK PROMPT ERR CHITCHAT MISSING_CATALOG MISSING_LABEL MULTIPLE MULTIPLE_ACTS UNSUPPORTED UNSURE".split()
)
"""First parts of acts whose slots do not."""

ACTIVITIES = frozenset("ADD_TO_CART CHECK COMPARE COUNT DISAMBIGUATE DISPREFER GET PREFER REFINE ROTATE".split())
"""Second parts of acts that say what the user wants."""

POINTING = frozenset({"similar", "same", "like", "that", "this", "those", "these", "it", "my", "one", "style", "any"})
"""Words annotated as values that name none."""


class Simmc1Reader(SimmcReader):
    """Reads SIMMC 1.0, in the release's keys or in those of its line-by-line reconstruction."""

    source = "simmc1"
    not_slots = frozenset(
        "o attention_on check agent amount neg ordinal sequential comp "
        "situation situation_time start_time theme".split()
    )
    _types: frozenset[str] = frozenset()

    def products(self, ledger: Ledger) -> list[ProductRecord]:
        found = super().products(ledger)
        self._types = frozenset(fold(value) for product in found for value in product.attributes.get("type", ()))
        return found

    def __init__(self, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> None:
        super().__init__(folders, ledger, with_states=with_states)
        self._actions: dict[tuple[str, str, int], Mapping[str, Any]] = {}
        for path in self._used("actions"):
            content = self._files.read_json(path, ledger["dialogues"])
            for dialogue in content if content is not UNREADABLE and isinstance(content, list) else []:
                number = id_text(dialogue.get("dialog_id")) if isinstance(dialogue, dict) else ""
                actions = dialogue.get("actions") if isinstance(dialogue, dict) else None
                for index, action in enumerate(actions if isinstance(actions, list) else []):
                    if isinstance(action, dict):
                        self._actions[domain_of_file(path), number, index] = action

    def _utterances(
        self, dialogue: SimmcDialogue, index: int, turn: Mapping[str, Any], ledger: Ledger
    ) -> list[Utterance]:
        utterances = []
        user = turn.get("user", turn.get("transcript"))
        system = turn.get("system", turn.get("system_transcript"))
        if isinstance(user, str):
            state: StateRecord | None = None
            acts = structure(turn.get("belief_state"))
            if self._with_states and isinstance(acts, list):
                state = self._state(acts, ledger)
            elif self._with_states and acts is not None:
                ledger["states"].drop("not_readable")
            listed = acts if isinstance(acts, list) else []
            act = next((as_text(entry.get("act")) for entry in listed if isinstance(entry, dict)), "")
            utterances.append(Utterance("user", act.removeprefix("DA:"), as_text(user), state=state))
        if isinstance(system, str):
            action, shown = self._shown(dialogue, index, turn, ledger)
            utterances.append(Utterance("system", action, as_text(system), (), shown))
        count_unread(utterances, (user, system), ledger)
        return utterances

    def _shown(
        self, dialogue: SimmcDialogue, index: int, turn: Mapping[str, Any], ledger: Ledger
    ) -> tuple[str, list[str]]:
        """What the system did, and the item that this brought into focus."""
        if "action" not in turn:
            turn = {**turn, **self._actions.get((dialogue.domain, dialogue.number, index), {})}
        supervision = structure(turn.get("action_supervision"))
        focus = id_text(supervision.get("focus")) if isinstance(supervision, dict) else ""
        clicks = structure(turn.get("raw_assistant_keystrokes"))
        if "action" not in turn and clicks:
            first = structure(clicks[0]) if isinstance(clicks, list) else None
            focus = id_text(first.get("image_id")) if isinstance(first, dict) else ""
            if not focus:
                ledger["recommendation_turns"].drop("clicks_not_readable")
        return as_text(turn.get("action")), [focus] if focus else []

    def _state(self, acts: list[Any], ledger: Ledger) -> StateRecord | None:
        line = ledger["state_values"]
        sides: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]] = ({}, {})
        readable = [(entry, slots) for entry in acts if (slots := _slots(entry)) is not None]
        if acts and not readable:
            ledger["states"].drop("not_readable")
            return None
        if not all(_is_known(_parts(entry)) for entry, _ in readable):
            ledger["states"].drop("unknown_act")
            return None
        line.drop("act_not_readable", len(acts) - len(readable))
        for entry, slots in readable:
            parts = _parts(entry)
            side = sides["DISPREFER" in parts]
            for pair in slots:
                if pair is None:
                    line.drop("not_a_pair")
                    continue
                slot, value = re.sub(r"^(fashion|furniture)-|_\d+$", "", pair[0]), pair[1]
                values = split_values(snake_case(slot), value)
                if parts[0] in NO_WISH:
                    line.drop("asked_not_wished", max(len(values), 1))
                    continue
                if snake_case(slot) == "theme" and self._kind(value) is not None:
                    slot, values = "type", (self._kind(value) or "",)
                elif any(fold_name(v) == fold_name(slot) or fold(v) in POINTING for v in values):
                    line.drop("names_the_slot_or_points_at_something", len(values))
                    continue
                side[slot] = tuple(dict.fromkeys((*side.get(slot, ()), *values)))
        return TurnState(*sides)

    def _kind(self, value: object) -> str | None:
        text = fold(value) if isinstance(value, str) else ""
        spellings = (text, text.removesuffix("es"), text.removesuffix("s"))
        return next((spelling for spelling in spellings if spelling in self._types), None)


def _parts(entry: Mapping[str, Any]) -> list[str]:
    """``DA:INFORM:PREFER:CLOTHING`` -> ``INFORM``, ``PREFER``, ``CLOTHING``."""
    return as_text(entry.get("act")).upper().removeprefix("DA:").split(":")


def _is_known(parts: list[str]) -> bool:
    return parts[0] in NO_WISH or (parts[0] in WISH and len(parts) > 1 and parts[1] in ACTIVITIES)


def _slots(entry: Any) -> list[tuple[str, Any] | None] | None:
    """The slots of an act with their values, None for each that is no such pair; None for what is no act."""
    if not isinstance(entry, dict):
        return None
    listed = structure(entry.get("slots"))
    if isinstance(listed, dict):
        return [*listed.items()]
    if listed is None or isinstance(listed, list):
        return [next(iter(pairs([pair]) or ()), None) for pair in listed or ()]
    return None
