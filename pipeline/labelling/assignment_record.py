"""``labelling/deals/NAME.json``: what was assigned to whom under a name, and which project or file holds whose part.

The record is written before anything is pushed: a killed run is completed from it, and nothing is assigned twice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.assignment.annotators import Annotators
from annotate.assignment.assignment import AssignmentTerms, Round
from pipeline.batches import read_batches
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError
from schemas.files import read_json, sha256_bytes, taken_apart, write_json
from schemas.json_form import json_form

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway


_RECORD = 1
_OVERLAP = 0.2
_REDUNDANCY = 2
_TITLE_LENGTH = 50
_NAME = re.compile(r"\w[\w.+-]{0,63}(@\w[\w.-]{0,125})?")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}")
_RESERVED = ("corpus",)


@dataclass(frozen=True)
class Part:
    """One annotator's part of an assignment."""

    annotator: str
    place: str  # title of the Label Studio project, or path of the file
    has_left: bool = False  # everything they did not finish was reassigned, and nothing new is assigned to them


@dataclass(frozen=True)
class Assignment:
    """Everything assigned under one name.

    Attributes:
        redundancy, seed: of the terms; they stay as they are.
        rounds: what was assigned, oldest first; see :class:`annotate.assignment.assignment.Round`.
        reassigned: annotator who left -> the dialogues that were theirs.
        pushed: whether everything of it arrived where it belongs.
    """

    name: str
    is_file: bool
    redundancy: int
    seed: int
    parts: tuple[Part, ...] = ()
    rounds: tuple[Round, ...] = ()
    reassigned: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pushed: bool = False

    def part(self, annotator: str) -> Part | None:
        """The part of an annotator, or None."""
        return next((part for part in self.parts if part.annotator == annotator), None)

    @property
    def present(self) -> list[str]:
        """The annotators who have not left."""
        return [part.annotator for part in self.parts if not part.has_left]

    def dialogues_of(self, annotator: str) -> list[str]:
        """What an annotator was assigned, in the order of the selections."""
        return [dialogue for round_ in self.rounds for dialogue, who in round_.assigned_to.items() if annotator in who]

    def assigned(self) -> set[str]:
        """Every dialogue assigned."""
        return {dialogue for round_ in self.rounds for dialogue in round_.assigned_to}

    def with_annotators(self, annotators: Iterable[str], places: Mapping[str, str]) -> Assignment:
        """With a part for each; who had left is back."""
        parts = {part.annotator: part for part in self.parts}
        for annotator in annotators:
            known = parts.get(annotator)
            parts[annotator] = replace(known, has_left=False) if known else Part(annotator, places[annotator])
        return replace(self, parts=tuple(parts.values()))

    def write(self, labelling: Path) -> None:
        """Write the record, whole."""
        write_json(assignment_file(labelling, self.name), self._as_json())

    def _as_json(self) -> dict[str, Any]:
        return {
            "semctl_deal": _RECORD,
            **json_form(self, "parts", "rounds", "reassigned"),
            "annotators": [
                {"name": part.annotator, "place": part.place, "has_left": part.has_left} for part in self.parts
            ],
            "rounds": [
                {
                    "overlap": round_.overlap,
                    "dialogues": [
                        {"dialogue": dialogue, "turns": round_.turns[dialogue], "annotators": list(who)}
                        for dialogue, who in round_.assigned_to.items()
                    ],
                }
                for round_ in self.rounds
            ],
            "handed_over": {annotator: sorted(dialogues) for annotator, dialogues in self.reassigned.items()},
        }

    @classmethod
    def read(cls, labelling: Path, name: str) -> Assignment | None:
        """The assignment of this name, or None."""
        path = assignment_file(labelling, name)
        return _read(path) if path.is_file() else None


def assignment_file(labelling: Path, name: str) -> Path:
    """Where the record of an assignment is kept: under its name, where that can be a file's name."""
    if _PLAIN.fullmatch(name):
        return labelling / "deals" / f"{name}.json"
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:40]
    return labelling / "deals" / f"{plain}~{sha256_bytes(os.fsencode(name))[:10]}.json"


def read_assignments(labelling: Path) -> list[Assignment]:
    """All assignments, sorted by name."""
    return sorted(map(_read, (labelling / "deals").glob("*.json")), key=lambda assignment: assignment.name)


def annotators_named(text: str) -> list[str]:
    """The annotators of ``ann@x,bo@x``, in small letters, as e-mail addresses are compared."""
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise UsageError(
                f"'{name}' cannot name an annotator", fix="name e-mail addresses or plain ids: --annotators ann@x,bo@x"
            )
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise UsageError(f"the annotator '{twice[0]}' is named twice", fix="name each once")
    return names


def part_title(name: str, annotator: str) -> str:
    """The project title of an annotator's part: it tells them that it is theirs, in at most 50 characters.

    What is cut is marked, and told apart by a hash.
    """
    title = f"{name} ({annotator})"
    if len(title) <= _TITLE_LENGTH:
        return title
    mark = f"…{sha256_bytes(title.encode())[:4]}"
    person = annotator.partition("@")[0]
    person = person if len(person) <= 24 else person[:24] + "…"
    return f"{name[: _TITLE_LENGTH - len(person) - len(mark) - 3]}{mark} ({person})"


