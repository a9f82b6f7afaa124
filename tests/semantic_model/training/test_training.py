from __future__ import annotations

import json
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import InputError, ModelError, UsageError
from schemas.ontology import Ontology, Slot
from semantic_model.config.config import Config
from semantic_model.config.sections import JointTrainConfig, TrainConfig
from semantic_model.data.records import Query
from semantic_model.training.checkpoint import load_model
from semantic_model.training.metrics_log import AsyncMetrics
from semantic_model.training.sampling import epoch_steps, sample
from semantic_model.training.trainer import Examples, Interrupted, Trainer, load_ranker
from semantic_model.training.validation import is_better
from tests.semantic_model.stop_at import StopAt

ONTOLOGY = Ontology(slots=tuple(Slot(name=name, attribute=name) for name in ("color", "type", "sleeve_length")))
DROPOUT = {"model": {"dropout": 0.3}}


@pytest.fixture
def trainer_of(world, config_of, tmp_path):
    def build(folder: str, *, seed: int = 0, labelled: int = 4, valid: bool = True, **sections) -> Trainer:
        train = world.corpus.queries("train")
        queries = train[:labelled]
        examples = Examples(
            queries,
            [world.states[query.dialogue_id] for query in queries],
            train,
            world.corpus.queries("valid") if valid else [],
        )
        return Trainer(
            config_of(**sections),
            examples,
            world.corpus,
            words=world.words,
            features=world.features,
            ontology=ONTOLOGY,
            folder=tmp_path / folder,
            seed=seed,
        )

    return build


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def lines(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "examples_per_second")} for line in found]


def test_a_run_leaves_metrics_a_model_and_its_best_epoch(trainer_of, tmp_path):
    trained = trainer_of("run").fit()
    assert trained.epochs == 2
    assert trained.best == {k: v for k, v in trained.history[trained.best_epoch - 1].items() if "@" in k}
    epochs = [line for line in lines(tmp_path / "run") if line["kind"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [1, 2]
    assert {"D_F.teacher_rank", "D_F.student_mse", "D_P.student_js", "ndcg@5"} <= epochs[0].keys()
    assert {path.name for path in (tmp_path / "run" / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_a_seed_repeats_bit_for_bit_and_another_one_does_not(trainer_of, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer_of(name, seed=seed, **DROPOUT).fit()
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_checkpoint_written_again_has_the_same_bytes(trainer_of, tmp_path):
    trainer = trainer_of("run")
    trainer.fit()
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    written = set()
    for _ in range(8):  # an order of chance would show
        trainer._save()
        written.add(path.read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize(("stop", "precision"), [*((n, "float32") for n in (1, 2, 3, 4, 5)), (2, "bfloat16")])
def test_stopping_after_any_step_and_going_on_equals_the_straight_run(trainer_of, tmp_path, stop: int, precision: str):
    sections = {**DROPOUT, "train": {"precision": precision}}
    straight = trainer_of("straight", **sections).fit()  # 2 epochs of 1 step on D_F and 2 on D_P
    first = trainer_of("stopped", **sections)
    first.progress = StopAt(stop)
    with pytest.raises(Interrupted):
        first.fit()
    assert not (tmp_path / "stopped" / "model").exists()
    torch.manual_seed(99)  # whatever the next process draws first
    second = trainer_of("stopped", **sections)
    second.restore()
    assert [*second.fit().best.items()] == [*straight.best.items()]  # in the same order, as a card lists them
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "stopped"))
    assert lines(tmp_path / "straight") == lines(tmp_path / "stopped")


def test_a_kill_between_checkpoints_loses_only_the_epoch_under_way(trainer_of, tmp_path):
    trainer_of("straight", **DROPOUT).fit()
    killed = trainer_of("killed", **DROPOUT)
    save = killed._save
    killed._save = lambda: (save(), setattr(killed, "_step", _die))  # dies in the step after the first checkpoint
    with pytest.raises(SystemExit):
        killed.fit()
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "step": 4}\n{"kind": "st')  # written, and half written, since the checkpoint
    again = trainer_of("killed", **DROPOUT)
    again.restore()
    again.fit()
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "killed"))
    assert lines(tmp_path / "straight") == lines(tmp_path / "killed")


def test_a_kill_within_an_epoch_loses_only_the_steps_since_the_last_checkpoint(trainer_of, tmp_path):
    sections = {**DROPOUT, "train": {"checkpoint_every": 2, "batch_size": 2, "precision": "bfloat16"}}
    trainer_of("straight", **sections).fit()  # 2 epochs of 2 steps on D_F and 4 on D_P
    killed = trainer_of("killed", **sections)
    step = killed._step
    killed._step = lambda given: _die(given) if killed.state.global_step == 11 else step(given)
    with pytest.raises(SystemExit):
        killed.fit()
    again = trainer_of("killed", **sections)
    again.restore()
    assert (again.state.epoch, again.state.step, again.state.global_step) == (1, 4, 10)
    again.fit()
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "killed"))
    assert lines(tmp_path / "straight") == lines(tmp_path / "killed")


