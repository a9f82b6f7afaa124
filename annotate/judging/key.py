"""The key of a human evaluation: which run's list is on which side of which task. It never goes to a judge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from annotate.judging.screen import Choice
from schemas.errors import LabelError
from schemas.files import read_json, write_json
from schemas.json_form import json_form

Run = Literal["A", "B"]
Outcome = Literal["win", "tie", "lose"]
"""Of A against B."""

KEY_SCHEMA = 1
_FIX = "put that file back: without it nobody knows which list was whose"


@dataclass(frozen=True)
class KeyedTask:
    """One task."""

    uid: str  # semctl's name of it
    dialogue_id: str
    turn: int  # the system turn that recommends; what is shown was said before it
    left: Run  # whose list is on the left
    shown_sha256: str  # hash of what the task shows
    a: list[str]  # product ids of A's list, best first
    b: list[str]

    def outcome(self, choice: Choice) -> Outcome:
        """What a judge's answer means for A."""
        if choice == "tie":
            return "tie"
        return "win" if (choice == "left") == (self.left == "A") else "lose"


@dataclass(frozen=True)
class SameTurn:
    """A turn for which both runs give the same list: a tie that nobody has to be asked about."""

    dialogue_id: str
    turn: int


@dataclass(frozen=True)
class JudgingPlace:
    """Where a judge's tasks are: a project of a Label Studio, or a file."""

    annotator: str | None = None  # whose they are; None: anybody's
    project: str | None = None
    project_id: int | None = None
    url: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Key:
    """Everything that is to be known of a human evaluation but for the answers."""

    semctl_judgement: int  # version of the file
    judgement: str  # what tells this one from all others
    name: str
    a: str  # the run A
    b: str  # the run B
    split: str
    turns: int  # how many were asked for
    seed: int
    top: int  # how many products a list has, at most
    tasks: list[KeyedTask]
    same: list[SameTurn]
    places: list[JudgingPlace]

    @property
    def annotators(self) -> tuple[str, ...]:
        """Those whom tasks are assigned to."""
        return tuple(place.annotator for place in self.places if place.annotator is not None)

    def with_place(self, place: JudgingPlace) -> Key:
        """With a place instead of the one that its judge had, or beside all others."""
        others = [each for each in self.places if _whose(each) != _whose(place)]
        return replace(self, places=[*others, place])

    def write(self, path: Path) -> None:
        """Write it, readable for its owner only."""
        write_json(path, json_form(self), mode=0o600)

    @classmethod
    def read(cls, path: Path) -> Key:
        """The key in a file.

        Raises:
            LabelError: it is missing, damaged, or of another version.
        """
        key = read_json(path, error=LabelError, fix=_FIX, shape=cls)
        if key.semctl_judgement != KEY_SCHEMA:
            raise LabelError("this key is of another version of semctl", where=path, fix="use that version")
        return key


def _whose(place: JudgingPlace) -> tuple[str | None, str | None, str | None]:
    return place.annotator, place.project, place.file
