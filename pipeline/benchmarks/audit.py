"""The audit of labels on planted errors: how many of the labels that it doubts most are wrong, and how many it finds.

The workspace's own labels are the gold; each round plants other errors into a copy of them in memory and audits that
with trackers that the planted errors taught, too. A planted error counts as found when one of its turns is among the
first. Errors that the gold itself has count as false alarms, so that precision is told too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from random import Random
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from annotate.annotations.annotation import CORPUS, Annotation, Mark
from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.checks.catalogue import CatalogueIndex
from annotate.checks.checks import Checks
from annotate.checks.dialogue import DialogueStore
from annotate.checks.findings import CODES
from annotate.resolution.resolve import resolve
from annotate.states.splits import label_dialogue
from pipeline.benchmarks.measure import Options, row
from pipeline.labelling.audit import AuditRequest, Labels, TurnLabel, out_of_fold, rank
from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
from pipeline.workspace import Workspace
from schemas.accumulate import accumulate, difference, one_after_the_other
from schemas.belief import TurnUpdate
from schemas.errors import MissingPartError, UsageError
from schemas.ontology import Ontology
from semantic_model.states.tracker import FEWEST_DIALOGUES, LabelledDialogue
from semantic_model.states.turn_reading import TurnReader

RATE = 0.05
"""Turns that get an error, as a share; and turns that somebody looks at again."""

DEPTHS = (50, 100)

Kind = Literal["swapped", "dropped", "added", "late"]
"""``swapped``: another value of the slot. ``dropped``: a wanted value is not marked. ``added``: one is marked that the
turn names but does not ask for. ``late``: what the turn says is marked at the next one."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Place = tuple[str, int]
"""Dialogue id and turn."""


class Planted(NamedTuple):
    """One error."""

    kind: Kind
    places: tuple[Place, ...]  # the turns whose update is wrong now


class Figures(NamedTuple):
    """How well one order of the turns finds the errors."""

    precision: Mapping[int, float]  # of the first so many turns, the share with an error
    recall: float  # share of the errors with a turn among the first :data:`RATE` of all
    by_kind: Mapping[Kind, float]  # the same of each kind


def benchmark(options: Options) -> list[dict[str, Any]]:
    """The audit, the findings of the checks, a model of words by scikit-learn, and a random order; each the mean over
    ``rounds`` (5) seeds.

    Raises:
        UsageError: no workspace, or too few labels.
        MissingPartError: scikit-learn is not installed.
    """
    if options.workspace is None:
        raise UsageError("the audit is measured on a workspace with labels", fix="name it with `semctl -w FOLDER`")
    workspace = Workspace(options.workspace).require()
    ontology = workspace.ontology()
    gold = labelled_dialogues(workspace, without={})
    folds = AuditRequest().folds
    if len(gold) < FEWEST_DIALOGUES + folds:
        raise UsageError(
            f"{len(gold)} wholly labelled dialogues are too few to measure the audit on",
            where=workspace.states,
            fix="run `semctl ingest-labels` in a workspace whose dialogues are labelled",
        )
    attributes = image_choices(workspace, ontology)
    found: dict[str, list[Figures]] = {}
    turns = errors = 0
    for seed in options.progress.track(range(options.rounds or 5), "seeds", total=options.rounds or 5):
        labels, planted = plant(gold, ontology, seed)
        drawn = sorted(labels.turns)
        Random(f"order {seed}").shuffle(drawn)  # another draw than that of the errors
        words = by_words(labels, folds, drawn)  # which says at once if scikit-learn is missing
        checked = check(workspace, labels, ontology)
        serious = {
            place: [code for code in codes if CODES[code].severity != "info"] for place, codes in checked.items()
        }
        beliefs = out_of_fold(labels, ontology, attributes, folds, options.progress).beliefs
        orders = {
            "audit": [(each.dialogue_id, each.turn) for each in rank(labels, beliefs, ontology, serious)],
            "the findings of checks alone": sorted(drawn, key=lambda place: _worst_first(checked.get(place, ()))),
            "words, by scikit-learn": words,
            "random order": drawn,
        }
        turns, errors = len(drawn), len(planted)
        for name, order in orders.items():
            found.setdefault(name, []).append(measure(order, planted, turns))
    return [_row(name, figures, turns=turns, errors=errors) for name, figures in found.items()]


