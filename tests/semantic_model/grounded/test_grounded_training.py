from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import ModelError, UsageError
from schemas.ontology import Ontology, Slot
from semantic_model.data.image_features import Features
from semantic_model.grounded.model import GroundedSemantic
from semantic_model.grounded.tracking import rows_of
from semantic_model.states.tracker import fit_tracker
from semantic_model.training.trainer import Examples, Interrupted, Trainer, load_ranker

DROPOUT = {"model": {"dropout": 0.3}, "grounding": {"dropout": 0.2}}


@pytest.fixture
def trainer_of(world, ontology, grounded_config, tmp_path):
    def build(folder: str, *, labelled: int = 4, seed: int = 0, given: Ontology = ontology, **more) -> Trainer:
        features = more.pop("features", world.features)
        corpus = more.pop("corpus", world.corpus)
        train = corpus.queries("train")
        states = [world.states[query.dialogue_id] for query in train[:labelled]]
        return Trainer(
            grounded_config(**more),
            Examples(train[:labelled], states, train, corpus.queries("valid")),
            corpus,
            words=world.words,
            features=features,
            ontology=given,
            folder=tmp_path / folder,
            seed=seed,
        )

    return build


def same(one: Path, two: Path) -> bool:
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def lines(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "examples_per_second")} for line in found]


def test_a_run_teaches_beliefs_on_d_f_and_ranks_on_both(trainer_of, tmp_path):
    trained = trainer_of("run").fit()
    assert trained.epochs == 2
    told = {name for name in trained.history[0] if name.startswith("D_")}
    assert told == {
        *("D_F.loss", "D_F.teacher_rank", "D_F.student_rank", "D_F.student_mse", "D_F.student_beliefs"),
        *("D_P.loss", "D_P.student_rank"),
    }
    card = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert card["architecture"] == "grounded"
    assert [value["value"] for value in card["ontology"]["slots"][0]["values"]] == ["red", "blue", "green", "black"]


@pytest.mark.slow
def test_training_learns_beliefs_and_products(trainer_of):
    sections = {"train": {"epochs": 15, "learning_rate": 0.03}, "model": {"width": 16}}
    trainer = trainer_of("run", labelled=8, **sections)
    history = trainer.fit().history
    assert history[-1]["D_F.student_beliefs"] < 0.1 * history[0]["D_F.student_beliefs"]
    assert history[-1]["D_P.student_rank"] < 0.2 * history[0]["D_P.student_rank"]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_stopping_after_any_step_and_going_on_equals_the_straight_run(trainer_of, tmp_path, stop: int):
    trainer_of("straight", **DROPOUT).fit()
    first = trainer_of("stopped", **DROPOUT)
    step, steps = first._step, []

    def pressed(*given) -> None:
        step(*given)
        steps.append(1)
        if len(steps) == stop:
            os.kill(os.getpid(), signal.SIGINT)

    first._step = pressed
    with pytest.raises(Interrupted):
        first.fit()
    torch.manual_seed(99)
    second = trainer_of("stopped", **DROPOUT)
    second.restore()
    second.fit()
    assert same(tmp_path / "straight", tmp_path / "stopped")
    assert lines(tmp_path / "straight") == lines(tmp_path / "stopped")


def test_a_kill_loses_only_the_steps_since_the_last_checkpoint(trainer_of, tmp_path):
    sections = {**DROPOUT, "train": {"checkpoint_every": 2, "batch_size": 2}}
    trainer_of("straight", **sections).fit()  # 2 epochs of 2 steps on D_F and 4 on D_P
    killed = trainer_of("killed", **sections)
    step = killed._step

    def dies(given) -> None:
        if killed.state.global_step == 11:
            raise SystemExit
        step(given)

    killed._step = dies
    with pytest.raises(SystemExit):
        killed.fit()
    again = trainer_of("killed", **sections)
    again.restore()
    assert again.state.global_step == 10
    again.fit()
    assert same(tmp_path / "straight", tmp_path / "killed")
    assert lines(tmp_path / "straight") == lines(tmp_path / "killed")


