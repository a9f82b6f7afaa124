"""Single turns against whole dialogues: value F1 of a state tracker that either taught, at equal actions of annotators.

The workspace's own states are the gold, and a fifth of its dialogues, another one for each seed, is held out. Of the
others a simulated annotator labels as many as a number of actions allows (picks, removals, typed values, submits), in
rounds that end at each of these numbers. A round chooses by, and fills in, what the tracker reads that earlier rounds
taught: whole dialogues and what each turn changes in them, or the whole state after at most two turns of a dialogue.
What is measured are the cumulative states that the tracker reads in the dialogues held out, by themselves.

With ``ranking`` the dialogues held out are those of the valid part, labels are of the train part, and each of them is
ingested into a workspace without any others, where a run of preset ``default`` learns from them and ranks all products
at the recommendation turns held out. A seed is that run's, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, get_args

from annotate.assignment.selection_strategies import seeded_order
from annotate.prelabels.prelabel_metrics import PrelabelFigures, measure_dialogue
from annotate.prelabels.prelabels import Prelabel, prediction, whole_states
from annotate.simulated_annotators import fill_tasks, offered_choices
from annotate.tasks import label_config as labels
from annotate.tasks.dialogue_tasks import TaskStyle, dialogue_tasks, state_tasks
from pipeline.benchmarks.measure import Options, row
from pipeline.chosen_dialogues import splits_of
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.prelabelling import Tracked
from pipeline.modelling.runs import load_corpus, open_ranker
from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
from pipeline.modelling.train import TrainRequest, train
from pipeline.selection.select_dialogues import Selected
from pipeline.selection.single_turns import doubtful, drawn, in_order
from pipeline.workspace import Workspace
from schemas.belief import BeliefState, TurnUpdate
from schemas.errors import UsageError
from schemas.files import write_json
from schemas.ontology import Ontology
from schemas.state_metrics import Hits, items_of
from semantic_model.evaluation.evaluation import evaluate_ranker
from semantic_model.states.tracker import FEWEST_DIALOGUES, LabelledDialogue, StateTracker, fit_tracker
from semantic_model.states.turn_reading import Choice

Way = Literal["dialogues", "random turns", "doubtful turns"]
WAYS: tuple[Way, ...] = get_args(Way)

ACTIONS = (20, 50, 100, 200, 400)
SEEDS = 3
PER_DIALOGUE = 2
_HELD_OUT = 0.2


@dataclass(frozen=True)
class _Shop:
    """What all rounds share."""

    workspace: Workspace
    splits: Mapping[str, str]
    ontology: Ontology
    images: Mapping[str, frozenset[Choice]]
    gold: Mapping[str, LabelledDialogue]
    style: TaskStyle
    offered: frozenset[str]

    def parts(self, seed: int, *, by_split: bool) -> tuple[list[str], list[str]]:
        """The dialogues held out, and those that may be labelled, in the order of a seed."""
        order = seeded_order(self.gold, seed)
        if by_split:
            held_out, pool = ([name for name in order if self.splits[name] == split] for split in ("valid", "train"))
        else:
            cut = round(len(order) * _HELD_OUT)
            held_out, pool = order[:cut], order[cut:]
        if not held_out or len(pool) < FEWEST_DIALOGUES:
            raise UsageError(
                f"{len(pool)} wholly labelled dialogues to choose from and {len(held_out)} to measure on are too few",
                where=self.workspace.states,
                fix="run `semctl ingest-labels` in a workspace whose dialogues are labelled",
            )
        return held_out, pool

    def taught(self, given: Mapping[str, Mapping[int, BeliefState | None]]) -> StateTracker:
        """The tracker that some labels of some turns teach."""
        teachers = [LabelledDialogue(self.gold[name].rows, given[name]) for name in sorted(given)]
        return fit_tracker(teachers, self.ontology, self.images)

    def actions(self, updates: Sequence[TurnUpdate], states: Sequence[BeliefState | None], windows: int) -> int:
        """What correcting some turns takes that follow each other from a state in which nothing is wanted."""
        figures = PrelabelFigures()
        measure_dialogue(figures, updates, states, self.ontology, offered=self.offered, windows=windows)
        return figures.corrections.total


@dataclass
class _Labels:
    """What was labelled in one way, with one seed."""

    states: dict[str, dict[int, BeliefState | None]] = field(default_factory=dict)  # dialogue -> turn -> state
    tasks: list[dict[str, Any]] = field(default_factory=list)  # as they were shown
    actions: int = 0

    @property
    def turns(self) -> int:
        return sum(map(len, self.states.values()))


class _Measured(NamedTuple):
    """Figures of one way at one number of actions, with one seed."""

    f1: float
    jga: float
    actions: int  # done
    tasks: int
    turns: int
    dialogues: int
    ndcg: float | None = None  # NDCG@5 of a run that learned from these labels, where one was asked for


def benchmark(options: Options) -> list[dict[str, Any]]:
    """Each way at as many actions as ``sizes`` say, with ``rounds`` seeds; ``out`` keeps the labels of each.

    Raises:
        UsageError: no workspace, or none with gold states.
    """
    if options.workspace is None:
        raise UsageError("turns are measured on a workspace with labels", fix="name it with `semctl -w FOLDER`")
    shop = _shop(Workspace(options.workspace).require())
    budgets = sorted(set(options.sizes or ACTIONS))
    seeds = range(options.rounds or SEEDS)
    parts = {seed: shop.parts(seed, by_split=options.ranking) for seed in seeds}
    nothing = {seed: _ndcg(None, (), shop, seed) for seed in seeds} if options.ranking else {}
    found: dict[tuple[Way, int], list[_Measured]] = {}
    for way, seed in options.progress.track([(way, seed) for way in WAYS for seed in seeds], "labelling"):
        for budget, given, measured in _rounds(way, seed, shop, parts[seed], budgets):
            with TemporaryDirectory(prefix="semctl-turns-") as folder:
                file = (options.out or Path(folder)) / f"{way.replace(' ', '-')}-{budget}-seed{seed}.json"
                write_json(file, _export(given, shop, seed))
                if options.ranking:
                    ndcg = _ndcg(file, sorted(given.states), shop, seed) if given.states else nothing[seed]
                    measured = measured._replace(ndcg=ndcg)
            found.setdefault((way, budget), []).append(measured)
    return [
        _row(way, budget, found[way, budget], found["dialogues", budget], list(nothing.values()))
        for way in WAYS
        for budget in budgets
    ]


def _shop(workspace: Workspace) -> _Shop:
    settings = workspace.settings().labelling
    ontology = workspace.ontology()
    config = labels.build(ontology, max_values_per_slot=settings.max_values_per_slot, max_choices=settings.max_choices)
    window = labels.window_size(config, max_choices=settings.max_choices, asked=settings.window)
    gold = labelled_dialogues(workspace, without={})
    style = TaskStyle(window, ontology.version, config.sha256)
    images, offered = image_choices(workspace, ontology), offered_choices(config.xml)
    return _Shop(workspace, splits_of(workspace.turns), ontology, images, gold, style, offered)


def _rounds(
    way: Way, seed: int, shop: _Shop, parts: tuple[Sequence[str], Sequence[str]], budgets: Sequence[int]
) -> Iterator[tuple[int, _Labels, _Measured]]:
    held_out, pool = parts
    given = _Labels()
    tracker = shop.taught({})
    for budget in budgets:
        _label(given, way, seed, shop, pool, tracker, budget)
        tracker = shop.taught(given.states)
        yield budget, given, _measured(given, shop, held_out, tracker)


def _label(
    given: _Labels, way: Way, seed: int, shop: _Shop, pool: Sequence[str], tracker: StateTracker, budget: int
) -> None:
    """Label on, in the order of the way, as long as no more actions are done than allowed."""
    model = Tracked(tracker, {name: shop.gold[name].rows for name in pool})
    for name, turns in _chosen(way, seed, shop, pool, tracker, given):
        dialogue, prelabel = shop.gold[name], model.prelabel(name)
        every = sorted(dialogue.states)
        shown: Prelabel
        if turns is None:
            tasks, shown, asked = dialogue_tasks(dialogue.rows, shop.style), prelabel, every
        else:
            tasks, shown = state_tasks(dialogue.rows, turns, shop.style), whole_states(prelabel, every, shop.ontology)
            asked = list(turns)
        states = {turn: dialogue.states[turn] for turn in asked}
        cost = shop.actions([shown[turn].update for turn in asked], list(states.values()), len(tasks))
        if given.actions + cost > budget:
            return
        given.actions += cost
        given.states.setdefault(name, {}).update(states)
        given.tasks += [
            {**task, "predictions": [prediction(shown, tracker.version, task["data"], shop.offered)]} for task in tasks
        ]


def _chosen(
    way: Way, seed: int, shop: _Shop, pool: Sequence[str], tracker: StateTracker, given: _Labels
) -> Iterator[tuple[str, tuple[int] | None]]:
    """Dialogues and the turn of each that is asked for, None for all; without those that are labelled."""
    if way == "dialogues":
        yield from ((name, None) for name in pool if name not in given.states)
        return
    turns: Iterable[Selected]
    if way == "random turns":
        turns = (drawn(name, turn, seed) for name in pool for turn in shop.gold[name].states)
    else:
        turns = (doubtful(name, read) for name in pool for read in tracker.track(shop.gold[name].rows))
    taken = {(name, turn) for name, states in given.states.items() for turn in states}
    left = {name: PER_DIALOGUE - len(given.states.get(name, ())) for name in pool}
    free = (each for each in turns if (each.dialogue_id, each.turn) not in taken)
    for each in in_order(free, PER_DIALOGUE, seed):
        left[each.dialogue_id] -= 1
        if left[each.dialogue_id] >= 0 and each.turn is not None:
            yield each.dialogue_id, (each.turn,)


def _measured(given: _Labels, shop: _Shop, held_out: Sequence[str], tracker: StateTracker) -> _Measured:
    hits, exact, count = Hits(), 0, 0
    for name in held_out:
        for read in tracker.track(shop.gold[name].rows):
            said, gold = items_of(read.state), items_of(shop.gold[name].states[read.turn] or ())
            hits.add(said, gold)
            exact += said == gold
            count += 1
    return _Measured(hits.f1 or 0.0, exact / count, given.actions, len(given.tasks), given.turns, len(given.states))


def _ndcg(export: Path | None, dialogues: Sequence[str], shop: _Shop, seed: int) -> float:
    """Mean NDCG@5 at the recommendation turns of the valid part, of a run that knows the labels of one export only."""
    with TemporaryDirectory(prefix="semctl-turns-") as folder:
        scratch, of = Workspace(Path(folder)), shop.workspace
        for known in (of.settings_file, of.ontology_file, of.products.parent, of.features):
            if known.exists():
                (shutil.copytree if known.is_dir() else shutil.copy)(known, scratch.root / known.name)
        ingest_labels(scratch, IngestRequest(export=export))
        labels = TrainRequest(0.0) if export is None else TrainRequest(None, labelled=tuple(dialogues))
        record = train(scratch, replace(labels, preset="default", seed=seed))
        corpus = load_corpus(scratch)
        ranker = open_ranker(scratch.runs / record.run, corpus)
        return evaluate_ranker(ranker, corpus, "valid", "all").means["ndcg@5"]


def _export(given: _Labels, shop: _Shop, seed: int) -> list[dict[str, Any]]:
    gold = {(name, turn): state for name, each in shop.gold.items() for turn, state in each.states.items()}
    return fill_tasks(given.tasks, gold, shop.ontology, offered=shop.offered, seed=seed)


def _row(
    way: Way, budget: int, found: Sequence[_Measured], whole: Sequence[_Measured], nothing: Sequence[float]
) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in _Measured._fields:
        values = [getattr(each, name) for each in found]
        if None not in values:
            figures |= {name: mean(values), f"{name}_by_seed": values}
    return row(
        f"{way}, {budget} actions",
        figures["f1"] / mean(each.f1 for each in whole),
        "of the F1 that whole dialogues at random teach with as many actions",
        None,
        way=way,
        budget=budget,
        **figures,
        ndcg_unlabelled_by_seed=nothing,
    )


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str], list[list[object]]]]:
    """Titles, columns and lines that show the rows to people."""
    budgets = sorted({each["budget"] for each in rows})
    of = {(each["way"], each["budget"]): each for each in rows}
    heads = ["labelled", *(f"{budget} actions" for budget in budgets)]

    def spread(name: str) -> list[list[object]]:
        return [[way, *(_spread(of[way, budget][f"{name}_by_seed"]) for budget in budgets)] for way in WAYS]

    yield "value F1 of states, by what is labelled: mean and spread of the seeds", heads, spread("f1")
    if nothing := rows[0]["ndcg_unlabelled_by_seed"]:
        yield f"NDCG@5 of a run; {_spread(nothing)} where nothing is labelled", heads, spread("ndcg")
    for title, text in (
        ("states wholly right", "{jga:.3f}"),
        ("turns labelled / tasks / actions done", "{turns:.0f} / {tasks:.0f} / {actions:.0f}"),
    ):
        yield title, heads, [[way, *(text.format(**of[way, budget]) for budget in budgets)] for way in WAYS]


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0.0:.3f}"