def plant(gold: Mapping[str, LabelledDialogue], ontology: Ontology, seed: int) -> tuple[Labels, list[Planted]]:
    """Labels with errors in :data:`RATE` of their turns, the kinds in turn, at most one at each turn.

    Annotators mark updates, and so an error changes one: what holds after later turns follows from it.
    """
    random, reader = Random(seed), TurnReader(ontology)
    turns = {name: sorted(dialogue.states) for name, dialogue in gold.items()}
    updates = {name: _updates(dialogue) for name, dialogue in gold.items()}
    texts = {(name, row["turn"]): row["text"] for name, dialogue in gold.items() for row in dialogue.rows}
    spots = [(name, at) for name in sorted(gold) for at in range(len(turns[name]))]
    random.shuffle(spots)
    wanted = round(RATE * len(spots))
    planted: list[Planted] = []
    taken: set[tuple[str, int]] = set()
    for name, at in spots:
        if len(planted) == wanted:
            break
        kind = KINDS[len(planted) % len(KINDS)]
        reach = [(name, at), (name, at + 1)] if kind == "late" else [(name, at)]
        if at + len(reach) > len(turns[name]) or not taken.isdisjoint(reach):
            continue
        said = updates[name]
        if kind == "late":
            wrong = None if said[at] == TurnUpdate() else TurnUpdate()
        else:
            text = texts[name, turns[name][at]]
            held = {(item.slot, item.value) for item in gold[name].states[turns[name][at]] or ()}
            named = sorted(reader.named(text) - held) if kind == "added" else ()
            wrong = _slip(kind, said[at], named, ontology, random)
        if wrong is None:
            continue
        if kind == "late":
            said[at + 1] = one_after_the_other(said[at], said[at + 1])
        said[at] = wrong
        taken.update(reach)
        planted.append(Planted(kind, tuple((name, turns[name][spot]) for _, spot in reach)))
    every = frozenset(slot.name for slot in ontology.slots)
    dialogues = {}
    for name, dialogue in gold.items():
        reached = [known.state for known in accumulate(updates[name], ontology)]
        dialogues[name] = LabelledDialogue(dialogue.rows, dict(zip(turns[name], reached, strict=True)))
    known = {(name, turn): TurnLabel(every, ()) for name in gold for turn in turns[name]}
    return Labels(dialogues, frozenset(gold), known), planted


def _updates(dialogue: LabelledDialogue) -> list[TurnUpdate]:
    states = [dialogue.states[turn] or () for turn in sorted(dialogue.states)]
    return [difference(before, after) for before, after in zip([(), *states], states, strict=False)]


def _slip(
    kind: Kind, said: TurnUpdate, named: Sequence[tuple[str, str]], ontology: Ontology, random: Random
) -> TurnUpdate | None:
    """The update with an error of this kind in it; None where there is no room for one."""
    marked = [(slot, value) for slot in sorted(said.want) for value in said.want[slot]]
    if kind == "added":
        if not named:
            return None
        slot, value = random.choice(named)
        return replace(said, want={**said.want, slot: (*said.want.get(slot, ()), value)})
    if kind == "swapped":
        marked = [(slot, value) for slot, value in marked if _others(slot, said, ontology)]
    if not marked:
        return None
    slot, value = random.choice(marked)
    others = [random.choice(_others(slot, said, ontology))] if kind == "swapped" else []
    values = (*(each for each in said.want[slot] if each != value), *others)
    rest = {each: kept for each, kept in said.want.items() if each != slot}
    return replace(said, want={**rest, slot: values} if values else rest)


def _others(slot: str, said: TurnUpdate, ontology: Ontology) -> list[str]:
    """Values of a slot of words that an update does not want."""
    known = ontology.slot(slot)
    if known.kind == "numeric":
        return []
    return [each.value for each in known.values if not each.split_into and each.value not in said.want.get(slot, ())]


def check(workspace: Workspace, labels: Labels, ontology: Ontology) -> dict[Place, list[str]]:
    """The codes of all that the checks find in these labels, as an ingest would."""
    found: dict[Place, list[str]] = {}
    catalogue = CatalogueIndex.read(workspace.products, ontology)
    with DialogueStore.read(workspace.turns, workspace.recommendations) as said:
        checks = Checks(ontology, catalogue, said)
        for name, dialogue in labels.dialogues.items():
            turns = sorted(dialogue.states)
            marks = [
                mark for turn, update in zip(turns, _updates(dialogue), strict=True) for mark in _marks(turn, update)
            ]
            given = [Annotation(f"{CORPUS}:{name}", name, CORPUS).with_marks(marks)]
            resolution = resolve(given, turns, ontology)
            states = label_dialogue(name, IndexedDialogue("", tuple(turns), b""), resolution, ontology).rows
            for finding in checks.dialogue(name, given, resolution, states):
                if finding.turn is not None:
                    found.setdefault((name, finding.turn), []).append(finding.code)
    return found


