"""Which dialogues to label: named in a file, or the first of a seeded order that never changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotate.assignment.selection_strategies import seeded_order
from schemas.errors import LabelError, UsageError
from schemas.progress import Progress
from schemas.tables import TURNS, open_table, read_table
from schemas.validation import did_you_mean, known_name

SPLITS = ("train", "valid", "test", "all")


@dataclass(frozen=True)
class Selection:
    """Which dialogues to export."""

    named: Path | None = None  # a file with one dialogue id per line; its order is kept and ``split`` does not count
    limit: int | None = None  # at most so many dialogues, the first of the order
    split: str = "train"
    seed: int = 0
    exactly: tuple[str, ...] | None = None  # these dialogues, in this order; nothing else counts then


def choose_dialogues(turns: Path, selection: Selection) -> list[str]:
    """Ids of the dialogues chosen, in order; for one seed, a smaller limit gives a prefix of a larger one."""
    if selection.exactly is not None:
        return list(selection.exactly)
    known_name("split", selection.split, SPLITS)
    if selection.limit is not None and selection.limit < 1:
        raise UsageError(f"-n {selection.limit} exports nothing", fix="give 1 or more")
    splits = _splits(turns)
    if selection.named is not None:
        ordered = named_dialogues(selection.named, splits)
    else:
        wanted = [name for name, split in splits.items() if selection.split in ("all", split)]
        ordered = seeded_order(wanted, selection.seed)
        if not ordered:
            there = ", ".join(sorted(set(splits.values()))) or "none"
            raise LabelError(
                f"no dialogues in the split '{selection.split}'", where=turns, fix=f"splits there: {there}"
            )
    return ordered[: selection.limit]


def read_dialogues(turns: Path, chosen: Sequence[str], progress: Progress) -> dict[str, list[dict[str, Any]]]:
    """The rows of ``turns.parquet`` of each dialogue chosen, in order; other dialogues are not kept in memory."""
    rows: dict[str, list[dict[str, Any]]] = {dialogue_id: [] for dialogue_id in chosen}
    columns = ["dialogue_id", "turn", "speaker", "text", "image_ids"]
    with open_table(turns, TURNS) as file, progress.task("reading dialogues", total=file.metadata.num_rows) as bar:
        for batch in file.iter_batches(batch_size=20_000, columns=columns):
            for row in batch.to_pylist():
                kept = rows.get(row["dialogue_id"])
                if kept is not None:
                    kept.append(row)
            bar.advance(batch.num_rows)
    return rows


def _splits(turns: Path) -> dict[str, str]:
    """Dialogue -> split."""
    columns = ["dialogue_id", "split"]
    found = read_table(turns, TURNS, columns=columns).group_by(columns, use_threads=False).aggregate([])
    return dict(zip(*(found[column].to_pylist() for column in columns), strict=True))


def named_dialogues(path: Path, known: Collection[str]) -> list[str]:
    """The dialogues that a file names, one id a line, in its order, each once."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not UTF-8 text"
        raise UsageError(f"cannot read the list of dialogues: {reason}", where=path) from None
    named = {line.strip(): number for number, line in reversed(list(enumerate(lines, start=1))) if line.strip()}
    ordered = sorted(named, key=lambda name: named[name])
    if not ordered:
        raise UsageError("the list names no dialogue", where=path, fix="write one dialogue id per line")
    unknown = [name for name in ordered if name not in known]
    if unknown:
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UsageError(
            f"unknown dialogue '{unknown[0]}'{others}",
            where=f"{path}, line {named[unknown[0]]}",
            fix=did_you_mean(unknown[0], known, "ids are those of data/turns.parquet"),
        )
    return ordered
