"""``semctl recommend``: the best products of the catalogue for one dialogue, or for every conversation of a file."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.corpus.jsonl import parse_line
from pipeline.corpus.parsing import NotJsonError, parse_json
from pipeline.modelling.conversation import (
    Conversation,
    UnknownImageError,
    dialogue_of_corpus,
    photos_in,
    read_conversation,
)
from pipeline.modelling.recommender import Recommendation, Recommender, check_request
from pipeline.workspace import Workspace
from schemas.engine import Engine
from schemas.errors import CheckError, CorpusError, UsageError
from schemas.files import atomic_path, sha256_file
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.tables import RECOMMENDED, open_writer
from semantic_model.data.corpus import Corpus

_LONGEST_LINE = 16 << 20  # bytes
_LINES_A_SHARD = 128
_SOURCES = "--dialogue, --conversation, or --message and --image"


@dataclass(frozen=True)
class RecommendRequest:
    """What to recommend products for: a dialogue of the corpus, a conversation in a file, or a message.

    Raises:
        UsageError: none of these or several, ``top`` below 1, or ``diversify`` not between 0 and 1.
    """

    dialogue: str | None = None  # a dialogue's id, or the part after its split when that is unique
    run: str = "latest"  # a run's id, ``latest``, or a baseline's name
    turn: int | None = None  # the last merged turn to read, counted from 0; the user's last when left out
    top: int = 10  # how many products
    images: bool = True  # False leaves every image out
    # how exactly the run keeps encoded products: float32, or bfloat16 in half the memory
    product_table: str = "float32"
    conversation: Path | None = None  # a JSON file, see :func:`pipeline.modelling.conversation.read_conversation`
    message: str | None = None  # what a user says
    shown: tuple[str, ...] = ()  # what the user shows with it: image files, or images or products of the catalogue
    where: str | None = None  # a filter of products
    diversify: float = 0.0  # how much less a product counts for being like those above it
    explain: bool = False  # tell why

    def __post_init__(self) -> None:
        check_request(self.top, self.diversify)
        named = [self.dialogue is not None, self.conversation is not None, self.message is not None or bool(self.shown)]
        if sum(named) != 1:
            what = "nothing to recommend for" if not any(named) else "one thing to recommend for at a time"
            raise UsageError(what, fix=f"give {_SOURCES}")
        if named[2] and self.turn is not None:
            raise UsageError("--turn is one of a dialogue; a message has no turns", fix="leave --turn out")


def recommend(workspace: Workspace, request: RecommendRequest, *, progress: Progress | None = None) -> Recommendation:
    """Rank the catalogue for what was said so far.

    Raises:
        UsageError: a turn that the dialogue does not have.
        FilterError: a filter that cannot be read, or that speaks of what is not there.
        CorpusError: no such dialogue (names the nearest), a conversation that is none, an image that cannot be read.
        WorkspaceError: not a workspace, or nothing was imported.
        ModelError: no such run, or one that cannot be used.
        MissingPartError: weights of the image encoder that are not here.
    """
    del progress  # it is too short for a bar
    recommender = Recommender.open(workspace, request.run, images=request.images, product_table=request.product_table)
    found = recommender.recommend(
        [_asked(request, recommender.corpus)],
        top=request.top,
        where=request.where,
        diversify=request.diversify,
        explain=request.explain,
    )
    return found[0]


def _asked(request: RecommendRequest, corpus: Corpus) -> Conversation:
    if request.dialogue is not None:
        return dialogue_of_corpus(corpus, request.dialogue, request.turn)
    path = request.conversation
    if path is not None:
        try:
            value = parse_json(path.read_bytes(), long_numbers=True)
        except OSError as problem:
            raise CorpusError(f"cannot read the conversation: {problem.strerror}", where=path) from None
        except NotJsonError as problem:
            raise CorpusError(f"not valid JSON: {problem}", where=path, fix=problem.fix) from None
        photos = photos_in(path.parent)
        return read_conversation(value, corpus, where=str(path), photos=photos, turn=request.turn, called=path.stem)
    here = photos_in(Path())
    # a file goes before an image of the catalogue that is called the same
    images = [str(Path(name).absolute()) if here(name) is not None else name for name in request.shown]
    value = {"turns": [{"speaker": "user", "text": request.message or "", "images": images}]}
    return read_conversation(value, corpus, where="--message and --image", photos=here, called="message")


@dataclass(frozen=True)
class BatchRequest:
    """Conversations in a file of JSON lines, to recommend products for.

    Raises:
        UsageError: ``top`` below 1, ``diversify`` not between 0 and 1, or the result in the place of the conversations.
    """

    file: Path  # a conversation a line, see :func:`pipeline.modelling.conversation.read_conversation`
    out: Path  # the Parquet file to write
    run: str = "latest"
    top: int = 10
    images: bool = True
    product_table: str = "float32"
    where: str | None = None
    diversify: float = 0.0

    def __post_init__(self) -> None:
        check_request(self.top, self.diversify)
        if self.file.resolve() == self.out.resolve():
            raise UsageError("--out is the file of conversations itself", fix="name another file")


@dataclass(frozen=True)
class BatchReport:
    """What became of a file of conversations."""

    run: str
    out: Path
    conversations: int  # that products were recommended for
    rows: int  # of the Parquet file
    rejected: Mapping[str, int] = field(default_factory=dict)  # reason -> lines
    rejected_file: Path | None = None  # those lines, with what is wrong with each; None: there are none

    @property
    def problem(self) -> CheckError | None:
        """What to say of lines that were rejected."""
        if not self.rejected:
            return None
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in self.rejected.items())
        lines = sum(self.rejected.values())
        what = f"{lines} of {lines + self.conversations} lines were rejected: {reasons}"
        return CheckError(what, where=self.rejected_file, fix="correct them there; all others are done")

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return json_form(self)


class _Rejected(NamedTuple):
    line: int
    reason: str
    error: str
    content: str | None  # the line; None where it is too long to be kept

    def as_bytes(self) -> bytes:
        return orjson.dumps(self._asdict(), option=orjson.OPT_APPEND_NEWLINE)


def recommend_batch(
    workspace: Workspace, request: BatchRequest, *, engine: Engine | None = None, progress: Progress | None = None
) -> BatchReport:
    """Recommend products for each conversation of a file, line by line: the memory needed does not grow with it.

    Each is answered by itself, so that its rows are to the last bit what :func:`recommend` finds for it. Lines that are
    no conversations are written beside ``out`` with what is wrong with each, as ``OUT.rejected.jsonl``.

    Args:
        engine: answers shards of the lines; the files are the same on machines of one kind.

    Raises:
        CorpusError: the file cannot be read, or holds no conversation at all; nothing is written.
        FilterError, WorkspaceError, ModelError, MissingPartError: as :func:`recommend`; nothing is written.
        UsageError, ServiceError: an engine that does not see the files, or that cannot be reached.
    """
    shown = progress or SilentProgress()
    try:
        shards, sha256 = list(_shards(request.file)), sha256_file(request.file)
    except OSError as problem:
        raise CorpusError(f"cannot read the conversations: {problem.strerror}", where=request.file) from None
    recommender = _opened(workspace, request, keep_table=engine is not None)
    if request.where is not None:
        recommender.filters.mask(request.where)
    if engine is None:
        answers: Iterator[_Answer] = (_recommended(recommender, request, *line) for line in _lines(request.file))
    else:
        answers = _recommended_elsewhere(engine, workspace, replace(request, run=recommender.run), shards)
    reasons: Counter[str] = Counter()
    first: _Rejected | None = None
    answered = 0
    beside = request.out.with_name(f"{request.out.name}.rejected.jsonl")
    inputs = {"conversations": sha256, "products": sha256_file(workspace.products)}
    with ExitStack() as stack:
        rejected = stack.enter_context(atomic_path(beside))
        writer = stack.enter_context(open_writer(request.out, RECOMMENDED, inputs=inputs))
        refused = stack.enter_context(rejected.open("wb"))
        task = stack.enter_context(
            shown.task(f"recommending with {recommender.run}", sum(shard.lines for shard in shards))
        )
        for found in answers:
            if isinstance(found, _Rejected):
                first = first or found
                reasons[found.reason] += 1
                refused.write(found.as_bytes())
            else:
                writer.write_all(found)
                answered += 1
            task.advance()
        if not answered:
            what = "no line is a conversation" if first else "no conversations in this file"
            where = f"{request.file}, line {first.line}" if first else request.file
            raise CorpusError(f"{what}{f'; {first.error}' if first else ''}", where=None if first else where)
    if not reasons:
        beside.unlink()
    counted = dict(sorted(reasons.items()))
    return BatchReport(
        recommender.run, request.out, answered, writer.rows_written, counted, beside if counted else None
    )


def _opened(workspace: Workspace, request: BatchRequest, *, keep_table: bool) -> Recommender:
    return Recommender.open(
        workspace, request.run, images=request.images, product_table=request.product_table, keep_table=keep_table
    )


_Answer = list[dict[str, Any]] | _Rejected
"""What a line comes to: rows of the table, or why it was rejected."""


def _recommended_elsewhere(
    engine: Engine, workspace: Workspace, request: BatchRequest, shards: Sequence[_Shard]
) -> Iterator[_Answer]:
    import torch

    threads, gpu = torch.get_num_threads(), torch.cuda.is_available()
    setting = {
        "workspace": str(workspace.root),
        "request": json_form(request),
        "size": request.file.stat().st_size,
        "threads": threads,
        "gpu": gpu,
    }
    needs = [workspace.products, request.file]
    maker = "pipeline.modelling.recommend:recommends_lines"
    for (answer,) in engine.map(maker, setting, shards, needs=needs, cores=threads, gpu=gpu):
        for found in json.loads(answer):
            yield found if isinstance(found, list) else _Rejected(**found)


def recommends_lines(setting: Mapping[str, Any]) -> Callable[[Any], list[bytes]]:
    """In a worker of an engine: what answers a shard of a file of conversations."""
    if not setting["gpu"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    torch.set_num_threads(setting["threads"])
    told = setting["request"]
    request = BatchRequest(**{**told, "file": Path(told["file"]), "out": Path(told["out"])})
    if request.file.stat().st_size != setting["size"]:
        fix = "keep it under the same path on a disk that all machines share"
        raise UsageError(f"{platform.node()} sees another file of conversations", where=request.file, fix=fix)
    recommender = _opened(Workspace(Path(setting["workspace"])), request, keep_table=True)

    def recommend_lines(told: Any) -> list[bytes]:
        shard = _Shard(*told)
        found = [_recommended(recommender, request, *numbered) for numbered in _lines(request.file, shard)]
        return [json.dumps([one._asdict() if isinstance(one, _Rejected) else one for one in found]).encode()]

    return recommend_lines


def _recommended(recommender: Recommender, request: BatchRequest, number: int, line: bytes) -> _Answer:
    where = f"{request.file}, line {number}"
    if len(line) > _LONGEST_LINE:
        return _Rejected(number, "too_long", f"a line of more than {_LONGEST_LINE >> 20} MB ({where})", None)
    content = line.decode(errors="replace").rstrip("\r\n")
    try:
        value = parse_line(line, where)
    except CorpusError as problem:
        return _Rejected(number, "not_json", str(problem), content)
    try:
        asked = read_conversation(
            value, recommender.corpus, where=where, photos=photos_in(request.file.parent), called=f"line {number}"
        )
    except UnknownImageError as problem:
        return _Rejected(number, "image_not_there", str(problem), content)
    except CorpusError as problem:
        return _Rejected(number, "not_a_conversation", str(problem), content)
    except UsageError as problem:
        return _Rejected(number, "user_says_nothing", str(problem), content)
    try:
        (found,) = recommender.recommend(
            [asked], top=request.top, where=request.where, diversify=request.diversify, together=False
        )
    except CorpusError as problem:
        return _Rejected(number, "image_not_read", f"{problem} ({where})", content)
    return [
        {
            "line": number,
            "dialogue_id": found.dialogue_id,
            "turn": found.turn,
            "rank": product.rank,
            "product_id": product.product_id,
            "name": product.name,
            "score": product.score,
            "images": list(product.images),
            "run": found.run,
        }
        for product in found.products
    ]


class _Shard(NamedTuple):
    """A run of lines of a file; those that are blank do not count."""

    start: int  # bytes of the file before it
    before: int  # lines of the file before it, blank ones too
    lines: int


_START = _Shard(0, 0, sys.maxsize)


def _shards(path: Path) -> Iterator[_Shard]:
    """The whole file in runs of lines."""
    start = before = lines = 0
    for number, _, end in _read_lines(path, _START):
        lines += 1
        if lines == _LINES_A_SHARD:
            yield _Shard(start, before, lines)
            start, before, lines = end, number, 0
    if lines:
        yield _Shard(start, before, lines)


def _lines(path: Path, shard: _Shard = _START) -> Iterator[tuple[int, bytes]]:
    """Line number from 1 and line, of those that are not blank; the rest of a line that is too long is read past."""
    return ((number, line) for number, line, _ in _read_lines(path, shard))


def _read_lines(path: Path, shard: _Shard) -> Iterator[tuple[int, bytes, int]]:
    """The same, with how many bytes of the file come before the next line."""
    with path.open("rb") as file:
        file.seek(shard.start)
        number, left = shard.before, shard.lines
        while left and (line := file.readline(_LONGEST_LINE + 1)):
            number += 1
            part = line
            while len(part) > _LONGEST_LINE and not part.endswith(b"\n"):
                part = file.readline(_LONGEST_LINE + 1)
            if line.strip():
                left -= 1
                yield number, line, file.tell()
