"""``labels/page/corrections.jsonl``: corrections that the page of ``semctl serve --keep-corrections`` has kept.

One line a correction, with all that was said before it; lines are only ever added, by any number of servers at a time.
Beginnings of one conversation are one dialogue, whose id is a hash of the one that was kept first: what is kept later
changes no id, and what is kept again is there already. An ingest makes them dialogues of the workspace, for training
only, and their corrections annotations (:mod:`annotate.exports.corrections`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from annotate.annotations.annotation import is_of_page, page_dialogue
from annotate.annotations.migration import Migration
from annotate.exports.annotation_store import AnnotationStore
from annotate.exports.corrections import Correction, stage_corrections
from annotate.exports.staging import StagedExport
from schemas.errors import WorkspaceError
from schemas.files import disk_problem, json_bytes, sha256_bytes
from schemas.folding import fold
from schemas.ontology import Ontology
from schemas.tables import TURNS, dialogue_rows, open_table, open_writer, read_table

MOST_BYTES = 64 * 2**20
"""Of the whole file; after that nothing more is kept."""

MOST_BYTES_A_LINE = 64 * 2**10
"""Of one correction with its conversation."""

_TRAINING = "train"


@dataclass(frozen=True)
class Said:
    """One merged turn of a conversation."""

    speaker: Literal["user", "system"]
    text: str
    images: tuple[str, ...] = ()  # image ids of the catalogue


@dataclass(frozen=True)
class KeptCorrection:
    """One line: what a slot holds after the last turn, which is the user's."""

    semctl_correction: Literal[1]
    key: str  # tells corrections apart: one that is sent again has the same
    at: AwareDatetime
    run: str  # whose beliefs were corrected
    ontology_version: int
    turns: tuple[Said, ...]
    slot: str
    like: tuple[str, ...] = ()
    dislike: tuple[str, ...] = ()
    left: tuple[str, ...] = ()  # those of its values that stand as the run read them
    undone: bool = False  # what the run read holds again

    def is_whole(self) -> bool:
        """Whether it can be laid at a turn of the user's, in a dialogue whose speakers take turns."""
        speakers = [turn.speaker for turn in self.turns]
        return bool(speakers) and speakers[-1] == "user" and all(map(str.__ne__, speakers, speakers[1:]))


_LINE = TypeAdapter(KeptCorrection)


