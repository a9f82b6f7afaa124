"""Things with one row an example: a tensor, or a named tuple or a dataclass of such things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

Rows = Any
"""A tensor [R, ..], or a named tuple or a dataclass of such things."""


def map_rows(change: Callable[..., Tensor], *rows: Rows) -> Rows:
    """The same change to every tensor; of several things alike, to the tensors that stand in the same place."""
    if isinstance(rows[0], Tensor):
        return change(*rows)
    return type(rows[0])(*(map_rows(change, *parts) for parts in zip(*map(_parts, rows), strict=True)))


def first_tensor(rows: Rows) -> Tensor:
    """The first of its tensors."""
    while not isinstance(rows, Tensor):
        rows = _parts(rows)[0]
    return rows


def moved(rows: Rows, device: torch.device) -> Rows:
    """The same on a device."""
    return map_rows(lambda tensor: tensor.to(device), rows)


def joined(parts: Sequence[Rows]) -> Rows:
    """One after the other."""
    return map_rows(lambda *tensors: torch.cat(tensors), *parts)


class Sliced:
    """A dataclass of rows with ``len()`` and slices."""

    def __len__(self) -> int:
        return len(first_tensor(self))

    def __getitem__(self, part: slice) -> Self:
        found: Self = map_rows(lambda tensor: tensor[part], self)
        return found


@dataclass(frozen=True)
class Encoded(Sliced):
    """What a network encodes, with ``len()`` and slices."""

    rows: Rows


def _parts(rows: Rows) -> Sequence[Rows]:
    return rows if isinstance(rows, tuple) else [getattr(rows, field.name) for field in fields(rows)]
