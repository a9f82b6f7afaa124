"""The workspace: one folder that holds everything a project knows, with a fixed place for each artefact."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import UsageError, WorkspaceError
from schemas.files import write_atomic
from schemas.safe_text import as_unicode

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from schemas.ontology import Ontology


@dataclass(frozen=True)
class Workspace:
    """Paths of a workspace. Nothing is created by looking at one."""

    root: Path

    @classmethod
    def resolve(cls, folder: Path | None) -> Workspace:
        """The workspace named on the command line, else by ``SEMCTL_WORKSPACE``, else the current folder."""
        named = folder or (Path(os.environ["SEMCTL_WORKSPACE"]) if os.environ.get("SEMCTL_WORKSPACE") else Path())
        return cls(named.resolve())

    def require(self) -> Workspace:
        """Itself, when it is a workspace."""
        self.require_unicode()
        if not self.settings_file.is_file():
            raise WorkspaceError(
                "not a semctl workspace: there is no semctl.toml in it",
                where=self.root,
                fix="name one with `semctl -w FOLDER`, or make one with `semctl -w FOLDER import ...`",
            )
        return self

    def require_unicode(self) -> None:
        """Refuse a path that is not UTF-8: Parquet's library opens no other."""
        if as_unicode(str(self.root)) != str(self.root):
            raise WorkspaceError("the path of a workspace must be UTF-8", where=self.root, fix="rename the folder")

    def create(self) -> Workspace:
        """Make the folder a workspace; one that is already is left as it is."""
        self.require_unicode()
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

    @property
    def settings_file(self) -> Path:
        return self.root / "semctl.toml"

    @property
    def ontology_file(self) -> Path:
        return self.root / "ontology.json"

    @property
    def products(self) -> Path:
        return self.root / "data" / "products.parquet"

    @property
    def images(self) -> Path:
        return self.root / "data" / "images.parquet"

    @property
    def turns(self) -> Path:
        return self.root / "data" / "turns.parquet"

    @property
    def recommendations(self) -> Path:
        return self.root / "data" / "recommendations.parquet"

    @property
    def import_manifest(self) -> Path:
        return self.root / "data" / "manifest.json"

    @property
    def labelling(self) -> Path:
        return self.root / "labelling"

    @property
    def selection(self) -> Path:
        return self.root / "labelling" / "selection.txt"

    @property
    def raw_exports(self) -> Path:
        return self.root / "labels" / "raw"

    @property
    def annotations(self) -> Path:
        return self.root / "labels" / "annotations.parquet"

    @property
    def quarantine(self) -> Path:
        return self.root / "labels" / "quarantine.parquet"

    @property
    def findings(self) -> Path:
        return self.root / "labels" / "findings.parquet"

    @property
    def requeue(self) -> Path:
        return self.root / "labels" / "requeue.txt"

    @property
    def states(self) -> Path:
        return self.root / "labels" / "states.parquet"

    @property
    def pulls(self) -> Path:
        return self.root / "labels" / "pulls"

    @property
    def ingests(self) -> Path:
        return self.root / "labels" / "ingests"

    @property
    def label_ledger(self) -> Path:
        return self.root / "labels" / "ledger.json"

    @property
    def d_f(self) -> Path:
        return self.root / "splits" / "D_F.parquet"

    @property
    def d_p(self) -> Path:
        return self.root / "splits" / "D_P.parquet"

    @property
    def split_manifest(self) -> Path:
        return self.root / "splits" / "manifest.json"

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def runs(self) -> Path:
        return self.root / "runs"
