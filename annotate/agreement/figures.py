"""The figures of agreement as functions of the dialogues' weights: all ones for the data, resamples for intervals.

Slots are pooled by adding up, before any ratio is taken: overall alpha is ``1 - sum_s D_s / sum_s E_s``, with ``D_s``
the disagreement observed in slot ``s`` and ``E_s`` what chance would give **within** that slot. A value can only be
mistaken for another one of its slot; were slots thrown together, the slot's name alone would look like agreement. It is
the mean of the slots' alphas, weighted by how much could have gone wrong in each. The scores of an annotator and of a
dialogue take their own share of ``D`` against the chance rates of everybody: overall alpha is their weighted mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from annotate.agreement.cells import NEW_TOPIC
from annotate.agreement.coefficients import Floats, cohen_kappa, expected_disagreement, one_minus_ratio, ratio
from annotate.agreement.similarity import Distance, partial_matches, similarity
from annotate.agreement.tally import TableName, Tally

__all__ = ["Figures"]


class Figures:
    """Every figure of a tally.

    Args:
        tally: the counts.
        distance: the one it was made with.
        elements: keys of the elements to give figures for; None for all.
    """

    def __init__(self, tally: Tally, distance: Distance, elements: NDArray[np.int64] | None = None) -> None:
        self._tally = tally
        self._slots, self._people = len(tally.slots), len(tally.annotators)
        self._is_slot = np.array([name != NEW_TOPIC for name in tally.slots])
        self._table = {name: tally.table(name) for name in _PLAIN}
        slot_of_element = np.array([slot for slot, _ in tally.elements], np.int64)
        chosen = np.arange(len(tally.elements)) if elements is None else elements
        place = np.full(len(tally.elements), -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        self._element_slot = slot_of_element[chosen]
        self._element = {name: tally.table(name).regrouped(place, len(chosen)) for name in _OF_ELEMENTS}
        self._slot_both, self._slot_said = (
            tally.table(name).regrouped(slot_of_element, self._slots) for name in ("element_both", "element_said")
        )
        self._cell_slot = np.array([slot for slot, _ in tally.cells], np.int64)
        cells = [cell for _, cell in tally.cells]
        alike = partial_matches(cells, similarity(distance))
        within = [(i, j, score) for i, j, score in alike if self._cell_slot[i] == self._cell_slot[j]]
        self._alike_at = np.array([(i, j) for i, j, _ in within], np.int64).reshape(-1, 2)
        self._alike = np.array([score for *_, score in within])
        self._group_slot = np.array(
            [group * self._slots + self._cell_slot[cell] for group, cell in tally.group_cells], np.int64
        )
        self._pairs = np.array([group.kind == "pair" for group in tally.groups], bool)
        self._first, self._second = (
            self._members([group.kind == "pair" and (group.first, group.second)[side] for group in tally.groups])
            for side in (0, 1)
        )

    def at(self, weights: Floats) -> dict[str, Floats]:
        """All figures, by name.

        Args:
            weights: how often each dialogue counts, [B, dialogues].

        Returns:
            ``alpha``, ``f1``, ``joint_goal_accuracy``, ``same`` (share of pairs of answers to a turn that say the same
            of every slot): [B]. ``slot_alpha``, ``slot_f1``: [B, slots]. ``element_alpha``, ``element_f1``:
            [B, elements]. ``annotator_alpha``, ``.._f1``, ``.._precision``, ``.._recall``,
            ``.._joint_goal_accuracy``: [B, annotators]. ``group_kappa``, ``.._f1``, ``.._same``,
            ``.._joint_goal_accuracy``: [B, groups]. NaN where undefined.
        """
        sums = {name: table.sums(weights) for name, table in self._table.items()}
        values = sums["values"] - sums["missing"]  # [B, slots]
        expected = self._expected(sums, values)
        found = {
            "slot_alpha": one_minus_ratio(sums["disagreement"], expected),
            "alpha": one_minus_ratio(self._pooled(sums["disagreement"]), self._pooled(expected)),
            "slot_f1": ratio(self._slot_both.sums(weights), self._slot_said.sums(weights)),
        }
        found |= self._of_elements(weights, values)
        found |= self._of_annotators(sums, values, expected)
        found |= self._of_groups(sums)
        pairs = {name: sums[name][:, self._pairs].sum(axis=-1) for name in _OF_PAIRS}
        return found | {
            "f1": ratio(2 * pairs["group_both"], pairs["group_first"] + pairs["group_second"]),
            "joint_goal_accuracy": ratio(pairs["group_joint"], pairs["group_known"]),
            "same": ratio(pairs["group_same"], pairs["group_turns"]),
        }

    def group_slot_kappa(self) -> Floats:
        """Cohen's kappa of each group in each slot, [groups, slots]."""
        ones = np.ones((1, len(self._tally.dialogues)))
        units, differing, alike = self._kappa_parts({name: self._table[name].sums(ones) for name in _PLAIN})
        return np.asarray(cohen_kappa(units[..., None], differing[..., None], alike[..., None])[0], float)

    def dialogue_alpha(self) -> Floats:
        """The score of each dialogue against everybody's chance rates, [dialogues]; NaN without a shared turn."""
        ones = np.ones((1, len(self._tally.dialogues)))
        sums = {name: table.sums(ones) for name, table in self._table.items()}
        given = sums["values"] - sums["missing"]
        rates = self._is_slot * np.nan_to_num(ratio(self._expected(sums, given), given))[0]
        observed = self._table["disagreement"].of_dialogues(self._is_slot.astype(float))
        values = self._table["values"].of_dialogues(np.ones(1))
        return one_minus_ratio(observed, rates.sum() * values - self._table["missing"].of_dialogues(rates))

    def _members(self, names: list[str | bool]) -> Floats:
        """Which annotator stands on one side of each group, [groups, annotators]."""
        found = np.zeros((len(names), self._people))
        for group, name in enumerate(names):
            if isinstance(name, str):
                found[group, self._tally.annotators[name]] = 1
        return found

    def _pooled(self, per_slot: Floats) -> Floats:
        return np.asarray(per_slot[..., self._is_slot].sum(axis=-1), float)

    def _by_slot(self, per_cell: Floats, slots: NDArray[np.int64]) -> Floats:
        """[B, cells] -> [B, slots]."""
        found = np.zeros((len(per_cell), self._slots))
        np.add.at(found.T, slots, per_cell.T)
        return found

    def _expected(self, sums: dict[TableName, Floats], values: Floats) -> Floats:
        """Expected disagreement, [B, slots]; cells of which nothing is said are what is left of all values."""
        count = sums["cells"]
        nothing = values - self._by_slot(count, self._cell_slot)
        alike = nothing * nothing + self._by_slot(count * count, self._cell_slot)
        if len(self._alike):
            i, j = self._alike_at.T
            alike += self._by_slot(2 * self._alike * count[:, i] * count[:, j], self._cell_slot[i])
        return expected_disagreement(values, alike)

    def _of_elements(self, weights: Floats, values: Floats) -> dict[str, Floats]:
        sums = {name: table.sums(weights) for name, table in self._element.items()}
        held = sums["element_values"]
        left = values[:, self._element_slot] - held
        expected = expected_disagreement(held + left, held * held + left * left)
        return {
            "element_alpha": one_minus_ratio(sums["element_disagreement"], expected),
            "element_f1": ratio(sums["element_both"], sums["element_said"]),
        }

    def _of_annotators(self, sums: dict[TableName, Floats], values: Floats, expected: Floats) -> dict[str, Floats]:
        shape = (len(values), self._people, self._slots)
        observed = self._pooled(sums["annotator_disagreement"].reshape(shape))
        given = sums["annotator_values"][:, :, None] - sums["annotator_missing"].reshape(shape)
        by_chance = self._pooled(given * np.nan_to_num(ratio(expected, values))[:, None])
        first, second, both = (sums[name] for name in ("group_first", "group_second", "group_both"))
        own = first @ self._first + second @ self._second
        others = second @ self._first + first @ self._second
        sides = self._first + self._second
        return {
            "annotator_alpha": one_minus_ratio(observed, by_chance),
            "annotator_f1": ratio(2 * (both @ sides), own + others),
            "annotator_precision": ratio(both @ sides, own),
            "annotator_recall": ratio(both @ sides, others),
            "annotator_joint_goal_accuracy": ratio(sums["group_joint"] @ sides, sums["group_known"] @ sides),
        }

    def _of_groups(self, sums: dict[TableName, Floats]) -> dict[str, Floats]:
        units, differing, alike = (part[..., self._is_slot] for part in self._kappa_parts(sums))
        return {
            "group_kappa": cohen_kappa(units, differing, alike),
            "group_f1": ratio(2 * sums["group_both"], sums["group_first"] + sums["group_second"]),
            "group_same": ratio(sums["group_same"], sums["group_turns"]),
            "group_joint_goal_accuracy": ratio(sums["group_joint"], sums["group_known"]),
        }

    def _kappa_parts(self, sums: dict[TableName, Floats]) -> tuple[Floats, Floats, Floats]:
        """What :func:`cohen_kappa` takes, each [B, groups, slots]."""
        shape = (len(sums["values"]), len(self._tally.groups), self._slots)
        units = sums["group_turns"][:, :, None] - sums["group_missing"].reshape(shape)
        nothing = [units - sums[name].reshape(shape) for name in ("group_first_said", "group_second_said")]
        both = sums["group_first_cells"] * sums["group_second_cells"]
        said = np.zeros((len(both), len(self._tally.groups) * self._slots))
        np.add.at(said.T, self._group_slot, both.T)
        differing = sums["group_differing"].reshape(shape)
        return units, differing, nothing[0] * nothing[1] + said.reshape(shape)


_PLAIN: tuple[TableName, ...] = (
    "values",
    "missing",
    "disagreement",
    "cells",
    "annotator_values",
    "annotator_missing",
    "annotator_disagreement",
    "group_turns",
    "group_missing",
    "group_same",
    "group_known",
    "group_joint",
    "group_both",
    "group_first",
    "group_second",
    "group_differing",
    "group_first_said",
    "group_second_said",
    "group_first_cells",
    "group_second_cells",
)
_OF_ELEMENTS: tuple[TableName, ...] = ("element_values", "element_disagreement", "element_both", "element_said")
_OF_PAIRS: tuple[TableName, ...] = (
    "group_turns",
    "group_same",
    "group_known",
    "group_joint",
    "group_both",
    "group_first",
    "group_second",
)
