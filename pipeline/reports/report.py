"""``semctl report``: finds what is to be reported, and writes its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.modelling.run_record import RECORD
from pipeline.reports.pages import write_page
from pipeline.reports.run_report import RunReportRequest
from pipeline.workspace import Workspace
from schemas.errors import ModelError, UsageError
from schemas.progress import Progress, SilentProgress
from schemas.validation import did_you_mean


class Facts(Protocol):
    """What a page shows."""

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""


@dataclass(frozen=True)
class WrittenReport:
    """A page that was written."""

    facts: Facts
    file: Path
    size: int  # bytes
    lines: tuple[str, ...]  # what it says, in short

    def as_json(self) -> dict[str, Any]:
        """The facts, with ``file`` and ``bytes``."""
        return {**self.facts.as_json(), "file": str(self.file), "bytes": self.size}


def write_report(
    workspace: Workspace,
    request: RunReportRequest,
    *,
    labels: bool = False,
    names: bool = True,
    of_runs: Mapping[str, object] | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> WrittenReport:
    """Report a run, an experiment of that name, or the labels.

    Args:
        workspace: where they are.
        request: of a run; its ``run`` may also name an experiment.
        labels: report the labels instead.
        names: whether annotators are named; only of labels.
        of_runs: options that were given and that only runs have, to be refused elsewhere.
        out: the file; None: ``reports/NAME.html`` of the workspace.
        progress: shown what takes long.

    Raises:
        UsageError: an option that does not go with what is reported, or a file that cannot be written.
        ModelError: no run or experiment of that name.
    """
    shown = progress or SilentProgress()
    workspace.require()
    if out is not None and out.is_dir():
        raise UsageError("this is a folder", where=out, fix="name a file for the page")
    name = request.run
    is_run = not labels and (name == "latest" or (workspace.runs / name).is_dir())
    if not is_run:
        for option, given in (of_runs or {}).items():
            if given is not None:
                raise UsageError(f"{option} is of runs", fix="leave it out, or name a run")
    if labels:
        from pipeline.reports.labels_report import labels_page, labels_report

        about = labels_report(workspace, names=names, progress=shown)
        return _written(workspace, about, "labels", labels_page(about), about.lines, out)
    if is_run:
        from pipeline.reports.run_page import run_lines, run_page
        from pipeline.reports.run_report import run_report

        run = run_report(workspace, request, progress=shown)
        return _written(workspace, run, run.run, run_page(workspace, run, shown), run_lines(run), out)
    from pipeline.reports.experiment_report import RESULTS, experiment_page, experiment_report

    if not (workspace.experiments / name / RESULTS).is_file() or Path(name).name != name:
        raise _unknown(workspace, name)
    found = experiment_report(workspace, name)
    return _written(workspace, found, f"experiment-{name}", experiment_page(found), found.lines, out)


def _written(
    workspace: Workspace, facts: Facts, name: str, page: str, lines: tuple[str, ...], out: Path | None
) -> WrittenReport:
    file = out or workspace.reports / f"{name}.html"
    write_page(file, page)
    return WrittenReport(facts, file, file.stat().st_size, lines)


def _unknown(workspace: Workspace, name: str) -> ModelError:
    from pipeline.reports.experiment_report import RESULTS

    runs = sorted(path.parent.name for path in workspace.runs.glob(f"*/{RECORD}"))
    experiments = sorted(path.parent.name for path in workspace.experiments.glob(f"*/{RESULTS}"))
    known = [*experiments, *runs]
    there = f"there are {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else "train a run first"
    return ModelError(
        f"there is no run and no finished experiment '{name}'",
        where=workspace.root,
        fix=did_you_mean(name, known, there),
    )
