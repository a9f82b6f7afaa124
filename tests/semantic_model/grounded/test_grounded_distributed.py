"""Two gloo processes against one, for grounded models; as in ``test_distributed``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semantic_model.grounded.objective import grounded_objective
from semantic_model.ranking.model_spec import StepBatch
from semantic_model.training.distributed import Processes, SplitModel, open_processes
from semantic_model.training.sampling import sample
from semantic_model.training.trainer import Examples, Trainer
from tests.semantic_model.training.test_distributed import torchrun

TOGETHER = os.environ.get("WORLD_SIZE") == "2"
inside = pytest.mark.skipif(not TOGETHER, reason="runs inside torchrun")


@pytest.mark.slow
@pytest.mark.skipif(TOGETHER, reason="starts torchrun")
def test_what_two_processes_do_with_a_grounded_model_holds():
    found = torchrun("-m", "pytest", "-p", "no:cacheprovider", "-x", __file__, "-k", "together")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "passed" in found.stdout


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with open_processes() as found:
        yield found


@pytest.fixture
def trainer_of(world, ontology, grounded_config, tmp_path, processes):
    shared = Path(processes.collect(str(tmp_path))[0])

    def build(folder: str, together: bool, **sections) -> Trainer:
        train = world.corpus.queries("train")
        states = [world.states[query.dialogue_id] for query in train[:5]]
        return Trainer(
            grounded_config(**sections),
            Examples(train[:5], states, train, world.corpus.queries("valid")),
            world.corpus,
            words=world.words,
            features=world.features,
            ontology=ontology,
            folder=shared / (folder if together else f"{folder}-{processes.rank}"),
            seed=0,
            processes=processes if together else Processes(),
        )

    return build


def gradients(trainer: Trainer, model, rows: list[int], part: str) -> dict[str, torch.Tensor]:
    queries = [trainer.examples.unlabelled[row] for row in rows]
    drawn = sample(queries, trainer.config.train, len(trainer.corpus.products), seed=0, epoch=0, step=0)
    chosen = trainer.products
    if drawn.products is not None:
        chosen = type(chosen)(*(leaf[torch.from_numpy(drawn.products)] for leaf in chosen))
    batch = trainer.contexts["D_P"].batch(torch.tensor(rows).numpy(), torch.device("cpu"))
    states = type(trainer.states)(*(leaf[rows] for leaf in trainer.states)) if part == "D_F" else None
    loss = grounded_objective(model, StepBatch(batch, states, model.encode_products(chosen), drawn.choices)).total
    trainer.model.zero_grad(set_to_none=True)
    loss.backward()
    trainer.processes.average_gradients(trainer.optimizer.parameters)
    found = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    return {**found, "loss": loss.detach()}


@inside
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [4, 2, 0], [3]])
@pytest.mark.parametrize("part", ["D_F", "D_P"])
@pytest.mark.parametrize("candidates", ["sampled", "batch", "all"])
def test_together_gradients_are_those_of_the_whole_batch(trainer_of, stir, rows, part, candidates):
    loss = {"js_weight": 0.5, "co_sim_weight": 0.5}
    sections = {"train": {"rank_candidates": candidates}, "loss": loss, "model": {"layers": 2}}
    alone, together = trainer_of("run", False, **sections), trainer_of("run", True, **sections)
    for trainer in (alone, together):
        stir(trainer.model)
    expected = gradients(alone, alone.model, rows, part)
    found = gradients(together, SplitModel(together.model, together.processes), rows, part)
    assert found.keys() == expected.keys()
    whole = torch.stack([value.norm() for value in expected.values()]).norm()
    for name, value in expected.items():  # float32 rounds differently where rows are fewer
        assert (found[name] - value).norm() <= 1e-3 * value.norm() + 1e-6 * whole, name


@inside
def test_together_training_ends_where_one_process_does(trainer_of, processes):
    runs = [trainer_of("run", flag, train={"epochs": 4}) for flag in (False, True)]
    alone, together = (run.fit() for run in runs)
    for one, two in zip(alone.history, together.history, strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-6)
    expected, found = (load_file(Path(run.folder) / "model" / "model.safetensors") for run in runs)
    assert expected.keys() == found.keys()
    moved = {name for name, value in expected.items() if not torch.allclose(found[name], value, atol=1e-4)}
    assert {name for name in moved if not name.endswith("key.bias")} == set()  # whose gradient is rounding alone


@inside
def test_together_the_loss_is_the_same_in_every_process_though_each_drops_for_itself(trainer_of, processes):
    """Else the first process would write figures, and stop for reasons, that are not the others'."""
    trainer = trainer_of("run", True, model={"dropout": 0.3}, grounding={"dropout": 0.3})
    trainer.model.train()
    model = SplitModel(trainer.model, processes)
    for part in ("D_F", "D_P"):
        torch.manual_seed(processes.rank)
        loss = gradients(trainer, model, [0, 1, 2, 3], part)["loss"].item()
        one, two = processes.collect(loss)
        assert one == pytest.approx(two, rel=1e-6), part
