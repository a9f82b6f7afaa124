"""What to label next, as a part of a report: nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.workspace import Workspace
from schemas.errors import SemctlError
from schemas.progress import Progress

if TYPE_CHECKING:
    from pipeline.selection.select_dialogues import SelectReport

_COUNT = 10


@dataclass(frozen=True)
class NextLabels:
    """Dialogues to label next."""

    chosen: SelectReport | None  # None where there are none
    missing: str | None  # why there are none
    command: str  # what chooses more of them

    def as_json(self) -> dict[str, Any]:
        found = None if self.chosen is None else self.chosen.as_json()
        if found is not None:
            found.pop("file")  # nothing was written there
        return {"chosen": found, "missing": self.missing, "command": self.command}


def next_labels(workspace: Workspace, runs: Sequence[str], progress: Progress) -> NextLabels:
    """The first ten dialogues by what these runs are unsure of; without a run, by what dialogues speak of."""
    from pipeline.selection.select_dialogues import SelectRequest, choose_dialogues

    strategy = "uncertainty" if runs else "stratified"
    request = SelectRequest(strategy=strategy, count=_COUNT, runs=tuple(runs))
    command = " ".join([f"semctl select --strategy {strategy}", *(f"--run {run}" for run in runs), "-n 100"])
    try:
        return NextLabels(choose_dialogues(workspace, request, progress=progress), None, command)
    except SemctlError as problem:  # a report has other things to say
        return NextLabels(None, f"{problem.what}; {problem.fix}" if problem.fix else problem.what, command)
