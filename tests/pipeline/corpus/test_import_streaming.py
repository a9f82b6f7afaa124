"""Memory does not grow with the number of dialogues, and the import benchmark measures what it says."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.benchmarks import run_benchmark
from pipeline.benchmarks.import_speed import Shape, benchmark, shapes, write_corpus
from pipeline.benchmarks.measure import Options
from pipeline.corpus.import_corpus import ImportRequest, _staging, import_corpus
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import temporary_folder
from schemas.tables import RECOMMENDATIONS, TableWriter, read_table


def peak_of_import(tmp_path: Path, dialogues: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Peak bytes of Python objects, and the most Arrow bytes alive whenever rows are written."""
    shape = Shape("memory", dialogues=dialogues, negatives=40, products=60)
    corpus = tmp_path / f"corpus{dialogues}"
    write_corpus(corpus, shape)
    gc.collect()
    before, arrow = pa.total_allocated_bytes(), [0]
    write = TableWriter._write

    def measured(writer: TableWriter, rows: pa.Table) -> None:
        write(writer, rows)
        arrow.append(pa.total_allocated_bytes() - before)

    with monkeypatch.context() as patch:
        patch.setattr(TableWriter, "_write", measured)
        tracemalloc.start()
        try:
            report = import_corpus(Workspace(tmp_path / f"work{dialogues}"), ImportRequest(corpus, "mmd"))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert report.ledger["dialogues"].kept == dialogues
    return peak, max(arrow)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_dialogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # batches small enough that both corpora fill several
    monkeypatch.setattr("pipeline.corpus.mmd.PART_BYTES", 50_000)
    monkeypatch.setattr("pipeline.corpus.updates._REMEMBERED", 20)
    monkeypatch.setattr("pipeline.corpus.mmd._REMEMBERED_STATES", 20)
    batch_rows = TableWriter.__init__
    monkeypatch.setattr(TableWriter, "__init__", lambda self, writer, schema, _: batch_rows(self, writer, schema, 100))
    peak_of_import(tmp_path / "warm", 50, monkeypatch)
    few, few_arrow = peak_of_import(tmp_path, 50, monkeypatch)
    many, many_arrow = peak_of_import(tmp_path, 400, monkeypatch)
    # what remains is the list of files and the footers of very small row groups: a kilobyte a dialogue, of 30 read
    assert many - few < 350 * 1_000
    assert many_arrow - few_arrow < 350 * 1_500
    assert many < 2 * few


def test_batches_do_not_change_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "corpus", Shape("x", dialogues=30, negatives=20, products=30))
    import_corpus(Workspace(tmp_path / "whole"), ImportRequest(tmp_path / "corpus", "mmd"))
    monkeypatch.setattr("pipeline.corpus.mmd.PART_BYTES", 20_000)
    import_corpus(Workspace(tmp_path / "pieces"), ImportRequest(tmp_path / "corpus", "mmd"))
    whole, pieces = (read_table(Workspace(tmp_path / w).recommendations, RECOMMENDATIONS) for w in ("whole", "pieces"))
    assert whole.to_pylist() == pieces.to_pylist()
    assert whole.num_rows == 180


def test_the_benchmark_corpus_is_the_same_every_time(tmp_path: Path) -> None:
    shape = Shape("x", dialogues=10, negatives=5, products=10)
    for name in ("a", "b"):
        write_corpus(tmp_path / name, shape)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.json"))
    assert len(files) == 20
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


@pytest.mark.slow
def test_the_benchmark_gives_a_ratio_against_each_parser_on_each_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.corpus.reading._WORTH_BYTES", 0)
    monkeypatch.setattr("pipeline.corpus.reading.cores", lambda: 2)
    monkeypatch.setattr("pipeline.corpus.mmd.PART_BYTES", 20_000)
    tiny = Shape("tiny", dialogues=10, negatives=20, products=30)
    monkeypatch.setattr("pipeline.benchmarks.import_speed.shapes", lambda sizes: [tiny])
    rows = benchmark(Options(rounds=1))
    expected = [
        (jobs, clock, parser)
        for jobs in (2, 1)
        for clock in ("wall", "processor")
        for parser in ("json.loads", "orjson.loads")
    ]
    assert [(row["jobs"], row["clock"]) for row in rows] == [(jobs, clock) for jobs, clock, _ in expected]
    for row, (_, _, parser) in zip(rows, expected, strict=True):
        assert f" {parser} on the same files" in row["against"]
        assert row["dialogues"] == 10
        assert row["ratio"] == pytest.approx(row["seconds"] / row["seconds_against"])
    assert [row["goal"] for row in rows] == ["<= 4"] + [None] * 7
    # the processes' seconds are counted: starting them alone takes longer than reading ten dialogues
    assert rows[2]["seconds"] > 2 * rows[6]["seconds"]


def test_the_benchmark_takes_sizes() -> None:
    assert [(s.name, s.dialogues) for s in shapes()] == [("MMD-v3 shape", 2000), ("short lists", 10_000)]
    assert [s.dialogues for s in shapes((50, 100))] == [10, 50, 20, 100]


def test_an_unknown_benchmark_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'import'"):
        run_benchmark("imports")


def test_what_a_killed_import_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from pipeline.corpus.import_corpus import _staging\n"
        "with _staging(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'turns.parquet').write_bytes(b'half'); os._exit(9)"
    )
    workspace = tmp_path / "shop"
    with temporary_folder(tmp_path / "import") as running:
        assert (
            subprocess.run([sys.executable, "-c", code, str(workspace)], cwd=Path(__file__).parents[3]).returncode == 9
        )
        assert len(list(tmp_path.rglob("turns.parquet"))) == 1
        workspace.mkdir()  # killed imports lie above it, where there was no workspace yet
        with _staging(workspace):
            pass
        assert list(tmp_path.iterdir()).count(running) == 1
        assert len(list(tmp_path.iterdir())) == 3  # the one that is running, with its lock, and the workspace
    assert [entry.name for entry in tmp_path.rglob("*")] == ["shop"]
