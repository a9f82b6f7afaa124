"""The projects on the server that this workspace labels in, and their label configurations.

``labelling/screens.json`` tells since when the screen of a project offers which version of the ontology.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from annotate.adjudication.review_tasks import review_instruction
from annotate.annotations.annotation import moment
from annotate.annotations.migration import InterfaceVersions, Switch
from annotate.tasks import label_config as labels
from annotate.tasks.guidelines import guideline_html
from pipeline.batches import Batch
from pipeline.settings import LabellingSettings
from schemas.errors import LabelError
from schemas.files import read_json, taken_apart, write_json
from schemas.ontology import Ontology

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway, Project


ProjectState = Literal["current", "to update", "updated", "gone", "offline"]
"""Offline: the server was not asked."""


def interface_versions_file(labelling: Path) -> Path:
    """Where the changes are noted."""
    return labelling / "screens.json"


def read_interface_versions(labelling: Path) -> InterfaceVersions:
    """All changes of screens; none when no file says so."""
    found: dict[tuple[str, str], list[Switch]] = {}
    for entry in _read(labelling):
        switch = Switch(entry["since"], entry["ontology_version"])
        found.setdefault((str(entry.get("url", "")), str(entry["project_id"])), []).append(switch)
    return InterfaceVersions(found)


def note_interface_version(labelling: Path, project_id: int, url: str, version: int, batches: Sequence[Batch]) -> None:
    """Note that a project's screen offers a version now, when it holds tasks made with an older one."""
    made_with = [
        batch.ontology_version
        for batch in batches
        if batch.destination.project_id == project_id and batch.destination.url in (None, url)
    ]
    entries = _read(labelling)
    known = [
        entry["ontology_version"]
        for entry in entries
        if entry["project_id"] == project_id and entry.get("url", url) == url
    ]
    if not made_with or max([min(made_with), *known]) >= version:
        return
    since = moment(datetime.now(UTC))
    entries.append({"project_id": project_id, "url": url, "ontology_version": version, "since": since})
    write_json(interface_versions_file(labelling), {"semctl_schema": 1, "screens": entries})


def move_interface_versions(labelling: Path, project_id: int, url: str, now: str) -> None:
    """Note that a project's server is found at another address by now."""
    entries = _read(labelling)
    moved = [
        {**entry, "url": now} if (entry["project_id"], entry.get("url")) == (project_id, url) else entry
        for entry in entries
    ]
    if moved != entries:
        write_json(interface_versions_file(labelling), {"semctl_schema": 1, "screens": moved})


def _read(labelling: Path) -> list[dict[str, Any]]:
    path = interface_versions_file(labelling)
    if not path.is_file():
        return []
    value = read_json(path, error=LabelError)
    with taken_apart(path, error=LabelError, what="not a record of screens", fix="put it back from a backup"):
        entries: list[dict[str, Any]] = list(value["screens"])
        for entry in entries:
            datetime.fromisoformat(entry["since"])
            if not isinstance(entry["ontology_version"], int) or not isinstance(entry["project_id"], int):
                raise TypeError("a number is no number")
    return entries


@dataclass(frozen=True)
class LiveProject:
    """A project that tasks of this workspace were pushed to."""

    title: str  # its name when they were
    project_id: int
    url: str
    role: str = "label"
    state: ProjectState = "offline"  # how its configuration stands to the ontology

    def as_json(self) -> dict[str, object]:
        return {"project": self.title, "project_id": self.project_id, "url": self.url, "state": self.state}


def known_projects(batches: Sequence[Batch]) -> list[LiveProject]:
    """The projects that manifests name, each once; as its newest batch names it."""
    found: dict[int, LiveProject] = {}
    for batch in batches:
        to = batch.destination
        if to.project is not None and to.project_id is not None:
            found[to.project_id] = LiveProject(to.project, to.project_id, to.url or "", batch.role)
    return [found[number] for number in sorted(found)]


def configuration(ontology: Ontology, settings: LabellingSettings, *, review: bool = False) -> labels.LabelConfig:
    """The label configuration of an ontology, within the workspace's limits; ``review`` for the screen of reviewers."""
    return labels.build(
        ontology, max_values_per_slot=settings.max_values_per_slot, max_choices=settings.max_choices, review=review
    )


def _instruction(project: LiveProject, ontology: Ontology) -> str:
    """What people read under Instructions in a project, as HTML."""
    return review_instruction(ontology) if project.role == "review" else guideline_html(ontology)


def check_projects(
    gateway: Gateway, projects: Sequence[LiveProject], configs: Mapping[str, labels.LabelConfig], ontology: Ontology
) -> list[tuple[LiveProject, Project | None]]:
    """See which projects need the configuration or the guideline, and that the server would take it; changes nothing.

    A project counts as the one a manifest names when its number and its name, or its number and the server, are the
    same: other servers have projects of that number, too.
    """
    there = gateway.projects_numbered(sorted({project.project_id for project in projects}))
    found: list[tuple[LiveProject, Project | None]] = []
    for known in projects:
        listed = there.get(known.project_id)
        if listed is None or (listed.title != known.title and known.url.rstrip("/") != gateway.url):
            found.append((replace(known, state="gone"), None))
            continue
        project = gateway.project(known.project_id)
        gateway.check_config(project)
        config = configs[known.role]
        if project.is_current(config, _instruction(known, ontology)):
            found.append((replace(known, state="current"), project))
        else:
            gateway.try_config(project, config)
            found.append((replace(known, state="to update"), project))
    return found


def update_projects(
    gateway: Gateway,
    checked: Sequence[tuple[LiveProject, Project | None]],
    configs: Mapping[str, labels.LabelConfig],
    ontology: Ontology,
    labelling: Path,
    batches: Sequence[Batch],
    done: Callable[[LiveProject], None] = lambda _: None,
) -> list[LiveProject]:
    """Give every project that needs it the configuration, and note since when its screen is of this version."""
    found = []
    for known, project in checked:
        state = known.state
        if project is not None:
            if state == "to update":
                gateway.change_config(project, configs[known.role], _instruction(known, ontology))
                state = "updated"
            note_interface_version(labelling, project.id, gateway.url, ontology.version, batches)
        found.append(replace(known, state=state))
        done(found[-1])
    return found
