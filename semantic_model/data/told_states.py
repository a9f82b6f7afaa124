"""Belief states in words, put before what the user said last: what a model that reads no states can be told of them.

The paper's Figure 6 gives the gold state to its baselines this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import NamedTuple

from schemas.belief import BeliefState
from semantic_model.data.records import Query
from semantic_model.data.tokenizer import PAD, Vocabulary

STATE_TOKENS = 30
"""Word pieces of a state that are read, beside those of the utterance that it stands before."""


def slot_text(slot: str) -> str:
    """A slot's name as words: ``sleeveLength`` and ``sleeve_length`` are both "sleeve length"."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in slot)
    return " ".join(spaced.replace("_", " ").lower().split())


def state_words(state: BeliefState) -> list[str]:
    """A state slot by slot.

    >>> from schemas.belief import SlotValue
    >>> red, short = SlotValue("color", "red"), SlotValue("sleeveLength", "short")
    >>> state_words((red, SlotValue("color", "black", "dislike"), short))
    ['color red, not black.', 'sleeve length short.']
    """
    return [
        f"{slot_text(slot)} " + ", ".join("not " * (item.polarity == "dislike") + item.value for item in items) + "."
        for slot, items in groupby(state, key=lambda item: item.slot)
    ]


class Told(NamedTuple):
    """Queries that were told states."""

    queries: list[Query]
    cut: int  # how many states had more than :data:`STATE_TOKENS` word pieces, so that their last slots are left out


def with_states(queries: Sequence[Query], states: Sequence[BeliefState], words: Vocabulary) -> Told:
    """Queries whose last user utterance begins with their state; those of an empty one stay as they are."""
    told = [state_words(state) for state in states]
    distinct = sorted({part for parts in told for part in parts})
    pieces = words.encode(distinct, 8 * STATE_TOKENS)
    length = dict(zip(distinct, (pieces != PAD).sum(axis=1).tolist(), strict=True))
    found, cut = [], 0
    for query, parts in zip(queries, told, strict=True):
        ends = accumulate(length[part] for part in parts)
        fitting = [part for part, end in zip(parts, ends, strict=True) if end <= STATE_TOKENS]
        cut += len(fitting) < len(parts)
        found.append(_begun(query, " ".join(fitting)))
    return Told(found, cut)


def _begun(query: Query, text: str) -> Query:
    at = next((place for place, said in reversed([*enumerate(query.history)]) if said.speaker == "user"), None)
    if at is None or not text:
        return query
    said = query.history[at]
    begun = said._replace(text=f"{text} {said.text}")
    return query._replace(history=(*query.history[:at], begun, *query.history[at + 1 :]))