def _marks(turn: int, update: TurnUpdate) -> Iterator[Mark]:
    if update == TurnUpdate():
        yield Mark(turn, "none")
    if update.new_topic:
        yield Mark(turn, "new_topic")
    yield from (Mark(turn, "drop", slot) for slot in update.drop)
    yield from (Mark(turn, "want", slot, value) for slot, values in update.want.items() for value in values)
    yield from (Mark(turn, "dislike", slot, value) for slot, values in update.dislike.items() for value in values)


def _worst_first(codes: Sequence[str]) -> tuple[int, int]:
    """Order of turns by what was found in them: the worst code, then how much."""
    ranks = [at for at, code in enumerate(CODES) if code in codes]
    return min(ranks, default=len(CODES)), -len(codes)


def by_words(labels: Labels, folds: int, drawn: Sequence[Place]) -> list[Place]:
    """What scikit-learn does with the same idea: of each value a logistic regression over the turn's words says out of
    fold how likely it is to be new, and a label is as improbable as its most improbable value.

    Raises:
        MissingPartError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import PredefinedSplit, cross_val_predict
    except ImportError:
        raise MissingPartError("scikit-learn is not installed", fix="pip install scikit-learn") from None
    texts = {(name, row["turn"]): row["text"] for name, each in labels.dialogues.items() for row in each.rows}
    new: dict[Place, set[tuple[str, str]]] = {}
    for name, dialogue in labels.dialogues.items():
        for turn, update in zip(sorted(dialogue.states), _updates(dialogue), strict=True):
            new[name, turn] = {(slot, value) for slot, values in update.want.items() for value in values}
    part = {name: at % folds for at, name in enumerate(sorted(labels.dialogues))}
    split = PredefinedSplit([part[name] for name, _ in drawn])
    matrix = TfidfVectorizer(ngram_range=(1, 2), min_df=2).fit_transform([texts[place] for place in drawn])
    least = np.ones(len(drawn))
    for value in sorted({value for values in new.values() for value in values}):
        answers = np.array([value in new[place] for place in drawn])
        if answers.sum() >= _ENOUGH and all(answers[train].any() for train, _ in split.split()):
            model = LogisticRegression(C=10.0, solver="liblinear")
            likely = cross_val_predict(model, matrix, answers, cv=split, method="predict_proba")[:, 1]
            least = np.minimum(least, np.where(answers, likely, 1 - likely))
    return [drawn[at] for at in np.argsort(least, kind="stable")]


_ENOUGH = 10
"""Turns in which a value has to be new for scikit-learn to learn it."""


def measure(order: Sequence[Place], planted: Sequence[Planted], turns: int) -> Figures:
    """How well an order of the turns finds the errors.

    Args:
        turns: how many there are; :data:`RATE` of them are looked at.
    """
    wrong = {place for each in planted for place in each.places}
    seen = set(islice(order, round(RATE * turns)))

    def recall(errors: Sequence[Planted]) -> float:
        return sum(not seen.isdisjoint(each.places) for each in errors) / len(errors) if errors else 0.0

    precision = {depth: fmean(place in wrong for place in order[:depth]) for depth in DEPTHS}
    by_kind = {kind: recall([each for each in planted if each.kind == kind]) for kind in KINDS}
    return Figures(precision, recall(planted), by_kind)


def _row(name: str, figures: Sequence[Figures], **counts: int) -> dict[str, Any]:
    recalls = [each.recall for each in figures]
    return row(
        name,
        fmean(recalls),
        f"of the planted errors, in {RATE:.0%} of the turns",
        None,
        ratios=[min(recalls), max(recalls)],
        rounds=len(figures),
        **counts,
        **{f"precision@{depth}": _spread(each.precision[depth] for each in figures) for depth in DEPTHS},
        recall=_spread(recalls),
        by_kind={kind: _spread(each.by_kind[kind] for each in figures) for kind in KINDS},
    )


def _spread(of_seeds: Iterable[float]) -> dict[str, float]:
    values = list(of_seeds)
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else 0.0}


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str], list[list[object]]]]:
    """Titles, columns and lines that show the rows to people."""
    first = rows[0]
    title = (
        f"{first['errors']} errors planted in {first['turns']:,} turns, mean ± standard deviation of {first['rounds']}"
    )
    depths = [f"precision@{depth}" for depth in DEPTHS]
    heads = ["order", *depths, f"recall in {RATE:.0%}", *KINDS]
    yield (
        title,
        heads,
        [
            [
                each["name"],
                *(_cell(each[key]) for key in (*depths, "recall")),
                *(_cell(each["by_kind"][kind]) for kind in KINDS),
            ]
            for each in rows
        ],
    )


def _cell(spread: Mapping[str, float]) -> str:
    return f"{spread['mean']:.2f} ± {spread['sd']:.2f}"
