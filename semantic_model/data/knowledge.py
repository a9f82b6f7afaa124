"""MMD's files of knowledge: where they are, what to do when they are not, and what style tips and celebrities say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from schemas.errors import MissingPartError, ModelError
from schemas.files import read_json
from schemas.folding import fold
from semantic_model.config.sections import KnowledgeConfig

STYLE_TIP_FILES = ("styletips_synset.txt",)
"""Names that files of :func:`read_style_tips` have."""

CELEBRITY_FILES = ("celebrity_distribution.json",)
"""Names that files of :func:`read_celebrities` have."""

_FIX = "repair it, or leave knowledge.folder empty"

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


class StyleTip(NamedTuple):
    """Two kinds of products that are worn together."""

    first: str  # before ``second`` in the alphabet, or the same
    second: str
    times: int  # how often


def read_style_tips(path: Path) -> list[StyleTip]:
    """The pairs of kinds that a file lists, ``kind , kind , count`` a line, in order; of a pair twice, the sum.

    Raises:
        ModelError: it cannot be read, or holds something else; names the line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as problem:
        raise ModelError(f"cannot read the file of knowledge: {problem}", where=path, fix=_FIX) from None
    counts: dict[tuple[str, str], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        *kinds, count = (fold(part) for part in line.split(","))
        if len(kinds) != 2 or not all(kinds) or not (count.isascii() and count.isdigit()) or len(count) > 9:
            raise ModelError("no line 'kind , kind , count' of style tips", where=f"{path}, line {number}", fix=_FIX)
        first, second = sorted(kinds)
        counts[first, second] = counts.get((first, second), 0) + int(count)
    if not counts:
        raise ModelError("it lists no style tip", where=path, fix=_FIX)
    return [StyleTip(first, second, count) for (first, second), count in sorted(counts.items())]


def read_celebrities(path: Path) -> dict[str, dict[str, float]]:
    """How fond each celebrity is of kinds of products: ``{celebrity: {kind: score}}``, in order.

    Raises:
        ModelError: it cannot be read, or holds something else; names the celebrity.
    """
    value = read_json(path, error=ModelError, fix=_FIX)
    if not isinstance(value, Mapping) or not value:
        raise ModelError("no file {celebrity: {kind: score}}", where=path, fix=_FIX)
    found: dict[str, dict[str, float]] = {}
    for name in sorted(value):
        scores = value[name]
        if not isinstance(scores, Mapping) or not all(map(_is_score, scores.values())):
            raise ModelError("no scores {kind: score}, from 0 upwards", where=f"{path}, {name}", fix=_FIX)
        found[name] = {fold(kind): float(scores[kind]) for kind in sorted(scores)}
    return found


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0
