"""How long an import takes, against only parsing the same JSON files.

Two corpora in MMD's layout are made up for it: one in the shape of MMD-v3 (six recommendation turns a dialogue, about
630 negatives each, cumulative states), one with short dialogues and five negatives. Texts differ from turn to turn, and
a state gains or changes a value in two of three turns, so that nearly no two dialogues have the same ones.

What is compared: the seconds on the clock of ``import_corpus`` with as many jobs as ``semctl import`` takes, and the
seconds of one process that reads the same files in the same order and calls ``json.loads`` on each, which is what one
would write to look at them. That row has the goal. Beside it: the same with one job, in seconds on the clock and in
processor seconds (of all threads and processes), and all of it against ``orjson.loads``, with which import parses.

The page cache is warm, and nobody looks for reference cycles. The import's time holds all of it: listing the files,
hashing them, starting processes, the catalogue, the ontology, and the Parquet files synced to disk. Starting takes
about half a second of a core however large the corpus is, so ``--size`` (dialogues of short lists; of the other shape
there are a fifth as many) changes the ratio. Making the corpora up is not timed.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import orjson

from pipeline.benchmarks.measure import Goal, Options, compared
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.corpus.layout import Folders, read_file
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.reading import jobs_for, open_reader
from pipeline.workspace import Workspace
from schemas.errors import CorpusError

GOAL = Goal("at most", 4.0)
"""An import should take at most this many times as long as parsing."""


@dataclass(frozen=True)
class Shape:
    """How large a made-up corpus is."""

    name: str
    dialogues: int
    negatives: int
    products: int = 1500
    recommendation_turns: int = 6


SIZES = (2000, 10_000)
"""Dialogues in the shape of MMD-v3, and with short lists: half a gigabyte, and an eighth."""


def shapes(sizes: Sequence[int] = ()) -> tuple[Shape, ...]:
    """The made-up corpora; ``sizes`` are dialogues with short lists, one entry a pair of corpora."""
    pairs = [(max(1, size // 5), size) for size in sizes] or [SIZES]
    return tuple(
        shape for long, short in pairs for shape in (Shape("MMD-v3 shape", long, 630), Shape("short lists", short, 5))
    )


def benchmark(options: Options) -> list[dict[str, Any]]:
    """Measure imports; every round times the parsers and the imports one after the other; the median ratio counts.

    Returns:
        One entry per corpus, jobs (as many as import takes, then 1), clock (``wall`` or ``processor``) and parser:
        ``{name, jobs, clock, ratio, against, seconds, seconds_against, ratios, goal, reached, ...}``. Only the first
        of a corpus has a goal.

    Raises:
        CorpusError: ``--corpus`` is not one, or has a file that is no JSON: an import drops it, a parser fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if options.corpus is not None:
            return _measure(options.corpus.name, options.corpus, Path(scratch), options)
        found: list[dict[str, Any]] = []
        for index, shape in enumerate(shapes(options.sizes)):
            folder = Path(scratch) / str(index)
            write_corpus(folder, shape)
            found += _measure(shape.name, folder, Path(scratch), options)
        return found


