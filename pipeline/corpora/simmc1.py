"""SIMMC 1.0: a turn is what the user says, what the system answers, dialogue acts with slots, and the item in focus.

A recommendation turn is one whose action brings another item into focus (``SearchDatabase``, ``SearchMemory``); that
item is the only positive, and no negatives are listed. Slots of acts that ask or chat are no wishes. Slots of
``DISPREFER`` are disliked. ``theme`` names the kind of garment where its value is one of the catalogue's types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.corpora.ledger import Ledger
from pipeline.corpora.parsing import as_text, snake_case, split_values
from pipeline.corpora.records import ProductRecord, StateRecord, TurnState, Utterance
from pipeline.corpora.simmc import SimmcReader
from schemas.folding import fold, fold_name

__all__ = ["Simmc1Reader"]

NO_WISH = frozenset({"ASK", "CHITCHAT", "PROMPT", "MISSING_LABEL", "UNSUPPORTED", "MULTIPLE", "UNSURE"})
"""First parts of acts whose slots do not say what the user wants."""

POINTING = frozenset({"similar", "same", "like", "that", "this", "those", "these", "it", "my", "one", "style", "any"})
"""Words annotated as values that name none."""


class Simmc1Reader(SimmcReader):
    """Reads SIMMC 1.0 (fashion), in the release's keys or in those of its line-by-line reconstruction."""

    source = "simmc1"
    not_slots = frozenset(
        {
            *("o", "attention_on", "check", "agent", "amount", "neg", "ordinal", "sequential", "comp"),
            *("situation", "situation_time", "start_time", "theme"),
        }
    )
    _types: frozenset[str] = frozenset()

    def products(self, ledger: Ledger) -> list[ProductRecord]:
        """All items of the catalogue."""
        found = super().products(ledger)
        self._types = frozenset(fold(value) for product in found for value in product.attributes.get("type", ()))
        return found

    def _utterances(self, dialogue: Mapping[str, Any], turn: Mapping[str, Any], ledger: Ledger) -> list[Utterance]:
        utterances = []
        user = turn.get("user", turn.get("transcript"))
        system = turn.get("system", turn.get("system_transcript"))
        if isinstance(user, str):
            state: StateRecord | None = None
            acts = turn.get("belief_state")
            if self._with_states and isinstance(acts, list):
                state = self._state(acts, ledger)
            elif self._with_states and acts is not None:
                ledger["states"].drop("not_readable")
            act = next((as_text(entry.get("act")) for entry in acts or [] if isinstance(entry, dict)), "")
            utterances.append(Utterance("user", act.removeprefix("DA:"), as_text(user), state=state))
        if isinstance(system, str):
            supervision = turn.get("action_supervision")
            focus = supervision.get("focus") if isinstance(supervision, dict) else None
            shown = [str(focus)] if isinstance(focus, int | str) and focus != "" else []
            utterances.append(Utterance("system", as_text(turn.get("action")), as_text(system), (), shown))
        if not utterances:
            ledger["utterances"].drop("no_transcript")
        return utterances

    def _state(self, acts: list[Any], ledger: Ledger) -> StateRecord:
        line = ledger["state_values"]
        sides: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]] = ({}, {})
        for entry in acts:
            if not isinstance(entry, dict) or not isinstance(entry.get("slots"), list):
                continue
            parts = as_text(entry.get("act")).removeprefix("DA:").split(":")
            side = sides["DISPREFER" in parts]
            for pair in entry["slots"]:
                if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
                    line.drop("not_a_pair")
                    continue
                slot, value = re.sub(r"^fashion-|_\d+$", "", pair[0]), pair[1]
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
