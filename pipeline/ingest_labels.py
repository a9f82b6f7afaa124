"""Ingest: what annotators marked becomes checked belief states, keyed to the catalogue, and the splits D_F and D_P.

An export is read task by task; what cannot be used is quarantined with a reason, and a ledger accounts for every
annotation received: accepted, quarantined, skipped or superseded. Everything in the workspace's
``annotations.parquet``, whatever export it came with, goes into the states. The same annotations give the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotate.annotation_store import AnnotationStore
from annotate.annotations import read_annotations
from annotate.dialogue_index import IndexedDialogue, read_dialogue_index
from annotate.export_reader import ExportReader, keep_raw
from annotate.export_staging import StagedExport, stage_export
from annotate.policies import Policy, PolicyName
from annotate.resolve import resolve
from annotate.splits import SplitCounts, label_dialogue, split_manifest
from pipeline.label_checks import FindingCounts, LabelChecks, checking, requeue_codes
from pipeline.labelling_batches import read_batches
from pipeline.resolving import ResolvedCounts, policy_name, policy_of
from pipeline.workspace import Workspace
from schemas.errors import CheckError, LabelError, UsageError, WorkspaceError
from schemas.files import locked, sha256_file, write_atomic, write_json
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress
from schemas.tables import ANNOTATIONS, D_F, D_P, QUARANTINE, STATES, open_table, open_writer

__all__ = ["IngestReport", "ingest_labels"]

_MOST_SHOWN = 20


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did: the ledger of what it received, and the splits of the whole workspace.

    Attributes:
        export_sha256: the export read; None when only the corpus' own states were taken.
        received, accepted, superseded, skipped: annotations of the export; of the corpus when there was none.
            Superseded: its annotator answered the same task later, or people labelled a dialogue of the corpus.
        quarantined: reason -> annotations of which nothing could be used.
        refused_turns: reason -> turns left unlabelled within accepted or superseded annotations.
        drafts: answers begun and not submitted.
        notices: things worth a look in the whole workspace: ``value_not_in_catalogue`` (values marked that no product
            has), ``orphaned_annotations`` (of turns or dialogues that are no longer there).
        out_of_catalogue: the commonest such values as (slot, value, how often).
        d_f, d_p: dialogues and user turns of the splits.
        checked: what the checks found in the labels in force.
        resolved: what became of turns that several people answered, see :class:`pipeline.resolving.ResolvedCounts`.
    """

    export_sha256: str | None
    received: int
    accepted: int
    superseded: int
    skipped: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    refused_turns: Mapping[str, int] = field(default_factory=dict)
    drafts: int = 0
    notices: Mapping[str, int] = field(default_factory=dict)
    out_of_catalogue: tuple[tuple[str, str, int], ...] = ()
    d_f: SplitCounts = field(default_factory=SplitCounts)
    d_p: SplitCounts = field(default_factory=SplitCounts)
    checked: FindingCounts = field(default_factory=FindingCounts)
    resolved: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object; also the content of ``labels/ledger.json``."""
        return {
            "export_sha256": self.export_sha256,
            "annotations": {
                "received": self.received,
                "accepted": self.accepted,
                "quarantined": sum(self.quarantined.values()),
                "skipped": self.skipped,
                "superseded": self.superseded,
            },
            "quarantined": dict(sorted(self.quarantined.items())),
            "refused_turns": dict(sorted(self.refused_turns.items())),
            "drafts": self.drafts,
            "resolved": dict(self.resolved),
            "notices": dict(sorted(self.notices.items())),
            "out_of_catalogue": [
                {"slot": slot, "value": value, "count": count} for slot, value, count in self.out_of_catalogue
            ],
            **self.checked.as_json(),
            "d_f": self.d_f.as_json(),
            "d_p": self.d_p.as_json(),
            "by_split": {
                "d_f": dict(sorted(self.d_f.by_split.items())),
                "d_p": dict(sorted(self.d_p.by_split.items())),
            },
        }

    def check(self, user_turns: int) -> None:
        """Hold the ledger against itself and against the workspace.

        Args:
            user_turns: in the workspace.

        Raises:
            CheckError: annotations or turns are unaccounted for.
        """
        accounted = self.accepted + sum(self.quarantined.values()) + self.skipped + self.superseded
        if accounted != self.received:
            raise CheckError(
                f"the label ledger does not add up: {self.received} annotations received, {accounted} accounted for",
                fix="nothing was changed; this is a bug worth reporting",
            )
        if self.d_f.turns + self.d_p.turns != user_turns:
            raise CheckError(
                f"D_F and D_P hold {self.d_f.turns + self.d_p.turns} turns, the workspace {user_turns}",
                fix="nothing was changed; this is a bug worth reporting",
            )


def ingest_labels(
    workspace: Workspace,
    *,
    export: Path | None = None,
    project: str | None = None,
    resolve_by: str | None = None,
    requeue: str | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Take labels in and write annotations, quarantine, raw export, states, splits, ledger and, last, the manifest.

    Args:
        workspace: an imported corpus.
        export: a JSON export of Label Studio, or its gzip.
        project: name of a project to export now instead. Without either, only what the corpus brought is taken.
        resolve_by: how several people's answers become one; None takes the setting ``labelling.resolve``.
        requeue: codes of findings that put a dialogue up for labelling again, with commas between; None takes the
            setting ``labelling.requeue``.
        progress: shows how far it is.

    Raises:
        InputError: the export, the label configuration, a table or the ontology cannot be used; nothing is written.
        ServiceError: Label Studio is down or refuses the key.
        CheckError: the ledger does not add up; nothing is written.
    """
    progress = progress or SilentProgress()
    if export is not None and project is not None:
        raise UsageError("an export file and --project were both given", fix="name one of the two")
    policy = policy_name(resolve_by, workspace.require().settings().labelling.resolve)
    again = requeue_codes(workspace, requeue)
    ontology = workspace.ontology()
    with ExitStack() as stack:
        if project is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="semctl-")))
            export = _download(workspace, project, folder / "export.json", progress)
        index = read_dialogue_index(workspace.turns, with_hashes=export is not None)
        store = stack.enter_context(AnnotationStore())
        staged = None
        if export is not None:
            _check_configurations(workspace)
            staged = stage_export(ExportReader(export), store, index, ontology, progress)
        with _writing(workspace), locked(workspace.annotations.parent / ".lock"):
            _load(workspace, store)
            if staged is not None:
                store.merge(staged.sha256)
            return _write(workspace, store, index, ontology, export, staged, policy, again, progress)


