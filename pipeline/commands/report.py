"""``semctl report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.evaluate import Candidates, Split
from pipeline.context import JSON_OPTION, opened
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.reports.report import WrittenReport


def report(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="RUN|EXPERIMENT", help="Run id, 'latest', or name of an experiment.")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Report the labels of the workspace instead.")] = False,
    against: Annotated[
        str | None, typer.Option(metavar="RUN", help="Of a run: another one, whose cases are won and lost against.")
    ] = None,
    cases: Annotated[int, typer.Option(min=0, help="Of a run: how many recommendation turns to show.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of a run: draws these turns.")] = 0,
    split: Annotated[
        Split | None, typer.Option(help="Of a run: what to measure on; else test, or valid where that is empty.")
    ] = None,
    candidates: Annotated[
        Candidates, typer.Option(help="Of a run: what the positives are ranked against.")
    ] = Candidates.all,
    no_names: Annotated[
        bool, typer.Option("--no-names", help="With --labels: numbers instead of annotators' names.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The page; else reports/NAME.html.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Write one HTML page of a run, an experiment or the labels: no other file, no network, no script.

    Example: semctl -w shop report latest --against tiny-r0.2-s0-d56603 --cases 100
    """
    from pipeline.reports.report import write_report
    from pipeline.reports.run_report import RunReportRequest

    workspace, console = opened(context, as_json=as_json)
    if labels == (name is not None):
        raise UsageError("name a run or an experiment, or give --labels", fix="semctl report latest")
    if no_names and not labels:
        raise UsageError("--no-names is of --labels", fix="leave it out: no annotator is named in other reports")
    wanted = RunReportRequest(
        name or "latest",
        against=against,
        split=None if split is None else split.value,
        candidates=candidates.value,
        cases=cases,
        seed=seed,
    )
    given = {"--against": against, "--split": split}
    written = write_report(
        workspace, wanted, labels=labels, names=not no_names, of_runs=given, out=out, progress=console
    )
    console.result(written, _show)


def _show(console: Console, written: WrittenReport) -> None:
    for line in written.lines:
        console.say(line)
    console.say(f"written: {written.file} ({written.size / 1e6:.1f} MB)")
