"""How well the state tracker reads belief states, against how many dialogues are labelled.

The workspace's own states are the gold. Two designs, both without a dialogue that taught the tracker: ``valid`` teaches
it with labelled dialogues of the train part and measures on the valid part, where there are both; ``folds`` takes the
labelled dialogues of both, holds a fifth of them out at a time, and teaches with others. A seed decides which dialogues
are labelled; a smaller size's are among a larger one's. Self-training reads the others that might have taught, too,
without their labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from annotate.assignment.selection_strategies import seeded_order
from pipeline.benchmarks.measure import Options, row
from pipeline.benchmarks.prelabels import FOLDS, fold_of
from pipeline.chosen_dialogues import splits_of
from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.ontology import Ontology
from schemas.state_metrics import StateFigures
from semantic_model.states.tracker import FEWEST_DIALOGUES, LabelledDialogue, fit_tracker
from semantic_model.states.turn_reading import Choice

SEEDS = 5
SIZES = (20, 80, 400)

_FIGURES = ("slot_f1", "value_f1", "jga")


def benchmark(options: Options) -> list[dict[str, Any]]:
    """The rules, then the tracker taught by as many dialogues as ``sizes`` say; ``rounds`` seeds each.

    With ``self_training``, each of them again as it has taught itself, where there is anything left to read.

    Raises:
        UsageError: no workspace, or none with gold states enough.
    """
    if options.workspace is None:
        raise UsageError("states are read in a workspace with labels", fix="name it with `semctl -w FOLDER`")
    workspace = Workspace(options.workspace).require()
    ontology = workspace.ontology()
    splits = splits_of(workspace.turns)
    gold = {
        name: dialogue
        for name, dialogue in labelled_dialogues(workspace, without={}).items()
        if splits[name] in ("train", "valid")
    }
    train = [name for name in gold if splits[name] == "train"]
    valid = [name for name in gold if splits[name] == "valid"]
    parts = [[name for name in sorted(gold) if fold_of(name) == part] for part in range(FOLDS)]
    folds = [([name for name in gold if name not in set(held)], held) for held in parts]
    if min(len(teachers) for teachers, _ in folds) < FEWEST_DIALOGUES:
        raise UsageError(
            f"{len(gold)} wholly labelled dialogues for training and validation are too few to measure states on",
            where=workspace.states,
            fix="run `semctl ingest-labels` in a workspace whose dialogues are labelled",
        )
    images = image_choices(workspace, ontology)
    designs = {"valid": [(train, valid)]} if len(train) >= FEWEST_DIALOGUES and valid else {}
    designs["folds"] = folds
    sizes = [0, *(options.sizes or SIZES)]
    asked = [
        (design, size, itself)
        for design in designs
        for size in sizes
        for itself in ((False, True) if options.self_training else (False,))
        if not itself or size < min(len(teachers) for teachers, _ in designs[design])
    ]
    found = []
    for design, size, itself in options.progress.track(asked, "reading states", total=len(asked)):
        seeds = range(1 if size == 0 else options.rounds or SEEDS)
        figures = [_read(designs[design], size, seed, gold, ontology, images, itself=itself) for seed in seeds]
        taught = min(size, *(len(teachers) for teachers, _ in designs[design]))
        found.append(_row(design, taught, [each.as_json() for each in figures], itself=itself))
    return found


def _read(
    folds: Sequence[tuple[Sequence[str], Sequence[str]]],
    size: int,
    seed: int,
    gold: Mapping[str, LabelledDialogue],
    ontology: Ontology,
    images: Mapping[str, frozenset[Choice]],
    *,
    itself: bool,
) -> StateFigures:
    figures = StateFigures()
    for teachers, held in folds:
        ordered = seeded_order(teachers, seed)
        chosen, others = sorted(ordered[:size]), sorted(ordered[size:]) if itself else []
        unlabelled = [gold[name].rows for name in others]
        tracker = fit_tracker([gold[name] for name in chosen], ontology, images, unlabelled=unlabelled)
        for name in held:
            for read in tracker.track(gold[name].rows):
                figures.add(read.state, gold[name].states[read.turn] or ())
    return figures


def _row(design: str, size: int, seeds: Sequence[Mapping[str, Any]], *, itself: bool) -> dict[str, Any]:
    means = {name: mean(each[name] or 0.0 for each in seeds) for name in _FIGURES}
    spread = {f"{name}_std": stdev(each[name] or 0.0 for each in seeds) if len(seeds) > 1 else 0.0 for name in _FIGURES}
    slots = sorted({slot for each in seeds for slot in each["slots"]})
    return row(
        f"{design}: "
        + (f"taught by {size} labelled dialogues" if size else "rules, nothing labelled")
        + (", and by itself" if itself else ""),
        means["value_f1"],
        "value F1 of cumulative states",
        None,
        design=design,
        labelled=size,
        self_trained=itself,
        turns=seeds[0]["turns"],
        seeds=len(seeds),
        **means,
        **spread,
        slots={slot: mean(each["slots"].get(slot, {}).get("f1") or 0.0 for each in seeds) for slot in slots},
    )


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str], list[list[object]]]]:
    """Titles, columns and lines that show the rows to people."""
    heads = ["", "labelled", "self-trained", "seeds", "turns", "slot F1", "value F1", "joint goal accuracy"]
    yield (
        "belief states after each user turn, against gold; per cent, mean ± standard deviation over seeds",
        heads,
        [
            [
                each["design"],
                each["labelled"],
                "yes" if each["self_trained"] else "no",
                *(each[key] for key in ("seeds", "turns")),
                *(f"{100 * each[name]:.1f} ± {100 * each[f'{name}_std']:.1f}" for name in _FIGURES),
            ]
            for each in rows
        ],
    )
    slots = sorted({slot for each in rows for slot in each["slots"]})
    lines = [
        [
            each["design"],
            each["labelled"],
            "yes" if each["self_trained"] else "no",
            *(f"{100 * each['slots'].get(slot, 0.0):.1f}" for slot in slots),
        ]
        for each in rows
    ]
    yield "value F1 by slot; per cent, mean over seeds", ["", "labelled", "self-trained", *slots], lines