def _download(workspace: Workspace, project: str, path: Path, progress: Progress) -> Path:
    from annotate.gateway import connect

    gateway = connect(workspace.root)
    found = gateway.require_project(project)
    gateway.check_config(found)
    progress.log(f"exporting the project '{project}' from {gateway.url}")
    return gateway.download_export(found, path)


def _check_configurations(workspace: Workspace) -> None:
    """Refuse labels while the configuration of a batch is not as it was generated: its slots may mean other things."""
    for batch in read_batches(workspace.labelling):
        file = workspace.labelling / f"batch-{batch.number:04d}" / "label_config.xml"
        if not file.is_file() or sha256_file(file) != batch.config_sha256:
            what = "was edited by hand" if file.is_file() else "is missing"
            raise LabelError(
                f"the label configuration {what}",
                where=file,
                fix="put back the generated file; change slots and values in ontology.json and export a new batch",
            )


def _load(workspace: Workspace, store: AnnotationStore) -> None:
    store.load(read_annotations(workspace.annotations))
    if workspace.quarantine.exists():
        with open_table(workspace.quarantine, QUARANTINE) as file:
            store.load_quarantine(row for batch in file.iter_batches() for row in batch.to_pylist())


@contextmanager
def _writing(workspace: Workspace) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        where = problem.filename or workspace.root
        raise WorkspaceError(
            f"cannot write the labels: {problem.strerror or problem}", where=where, fix="mend that and run this again"
        ) from None


