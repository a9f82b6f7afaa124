"""Consecutive utterances of one speaker are one turn."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.corpora.ledger import Ledger
from pipeline.corpora.records import Utterance

__all__ = ["keep_or_drop", "merge_consecutive"]


def keep_or_drop(utterances: Sequence[Utterance], ledger: Ledger) -> bool:
    """Count a dialogue and its utterances as kept, or as dropped when the shopper says nothing in it."""
    kept = any(utterance.speaker == "user" for utterance in utterances)
    if kept:
        ledger["dialogues"].keep()
        ledger["utterances"].keep(len(utterances))
    else:
        ledger["dialogues"].drop("no_user_utterance")
        ledger["utterances"].drop("in_dropped_dialogue", len(utterances))
    return kept


def merge_consecutive(utterances: Sequence[Utterance], ledger: Ledger) -> Sequence[Utterance]:
    """Merge runs of one speaker: texts joined by a space, pictures and candidates one after the other, the last act
    and the last state that are there."""
    line = ledger["turns"]
    turns: list[Utterance] = []
    previous = None
    for utterance in utterances:
        if utterance.speaker != previous:
            turns.append(utterance)
            previous = utterance.speaker
            continue
        if utterance.state is not None and turns[-1].state is not None:
            ledger["states"].drop("replaced_later_in_the_turn")
        turns[-1] = _joined(turns[-1], utterance)
    line.keep(len(turns))
    line.drop("merged_into_the_one_before", len(utterances) - len(turns))
    return turns


def _joined(first: Utterance, second: Utterance) -> Utterance:
    return Utterance(
        first.speaker,
        second.act or first.act,
        f"{first.text} {second.text}".strip(),
        (*first.images, *second.images),
        (*first.positives, *second.positives),
        (*first.negatives, *second.negatives),
        first.state if second.state is None else second.state,
    )
