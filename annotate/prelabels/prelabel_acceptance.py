"""Who sends pre-labels on as they are, how often and how fast: agreement with a model is not yet an answer.

A pre-label that nobody changed may be right, or may not have been looked at; the two cannot be told apart one by one.
Their rate and their time per turn can be compared between annotators. Single answers that came faster than a turn can
be read are findings of the checks (``untouched_fast``), and their dialogues are listed to be labelled again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from annotate.annotations.annotation import Annotation

__all__ = ["AcceptanceCounts", "seconds_per_turn"]


def seconds_per_turn(annotation: Annotation) -> float | None:
    """How long an answer took, by user turn; None where Label Studio does not say."""
    turns = len(annotation.turns())
    return None if annotation.lead_time is None or not turns else annotation.lead_time / turns


@dataclass
class _Person:
    prelabelled: int = 0
    untouched: list[float | None] = field(default_factory=list)
    changed: list[float | None] = field(default_factory=list)


class AcceptanceCounts:
    """Counts answers that started from a pre-label, annotator by annotator."""

    def __init__(self) -> None:
        self._people: dict[str, _Person] = {}

    def add(self, annotations: Iterable[Annotation]) -> None:
        """Count answers; those that started from nothing, and the corpus' own states, do not count."""
        for annotation in annotations:
            if annotation.prelabel is None:
                continue
            person = self._people.setdefault(annotation.annotator, _Person())
            person.prelabelled += 1
            (person.untouched if annotation.untouched else person.changed).append(seconds_per_turn(annotation))

    def as_json(self) -> dict[str, Any]:
        """``{prelabelled, untouched, annotators: {name: {prelabelled, untouched, rate, seconds_per_turn_untouched,
        seconds_per_turn_changed}}}``; seconds are medians, None where no time is known.
        """
        return {
            "prelabelled": sum(person.prelabelled for person in self._people.values()),
            "untouched": sum(len(person.untouched) for person in self._people.values()),
            "annotators": {
                name: {
                    "prelabelled": person.prelabelled,
                    "untouched": len(person.untouched),
                    "rate": len(person.untouched) / person.prelabelled,
                    "seconds_per_turn_untouched": _median(person.untouched),
                    "seconds_per_turn_changed": _median(person.changed),
                }
                for name, person in sorted(self._people.items())
            },
        }


def _median(seconds: Iterable[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return round(median(known), 3) if known else None
