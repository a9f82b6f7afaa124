"""``semctl export-for-labelling``."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, LLM_MODEL, MAX_COST, MAX_TOKENS, PRICE_IN, PRICE_OUT, PROJECT, TO_FILE, opened
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annotate.prelabels.llm_prelabels import LlmReport
    from annotate.tasks.open_points import OpenPoint
    from pipeline.console import Console
    from pipeline.labelling.assigned_export import AssignedExport
    from pipeline.labelling.export_for_labelling import ExportResult

_MOST_POINTS = 12


def export_for_labelling(
    context: typer.Context,
    project: Annotated[str | None, PROJECT] = None,
    to_file: Annotated[Path | None, TO_FILE] = None,
    dialogues: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="One dialogue id per line, or what `select` wrote; in this order."),
    ] = None,
    limit: Annotated[int | None, typer.Option("-n", metavar="N", help="At most so many dialogues; else all.")] = None,
    window: Annotated[
        int, typer.Option(metavar="W", min=0, max=100, help="User turns in one task; 0: what fits a page.")
    ] = 0,
    split: Annotated[str, typer.Option(help="train, valid, test or all.")] = "train",
    seed: Annotated[
        int | None, typer.Option(help="Of the order in which -n counts, and of the assignment; a larger N adds.")
    ] = None,
    annotators: Annotated[
        str | None, typer.Option(metavar="A,B", help="Assign the dialogues to these: one project or file each.")
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Share of the dialogues that several of them answer; else 0.2.")
    ] = None,
    redundancy: Annotated[int | None, typer.Option(help="How many of them answer each of these; else 2.")] = None,
    leaving: Annotated[
        str | None,
        typer.Option(
            "--reassign-from", metavar="A", help="Somebody who leaves: what they did not finish goes to others."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --annotators or --reassign-from: only show who would get what.")
    ] = False,
    prelabel: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="Pre-label the tasks: lexicon, run:ID, run:latest, llm or current."),
    ] = None,
    llm_model: Annotated[str | None, LLM_MODEL] = None,
    max_cost: Annotated[float | None, MAX_COST] = None,
    max_tokens: Annotated[int | None, MAX_TOKENS] = None,
    price_in: Annotated[float | None, PRICE_IN] = None,
    price_out: Annotated[float | None, PRICE_OUT] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Put dialogues in front of annotators: into a Label Studio project, or into a file.

    With --annotators, each gets a project (or file) of their own and sees nobody else's answers. Run again under the
    same name, it assigns what is new to those named (else to all); what was assigned stays where it is.

    --prelabel llm asks the language model at $SEMCTL_LLM_URL (any OpenAI-compatible address: vLLM, Ollama, llama.cpp, a
    provider; its key in $SEMCTL_LLM_KEY). Only then does dialogue text go anywhere, and a line says so before it leaves
    this machine. Tokens and cost are estimated first; replies are kept in labelling/llm.

    Example: semctl export-for-labelling --project "dresses, round 1" -n 100 --annotators ann@x.org,bo@x.org

    Example: SEMCTL_LLM_URL=http://127.0.0.1:11434/v1 semctl export-for-labelling --to-file tasks.json -n 100 --prelabel
    llm --llm-model qwen3 --max-tokens 2000000
    """
    from pipeline.chosen_dialogues import Selection
    from pipeline.labelling.assigned_export import export_assigned, is_assigned
    from pipeline.labelling.assignment_record import AssignmentRequest, annotators_named
    from pipeline.labelling.export_for_labelling import ExportRequest
    from pipeline.labelling.export_for_labelling import export_for_labelling as export
    from pipeline.labelling.prelabelling import LlmOptions

    workspace, console = opened(context, as_json=as_json)
    workspace.require()
    llm = LlmOptions(llm_model, price_in, price_out, max_cost, max_tokens)
    llm.refuse_without([prelabel or ""])
    asked = any(option is not None for option in (annotators, overlap, redundancy, leaving))
    assignment = AssignmentRequest(
        annotators=None if annotators is None else annotators_named(annotators),
        overlap=overlap,
        redundancy=redundancy,
        seed=seed,
        leaving=None if leaving is None else annotators_named(leaving)[0],
        dry_run=dry_run,
    )
    # who only leaves gets nothing new assigned in passing: the default selection is everything
    nothing_new = leaving is not None and limit is None and dialogues is None
    request = ExportRequest(
        None if nothing_new else Selection(named=dialogues, limit=limit, split=split, seed=seed or 0),
        project=project,
        to_file=to_file,
        window=window,
        prelabel=prelabel,
        llm=llm,
        assignment=assignment if asked else None,
    )
    if is_assigned(workspace, request):
        assigned = export_assigned(workspace, replace(request, assignment=assignment), progress=console)
        console.result(assigned, _show_assigned)
        return
    if dry_run:
        raise UsageError(
            "--dry-run shows who would get what", fix="give it with --annotators or --reassign-from, or leave it out"
        )
    result = export(workspace, request, progress=console)
    console.result(result, partial(_show, root=workspace.root))
    source = f"--project {shlex.quote(project)}" if project else "EXPORT.json"
    console.say(f"Next: label them, then semctl ingest-labels {source}")


