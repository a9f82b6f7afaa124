"""``semctl select``: which dialogues or turns to label next, in an order that ``export-for-labelling`` takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from annotate.assignment.selection_strategies import Choice, FeatureTable, OntologyValues, cover, draw, spread_out
from pipeline.selection.pool import LabelCoverage, Pool, find_pool, label_coverage, look_at
from pipeline.selection.stop_signal import StopSignal, stop_signal
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import write_atomic
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.validation import known_name

if TYPE_CHECKING:
    from pipeline.selection.runs import Measure

Strategy = Literal["random", "stratified", "uncertainty", "diversity", "hybrid"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

Unit = Literal["dialogue", "turn"]
UNITS: tuple[Unit, ...] = get_args(Unit)

OF_TURNS: tuple[Strategy, ...] = ("uncertainty", "random")
"""The strategies that choose single turns."""

_FORMULAS: dict[Strategy, str] = {
    "random": "order of sha256(seed:dialogue)",
    "stratified": "gain in sum over features v of w_v (1 + 1/2 + ... + 1/chosen_v), w_v = log(1 + dialogues / "
    "dialogues with v); features: values named or refused, classes of length and of recommendations",
    "uncertainty": "u(d), the mean uncertainty of the dialogue's contexts",
    "diversity": "min over chosen or labelled c of |x_d - x_c|; x: direction of the mean context vector",
    "hybrid": "u(d) min over chosen or labelled c of |x_d - x_c|; x: direction of the mean context vector, u: mean "
    "uncertainty of the contexts",
}

_FORMULAS_OF_TURNS: dict[Strategy, str] = {
    "random": "order of sha256(seed:dialogue<tab>turn)",
    "uncertainty": "mistakes expected in the state that the lexicon predicts after the turn: the sum, over its values, "
    "of 1 - b and, over all others, of b; b: belief",
}


@dataclass(frozen=True)
class SelectRequest:
    """What ``semctl select`` was asked to do."""

    # one of :data:`STRATEGIES`, of turns one of :data:`OF_TURNS`; None: stratified, of turns uncertainty
    strategy: str | None = None
    count: int = 100  # how many dialogues, or turns
    # ids of trained runs; empty: the newest, and all that differ from it in nothing but the seed
    runs: tuple[str, ...] = ()
    # of uncertainty, one of :data:`pipeline.selection.runs.MEASURES`; None: the first that the runs allow
    measure: str | None = None
    seed: int = 0
    split: str = "train"
    # include_labelled, include_exported: dialogues that would be left out are candidates, too
    include_labelled: bool = False
    include_exported: bool = False
    unit: str = "dialogue"  # one of :data:`UNITS`: what is chosen
    per_dialogue: int | None = None  # turns of one dialogue, at most; None: 1
    out: Path | None = None  # the file that the list goes to; None: ``labelling/selection.txt``


class Selected(NamedTuple):
    """One dialogue, or turn, of the list."""

    dialogue_id: str
    score: float  # what it was chosen for
    why: str
    user_turns: int  # how many turns there are to label
    turn: int | None = None  # which one, where a single turn is to be labelled

    @property
    def line(self) -> str:
        """As it stands in the list."""
        return self.dialogue_id if self.turn is None else f"{self.dialogue_id}\t{self.turn}"

    def as_json(self) -> dict[str, Any]:
        """The JSON form, with ``turn`` for a single one only."""
        return {name: value for name, value in self._asdict().items() if value is not None}


@dataclass(frozen=True)
class SelectReport:
    """What was selected."""

    strategy: Strategy
    formula: str
    seed: int
    split: str
    pool: Pool  # what there was to choose from
    rows: tuple[Selected, ...]
    file: Path
    runs: tuple[str, ...] = ()
    measure: Measure | None = None  # of uncertainty; None when it played no part
    signal: StopSignal | None = None  # what the batch is expected to add; None for a split that is not trained on
    # what the labels of the dialogues show, when they were chosen among labelled ones; else None
    coverage: LabelCoverage | None = None
    unit: Unit = "dialogue"  # what was chosen

    @property
    def user_turns(self) -> int:
        """Turns to label."""
        return sum(row.user_turns for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        return {
            **json_form(self, "measure", "rows", "coverage", "signal"),
            "uncertainty": self.measure,
            f"{self.unit}s": [row.as_json() for row in self.rows],
            "user_turns": self.user_turns,
            "label_coverage": None if self.coverage is None else self.coverage.as_json(),
            "expected_gain": None if self.signal is None else self.signal.as_json(),
        }


class Chosen(NamedTuple):
    """An order of candidates, and what it was made with."""

    rows: tuple[Selected, ...]
    runs: tuple[str, ...] = ()
    measure: Measure | None = None


def select_dialogues(workspace: Workspace, request: SelectRequest, *, progress: Progress | None = None) -> SelectReport:
    """Choose dialogues, or turns, and write them, one a line in order, for ``export-for-labelling --dialogues``.

    For the same workspace and request a larger count gives a list that begins with the smaller one's.

    Raises:
        UsageError: an unknown strategy, unit, split or measure, nothing asked for, or a file that cannot be written.
        LabelError: no dialogue is left to choose.
        ModelError: the strategy takes a trained run, and there is none; says what to do.
    """
    file = request.out or workspace.selection
    if file.is_dir():
        raise UsageError("this is a folder", where=file, fix="name a file for the list")
    report = choose_dialogues(workspace, request, progress=progress)
    try:
        write_atomic(file, "".join(f"{row.line}\n" for row in report.rows))
    except OSError as problem:
        raise UsageError(f"cannot write the list: {problem.strerror}", where=file) from None
    return report


def choose_dialogues(workspace: Workspace, request: SelectRequest, *, progress: Progress | None = None) -> SelectReport:
    """What :func:`select_dialogues` chooses, with its errors, without writing it."""
    shown = progress or SilentProgress()
    workspace.require()
    unit = known_name("unit", request.unit, UNITS)
    strategy = _strategy(request, unit)
    for option, number in (("-n", request.count), ("-k", request.per_dialogue)):
        if number is not None and number < 1:
            raise UsageError(f"{option} {number} selects nothing", fix="give 1 or more")
    pool = find_pool(
        workspace,
        request.split,
        request.seed,
        include_labelled=request.include_labelled,
        include_exported=request.include_exported,
    )
    if unit == "turn":
        from pipeline.selection.single_turns import choose_turns  # the lexicon, which dialogues are chosen without

        chosen = Chosen(choose_turns(workspace, replace(request, strategy=strategy), pool, shown))
    else:
        chosen = _choose(workspace, request, strategy, pool, shown)
    if len(chosen.rows) < request.count:
        shown.log(f"only {len(chosen.rows)} {unit}s are left to choose")
    signal = None
    if request.split in ("train", "all") and unit == "dialogue":
        signal = _signal(workspace, request, len(chosen.rows))
    coverage = None
    if request.include_labelled and pool.labelled and unit == "dialogue":
        coverage = label_coverage(workspace, [row.dialogue_id for row in chosen.rows], pool.candidates)
    return SelectReport(
        strategy,
        (_FORMULAS if unit == "dialogue" else _FORMULAS_OF_TURNS)[strategy],
        request.seed,
        request.split,
        pool,
        chosen.rows,
        request.out or workspace.selection,
        chosen.runs,
        chosen.measure,
        signal,
        coverage,
        unit,
    )


def _strategy(request: SelectRequest, unit: Unit) -> Strategy:
    """What to choose by; refuses what does not go with the unit."""
    if unit == "dialogue":
        if request.per_dialogue is not None:
            raise UsageError(f"-k {request.per_dialogue} is of single turns", fix="give it with --unit turn")
        return known_name("strategy", request.strategy or "stratified", STRATEGIES)
    if request.runs or request.measure is not None:
        raise UsageError(
            "--run and --measure choose whole dialogues",
            fix="leave them out: turns are chosen by what the lexicon reads",
        )
    return known_name("strategy of turns", request.strategy or "uncertainty", OF_TURNS)


def _choose(workspace: Workspace, request: SelectRequest, strategy: Strategy, pool: Pool, shown: Progress) -> Chosen:
    """The first ``request.count`` candidates of the strategy's order."""
    if strategy == "random":
        return Chosen(_first(draw(pool.candidates, request.seed), pool, request.count))
    if strategy == "stratified":
        values = OntologyValues(workspace.ontology())
        seen = look_at(workspace, [*pool.candidates, *pool.known], values, shown)
        split_at = len(pool.candidates)
        tables = (FeatureTable.of(part, values) for part in (seen[:split_at], seen[split_at:]))
        return Chosen(_first(cover(*tables), pool, request.count))
    from pipeline.selection.runs import OpenedRuns  # models, which the other strategies do without

    runs = OpenedRuns.find(workspace, request.runs)
    shown.log(f"asking {', '.join(runs.names)}")
    unsure = None
    if strategy in ("uncertainty", "hybrid"):
        unsure = runs.uncertainty(pool.candidates, request.measure, shown)
    if strategy == "uncertainty":
        assert unsure is not None
        order: Iterator[Choice]
        rows = np.argsort(-unsure.scores, kind="stable").tolist()
        order = (Choice(row, float(unsure.scores[row]), unsure.why[row]) for row in rows)
    else:
        vectors = runs.vectors([*pool.candidates, *pool.known], shown)
        near, known = vectors[: len(pool.candidates)], vectors[len(pool.candidates) :]
        weights = None if unsure is None else unsure.scores
        order = spread_out(near, known, pool.candidates, pool.known, weights=weights)
    asked = runs.names if unsure is not None and unsure.measure == "seeds" else runs.names[:1]
    return Chosen(_first(order, pool, request.count), asked, None if unsure is None else unsure.measure)


def _first(order: Iterator[Choice], pool: Pool, count: int) -> tuple[Selected, ...]:
    return tuple(
        Selected(pool.candidates[each.row], each.score, each.why, pool.turns[each.row]) for each in islice(order, count)
    )


def _signal(workspace: Workspace, request: SelectRequest, more: int) -> StopSignal:
    pool = find_pool(workspace, "train", request.seed, include_labelled=True, include_exported=True)
    labelled = 0 if request.include_labelled else pool.labelled
    on_their_way = 0 if request.include_exported else pool.exported
    training = len(pool.candidates) + pool.silent + pool.unlisted
    return stop_signal(workspace, labelled + on_their_way, more, usable=pool.labelled, training=training)
