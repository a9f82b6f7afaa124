"""Pre-labels against gold states: what is right in them, and how much of the labelling they leave to do.

The workspace's own states are the gold. Nothing is measured on what taught it: the lexicon learns from four fifths of
the dialogues and is measured on the others, five times; a run is measured on the dialogues outside its training split;
a language model on a few dialogues, with examples from others, and the lexicon taught by these beside it.
Actions are picks, removals, typed values, offers taken and submits of a simulated annotator who corrects towards the
gold with as few of them as can be; labelling from nothing is counted in the same way. The same in clicks and keys
stands beside it, and both as they would be if nothing were offered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.annotations.annotation import turn_update
from annotate.exports.refusals import Refused
from annotate.exports.results import read_result
from annotate.prelabels.prelabel_metrics import Actions, PrelabelFigures, measure_dialogue
from annotate.prelabels.prelabels import Prelabel, prediction
from annotate.simulated_annotators import Annotator, offered_choices
from annotate.tasks import label_config as labels
from annotate.tasks.dialogue_tasks import TaskStyle, dialogue_tasks
from pipeline.benchmarks.measure import Goal, Options, row
from pipeline.labelling.prelabelling import LlmOptions, Tracked, llm_prelabels, prelabel_model
from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
from pipeline.workspace import Workspace
from schemas.accumulate import accumulate
from schemas.belief import TurnUpdate
from schemas.errors import UsageError
from schemas.ontology import Ontology
from schemas.progress import SilentProgress
from schemas.state_metrics import Hits, items_of
from schemas.tables import TURNS, open_table
from semantic_model.states.tracker import FEWEST_DIALOGUES, LabelledDialogue, fit_tracker

FEWER = Goal("at most", 0.3)
FOLDS = 5
OVERSIGHT = 0.1
"""Marks that a hurried annotator does not see to be missing, or to be wrong, as a share."""
ASKED = 20
"""Dialogues that a language model is asked about, if no other number is given: it takes its time, and may cost."""

_MARKS = ("picks", "typed", "removals", "offers", "submits")
_WAYS = ("from_nothing", "with_prelabels")


@dataclass(frozen=True)
class _Screen:
    """What all dialogues are labelled with."""

    ontology: Ontology
    offered: Collection[str]
    window: int


def benchmark(options: Options) -> list[dict[str, Any]]:
    """The lexicon untaught, and taught by as many dialogues as ``sizes`` say, else by all others; then each run, and a
    language model, where they are named.

    Raises:
        UsageError: no workspace, or none with gold states; or a language model may take more than its caps allow.
        ModelError: a run that is not there, or predicts no states that can be read.
        ServiceError: the language model cannot be asked; what it replied is kept.
    """
    if options.workspace is None:
        raise UsageError("pre-labels are measured on a workspace with labels", fix="name it with `semctl -w FOLDER`")
    workspace = Workspace(options.workspace).require()
    settings = workspace.settings().labelling
    ontology = workspace.ontology()
    config = labels.build(ontology, max_values_per_slot=settings.max_values_per_slot, max_choices=settings.max_choices)
    window = labels.window_size(config, max_choices=settings.max_choices, asked=settings.window)
    screen = _Screen(ontology, offered_choices(config.xml), window)
    gold = labelled_dialogues(workspace, without={})
    if len(gold) < FEWEST_DIALOGUES + FOLDS:
        raise UsageError(
            f"{len(gold)} wholly labelled dialogues are too few to measure pre-labels on",
            where=workspace.states,
            fix="run `semctl ingest-labels` in a workspace whose dialogues are labelled",
        )
    named: list[dict[str, Any]] = []  # measured first: what is named may be refused
    for name in options.prelabels:
        if name == "llm":
            named += _of_llm(workspace, gold, screen, options)
        else:
            named += _of_run(workspace, name, gold, screen, options)
    lexicons = _lexicons(workspace, gold, screen, options)
    return [*(_row(title, prelabels, gold, screen) for title, prelabels in lexicons), *named]


def _lexicons(
    workspace: Workspace, gold: Mapping[str, LabelledDialogue], screen: _Screen, options: Options
) -> Iterator[tuple[str, dict[str, Prelabel]]]:
    attributes = image_choices(workspace, screen.ontology)
    rows = {name: dialogue.rows for name, dialogue in gold.items()}
    untaught = Tracked(fit_tracker((), screen.ontology, attributes), rows)
    yield "lexicon, nothing labelled yet", {name: untaught.prelabel(name) for name in rows}
    for size in options.sizes or (len(gold),):
        teachers = {
            part: sorted((name for name in gold if fold_of(name) != part), key=_order)[:size] for part in range(FOLDS)
        }
        fewest = min(map(len, teachers.values()))
        if fewest < FEWEST_DIALOGUES:
            raise UsageError(
                f"the lexicon learns from {FEWEST_DIALOGUES} labelled dialogues on, not from {fewest}",
                fix="use a larger --size, or a workspace with more labels",
            )
        prelabels: dict[str, Prelabel] = {}
        for part, others in options.progress.track(teachers.items(), f"teaching the lexicon, at most {size}"):
            model = Tracked(fit_tracker([gold[name] for name in sorted(others)], screen.ontology, attributes), rows)
            prelabels |= {name: model.prelabel(name) for name in gold if fold_of(name) == part}
        yield f"lexicon, taught by {fewest} labelled dialogues", prelabels


def _of_run(
    workspace: Workspace, name: str, gold: Mapping[str, LabelledDialogue], screen: _Screen, options: Options
) -> Iterator[dict[str, Any]]:
    """The run, and the lexicon on the same dialogues."""
    unseen = sorted(set(gold) & _outside_training(workspace, name))
    if not unseen:
        raise UsageError(f"every labelled dialogue may have trained '{name}'", fix="label some of another split")
    rows = {each: gold[each].rows for each in unseen}
    for how in (name, "lexicon"):
        model = prelabel_model(workspace, how, rows, SilentProgress())
        asked = options.progress.track(unseen, how, total=len(unseen))
        prelabels = {each: model.prelabel(each) for each in asked}
        yield _row(f"{model.version} on {len(unseen)} dialogues outside training", prelabels, gold, screen)


def _of_llm(
    workspace: Workspace, gold: Mapping[str, LabelledDialogue], screen: _Screen, options: Options
) -> Iterator[dict[str, Any]]:
    """A language model on some dialogues, and the lexicon on the same; both know the same others."""
    ordered = sorted(gold, key=_order)
    tested, others = ordered[: options.dialogues or ASKED], ordered[options.dialogues or ASKED :]
    if not tested or len(others) < FEWEST_DIALOGUES:
        raise UsageError(
            f"{len(others)} labelled dialogues beside those asked about are too few to choose examples from",
            fix="use a smaller --dialogues",
        )
    known = {each: gold[each] for each in others[: max(options.sizes, default=len(others))]}
    rows = {each: gold[each].rows for each in tested}
    model = llm_prelabels(workspace, rows, known, options.llm or LlmOptions(), options.progress)
    model.ask(tested)
    prelabels = {each: model.prelabel(each) for each in tested}
    yield _row(f"{model.version} on {len(tested)} dialogues", prelabels, gold, screen) | {"llm": model.asked.as_json()}
    images = image_choices(workspace, screen.ontology)
    lexicon = Tracked(fit_tracker([known[each] for each in sorted(known)], screen.ontology, images), rows)
    prelabels = {each: lexicon.prelabel(each) for each in tested}
    yield _row(f"{lexicon.version} on the same {len(tested)}", prelabels, gold, screen)


def _outside_training(workspace: Workspace, name: str) -> set[str]:
    """Dialogues of the splits that do not train, as the run's fold has them."""
    from pipeline.modelling.run_record import read_record
    from pipeline.modelling.runs import find_run, load_corpus

    run = name.removeprefix("run:")
    if run == name or not run:
        raise UsageError(f"'{name}' is no run", fix="write --prelabel run:ID, --prelabel run:latest or --prelabel llm")
    fold = read_record(find_run(workspace, run)).fold
    if fold is not None:
        splits = load_corpus(workspace, fold=fold).splits
        return {dialogue for dialogue, split in splits.items() if split == "test"}
    found: set[str] = set()
    with open_table(workspace.turns, TURNS) as file:
        for batch in file.iter_batches(columns=["dialogue_id", "split"]):
            found |= {each["dialogue_id"] for each in batch.to_pylist() if each["split"] != "train"}
    return found


