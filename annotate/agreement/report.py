"""What is found about agreement, as data: figures with intervals, and what they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from annotate.agreement.tally import Example
from schemas.json_form import json_form

GOOD, TENTATIVE = 0.8, 0.667
"""Krippendorff (2004), "Content Analysis", p. 241: rely on data with alpha from .800, draw tentative conclusions only
from .667 up, and none below."""


def word(alpha: float | None) -> str:
    """A word for an alpha or a kappa, by Krippendorff's thresholds."""
    if alpha is None:
        return "undefined"
    return "good" if alpha >= GOOD else "tentative" if alpha >= TENTATIVE else "poor"


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % bootstrap interval; None where undefined, or no interval was asked for."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def as_json(self, name: str = "value") -> dict[str, Any]:
        """``{name: .., low: .., high: ..}``."""
        return {name: self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class SlotScore:
    """Agreement in one slot."""

    slot: str
    alpha: Estimate
    f1: Estimate
    n: int  # turns compared, each one unit
    said: int  # answers to these turns that say something of the slot
    undefined: str | None = None  # why there is no alpha

    def as_json(self) -> dict[str, Any]:
        shown = {"n": self.n, "said": self.said, "word": word(self.alpha.value), "undefined": self.undefined}
        return {**self.alpha.as_json("alpha"), **shown, "f1": self.f1.as_json()}


@dataclass(frozen=True)
class ValueScore:
    """Agreement on whether one thing (``red``, ``not red``, ``drop``) is said of a slot."""

    slot: str
    value: str
    alpha: Estimate
    f1: Estimate  # of two answers to a turn, how likely the other says it, too, when one does
    said: int  # answers that say it
    dialogues: int

    def as_json(self) -> dict[str, Any]:
        shown = {"slot": self.slot, "value": self.value, "said": self.said, "dialogues": self.dialogues}
        return {**shown, **self.alpha.as_json("alpha"), "f1": self.f1.as_json()}


@dataclass(frozen=True)
class DialogueScore:
    """Agreement on one dialogue: it is what is resampled, so it has no interval of its own."""

    dialogue_id: str
    alpha: float | None
    f1: float | None
    turns: int
    differing_turns: int

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class AnnotatorScore:
    """One annotator against all others."""

    annotator: str
    turns: int  # shared with somebody
    alpha: Estimate  # their part of the disagreement against everybody's chance rates
    f1: Estimate
    precision: Estimate  # share of what they say that the other says, too
    recall: Estimate  # share of what the other says that they say, too
    joint_goal_accuracy: Estimate
    # answered, unreadable, untouched: turns labelled, marked as impossible to label, and left as pre-labelled, in the
    # dialogues compared
    answered: int
    unreadable: int
    untouched: int

    def as_json(self) -> dict[str, Any]:
        return {**json_form(self, "annotator", "alpha"), **self.alpha.as_json("alpha"), "word": word(self.alpha.value)}


@dataclass(frozen=True)
class ComparisonScore:
    """Agreement of two annotators, of one with the verdicts, or of answers with or without pre-label."""

    first: str
    second: str
    turns: int  # pairs of answers compared
    dialogues: int
    kappa: Estimate  # Cohen's, slots pooled; not of ``prelabel``
    f1: Estimate
    same: Estimate  # share of them that say the same of every slot
    joint_goal_accuracy: Estimate
    slots: Mapping[str, float | None] = field(default_factory=dict)  # slot -> kappa

    def as_json(self) -> dict[str, Any]:
        figures = {name: getattr(self, name).as_json() for name in ("f1", "same", "joint_goal_accuracy")}
        shown = {"turns": self.turns, "dialogues": self.dialogues, **self.kappa.as_json("kappa"), **figures}
        return {"annotators": [self.first, self.second], **shown, "slots": dict(self.slots)}


@dataclass(frozen=True)
class ConfusionCount:
    """Two things said of one slot at one turn: ``first`` by one annotator, ``second`` (or nothing) by another."""

    slot: str
    first: str
    second: str
    count: int
    examples: tuple[Example, ...]

    def as_json(self) -> dict[str, Any]:
        examples = [
            {"dialogue_id": each.dialogue_id, "turn": each.turn, "annotators": [each.first, each.second]}
            for each in self.examples
        ]
        return {"slot": self.slot, "said": [self.first, self.second], "count": self.count, "examples": examples}


@dataclass(frozen=True)
class AgreementReport:
    """Everything ``semctl agreement`` finds."""

    alpha: Estimate  # overall, slots pooled as :mod:`annotate.agreement.figures` says
    undefined: str | None  # why there is no overall alpha
    f1: Estimate
    joint_goal_accuracy: Estimate
    same: Estimate  # share of pairs of answers to a turn that say the same of every slot
    dialogues: int  # with such a turn
    # turns, differing_turns: that two people or more answered, and of these, where not all say the same
    turns: int
    differing_turns: int
    slots: tuple[SlotScore, ...]  # worst first, those without alpha last
    new_topic: SlotScore  # the mark that the user starts over; no part of ``alpha``
    pairs: tuple[ComparisonScore, ...]
    annotators: tuple[AnnotatorScore, ...]
    values: tuple[ValueScore, ...]
    worst: tuple[DialogueScore, ...]  # dialogues, worst first
    verdicts: tuple[ComparisonScore, ...]  # each annotator against the verdicts
    # ``with``, ``mixed`` and ``without``; empty when nobody started from a pre-label
    prelabels: tuple[ComparisonScore, ...]
    confusions: tuple[ConfusionCount, ...]  # two different things said, commonest first
    omissions: tuple[ConfusionCount, ...]  # something said by one and nothing by the other, commonest first
    left_out: Mapping[str, int]  # reason -> how many marks or answers could not be compared
    settings: Mapping[str, Any]  # how it was counted

    def as_json(self) -> dict[str, Any]:
        """The object of ``semctl agreement --json``; what is undefined is null."""
        shown = json_form(self, "alpha", "worst")
        overall = {name: shown.pop(name) for name in _OVERALL}
        return {
            **shown,
            "overall": {**self.alpha.as_json("alpha"), "word": word(self.alpha.value), **overall},
            "slots": {slot.slot: slot.as_json() for slot in self.slots},
            "annotators": {each.annotator: each.as_json() for each in self.annotators},
            "dialogues": [dialogue.as_json() for dialogue in self.worst],
            "verdicts": [{**each.as_json(), "annotators": [each.first]} for each in self.verdicts],
            "prelabels": {each.first: _without_kappa(each.as_json()) for each in self.prelabels},
        }


_OVERALL = ("undefined", "f1", "joint_goal_accuracy", "same", "dialogues", "turns", "differing_turns")


def _without_kappa(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in fields.items() if name not in ("annotators", "kappa", "low", "high", "slots")
    }
