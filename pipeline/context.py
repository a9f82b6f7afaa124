"""What the global options say, handed to every command."""

from __future__ import annotations

import os
from dataclasses import dataclass

import typer

from pipeline.console import Console
from pipeline.workspace import Workspace

__all__ = ["JSON_OPTION", "Context", "first_process"]

JSON_OPTION = typer.Option("--json", help="Print exactly one JSON object to stdout.")


def first_process() -> bool:
    """Whether this process speaks for all that ``torchrun`` started; yes, when nothing did."""
    return os.environ.get("RANK", "0") == "0"


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
        return Console(as_json=as_json, quiet=self.quiet or not first_process())
