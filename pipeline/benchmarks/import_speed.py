"""How long an import takes, against only parsing the same JSON files.

Two corpora in MMD's layout are made up for it: one in the shape of MMD-v3 (six recommendation turns a dialogue, about
630 negatives each, cumulative states), one with short dialogues and five negatives. Import itself parses with orjson;
the ratio is given against the standard library's ``json`` and against orjson.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from pipeline.benchmarks.measure import Goal, Options
from pipeline.corpora.layout import Folders
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
    return import_speed(options.corpus, rounds=options.rounds or 3, progress=options.progress)


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
    turns: list[dict[str, Any]] = []
    for _ in range(shape.recommendation_turns):
        colour = random.choice(colours)
        informable = [
            {"slot": ["types"], "values": [kind], "sentiment": ["Like"]},
            {"slot": ["colors"], "values": [colour], "sentiment": ["Like"]},
        ]
        asked = f"I would like to see a {kind} in {colour} that goes with the shoes in the 2nd image"
        answered = "Here are some of the finest ones from my catalogue, I hope that you like them"
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


def import_speed(
    corpus: Path | None = None, *, rounds: int = 3, shapes: Sequence[Shape] = SHAPES, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Measure imports; every round times the parsers and the import one after the other, and the best of each counts.

    Args:
        corpus: a corpus in MMD's layout instead of the made-up ones.
        rounds: how often.

    Returns:
        One entry per corpus and parser: ``{name, ratio, against, seconds, seconds_against, goal, ...}``; the seconds
        are processor seconds.

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


def _measure(name: str, corpus: Path, scratch: Path, rounds: int, progress: Progress) -> list[dict[str, Any]]:
    files = open_reader("mmd", Folders(corpus), Ledger()).files()
    size = sum(path.stat().st_size for path in files)
    workspace = Workspace(scratch / "workspace")
    dialogues = 0

    def run_import() -> None:
        nonlocal dialogues
        dialogues = import_corpus(workspace, corpus, "mmd").ledger["dialogues"].kept

    run_import()  # modules and the page cache are warm for everybody
    parsers: dict[str, Callable[[bytes], Any]] = {"json.loads": json.loads, "orjson.loads": orjson.loads}
    best: dict[str, float] = {}
    for _ in progress.track(range(rounds), f"import, {name}"):
        for parser, parse in parsers.items():
            best[parser] = min(best.get(parser, float("inf")), _seconds(lambda parse=parse: _parse(files, parse)))  # type: ignore[misc]
        best["import"] = min(best.get("import", float("inf")), _seconds(run_import))
    return [
        {
            "name": f"import, {name}",
            "ratio": best["import"] / best[parser],
            "against": f"{parser} on the same files",
            "seconds": best["import"],
            "seconds_against": best[parser],
            "goal": str(GOAL),
            "reached": GOAL.reached(best["import"] / best[parser]),
            "dialogues": dialogues,
            "megabytes": size / 1e6,
        }
        for parser in parsers
    ]


def _parse(files: Sequence[Path], parse: Callable[[bytes], Any]) -> None:
    for path in files:
        parse(path.read_bytes())


def _seconds(work: Callable[[], None]) -> float:
    """Processor seconds of all threads, which other work on the machine changes less than the clock on the wall."""
    start = time.process_time()
    work()
    return time.process_time() - start
