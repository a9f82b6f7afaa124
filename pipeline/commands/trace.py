"""``semctl trace``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.provenance.trace import Step, Trace, Witness


def trace(
    context: typer.Context,
    dialogue: Annotated[str, typer.Argument(metavar="DIALOGUE", help="Id of the dialogue.")],
    turn: Annotated[int, typer.Option(help="A user turn, counted as in turns.parquet.")],
    slot: Annotated[str, typer.Option(help="A slot of the ontology.")],
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Where a label comes from: back to project, task, annotation, annotator, configuration and export.

    Example: semctl trace d00012 --turn 4 --slot color
    """
    from pipeline.provenance.trace import trace_cell

    workspace, console = opened(context, as_json=as_json)
    found = trace_cell(workspace.require(), dialogue, turn=turn, slot=slot)
    console.result(found, _show)


def _show(console: Console, found: Trace) -> None:
    values = found.values()
    held = "(unknown)" if values is None else ", ".join(map(_value, values)) or "(nothing)"
    console.say(f"{found.dialogue_id}, turn {found.turn}: {found.slot} = {held}   [{found.file.name}, {found.split}]")
    console.say(f"  {found.text}")
    for step in found.steps:
        _show_step(console, found, step)


def _show_step(console: Console, found: Trace, step: Step) -> None:
    values = ", ".join(_value({"value": each.value, "polarity": each.polarity}) for each in step.origin.values)
    where = "this turn" if step.origin.turn == found.turn else f"turn {step.origin.turn}"
    console.say(f"{values or found.slot}: {where}; {step.origin.why}")
    if step.origin.turn != found.turn:
        console.say(f"  {step.text}")
    if not step.witnesses:
        return
    rows = [_row(witness) for witness in step.witnesses]
    console.table(f"said of turn {step.origin.turn}", ("standing", "annotator", "marked", "seconds", "updated"), rows)
    for witness in step.witnesses:
        if witness.spoken.standing in ("in force", "disputed"):
            console.table(witness.spoken.annotation.annotation_id, ("", ""), list(_sources(witness)))


def _row(witness: Witness) -> tuple[object, ...]:
    one = witness.spoken.annotation
    marks = ", ".join(
        (f"{mark.op} {mark.value}" if mark.value else mark.op)
        + ("" if mark.origin == "manual" else f" ({mark.origin})")
        for mark in witness.spoken.marks
    )
    who = f"{one.annotator} (review)" if one.role == "review" else one.annotator
    return witness.spoken.standing, who, marks or "-", one.lead_time, one.updated_at[:19] or None


def _sources(witness: Witness) -> list[tuple[str, object]]:
    said = witness.as_json()
    number = f"{said['project_title'] or '?'} (number {said['project']})" if said["project"] else None
    prelabel = said["prelabel"] and f"{said['prelabel']}, score {said['prelabel_score']}" + (
        ", left as it was" if said["untouched"] else ""
    )
    rows = [
        ("project", number),
        ("task", f"{said['task_uid']} (number {said['task_id']})" if said["task_uid"] else None),
        ("open it", said["task_url"]),
        ("pre-label", prelabel),
        ("configuration", said["config_sha256"]),
        ("batch", said["batch"]),
        ("export", said["raw_export"] or said["export_sha256"]),
        ("ontology version", said["ontology_version"]),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _value(item: dict[str, object]) -> str:
    return f"{'!' if item['polarity'] == 'dislike' else ''}{item['value']}"
