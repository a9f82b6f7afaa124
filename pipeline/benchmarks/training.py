"""A training step as the loop does it, against the plain one: float32, all padded, nothing encoded once for all."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.benchmarks.measure import Goal, Options, compared, interleaved, row
from pipeline.modelling.runs import load_corpus
from pipeline.workspace import Workspace
from schemas.errors import CheckError
from semantic_model.data.tokenizer import learn_words
from semantic_model.speed.training import TrainingCase

if TYPE_CHECKING:
    from semantic_model.data.corpus import Corpus

BATCH, WIDTH, VOCABULARY = 64, 768, 4000
FASTER = Goal("at least", 3.0)
BUSY = Goal("at least", 0.9)


def benchmark(options: Options) -> list[dict[str, Any]]:
    """A step on D_F and one on D_P at the ``paper`` size: D = 768, 3 layers, B = 64, T = 5, L = 30, 15 slots.

    Texts, images shown and candidates are those of a generated corpus, or of ``--corpus``; word vectors, features and
    states are random. ``--size`` is another B, ``--width`` another D. On a CPU seconds are processor seconds of all
    threads, which other work on the machine changes less than the clock on the wall.

    Raises:
        CheckError: the plain step's loss is another one.
        InputError: the corpus has nothing to train on.
    """
    with tempfile.TemporaryDirectory() as scratch:
        corpus = _corpus(Path(scratch), options)
    return [
        row for batch in options.sizes or (BATCH,) for row in _steps(corpus, batch, options.width or WIDTH, options)
    ]


def _corpus(scratch: Path, options: Options) -> Corpus:
    from pipeline.corpus.import_corpus import ImportRequest, import_corpus
    from pipeline.generator.corpus import GenerateRequest, generate_corpus

    folder = options.corpus
    if folder is None:
        folder = scratch / "corpus"
        generate_corpus(
            folder, GenerateRequest(size="demo" if options.width is None else "test"), progress=options.progress
        )
    workspace = Workspace(scratch / "workspace")
    import_corpus(workspace, ImportRequest(folder, "mmd"), progress=options.progress)
    return load_corpus(workspace)


def _steps(corpus: Corpus, batch: int, width: int, options: Options) -> list[dict[str, Any]]:
    texts = [said.text for query in corpus.queries("train") for said in query.history]
    words = learn_words([*texts, *(product.text for product in corpus.products)], VOCABULARY)
    case = TrainingCase(corpus, words, batch, width)
    difference = case.largest_difference()
    if not difference <= 1e-4:
        raise CheckError(f"the plain step's loss is {difference:.2g} off", where=f"B = {batch}, D = {width}")
    found = []
    for part in case.parts:
        title = f"a training step on {part}, B = {batch}, D = {width}"
        seconds = interleaved(
            {
                "ours": lambda part=part: case.step(part),  # type: ignore[misc]
                "float32": lambda part=part: case.step(part, "float32"),  # type: ignore[misc]
                "plain": lambda part=part: case.step(part, "plain"),  # type: ignore[misc]
            },
            options.rounds or 2,
            progress=options.progress,
            title=title,
            clock=time.process_time if case.device.type == "cpu" else time.perf_counter,
        )
        for kind, name in (("ours", case.precision), ("float32", "float32")):
            found.append(
                compared(
                    f"{title}, {name}",
                    "the plain step: float32, every text and image place padded, each candidate encoded",
                    seconds[kind],
                    seconds["plain"],
                    FASTER if kind == "ours" else None,
                    examples_per_second=[batch / value for value in seconds[kind]],
                    examples_per_second_against=[batch / value for value in seconds["plain"]],
                    device=str(case.device),
                    largest_difference=difference,
                )
            )
    busy = case.busy_share()
    if busy is not None:
        against = f"of the time of {busy.steps} steps on {busy.device} in a row"
        more = {"seconds": busy.seconds, "examples_per_second": busy.steps * batch / busy.seconds}
        found.append(row("the GPU is busy", busy.share, against, BUSY, **more))
    return found