def _read(path: Path) -> Assignment:
    value: Any = read_json(path, error=LabelError)
    with taken_apart(
        path, error=LabelError, what="not the record of an assignment", fix="put that file back from a copy"
    ):
        if value["semctl_deal"] != _RECORD:
            raise ValueError(f"record {value['semctl_deal']}")
        return Assignment(
            name=str(value["name"]),
            is_file=bool(value["is_file"]),
            redundancy=int(value["redundancy"]),
            seed=int(value["seed"]),
            parts=tuple(
                Part(str(part["name"]), str(part["place"]), bool(part["has_left"])) for part in value["annotators"]
            ),
            rounds=tuple(_read_round(round_) for round_ in value["rounds"]),
            reassigned={str(who): tuple(dialogues) for who, dialogues in value["handed_over"].items()},
            pushed=bool(value["pushed"]),
        )


def _read_round(value: Mapping[str, Any]) -> Round:
    items = value["dialogues"]
    return Round(
        float(value["overlap"]),
        {str(item["dialogue"]): tuple(map(str, item["annotators"])) for item in items},
        {str(item["dialogue"]): int(item["turns"]) for item in items},
    )


def projects_of(labelling: Path, name: str) -> list[str]:
    """Titles of all projects under a name, of annotators who left too; the name itself when nothing was assigned."""
    found = Assignment.read(labelling, name)
    if found is None or found.is_file:
        return [name]
    return [
        part.place for part in found.parts if found.dialogues_of(part.annotator) or found.reassigned.get(part.annotator)
    ]


def learn_annotators(workspace: Workspace, gateway: Gateway, projects: Mapping[int, str]) -> Annotators:
    """The known_annotators of the workspace with what this server says; not written yet."""
    assigned = {
        part.place: part.annotator
        for assignment in read_assignments(workspace.labelling)
        if not assignment.is_file
        for part in assignment.parts
    }
    known_annotators = Annotators.read(workspace.labelling)
    known_annotators.learn(
        gateway.url, gateway.users(), {number: assigned.get(title) for number, title in projects.items()}
    )
    return known_annotators


@dataclass(frozen=True)
class AssignmentRequest:
    """What is asked for; None is what the name was assigned with before, else the default."""

    annotators: Sequence[str] | None = None  # who gets what is new; None: everybody who has not left
    # share of the new dialogues that several answer; by default 0.2, and 0 where nobody can share
    overlap: float | None = None
    redundancy: int | None = None  # how many answer these; by default 2
    seed: int | None = None  # of the assignment; by default 0
    leaving: str | None = None  # somebody whose unfinished dialogues go to the others
    dry_run: bool = False  # only say what would be done


def assignment_name(project: str | None, to_file: Path | None) -> str:
    """The name of an assignment: the project's, or the file's without its ending."""
    return project if project is not None else (to_file or Path()).stem


def part_place(name: str, annotator: str, to_file: Path | None) -> str:
    """Where an annotator's part goes: the title of a project, or the path of a file."""
    if to_file is None:
        return part_title(name, annotator)
    return str(to_file.resolve().with_name(f"{to_file.stem}-{annotator}{to_file.suffix or '.json'}"))


def agreed(
    workspace: Workspace, name: str, earlier: Assignment | None, request: AssignmentRequest, *, is_file: bool
) -> tuple[list[str], AssignmentTerms]:
    """Who gets what is new, and on what terms."""
    another = "use another name for it; under one name --overlap and --annotators may change"
    if earlier is not None and earlier.is_file != is_file:
        kind = "files" if earlier.is_file else "projects"
        raise UsageError(f"'{name}' was assigned as {kind} before", fix="use another name")
    if earlier is None and any(str(each.destination) == name for each in read_batches(workspace.labelling)):
        raise UsageError(f"'{name}' was exported whole before, not assigned", fix="use another name")
    if earlier is None and request.annotators is None:
        raise UsageError("nobody to assign to", fix="name them: --annotators ann@x,bo@x")
    for option, given, was in (
        ("--redundancy", request.redundancy, earlier.redundancy if earlier else None),
        ("--seed", request.seed, earlier.seed if earlier else None),
    ):
        if given is not None and was is not None and given != was:
            raise UsageError(f"'{name}' was assigned with {option} {was}, not {given}", fix=another)
    people = list(request.annotators if request.annotators is not None else earlier.present if earlier else ())
    if request.leaving is not None:
        people = _others(name, earlier, request.leaving, people)
    redundancy = earlier.redundancy if earlier else _REDUNDANCY if request.redundancy is None else request.redundancy
    if request.overlap is not None:
        overlap = request.overlap
    elif earlier is not None and earlier.rounds:
        overlap = earlier.rounds[-1].overlap
    else:
        overlap = _OVERLAP if 1 < redundancy <= len(people) else 0.0
    return people, AssignmentTerms(overlap, redundancy, earlier.seed if earlier else request.seed or 0)


def _others(name: str, earlier: Assignment | None, leaving: str, people: Sequence[str]) -> list[str]:
    part = earlier.part(leaving) if earlier else None
    if part is None:
        raise UsageError(f"'{leaving}' has nothing of '{name}' to reassign", fix="see labelling/deals for who has")
    if earlier is not None and earlier.is_file:
        raise UsageError(
            "work assigned as files cannot be reassigned: nobody can tell from here what of it is done",
            fix="assign projects, or move the tasks by hand",
        )
    others = [each for each in people if each != leaving]
    if not others:
        raise UsageError(f"nobody is left to take over from '{leaving}'", fix="name them: --annotators cy@x,di@x")
    return others
