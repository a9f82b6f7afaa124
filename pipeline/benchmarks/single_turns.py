"""Single turns against whole dialogues: value F1 of a state tracker that either taught, at equal actions of annotators.

The workspace's own states are the gold, and a fifth of its dialogues, another one for each seed, is held out. Of the
others a simulated annotator labels as many as a number of actions allows (picks, removals, typed values, submits), in
rounds that end at each of these numbers. A round chooses by, and fills in, what the tracker reads that earlier rounds
taught: whole dialogues and what each turn changes in them, or the whole state after at most two turns of a dialogue.
What is measured are the cumulative states that the tracker reads in the dialogues held out, by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any, Literal, NamedTuple, get_args

from annotate.assignment.selection_strategies import seeded_order
from annotate.prelabels.prelabel_metrics import PrelabelFigures, measure_dialogue
from annotate.prelabels.prelabels import Prelabel, prediction, whole_states
from annotate.simulated_annotators import fill_tasks, offered_choices
from annotate.tasks import label_config as labels
from annotate.tasks.dialogue_tasks import TaskStyle, dialogue_tasks, state_tasks
from pipeline.benchmarks.measure import Options, row
from pipeline.labelling.prelabelling import Tracked
from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
from pipeline.selection.select_dialogues import Selected
from pipeline.selection.single_turns import doubtful, drawn, in_order
from pipeline.workspace import Workspace
from schemas.belief import BeliefState, TurnUpdate
from schemas.errors import UsageError
from schemas.files import write_json
from schemas.ontology import Ontology
from schemas.state_metrics import Hits, items_of
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

    ontology: Ontology
    images: Mapping[str, frozenset[Choice]]
    gold: Mapping[str, LabelledDialogue]
    style: TaskStyle
    offered: frozenset[str]

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
    found: dict[tuple[Way, int], list[_Measured]] = {}
    for way, seed in options.progress.track([(way, seed) for way in WAYS for seed in seeds], "labelling"):
        for budget, given, measured in _rounds(way, seed, shop, budgets):
            found.setdefault((way, budget), []).append(measured)
            if options.out is not None:
                file = options.out / f"{way.replace(' ', '-')}-{budget}-seed{seed}.json"
                write_json(file, _export(given, shop, seed))
    return [_row(way, budget, found[way, budget], found["dialogues", budget]) for way in WAYS for budget in budgets]


def _shop(workspace: Workspace) -> _Shop:
    settings = workspace.settings().labelling
    ontology = workspace.ontology()
    config = labels.build(ontology, max_values_per_slot=settings.max_values_per_slot, max_choices=settings.max_choices)
    window = labels.window_size(config, max_choices=settings.max_choices, asked=settings.window)
    gold = labelled_dialogues(workspace, without={})
    if len(gold) * (1 - _HELD_OUT) < FEWEST_DIALOGUES:
        raise UsageError(
            f"{len(gold)} wholly labelled dialogues are too few to measure on",
            where=workspace.states,
            fix="run `semctl ingest-labels` in a workspace whose dialogues are labelled",
        )
    style = TaskStyle(window, ontology.version, config.sha256)
    return _Shop(ontology, image_choices(workspace, ontology), gold, style, offered_choices(config.xml))


def _rounds(way: Way, seed: int, shop: _Shop, budgets: Sequence[int]) -> Iterator[tuple[int, _Labels, _Measured]]:
    order = seeded_order(shop.gold, seed)
    cut = round(len(order) * _HELD_OUT)
    held_out, pool = order[:cut], order[cut:]
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


def _export(given: _Labels, shop: _Shop, seed: int) -> list[dict[str, Any]]:
    gold = {(name, turn): state for name, each in shop.gold.items() for turn, state in each.states.items()}
    return fill_tasks(given.tasks, gold, shop.ontology, offered=shop.offered, seed=seed)


def _row(way: Way, budget: int, found: Sequence[_Measured], whole: Sequence[_Measured]) -> dict[str, Any]:
    f1 = [each.f1 for each in found]
    return row(
        f"{way}, {budget} actions",
        mean(f1) / mean(each.f1 for each in whole),
        "of the F1 that whole dialogues at random teach with as many actions",
        None,
        way=way,
        budget=budget,
        f1=mean(f1),
        spread=stdev(f1) if len(f1) > 1 else 0.0,
        f1_by_seed=f1,
        **{name: mean(getattr(each, name) for each in found) for name in _Measured._fields if name != "f1"},
    )


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str], list[list[object]]]]:
    """Titles, columns and lines that show the rows to people."""
    budgets = sorted({each["budget"] for each in rows})
    of = {(each["way"], each["budget"]): each for each in rows}
    heads = ["labelled", *(f"{budget} actions" for budget in budgets)]
    for title, text in (
        ("value F1 of states, by what is labelled: mean and spread of the seeds", "{f1:.3f} ± {spread:.3f}"),
        ("states wholly right", "{jga:.3f}"),
        ("turns labelled / tasks / actions done", "{turns:.0f} / {tasks:.0f} / {actions:.0f}"),
    ):
        yield title, heads, [[way, *(text.format(**of[way, budget]) for budget in budgets)] for way in WAYS]
