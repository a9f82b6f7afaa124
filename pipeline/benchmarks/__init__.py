"""Ratios measured side by side in one run: what semctl does, against the least that could be done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.errors import UsageError
from schemas.ontology import nearest
from schemas.progress import Progress

__all__ = ["BENCHMARKS", "run_benchmark"]

BENCHMARKS = ("import",)


def run_benchmark(
    name: str, *, corpus: Path | None = None, rounds: int = 3, progress: Progress | None = None
) -> dict[str, Any]:
    """Run one benchmark: ``{machine, benchmarks: [{name, ratio, against, seconds, ...}]}``.

    Raises:
        UsageError: there is no such benchmark.
    """
    from pipeline.benchmarks.machine import machine

    if name == "import":
        from pipeline.benchmarks.import_speed import import_speed

        return {"machine": machine(), "benchmarks": import_speed(corpus, rounds=rounds, progress=progress)}
    close = nearest(name, BENCHMARKS)
    raise UsageError(
        f"no benchmark '{name}'", fix=f"did you mean '{close}'?" if close else f"there are: {', '.join(BENCHMARKS)}"
    )
