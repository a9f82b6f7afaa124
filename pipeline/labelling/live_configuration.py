"""The projects on the server that this workspace labels in, and their label configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from annotate.adjudication.review_tasks import review_instruction
from annotate.tasks import label_config as labels
from annotate.tasks.guidelines import guideline_html
from pipeline.batches import Batch
from pipeline.labelling.interface_versions import note_interface_version
from pipeline.settings import LabellingSettings
from schemas.ontology import Ontology

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway, Project

ProjectState = Literal["current", "to update", "updated", "gone", "offline"]
"""Offline: the server was not asked."""


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