def test_a_seed_repeats_bit_for_bit_and_another_one_does_not(trainer_of, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer_of(name, seed=seed, **DROPOUT).fit()
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_a_loaded_ranker_scores_as_the_trained_model_did(trainer_of, world, tmp_path, monkeypatch):
    trainer = trainer_of("runs/run", **DROPOUT)
    trainer.fit()
    monkeypatch.setattr("semantic_model.training.trainer.load_features", lambda *args, **more: world.features)
    ranker = load_ranker(tmp_path / "runs" / "run", world.corpus)
    assert isinstance(ranker.model, GroundedSemantic)
    queries = world.corpus.queries("valid")
    scores = ranker.score(ranker.encode_contexts(queries), ranker.encode_products(world.corpus.products))
    trainer.model.eval()
    again = trainer.ranker.score(
        trainer.ranker.encode_arrays(trainer.valid), trainer.model.encode_products(trainer.products)
    )
    assert np.array_equal(scores, again)


def test_ratio_zero_trains_the_student_alone_and_ratio_one_has_every_label(trainer_of):
    none = trainer_of("none", labelled=0).fit().history[-1]
    assert {name for name in none if name.startswith("D_")} == {"D_P.loss", "D_P.student_rank"}
    every = trainer_of("every", labelled=8).fit().history[-1]
    assert {"D_F.student_beliefs", "D_P.student_rank"} <= every.keys()
    warmed = trainer_of("warmed", labelled=8, train={"teacher_warmup_epochs": 1}).fit().history
    assert "D_F.student_beliefs" not in warmed[0]
    assert "D_F.student_beliefs" in warmed[1]


def test_the_fewer_examples_are_labelled_the_more_each_loss_of_beliefs_counts(trainer_of):
    trainer = trainer_of("share", labelled=2, loss={"alpha": 0.0, "mse_weight": 0.0, "belief_weight": 0.3})
    assert (len(trainer.queries["D_F"]), len(trainer.queries["D_P"])) == (2, 8)
    found = trainer.fit().history[-1]
    assert found["D_F.loss"] == pytest.approx(
        found["D_F.student_rank"] + 0.3 * 8 / 2 * found["D_F.student_beliefs"], rel=1e-5
    )


@pytest.mark.parametrize(
    "sections",
    [
        *({"grounding": {name: False}} for name in ("shown", "evidence", "similarity")),
        {"grounding": {"tracker": True}},
        {"grounding": {"tracker": True, "evidence": False}},
        {"grounding": {"tracker": True}, "loss": {"tracker_weight": 0.5, "em_weight": 0.5}},
        {"train": {"rank_candidates": "sampled"}},
        {"train": {"rank_candidates": "batch"}},
        {"loss": {"js_weight": 1.0, "co_sim_weight": 1.0, "student_on_labelled": "all"}},
        {"loss": {"belief_weight": 0.0, "mse_weight": 0.0, "alpha": 0.0}},
        {"loss": {"alpha": 1.0}},
        {"train": {"precision": "bfloat16", "schedule": "interleaved"}},
        {"context": {"include_current": False}},
    ],
    ids=str,
)
def test_every_switch_trains(trainer_of, sections):
    assert np.isfinite(trainer_of("run", **sections).fit().history[-1]["D_P.loss"])


@pytest.mark.parametrize("slots", [("color",), ("color", "type", "sleeve_length")])
def test_an_ontology_without_values_trains_on_what_is_left(trainer_of, slots: tuple[str, ...]):
    bare = Ontology(slots=tuple(Slot(name=name, attribute=name) for name in slots))
    assert np.isfinite(trainer_of("run", given=bare).fit().history[-1]["D_F.loss"])


def test_without_images_nothing_was_shown_and_training_goes_on(trainer_of, world):
    blank = Features(np.zeros((0, 5), np.float32), {}, "left out")
    products = tuple(item._replace(image_id=None, image_file=None) for item in world.corpus.products)
    corpus = replace(world.corpus, products=products)
    trainer = trainer_of("run", corpus=corpus, features=blank)
    assert (trainer.valid.columns["shown"].values == -1).all()
    assert (trainer.products.image_row == -1).all()
    assert trainer.fit().epochs == 2
    assert not trainer.model.shown.worth.weight.any()


def test_weights_of_another_ontology_are_refused(trainer_of, ontology, tmp_path):
    trainer_of("run").fit()
    slots = ontology.slots
    fewer = Slot(name="color", attribute="color", values=slots[0].values[:2])
    with pytest.raises(ModelError, match="weights of another model"):
        trainer_of("run", given=Ontology(slots=(fewer, *slots[1:]))).restore()


def test_a_loss_that_is_not_a_number_names_the_term_and_the_batch(trainer_of):
    trainer = trainer_of("run")
    with torch.no_grad():
        trainer.model.predictor.none[0] = float("nan")
    with pytest.raises(ModelError, match=r"not a number in student_rank, student_beliefs.*epoch 1, step 1, D_F"):
        trainer.fit()


def test_what_the_tracker_believes_and_what_was_recommended_are_terms_of_d_p_alone(trainer_of):
    sections = {"grounding": {"tracker": True}, "loss": {"tracker_weight": 0.5, "em_weight": 2.0}}
    first = trainer_of("run", **sections).fit().history[0]
    told = {name for name in first if name.startswith("D_")}
    assert told == {
        *("D_F.loss", "D_F.teacher_rank", "D_F.student_rank", "D_F.student_mse", "D_F.student_beliefs"),
        *("D_P.loss", "D_P.student_rank", "D_P.student_tracker", "D_P.student_em"),
    }
    parts = first["D_P.student_rank"] + 0.5 * first["D_P.student_tracker"] + 2 * first["D_P.student_em"]
    assert first["D_P.loss"] == pytest.approx(parts, rel=1e-4)


def test_a_run_with_a_tracker_reads_the_same_after_it_was_loaded(trainer_of, world, tmp_path, monkeypatch):
    sections = {"grounding": {"tracker": True}}
    trainer = trainer_of("run", **sections)
    trainer.fit()
    monkeypatch.setattr("semantic_model.training.trainer.load_features", lambda *_, **__: world.features)
    loaded = load_ranker(tmp_path / "run", world.corpus)
    queries = world.corpus.queries("valid")
    found = [
        ranker.score(ranker.encode_contexts(queries), ranker.encode_products(world.corpus.products))
        for ranker in (trainer.ranker, loaded)
    ]
    assert np.array_equal(*found)
    (tmp_path / "run" / "model" / "tracker.json").unlink()
    with pytest.raises(ModelError, match=r"tracker\.json.*is missing; train again"):
        load_ranker(tmp_path / "run", world.corpus).encode_contexts(queries)


def test_the_states_of_a_run_are_those_that_its_tracker_reads(trainer_of, world, ontology):
    trainer = trainer_of("run", grounding={"tracker": True})
    trainer.fit()
    queries = world.corpus.queries("valid")
    found = trainer.model.predicted_states(trainer.ranker.encode_contexts(queries))
    tracker = fit_tracker((), ontology, {})
    for query, read in zip(queries, found, strict=True):
        expected = tracker.track(rows_of(enumerate(query.history)))[-1]
        assert expected.state
        marks = {(item.slot, item.value, item.polarity) for item in read.state}
        assert marks == {(item.slot, item.value, item.polarity) for item in expected.state}
        assert {slot: read.sure[slot] for slot, _, _ in marks} == pytest.approx({slot: 0.85 for slot, _, _ in marks})


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"loss": {"tracker_weight": 1.0}}, "set grounding.tracker = true"),
        ({"loss": {"tracker_weight": 1.0}, "grounding": {"tracker": True, "evidence": False}}, "set grounding.tracker"),
        ({"loss": {"em_weight": 1.0}, "train": {"rank_candidates": "sampled"}}, 'set train.rank_candidates = "all"'),
    ],
)
def test_a_term_without_what_it_compares_with_is_refused(grounded_config, sections, said):
    with pytest.raises(UsageError, match=said):
        grounded_config(**sections)
