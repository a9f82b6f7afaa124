"""Answers from Label Studio projects: what changed since the last pull, remembered in ``labels/pulls/``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotate.assignment.annotators import Annotators
from annotate.label_studio.gateway import Gateway, Project, connect
from annotate.label_studio.pull import PulledProject, PullState, project_key, pull_project
from pipeline.batches import Destination, read_batches
from pipeline.labelling.annotators import learn_annotators
from pipeline.labelling.assignment_record import projects_of
from pipeline.labelling.interface_versions import interface_versions_file, move_interface_versions
from pipeline.workspace import Workspace
from schemas.files import sha256_bytes, sha256_file
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
    """Hash of what decides how an answer is read; see :class:`annotate.label_studio.pull.PulledProject`."""
    parts = [str(_READER), workspace.ontology().sha256(), sha256_file(workspace.turns)]
    screens = interface_versions_file(workspace.labelling)
    if screens.is_file():
        parts.append(sha256_file(screens))
    return sha256_bytes(" ".join(parts).encode())


def _reviews(workspace: Workspace, titles: Collection[str]) -> list[Destination]:
    """Where answers of these projects are reviewed: verdicts of an ingest belong to the answers they decide."""
    batches = read_batches(workspace.labelling)
    labelled = {_dialogue(uid) for batch in batches if batch.destination.project in titles for uid in batch.uids}
    reviews = [batch for batch in batches if batch.role == "review" and batch.destination.project is not None]
    return list(
        dict.fromkeys(
            batch.destination for batch in reviews if not labelled.isdisjoint(_dialogue(uid) for uid in batch.uids)
        )
    )


def _dialogue(uid: str) -> str:
    return uid.rpartition("#")[0]


def state_path(workspace: Workspace, key: str) -> Path:
    """Where the pull state of a project is; see :func:`annotate.label_studio.pull.project_key`."""
    return workspace.pulls / f"{key}.json"


def pull_states(workspace: Workspace) -> list[PullState]:
    """What is known of every project ever pulled into this workspace."""
    return [state for path in sorted(workspace.pulls.glob("*.json")) if (state := PullState.read(path)) is not None]
