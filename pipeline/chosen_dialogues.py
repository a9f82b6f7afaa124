"""Which dialogues to label: named in a file, or the first of a seeded order that never changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from annotate.annotations.annotation import is_of_page
from annotate.annotations.dialogue_index import read_dialogue_index
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
    splits = splits_of(turns)
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


def splits_of(turns: Path) -> dict[str, str]:
    """Dialogue -> split."""
    columns = ["dialogue_id", "split"]
    found = read_table(turns, TURNS, columns=columns).group_by(columns, use_threads=False).aggregate([])
    return dict(zip(*(found[column].to_pylist() for column in columns), strict=True))


def training_dialogues(splits: Mapping[str, str]) -> list[str]:
    """The dialogues of which a labelled ratio is a share: the corpus's for training, without those held on the page.

    Args:
        splits: dialogue -> split.
    """
    return [name for name, split in splits.items() if split == "train" and not is_of_page(name)]


def named_dialogues(path: Path, known: Collection[str]) -> list[str]:
    """The dialogues that a file names, one id a line, in its order, each once."""
    named = _named(path, known)
    turns = next((each for each in named if each.turn is not None), None)
    if turns is not None:
        raise UsageError(
            f"the list names single turns, as turn {turns.turn} of '{turns.dialogue_id}'",
            where=f"{path}, line {turns.line}",
            fix="name whole dialogues here, one id per line; turns are labelled by `semctl export-for-labelling` alone",
        )
    return list(dict.fromkeys(each.dialogue_id for each in named))


def named_turns(path: Path, turns: Path) -> dict[str, tuple[int, ...]]:
    """Dialogue -> the user turns of it that a list names, ascending, in the order of the list; empty for a list of
    whole dialogues.

    Args:
        path: the list, with lines of a dialogue id, a tab and the number of a user turn. A line that is an id itself
            names that dialogue.
        turns: ``turns.parquet``.

    Raises:
        UsageError: no such dialogue or user turn, or whole dialogues beside turns.
    """
    named = _named(path, splits_of(turns))
    whole = [each for each in named if each.turn is None]
    if len(whole) == len(named):
        return {}
    if whole:
        raise UsageError(
            f"the list names single turns and the whole dialogue '{whole[0].dialogue_id}'",
            where=f"{path}, line {whole[0].line}",
            fix="put them into two lists",
        )
    index = read_dialogue_index(turns, with_hashes=False)
    found: dict[str, set[int]] = {}
    for dialogue_id, turn, line in named:
        there = index[dialogue_id].user_turns
        if turn not in there:
            raise UsageError(
                f"turn {turn} of dialogue '{dialogue_id}' is no user turn",
                where=f"{path}, line {line}",
                fix=f"its user turns are {', '.join(map(str, there)) or 'none'}",
            )
        found.setdefault(dialogue_id, set()).add(turn)
    return {dialogue_id: tuple(sorted(chosen)) for dialogue_id, chosen in found.items()}


class _Named(NamedTuple):
    dialogue_id: str
    turn: int | None
    line: int


def _named(path: Path, known: Collection[str]) -> list[_Named]:
    """What the lines of a list name, in order; blank ones are passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not UTF-8 text"
        raise UsageError(f"cannot read the list of dialogues: {reason}", where=path) from None
    named, unknown = list[_Named](), dict[str, int]()
    for line, text in enumerate(map(str.strip, lines), start=1):
        dialogue_id, tab, number = text.rpartition("\t")
        if text not in known and tab and dialogue_id in known and not (number.isascii() and number.isdecimal()):
            raise UsageError(
                f"'{number}' is no number of a turn", where=f"{path}, line {line}", fix="as in 'dialogue<tab>4'"
            )
        if text not in known and tab and number.isdecimal():
            named.append(_Named(dialogue_id, int(number), line))
        elif text:
            named.append(_Named(text, None, line))
    for each in named:
        if each.dialogue_id not in known:
            unknown.setdefault(each.dialogue_id, each.line)
    if not named:
        raise UsageError("the list names no dialogue", where=path, fix="write one dialogue id per line")
    if unknown:
        first, line = next(iter(unknown.items()))
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UsageError(
            f"unknown dialogue '{first}'{others}",
            where=f"{path}, line {line}",
            fix=did_you_mean(first, known, "ids are those of data/turns.parquet"),
        )
    return named