def _write(
    workspace: Workspace,
    store: AnnotationStore,
    index: Mapping[str, IndexedDialogue],
    ontology: Ontology,
    export: Path | None,
    staged: StagedExport | None,
    policy: PolicyName,
    again: frozenset[str],
    progress: Progress,
) -> IngestReport:
    """Write everything beside the artefacts in place, check it, and only then put it there, the manifest last."""
    folder = workspace.annotations.parent / ".incoming"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed: the lock says that no other one is at work
    places: dict[Path, Path] = {}

    def beside(place: Path) -> Path:
        places[folder / place.name] = place
        return folder / place.name

    try:
        if export is not None and staged is not None:
            raw = workspace.raw_exports / f"{staged.sha256}.json.gz"
            if not raw.is_file():
                keep_raw(export, staged.sha256, beside(raw))
        inputs = {"turns": sha256_file(workspace.turns), "ontology": ontology.sha256()}
        with open_writer(beside(workspace.quarantine), QUARANTINE) as rows:
            rows.write_all(store.quarantine("" if staged is None else staged.sha256))
        with open_writer(beside(workspace.annotations), ANNOTATIONS) as rows:
            rows.write_all(row for annotation in store.all() for row in annotation.rows())
        inputs["annotations"] = sha256_file(folder / workspace.annotations.name)
        states, d_f, d_p = beside(workspace.states), beside(workspace.d_f), beside(workspace.d_p)
        chosen = policy_of(policy, store.by_dialogue(), index, ontology, progress)
        findings, requeue = beside(workspace.findings), beside(workspace.requeue)
        refused = store.quarantine("")
        with checking(workspace, ontology, findings, refused=refused, requeue=again, inputs=inputs) as checks:
            totals = _write_states(states, d_f, d_p, store, index, ontology, chosen, checks, inputs, progress)
        write_atomic(requeue, checks.requeue_lines())
        report = _report(store, staged, totals, checks.counts(workspace))
        report.check(sum(len(dialogue.user_turns) for dialogue in index.values()))
        write_json(beside(workspace.label_ledger), report.as_json())
        counts = {"D_F": totals.d_f, "D_P": totals.d_p}
        write_json(beside(workspace.split_manifest), split_manifest(d_f, d_p, states, counts, inputs, ontology))
        for written, place in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            written.replace(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report


@dataclass
class _Totals:
    resolved: ResolvedCounts
    d_f: SplitCounts = field(default_factory=SplitCounts)
    d_p: SplitCounts = field(default_factory=SplitCounts)
    orphaned: int = 0
    out_of_catalogue: Counter[tuple[str, str]] = field(default_factory=Counter)


def _write_states(
    states: Path,
    d_f: Path,
    d_p: Path,
    store: AnnotationStore,
    index: Mapping[str, IndexedDialogue],
    ontology: Ontology,
    policy: Policy,
    checks: LabelChecks,
    inputs: Mapping[str, str],
    progress: Progress,
) -> _Totals:
    totals = _Totals(ResolvedCounts(policy))
    by_dialogue = store.by_dialogue()
    labelled_id, annotations = next(by_dialogue, ("", []))
    with (
        open_writer(states, STATES, inputs=inputs) as all_rows,
        open_writer(d_f, D_F, inputs=inputs) as full_rows,
        open_writer(d_p, D_P, inputs=inputs) as partial_rows,
    ):
        for dialogue_id, dialogue in progress.track(index.items(), "belief states", total=len(index)):
            while annotations and labelled_id < dialogue_id:
                totals.orphaned += len(annotations)
                checks.gone(labelled_id, annotations)
                labelled_id, annotations = next(by_dialogue, ("", []))
            said = annotations if labelled_id == dialogue_id else []
            resolution = resolve(said, dialogue.user_turns, ontology, policy)
            totals.resolved.add(resolution)
            store.mark_in_force(resolution.in_force)
            totals.orphaned += resolution.orphaned
            totals.out_of_catalogue.update(resolution.values_without_product(ontology))
            if not dialogue.user_turns:
                continue
            labelled = label_dialogue(dialogue_id, dialogue, resolution, ontology)
            checks.dialogue(dialogue_id, said, resolution, labelled.rows)
            all_rows.write_all(labelled.rows)
            (full_rows if labelled.complete else partial_rows).write_all(labelled.rows)
            (totals.d_f if labelled.complete else totals.d_p).add(dialogue.split, len(labelled.rows))
            if labelled_id == dialogue_id:
                labelled_id, annotations = next(by_dialogue, ("", []))
        while annotations:
            totals.orphaned += len(annotations)
            checks.gone(labelled_id, annotations)
            labelled_id, annotations = next(by_dialogue, ("", []))
    return totals


def _report(
    store: AnnotationStore, staged: StagedExport | None, totals: _Totals, checked: FindingCounts
) -> IngestReport:
    notices = {
        "value_not_in_catalogue": totals.out_of_catalogue.total(),
        "orphaned_annotations": totals.orphaned,
    }
    commonest = sorted(totals.out_of_catalogue.items(), key=lambda item: (-item[1], item[0]))[:_MOST_SHOWN]
    shared: dict[str, Any] = {
        "notices": notices,
        "out_of_catalogue": tuple((slot, value, count) for (slot, value), count in commonest),
        "d_f": totals.d_f,
        "d_p": totals.d_p,
        "checked": checked,
        "resolved": totals.resolved.as_json(),
    }
    if staged is None:
        accepted, superseded = store.corpus_counts()
        return IngestReport(None, accepted + superseded, accepted, superseded, **shared)
    accepted, superseded = store.counts()
    return IngestReport(
        staged.sha256,
        staged.received,
        accepted,
        superseded,
        skipped=staged.skipped,
        quarantined=staged.quarantined,
        refused_turns=staged.refused_turns,
        drafts=staged.drafts,
        **shared,
    )
