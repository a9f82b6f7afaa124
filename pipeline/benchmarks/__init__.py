"""Ratios measured side by side in one run: what semctl does, against the least that could be done."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from schemas.errors import UsageError
from schemas.validation import did_you_mean

if TYPE_CHECKING:
    from pipeline.benchmarks.measure import Options

__all__ = ["BENCHMARKS", "run_benchmark", "tables_of"]

BENCHMARKS = {
    "import": "pipeline.benchmarks.import_speed",
    "scoring": "pipeline.benchmarks.scoring",
    "evaluation": "pipeline.benchmarks.evaluation",
    "training": "pipeline.benchmarks.training",
    "metrics": "pipeline.benchmarks.metrics",
    "prelabels": "pipeline.benchmarks.prelabels",
    "states": "pipeline.benchmarks.states",
    "audit": "pipeline.benchmarks.audit",
    "turns": "pipeline.benchmarks.single_turns",
    "pushing": "pipeline.benchmarks.pushing",
    "plan": "pipeline.benchmarks.plan",
    "serving": "pipeline.benchmarks.serving",
    "commands": "pipeline.benchmarks.commands",
}
"""Name -> module. Each has ``benchmark(options: Options) -> list[dict]``; see :mod:`pipeline.benchmarks.measure`.

One may have ``tables(rows)``, which yields further tables for people: title, columns and lines."""


def run_benchmark(name: str, options: Options | None = None) -> dict[str, Any]:
    """Run one benchmark: ``{machine, benchmarks: [{name, ratio, against, seconds, goal, reached, ...}]}``.

    Raises:
        UsageError: there is no such benchmark.
    """
    from pipeline.benchmarks.measure import Options, machine

    if name not in BENCHMARKS:
        raise UsageError(
            f"no benchmark '{name}'", fix=did_you_mean(name, BENCHMARKS, f"there are: {', '.join(BENCHMARKS)}")
        )
    described = machine()  # the load, too, as it was before
    return {"machine": described, "benchmarks": import_module(BENCHMARKS[name]).benchmark(options or Options())}


def tables_of(name: str, rows: list[dict[str, Any]]) -> list[tuple[str, list[str], list[list[object]]]]:
    """Further tables of a benchmark that was run: title, columns and lines of each."""
    tables = getattr(import_module(BENCHMARKS[name]), "tables", None)
    return [] if tables is None else list(tables(rows))