def write_corpus(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Write a corpus in MMD's layout, without images: same shape and seed, same bytes."""
    random = Random(seed)
    colours, kinds = ("red", "blue", "black", "white", "green"), ("dress", "shirt", "skirt", "coat")
    urls = [f"http://images.example.invalid/catalog/{i % 97}/P{i:06d}/Front_Large.jpg" for i in range(shape.products)]
    (folder / "products").mkdir(parents=True)
    for i, url in enumerate(urls):
        product = {
            "id": f"P{i:06d}",
            "name": f"Garment {i}",
            "site": "example",
            "color": random.choice(colours),
            "type": random.choice(kinds),
            "price": random.randint(5, 200),
            "image_filename": url,
            "image_filename_all": {"front": [url], "back": []},
        }
        (folder / "products" / f"{i}.json").write_bytes(orjson.dumps(product))
    for split, parts in (("train", 8), ("valid", 1), ("test", 1)):
        place = folder / "dialogues" / split
        place.mkdir(parents=True)
        for i in range(shape.dialogues * parts // 10):
            dialogue = _dialogue(random, shape, urls, colours, kinds)
            (place / f"{split}-{i}.json").write_bytes(orjson.dumps(dialogue, option=orjson.OPT_INDENT_2))


def _dialogue(
    random: Random, shape: Shape, urls: Sequence[str], colours: Sequence[str], kinds: Sequence[str]
) -> list[dict[str, Any]]:
    pool = random.sample(urls, shape.negatives)
    kind = random.choice(kinds)
    colour = random.choice(colours)
    state = {"types": kind, "colors": colour}
    turns: list[dict[str, Any]] = []
    for turn in range(shape.recommendation_turns):
        if turn % 3:
            state[random.choice(_SLOTS)] = f"value {random.randrange(12)}"
        informable = [{"slot": [slot], "values": [value], "sentiment": ["Like"]} for slot, value in state.items()]
        number = random.randrange(100_000)
        asked = f"I would like to see a {kind} in {colour}, number {number}, with the shoes in the 2nd image"
        answered = f"Here are {number % 97} of the finest ones from page {number // 97}, I hope that you like them"
        turns += [
            {
                "speaker": "user",
                "type": "question",
                "utterance": {"nlg": asked, "images": None, "false nlg": None},
                "ds": {"informable": informable, "requestable": []},
            },
            {
                "speaker": "system",
                "type": "answer",
                "utterance": {"nlg": None, "images": random.sample(urls, 4), "false images": pool, "false nlg": None},
            },
            {
                "speaker": "system",
                "type": "answer",
                "utterance": {"nlg": answered, "images": None, "false images": None, "false nlg": None},
            },
        ]
    return turns


_SLOTS = ("brand", "material", "style", "length", "fit", "price", "neck", "print")


class Seconds(NamedTuple):
    """How long something took: on the clock, and in processor seconds of all threads and processes, which other work on
    the machine changes less."""

    wall: float
    processor: float


def _measure(name: str, corpus: Path, scratch: Path, options: Options) -> list[dict[str, Any]]:
    reader = open_reader("mmd", Folders(corpus), Ledger())
    files = [str(path) for path in reader.files()]
    workspace = Workspace(scratch / "workspace")
    dialogues = 0

    def run_import(jobs: int | None) -> None:
        nonlocal dialogues
        dialogues = import_corpus(workspace, ImportRequest(corpus, "mmd", jobs=jobs)).ledger["dialogues"].kept

    run_import(None)  # modules and the page cache are warm for everybody
    all_jobs = jobs_for(reader)
    imports = {all_jobs: f"import ({all_jobs} jobs)", 1: "import (1 job)"}
    work: dict[str, Callable[[], None]] = {
        "json.loads": lambda: _parse(files, json.loads),
        "orjson.loads": lambda: _parse(files, orjson.loads),
        **{title: partial(run_import, jobs) for jobs, title in imports.items()},
    }
    taken: dict[str, list[Seconds]] = {what: [] for what in work}
    for _ in options.progress.track(range(options.rounds or 3), f"import, {name}"):
        for what, run in work.items():
            taken[what].append(_timed(run))
    megabytes = sum(Path(path).stat().st_size for path in files) / 1e6
    return [
        compared(
            f"{title}, {name}",
            f"{parser} on the same files, {'processor seconds' if clock == 'processor' else 'on the clock'}",
            [getattr(seconds, clock) for seconds in taken[title]],
            [getattr(seconds, clock) for seconds in taken[parser]],
            GOAL if jobs == all_jobs and clock == "wall" and parser == "json.loads" else None,
            faster=False,
            jobs=jobs,
            clock=clock,
            dialogues=dialogues,
            megabytes=megabytes,
        )
        for jobs, title in imports.items()
        for clock in Seconds._fields
        for parser in ("json.loads", "orjson.loads")
    ]


def _parse(files: Sequence[str], parse: Callable[[bytes], Any]) -> None:
    for path in files:
        content = read_file(path)
        try:
            parse(content)
        except (ValueError, RecursionError) as problem:
            fix = "measure on a corpus without broken files"
            raise CorpusError(f"not valid JSON: {problem}", where=path, fix=fix) from None


def _timed(work: Callable[[], None]) -> Seconds:
    gc.collect()
    gc.disable()
    try:
        start = _now()
        work()
        end = _now()
        return Seconds(end.wall - start.wall, end.processor - start.processor)
    finally:
        gc.enable()


def _now() -> Seconds:
    times = os.times()
    return Seconds(time.perf_counter(), time.process_time() + times.children_user + times.children_system)
