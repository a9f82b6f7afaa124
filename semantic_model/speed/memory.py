"""How much memory scoring takes beside the product table, measured in a process of its own.

The answer is the highest that the process ever stood (as the system counts it: torch's memory and every thread's are in
it) less where it stood before; the scores themselves are included.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from schemas.errors import CheckError
from semantic_model.ranking.chunked_scoring import score_catalogue
from semantic_model.ranking.ranker import TablePrecision
from semantic_model.speed.scoring import draw, query_of, random_sides, table_of


def extra_mebibytes(products: int, width: int, precision: TablePrecision) -> float | None:
    """Of scoring one context in a fresh process; None where the system does not tell.

    Raises:
        CheckError: the process failed, as it does where memory for the table is wanting.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    code = f"from {__name__} import measure; measure({products}, {width}, {precision!r}, {torch.get_num_threads()})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise CheckError("memory could not be measured", where=said[-1] if said else f"exit {done.returncode}")
    return float(done.stdout)


def measure(products: int, width: int, precision: TablePrecision, threads: int) -> None:
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
