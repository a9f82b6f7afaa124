"""Counts kept dialogue by dialogue, so that statistics can be had of any re-weighting of the dialogues."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from annotate.agreement.coefficients import Floats

__all__ = ["CountTable", "CountTableBuilder"]


class CountTable:
    """A sparse matrix dialogue x key of counts.

    Args:
        counts: the matrix.
    """

    def __init__(self, counts: csr_array) -> None:
        self._counts = counts
        self.size = int(counts.shape[1])

    def sums(self, weights: Floats) -> Floats:
        """Sum over dialogues for each key.

        Args:
            weights: how often each dialogue counts, [B, dialogues].

        Returns:
            [B, keys].
        """
        return np.asarray(weights @ self._counts)

    def regrouped(self, groups: NDArray[np.int64], size: int) -> CountTable:
        """The counts by group of keys.

        Args:
            groups: the group of each key, [keys]; -1 leaves a key out.
            size: how many groups there are.
        """
        kept = np.flatnonzero(groups >= 0)
        to_group = csr_array((np.ones(kept.size), (kept, groups[kept])), shape=(self.size, size))
        return CountTable(self._counts @ to_group)

    def dialogues(self) -> NDArray[np.int64]:
        """In how many dialogues each key occurs, [keys]."""
        return np.bincount(self._counts.indices, minlength=self.size)

    def of_dialogues(self, per_key: Floats) -> Floats:
        """Sum over keys for each dialogue, each key times its factor ``per_key``: [keys] -> [dialogues]."""
        return np.asarray(self._counts @ per_key)


class CountTableBuilder:
    """Gathers a :class:`CountTable`, one dialogue after the other, in compact arrays."""

    def __init__(self) -> None:
        self._rows, self._keys, self._values = array("i"), array("i"), array("d")
        self._open: defaultdict[int, float] = defaultdict(float)
        self._dialogues = 0

    def add(self, key: int, count: float) -> None:
        """Count something in the dialogue at hand; nothing is taken off again."""
        if count:
            self._open[key] += count

    def close(self) -> None:
        """The dialogue at hand is done."""
        self._rows.extend([self._dialogues] * len(self._open))
        self._keys.extend(self._open.keys())
        self._values.extend(self._open.values())
        self._open.clear()
        self._dialogues += 1

    @property
    def open(self) -> Mapping[int, float]:
        """What was counted in the dialogue at hand so far."""
        return self._open

    def build(self, size: int) -> CountTable:
        """The table of all dialogues that were closed."""
        return CountTable(csr_array((self._values, (self._rows, self._keys)), shape=(self._dialogues, size)))
