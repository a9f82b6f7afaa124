"""The checks of an ingest: findings into ``labels/findings.parquet``, dialogues to label again into ``requeue.txt``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from annotate.annotations.annotation import Annotation
from annotate.checks.catalogue import CatalogueIndex
from annotate.checks.checks import Checks, FindingTotals
from annotate.checks.dialogue import DialogueStore
from annotate.checks.findings import CODES, Finding, codes_of
from annotate.resolution.resolve import Resolution
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.ontology import Ontology
from schemas.tables import FINDINGS, TURNS, TableWriter, open_writer, read_table
from schemas.validation import did_you_mean


def requeue_codes(workspace: Workspace, given: str | None) -> frozenset[str]:
    """Codes that put a dialogue up for labelling again: those given, with commas between, else the setting's.

    Of a severity only those that labelling again can change.
    """
    names = workspace.settings().labelling.requeue
    where = f"{workspace.settings_file}, labelling.requeue"
    if given is not None:
        names, where = tuple(name.strip() for name in given.split(",") if name.strip()), "--requeue"
    return frozenset(code for code in codes_of(names, where=where) if CODES[code].relabel or code in names)


@dataclass(frozen=True)
class FindingCounts:
    """What the checks of an ingest found."""

    findings: Mapping[str, int] = field(default_factory=dict)  # code -> findings, the worst code first
    dialogues: Mapping[str, int] = field(default_factory=dict)  # code -> dialogues with at least one
    requeue: int = 0  # dialogues to label again
    requeue_file: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"findings": dict(self.findings), "requeue": {"file": self.requeue_file, "dialogues": self.requeue}}


class LabelChecks:
    """Takes dialogues in the order of their ids and writes what the checks find; made by :func:`checking`."""

    def __init__(self, checks: Checks, rows: TableWriter, totals: FindingTotals) -> None:
        self._checks = checks
        self._rows = rows
        self.totals = totals

    def dialogue(
        self,
        dialogue_id: str,
        annotations: Sequence[Annotation],
        resolution: Resolution,
        states: Sequence[Mapping[str, Any]],
    ) -> None:
        """Check one dialogue; see :meth:`annotate.checks.checks.Checks.dialogue`."""
        self._add(self._checks.dialogue(dialogue_id, annotations, resolution, states), is_here=True)

    def gone(self, dialogue_id: str, annotations: Sequence[Annotation]) -> None:
        """Note annotations of a dialogue that is no longer in the workspace, which nobody can label again."""
        self._add(self._checks.gone(dialogue_id, annotations), is_here=False)

    def requeue_lines(self) -> str:
        """The dialogues to label again, one id a line, the worst first."""
        return "".join(f"{dialogue_id}\n" for dialogue_id in self.totals.again())

    def counts(self, workspace: Workspace) -> FindingCounts:
        """What was found so far."""
        found = self.totals.by_code()
        return FindingCounts(
            findings=found,
            dialogues={code: self.totals.dialogues[code] for code in found},
            requeue=len(self.totals.again()),
            requeue_file=workspace.requeue.relative_to(workspace.root).as_posix(),
        )

    def _add(self, findings: Sequence[Finding], *, is_here: bool) -> None:
        self.totals.add(findings, is_here=is_here)
        self._rows.write_all(finding.row() for finding in findings)


@contextmanager
def checking(
    workspace: Workspace,
    turns: Path,
    ontology: Ontology,
    file: Path,
    *,
    refused: Iterable[Mapping[str, Any]],
    requeue: frozenset[str],
    inputs: Mapping[str, str],
) -> Iterator[LabelChecks]:
    """Checks of the dialogues of ``turns`` that write ``file`` when the block ends well."""
    catalogue = CatalogueIndex.read(workspace.products, ontology)
    seconds = workspace.settings().labelling.min_seconds_per_turn
    with (
        DialogueStore.read(turns, workspace.recommendations) as said,
        open_writer(file, FINDINGS, inputs=inputs) as rows,
    ):
        checks = Checks(ontology, catalogue, said, refused, seconds_per_turn=seconds)
        yield LabelChecks(checks, rows, FindingTotals(requeue))


@dataclass(frozen=True)
class FoundAgain:
    """Findings of the last ingest."""

    counts: Mapping[str, int]  # code -> findings, the worst first; of all that fit
    shown: Sequence[Mapping[str, Any]]  # the worst of them, with the ``text`` of their turn

    @property
    def errors(self) -> int:
        return sum(count for code, count in self.counts.items() if CODES[code].severity == "error")

    def as_json(self) -> dict[str, Any]:
        return {"findings": dict(self.counts), "shown": list(self.shown)}


def found_again(
    workspace: Workspace, *, code: str | None = None, dialogue: str | None = None, most: int | None = None
) -> FoundAgain:
    """The findings of the last ingest again, the worst code first, then by dialogue and turn.

    Args:
        code: only this code, or this severity.
        most: at most so many are shown; all are counted.
    """
    wanted = codes_of(["all" if code is None else code], where="--code")
    filters: list[tuple[str, str, Any]] = [("code", "in", wanted)]
    if dialogue is not None:
        filters.append(("dialogue_id", "==", dialogue))
    found = read_table(workspace.require().findings, FINDINGS, filters=filters)
    codes = found["code"].to_pylist()
    counts = Counter(codes)
    if dialogue is not None and not counts:
        _require_dialogue(workspace, dialogue)
    order = {name: rank for rank, name in enumerate(CODES)}
    worst = np.argsort([order[name] for name in codes], kind="stable")[:most]  # of one code, as they are in the table
    shown = found.take(worst).to_pylist()
    texts = _texts(workspace, {row["dialogue_id"] for row in shown if row["turn"] is not None})
    return FoundAgain(
        {name: counts[name] for name in CODES if counts[name]},
        [{**row, "text": texts.get((row["dialogue_id"], row["turn"]))} for row in shown],
    )


def _texts(workspace: Workspace, dialogues: set[str]) -> dict[tuple[str, int], str]:
    """(dialogue id, turn) -> what is said."""
    if not dialogues:
        return {}
    columns = ["dialogue_id", "turn", "text"]
    rows = read_table(workspace.turns, TURNS, columns=columns, filters=[("dialogue_id", "in", dialogues)])
    return {(row["dialogue_id"], row["turn"]): row["text"] for row in rows.to_pylist()}


def _require_dialogue(workspace: Workspace, dialogue: str) -> None:
    ids = set(read_table(workspace.turns, TURNS, columns=["dialogue_id"])["dialogue_id"].to_pylist())
    if dialogue not in ids:
        fix = did_you_mean(dialogue, ids, "ids are those of data/turns.parquet")
        raise UsageError(f"unknown dialogue '{dialogue}'", fix=fix)
