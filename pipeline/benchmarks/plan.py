"""Whether ``semctl plan`` foretells right what more labels bring to the state tracker.

Some labelled dialogues of the workspace are taken as all that there are; what a plan says of so many more is held
against what the tracker gains when as many are added in truth, on labelled dialogues that neither learns from. A seed
decides which ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from annotate.assignment.selection_strategies import seeded_order
from pipeline.benchmarks.measure import Options, row
from pipeline.chosen_dialogues import splits_of
from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
from pipeline.selection.state_curve import FEWEST, MEASURES, state_curves
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.state_metrics import StateFigures
from semantic_model.evaluation.metrics import Interval
from semantic_model.states.tracker import LabelledDialogue, fit_tracker
from semantic_model.states.turn_reading import Choice

SEEDS = 3
SIZES = (80, 150)
MORE = (50, 100)

_READ = 100
"""Dialogues that must be left to read, at least."""
_TITLES = {"value_f1": "value F1", "jga": "joint goal accuracy"}


def benchmark(options: Options) -> list[dict[str, Any]]:
    """A row for each seed, number of dialogues labelled (``sizes``), number to come and measure; ``rounds`` seeds.

    Raises:
        UsageError: no workspace, or none with gold states enough.
    """
    if options.workspace is None:
        raise UsageError("plans are made in a workspace with labels", fix="name it with `semctl -w FOLDER`")
    workspace = Workspace(options.workspace).require()
    ontology = workspace.ontology()
    splits = splits_of(workspace.turns)
    every = labelled_dialogues(workspace, without={})
    gold = {name: each for name, each in every.items() if splits[name] in ("train", "valid")}
    sizes = options.sizes or SIZES
    fewest = max(sizes) + MORE[-1] + _READ
    if min(sizes) < FEWEST or len(gold) < fewest:
        raise UsageError(
            f"{len(gold)} wholly labelled dialogues; a plan for {min(sizes)} takes {FEWEST}, and to hold one for "
            f"{max(sizes)} against the truth takes {fewest}",
            where=workspace.states,
            fix="run `semctl ingest-labels` in a workspace whose dialogues are labelled, or give another --size",
        )
    images = image_choices(workspace, ontology)
    seeds = range(options.rounds or SEEDS)
    return [each for seed in seeds for each in _rows(gold, ontology, images, sizes, seed, options.progress)]


def _rows(
    gold: Mapping[str, LabelledDialogue],
    ontology: Ontology,
    images: Mapping[str, frozenset[Choice]],
    sizes: Sequence[int],
    seed: int,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    order = seeded_order(list(gold), seed)
    unseen = order[max(sizes) + MORE[-1] :]
    for size in sizes:
        curves = state_curves({name: gold[name] for name in order[:size]}, ontology, images, progress).curves
        truth: dict[int, StateFigures] = {}
        for amount in progress.track((size, *(size + more for more in MORE)), "what they bring in truth"):
            tracker = fit_tracker([gold[name] for name in sorted(order[:amount])], ontology, images)
            truth[amount] = StateFigures()
            for name in unseen:
                for read in tracker.track(gold[name].rows):
                    truth[amount].add(read.state, gold[name].states[read.turn] or ())
        for measure in MEASURES:
            for more in MORE:
                yield _row(seed, size, more, measure, curves[measure].gain(size, size + more), truth)


def _row(
    seed: int, size: int, more: int, measure: str, foretold: tuple[float, Interval], truth: Mapping[int, StateFigures]
) -> dict[str, Any]:
    gain, (low, high) = foretold
    before, after = (_of(truth[amount], measure) for amount in (size, size + more))
    return row(
        f"{size} labelled and {more} to come, seed {seed}",
        gain,
        f"gain in {_TITLES[measure]}",
        None,
        seed=seed,
        labelled=size,
        more=more,
        measure=measure,
        gain=gain,
        interval=[low, high],
        measured=after - before,
        covered=low <= after - before <= high,
        before=before,
        turns=truth[size].turns,
    )


def _of(figures: StateFigures, measure: str) -> float:
    return float(getattr(figures, measure) or 0.0)


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str], list[list[object]]]]:
    """Titles, columns and lines that show the rows to people."""
    for measure in MEASURES:
        chosen = [each for each in rows if each["measure"] == measure]
        covered = sum(each["covered"] for each in chosen)
        yield (
            f"{_TITLES[measure]}, gains in points; {covered} of {len(chosen)} measured ones within the interval (95 %)",
            ["seed", "labelled", "to come", "foretold", "from", "to", "measured", "within"],
            [
                [
                    *(each[key] for key in ("seed", "labelled", "more")),
                    *(f"{100 * value:+.1f}" for value in (each["gain"], *each["interval"], each["measured"])),
                    "yes" if each["covered"] else "no",
                ]
                for each in chosen
            ],
        )
