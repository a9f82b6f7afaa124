"""Where labels come from: an export file, projects of a Label Studio, or the corpus alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.annotations.migration import InterfaceVersions
from annotate.assignment.annotators import Annotators
from annotate.exports.annotation_store import AnnotationStore, Changes
from annotate.exports.identity import Identity
from annotate.exports.reader import ExportReader
from annotate.exports.staging import StagedExport, stage_export
from annotate.label_studio.pull import PulledProject, PullState, project_key
from pipeline.labelling.pulling import state_path
from pipeline.workspace import Workspace
from schemas.ontology import Ontology
from schemas.progress import Progress


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

    @property
    def is_corpus(self) -> bool:
        """Whether it takes only what the corpus brought."""
        return not self.exports and not self.pulled

    @property
    def drafts(self) -> Counter[str]:
        """Answers begun and not submitted; of a file only their number is known, under an empty name."""
        if self.pulled:
            return sum((project.drafts for project in self.pulled), Counter())
        return Counter({"": sum(staged.drafts for staged in self.exports)})

    def read_file(
        self,
        path: Path,
        store: AnnotationStore,
        index: Mapping[str, IndexedDialogue],
        ontology: Ontology,
        progress: Progress,
        *,
        server: str | None = None,
    ) -> None:
        """Stage an export file. A file never tells what is gone: it may hold a part of a project."""
        staged = stage_export(ExportReader(path), store, index, ontology, progress, screens=self.screens, server=server)
        self.exports.append(staged)

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
                reader = ExportReader(project.export, shown=f"{project.url}/projects/{project.project.id}")
                first = project.before is None
                staged = stage_export(
                    reader,
                    store,
                    index,
                    ontology,
                    progress,
                    of_this_workspace=first,
                    screens=self.screens,
                    server=project.url,
                )
                self.exports.append(staged)
            store.expect(name for seen in project.kept().values() for name in seen.annotations)

    def merge(self, store: AnnotationStore, progress: Progress) -> None:
        """Lay what was staged over what the workspace holds, which the store has loaded."""
        if self.is_corpus:
            return
        for project in self.pulled:
            if project.before is not None and project.before.url != project.url:
                store.move(project.before.url, project.url, str(project.project.id))
        self.changes = store.merge(Identity(store, self.known_annotators, progress), from_server=bool(self.pulled))
        for project in self.pulled:
            heard = store.heard(str(project.project.id))
            export = next((staged.sha256 for staged in self.exports if staged.path == project.export), None)
            self.changes.withdrawn += store.withdraw(project.vanished(heard), export)
            self.states[project_key(project.project)] = project.state(heard)
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
            "changes": None if self.is_corpus else self.changes.as_json(),
            "drafts": self.drafts.total(),
            "drafts_by": {name: count for name, count in sorted(self.drafts.items()) if name},
            "pulled": [
                {
                    "project": project.project.title,
                    "id": project.project.id,
                    "url": project.url,
                    "looked_at": project.look,
                    "tasks": project.tasks,
                    "tasks_fetched": len(project.fetched),
                    "tasks_deleted": len(project.deleted),
                    "drafts": dict(sorted(project.drafts.items())),
                }
                for project in self.pulled
            ],
        }
