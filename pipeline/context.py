"""What the global options say, handed to every command."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from pipeline.console import Console
from pipeline.workspace import Workspace

__all__ = ["JSON_OPTION", "Context"]

JSON_OPTION = typer.Option("--json", help="Print exactly one JSON object to stdout.")


@dataclass
class Context:
    """Global options: the workspace, quietness, debugging."""

    workspace: Workspace
    quiet: bool = False
    debug: bool = False
    as_json: bool = False

    def console(self, *, as_json: bool) -> Console:
        """The console of this command; remembers ``--json`` for errors raised later."""
        self.as_json = as_json
        return Console(as_json=as_json, quiet=self.quiet)
