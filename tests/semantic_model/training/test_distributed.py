"""Two gloo processes against one: the tests named ``together`` run inside ``torchrun``, which the first one starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import ModelError
from schemas.ontology import Ontology, Slot
from semantic_model.data.batch import ProductBatch
from semantic_model.ranking.model_spec import StepBatch
from semantic_model.semantic.objective import joint_objective
from semantic_model.semantic.reading import StateBatch
from semantic_model.training import distributed
from semantic_model.training.distributed import Processes, SplitModel, _same_count, open_processes
from semantic_model.training.sampling import sample
from semantic_model.training.trainer import Examples, Interrupted, Trainer

TOGETHER = os.environ.get("WORLD_SIZE") == "2"
inside = pytest.mark.skipif(not TOGETHER, reason="runs inside torchrun")
ONTOLOGY = Ontology(slots=tuple(Slot(name=name, attribute=name) for name in ("color", "type", "sleeve_length")))


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            said = running.communicate(timeout=400)
        except subprocess.TimeoutExpired:
            running.terminate()  # torchrun ends what it started
            said = running.communicate()
    return subprocess.CompletedProcess(command, running.returncode, *said)


@pytest.mark.slow
@pytest.mark.skipif(TOGETHER, reason="starts torchrun")
def test_what_two_processes_do_together_holds():
    found = torchrun("-m", "pytest", "-p", "no:cacheprovider", "-x", __file__, "-k", "together")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "passed" in found.stdout


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with open_processes() as found:
        yield found


@pytest.fixture
def shared(processes, tmp_path) -> Path:
    return Path(processes.collect(str(tmp_path))[0])


@pytest.fixture
def trainer_of(world, config_of, shared, processes):
    def build(folder: str, together: bool, **sections) -> Trainer:
        train = world.corpus.queries("train")
        examples = Examples(
            train[:5], [world.states[query.dialogue_id] for query in train[:5]], train, world.corpus.queries("valid")
        )
        return Trainer(
            config_of(**sections),
            examples,
            world.corpus,
            words=world.words,
            features=world.features,
            ontology=ONTOLOGY,
            folder=shared / folder if together else shared / f"{folder}-{processes.rank}",
            seed=0,
            processes=processes if together else Processes(),
        )

    return build


def gradients(trainer: Trainer, model, rows: list[int], part: str) -> dict[str, torch.Tensor]:
    queries = [trainer.examples.unlabelled[row] for row in rows]
    products = trainer.corpus.products
    drawn = sample(queries, trainer.config.train, len(products), seed=0, epoch=0, step=0)
    chosen = trainer.products
    if drawn.products is not None:
        chosen = ProductBatch(*(leaf[torch.from_numpy(drawn.products)] for leaf in chosen))
    batch = trainer.contexts["D_P"].batch(torch.tensor(rows).numpy(), torch.device("cpu"))
    encoded = model.encode_products(chosen)
    if part == "D_F":
        states = StateBatch(*(leaf[rows] for leaf in trainer.states))
        loss = joint_objective(model, StepBatch(batch, states, encoded, drawn.choices)).total
    else:
        loss = joint_objective(model, StepBatch(batch, None, encoded, drawn.choices)).total
    trainer.model.zero_grad(set_to_none=True)
    loss.backward()
    trainer.processes.average_gradients(trainer.optimizer.parameters)
    found = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    return {**found, "loss": loss.detach()}


@inside
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [4, 2, 0], [3]])
@pytest.mark.parametrize("part", ["D_F", "D_P"])
@pytest.mark.parametrize(("rank", "candidates"), [("hinge", "sampled"), ("softmax", "batch"), ("softmax", "all")])
def test_together_gradients_are_those_of_the_whole_batch(trainer_of, rows, part, rank, candidates):
    sections = {"loss": {"rank": rank}, "train": {"rank_candidates": candidates}, "model": {"layers": 2}}
    alone, together = trainer_of("run", False, **sections), trainer_of("run", True, **sections)
    expected = gradients(alone, alone.model, rows, part)
    found = gradients(together, SplitModel(together.model, together.processes), rows, part)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # a softmax does not see a bias of its keys: its gradient is rounding, of terms as large as its weight's
        like = expected.get(name.replace("key.bias", "key.weight"), value)
        scale = max(float(like.abs().max()), 1e-3)
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-4 * scale), name


@inside
def test_together_training_ends_where_one_process_does(trainer_of, shared, processes):
    # Adam divides a gradient that is zero but for rounding, as that of a key's bias, by its own size
    sections = {"train": {"epochs": 4}}
    alone, together = (trainer_of("run", flag, **sections).fit() for flag in (False, True))
    for one, two in zip(alone.history, together.history, strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-6)
    expected = load_file(shared / f"run-{processes.rank}" / "model" / "model.safetensors")
    found = load_file(shared / "run" / "model" / "model.safetensors")
    moved = {name for name, value in expected.items() if not torch.allclose(found[name], value, atol=1e-4)}
    assert {name for name in moved if not name.endswith("key.bias")} == set()
    assert expected.keys() == found.keys()


@inside
def test_together_a_stop_of_one_process_stops_all_and_going_on_equals_the_straight_run(trainer_of, shared, processes):
    sections = {"model": {"dropout": 0.3}}
    trainer_of("straight", True, **sections).fit()
    stopped = trainer_of("stopped", True, **sections)
    save, steps = stopped._step, []

    def step(*given):
        save(*given)
        steps.append(1)
        if processes.rank == 1 and len(steps) == 4:
            os.kill(os.getpid(), 2)
            os.kill(os.getpid(), 2)  # torchrun passes on what the terminal sent already

    stopped._step = step
    with pytest.raises(Interrupted):
        stopped.fit()
    assert processes.collect(len(steps)) == [4, 4]
    again = trainer_of("stopped", True, **sections)
    again.restore()
    again.fit()
    names = ["model/model.safetensors", "checkpoints/best.safetensors"]
    assert all((shared / "straight" / name).read_bytes() == (shared / "stopped" / name).read_bytes() for name in names)


@inside
def test_together_a_loss_that_is_not_a_number_stops_all(trainer_of):
    trainer = trainer_of("run", True)
    with torch.no_grad():
        trainer.model.teacher.attention.blocks[0].norm_forward.weight[0] = float("nan")
    with pytest.raises(ModelError, match=r"the loss is not a number in teacher_.*epoch 1, step 1, D_F"):
        trainer.fit()


@inside
def test_together_only_the_first_process_writes(trainer_of, shared, processes):
    trainer = trainer_of("run", True)
    trainer.fit()
    lines = (shared / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 2 + 2 * len(trainer._steps(0)) // trainer.config.train.log_every
    assert len(list((shared / "run" / "tensorboard").iterdir())) == 1


@inside
@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_together_shares_cover_the_work_once(processes, size):
    found = processes.collect(list(range(size))[processes.share(size)])
    assert [piece for part in found for piece in part] == list(range(size))


def test_one_process_needs_no_others():
    with open_processes() as alone:
        assert (alone.rank, alone.count, alone.first) == (0, 1, True)
        assert alone.collect("x") == ["x"]
        assert not alone.any(False)
        assert alone.share(5) == slice(0, 5)


def test_processes_that_do_not_agree_on_how_many_they_are_say_so():
    store = torch.distributed.HashStore()
    store.set("count/0", "2")
    store.set("count/1", "2")
    _same_count(store, 0, 2)
    _same_count(store, 1, 2)
    with pytest.raises(ModelError, match="process 1 was started as one of 3, process 0 as one of 2"):
        _same_count(store, 1, 3)


@inside
def test_together_what_processes_tell_each_other_arrives_whole(processes):
    mine = {"rank": processes.rank, "text": "é" * (1 + 5000 * processes.rank), "figures": [0.1, float("inf"), None]}
    one, two = processes.collect(mine)
    assert (one["rank"], two["rank"]) == (0, 1)
    assert (len(one["text"]), len(two["text"])) == (1, 5001)
    assert one["figures"] == two["figures"] == [0.1, float("inf"), None]


@inside
def test_together_a_file_that_only_the_first_has_is_lent_to_the_others(processes, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "_PIECE", 1000)
    path, content = tmp_path / "file", bytes(range(256)) * 17  # of 4,352 bytes: no multiple of the pieces
    with processes.file_of_first(path) as lent:
        assert lent is None
    path.write_bytes(content if processes.first else b"an older one")
    with processes.file_of_first(path) as lent:
        assert lent.read_bytes() == content
    assert lent.exists() == processes.first
    path.write_bytes(content)
    with processes.file_of_first(path) as lent:
        assert lent == path


@inside
def test_together_every_process_gets_the_weights_of_the_first(processes):
    layer = torch.nn.BatchNorm1d(3)
    torch.nn.init.constant_(layer.weight, processes.rank + 1.0)
    layer.running_mean.fill_(processes.rank)
    processes.spread(layer)
    assert layer.weight.tolist() == [1.0, 1.0, 1.0]
    assert layer.running_mean.tolist() == [0.0, 0.0, 0.0]
