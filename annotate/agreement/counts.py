"""Counts kept dialogue by dialogue, so that statistics can be had of any re-weighting of the dialogues."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from annotate.agreement.coefficients import Floats

__all__ = ["CountTable", "CountTableBuilder"]


class CountTable:
    """A sparse matrix dialogue x key of counts.

    Args:
        rows: dialogue of each entry.
        keys: key of each entry.
        values: the counts.
        size: how many keys there are.
    """

    def __init__(self, rows: NDArray[np.int32], keys: NDArray[np.int32], values: Floats, size: int) -> None:
        order = np.lexsort((rows, keys))
        self._rows, self._values, self.size = rows[order], values[order], size
        ordered = keys[order]
        self._starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        self._present = ordered[self._starts]
        self._lengths = np.diff(self._starts, append=keys.size)

    def sums(self, weights: Floats) -> Floats:
        """Sum over dialogues for each key.

        Args:
            weights: how often each dialogue counts, [B, dialogues].

        Returns:
            [B, keys].
        """
        found = np.zeros((len(weights), self.size))
        if self._rows.size:
            for row, weight in zip(found, weights, strict=True):
                row[self._present] = np.add.reduceat(weight.take(self._rows) * self._values, self._starts)
        return found

    def regrouped(self, groups: NDArray[np.int64], size: int) -> CountTable:
        """The counts by group of keys.

        Args:
            groups: the group of each key, [keys]; -1 leaves a key out.
            size: how many groups there are.
        """
        keys = groups[np.repeat(self._present, self._lengths)] if self._rows.size else np.zeros(0, np.int64)
        kept = keys >= 0
        return CountTable(self._rows[kept], keys[kept].astype(np.int32), self._values[kept], size)

    def dialogues(self) -> NDArray[np.int64]:
        """In how many dialogues each key occurs, [keys]."""
        found = np.zeros(self.size, np.int64)
        found[self._present] = self._lengths
        return found

    def of_dialogues(self, per_key: Floats, dialogues: int) -> Floats:
        """Sum over keys for each dialogue, each key times its factor ``per_key``: [keys] -> [dialogues]."""
        keys = np.repeat(self._present, self._lengths)
        found = np.bincount(self._rows, weights=self._values * per_key[keys], minlength=dialogues)
        return found.astype(float)


class CountTableBuilder:
    """Gathers a :class:`CountTable`, one dialogue after the other, in compact arrays."""

    def __init__(self) -> None:
        self._rows, self._keys, self._values = array("i"), array("i"), array("d")
        self._open: defaultdict[int, float] = defaultdict(float)

    def add(self, key: int, count: float) -> None:
        """Count something in the dialogue at hand; nothing is taken off again."""
        if count:
            self._open[key] += count

    def close(self, dialogue: int) -> None:
        """The dialogue at hand is this one, and is done."""
        if self._open:
            self._rows.extend([dialogue] * len(self._open))
            self._keys.extend(self._open.keys())
            self._values.extend(self._open.values())
            self._open.clear()

    @property
    def open(self) -> Mapping[int, float]:
        """What was counted in the dialogue at hand so far."""
        return self._open

    def build(self, size: int) -> CountTable:
        """The table of all dialogues that were closed."""
        rows, keys = (
            np.frombuffer(part, np.int32) if part else np.zeros(0, np.int32) for part in (self._rows, self._keys)
        )
        values = np.frombuffer(self._values, np.float64) if self._values else np.zeros(0)
        return CountTable(rows, keys, values, size)
