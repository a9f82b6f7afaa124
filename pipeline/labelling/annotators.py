"""Learns who annotators are from the server that they work on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from annotate.assignment.annotators import Annotators
from pipeline.labelling.assignment_record import read_assignments
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from annotate.label_studio.gateway import Gateway


def learn_annotators(workspace: Workspace, gateway: Gateway, projects: Mapping[int, str]) -> Annotators:
    """The known_annotators of the workspace with what this server says; not written yet."""
    assigned = {
        part.place: part.annotator
        for assignment in read_assignments(workspace.labelling)
        if not assignment.is_file
        for part in assignment.parts
    }
    known_annotators = Annotators.read(workspace.labelling)
    known_annotators.learn(
        gateway.url, gateway.users(), {number: assigned.get(title) for number, title in projects.items()}
    )
    return known_annotators
