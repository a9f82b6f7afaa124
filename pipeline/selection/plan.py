"""``semctl plan``: what the next round of labelling costs, and what it is expected to bring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.chosen_dialogues import read_dialogues, splits_of
from pipeline.labelling.prelabelling import LlmOptions, llm_estimate
from pipeline.labelling.progress import LabellingProgress
from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
from pipeline.selection.pool import Pool, find_pool
from pipeline.selection.round_cost import Estimate, Turns, TurnTime, amount, answers_per_dialogue
from pipeline.selection.state_curve import StateCurves, state_curves
from pipeline.selection.stop_signal import METRIC, StopSignal, stop_signal
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from semantic_model.evaluation.metrics import Interval

if TYPE_CHECKING:
    from semantic_model.states.tracker import LabelledDialogue

_DIALOGUES = 50
_OVERLAP, _REDUNDANCY = 0.2, 2  # as `export-for-labelling` has them
_SECONDS = 3600
TITLES = {"value_f1": "value F1", "jga": "joint goal accuracy", METRIC: "NDCG@5"}
"""Measure -> its name for people."""


@dataclass(frozen=True)
class PlanRequest:
    """What ``semctl plan`` was asked."""

    # how many dialogues a round has, of several rounds to compare; empty: 50, or what is left
    dialogues: tuple[int, ...] = ()
    wage: float | None = None  # of an hour; None: money is left out
    currency: str = "EUR"  # of wage and prices; only shown
    seconds_per_turn: float | None = None  # instead of what was measured
    # a share of the dialogues that several people answer, and how many; None, both: nobody does
    overlap: float | None = None
    redundancy: int | None = None
    prelabel: str | None = None  # ``llm``, or None
    llm: LlmOptions = field(default_factory=LlmOptions)

    def __post_init__(self) -> None:
        for number in self.dialogues:
            if number < 1:
                raise UsageError(f"a round of {number} dialogues is none", fix="give 1 or more")
        if self.wage is not None and not 0 <= self.wage < math.inf:
            raise UsageError(f"--wage {self.wage:g} is no wage", fix="give what an hour costs, from 0 on")
        if self.overlap is not None and not 0 <= self.overlap <= 1:
            raise UsageError(f"--overlap {self.overlap:g} is no share", fix="give 0 to 1")
        if self.redundancy is not None and self.redundancy < 1:
            raise UsageError(f"--redundancy {self.redundancy} is nobody", fix="give 1 or more")
        if self.prelabel not in (None, "llm"):
            raise UsageError(
                f"--prelabel {self.prelabel} costs nothing to plan", fix="give --prelabel llm, or leave it out"
            )
        self.llm.refuse_without([self.prelabel or ""])

    @property
    def answers(self) -> float:
        """To each dialogue, on average."""
        if self.overlap is None and self.redundancy is None:
            return 1.0
        return answers_per_dialogue(
            _OVERLAP if self.overlap is None else self.overlap,
            _REDUNDANCY if self.redundancy is None else self.redundancy,
        )


class Gain(NamedTuple):
    """What a round is expected to add to a figure; fractions of 1."""

    gain: float
    interval: Interval

    @property
    def visible(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval.low > 0 or self.interval.high < 0

    def text(self, name: str) -> str:
        """In points, in words: ``+1.9 (0.7 to 3.1) value F1``."""
        low, high = (f"{100 * end:.1f}" for end in self.interval)
        if self.visible:
            return f"{100 * self.gain:+.1f} ({low} to {high}) {name}"
        return f"no visible change of {name} ({100 * self.gain:+.1f}, {low} to {high})"

    def as_json(self) -> dict[str, Any]:
        return {"gain": self.gain, "interval": list(self.interval), "visible": self.visible}


@dataclass(frozen=True)
class Asking:
    """What asking a language model may take at most."""

    # sent, received: tokens
    sent: int
    received: int
    cost: float | None  # None where no price is known

    def __add__(self, other: Asking) -> Asking:
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Asking(self.sent + other.sent, self.received + other.received, cost)


@dataclass(frozen=True)
class Round:
    """What so many dialogues cost and bring."""

    dialogues: int
    turns: Estimate  # their user turns
    hours: Estimate | None  # of annotators; None where no time is known
    wages: Estimate | None  # None without a wage, or hours
    asking: Asking | None  # a language model; None where none is asked
    gains: Mapping[str, Gain | None]  # of each measure of :data:`TITLES`; None where it is not known
    currency: str
    notes: tuple[str, ...] = ()  # what a reader has to know of these figures

    @property
    def cost(self) -> Estimate | None:
        """Wages, and what the language model takes as far as its price is known; None without wages."""
        if self.wages is None or self.asking is None or self.asking.cost is None:
            return self.wages
        return self.wages.plus(self.asking.cost)

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        said = [f"{self.dialogues:,} dialogue{'s' * (self.dialogues != 1)}"]
        if self.hours is not None:
            said.append(f"{self.hours.text} hours")
        if self.cost is not None:
            said.append(f"{self.cost.text} {self.currency}")
        if self.asking is not None and self.asking.cost is None:
            said.append(f"up to {self.asking.sent + self.asking.received:,} tokens")
        elif self.asking is not None and self.cost is None:
            said.append(f"up to {amount(self.asking.cost or 0.0)} {self.currency} for the language model")
        said += [gain.text(TITLES[name]) for name, gain in self.gains.items() if gain is not None and name != "jga"]
        return ", ".join(said)

    def as_json(self) -> dict[str, Any]:
        return {
            "dialogues": self.dialogues,
            "turns": _json(self.turns),
            "hours": _json(self.hours),
            "wages": _json(self.wages),
            "llm": None if self.asking is None else json_form(self.asking),
            "cost": _json(self.cost),
            "gains": {name: None if gain is None else gain.as_json() for name, gain in self.gains.items()},
            "sentence": self.sentence,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Plan:
    """What rounds of labelling cost and bring."""

    pool: Pool  # the dialogues of the train part
    rounds: tuple[Round, ...]  # one for each number asked for, ascending
    time: TurnTime | None  # of annotators; None where no answer was timed and no time given
    answers: float  # to each dialogue, on average
    wage: float | None
    currency: str
    states: StateCurves | None  # None where there are too few labels
    notes: tuple[str, ...]  # where the figures are from
    missing: tuple[str, ...]  # what is not known, and how it would be

    def as_json(self) -> dict[str, Any]:
        pool = self.pool
        return {
            **json_form(self, "pool", "time"),
            "labelled": pool.labelled,
            "with_annotators": pool.exported,
            "unlabelled": len(pool.candidates),
            "seconds_per_turn": None if self.time is None else json_form(self.time),
        }


def plan_round(workspace: Workspace, request: PlanRequest, *, progress: Progress | None = None) -> Plan:
    """Say what labelling more dialogues of the train part costs, and what it is expected to bring.

    Raises:
        UsageError: more dialogues than are left, or amounts that are none.
        LabelError: every dialogue is labelled, or on its way.
    """
    shown = progress or SilentProgress()
    workspace.require()
    try:
        pool = find_pool(workspace, "train", 0)
    except LabelError as problem:
        raise LabelError(problem.what, fix="import more dialogues: there is no round left to plan") from None
    left = len(pool.candidates)
    sizes = sorted(set(request.dialogues)) or [min(_DIALOGUES, left)]
    if sizes[-1] > left:
        raise UsageError(
            f"only {left} dialogues are left to label, not {sizes[-1]}",
            fix=f"give {left} or less; {pool.labelled} are labelled, {pool.exported} are with annotators",
        )
    time = _time(workspace, request)
    train = _labelled(workspace)
    asking = _asking(workspace, request, pool.candidates[: sizes[-1]], train, shown)
    missing, notes = _of_costs(request, time, asking)
    states: StateCurves | None = None
    try:
        ontology = workspace.ontology()
        states = state_curves(train, ontology, image_choices(workspace, ontology), shown)
        notes.append(_about(states))
    except LabelError as problem:
        missing.append(f"value F1 and joint goal accuracy: {problem.what}")
    before = pool.labelled + pool.exported
    training = left + len(pool.known) + pool.silent + pool.unlisted
    signals = [stop_signal(workspace, before, size, usable=pool.labelled, training=training) for size in sizes]
    if signals[0].missing is not None:
        missing.append(f"NDCG@5: {signals[0].missing}; to know it: {signals[0].make}")
    notes += [f"NDCG@5: {note}" for note in _shared(signals)]
    rounds = []
    for size, signal in zip(sizes, signals, strict=True):
        turns = Turns.drawn(size, pool.turns, request.answers)
        seconds = None if time is None else time.of_round(turns)
        hours = None if seconds is None else seconds.times(1 / _SECONDS)
        gains, guesses = _gains(states, signal, before, size)
        rounds.append(
            Round(
                dialogues=size,
                turns=Turns.drawn(size, pool.turns).estimate,
                hours=hours,
                wages=None if hours is None or request.wage is None else hours.times(request.wage),
                asking=asking[size - 1] if asking else None,
                gains=gains,
                currency=request.currency,
                notes=(*guesses, *(note for note in signal.notes if note not in _shared(signals))),
            )
        )
    return Plan(
        pool, tuple(rounds), time, request.answers, request.wage, request.currency, states, tuple(notes), tuple(missing)
    )


def _time(workspace: Workspace, request: PlanRequest) -> TurnTime | None:
    measured = TurnTime.measured(LabellingProgress(workspace).label_times())
    return measured if request.seconds_per_turn is None else TurnTime.given(request.seconds_per_turn)


def _labelled(workspace: Workspace) -> dict[str, LabelledDialogue]:
    """The dialogues of the train part that are labelled wholly."""
    others = {name: split for name, split in splits_of(workspace.turns).items() if split != "train"}
    return labelled_dialogues(workspace, without=others)


def _asking(
    workspace: Workspace,
    request: PlanRequest,
    dialogues: Sequence[str],
    labelled: Mapping[str, LabelledDialogue],
    progress: Progress,
) -> list[Asking]:
    """What asking a language model about the first, the first two ... dialogues takes; empty where none is asked."""
    if request.prelabel is None:
        return []
    rows = read_dialogues(workspace.turns, dialogues, progress)
    each = llm_estimate(workspace, rows, labelled, request.llm, progress)
    return list(accumulate(Asking(*each[name]) for name in dialogues))


def _of_costs(request: PlanRequest, time: TurnTime | None, asking: Sequence[Asking]) -> tuple[list[str], list[str]]:
    """What is not known of the costs, and where those known are from."""
    missing, notes = [], []
    if time is None:
        missing.append("hours and cost: no answer was timed yet; give --seconds-per-turn S")
    elif not time.tasks:
        notes.append(f"hours: {time.mean:g} seconds a turn, as given")
    else:
        open_ = f"; {time.left_open} more took over ten minutes a turn and do not count" if time.left_open else ""
        notes.append(f"hours: {time.estimate.text} seconds a turn, from {time.tasks:,} timed answers{open_}")
        if time.variance is None:
            notes.append("hours: one answer alone says nothing of their spread")
    if time is not None and request.wage is None:
        missing.append("cost: give --wage, of an hour")
    if request.answers != 1:
        notes.append(f"hours: {request.answers:.2f} answers to each dialogue, on average; reviews are not counted")
    if asking and asking[-1].cost is None:
        missing.append("cost of the language model: give --price-in and --price-out, of a million tokens")
    return missing, notes


def _about(states: StateCurves) -> str:
    figures = ", ".join(f"{100 * value:.1f}" for value in states.figures["value_f1"])
    return (
        f"value F1: of the state tracker, {figures} when taught by {', '.join(map(str, states.sizes))} of the labelled "
        f"dialogues, on {states.dialogues} that did not teach it"
    )


def _shared(signals: Sequence[StopSignal]) -> list[str]:
    return [note for note in signals[0].notes if all(note in each.notes for each in signals)]


def _gains(
    states: StateCurves | None, signal: StopSignal, before: int, more: int
) -> tuple[dict[str, Gain | None], list[str]]:
    """What is expected of each measure, and which of it is a guess."""
    gains: dict[str, Gain | None] = dict.fromkeys(TITLES)
    guesses = []
    if states is not None:
        gains |= {name: Gain(*curve.gain(before, before + more)) for name, curve in states.curves.items()}
        if before + more > 2 * states.sizes[-1]:
            guesses.append(
                f"{before + more:,} labelled dialogues are more than twice the {states.sizes[-1]} that taught the "
                "tracker here: its gain is a guess"
            )
    if signal.gain is not None and signal.interval is not None:
        gains[METRIC] = Gain(signal.gain, signal.interval)
    return gains, guesses


def _json(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {"value": estimate.value, "interval": None if estimate.interval is None else list(estimate.interval)}
