"""MMD's files of knowledge: where they are, and what to do when they are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas.errors import MissingPartError
from semantic_model.config.sections import KnowledgeConfig

_WAYS_OUT = (
    "put it there, name another folder with --set knowledge.folder=FOLDER, or leave the setting empty to derive it "
    "from the catalogue"
)


def find_file(config: KnowledgeConfig, names: Sequence[str], *, what: str) -> Path:
    """The first of the named files that the folder of knowledge has.

    Args:
        config: names a folder.
        names: of the file, the usual one first.
        what: what it holds, for the error, as "the taxonomy".

    Raises:
        MissingPartError: there is no such folder, or none of the files in it; lists the ways out.
    """
    folder = Path(config.folder)
    if not folder.is_dir():
        raise MissingPartError(f"there is no folder of knowledge with {what} ({folder})", fix=_WAYS_OUT)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise MissingPartError(f"the folder of knowledge has no {' or '.join(names)}, {what} ({folder})", fix=_WAYS_OUT)
