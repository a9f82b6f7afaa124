"""``semctl judge``: two runs before people."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.evaluate import Split
from pipeline.context import JSON_OPTION, PROJECT, TO_FILE, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.judging.export import JudgeExport
    from pipeline.judging.ingest import JudgeReport

group = typer.Typer(help="Let people judge two runs side by side, blind (Table 4).", no_args_is_help=True)


@group.command()
def export(
    context: typer.Context,
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="Run id: the one that wins, ties or loses.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="Run id: the one it is judged against.")],
    turns: Annotated[
        int, typer.Option("-n", metavar="N", min=1, help="Recommendation turns drawn, one of each dialogue first.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of the turns drawn, their order and the sides.")] = 0,
    split: Annotated[Split, typer.Option(help="Split to draw from.")] = Split.test,
    top: Annotated[int, typer.Option(min=1, max=20, help="Products in a list.")] = 10,
    project: Annotated[str | None, PROJECT] = None,
    to_file: Annotated[Path | None, TO_FILE] = None,
    annotators: Annotated[
        str | None, typer.Option(metavar="A,B", help="Judges: each gets all tasks, in a project or file of their own.")
    ] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Put two runs' best products for sampled turns side by side in Label Studio, blind and shuffled.

    Judges see the dialogue and two lists, and answer left, right or tie; which run is where is drawn for each task and
    kept in judgements/NAME.key.json, which they must not see. Turns for which both lists are the same are not asked:
    they count as ties.

    Example: semctl judge export RUN_A RUN_B --project "which list is better" -n 60 --annotators ann@x.org,bo@x.org
    """
    from pipeline.judging.export import JudgeRequest, export_judgement
    from pipeline.labelling.assignment_record import annotators_named

    workspace, console = opened(context, as_json=as_json)
    request = JudgeRequest(
        run_a,
        run_b,
        turns,
        seed,
        split.value,
        top,
        tuple(annotators_named(annotators)) if annotators is not None else (),
        project=project,
        to_file=to_file,
    )
    result = export_judgement(workspace, request, progress=console)
    console.result(result, partial(_show_export, root=workspace.root))


def _show_export(console: Console, result: JudgeExport, root: Path) -> None:
    from annotate.tasks.served_images import SERVED_IMAGES

    rows: list[tuple[str, object]] = [
        ("turns drawn", result.turns),
        ("  of dialogues", result.dialogues),
        ("  both lists the same: ties, not asked", result.same),
        ("tasks", result.tasks),
        ("  added now, for all judges", result.tasks_new),
        ("images shown", result.images["shown"]),
        ("images missing", result.images["missing"]),
        ("which run is where (not for judges)", result.key.relative_to(root)),
    ]
    for place, url in zip(result.places, result.urls or [None] * len(result.places), strict=True):
        rows.append((f"judge at ({place.annotator})" if place.annotator else "judge at", url or place.file))
    console.table(f"{result.a} against {result.b}, {result.split}", ("", ""), rows)
    if result.config is not None:
        console.log(
            f"to import it by hand: a project with {result.config}, and for the images a Local storage of "
            f"{root / 'labelling' / 'files' / SERVED_IMAGES}"
        )
    if result.images_problem:
        console.log(
            f"warning: this Label Studio cannot show the images ({result.images_problem}); run it with "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root / 'labelling' / 'files'} on this machine"
        )
    source = f"--project {shlex.quote(result.name)}" if result.config is None else "EXPORT.json"
    console.say(f"Next: judge them, then semctl judge ingest {source}")


@group.command()
def ingest(
    context: typer.Context,
    exports: Annotated[
        list[Path] | None, typer.Argument(metavar="[EXPORT]...", help="JSON exports of Label Studio, one or several.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(metavar="TITLE", help="Instead: the name given to judge export; all its judges.")
    ] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Take judges' answers in: win, tie and lose of the first run with intervals, and how far judges agree.

    All answers there are now are read again. Written are judgements/NAME.json, with every turn and vote, and a table,
    judgements/NAME.md.

    Example: semctl judge ingest --project "which list is better"
    """
    from pipeline.judging.ingest import JudgeIngest, ingest_judgement

    workspace, console = opened(context, as_json=as_json)
    report = ingest_judgement(workspace, JudgeIngest(tuple(exports or ()), project), progress=console)
    console.result(report, partial(_show_report, root=workspace.root))


def _show_report(console: Console, report: JudgeReport, root: Path) -> None:
    from annotate.judging.answers import REASONS
    from annotate.judging.figures import OUTCOMES
    from pipeline.judging.ingest import NOTE, paper_table, shown_agreement, shown_rows

    key = report.key
    console.table(
        f"A, {key.a}, against B, {key.b}",
        ("per cent", "A wins", "tie", "A loses", "p", "votes or turns"),
        [(title, *(shares[name] for name in OUTCOMES), p, count) for title, shares, p, count in shown_rows(report)],
        caption=f"{NOTE} {paper_table().note}",
    )
    console.say(shown_agreement(report))
    for reason, count in report.answers.counts().items():
        console.say(f"left out: {count} {REASONS[reason]}")
    console.say(f"written: {report.file.relative_to(root)}, {report.table.relative_to(root)}")