def _show_assigned(console: Console, assigned: AssignedExport) -> None:
    columns = ["annotator", "file" if assigned.is_file else "project", "dialogues", "user turns"]
    rows: list[list[object]] = [
        [part.annotator, part.place, part.dialogues, part.user_turns] for part in assigned.parts
    ]
    if not assigned.dry_run:
        columns += ["new tasks", "existing"]
        for row, part in zip(rows, assigned.parts, strict=True):
            row += [part.export.tasks_new, part.export.tasks_present] if part.export else [0, 0]
    said = [
        f"{assigned.dialogues} dialogues, {assigned.dialogues_new} of them new; "
        f"{assigned.shared} are answered by several"
    ]
    if assigned.reassigned:
        said.append(
            f"{assigned.reassigned} dialogues reassigned, {assigned.removed} tasks that nobody touched taken out"
        )
    if assigned.handed_to_nobody:
        said.append(f"{assigned.handed_to_nobody} of them stay with one annotator fewer: the others have them already")
    title = f"assigned as {assigned.name}"
    if assigned.dry_run:
        title = f"dry run, nothing is changed: {title}"
    console.table(title, columns, rows, caption="; ".join(said))
    if assigned.pairs:
        console.table("shared", ("", "", "dialogues"), [(*pair, count) for pair, count in assigned.pairs.items()])
    if assigned.llm is not None:
        console.table(f"asked {assigned.llm.model}", ("", ""), list(_llm_rows(assigned.llm)))
    _show_open_points(console, assigned.exports[0].open_points if assigned.exports else ())
    for export in assigned.exports:
        if export.outdated:
            console.log(f"warning: {export.outdated} tasks of '{export.destination}' show an older wording")
        if export.images_problem:
            console.log(f"warning: '{export.destination}' cannot show the images ({export.images_problem})")
    if assigned.dry_run:
        console.say("Next: the same command without --dry-run")
    elif not assigned.is_file:
        console.say(f"Next: label them, then semctl ingest-labels --project {shlex.quote(assigned.name)}")


def _show_open_points(console: Console, points: Sequence[OpenPoint]) -> None:
    if not points:
        return
    rest = len(points) - _MOST_POINTS
    console.table(
        "open points: what annotators read until you decide",
        ("about", "open", "the guideline says"),
        [(point.about, point.question, point.default) for point in points[:_MOST_POINTS]],
        caption=f"and {rest} more; --json lists all" if rest > 0 else None,
    )
    console.say(
        f'To decide, write into ontology.json "decisions": {{"{points[0].about}": "what annotators should do"}} and '
        "export again; values that are one: semctl ontology merge"
    )


def _llm_rows(report: LlmReport) -> Iterator[tuple[str, object]]:
    yield "questions that the model replied to now", report.asked
    yield "turns whose reply was kept", report.kept
    for name, counted in (("turns left blank", report.blank), ("marks dropped", report.dropped)):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counted.items()))
        yield name, f"{counted.total():,}" + (f" ({reasons})" if reasons else "")
    yield "tokens sent, received", f"{report.tokens.sent:,}, {report.tokens.received:,}"
    if report.cost is not None:
        yield "cost", f"{report.cost:,.4f}"


def _show(console: Console, result: ExportResult, root: Path) -> None:
    from annotate.tasks.served_images import SERVED_IMAGES

    rows: list[tuple[str, object]] = [
        ("new tasks", result.tasks_new),
        ("existing tasks", result.tasks_present),
        ("dialogues", result.dialogues),
        ("user turns", result.user_turns),
        ("user turns in a task, at most", result.window),
        ("images shown", result.images["shown"]),
        ("images missing", result.images["missing"]),
        ("rare values not in the lists", result.values_typed),
    ]
    if result.prelabel is not None:
        rows.append(("pre-labelled by", result.prelabel))
    if result.llm is not None:
        rows += _llm_rows(result.llm)
    if result.doubles_removed:
        rows.append(("duplicate tasks of an interrupted run, removed", result.doubles_removed))
    if result.batch is not None:
        rows.append(("batch", f"labelling/batch-{result.batch:04d}"))
    if result.url:
        rows.append(("label at", result.url))
    to = result.destination
    console.table(f"exported to {to}", ("", ""), rows)
    if to.file and result.batch is not None:
        console.log(
            f"to import it by hand: a project with labelling/batch-{result.batch:04d}/label_config.xml, and for the "
            f"images a Local storage of {root / 'labelling' / 'files' / SERVED_IMAGES}"
        )
    if result.outdated:
        console.log(f"warning: {result.outdated} tasks of the project show an older wording of their dialogue")
    if result.images_problem:
        console.log(
            f"warning: this Label Studio cannot show the images ({result.images_problem}); run it with "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root / 'labelling' / 'files'} on this machine"
        )
    _show_open_points(console, result.open_points)