def _row(
    title: str, prelabels: Mapping[str, Prelabel], gold: Mapping[str, LabelledDialogue], screen: _Screen
) -> dict[str, Any]:
    figures = PrelabelFigures()
    for name, prelabel in prelabels.items():
        states = gold[name].states
        updates = [prelabel[turn].update if turn in prelabel else TurnUpdate() for turn in sorted(states)]
        after = [states[turn] for turn in sorted(states)]
        windows = -(-len(after) // screen.window)
        offers = [prelabel[turn].offers if turn in prelabel else () for turn in sorted(states)]
        measure_dialogue(
            figures, updates, after, screen.ontology, offered=screen.offered, windows=windows, offers=offers
        )
    changes = sum(figures.updates.values(), Hits())
    assert figures.ratio is not None
    return row(
        title,
        figures.ratio,
        "of the actions of labelling from nothing",
        FEWER,
        dialogues=figures.dialogues,
        turns=figures.turns,
        f1_updates=changes.f1,
        f1_states=figures.states.value_f1,
        exact_updates=figures.exact_updates / figures.turns,
        jga=figures.states.jga,
        actions=_actions(figures.without, figures),
        actions_with_prelabels=_actions(figures.corrections, figures),
        ratio_without_submits=figures.ratio_of_marks,
        ratio_without_offers=figures.by_hand.total / figures.without.total,
        ratio_of_strokes=figures.ratio_of_strokes,
        ratio_of_strokes_without_offers=figures.by_hand.strokes / figures.without.strokes,
        offers_per_turn=figures.offers / figures.turns,
        lowest_ratio=figures.without.submits / figures.without.total,
        final_jga={
            "careful": _final(prelabels, gold, screen, oversight=0.0),
            "hurried": _final(prelabels, gold, screen, oversight=OVERSIGHT),
        },
        slots=_slots(figures),
    )


def _actions(actions: Actions, of: PrelabelFigures) -> dict[str, Any]:
    parts = {name: getattr(actions, name) for name in _MARKS}
    each = {"per_turn": actions.total / of.turns, "per_dialogue": actions.total / of.dialogues}
    return {**parts, "total": actions.total, **each, "strokes": actions.strokes}


def _slots(figures: PrelabelFigures) -> list[dict[str, Any]]:
    names = {*figures.updates, *figures.states.values, *figures.without.of_slot, *figures.corrections.of_slot}
    found = []
    for name in sorted(names, key=lambda name: (-figures.without.of_slot[name], name)):
        updates, states = figures.updates.get(name, Hits()), figures.states.values.get(name, Hits())
        found.append(
            {
                "slot": name,
                "actions": figures.without.of_slot[name],
                "actions_with_prelabels": figures.corrections.of_slot[name],
                **vars(updates),
                "f1_updates": updates.f1,
                "f1_states": states.f1,
            }
        )
    return found


def _final(
    prelabels: Mapping[str, Prelabel], gold: Mapping[str, LabelledDialogue], screen: _Screen, *, oversight: float
) -> dict[str, float]:
    """Joint goal accuracy of the answers of a simulated annotator, read as an ingest reads them, from nothing and with
    pre-labels: the share of turns whose cumulative state is the gold one.
    """
    states = {(name, turn): state for name in prelabels for turn, state in gold[name].states.items()}
    annotator = Annotator(screen.ontology, states, screen.offered, oversight=oversight)
    style = TaskStyle(screen.window, screen.ontology.version, "")
    right = dict.fromkeys(_WAYS, 0)
    for name, prelabel in prelabels.items():
        tasks = [task["data"] for task in dialogue_tasks(gold[name].rows, style)]
        for way in right:
            updates: dict[int, TurnUpdate | None] = {}
            for data in tasks:
                shown = prediction(prelabel, "", data, screen.offered) if way == "with_prelabels" else None
                updates |= _read(annotator.result(data, shown), data, screen.ontology)
            turns = sorted(gold[name].states)
            reached = accumulate([updates.get(turn) for turn in turns], screen.ontology)
            right[way] += sum(
                known.state is not None and items_of(known.state) == items_of(gold[name].states[turn] or ())
                for turn, known in zip(turns, reached, strict=True)
            )
    return {way: count / len(states) for way, count in right.items()}


def _read(result: list[dict[str, Any]], data: Mapping[str, Any], ontology: Ontology) -> dict[int, TurnUpdate | None]:
    turns = [turn["turn"] for turn in data["user_turns"]]
    try:
        marks = read_result(result, turns, ontology).marks
    except Refused:
        return {}
    return {turn: turn_update(said) for turn in turns if (said := [mark for mark in marks if mark.turn == turn])}


def fold_of(name: str) -> int:
    """Which of :data:`FOLDS` folds a dialogue is in."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % FOLDS


def _order(name: str) -> bytes:
    return hashlib.sha256(f"taught:{name}".encode()).digest()


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str], list[list[object]]]]:
    """Titles, columns and lines that show the rows to people."""
    heads = ["pre-labels", "dialogues", "F1 updates", "F1 states", "exact turns", "JGA"]
    keys = ("name", "dialogues", "f1_updates", "f1_states", "exact_updates", "jga")
    yield "right before anybody corrects", heads, [_cells(each, *keys) for each in rows]
    heads = ["pre-labels", "from nothing, a turn", "with them", *_MARKS, "ratio", "without submits", "lowest possible"]
    lines = [
        [
            each["name"],
            *(f"{each[key]['per_turn']:.2f}" for key in ("actions", "actions_with_prelabels")),
            *_cells(each["actions_with_prelabels"], *_MARKS),
            *_cells(each, "ratio", "ratio_without_submits", "lowest_ratio"),
        ]
        for each in rows
    ]
    yield "actions of annotators", heads, lines
    heads = ["pre-labels", "offers a turn", "ratio of actions", "if nothing is offered", "of clicks and keys", "if not"]
    ratios = ("ratio", "ratio_without_offers", "ratio_of_strokes", "ratio_of_strokes_without_offers")
    yield "what is offered for one click", heads, [_cells(each, "name", "offers_per_turn", *ratios) for each in rows]
    title = f"final joint goal accuracy; the hurried oversee {OVERSIGHT:.0%} of what is to mark or to take away"
    heads = ["pre-labels", "careful, from nothing", "with them", "hurried, from nothing", "with them"]
    by_person = [[_cells(each["final_jga"][who], *_WAYS) for who in ("careful", "hurried")] for each in rows]
    yield title, heads, [[each["name"], *one, *other] for each, (one, other) in zip(rows, by_person, strict=True)]
    asked = [(each["name"], each["llm"]) for each in rows if "llm" in each]
    if asked:
        heads = ["pre-labels", "replies now", "kept", "left blank", "marks dropped", "tokens sent", "received", "cost"]
        lines = [
            [
                name,
                said["asked"],
                said["kept"],
                sum(said["blank"].values()),
                sum(said["dropped"].values()),
                *(said["tokens"][each] for each in ("sent", "received")),
                "" if said["cost"] is None else f"{said['cost']:.4f}",
            ]
            for name, said in asked
        ]
        yield "language model: user turns, marks dropped, tokens", heads, lines
    heads = ["slot", "actions from nothing", "with them", "right", "wrong", "missing", "F1 updates", "F1 states"]
    for each in rows:
        yield f"by slot: {each['name']}", heads, [_cells(slot, *slot) for slot in each["slots"]]


def _cells(found: Mapping[str, Any], *keys: str) -> list[object]:
    """The values of some keys: shares with three digits, nothing for None."""
    values = map(found.__getitem__, keys)
    return ["" if value is None else f"{value:.3f}" if isinstance(value, float) else value for value in values]
