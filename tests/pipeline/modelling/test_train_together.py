"""``semctl train`` in two gloo processes, as ``torchrun`` starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline.modelling.train import resume, train
from pipeline.workspace import Workspace
from tests.pipeline.modelling import test_train as alone_tests

workspace = alone_tests.workspace
FAST, request = alone_tests.FAST, alone_tests.request


def command(workspace: Workspace, *arguments: str, processes: int = 1) -> list[str]:
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    return [*start, "pipeline.cli", "-w", str(workspace.root), "train", *arguments]


@pytest.mark.slow
def test_two_processes_leave_the_run_that_one_leaves(workspace: Workspace):
    exact = (*FAST, "model.dropout=0")  # what is dropped, each process draws for itself
    alone = train(workspace, request(settings=exact))
    folder = Path(alone.path)
    folder.rename(folder.with_name("alone"))
    arguments = ["--preset", "tiny", "--labeled-ratio", "0.5", *(f"--set={setting}" for setting in exact), "--json"]
    root = Path(__file__).resolve().parents[3]
    found = subprocess.run(
        command(workspace, *arguments, processes=2), cwd=root, capture_output=True, text=True, timeout=300, check=True
    )
    record = json.loads(found.stdout)  # one object, not one a process
    assert (record["run"], record["processes"]) == (alone.run, 2)
    assert record["best"] == pytest.approx(alone.best)
    one, two = (load_file(path / "model" / "model.safetensors") for path in (folder.with_name("alone"), folder))
    for name, value in one.items():
        if not name.endswith("key.bias"):  # without a gradient but for rounding, which Adam makes as large as any
            assert np.allclose(two[name], value, atol=1e-4), name
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in epochs if line["kind"] == "epoch"] == [1, 2]


@pytest.mark.slow
def test_a_process_that_dies_takes_the_others_with_it_and_the_run_goes_on_afterwards(workspace: Workspace):
    arguments = [
        "--preset",
        "tiny",
        "--labeled-ratio",
        "0.5",
        *(f"--set={setting}" for setting in FAST),
        "--epochs",
        "40",
    ]
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        command(workspace, *arguments, processes=2),
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as together:
        deadline = time.monotonic() + 200
        while not list(workspace.runs.glob("*/checkpoints/last.safetensors")):
            assert together.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = Path(f"/proc/{together.pid}/task/{together.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        said = together.communicate(timeout=120)[1]
    assert together.returncode != 0
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert "Traceback" not in said.split("torch/distributed/")[0]
    folder = next(workspace.runs.iterdir())
    assert not (folder / "record.json").exists()
    assert resume(workspace, folder.name).epochs == 40
