"""Training in several processes (``torchrun``), with the result of one process up to rounding.

Every process draws the same batch. The encoders' work is split: each process encodes its share of the rows, and all
gather what the others encoded. Scores and losses, which look across the batch, are then computed by every process on
the whole batch, so that no mean has to be put together from means, whatever the loss.

What is held for the whole batch has the same gradient in every process. Behind the encoders the average of the
processes' gradients is therefore any of them. An encoder sees the gradients of its share alone: they are taken times
the number of processes on their way in, so that the average is the sum over shares, and divided by it on their way
out, where those of all shares are put together again (as when the student's state is encoded from encoded contexts).

The processes may run on several machines, which share no files: what the first one reads, the others are told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, ProcessGroup, Store
from torch.distributed.rendezvous import rendezvous

from schemas.errors import ModelError
from schemas.files import atomic_path, sha256_file

_WAIT = timedelta(minutes=10)  # for the others in a step; one that takes longer is gone
_LONG_WAIT = timedelta(hours=2)  # while images are encoded
_BUCKET = 1 << 23  # gradients averaged at a time, in numbers
_PIECE = 1 << 26  # of a file that is sent, in bytes


class Processes:
    """The processes that train one model together.

    Args:
        rank: this process's number, from 0.
        count: how many there are.
        rank_here: its number among those of its machine.
        patient: the group that waits long; None: there is one process.
    """

    def __init__(
        self, rank: int = 0, count: int = 1, *, rank_here: int = 0, patient: dist.ProcessGroup | None = None
    ) -> None:
        self.rank = rank
        self.count = count
        self.rank_here = rank_here
        self._patient = patient

    @property
    def device(self) -> str:
        """What they compute on: ``cuda`` or ``cpu``."""
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes runs and speaks to people."""
        return self.rank == 0

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            with _together():
                dist.barrier(device_ids=[torch.cuda.current_device()] if _on_gpu() else None)

    @contextmanager
    def first_here_before_others(self) -> Iterator[None]:
        """On each machine, the others enter the block when the first process of every machine has left it."""
        if self.rank_here:
            self._wait_long()
        yield
        if not self.rank_here:
            self._wait_long()

    def _wait_long(self) -> None:
        if self.count > 1:
            with _together():
                dist.barrier(group=self._patient)

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        if self.count == 1:
            return flag
        found = torch.tensor([float(flag)])
        with _together():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found.item())

    def collect(self, value: Any) -> list[Any]:
        """The (small) value of each process, in order, in every process; anything that JSON holds, NaN included."""
        if self.count == 1:
            return [value]
        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = _gathered(torch.tensor([len(content)]), self.count).tolist()
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(content)] = content
        every = _gathered(padded[None], self.count).numpy()
        return [json.loads(row[:size].tobytes()) for row, size in zip(every, sizes, strict=True)]

    def spread(self, module: nn.Module) -> None:
        """Give every process the first one's weights: other machines may compute other last bits of them."""
        if self.count > 1:
            with _together():
                for tensor in (*module.parameters(), *module.buffers()):
                    dist.broadcast(tensor.data, 0)

    def send_file(self, path: Path, holder: int, to: Path | None) -> None:
        """Send the file that process ``holder`` has to all that say where to write it."""
        size = self.collect(path.stat().st_size if self.rank == holder else 0)[holder]
        with ExitStack() as stack:
            source = stack.enter_context(path.open("rb")) if self.rank == holder else None
            target = None if to is None else stack.enter_context(stack.enter_context(atomic_path(to)).open("wb"))
            for start in range(0, size, _PIECE):
                piece = torch.empty(min(_PIECE, size - start), dtype=torch.uint8)
                if source is not None:
                    source.readinto(piece.numpy().data)
                with _together():
                    dist.broadcast(piece, holder)
                if target is not None:
                    target.write(piece.numpy().data)

    @contextmanager
    def file_of_first(self, path: Path) -> Iterator[Path | None]:
        """The first process's file, in every process; a copy, gone afterwards, where it is not there as well.

        None when the first process has none.
        """
        hashes = self.collect(sha256_file(path) if path.is_file() else None)
        if hashes[0] is None or len(set(hashes)) == 1:
            yield None if hashes[0] is None else path
            return
        with TemporaryDirectory() as folder:
            copy = None if hashes[self.rank] == hashes[0] else Path(folder) / path.name
            self.send_file(path, 0, copy)
            yield copy or path

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
    """The processes that ``torchrun`` started, on one machine or several, joined for as long as the block lasts.

    This one alone, when ``torchrun`` started none. gloo on CPUs; with GPUs, nccl and one GPU each.

    Raises:
        ModelError: another one ended, they do not agree on how many they are, or there are fewer GPUs than processes.
    """
    global _joined
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or _joined is not None:
        yield _joined or Processes()
        return
    rank_here = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        if rank_here >= torch.cuda.device_count():
            what = f"this machine has {torch.cuda.device_count()} GPUs, and more processes were started on it"
            raise ModelError(what, fix="start one a GPU: `torchrun --nproc-per-node N`")
        torch.cuda.set_device(rank_here)
    with _together():
        store, rank, _ = next(rendezvous("env://", timeout=_WAIT))
        _same_count(PrefixStore("semctl", store), rank, count)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_WAIT)
        patient = dist.new_group(backend="gloo", timeout=_LONG_WAIT)
    assert isinstance(patient, ProcessGroup)  # of which this process is one
    _joined = Processes(rank, count, rank_here=rank_here, patient=patient)
    yield _joined
    dist.destroy_process_group()  # not after an error: the others may be waiting, and end when this process does
    _joined = None


_joined: Processes | None = None
"""Those of the block that is open."""


def _same_count(store: Store, rank: int, count: int) -> None:
    store.set(f"count/{rank}", str(count))
    for other in range(1 if rank == 0 else 0, count if rank == 0 else 1):
        told = int(store.get(f"count/{other}"))
        if told != count:
            raise ModelError(
                f"process {rank} was started as one of {count}, process {other} as one of {told}",
                fix="start `torchrun` with the same --nnodes on every machine",
            )


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
