"""How long an import takes, against only parsing the same JSON files.

Two corpora in MMD's layout are made up for it: one in the shape of MMD-v3 (six recommendation turns a dialogue, about
630 negatives each, cumulative states), one with short dialogues and five negatives. Texts differ from turn to turn, and
a state gains or changes a value in two of three turns, so that nearly no two dialogues have the same ones.

Import itself parses with orjson; the ratios are given against the standard library's ``json`` and against orjson, in
processor seconds (of all threads) and in seconds on the clock. Both sides do what they do in one process, read the same
files in the same order and with the same calls, with the page cache warm and without looking for reference cycles. The
import's time holds all of it: listing the files, hashing them, the catalogue, the ontology, and the Parquet files
synced to disk. Making the corpora up is not timed.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import orjson

from pipeline.benchmarks.measure import Goal, Options, compared
from pipeline.corpora.layout import Folders, read_file
from pipeline.corpora.ledger import Ledger
from pipeline.corpora.readers import open_reader
from pipeline.import_corpus import import_corpus
from pipeline.workspace import Workspace
from schemas.progress import Progress, SilentProgress

__all__ = ["Shape", "benchmark", "import_speed", "write_corpus"]

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


SHAPES = (Shape("MMD-v3 shape", 800, 630), Shape("short lists", 3000, 5))


def benchmark(options: Options) -> list[dict[str, Any]]:
    """:func:`import_speed`, as every benchmark is called."""
    return import_speed(options.corpus, rounds=options.rounds or 5, progress=options.progress)


def write_corpus(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Write a corpus in MMD's layout, without pictures: same shape and seed, same bytes."""
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


def import_speed(
    corpus: Path | None = None, *, rounds: int = 5, shapes: Sequence[Shape] = SHAPES, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Measure imports; every round times the parsers and the import one after the other; the median ratio counts.

    Args:
        corpus: a corpus in MMD's layout instead of the made-up ones.
        rounds: how often.

    Returns:
        One entry per corpus, parser and clock (``processor`` or ``wall``): ``{name, clock, ratio, against, seconds,
        seconds_against, ratios, goal, reached, ...}``.

    Raises:
        CorpusError: ``corpus`` is not one.
    """
    progress = progress or SilentProgress()
    with tempfile.TemporaryDirectory() as scratch:
        found: list[dict[str, Any]] = []
        if corpus is not None:
            return _measure(corpus.name, corpus, Path(scratch), rounds, progress)
        for index, shape in enumerate(shapes):
            folder = Path(scratch) / str(index)
            write_corpus(folder, shape)
            found += _measure(shape.name, folder, Path(scratch), rounds, progress)
        return found


class Seconds(NamedTuple):
    """How long something took: processor seconds of all threads, which other work on the machine changes less, and
    seconds on the clock."""

    processor: float
    wall: float


def _measure(name: str, corpus: Path, scratch: Path, rounds: int, progress: Progress) -> list[dict[str, Any]]:
    files = [str(path) for path in open_reader("mmd", Folders(corpus), Ledger()).files()]
    workspace = Workspace(scratch / "workspace")
    dialogues = 0

    def run_import() -> None:
        nonlocal dialogues
        dialogues = import_corpus(workspace, corpus, "mmd").ledger["dialogues"].kept

    run_import()  # modules and the page cache are warm for everybody
    work: dict[str, Callable[[], None]] = {
        "json.loads": lambda: _parse(files, json.loads),
        "orjson.loads": lambda: _parse(files, orjson.loads),
        "import": run_import,
    }
    taken: dict[str, list[Seconds]] = {what: [] for what in work}
    for _ in progress.track(range(rounds), f"import, {name}"):
        for what, run in work.items():
            taken[what].append(_timed(run))
    megabytes = sum(Path(path).stat().st_size for path in files) / 1e6
    return [
        compared(
            f"import, {name}",
            f"{parser} on the same files, {'processor seconds' if clock == 'processor' else 'on the clock'}",
            [getattr(seconds, clock) for seconds in taken["import"]],
            [getattr(seconds, clock) for seconds in taken[parser]],
            GOAL,
            faster=False,
            clock=clock,
            dialogues=dialogues,
            megabytes=megabytes,
        )
        for clock in Seconds._fields
        for parser in ("json.loads", "orjson.loads")
    ]


def _parse(files: Sequence[str], parse: Callable[[bytes], Any]) -> None:
    for path in files:
        parse(read_file(path))


def _timed(work: Callable[[], None]) -> Seconds:
    gc.collect()
    gc.disable()
    try:
        start = Seconds(time.process_time(), time.perf_counter())
        work()
        return Seconds(time.process_time() - start.processor, time.perf_counter() - start.wall)
    finally:
        gc.enable()
