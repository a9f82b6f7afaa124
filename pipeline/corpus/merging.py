"""What counts as a dialogue, and how its utterances and turns are counted: once a dialogue, when it is read."""

from __future__ import annotations

from pipeline.corpus.ledger import Ledger
from pipeline.corpus.records import MergedTurns

__all__ = ["keep_or_drop"]


def keep_or_drop(turns: MergedTurns, ledger: Ledger) -> bool:
    """Count a dialogue, its utterances and its turns as kept, or as dropped when the user says nothing in it."""
    if "user" not in turns.speakers:
        ledger["dialogues"].drop("no_user_utterance")
        ledger["utterances"].drop("in_dropped_dialogue", turns.utterances)
        return False
    kept = len(turns.speakers)
    ledger["dialogues"].keep()
    ledger["utterances"].keep(turns.utterances)
    ledger["turns"].keep(kept)
    ledger["turns"].drop("merged_into_the_one_before", turns.utterances - kept)
    ledger["states"].drop("replaced_later_in_the_turn", turns.replaced_states)
    return True
