"""What real corpora have wrong with them, planted in few dialogues and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Literal, get_args

__all__ = ["CORRUPTIONS", "Corruption", "list_negatives", "plan_corruptions", "shape_utterances"]

Corruption = Literal[
    "no_negatives",
    "one_negative",
    "three_negatives",
    "positives_among_negatives",
    "null_utterance",
    "nested_utterances",
]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
"""One of them a dialogue at most.

``no_negatives``, ``one_negative``, ``three_negatives``: so few are listed in the first recommendation;
``positives_among_negatives``: its negatives hold up to three of its own positives;
``null_utterance``: a null among the utterances; ``nested_utterances``: two utterances in a list of their own.
"""


def plan_corruptions(dialogues: Mapping[str, int], each: int, rng: Random) -> dict[tuple[str, int], Corruption]:
    """Which dialogue, by split and number from 0, has which corruption; each corruption ``each`` times."""
    places = [(split, number) for split, count in dialogues.items() for number in range(count)]
    chosen = rng.sample(places, min(len(places), each * len(CORRUPTIONS)))
    return {place: CORRUPTIONS[index % len(CORRUPTIONS)] for index, place in enumerate(chosen)}


def list_negatives(
    negatives: Sequence[int], positives: Sequence[int], sound: Sequence[bool], corruption: Corruption | None
) -> list[int]:
    """The negatives as the corruption has them listed; the few that are left have sound files."""
    if corruption == "positives_among_negatives":
        return [*positives[:3], *negatives]
    few = {"no_negatives": 0, "one_negative": 1, "three_negatives": 3}.get(corruption or "")
    if few is None:
        return list(negatives)
    return list(dict.fromkeys(number for number in negatives if sound[number]))[:few]


def shape_utterances(utterances: list[Any], corruption: Corruption | None) -> list[Any]:
    """The list of utterances with a null in it, or with two of them in a list of their own."""
    if corruption == "null_utterance":
        return [*utterances[:2], None, *utterances[2:]]
    if corruption == "nested_utterances":
        return [*utterances[:2], utterances[2:4], *utterances[4:]]
    return utterances
