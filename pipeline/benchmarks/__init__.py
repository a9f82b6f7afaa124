"""Ratios measured side by side in one run: what semctl does, against the least that could be done."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from schemas.errors import UsageError
from schemas.ontology import nearest

if TYPE_CHECKING:
    from pipeline.benchmarks.measure import Options

__all__ = ["BENCHMARKS", "run_benchmark"]

BENCHMARKS = {
    "import": "pipeline.benchmarks.import_speed",
    "scoring": "pipeline.benchmarks.scoring",
    "evaluation": "pipeline.benchmarks.evaluation",
    "training": "pipeline.benchmarks.training",
    "metrics": "pipeline.benchmarks.metrics",
}
"""Name -> module. Each has ``benchmark(options: Options) -> list[dict]``; see :mod:`pipeline.benchmarks.measure`."""


def run_benchmark(name: str, options: Options | None = None) -> dict[str, Any]:
    """Run one benchmark: ``{machine, benchmarks: [{name, ratio, against, seconds, goal, reached, ...}]}``.

    Raises:
        UsageError: there is no such benchmark.
    """
    from pipeline.benchmarks.machine import machine
    from pipeline.benchmarks.measure import Options

    if name not in BENCHMARKS:
        close = nearest(name, BENCHMARKS)
        raise UsageError(
            f"no benchmark '{name}'", fix=f"did you mean '{close}'?" if close else f"there are: {', '.join(BENCHMARKS)}"
        )
    described = machine()  # the load, too, as it was before
    return {"machine": described, "benchmarks": import_module(BENCHMARKS[name]).benchmark(options or Options())}