def keep(path: Path, correction: KeptCorrection) -> None:
    """Add a line, so that a process killed meanwhile leaves at most this one half-written; on the disk on return.

    Raises:
        WorkspaceError: the conversation is too long, the file has no room for more, or cannot be written.
    """
    line = json_bytes(asdict(correction), orjson.OPT_APPEND_NEWLINE)
    if len(line) > MOST_BYTES_A_LINE:
        raise WorkspaceError(
            f"the conversation is too long to be kept: {len(line):,} bytes of at most {MOST_BYTES_A_LINE:,}",
            fix="the correction holds here all the same; begin a new conversation",
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # other servers, and an ingest that reads
            size = os.fstat(handle).st_size
            if size + len(line) > MOST_BYTES:
                raise WorkspaceError(
                    f"no more corrections are kept: there are {MOST_BYTES // 2**20} MiB of them",
                    where=path,
                    fix="take them in with `semctl ingest-labels`, then begin another workspace or remove lines",
                )
            half_written = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            try:
                _write(handle, b"\n" + line if half_written else line)
            except OSError:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
    except OSError as problem:
        problem.filename = problem.filename or str(path)
        what = f"cannot keep the correction: {problem.strerror or problem}"
        raise disk_problem(problem) or WorkspaceError(what, where=path) from None


def _write(handle: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]
    os.fsync(handle)


@dataclass(frozen=True)
class KeptCorrections:
    """What the file holds."""

    corrections: tuple[Correction, ...] = ()  # in the order in which they were kept
    dialogues: Mapping[str, Sequence[Said]] = field(default_factory=dict)  # by id, each as long as it is known
    dropped: int = 0  # lines that are no correction: half-written, or edited by hand


def read_kept(path: Path) -> KeptCorrections:
    """The corrections kept so far, none where there is no file.

    Raises:
        WorkspaceError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            content = file.read()
    except FileNotFoundError:
        return KeptCorrections()
    except OSError as problem:
        raise WorkspaceError(f"cannot read the corrections: {problem.strerror}", where=path) from None
    corrections: list[Correction] = []
    conversations = _Conversations()
    dropped = 0
    for line in content.split(b"\n"):
        try:
            kept = _LINE.validate_json(line, strict=True) if line else None
        except ValidationError:
            kept = None
        if kept is None or not kept.is_whole():
            dropped += line != b""
            continue
        corrections.append(
            Correction(
                key=kept.key,
                at=kept.at,
                dialogue_id=conversations.add(kept.turns),
                turn=len(kept.turns) - 1,
                ontology_version=kept.ontology_version,
                slot=kept.slot,
                like=kept.like,
                dislike=kept.dislike,
                left=kept.left,
                undone=kept.undone,
            )
        )
    return KeptCorrections(tuple(corrections), conversations.dialogues, dropped)


class _Conversations:
    """Sorts conversations, of which some are beginnings of others, into dialogues."""

    def __init__(self) -> None:
        self.dialogues: dict[str, Sequence[Said]] = {}
        self._beginnings: dict[str, str] = {}  # hash -> the dialogue that begins so
        self._whole: dict[str, str] = {}  # hash -> the dialogue that goes no further

    def add(self, turns: Sequence[Said]) -> str:
        """The dialogue of a conversation, which grows where this one goes on."""
        hashes = _beginnings([turn.speaker, turn.text, turn.images] for turn in turns)
        known = self._beginnings.get(hashes[-1])
        if known is not None:
            return known
        before = next((each for each in reversed(hashes) if each in self._whole), None)
        name = page_dialogue(hashes[-1]) if before is None else self._whole.pop(before)
        self.dialogues[name] = turns
        self._whole[hashes[-1]] = name
        for each in hashes:
            self._beginnings.setdefault(each, name)
        return name


def _beginnings(parts: Iterable[object]) -> list[str]:
    """A hash of every beginning of what was said."""
    found: list[str] = []
    for part in parts:
        found.append(sha256_bytes((found[-1] if found else "").encode() + orjson.dumps(part)))
    return found


def without_held_out(kept: KeptCorrections, turns: Path) -> KeptCorrections:
    """Mark the corrections of conversations whose user says what is said in a dialogue of the valid or test part.

    One is the beginning of the other then, whatever the system says; dialogues with no other correction are left out.

    Args:
        kept: what was kept.
        turns: ``turns.parquet``.
    """
    begun: set[str] = set()
    whole: set[str] = set()
    for _, rows in dialogue_rows(turns, TURNS, ["dialogue_id", "speaker", "text", "split"]):
        if rows[0]["split"] != _TRAINING:
            hashes = _beginnings(fold(row["text"]) for row in rows if row["speaker"] == "user")
            begun.update(hashes)
            whole.update(hashes[-1:])

    def is_held_out(one: Correction) -> bool:
        said = kept.dialogues[one.dialogue_id][: one.turn + 1]
        hashes = _beginnings(fold(turn.text) for turn in said if turn.speaker == "user")
        return hashes[-1] in begun or not whole.isdisjoint(hashes)

    corrections = tuple(replace(one, held_out=is_held_out(one)) for one in kept.corrections)
    free = {one.dialogue_id for one in corrections if not one.held_out}
    return replace(
        kept, corrections=corrections, dialogues={name: said for name, said in kept.dialogues.items() if name in free}
    )


def write_turns(kept: KeptCorrections, turns: Path, target: Path) -> bool:
    """Write the turns of the workspace with those dialogues of the page that were kept, in place of any others.

    Args:
        kept: what was kept.
        turns: ``turns.parquet``.
        target: the new table.

    Returns:
        False where the turns have just these already, and nothing was written.
    """
    rows = [
        {
            "dialogue_id": name,
            "turn": turn,
            "speaker": one.speaker,
            "act": "",
            "text": one.text,
            "image_ids": list(one.images),
            "split": _TRAINING,
        }
        for name, said in sorted(kept.dialogues.items())
        for turn, one in enumerate(said)
    ]
    ids = read_table(turns, TURNS, columns=["dialogue_id"])["dialogue_id"].unique().to_pylist()
    there = sorted(filter(is_of_page, ids))
    if there == sorted(kept.dialogues):
        found = read_table(turns, TURNS, filters=[("dialogue_id", "in", there)]).to_pylist() if there else []
        if found == rows:
            return False
    own = pa.Table.from_pylist(rows, schema=TURNS.columns)
    first = rows[0]["dialogue_id"] if rows else ""
    with open_table(turns, TURNS) as file:
        inputs = orjson.loads((file.schema_arrow.metadata or {}).get(b"semctl.inputs", b"{}"))
        with open_writer(target, TURNS, inputs=inputs) as table:
            is_in = not rows
            for batch in file.iter_batches():
                others = pa.Table.from_batches([batch])
                others = others.filter(pc.invert(pc.is_in(others["dialogue_id"], pa.array(there, pa.string()))))
                if not is_in and others.num_rows and others["dialogue_id"][-1].as_py() > first:
                    is_before = pc.less(others["dialogue_id"], first)
                    table.gather_arrow(others.filter(is_before))
                    table.gather_arrow(own)
                    others, is_in = others.filter(pc.invert(is_before)), True
                table.gather_arrow(others)
            if not is_in:
                table.gather_arrow(own)
    return True


@dataclass(frozen=True)
class PageLabels:
    """What an ingest takes in from the page."""

    kept: KeptCorrections
    staged: StagedExport  # counts every correction as an annotation received
    names: frozenset[str]  # of their annotations

    @classmethod
    def stage(cls, path: Path, kept: KeptCorrections, store: AnnotationStore, ontology: Ontology) -> PageLabels:
        """Put what a file held into the store, after whatever exports brought."""
        staged = StagedExport(path)
        return cls(kept, staged, stage_corrections(kept.corrections, store, Migration(ontology), staged))

    def as_json(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "corrections": self.staged.received,
            "dialogues": len(self.kept.dialogues),
            "dropped_lines": self.kept.dropped,
        }
