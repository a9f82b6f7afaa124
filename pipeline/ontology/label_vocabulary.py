"""Whether the labels made by the last ingest are in the names that the ontology has now."""

from __future__ import annotations

from typing import Any

from pipeline.workspace import Workspace
from schemas.errors import WorkspaceError
from schemas.files import read_json, taken_apart

_AGAIN = "run `semctl ingest-labels` again"


def check_vocabulary(workspace: Workspace) -> None:
    """Refuse states and splits older than a change of the ontology: what was renamed since would count as unknown.

    Raises:
        WorkspaceError: they are; or there are none.
    """
    manifest = workspace.split_manifest
    said: Any = read_json(manifest, error=WorkspaceError, fix=_AGAIN)
    with taken_apart(manifest, error=WorkspaceError, what="not a manifest of splits", fix=_AGAIN):
        made_with = int(said.get("ontology_version", 0))  # manifests without it are older than all steps
    step = workspace.ontology().changed_since(made_with)
    if step is not None:
        what = f"the ontology has changed since the labels were ingested: {step}"
        raise WorkspaceError(what, where=workspace.split_manifest, fix=_AGAIN)
