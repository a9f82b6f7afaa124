"""The figures of agreement, with bootstrap intervals, and the order in which to look.

Slots are pooled by adding up, before any ratio is taken: overall alpha is ``1 - sum_s D_s / sum_s E_s``, with ``D_s``
the disagreement observed in slot ``s`` and ``E_s`` what chance would give **within** that slot. A value can only be
mistaken for another one of its slot; were slots thrown together, the slot's name alone would look like agreement. It is
the mean of the slots' alphas, weighted by how much could have gone wrong in each. The scores of an annotator and of a
dialogue take their own share of ``D`` against the chance rates of everybody: overall alpha is their weighted mean.

Every figure is a function of the dialogues' weights: all ones for the data, resamples for the intervals. Whole
dialogues are resampled, since turns of one dialogue share its annotators, its user and its difficulties: as if they
were independent, intervals would come out too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from annotate.agreement.aligned_labels import NEW_TOPIC
from annotate.agreement.coefficients import (
    Floats,
    cohen_kappa,
    expected_disagreement,
    interval,
    one_minus_ratio,
    partial_matches,
    ratio,
    resamples,
    similarity,
)
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
from annotate.agreement.tally import Tally
from schemas.progress import Progress, SilentProgress

_NOTHING_SHARED = "no turn was answered by two people"
_ONE_VALUE = "only one value occurs, so nothing could have differed"
_NOT_SAID = "nobody says anything of it"
_MOST_VALUES_WITH_INTERVAL = 2_000


class Figures:
    """Every figure of a tally, for any weights of its dialogues."""

    def __init__(self, tally: Tally) -> None:
        self._tally, slots = tally, len(tally.slots)
        self._is_slot = np.array([name != NEW_TOPIC for name in tally.slots])
        annotators = tally.annotators.numbers
        self._slot_of_cell = added_up([slot for slot, _ in tally.cells.numbers], slots)
        self._element_slots = np.array([slot for slot, _ in tally.elements.numbers], np.int64)
        self._slot_of_element = added_up(self._element_slots, slots)
        self._place_of_annotator_slot = added_up(
            [annotator * slots + slot for annotator, slot in tally.annotator_slots.numbers], len(annotators) * slots
        )
        places = len(tally.groups.numbers) * slots
        self._place_of_group_slot = added_up(
            [group * slots + slot for group, slot in tally.group_slots.numbers], places
        )
        self._place_of_group_cell = added_up(
            [group * slots + slot for group, slot, _ in tally.group_cells.numbers], places
        )
        self._is_pair = np.array([group.kind == "pair" for group in tally.groups.numbers], bool)
        pairs = [group if group.kind == "pair" else None for group in tally.groups.numbers]
        self._first = added_up([-1 if pair is None else annotators[pair.first] for pair in pairs], len(annotators))
        self._second = added_up([-1 if pair is None else annotators[pair.second] for pair in pairs], len(annotators))
        cells = list(tally.cells.numbers)
        alike = partial_matches([cell for _, cell in cells], similarity(tally.distance))
        within = [(i, j, score) for i, j, score in alike if cells[i][0] == cells[j][0]]
        self._alike_at = np.array([(i, j) for i, j, _ in within], np.int64).reshape(-1, 2).T
        self._alike = np.array([2 * score for *_, score in within])
        self._slot_of_alike = added_up([cells[i][0] for i, *_ in within], slots)

    def at(self, weights: Floats, elements: NDArray[np.int64] | None = None) -> dict[str, Floats]:
        """All figures, by name.

        Args:
            weights: how often each dialogue counts, [B, dialogues].
            elements: keys of the elements to give figures for; all unless given.

        Returns:
            ``alpha``, ``f1``, ``joint_goal_accuracy``, ``same`` (share of pairs of answers to a turn that say the same
            of every slot): [B]. ``slot_alpha``, ``slot_f1``: [B, slots]. ``element_alpha``, ``element_f1``:
            [B, elements]. ``annotator_alpha``, ``.._f1``, ``.._precision``, ``.._recall``,
            ``.._joint_goal_accuracy``: [B, annotators]. ``group_kappa``, ``.._f1``, ``.._same``,
            ``.._joint_goal_accuracy``: [B, groups]. NaN where undefined.
        """
        given, observed = self._of_annotators(weights)
        values, expected = given.sum(axis=1), self._expected(weights, given)
        by_chance = given * np.nan_to_num(ratio(expected, values))[:, None]
        of_elements = self._tally.elements.sums(weights)
        both, said = (of_elements[name] @ self._slot_of_element for name in ("both", "said"))
        group = self._tally.groups.sums(weights)
        pairs = {name: part[:, self._is_pair].sum(axis=-1) for name, part in group.items()}
        return {
            "alpha": one_minus_ratio(self._pooled(observed.sum(axis=1)), self._pooled(expected)),
            "f1": ratio(self._pooled(both), self._pooled(said)),
            "joint_goal_accuracy": ratio(pairs["joint"], pairs["known"]),
            "same": ratio(pairs["same"], pairs["turns"]),
            "slot_alpha": one_minus_ratio(observed.sum(axis=1), expected),
            "slot_f1": ratio(both, said),
            "annotator_alpha": one_minus_ratio(self._pooled(observed), self._pooled(by_chance)),
            **self._against_others(group),
            **self._of_elements(of_elements, values, elements),
            "group_kappa": cohen_kappa(*(part[..., self._is_slot] for part in self._kappa_parts(weights))),
            "group_f1": ratio(2 * group["both"], group["first"] + group["second"]),
            "group_same": ratio(group["same"], group["turns"]),
            "group_joint_goal_accuracy": ratio(group["joint"], group["known"]),
        }

    def group_slot_kappa(self) -> Floats:
        """Cohen's kappa of each group in each slot, [groups, slots]."""
        units, differing, alike = self._kappa_parts(self.ones())
        return np.asarray(cohen_kappa(units[..., None], differing[..., None], alike[..., None])[0], float)

    def dialogue_alpha(self) -> Floats:
        """The score of each dialogue against everybody's chance rates, [dialogues]."""
        given, _ = self._of_annotators(self.ones())
        rates = self._is_slot * np.nan_to_num(ratio(self._expected(self.ones(), given), given.sum(axis=1)))[0]
        people, people_slots = self._tally.annotators, self._tally.annotator_slots
        slots = [slot for _, slot in people_slots.numbers]
        observed = people_slots.of_dialogues("disagreement", self._is_slot[slots].astype(float))
        expected = rates.sum() * people.of_dialogues("turns") - people_slots.of_dialogues("missing", rates[slots])
        return one_minus_ratio(observed, expected)

    def ones(self) -> Floats:
        """The weights of the data as it is, [1, dialogues]."""
        return np.ones((1, len(self._tally.dialogues)))

    def _pooled(self, per_slot: Floats) -> Floats:
        return np.asarray(per_slot[..., self._is_slot].sum(axis=-1), float)

    def _of_annotators(self, weights: Floats) -> tuple[Floats, Floats]:
        """Values given and disagreement observed, each [B, annotators, slots]."""
        turns = self._tally.annotators.sums(weights)["turns"]
        shape = (*turns.shape, len(self._tally.slots))
        parts = self._tally.annotator_slots.sums(weights)
        missing, observed = ((parts[name] @ self._place_of_annotator_slot).reshape(shape) for name in parts)
        return turns[..., None] - missing, observed

    def _expected(self, weights: Floats, given: Floats) -> Floats:
        """Expected disagreement, [B, slots]; cells of which nothing is said are what is left of all values."""
        values, count = given.sum(axis=1), self._tally.cells.sums(weights)["said"]
        nothing = values - count @ self._slot_of_cell
        alike = nothing * nothing + (count * count) @ self._slot_of_cell
        i, j = self._alike_at
        return expected_disagreement(values, alike + (self._alike * count[:, i] * count[:, j]) @ self._slot_of_alike)

    def _of_elements(
        self, sums: dict[str, Floats], values: Floats, chosen: NDArray[np.int64] | None
    ) -> dict[str, Floats]:
        slots = self._element_slots
        if chosen is not None:
            slots, sums = slots[chosen], {name: part[:, chosen] for name, part in sums.items()}
        held = sums["values"]
        left = values[:, slots] - held
        expected = expected_disagreement(held + left, held * held + left * left)
        return {
            "element_alpha": one_minus_ratio(sums["disagreement"], expected),
            "element_f1": ratio(sums["both"], sums["said"]),
        }

    def _against_others(self, group: Mapping[str, Floats]) -> dict[str, Floats]:
        """Each annotator on either side of their pairs."""
        own = group["first"] @ self._first + group["second"] @ self._second
        others = group["second"] @ self._first + group["first"] @ self._second
        both, joint, known = (group[name] @ (self._first + self._second) for name in ("both", "joint", "known"))
        return {
            "annotator_f1": ratio(2 * both, own + others),
            "annotator_precision": ratio(both, own),
            "annotator_recall": ratio(both, others),
            "annotator_joint_goal_accuracy": ratio(joint, known),
        }

    def _kappa_parts(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """What :func:`cohen_kappa` takes, each [B, groups, slots]."""
        turns = self._tally.groups.sums(weights)["turns"]
        shape = (*turns.shape, len(self._tally.slots))
        parts = self._tally.group_slots.sums(weights)
        missing, differing = ((parts[name] @ self._place_of_group_slot).reshape(shape) for name in parts)
        units = turns[..., None] - missing
        first, second = self._tally.group_cells.sums(weights).values()
        said = [(part @ self._place_of_group_cell).reshape(shape) for part in (first, second, first * second)]
        return units, differing, (units - said[0]) * (units - said[1]) + said[2]


def added_up(places: Iterable[int], size: int) -> csr_array:
    """[keys, size], by which [B, keys] becomes [B, size]: keys of one place are added up, those of -1 left out."""
    found = np.fromiter(places, np.int64)
    kept = np.flatnonzero(found >= 0)
    return csr_array((np.ones(len(kept)), (kept, found[kept])), shape=(len(found), size))


def measure(
    tally: Tally,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    worst: int = 20,
    settings: Mapping[str, Any] | None = None,
    left_out: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> AgreementReport:
    """All figures of a tally.

    Args:
        bootstrap: resamples of the dialogues; 0 gives no intervals, and so does a single dialogue.
        seed: of the resamples: the same one gives the same intervals.
        worst: how many dialogues and confusions to list.
        settings, left_out: go into the report as they are.
    """
    found = _Measured(tally, bootstrap, seed, progress or SilentProgress())
    turns = sum(tally.turns)
    overall = found.estimate("alpha")
    slots = [found.slot(position) for position in range(len(tally.slots))]
    return AgreementReport(
        alpha=overall,
        undefined=None if overall.value is not None else _ONE_VALUE if turns else _NOTHING_SHARED,
        f1=found.estimate("f1"),
        joint_goal_accuracy=found.estimate("joint_goal_accuracy"),
        same=found.estimate("same"),
        dialogues=int(np.count_nonzero(tally.turns)),
        turns=turns,
        differing_turns=sum(tally.differing_turns),
        slots=tuple(sorted((s for s in slots if s.slot != NEW_TOPIC), key=lambda slot: _worst_first(slot.alpha.value))),
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
    """The figures of the data, the intervals by its resamples, and the scores made of them."""

    def __init__(self, tally: Tally, times: int, seed: int, progress: Progress) -> None:
        self._tally, self._figures = tally, Figures(tally)
        self._ones = self._figures.ones()
        self._point = {name: part[0] for name, part in self._figures.at(self._ones).items()}
        self._said = tally.elements.sums(self._ones)["values"][0]
        self._held_by = tally.elements.dialogues()
        self._ends: tuple[dict[str, Floats], ...] = ()
        if times > 0 and len(tally.dialogues) > 1:
            self._ends = self._intervals(times, seed, progress)

    def _intervals(self, times: int, seed: int, progress: Progress) -> tuple[dict[str, Floats], ...]:
        # an interval needs dialogues to resample: two at least
        common = np.flatnonzero(self._held_by > 1)
        common = common[np.argsort(-self._said[common], kind="stable")][:_MOST_VALUES_WITH_INTERVAL]
        gathered: dict[str, list[Floats]] = {name: [] for name in self._point}
        with progress.task("bootstrap", total=times) as task:
            for weights in resamples(len(self._tally.dialogues), times, seed):
                for name, part in self._figures.at(weights, common).items():
                    gathered[name].append(part)
                task.advance(len(weights))
        low: dict[str, Floats] = {}
        high: dict[str, Floats] = {}
        for name in self._point:
            low[name], high[name] = interval(np.concatenate(gathered.pop(name)))
            if name.startswith("element"):
                for ends in (low, high):
                    of_all = np.full(len(self._said), np.nan)
                    of_all[common] = ends[name]
                    ends[name] = of_all
        return low, high

    def estimate(self, name: str, at: int | tuple[()] = ()) -> Estimate:
        """One figure with its interval."""
        return Estimate(*(_number(part[name][at]) for part in (self._point, *self._ends)))

    def slot(self, position: int) -> SlotScore:
        n = sum(self._tally.turns) - self._tally.missing_units[position]
        alpha = self.estimate("slot_alpha", position)
        keys = [key for (slot, _), key in self._tally.cells.numbers.items() if slot == position]
        said = int(self._tally.cells.sums(self._ones)["said"][0, keys].sum())
        undefined = None
        if alpha.value is None:
            undefined = _NOTHING_SHARED if not n else _ONE_VALUE if said else _NOT_SAID
        return SlotScore(self._tally.slots[position], alpha, self.estimate("slot_f1", position), n, said, undefined)

    def values(self) -> tuple[ValueScore, ...]:
        """Of each thing said of a slot; by slot, the least agreed on first."""
        found = []
        for (slot, element), key in self._tally.elements.numbers.items():
            if self._tally.slots[slot] != NEW_TOPIC:
                alpha, f1 = self.estimate("element_alpha", key), self.estimate("element_f1", key)
                said, held_by = int(self._said[key]), int(self._held_by[key])
                found.append((slot, ValueScore(self._tally.slots[slot], str(element), alpha, f1, said, held_by)))
        found.sort(key=lambda item: (item[0], _worst_first(item[1].alpha.value), -item[1].said, item[1].value))
        return tuple(score for _, score in found)

    def annotators(self) -> tuple[AnnotatorScore, ...]:
        tally, turns = self._tally, self._tally.annotators.sums(self._ones)["turns"][0]
        found = [
            AnnotatorScore(
                annotator=annotator,
                turns=int(turns[number]),
                alpha=self.estimate("annotator_alpha", number),
                f1=self.estimate("annotator_f1", number),
                precision=self.estimate("annotator_precision", number),
                recall=self.estimate("annotator_recall", number),
                joint_goal_accuracy=self.estimate("annotator_joint_goal_accuracy", number),
                answered=tally.answered[annotator],
                unreadable=tally.unreadable[annotator],
                untouched=tally.untouched[annotator],
            )
            for annotator, number in tally.annotators.numbers.items()
        ]
        return tuple(sorted(found, key=lambda each: (_worst_first(each.alpha.value), each.annotator)))

    def dialogues(self) -> tuple[DialogueScore, ...]:
        tally = self._tally
        f1 = ratio(tally.elements.of_dialogues("both"), tally.elements.of_dialogues("said"))
        parts = zip(
            tally.dialogues, self._figures.dialogue_alpha(), f1, tally.turns, tally.differing_turns, strict=True
        )
        found = [
            DialogueScore(dialogue, _number(alpha), _number(shared), turns, differing)
            for dialogue, alpha, shared, turns, differing in parts
            if turns
        ]
        return tuple(
            sorted(found, key=lambda each: (_worst_first(each.alpha), -each.differing_turns, each.dialogue_id))
        )

    def comparisons(self, kind: str) -> tuple[ComparisonScore, ...]:
        """The groups of a kind, by least kappa first."""
        groups = self._tally.groups
        pairs, dialogues = groups.sums(self._ones)["turns"][0], groups.dialogues()
        kappas = self._figures.group_slot_kappa()
        found = [
            ComparisonScore(
                first=group.first,
                second=group.second,
                turns=int(pairs[number]),
                dialogues=int(dialogues[number]),
                kappa=self.estimate("group_kappa", number),
                f1=self.estimate("group_f1", number),
                same=self.estimate("group_same", number),
                joint_goal_accuracy=self.estimate("group_joint_goal_accuracy", number),
                slots={
                    slot: _number(kappa)
                    for slot, kappa in zip(self._tally.slots, kappas[number], strict=True)
                    if slot != NEW_TOPIC
                },
            )
            for group, number in groups.numbers.items()
            if group.kind == kind
        ]
        return tuple(sorted(found, key=lambda each: (_worst_first(each.kappa.value), each.first, each.second)))

    def prelabels(self) -> tuple[ComparisonScore, ...]:
        found = {each.first: each for each in self.comparisons("prelabel")}
        if found.keys() <= {"without"}:
            return ()
        return tuple(found[name] for name in ("with", "mixed", "without") if name in found)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
