"""``semctl doctor``: what is wrong with this machine, this workspace or that Label Studio, each with the fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.doctor.machine import Finding, Level, examine_machine
from pipeline.doctor.server import examine_server
from pipeline.doctor.space import examine_workspace
from pipeline.workspace import Workspace
from schemas.progress import Progress, SilentProgress

__all__ = ["Finding", "Level", "examine"]


def examine(workspace: Workspace, environment: Mapping[str, str], progress: Progress | None = None) -> list[Finding]:
    """Look at everything; changes nothing."""
    findings: list[Finding] = []
    with (progress or SilentProgress()).task("examining", total=3) as task:
        for area, found in _areas(workspace, environment):
            findings += found
            task.advance(note=area)
    return findings


def _areas(workspace: Workspace, environment: Mapping[str, str]) -> Iterator[tuple[str, list[Finding]]]:
    folder = next((path for path in (workspace.root, *workspace.root.parents) if path.is_dir()), Path.cwd())
    yield "machine", examine_machine(folder)
    yield "workspace", examine_workspace(workspace)
    yield "Label Studio", examine_server(workspace, environment)
