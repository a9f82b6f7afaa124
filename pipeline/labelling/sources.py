"""Where labels come from: an export file, projects of a Label Studio, or the corpus alone.

Of projects what changed since the last pull is fetched, which is remembered in ``labels/pulls/``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotate.annotations.annotation import PAGE
from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.annotations.migration import InterfaceVersions
from annotate.assignment.annotators import Annotators
from annotate.exports.annotation_store import AnnotationStore, Changes
from annotate.exports.identity import Identity
from annotate.exports.reader import ExportReader
from annotate.exports.staging import StagedExport, stage_export
from annotate.label_studio.gateway import Gateway, Project, connect
from annotate.label_studio.pull import PulledProject, PullState, project_key, pull_project
from pipeline.batches import Destination, dialogue_of, read_batches
from pipeline.labelling.assignment_record import learn_annotators, projects_of
from pipeline.labelling.live_configuration import interface_versions_file, move_interface_versions
from pipeline.labelling.page_corrections import PageLabels
from pipeline.workspace import Workspace
from schemas.files import sha256_bytes, sha256_file
from schemas.ontology import Ontology
from schemas.progress import Progress

_READER = 2
"""Goes up when answers are read differently by a newer semctl."""


@dataclass(frozen=True)
class Pull:
    """Projects about to be pulled; made by :meth:`of`, which changes nothing."""

    workspace: Workspace
    gateway: Gateway
    projects: tuple[Project, ...]

    @classmethod
    def of(cls, workspace: Workspace, names: Sequence[str]) -> Pull:
        """The projects of these names, all those over which work of such a name was assigned, and their reviews."""
        gateway = connect(workspace.root)
        titles = dict.fromkeys(title for name in names for title in projects_of(workspace.labelling, name))
        found = {project.id: project for project in map(gateway.require_project, titles)}
        for review in _reviews(workspace, titles):
            project = gateway.find_project(str(review.project))
            if project is not None and project.id == review.project_id:
                found[project.id] = project
        for project in found.values():
            gateway.check_config(project)
        return cls(workspace, gateway, tuple(found.values()))

    def known_annotators(self) -> Annotators:
        """Who annotators are, with what this server says."""
        return learn_annotators(self.workspace, self.gateway, {project.id: project.title for project in self.projects})

    def fetch(self, folder: Path, *, whole: bool, progress: Progress) -> list[PulledProject]:
        """Fetch what changed since the last pull."""
        before = {
            project.id: PullState.read(state_path(self.workspace, project_key(project))) for project in self.projects
        }
        for number, state in before.items():
            if state is not None and state.url != self.gateway.url:
                move_interface_versions(self.workspace.labelling, number, state.url, self.gateway.url)
        reading = _reading(self.workspace)
        pulled = []
        for project in self.projects:
            progress.log(f"reading the project '{project.title}' of {self.gateway.url}")
            export = folder / f"{project.id}.json"
            seen = before[project.id]
            pulled.append(
                pull_project(self.gateway, project, seen, export, reading=reading, whole=whole, progress=progress)
            )
        return pulled


def _reading(workspace: Workspace) -> str:
    """Hash of what decides how an answer is read; see :class:`annotate.label_studio.pull.PullState`."""
    parts = [str(_READER), workspace.ontology().sha256(), sha256_file(workspace.turns)]
    screens = interface_versions_file(workspace.labelling)
    if screens.is_file():
        parts.append(sha256_file(screens))
    return sha256_bytes(" ".join(parts).encode())


def _reviews(workspace: Workspace, titles: Collection[str]) -> list[Destination]:
    """Where answers of these projects are reviewed: verdicts of an ingest belong to the answers they decide."""
    batches = read_batches(workspace.labelling)
    labelled = {dialogue_of(uid) for batch in batches if batch.destination.project in titles for uid in batch.uids}
    reviews = [batch for batch in batches if batch.role == "review" and batch.destination.project is not None]
    return list(
        dict.fromkeys(
            batch.destination for batch in reviews if not labelled.isdisjoint(dialogue_of(uid) for uid in batch.uids)
        )
    )


def state_path(workspace: Workspace, key: str) -> Path:
    """Where the pull state of a project is; see :func:`annotate.label_studio.pull.project_key`."""
    return workspace.pulls / f"{key}.json"


def pull_states(workspace: Workspace) -> list[PullState]:
    """What is known of every project ever pulled into this workspace."""
    return [state for path in sorted(workspace.pulls.glob("*.json")) if (state := PullState.read(path)) is not None]


@dataclass
class LabelSource:
    """What an ingest takes in."""

    # what was read, one export for each file and project that had something to give
    exports: list[StagedExport] = field(default_factory=list)
    pulled: Sequence[PulledProject] = ()  # the projects, when it was pulled
    changes: Changes = field(default_factory=Changes)  # what arrived against what the workspace held; known once merged
    # what the next pull of each project starts from; known once merged
    states: dict[str, PullState] = field(default_factory=dict)
    # since when the screens of projects offer a newer ontology than their tasks were made with
    screens: InterfaceVersions = field(default_factory=InterfaceVersions)
    known_annotators: Annotators = field(default_factory=Annotators)
    page: PageLabels | None = None  # corrections kept by the page, if there are any

    @property
    def staged(self) -> list[StagedExport]:
        """What arrived, whatever it came with."""
        return self.exports if self.page is None else [*self.exports, self.page.staged]

    @property
    def is_corpus(self) -> bool:
        """Whether it takes what the corpus brought, and beside it only what the page has kept."""
        return not self.exports and not self.pulled

    @property
    def drafts(self) -> Counter[str]:
        """Answers begun and not submitted; of a file only their number is known, under an empty name."""
        if self.pulled:
            return sum((project.drafts for project in self.pulled), Counter())
        return Counter({"": sum(staged.drafts for staged in self.exports)})

    def read_projects(
        self,
        pulled: Sequence[PulledProject],
        store: AnnotationStore,
        index: Mapping[str, IndexedDialogue],
        ontology: Ontology,
        progress: Progress,
    ) -> None:
        """Stage what was pulled."""
        self.pulled = pulled
        for project in pulled:
            if project.export is not None:
                reader = ExportReader(project.export, shown=f"{project.seen.url}/projects/{project.project.id}")
                first = project.before is None
                staged = stage_export(
                    reader,
                    store,
                    index,
                    ontology,
                    progress,
                    of_this_workspace=first,
                    screens=self.screens,
                    server=project.seen.url,
                )
                self.exports.append(staged)
            store.expect(name for task in project.seen.answered.values() for name in task.annotations)

    def merge(self, store: AnnotationStore, progress: Progress) -> None:
        """Lay what was staged over what the workspace holds, which the store has loaded."""
        if self.is_corpus and self.page is None:
            return
        for project in self.pulled:
            if project.before is not None and project.before.url != project.seen.url:
                store.move(project.before.url, project.seen.url, str(project.project.id))
        self.changes = store.merge(Identity(store, self.known_annotators, progress), from_server=bool(self.pulled))
        for project in self.pulled:
            heard = store.heard(str(project.project.id))
            export = next((staged.sha256 for staged in self.exports if staged.path == project.export), None)
            self.changes.withdrawn += store.withdraw(project.vanished(heard), export)
            self.states[project_key(project.project)] = project.state(heard)
        if self.page is not None:
            there = {one.annotation_id for one in store.of_server(PAGE)}
            self.changes.withdrawn += store.withdraw(sorted(there - self.page.names), None)
        self.changes.unchanged = store.standing() - self.changes.new - self.changes.changed

    def remember(self, workspace: Workspace) -> None:
        """Write what the next pull starts from; the last thing an ingest does."""
        for key, state in self.states.items():
            path = state_path(workspace, key)
            if PullState.read(path) != state:
                state.write(path)
        if self.pulled:
            self.known_annotators.write(workspace.labelling)

    def as_json(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "exports": [staged.sha256 for staged in self.exports],
            "page": None if self.page is None else self.page.as_json(),
            "changes": None if self.is_corpus and self.page is None else self.changes.as_json(),
            "drafts": self.drafts.total(),
            "drafts_by": {name: count for name, count in sorted(self.drafts.items()) if name},
            "pulled": [
                {
                    "project": project.project.title,
                    "id": project.project.id,
                    "url": project.seen.url,
                    "looked_at": project.look,
                    "tasks": project.seen.tasks,
                    "tasks_fetched": len(project.fetched),
                    "tasks_deleted": len(project.deleted),
                    "drafts": dict(sorted(project.drafts.items())),
                }
                for project in self.pulled
            ],
        }
