"""The stages of the work in their order, each with the artefacts of the workspace that it reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.workspace import Workspace

_DATA = ("products", "images", "turns", "recommendations")


@dataclass(frozen=True)
class Stage:
    """A command that makes artefacts of a workspace out of others; all are named as :class:`Workspace` has them."""

    command: str  # its name
    reads: tuple[str, ...]  # what has to be there
    writes: tuple[str, ...]  # what is there afterwards; a manifest comes last
    # that of ``writes`` which names the hashes of the others in its folder; None when there is none
    manifest: str | None = None

    def outputs(self, workspace: Workspace) -> Iterator[Path]:
        """Where it writes to."""
        return (getattr(workspace, name) for name in self.writes)


STAGES = (
    Stage("import", (), ("settings_file", *_DATA, "ontology_file", "import_manifest"), "import_manifest"),
    Stage("select", ("turns", "ontology_file"), ("selection",)),
    Stage("export-for-labelling", ("turns", "images", "ontology_file"), ("labelling",)),
    Stage(
        "ingest-labels",
        ("turns", "ontology_file"),
        ("annotations", "quarantine", "findings", "requeue", "label_ledger", "states", "d_f", "d_p", "split_manifest"),
        "split_manifest",
    ),
    Stage("audit", ("products", "turns", "ontology_file", "findings", "states", "split_manifest"), ("audit",)),
    Stage("train", (*_DATA, "ontology_file", "d_f", "d_p", "split_manifest"), ("runs",)),
    Stage("evaluate", (*_DATA, "runs"), ("runs",)),
    Stage("recommend", (*_DATA, "runs"), ()),
)


def find_stage(command: str) -> Stage:
    """The stage of a command."""
    return next(stage for stage in STAGES if stage.command == command)


def maker_of(artefact: str) -> Stage:
    """The stage that an artefact, a name of :class:`Workspace`, comes from."""
    return next(stage for stage in STAGES if artefact in stage.writes)
