"""The workspace: one folder that holds everything a project knows, with a fixed place for each artefact."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import UsageError, WorkspaceError
from schemas.files import read_json, taken_apart, write_atomic
from schemas.safe_text import as_unicode

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from schemas.ontology import Ontology


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # with one slash, as a path makes one of two


def is_address(named: str | Path) -> bool:
    """Whether this names a place like ``s3://bucket/folder``, which is not on a disk of this machine."""
    return _ADDRESS.match(str(named)) is not None


class Place:
    """Where an artefact of a workspace lies: of a :class:`Workspace`, the path."""

    def __init__(self, below: str) -> None:
        self._below = below

    def __get__(self, workspace: Workspace, _: type) -> Path:
        return workspace.root / self._below


@dataclass(frozen=True)
class Workspace:
    """Paths of a workspace. Nothing is created by looking at one."""

    root: Path

    settings_file = Place("semctl.toml")
    ontology_file = Place("ontology.json")
    source = Place("source")
    products = Place("data/products.parquet")
    images = Place("data/images.parquet")
    turns = Place("data/turns.parquet")
    recommendations = Place("data/recommendations.parquet")
    import_manifest = Place("data/manifest.json")
    fetched_images = Place("data/fetched")
    fetched = Place("data/fetched.parquet")
    fetch_journal = Place("data/fetched.jsonl")
    labelling = Place("labelling")
    selection = Place("labelling/selection.txt")
    audit = Place("labelling/audit.txt")
    llm_replies = Place("labelling/llm")
    raw_exports = Place("labels/raw")
    annotations = Place("labels/annotations.parquet")
    quarantine = Place("labels/quarantine.parquet")
    page_corrections = Place("labels/page/corrections.jsonl")
    findings = Place("labels/findings.parquet")
    requeue = Place("labels/requeue.txt")
    states = Place("labels/states.parquet")
    pulls = Place("labels/pulls")
    ingests = Place("labels/ingests")
    label_ledger = Place("labels/ledger.json")
    d_f = Place("splits/D_F.parquet")
    d_p = Place("splits/D_P.parquet")
    split_manifest = Place("splits/manifest.json")
    features = Place("features")
    runs = Place("runs")
    judgements = Place("judgements")
    experiments = Place("experiments")
    reports = Place("reports")

    @classmethod
    def resolve(cls, folder: Path | None) -> Workspace:
        """The workspace named on the command line, else by ``SEMCTL_WORKSPACE``, else the current folder."""
        named = folder or (Path(os.environ["SEMCTL_WORKSPACE"]) if os.environ.get("SEMCTL_WORKSPACE") else Path())
        return cls(named if is_address(named) else named.resolve())

    def require(self) -> Workspace:
        """Itself, when it is a workspace."""
        self.require_path()
        if not self.settings_file.is_file():
            raise WorkspaceError(
                "not a semctl workspace: there is no semctl.toml in it",
                where=self.root,
                fix="name one with `semctl -w FOLDER`, or make one with `semctl -w FOLDER import ...`",
            )
        return self

    def require_path(self) -> None:
        """Refuse an address, and a path that is not UTF-8: Parquet's library opens no other."""
        if is_address(self.root):
            raise WorkspaceError(
                "a workspace is a folder of a disk, not an address",
                where=self.root,
                fix="name a folder; `semctl -w FOLDER import ADDRESS` reads a corpus from there",
            )
        if as_unicode(str(self.root)) != str(self.root):
            raise WorkspaceError("the path of a workspace must be UTF-8", where=self.root, fix="rename the folder")

    def create(self) -> Workspace:
        """Make the folder a workspace; one that is already is left as it is."""
        self.require_path()
        from pipeline.settings import SETTINGS_TEMPLATE

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not self.settings_file.exists():
                write_atomic(self.settings_file, SETTINGS_TEMPLATE)
        except OSError as problem:
            raise UsageError(f"cannot make a workspace here: {problem.strerror}", where=self.root) from None
        return self

    def settings(self) -> Settings:
        """The settings of ``semctl.toml``."""
        from pipeline.settings import Settings

        return Settings.read(self.require().settings_file)

    def ontology(self) -> Ontology:
        """The ontology of ``ontology.json``."""
        from schemas.ontology import Ontology

        return Ontology.read(self.ontology_file)


def check_vocabulary(workspace: Workspace) -> None:
    """Refuse states and splits older than a change of the ontology: what was renamed since would count as unknown.

    Raises:
        WorkspaceError: they are; or there are none.
    """
    again, manifest = "run `semctl ingest-labels` again", workspace.split_manifest
    said: Any = read_json(manifest, error=WorkspaceError, fix=again)
    with taken_apart(manifest, error=WorkspaceError, what="not a manifest of splits", fix=again):
        made_with = int(said.get("ontology_version", 0))  # manifests without it are older than all steps
    step = workspace.ontology().changed_since(made_with)
    if step is not None:
        what = f"the ontology has changed since the labels were ingested: {step}"
        raise WorkspaceError(what, where=workspace.split_manifest, fix=again)
