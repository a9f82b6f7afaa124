"""The one error tree of semctl.

    SemctlError
     |- InputError            exit 2   something the user gave cannot be used
     |   |- UsageError                 an option or setting that does not fit
     |   |- WorkspaceError             a folder that is not a workspace, or an artefact missing from it
     |   |- CorpusError                dialogues, catalogue or images that cannot be read
     |   |- SchemaError                a Parquet file of another schema or version
     |   |- OntologyError              an unknown slot, or an ontology edited into something invalid
     |   |- LabelError                 an export, a label configuration or annotations that do not fit this workspace
     |   |- ModelError                 a run, a checkpoint, weights or features that cannot be used
     |   `- MissingPartError           an optional part (weights, server, browser, package) is not there
     |- CheckError            exit 3   a check that did not hold
     `- ServiceError          exit 4   an outside service failed

Every error is one line for people: what is wrong, where (file, dialogue, turn, slot), what to do. It holds no secret.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.safe_text import conceal


class Excerpt(NamedTuple):
    """What somebody typed, and the part of it that is wrong."""

    text: str
    start: int  # characters before that part
    stop: int  # characters up to its end


class SemctlError(Exception):
    """Base of all errors that semctl raises on purpose.

    Args:
        what: what is wrong, a phrase without a full stop.
        where: the file, dialogue, turn or slot, when there is one.
        fix: what the reader can do about it.

    Attributes:
        excerpt: what was typed, shown beneath on a line of its own with a mark under the word; None for most.
    """

    exit_code = 1
    excerpt: Excerpt | None = None

    def __init__(self, what: str, *, where: object | None = None, fix: str | None = None) -> None:
        self.what = _one_line(what)
        self.where = None if where is None else _one_line(str(where))
        self.fix = None if fix is None else _one_line(fix)
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.what
        if self.where is not None:
            text += f" ({self.where})"
        if self.fix is not None:
            text += f"; {self.fix}"
        return text


def _one_line(text: str) -> str:
    return conceal(" ".join(text.split()))


class InputError(SemctlError):
    """Bad usage or bad input."""

    exit_code = 2


class UsageError(InputError):
    """An option or a setting that does not fit."""


class WorkspaceError(InputError):
    """A folder that is not a workspace, or an artefact that an earlier stage should have written."""


class CorpusError(InputError):
    """Dialogues, a catalogue or images that cannot be read."""


class SchemaError(InputError):
    """A Parquet file of another schema or schema version."""


class OntologyError(InputError):
    """An unknown slot, or an ontology file that is not valid."""


class LabelError(InputError):
    """An export, a label configuration or annotations that do not fit this workspace."""


class ModelError(InputError):
    """A run, a checkpoint, weights or features that cannot be used."""


class MissingPartError(InputError):
    """An optional part (weights, Label Studio, a browser, a package) is not there."""


class CheckError(SemctlError):
    """A check that was asked for did not hold."""

    exit_code = 3


class ServiceError(SemctlError):
    """An outside service failed: Label Studio is down, or refuses the token."""

    exit_code = 4
