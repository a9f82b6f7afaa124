"""Scoring a whole catalogue of random products for one random context, in every way that is compared.

Everything runs on every core in independent chunks, the opponents as well, each with the chunk that suits it best. No
time depends on the vectors' values.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from schemas.errors import CheckError
from semantic_model.layers.losses import EPSILON
from semantic_model.ranking.chunked_scoring import Scratch, for_each, score_catalogue
from semantic_model.ranking.ranker import TablePrecision
from semantic_model.semantic.gram import GramQuery
from semantic_model.semantic.interaction import DialogueStateInteraction
from semantic_model.semantic.scoring import MatchQuery, Modality, ProductTable
from semantic_model.semantic.settings import DsiConfig

Side = tuple[DialogueStateInteraction, Tensor, Tensor]


class PlainDsi:
    """tanh of the sum of both modalities' cosines, for one context.

    Args:
        sides: for text and images, the DSI, x_C [1, D] and S_0 ... S_K [1, K + 1, n, D].
    """

    def __init__(self, sides: Sequence[Side]) -> None:
        self.sides = []
        for dsi, x_C, stack in sides:
            S = stack[0]
            unit = S / S.norm(dim=-1, keepdim=True).clamp(min=EPSILON) * dsi.inverse_temperature
            self.sides.append((S, unit.transpose(1, 2).contiguous(), x_C[0] / x_C[0].norm()))

    def run(self, table: ProductTable, chunk: int) -> Tensor:
        """Scores [N]."""
        scores = torch.zeros(len(table))

        def work(starts: Iterator[int]) -> None:
            scratch = Scratch(table.device)
            for start in starts:
                part = slice(start, start + chunk)
                for side, modality in enumerate((table.text, table.image)):
                    scores[part] += self._cosines(side, modality.vectors[part], scratch)
                scores[part].tanh_()

        for_each(range(0, len(table), chunk), work)
        return scores

    def _cosines(self, side: int, x_0: Tensor, scratch: Scratch) -> Tensor:
        S, unit, x_C = self.sides[side]
        n, (C, D) = S.shape[1], x_0.shape
        x, a, length = scratch.tensor("x", C, D), scratch.tensor("a", C, n), scratch.tensor("length", C, 1)
        weights = scratch.tensor("weights", C, n)
        x_k = x_0
        for k in range(len(S) - 1):
            torch.linalg.vector_norm(x_k, dim=1, keepdim=True, out=length).clamp_(min=EPSILON)
            torch.mm(x_k, unit[k], out=a).div_(length)
            torch.softmax(a, dim=1, out=weights)
            x_k = torch.addmm(x_k, weights, S[k + 1], out=x)
        torch.linalg.vector_norm(x_k, dim=1, keepdim=True, out=length).clamp_(min=EPSILON)
        return torch.mv(x_k, x_C).div_(length[:, 0])


class MatrixProduct:
    """T = M X_0^T of both modalities and nothing else."""

    def __init__(self, query: MatchQuery) -> None:
        self.rows = [side.M[0] for side in (query.text, query.image)]

    def run(self, table: ProductTable, chunk: int) -> None:
        """Every chunk's product overwrites the one before."""

        def work(starts: Iterator[int]) -> None:
            scratch = Scratch(table.device)
            for start in starts:
                part = slice(start, start + chunk)
                for M, modality in zip(self.rows, (table.text, table.image), strict=True):
                    X_0 = modality.vectors[part]
                    torch.mm(M, X_0.T, out=scratch.tensor("T", len(M), len(X_0)))

        for_each(range(0, len(table), chunk), work)


SLOTS, HOPS = 15, 3
APART = 1 << 15
"""Both modalities are rows of one drawn table, so many rows apart that neither finds the other's in a cache."""

CHUNKS = (128, 256, 512, 1024, 2048)  # that opponents may choose from


def random_sides(width: int, contexts: int = 1) -> list[Side]:
    """For each modality: the DSI, enhanced contexts x_C [B, D], and S_0 ... S_K [B, K + 1, n, D]."""
    torch.manual_seed(0)
    S, sides = torch.randn(contexts, SLOTS, width), []
    for _ in range(2):
        dsi = DialogueStateInteraction(DsiConfig(hops=HOPS), width).requires_grad_(False)
        stack = dsi.states(S)
        sides.append((dsi, dsi.interact(torch.randn(contexts, 1, width), stack).x[:, 0], stack))
    return sides


def query_of(sides: list[Side]) -> MatchQuery:
    """The same as scoring wants it."""
    text, image = (GramQuery.of(*side) for side in sides)
    return MatchQuery(text, image, (1.0, 1.0))


def draw(products: int, width: int, precision: TablePrecision = "float32") -> Tensor:
    """Random vectors for :func:`table_of`."""
    generator = torch.Generator().manual_seed(1)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    vectors = torch.empty(products + min(APART, products), width, dtype=dtype)
    for start in range(0, len(vectors), 4096):
        part = vectors[start : start + 4096]
        part.copy_(torch.randn(part.shape, generator=generator))
    return vectors


def table_of(vectors: Tensor, products: int) -> ProductTable:
    """Random products; the images' vectors are the texts' of products far away."""
    whole, apart = Modality.of(vectors), len(vectors) - products
    text = Modality(whole.vectors[:products], whole.square[:products])
    image = Modality(whole.vectors[apart:], whole.square[apart:])
    return ProductTable(text, image, torch.ones(products, dtype=torch.bool, device=vectors.device))