def test_figures_that_arrive_a_step_late_are_the_same_figures(trainer_of, tmp_path):
    trainer_of("now", **DROPOUT).fit()
    late = trainer_of("late", **DROPOUT)
    late.pending_metrics = AsyncMetrics(late.device, lag=1)  # as on a GPU
    late.fit()
    assert lines(tmp_path / "now") == lines(tmp_path / "late")
    broken = trainer_of("broken")
    broken.pending_metrics = AsyncMetrics(broken.device, lag=1)
    with torch.no_grad():
        broken.model.teacher.attention.blocks[0].norm_forward.weight[0] = float("nan")
    with pytest.raises(ModelError, match="epoch 1, step 1, D_F"):
        broken.fit()
    assert not broken.last.exists()


def test_a_gradient_that_is_not_a_number_is_told_from_a_loss(trainer_of):
    trainer = trainer_of("run")
    trainer.model.dsi_T.W[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(ModelError, match="the gradient is not a number"):
        trainer.fit()


def test_tensorboard_shows_the_run(trainer_of, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = trainer_of("run", **DROPOUT)
    first.progress = StopAt(4)
    with pytest.raises(Interrupted):
        first.fit()
    second = trainer_of("run", **DROPOUT)
    second.restore()
    second.fit()
    read = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    read.Reload()
    found = {(tag, event.step): event.value for tag in read.Tags()["scalars"] for event in read.Scalars(tag)}
    written = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    told = {
        (f"{line['kind']}/{name}", line["step"]): pytest.approx(value, rel=1e-6)
        for line in written
        for name, value in line.items()
        if name not in ("kind", "step", "part")
    }
    assert found == told
    assert {"step/gradient", "step/examples_per_second", "epoch/D_P.student_js", "epoch/ndcg@5"} <= {t for t, _ in told}


def test_the_releases_run_with_every_label_makes_one_pass_and_warms_the_teacher_up(trainer_of, tmp_path):
    release = {"teacher_warmup_epochs": 1, "when_all_labelled": "labelled"}
    trainer_of("run", labelled=8, train=release).fit()
    first, second = (line for line in lines(tmp_path / "run") if line["kind"] == "epoch")
    assert not [name for name in second if name.startswith("D_P")]
    assert "D_F.student_rank" not in first
    assert {"D_F.teacher_rank", "D_F.student_rank", "D_F.student_mse"} <= second.keys()
    trainer_of("some", labelled=4, train=release).fit()
    first = next(line for line in lines(tmp_path / "some") if line["kind"] == "epoch")
    assert {"D_F.student_rank", "D_P.student_rank"} <= first.keys()


def test_an_epoch_is_kept_by_what_the_settings_select():
    curve = [{"ndcg@5": 0.3, "recall@10": 0.1}, {"ndcg@5": 0.2, "recall@10": 0.4}, {"ndcg@5": 0.1, "recall@10": 0.2}]
    for select, kept in (("ndcg@5", 1), ("recall@10", 2), ("last", 3)):
        best: dict[str, float] = {}
        epoch = 0
        for number, found in enumerate(curve, start=1):
            if is_better(select, found, best):
                best, epoch = found, number
        assert epoch == kept


def _die(step) -> None:
    raise SystemExit


def test_ctrl_c_is_handled_as_before_once_training_is_over(trainer_of):
    before = signal.getsignal(signal.SIGINT)
    trainer_of("run").fit()
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_outside_the_main_thread(trainer_of):
    trained = []
    thread = threading.Thread(target=lambda: trained.append(trainer_of("thread").fit()))
    thread.start()
    thread.join()
    assert trained[0].epochs == 2


def test_a_cut_off_checkpoint_is_refused(trainer_of, tmp_path):
    trainer_of("run").fit()
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        trainer_of("run").restore()


def test_a_checkpoint_of_another_size_is_refused(trainer_of, tmp_path):
    trainer_of("run").fit()
    with pytest.raises(ModelError, match="weights of another model"):
        trainer_of("run", model={"width": 4}).restore()


def test_a_loss_that_is_not_a_number_names_the_batch(trainer_of):
    trainer = trainer_of("run")
    with torch.no_grad():
        trainer.model.teacher.attention.blocks[0].norm_forward.weight[0] = float("nan")
    with pytest.raises(
        ModelError, match=r"the loss is not a number in teacher_.*epoch 1, step 1, D_F.*dialogue d\d, turn 3"
    ):
        trainer.fit()


def test_training_stops_when_patience_is_out(trainer_of):
    trained = trainer_of("run", train={"epochs": 30, "patience": 2, "learning_rate": 1e-12}).fit()
    assert trained.epochs == trained.best_epoch + 2 < 30


def test_without_a_validation_split_the_last_epoch_is_kept(trainer_of):
    trained = trainer_of("run", valid=False).fit()
    assert (trained.best_epoch, trained.best) == (2, {})


def test_ratio_zero_trains_the_student_alone(trainer_of, tmp_path):
    trainer_of("run", labelled=0).fit()
    first = lines(tmp_path / "run")[0]
    assert {name for name in first if name.startswith("D_F")} == set()
    assert "student_rank" in first or "D_P.student_rank" in first


def test_nothing_to_train_on_is_said(trainer_of, world):
    with pytest.raises(UsageError, match="no recommendation turns to train on"):
        Trainer(
            Config(),
            Examples([], [], [], []),
            world.corpus,
            words=world.words,
            features=world.features,
            ontology=ONTOLOGY,
            folder=Path("nowhere"),
            seed=0,
        )


@pytest.mark.slow
def test_training_learns_what_the_dialogues_say(trainer_of):
    sections = {
        "loss": {"rank": "softmax"},
        "train": {"rank_candidates": "all", "epochs": 25, "learning_rate": 0.02},
        "model": {"width": 16},
    }
    history = trainer_of("run", labelled=8, **sections).fit().history
    assert history[-1]["D_P.student_rank"] < 0.2 * history[0]["D_P.student_rank"]


@pytest.mark.parametrize("candidates", ["sampled", "batch", "all"])
def test_every_choice_of_candidates_trains(trainer_of, candidates: str):
    trained = trainer_of("run", loss={"rank": "softmax"}, train={"rank_candidates": candidates}).fit()
    assert np.isfinite(trained.history[-1]["D_P.loss"])


def test_a_loaded_ranker_scores_as_the_trained_model_did(trainer_of, world, tmp_path, monkeypatch):
    trainer = trainer_of("runs/run")
    trained = trainer.fit()
    monkeypatch.setattr("semantic_model.training.trainer.load_features", lambda *args, **more: world.features)
    ranker = load_ranker(tmp_path / "runs" / "run", world.corpus)
    queries = world.corpus.queries("valid")
    scores = ranker.score(ranker.encode_contexts(queries), ranker.encode_products(world.corpus.products))
    trainer.model.eval()
    again = trainer.ranker.score(
        trainer.ranker.encode_arrays(trainer.valid), trainer.model.encode_products(trainer.products)
    )
    assert np.array_equal(scores, again)
    assert trained.best["ndcg@5"] == pytest.approx(
        np.mean([_ndcg5(row, q) for row, q in zip(scores, queries, strict=True)])
    )


def _ndcg5(scores: np.ndarray, query: Query) -> float:
    rank = int((scores > scores[query.positives[0]]).sum())
    return 1 / np.log2(rank + 2) if rank < 5 else 0.0


def test_scores_of_candidates_are_those_of_the_whole_table(trainer_of, world):
    ranker = trainer_of("run").ranker
    contexts = ranker.encode_contexts(world.corpus.queries("valid"))
    table = ranker.encode_products(world.corpus.products)
    whole = ranker.score(contexts, table)
    some = ranker.score(contexts, table, np.array([[3, -1, 0], [11, 3, -1]]))
    assert whole.dtype == some.dtype == np.float32
    assert np.allclose(some, [[whole[0, 3], -np.inf, whole[0, 0]], [whole[1, 11], whole[1, 3], -np.inf]], atol=1e-6)
    assert len(contexts[1:]) == 1
    assert np.allclose(ranker.score(contexts[1:], table), whole[1:], atol=1e-6)


@pytest.mark.parametrize("schedule", ["sequential", "interleaved"])
def test_an_epoch_is_one_pass_over_each_set(schedule: str):
    config = JointTrainConfig(batch_size=4, schedule=schedule)
    steps = epoch_steps(config, {"D_F": 6, "D_P": 10}, seed=0, epoch=3)
    for part, size in (("D_F", 6), ("D_P", 10)):
        assert sorted(row for step in steps if step.part == part for row in step.rows.tolist()) == list(range(size))
    parts = [step.part for step in steps]
    if schedule == "sequential":
        assert parts == ["D_F"] * 2 + ["D_P"] * 3
    else:
        assert parts == ["D_P", "D_F", "D_P", "D_F", "D_P"]


def test_negatives_are_listed_ones_first_and_never_positives():
    query = Query("d", 1, "train", (), (0, 1), (2, 3))
    config = TrainConfig(positives=1, negatives=4)
    seen: Counter[int] = Counter()
    for step in range(50):
        drawn = sample([query], config, 8, seed=0, epoch=0, step=step)
        assert drawn.products is not None
        positives = drawn.products[drawn.choices.positives[0].numpy()]
        negatives = drawn.products[drawn.choices.negatives[0].numpy()]
        assert set(positives.tolist()) < {0, 1}
        assert {2, 3} < set(negatives.tolist())
        assert not {0, 1} & set(negatives.tolist())
        assert len(set(negatives.tolist())) == 4
        seen.update([*positives.tolist(), *negatives.tolist()])
    assert set(seen) == set(range(8))


def test_a_catalogue_too_small_for_the_negatives_leaves_places_empty():
    query = Query("d", 1, "train", (), (0, 1), ())
    drawn = sample([query], TrainConfig(negatives=4), 3, seed=0, epoch=0, step=0)
    assert drawn.choices.negatives.tolist() == [[drawn.choices.negatives[0, 0].item(), -1, -1, -1]]


def refusal(work: Callable[[], object]) -> str | None:
    try:
        work()
    except InputError as problem:
        return str(problem)
    return None


def test_a_damaged_checkpoint_is_refused_or_means_the_same(trainer_of, tmp_path):
    trainer_of("run").fit()
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    whole, draw = path.read_bytes(), random.Random(0)
    untouched = trainer_of("run")
    untouched.restore()
    refused = 0
    for place in [*range(8), *draw.sample(range(8, len(whole)), 60)]:
        content = bytearray(whole)
        content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        trainer = trainer_of("run")
        said = refusal(trainer.restore)
        if said is None:
            assert same(trainer.model.state_dict(), untouched.model.state_dict())
            assert trainer.state == untouched.state
        else:
            assert str(path) in said
            refused += 1
    assert refused > 60


@pytest.mark.parametrize("value", [None, True, -1, 10**30, "x", [], {}, [{}], {"a": []}])
def test_a_model_card_of_another_shape_is_refused(trainer_of, tmp_path, world, value):
    trainer_of("run").fit()
    path = tmp_path / "run" / "model" / "config.json"
    whole = json.loads(path.read_text())
    for key in whole:
        path.write_text(json.dumps({**whole, key: value}))
        said = refusal(lambda: load_model(path.parent, world.features, world.corpus))
        if said is None:
            assert key in {"words", "features"}, f"{key}: {value!r} was taken"  # free texts that describe
        else:
            assert str(path.parent) in said, key
