"""``semctl train`` in two gloo processes, as ``torchrun`` starts them on one machine or on two."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline.modelling.together import compare
from pipeline.modelling.train import resume, train
from pipeline.workspace import Workspace
from schemas.errors import ModelError
from schemas.tables import TURNS, read_table, write_table
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


ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def start(command: list[str], log: Path, **environment: str) -> subprocess.Popen[str]:
    with log.open("w") as said:
        return subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, stdout=said, stderr=said
        )


def machines(first: Workspace, second: Workspace, *arguments: str) -> list[subprocess.Popen[str]]:
    """A ``torchrun`` for each workspace, as on two machines; ranks go by the order of their addresses."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    return [
        start(
            [
                *torchrun,
                *meet,
                f"--local-addr={address}",
                "-m",
                "pipeline.cli",
                "-w",
                str(each.root),
                "train",
                *arguments,
            ],
            each.root.parent / f"{each.root.name}.log",
        )
        for each, address in ((first, "127.0.0.1"), (second, "localhost"))
    ]


@pytest.mark.slow
def test_two_machines_without_a_common_disk_leave_the_bits_that_one_leaves_though_one_dies(workspace: Workspace):
    one, two = workspace, Workspace(workspace.root.with_name("two"))
    alone = Workspace(workspace.root.with_name("alone"))
    for copy in (two, alone):
        shutil.copytree(one.root, copy.root)
    settings = [f"--set={setting}" for setting in FAST]
    arguments = ["--preset", "tiny", "--labeled-ratio", "0.5", *settings, "--epochs", "16", "--json"]
    started = machines(one, two, *arguments)
    deadline = time.monotonic() + 200
    while not list(one.runs.glob("*/checkpoints/last.safetensors")):
        assert all(each.poll() is None for each in started), "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = Path(f"/proc/{started[1].pid}/task/{started[1].pid}/children").read_text().split()
    for number in (started[1].pid, *map(int, workers)):
        os.kill(number, signal.SIGKILL)
    assert started[1].wait(120) == -signal.SIGKILL
    assert started[0].wait(120) == 1
    said = (one.root.parent / "space.log").read_text()
    assert "another process of this training ended" in said
    (folder,) = one.runs.iterdir()
    assert not (folder / "record.json").exists()
    assert not two.runs.exists()

    again = machines(two, one, "--resume", "latest", "--json")  # now the other one is first, which has no run
    assert [each.wait(300) for each in again] == [0, 0], (one.root.parent / "two.log").read_text()
    found = two.runs / folder.name
    assert json.loads((found / "record.json").read_text())["processes"] == 2
    assert not (folder / "record.json").exists()
    straight = start(command(alone, *arguments, processes=2), alone.root.parent / "alone.log")
    assert straight.wait(300) == 0
    expected = alone.runs / folder.name
    for name in ("model/model.safetensors", "checkpoints/best.safetensors", "config.toml", "plan.json"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    epochs = [json.loads(line) for line in (found / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in epochs if line["kind"] == "epoch"] == [*range(1, 17)]


@pytest.mark.slow
def test_machines_with_other_data_do_not_train_together(workspace: Workspace):
    two = Workspace(workspace.root.with_name("two"))
    shutil.copytree(workspace.root, two.root)
    rows = read_table(two.turns, TURNS).to_pylist()
    write_table(two.turns, TURNS, [{**row, "text": row["text"].replace("red", "blue")} for row in rows])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    logs = [workspace.root.parent / f"{rank}.log" for rank in (0, 1)]
    both = [
        start(command(each, "--preset", "tiny", "--labeled-ratio", "0.5"), log, RANK=str(rank), **world)
        for rank, (each, log) in enumerate(zip((workspace, two), logs, strict=True))
    ]
    assert [each.wait(120) for each in both] == [2, 2]
    for log in logs:
        said = " ".join(log.read_text().split())
        assert "process 0 and on " in said
        assert "process 1: the data (turns); copy the first machine's workspace to the others" in said
    assert not workspace.runs.exists()


def machine(number: int, wrong: str | None = None, **facts: str) -> list[object]:
    return [f"machine {number}", wrong, {name.replace("_", ".", 1): value for name, value in facts.items()}]


def test_what_is_not_the_same_on_every_machine_is_named():
    compare([machine(0, data_turns="a", code_torch="1"), machine(1, data_turns="a", code_torch="1")])
    with pytest.raises(ModelError, match=r"machine 0 and on machine 2: the data \(D_F, turns\); copy"):
        compare(
            [
                machine(0, data_turns="a", data_D_F="b", options_run="x"),
                machine(1, data_turns="a", data_D_F="b", options_run="x"),
                machine(2, data_turns="c", options_run="y"),
            ]
        )
    with pytest.raises(ModelError, match=r"the code or what computes \(torch\)"):
        compare([machine(0, code_torch="1"), machine(1, code_torch="2")])
    with pytest.raises(ModelError, match=r"cannot take part: not a workspace \(machine 1\)"):
        compare([machine(0, code_torch="1"), machine(1, "not a workspace")])
