"""Training in several processes (``torchrun``), with the result of one process up to rounding.

Every process draws the same batch. The encoders' work is split: each process encodes its share of the rows, and all
gather what the others encoded. Scores and losses, which look across the batch, are then computed by every process on
the whole batch, so that no mean has to be put together from means, whatever the loss.

What is held for the whole batch has the same gradient in every process. Behind the encoders the average of the
processes' gradients is therefore any of them. An encoder sees the gradients of its share alone: they are taken times
the number of processes on their way in, so that the average is the sum over shares, and divided by it on their way
out, where those of all shares are put together again (as when the student's state is encoded from encoded contexts).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from schemas.errors import ModelError

_WAIT = timedelta(hours=2)  # the first process may be encoding images meanwhile
_BUCKET = 1 << 23  # gradients averaged at a time, in numbers


class Processes:
    """The processes that train one model together.

    Args:
        rank: this process's number, from 0.
        count: how many there are.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks to people."""
        return self.rank == 0

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            with _together():
                dist.barrier(device_ids=[torch.cuda.current_device()] if _on_gpu() else None)

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The others enter the block when the first process has left it."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        if self.count == 1:
            return flag
        found = torch.tensor([float(flag)])
        with _together():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found.item())

    def collect(self, value: Any) -> list[Any]:
        """The (small) value of each process, in order, in every process."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        with _together():
            dist.all_gather_object(found, value)
        return found

    def share(self, size: int) -> slice:
        """This process's part of ``size`` pieces of work."""
        return slice(self.rank * size // self.count, (self.rank + 1) * size // self.count)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Mean gradients over the processes; none is left where none has one.

        A process whose share did not touch a parameter, as that of the images, counts as zeros.
        """
        if self.count == 1:
            return
        every = list(parameters)
        touched = torch.tensor([float(p.grad is not None) for p in every], device=every[0].device)
        with _together():
            dist.all_reduce(touched, dist.ReduceOp.MAX)
            used = [p for p, any_one in zip(every, touched.tolist(), strict=True) if any_one]
            for bucket in _buckets(used):
                gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
                flat = torch.cat([gradient.flatten() for gradient in gradients])
                dist.all_reduce(flat)
                flat /= self.count
                parts = torch.split(flat, [p.numel() for p in bucket])
                for parameter, part in zip(bucket, parts, strict=True):
                    parameter.grad = part.view_as(parameter)


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        bucket.append(parameter)
        size += parameter.numel()
        if size >= _BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


class SplitModel:
    """A model whose encoders do this process's share of the rows and gather the rest; all else is the model's own.

    What an encoder takes and gives is a tensor or a named tuple of tensors, with one row per example.
    """

    encoders = ("encode_contexts", "encode_products", "teacher_state", "student_state")

    def __init__(self, model: Any, processes: Processes) -> None:
        self._model = model
        self._processes = processes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        return self._split(found) if name in self.encoders else found

    def _split(self, encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def encode_share(rows: Any) -> Any:
            inputs = _leaves(rows)
            total = len(inputs[0])
            size = -(-total // self._processes.count)  # every process encodes as many; the last ones repeat a row
            start = self._processes.rank * size
            here = torch.arange(start, start + size, device=inputs[0].device).clamp(max=total - 1)
            shares = [_Share.apply(leaf, here, self._processes) for leaf in inputs]
            encoded = encode(_like(rows, shares))
            outputs = _leaves(encoded)
            flat = torch.cat([leaf.reshape(size, -1).to(torch.float32) for leaf in outputs], dim=1)
            gathered: Tensor = _Gather.apply(flat, self._processes)
            widths = [leaf[0].numel() for leaf in outputs]
            parts = torch.split(gathered[:total], widths, dim=1)
            return _like(
                encoded,
                [
                    part.reshape(total, *leaf.shape[1:]).to(leaf.dtype)
                    for part, leaf in zip(parts, outputs, strict=True)
                ],
            )

        return encode_share


class _Share(torch.autograd.Function):
    """Some rows [r, ..] of what every process holds [R, ..]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, here: Tensor, processes: Processes) -> Tensor:
        ctx.processes, ctx.total = processes, len(rows)
        return rows[here]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _gathered(gradients[0], ctx.processes.count)[: ctx.total] / ctx.processes.count, None, None


class _Gather(torch.autograd.Function):
    """Rows [r, W] of every process, one after the other: [count r, W]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes) -> Tensor:
        ctx.processes, ctx.size = processes, len(rows)
        return _gathered(rows, processes.count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        start = ctx.processes.rank * ctx.size
        return gradients[0][start : start + ctx.size] * ctx.processes.count, None


def _gathered(rows: Tensor, count: int) -> Tensor:
    rows = rows.contiguous()
    found = [torch.empty_like(rows) for _ in range(count)]
    with _together():
        dist.all_gather(found, rows)
    return torch.cat(found)


def _leaves(rows: Any) -> list[Tensor]:
    return [rows] if isinstance(rows, Tensor) else list(rows)


def _like(rows: Any, leaves: list[Tensor]) -> Any:
    return leaves[0] if isinstance(rows, Tensor) else type(rows)(*leaves)


@contextmanager
def open_processes() -> Iterator[Processes]:
    """The processes that ``torchrun`` started, joined for as long as the block lasts; else this one alone.

    gloo on CPUs; with GPUs, nccl and one GPU each.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Processes()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with _together():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_WAIT)
    yield Processes(dist.get_rank(), count)
    dist.destroy_process_group()  # not after an error: the others may be waiting, and end when this process does


def _on_gpu() -> bool:
    return torch.cuda.is_available() and "nccl" in str(dist.get_backend())


@contextmanager
def _together() -> Iterator[None]:
    """Errors of talking to the other processes as one line."""
    try:
        yield
    except RuntimeError as problem:
        raise ModelError(
            f"another process of this training ended: {str(problem).splitlines()[0][:200]}",
            fix="see what it said; `semctl train --resume latest`, started the same way, continues",
        ) from None
