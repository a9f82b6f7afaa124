"""``semctl ontology``: the slots and values there are, and their changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.labelling.ontology_changes import ChangeReport, Edit
    from pipeline.workspace import Workspace
    from schemas.ontology import Ontology, Slot

group = typer.Typer(
    help="The slots and values of belief states: show, rename, merge, split, add.", no_args_is_help=True
)

_DRY_RUN = Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing, here or there.")]
_OFFLINE = Annotated[
    bool, typer.Option("--offline", help="Leave Label Studio alone; the next export brings its projects up to date.")
]
_TARGET = Annotated[str, typer.Argument(metavar="SLOT[=VALUE]", help="A slot, or a value of a slot.")]
_MARKS_SHOWN = 20


@group.command()
def show(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[SLOT]", help="One slot, with all its values.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Print slots, values, other names and the steps by which they changed.

    Example: semctl ontology show color
    """
    workspace, console = opened(context, as_json=as_json)
    ontology = workspace.require().ontology()
    slot = None if name is None else ontology.slot(name)
    if as_json:
        console.json((ontology if slot is None else slot).model_dump(mode="json"))
    elif slot is not None:
        _show_slot(console, slot)
    else:
        _show_ontology(console, ontology)


@group.command()
def rename(
    context: typer.Context,
    target: _TARGET,
    new: Annotated[str, typer.Argument(metavar="NEW", help="What it is called from now on.")],
    dry_run: _DRY_RUN = False,
    offline: _OFFLINE = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Call a slot or a value something else; the old name is understood for good.

    Example: semctl ontology rename color=grey charcoal
    """
    from pipeline.labelling.ontology_changes import renaming

    _change(context, lambda _: renaming(target, new), dry_run, offline, as_json)


@group.command()
def merge(
    context: typer.Context,
    targets: Annotated[list[str], typer.Argument(metavar="SLOT[=VALUE]...", help="Two or more.")],
    into: Annotated[str, typer.Option(metavar="NAME", help="What the one is called.")],
    dry_run: _DRY_RUN = False,
    offline: _OFFLINE = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Make one of several values of a slot, or of several slots of one product attribute.

    Example: semctl ontology merge color=black "color=jet black" --into black
    """
    from pipeline.labelling.ontology_changes import merging

    _change(context, lambda _: merging(targets, into), dry_run, offline, as_json)


@group.command()
def split(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="SLOT=VALUE", help="The value.")],
    into: Annotated[list[str], typer.Option(metavar="A,B", help="Its parts; repeat for names with commas.")],
    dry_run: _DRY_RUN = False,
    offline: _OFFLINE = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Let several values take the place of one; what was marked with it has to be looked at again.

    Example: semctl ontology split color=blue --into navy,"sky blue"
    """
    from pipeline.labelling.ontology_changes import splitting

    _change(context, lambda workspace: splitting(workspace, target, into), dry_run, offline, as_json)


@group.command()
def add(
    context: typer.Context,
    target: _TARGET,
    attribute: Annotated[
        str | None, typer.Option(metavar="NAME", help="The product attribute a new slot keys to.")
    ] = None,
    alias: Annotated[list[str] | None, typer.Option(metavar="WORD", help="Another way to say it.")] = None,
    assume_none: Annotated[
        bool, typer.Option("--assume-none", help="Earlier answers say: nothing wanted of the new slot.")
    ] = False,
    dry_run: _DRY_RUN = False,
    offline: _OFFLINE = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Add a value, other ways to say one, or a slot.

    A new slot is unknown in earlier answers, which takes their dialogues out of D_F; --assume-none keeps them in.

    Example: semctl ontology add color=teal --alias petrol
    """
    from pipeline.labelling.ontology_changes import adding

    def asked(workspace: Workspace) -> Edit:
        return adding(workspace, target, attribute=attribute, aliases=alias or (), assume_none=assume_none)

    _change(context, asked, dry_run, offline, as_json)


def _change(
    context: typer.Context, asked: Callable[[Workspace], Edit], dry_run: bool, offline: bool, as_json: bool
) -> None:
    from pipeline.labelling.ontology_changes import change_ontology

    workspace, console = opened(context, as_json=as_json)
    workspace.require()
    report = change_ontology(workspace, asked(workspace), dry_run=dry_run, offline=offline, progress=console)
    console.result(report, _show_change)


def _show_change(console: Console, report: ChangeReport) -> None:
    if report.step is None:
        console.say("nothing to change: it is so already")
    else:
        would = "would be " if report.dry_run else ""
        console.say(f"{report.step}: {would}version {report.after.version} of the ontology")
        touched = report.touched
        rows = [
            ("annotations", touched.annotations),
            ("turns", touched.turns),
            ("dialogues", len(touched.dialogues)),
            ("turns at which a slot becomes unknown", touched.unclear_turns),
            ("  their dialogues, which leave D_F", len(touched.unclear)),
        ]
        console.table("labels that read differently", ("", ""), rows)
        marks = sorted(touched.marks.items(), key=lambda item: (-item[1], item[0][0]))
        if marks:
            rest = len(marks) - _MARKS_SHOWN
            console.table(
                "marks",
                ("marked", "reads", "times"),
                [(was, now or "unknown", count) for (was, now), count in marks[:_MARKS_SHOWN]],
                caption=f"and {rest} more" if rest > 0 else None,
            )
    if report.projects:
        rows_of_projects = [(one.title, one.project_id, one.url, one.state) for one in report.projects]
        console.table("projects on the server", ("project", "number", "server", "configuration"), rows_of_projects)
    if report.products_left:
        console.log(
            f"warning: {report.products_left} products are spelled like the old value, which no state names any more; "
            "keep it as one of the parts if that is what they are"
        )
    if report.problem:
        console.log(f"warning: the projects were not looked at: {report.problem}")
    if report.dry_run or report.step is None:
        return
    if report.requeue is not None:
        console.log(f"to be looked at again: semctl export-for-labelling --project NEW --dialogues {report.requeue}")
    if report.touched.annotations:
        console.log("states and splits are as before until they are made again: semctl ingest-labels")


def _show_ontology(console: Console, ontology: Ontology) -> None:
    rows = [
        (
            slot.name,
            slot.attribute,
            slot.kind,
            sum(not value.split_into for value in slot.values),
            sum(value.count > 0 for value in slot.values),
            ", ".join(slot.aliases),
        )
        for slot in ontology.slots
    ]
    columns = ("slot", "product attribute", "kind", "values", "in catalogue", "also")
    console.table(f"ontology, version {ontology.version}", columns, rows)
    rules = [(slot.name, slot.rule) for slot in ontology.slots if slot.rule]
    if rules:
        console.table("rules for numbers", ("slot", "values"), rules)
    if ontology.decisions:
        console.table("decisions", ("about", "what annotators are told"), ontology.decisions.items())
    if ontology.history:
        console.table("steps", ("version", "what"), [(step.version, str(step)) for step in ontology.history])


def _show_slot(console: Console, slot: Slot) -> None:
    rows = [
        (value.value, value.count, ", ".join(value.aliases), ", ".join(value.catalogue), ", ".join(value.split_into))
        for value in slot.values
    ]
    title = f"{slot.name}: {slot.kind}, product attribute {slot.attribute}"
    columns = ("value", "products", "also", "spelled in the catalogue", "split into")
    console.table(title, columns, rows, caption="; ".join(text for text in (slot.rule, slot.hint) if text) or None)
