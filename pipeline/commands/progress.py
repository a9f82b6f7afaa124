"""``semctl progress``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, opened
from schemas.errors import ServiceError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from annotate.assignment.progress_report import Count, Finish, ProgressReport, ProgressRow
    from pipeline.console import Console
    from pipeline.labelling.progress import LabellingProgress

_COLUMNS = (*"annotator project batch tasks".split(), "", *"dialogues turns open skipped drafts s/turn finish".split())
_ASSUMED = {
    "days like the last": "an 80 % interval, if the coming days are like the last ones (at most 14)",
    "working on without a break": "if they work on without a break, at the pace of their quicker or slower answers",
}


def progress(
    context: typer.Context,
    seconds: Annotated[
        float, typer.Argument(metavar="SECONDS", min=0.5, help="With --watch: how often to ask.", show_default=True)
    ] = 10.0,
    project: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this project, or what was assigned under it.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Ask again and again, until Ctrl-C.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Who has labelled how much, how fast, and when it may be done.

    Example: semctl progress --project "dresses, round 1" --watch 5
    """
    from pipeline.labelling.progress import LabellingProgress
    from schemas.progress import SilentProgress

    workspace, console = opened(context, as_json=as_json)
    workspace.require()
    if watch and as_json:
        raise UsageError("--watch shows tables, --json prints one object", fix="give one of the two")
    asking = LabellingProgress(workspace, project, SilentProgress() if watch else console)
    if watch:
        _watch(console, asking, seconds)
    elif as_json:
        console.json(_report(asking).as_json())
    else:
        report = _report(asking)
        console.table(_title(report), _COLUMNS, _rows(report), caption=" · ".join(_captions(report)))


def _report(asking: LabellingProgress) -> ProgressReport:
    try:
        return asking.now()
    except ServiceError as problem:
        return asking.as_ingested(str(problem.what))


def _watch(console: Console, asking: LabellingProgress, seconds: float) -> None:
    """Never returns; Ctrl-C ends it as it ends every command. A server that is away is waited for."""
    last: ProgressReport | None = None
    with console.board() as board:
        while True:
            away: list[str] = []
            try:
                last = asking.now()
                shown = last
            except ServiceError as problem:
                shown = last or asking.as_ingested(problem.what)
                away = [f"{problem.what}; asking again every {seconds:g} s"]
            board.show(_title(shown), _COLUMNS, _rows(shown), captions=[*away, *_captions(shown), "Ctrl-C ends it"])
            time.sleep(seconds)


def _title(report: ProgressReport) -> str:
    return f"labelling as of {report.at.astimezone():%Y-%m-%d %H:%M:%S}, from {report.source}"


def _captions(report: ProgressReport) -> list[str]:
    row = report.overall
    said = []
    if row.pace.left_open:
        said.append(
            f"{row.pace.left_open} answers took over ten minutes a turn: the page was probably left open, so they do "
            "not count for the pace"
        )
    assumed = sorted({each.finish.assuming for each in report.rows if each.finish is not None})
    said += [f"finish: {_ASSUMED[each]}" for each in assumed]
    return [*report.notes, *said]


def _rows(report: ProgressReport) -> list[tuple[object, ...]]:
    rows = [_row(row, _name(row), report.at) for row in report.rows]
    return [*rows, _row(report.overall, "all", report.at)]


def _name(row: ProgressRow) -> str:
    name = row.annotator or "everyone"
    if row.is_share:
        return f"  {name}"
    return f"{name} (left)" if row.has_left else name


def _row(row: ProgressRow, name: str, now: datetime) -> tuple[object, ...]:
    from pipeline.console import Bar

    batch = "" if row.batch is None else f"{row.batch}{' review' if row.role == 'review' else ''}"
    own = row.is_share
    return (
        name,
        "" if own else row.place or "",
        batch,
        Bar(0, 0, 0) if own else Bar(row.tasks.done, row.skipped, row.tasks.total),
        _count(row.tasks, own),
        "" if own else _count(row.dialogues, own),
        _count(row.turns, own),
        "" if own else _number(row.left),
        row.skipped,
        row.drafts,
        None if row.pace.median is None else f"{row.pace.median:.1f}",
        _finish(row.finish, now) if row.finish else "done" if not own and not row.left else None,
    )


def _count(count: Count, own: bool) -> str:
    return _number(count.done) if own else f"{_number(count.done)}/{_number(count.total)}"


def _number(number: int) -> str:
    return f"{number:,}" if number < 10_000 else f"{number / 1000:.1f}k"


def _finish(finish: Finish, now: datetime) -> str:
    first = _moment(finish.earliest, now)
    if finish.latest is None:
        return f"from {first}"
    last = _moment(finish.latest, now)
    return first if first == last else f"{first} – {last}"


def _moment(at: datetime, now: datetime) -> str:
    """A time of today to the next quarter of an hour, another day by its date."""
    local, today = at.astimezone(), now.astimezone().date()
    if local.date() == today:
        quarters = min(-(-(local.hour * 60 + local.minute) // 15), 95)
        return f"{quarters // 4:02d}:{quarters % 4 * 15:02d}"
    return f"{local:%d %b}" if local.year == today.year else f"{local:%d %b %Y}"
