"""``semctl diff``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, opened

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipeline.console import Console
    from pipeline.provenance.diff import LabelDiff


def diff(
    context: typer.Context,
    older: Annotated[
        int | None, typer.Argument(metavar="[OLDER]", help="Number of an ingest; 0 for before the first one.")
    ] = None,
    newer: Annotated[int | None, typer.Argument(metavar="[NEWER]", help="Number of an ingest; else the last.")] = None,
    other: Annotated[
        Path | None, typer.Option("--with", metavar="FOLDER", help="Compare with the labels of this workspace instead.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many changed states to list.")] = 10,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 3 when there is a difference.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """What changed between two ingests: annotations, states per slot, splits, ontology and policy.

    Without numbers, the last ingest that changed something and the one before. They are kept in labels/ingests.

    Example: semctl diff 3 5
    """
    from pipeline.provenance.diff import diff_ingests, diff_workspaces
    from pipeline.workspace import Workspace
    from schemas.errors import UsageError

    workspace, console = opened(context, as_json=as_json)
    workspace.require()
    if other is not None:
        if older is not None:
            raise UsageError("numbers of ingests and --with were both given", fix="give one of the two")
        found = diff_workspaces(workspace, Workspace(other.resolve()), examples=examples)
    else:
        found = diff_ingests(workspace, older, newer, examples=examples)
    console.result(found, _show)
    if exit_code and found:
        raise typer.Exit(3)


def _show(console: Console, found: LabelDiff) -> None:
    console.say(f"{found.older.name} -> {found.newer.name}")
    if not found:
        console.say("no difference")
        return
    if found.ontology_changed:
        console.say(f"ontology: version {found.older.ontology_version} -> {found.newer.ontology_version}")
    if found.policy_changed:
        console.say(f"answers of several people: {found.older.policy} -> {found.newer.policy}")
    said = found.as_json()
    people = [[row[name] for name in _ANNOTATIONS] for row in said["annotations"]["by_annotator"]]
    if people:
        console.table("annotations", _ANNOTATIONS, people)
    splits = [(name, *said["splits"][key].values()) for name, key in (("D_F", "d_f"), ("D_P", "d_p"))]
    console.table("dialogues", ("", "before", "after"), splits, caption=_moved(found.to_d_f, found.to_d_p))
    for names, what in ((found.added, "new"), (found.removed, "gone")):
        if names:
            console.say(f"dialogues {what}: {len(names):,}: {_some(names)}")
    slots = [[row[name] for name in _SLOTS] for row in said["slots"] if any(row[name] for name in _SLOTS[1:])]
    if slots:
        rows = [*slots, ["all turns", *(found.turns[kind] for kind in ("changed", "labelled", "unlabelled"))]]
        console.table("states, in turns", _SLOTS, rows)
    if found.examples:
        rows = [
            [change.dialogue_id, change.turn, change.slot, _cell(change.before), _cell(change.after)]
            for change in found.examples
        ]
        console.table("the first of them", ("dialogue", "turn", "slot", "before", "after"), rows)


_ANNOTATIONS = ("annotator", "added", "changed", "withdrawn")
_SLOTS = ("slot", "changed", "labelled", "unlabelled")


def _moved(to_d_f: Collection[str], to_d_p: Collection[str]) -> str | None:
    said = [
        f"{len(names):,} into {split}: {_some(names)}" for names, split in ((to_d_f, "D_F"), (to_d_p, "D_P")) if names
    ]
    return "; ".join(said) or None


def _some(names: Collection[str]) -> str:
    shown = list(names)[:5]
    return ", ".join(shown) + (" ..." if len(names) > len(shown) else "")


def _cell(cell: frozenset[str] | None) -> str:
    if cell is None:
        return "(unknown)"
    return ", ".join(sorted(cell)) or "(nothing)"
