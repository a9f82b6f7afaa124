"""Ingest: what annotators marked becomes checked belief states, keyed to the catalogue, and the splits D_F and D_P.

An export is read task by task; what cannot be used is quarantined with a reason, and a ledger accounts for every
annotation received: accepted, quarantined, skipped or superseded. Everything in the workspace's
``annotations.parquet``, whatever export it came with, goes into the states. The same annotations give the same bytes.
What the page of ``semctl serve`` has kept is taken in each time, its conversations into ``turns.parquet``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from annotate.annotations.annotation import PAGE, is_of_page, read_annotations
from annotate.annotations.dialogue_index import IndexedDialogue, read_dialogue_index
from annotate.assignment.annotators import Annotators
from annotate.exports.annotation_store import AnnotationStore
from annotate.exports.reader import ExportReader, keep_raw
from annotate.exports.staging import stage_export
from annotate.label_studio.plain_http import server_address
from annotate.resolution.answers import standing_annotations
from annotate.resolution.policies import PolicyName
from annotate.states.splits import split_manifest
from pipeline.batches import batch_folder, read_batches
from pipeline.labelling.checks import checking, requeue_codes
from pipeline.labelling.ingest_history import keep_ingest
from pipeline.labelling.ingest_report import IngestReport, report_of, write_states
from pipeline.labelling.live_configuration import read_interface_versions
from pipeline.labelling.page_corrections import PageLabels, read_kept, without_held_out, write_turns
from pipeline.labelling.resolution_policy import answered_dialogues, policy_name, policy_of
from pipeline.labelling.sources import LabelSource, Pull
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError, WorkspaceError
from schemas.files import locked, sha256_file, temporary_folder, write_atomic, write_json
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress
from schemas.tables import ANNOTATIONS, QUARANTINE, open_table, open_writer

__all__ = ["IngestReport", "IngestRequest", "ingest_labels"]


@dataclass(frozen=True)
class IngestRequest:
    """What to take in. Without export and project only what the corpus brought is taken."""

    export: Path | None = None  # a JSON export of Label Studio, or its gzip
    # address of the Label Studio that the export is from: users of one server are the same people, whatever export
    # names them; without it only those exports are known to be of one server that share an answer
    server: str | None = None
    # names of projects, or of work assigned over several: what changed there since the last pull, and in the reviews of
    # their answers, is fetched now, and what is gone there is withdrawn
    projects: tuple[str, ...] = ()
    full: bool = False  # fetch all answers of the projects anew
    # how several people's answers become one; None takes the setting ``labelling.resolve``
    resolve_by: str | None = None
    # codes of findings that put a dialogue up for labelling again, with commas between; None takes the setting
    # ``labelling.requeue``
    requeue: str | None = None

    def __post_init__(self) -> None:
        if self.export is not None and self.projects:
            raise UsageError("an export file and --project were both given", fix="name one of the two")
        if self.server is not None and self.export is None:
            raise UsageError("--server was given without an export file", fix="name the file, or leave --server out")
        if self.full and not self.projects:
            raise UsageError("--full was given without --project", fix="name the project to pull")


def ingest_labels(workspace: Workspace, request: IngestRequest, *, progress: Progress | None = None) -> IngestReport:
    """Take labels in and write annotations, quarantine, raw export, states, splits, ledger and, last, the manifest.

    Raises:
        InputError: the export, the label configuration, a table or the ontology cannot be used; nothing is written.
        ServiceError: Label Studio is down or refuses the key.
        CheckError: the ledger does not add up; nothing is written.
    """
    progress = progress or SilentProgress()
    export, names = request.export, request.projects
    server = None if request.server is None else _address(request.server)
    policy = policy_name(request.resolve_by, workspace.require().settings().labelling.resolve)
    again = requeue_codes(workspace, request.requeue)
    ontology = workspace.ontology()
    with ExitStack() as stack:
        stack.enter_context(_writing(workspace))
        source = LabelSource(
            screens=read_interface_versions(workspace.labelling), known_annotators=Annotators.read(workspace.labelling)
        )
        taking_in = export is not None or bool(names)
        if taking_in:
            _check_configurations(workspace)
        lock = locked(workspace.annotations.parent / ".lock")
        if names:
            pulling = Pull.of(workspace, names)  # before anything is written, see whether the server is there
            source.known_annotators = pulling.known_annotators()
        stack.enter_context(lock)
        if names:
            incoming = stack.enter_context(temporary_folder(workspace.annotations.parent / "pulled"))
            pulled = pulling.fetch(incoming, whole=request.full, progress=progress)
            source.screens = read_interface_versions(workspace.labelling)  # they move with their server
        turns, index = workspace.turns, read_dialogue_index(workspace.turns, with_hashes=taking_in)
        kept = read_kept(workspace.page_corrections)
        if kept.corrections or any(map(is_of_page, index)):
            kept = without_held_out(kept, turns)
            beside = stack.enter_context(temporary_folder(turns)) / turns.name
            if write_turns(kept, turns, beside):
                turns, index = beside, read_dialogue_index(beside, with_hashes=taking_in)
        store = stack.enter_context(AnnotationStore())
        if export is not None:
            # it never tells what is gone: it may hold a part of a project
            reader = ExportReader(export)
            staged = stage_export(reader, store, index, ontology, progress, screens=source.screens, server=server)
            source.exports.append(staged)
        if names:
            source.read_projects(pulled, store, index, ontology, progress)
        # what was stored under a number gets the name that is known by now, or it would count as somebody else's
        store.load(map(source.known_annotators.named, read_annotations(workspace.annotations)))
        if kept.corrections or kept.dropped or store.of_server(PAGE):
            source.page = PageLabels.stage(workspace.page_corrections, kept, store, ontology)
        source.merge(store, progress)
        if workspace.quarantine.exists():
            with open_table(workspace.quarantine, QUARANTINE) as file:
                store.load_quarantine(row for batch in file.iter_batches() for row in batch.to_pylist())
        report = _write(workspace, turns, store, index, ontology, source, policy, again, progress)
        keep_ingest(workspace, report, ontology)
        source.remember(workspace)
        return report


def _address(server: str) -> str:
    """The address of a server as pulls write it."""
    parts = urlsplit(server_address(server))
    return parts._replace(netloc=parts.netloc.lower()).geturl()


def _check_configurations(workspace: Workspace) -> None:
    """Refuse labels while the configuration of a batch is not as it was generated: its slots may mean other things."""
    for batch in read_batches(workspace.labelling):
        file = batch_folder(workspace.labelling, batch.number) / "label_config.xml"
        if not file.is_file() or sha256_file(file) != batch.config_sha256:
            what = "was edited by hand" if file.is_file() else "is missing"
            raise LabelError(
                f"the label configuration {what}",
                where=file,
                fix="put back the generated file; change slots and values with `semctl ontology`",
            )


@contextmanager
def _writing(workspace: Workspace) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        where = problem.filename or workspace.root
        raise WorkspaceError(
            f"cannot write the labels: {problem.strerror or problem}", where=where, fix="repair that and run this again"
        ) from None
    except sqlite3.Error as problem:
        raise WorkspaceError(
            f"cannot keep annotations aside: {problem}",
            where="the folder for temporary files",
            fix="make room there, or set TMPDIR to another folder; then run this again",
        ) from None


def _write(
    workspace: Workspace,
    turns: Path,
    store: AnnotationStore,
    index: Mapping[str, IndexedDialogue],
    ontology: Ontology,
    source: LabelSource,
    policy: PolicyName,
    again: frozenset[str],
    progress: Progress,
) -> IngestReport:
    """Write everything beside the artefacts in place, check it, and only then put it there, the manifest last."""
    places: dict[Path, Path] = {} if turns == workspace.turns else {turns: workspace.turns}
    with temporary_folder(workspace.annotations.parent / "incoming") as folder:

        def beside(place: Path) -> Path:
            places[folder / place.name] = place
            return folder / place.name

        for staged in source.exports:
            raw = workspace.raw_exports / f"{staged.sha256}.json.gz"
            if not raw.is_file():
                keep_raw(staged.path, staged.sha256, beside(raw))
        inputs = {"turns": sha256_file(turns), "ontology": ontology.sha256()}
        with open_writer(beside(workspace.quarantine), QUARANTINE) as rows:
            rows.write_all(store.quarantine())
        # which annotations count: the table says so, and it is written before the states made of it
        for _, said, at in progress.track(answered_dialogues(store, index, ontology), "answers in force"):
            store.mark_in_force(standing_annotations(said, at))
        with open_writer(beside(workspace.annotations), ANNOTATIONS) as rows:
            rows.write_all(row for each, counts in store.all_standing() for row in each.rows(in_force=counts))
        inputs["annotations"] = sha256_file(folder / workspace.annotations.name)
        states, d_f, d_p = beside(workspace.states), beside(workspace.d_f), beside(workspace.d_p)
        chosen = policy_of(policy, answered_dialogues(store, index, ontology), ontology, progress)
        findings, requeue = beside(workspace.findings), beside(workspace.requeue)
        refused = store.quarantine()
        with checking(workspace, turns, ontology, findings, refused=refused, requeue=again, inputs=inputs) as checks:
            counts = write_states(states, d_f, d_p, store, index, ontology, chosen, checks, inputs, progress)
        write_atomic(requeue, checks.requeue_lines())
        report = report_of(source, store, counts, checks.counts(workspace))
        report.check(sum(len(dialogue.user_turns) for dialogue in index.values()))
        write_json(beside(workspace.label_ledger), report.ledger())
        splits = {"D_F": counts.d_f, "D_P": counts.d_p}
        write_json(beside(workspace.split_manifest), split_manifest(d_f, d_p, states, splits, inputs, ontology))
        for written, place in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            written.replace(place)
    return report
