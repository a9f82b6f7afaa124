"""What is asked of an assigned export, held against what was assigned under that name before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from annotate.assignment.assignment import AssignmentTerms
from pipeline.batches import read_batches
from pipeline.labelling.assignment_record import Assignment, part_title
from pipeline.workspace import Workspace
from schemas.errors import UsageError

_OVERLAP = 0.2
_REDUNDANCY = 2


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