class ScoringCase:
    """One context and N products.

    Args:
        products: N.
        width: D.
    """

    def __init__(self, products: int, width: int) -> None:
        sides = random_sides(width)
        vectors = draw(products, width)
        self.query = query_of(sides)
        self.table = table_of(vectors, products)
        self.half = table_of(vectors.bfloat16(), products)
        self.scores, self.rounded = torch.empty(1, products), torch.empty(1, products)
        self._plain, self._product = PlainDsi(sides), MatrixProduct(self.query)
        few = self.table[: min(products, 20_000)]
        self.plain_chunk = _best_chunk(lambda chunk: self._plain.run(few, chunk))
        self.product_chunk = _best_chunk(lambda chunk: self._product.run(few, chunk))

    def gram(self) -> None:
        """What :meth:`NetworkRanker.score` does with a context."""
        score_catalogue(self.query, self.table, self.scores)

    def bfloat16(self) -> None:
        """The same, of the table rounded to bfloat16."""
        score_catalogue(self.query, self.half, self.rounded)

    def plain(self) -> Tensor:
        """The cache-blocked plain DSI: scores [N]."""
        return self._plain.run(self.table, self.plain_chunk)

    def product(self) -> None:
        """M X_0^T and nothing else."""
        self._product.run(self.table, self.product_chunk)

    def largest_difference(self) -> float:
        """Between the Gram form's scores and the plain form's."""
        return float((self.scores[0] - self.plain()).abs().max())

    def rounding(self) -> tuple[float, float]:
        """The largest difference that bfloat16 makes, and the share of the 100 best products that stay among them."""
        top = min(100, self.scores.shape[1])
        best, kept = (set(scores[0].topk(top).indices.tolist()) for scores in (self.scores, self.rounded))
        return float((self.scores - self.rounded).abs().max()), len(best & kept) / top


def _best_chunk(run: Callable[[int], object]) -> int:
    """The chunk of the shortest of three runs."""
    best: dict[int, float] = {}
    for _ in range(3):
        for chunk in CHUNKS:
            start = perf_counter()
            run(chunk)
            best[chunk] = min(best.get(chunk, float("inf")), perf_counter() - start)
    return min(best, key=lambda chunk: best[chunk])


def extra_mebibytes(products: int, width: int, precision: TablePrecision) -> float | None:
    """How much memory scoring one context takes beside the product table; None where the system does not tell.

    It is the highest that a fresh process ever stood (as the system counts it: torch's memory and every thread's are in
    it) less where it stood before; the scores themselves are included.

    Raises:
        CheckError: the process failed, as it does where memory for the table is wanting.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    asked = f"{products}, {width}, {precision!r}, {torch.get_num_threads()}"
    code = f"from {__name__} import measure_memory; measure_memory({asked})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise CheckError("memory could not be measured", where=said[-1] if said else f"exit {done.returncode}")
    return float(done.stdout)


def measure_memory(products: int, width: int, precision: TablePrecision, threads: int) -> None:
    """Write the mebibytes to stdout."""
    torch.set_num_threads(threads)
    query, table = query_of(random_sides(width)), table_of(draw(products, width, precision), products)
    score_catalogue(query, table[:8], torch.empty(1, min(8, products)))  # libraries load their code
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts again from here
    before = _kibibytes("VmRSS")
    score_catalogue(query, table, torch.empty(1, products))
    sys.stdout.write(f"{(_kibibytes('VmHWM') - before) / 1024}\n")


def _kibibytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise CheckError(f"this system does not tell {name}")


class GpuTimes(NamedTuple):
    """Seconds of each round. Nothing can be faster than reading the two product tables once."""

    device: str  # the GPU's name
    ranking: list[float]  # of one query: all scores and the 100 best; queries come 16 at a time
    reading: list[float]  # of reading both bfloat16 tables once


def gpu_times(products: int, width: int, rounds: int) -> GpuTimes | None:
    """None where there is no GPU."""
    if not torch.cuda.is_available():
        return None
    device, queries = torch.device("cuda"), 16
    sides = [(dsi.to(device), x_C.to(device), stack.to(device)) for dsi, x_C, stack in random_sides(width, queries)]
    query = query_of(sides)
    drawn = table_of(draw(products, width, "bfloat16"), products)
    both = [Modality(*(field.to(device) for field in side)) for side in (drawn.text, drawn.image)]
    table = ProductTable(both[0], both[1], drawn.image_mask.to(device))
    scores = torch.empty(queries, products, device=device)

    def rank() -> None:
        score_catalogue(query, table, scores)
        scores.topk(min(100, products), dim=1)

    def read() -> None:
        for side in both:
            side.vectors.view(torch.int32).amax()

    ranking = [seconds / queries for seconds in _seconds(rank, rounds)]
    return GpuTimes(torch.cuda.get_device_name(), ranking, _seconds(read, rounds))


def _seconds(work: Callable[[], object], rounds: int) -> list[float]:
    """Of each round, after one that warms up."""
    seconds = []
    for turn in range(rounds + 1):
        torch.cuda.synchronize()
        start = perf_counter()
        work()
        torch.cuda.synchronize()
        if turn:
            seconds.append(perf_counter() - start)
    return seconds
