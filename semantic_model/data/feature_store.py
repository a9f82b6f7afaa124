"""What a frozen encoder makes of images or texts, kept on disk: each is encoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import ModelError
from schemas.files import atomic_path, read_json, write_json


class FeatureStore:
    """A ``.npy`` of features, a row each, and a JSON of key -> row (-1: there are none of it).

    Args:
        folder: where they are kept; None: in memory only.
        name: of the two files, without what comes after the point.
        width: F, numbers a row.
        kind: of the numbers.
    """

    def __init__(self, folder: Path | None, name: str, width: int, kind: type = np.float32) -> None:
        self._array = None if folder is None else folder / f"{name}.npy"
        self._index = None if folder is None else folder / f"{name}.json"
        self.values: npt.NDArray[Any] = np.zeros((0, width), dtype=kind)
        self.rows: dict[str, int] = {}
        if self._array is not None and self._index is not None and self._index.is_file() and self._array.is_file():
            fix = f"delete it and {self._array.name}; features are made again"
            rows = read_json(self._index, error=ModelError, fix=fix, shape=dict[str, int])
            values = read_array(self._array, fix="delete it; features are made again")
            if values.shape == (1 + max(rows.values(), default=-1), width):  # else: a cut-off write
                self.values, self.rows = values, dict(rows)

    def add(self, rows: Mapping[str, int], found: Sequence[npt.NDArray[Any]], *, keep: bool = True) -> None:
        """More of them, one batch after the other; ``rows`` go on where those that are there end."""
        self.rows |= rows
        self.values = np.concatenate([np.asarray(self.values), *found])
        if keep and self._array is not None and self._index is not None:
            with atomic_path(self._array) as temporary, temporary.open("wb") as file:
                np.save(file, self.values, allow_pickle=False)
            write_json(self._index, self.rows)
            self.values = read_array(self._array)


def read_array(path: Path, *, fix: str | None = None) -> npt.NDArray[Any]:
    """A ``.npy`` file as a memory map.

    Raises:
        ModelError: it is no plain array, or cut off.
    """
    try:
        values: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, MemoryError) as problem:
        raise ModelError(f"not a plain array: {problem}", where=path, fix=fix) from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ModelError("not a plain array of numbers", where=path, fix=fix)
    return values
