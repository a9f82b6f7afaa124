"""From counts to the report: every figure of the data, its bootstrap interval, and the order in which to look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from annotate.agreement.bootstrap import interval, resamples
from annotate.agreement.cells import NEW_TOPIC
from annotate.agreement.coefficients import Floats
from annotate.agreement.figures import Figures
from annotate.agreement.report import (
    AgreementReport,
    AnnotatorScore,
    ComparisonScore,
    ConfusionCount,
    DialogueScore,
    Estimate,
    SlotScore,
    ValueScore,
)
from annotate.agreement.similarity import Distance
from annotate.agreement.tally import Tally
from schemas.progress import Progress, SilentProgress

__all__ = ["measure"]

_NOTHING_SHARED = "no turn was answered by two people"
_ONE_VALUE = "only one value occurs, so nothing could have differed"
_NOT_SAID = "nobody says anything of it"
_MOST_VALUES_WITH_INTERVAL = 2_000


def measure(
    tally: Tally,
    *,
    distance: Distance = "nominal",
    bootstrap: int = 1000,
    seed: int = 0,
    worst: int = 20,
    settings: Mapping[str, Any] | None = None,
    left_out: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> AgreementReport:
    """All figures of a tally.

    Args:
        distance: the one the tally was made with.
        bootstrap: resamples of the dialogues; 0 gives no intervals, and so does a single dialogue.
        seed: of the resamples: the same one gives the same intervals.
        worst: how many dialogues and confusions to list.
        settings, left_out: go into the report as they are.
    """
    found = _Measured(tally, distance, bootstrap, seed, progress or SilentProgress())
    turns = int(found.total("turns"))
    overall = found.estimate("alpha")
    slots = [found.slot(position) for position in range(len(tally.slots))]
    named = [slot for slot in slots if slot.slot != NEW_TOPIC]
    undefined = None if overall.value is not None else _ONE_VALUE if turns else _NOTHING_SHARED
    return AgreementReport(
        alpha=overall,
        undefined=undefined,
        f1=found.estimate("f1"),
        joint_goal_accuracy=found.estimate("joint_goal_accuracy"),
        same=found.estimate("same"),
        dialogues=int(np.count_nonzero(found.per_dialogue("turns"))),
        turns=turns,
        differing_turns=int(found.total("differing_turns")),
        slots=tuple(sorted(named, key=lambda slot: _worst_first(slot.alpha.value))),
        new_topic=next(slot for slot in slots if slot.slot == NEW_TOPIC),
        pairs=found.comparisons("pair"),
        annotators=found.annotators(),
        values=found.values(),
        worst=found.dialogues()[:worst],
        verdicts=found.comparisons("verdict"),
        prelabels=found.prelabels(),
        confusions=_confusions(tally, omissions=False)[:worst],
        omissions=_confusions(tally, omissions=True)[:worst],
        left_out=dict(left_out or {}),
        settings=dict(settings or {}),
    )


def _worst_first(value: float | None) -> float:
    return float("inf") if value is None else value


def _confusions(tally: Tally, *, omissions: bool) -> tuple[ConfusionCount, ...]:
    ordered = sorted(tally.confusions.items(), key=lambda item: (-item[1], item[0].slot, str(item[0][1:])))
    return tuple(
        ConfusionCount(
            tally.slots[confusion.slot],
            str(confusion.first or "nothing"),
            str(confusion.second or "nothing"),
            count,
            tuple(tally.examples[confusion]),
        )
        for confusion, count in ordered
        if (confusion.second is None) == omissions
    )


class _Measured:
    """The figures of the data and of its resamples."""

    def __init__(self, tally: Tally, distance: Distance, times: int, seed: int, progress: Progress) -> None:
        self._tally = tally
        self._all = Figures(tally, distance)
        count = len(tally.dialogues)
        self._ones = np.ones((1, count))
        self._point = {name: part[0] for name, part in self._all.at(self._ones).items()}
        self._said = tally.table("element_values").sums(self._ones)[0]
        self._held_by = tally.table("element_values").dialogues()
        # an interval needs dialogues to resample: two at least
        common = np.flatnonzero(self._held_by > 1)
        common = common[np.argsort(-self._said[common], kind="stable")][:_MOST_VALUES_WITH_INTERVAL]
        self._element_place = {int(key): place for place, key in enumerate(common)}
        self._low: dict[str, Floats] = {}
        self._high: dict[str, Floats] = {}
        if times > 0 and count > 1:
            resampled = Figures(tally, distance, common)
            gathered: dict[str, list[Floats]] = {}
            with progress.task("bootstrap", total=times) as task:
                for weights in resamples(count, times, seed):
                    for name, part in resampled.at(weights).items():
                        gathered.setdefault(name, []).append(part)
                    task.advance(len(weights))
            for name in list(gathered):
                self._low[name], self._high[name] = interval(np.concatenate(gathered.pop(name)))

    def total(self, name: Any) -> float:
        return float(self._tally.table(name).sums(self._ones).sum())

    def per_dialogue(self, name: Any) -> Floats:
        table = self._tally.table(name)
        return table.of_dialogues(np.ones(table.size))

    def estimate(self, name: str, at: int | None = None, *, interval_at: int | None = None) -> Estimate:
        """One figure; ``interval_at`` is its place among the resampled figures where that is another one."""
        place = () if at is None else at
        value = _number(self._point[name][place])
        if name not in self._low or value is None or interval_at == -1:
            return Estimate(value)
        there = place if interval_at is None else interval_at
        return Estimate(value, _number(self._low[name][there]), _number(self._high[name][there]))

    def _units(self, slot: int) -> int:
        return int(self.total("turns") - self._tally.table("missing_units").sums(self._ones)[0, slot])

    def slot(self, position: int) -> SlotScore:
        n, alpha = self._units(position), self.estimate("slot_alpha", position)
        keys = [key for (slot, _), key in self._tally.cells.items() if slot == position]
        said = int(self._tally.table("cells").sums(self._ones)[0][keys].sum())
        undefined = None
        if alpha.value is None:
            undefined = _NOTHING_SHARED if not n else _ONE_VALUE if said else _NOT_SAID
        return SlotScore(self._tally.slots[position], alpha, self.estimate("slot_f1", position), n, said, undefined)

    def values(self) -> tuple[ValueScore, ...]:
        """Of each thing said of a slot; by slot, the least agreed on first."""
        found = []
        for (slot, element), key in self._tally.elements.items():
            if self._tally.slots[slot] != NEW_TOPIC:
                there = self._element_place.get(key, -1)
                alpha = self.estimate("element_alpha", key, interval_at=there)
                f1 = self.estimate("element_f1", key, interval_at=there)
                said, held_by = int(self._said[key]), int(self._held_by[key])
                found.append((slot, ValueScore(self._tally.slots[slot], str(element), alpha, f1, said, held_by)))
        found.sort(key=lambda item: (item[0], _worst_first(item[1].alpha.value), -item[1].said, item[1].value))
        return tuple(score for _, score in found)

    def annotators(self) -> tuple[AnnotatorScore, ...]:
        turns = self._tally.table("annotator_values").sums(self._ones)[0]
        found = [
            AnnotatorScore(
                annotator=annotator,
                turns=int(turns[number]),
                alpha=self.estimate("annotator_alpha", number),
                f1=self.estimate("annotator_f1", number),
                precision=self.estimate("annotator_precision", number),
                recall=self.estimate("annotator_recall", number),
                joint_goal_accuracy=self.estimate("annotator_joint_goal_accuracy", number),
                answered=self._tally.answered[annotator],
                unreadable=self._tally.unreadable[annotator],
                untouched=self._tally.untouched[annotator],
            )
            for annotator, number in self._tally.annotators.items()
        ]
        return tuple(sorted(found, key=lambda each: (_worst_first(each.alpha.value), each.annotator)))

    def dialogues(self) -> tuple[DialogueScore, ...]:
        turns, differing = self.per_dialogue("turns"), self.per_dialogue("differing_turns")
        both, said = self.per_dialogue("element_both"), self.per_dialogue("element_said")
        found = [
            DialogueScore(
                self._tally.dialogues[row],
                _number(alpha),
                float(both[row] / said[row]) if said[row] else None,
                int(turns[row]),
                int(differing[row]),
            )
            for row, alpha in enumerate(self._all.dialogue_alpha())
            if turns[row]
        ]
        return tuple(
            sorted(found, key=lambda each: (_worst_first(each.alpha), -each.differing_turns, each.dialogue_id))
        )

    def comparisons(self, kind: str) -> tuple[ComparisonScore, ...]:
        """The groups of a kind; those of pairs by least kappa first."""
        turns = self._tally.table("group_turns")
        pairs, dialogues = turns.sums(self._ones)[0], turns.dialogues()
        kappas = self._all.group_slot_kappa()
        found = []
        for group, number in self._tally.groups.items():
            if group.kind == kind:
                slots = zip(self._tally.slots, kappas[number], strict=True)
                found.append(
                    ComparisonScore(
                        first=group.first,
                        second=group.second,
                        turns=int(pairs[number]),
                        dialogues=int(dialogues[number]),
                        kappa=self.estimate("group_kappa", number),
                        f1=self.estimate("group_f1", number),
                        same=self.estimate("group_same", number),
                        joint_goal_accuracy=self.estimate("group_joint_goal_accuracy", number),
                        slots={slot: _number(kappa) for slot, kappa in slots if slot != NEW_TOPIC},
                    )
                )
        return tuple(sorted(found, key=lambda each: (_worst_first(each.kappa.value), each.first, each.second)))

    def prelabels(self) -> tuple[ComparisonScore, ...]:
        found = {each.first: each for each in self.comparisons("prelabel")}
        if found.keys() <= {"without"}:
            return ()
        return tuple(found[name] for name in ("with", "mixed", "without") if name in found)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
