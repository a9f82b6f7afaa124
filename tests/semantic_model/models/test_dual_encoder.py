from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from schemas.errors import ModelError, UsageError
from schemas.ontology import Ontology
from semantic_model.config.config import load_config
from semantic_model.data.batch import Reader
from semantic_model.models.dual_encoder import MODEL, DualEncoder
from semantic_model.ranking.candidates import Choices
from semantic_model.ranking.cosine import rank_objective
from semantic_model.ranking.model_spec import Sizes, StepBatch, find_model
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.semantic.reading import INPUTS, SlotReader
from semantic_model.training.trainer import Examples, Trainer
from tests.semantic_model.slots_of import slots_of

OWN = {
    "model": {"kind": "dual-encoder"},
    "loss": {"rank": "softmax"},
    "train": {"rank_candidates": "all"},
    "text": {"pool": "mean"},
}


def built(config, world) -> tuple[DualEncoder, Reader]:
    reader = SlotReader(config, world.words, world.features, slots_of(), INPUTS)
    torch.manual_seed(0)
    return MODEL.build(config, Sizes(world.words.size, 8, 5, reader)).eval(), reader


def contexts_of(reader, world, queries):
    return reader.contexts(queries).batch(slice(None), torch.device("cpu"))


def trainer(config, world, folder: Path, valid: str = "valid") -> Trainer:
    return Trainer(
        config,
        Examples([], [], world.corpus.queries("train"), world.corpus.queries(valid)),
        world.corpus,
        words=world.words,
        features=world.features,
        ontology=Ontology(),
        folder=folder,
        seed=0,
    )


def test_the_loss_is_cross_entropy_over_all_products_where_one_is_right(config_of, world):
    model, reader = built(config_of(**OWN), world)
    queries = world.corpus.queries("train")[:4]
    products = model.encode_products(reader.products(world.corpus.products))
    batch = contexts_of(reader, world, queries)
    right = torch.tensor([query.positives[0] for query in queries])
    relevant = F.one_hot(right, len(products)).bool()
    none = torch.full((4, 1), -1)
    found = rank_objective(model, StepBatch(batch, None, products, Choices(none, none, relevant))).total
    scores = 10.0 * F.cosine_similarity(model.encode_contexts(batch)[:, None], products[None], dim=2)
    assert found.item() == pytest.approx(F.cross_entropy(scores, right).item(), rel=1e-5)


def test_the_loss_over_sampled_candidates_looks_at_these_alone(config_of, world):
    model, reader = built(config_of(loss={"rank": "softmax"}), world)
    queries = world.corpus.queries("train")[:3]
    products = model.encode_products(reader.products(world.corpus.products))
    batch = contexts_of(reader, world, queries)
    positives = torch.tensor([[query.positives[0]] for query in queries])
    negatives = torch.tensor([list(query.negatives) for query in queries])
    negatives[1, 1] = -1
    found = rank_objective(model, StepBatch(batch, None, products, Choices(positives, negatives))).total.item()
    each = []
    for c, query, kept in zip(model.encode_contexts(batch), queries, (2, 1, 2), strict=True):
        s = [10.0 * (c @ products[row]).item() for row in (query.positives[0], *query.negatives[:kept])]
        each.append(math.log(sum(math.exp(value) for value in s)) - s[0])
    assert found == pytest.approx(sum(each) / 3, rel=1e-5)


def test_contexts_and_products_have_length_one_and_padding_changes_nothing(config_of, world):
    config = config_of(**OWN, context={"window": 3, "turn_positions": True})
    model, reader = built(config, world)
    queries = world.corpus.queries("train")[:4]
    batch = contexts_of(reader, world, queries)
    c = model.encode_contexts(batch)
    torch.testing.assert_close(c.norm(dim=1), torch.ones(4))
    more_tokens = F.pad(batch.tokens, (0, 3))
    more_images = F.pad(batch.images, (0, 0, 0, 1), value=7.0), F.pad(batch.image_mask, (0, 1))
    padded = batch._replace(tokens=more_tokens, images=more_images[0], image_mask=more_images[1])
    torch.testing.assert_close(model.encode_contexts(padded), c, rtol=1e-5, atol=1e-6)
    table = model.encode_products(reader.products(world.corpus.products))
    torch.testing.assert_close(table.norm(dim=1), torch.ones(12))


def test_the_mean_of_a_turns_images_is_read(config_of, world):
    model, reader = built(config_of(**OWN, image={"turn_attention": False}), world)
    batch = contexts_of(reader, world, world.corpus.queries("train")[:1])
    one = torch.zeros_like(batch.image_mask)
    one[0, -1, 0] = True
    two = one.clone()
    two[0, -1, 1] = True
    vectors = torch.zeros_like(batch.images)
    vectors[0, -1, 0], vectors[0, -1, 1] = 1.0, 3.0
    mean = torch.zeros_like(batch.images)
    mean[0, -1, 0] = 2.0
    torch.testing.assert_close(
        model.encode_contexts(batch._replace(images=vectors, image_mask=two)),
        model.encode_contexts(batch._replace(images=mean, image_mask=one)),
    )


def test_candidates_score_as_in_the_whole_catalogue_and_padding_is_last(config_of, world):
    model, reader = built(config_of(**OWN), world)
    ranker = NetworkRanker(model, reader, MODEL.title)
    contexts = ranker.encode_contexts(world.corpus.queries("train"))
    table = ranker.encode_products(world.corpus.products)
    whole = ranker.score(contexts, table)
    assert whole.shape == (8, 12)
    rows = np.array([[3, 0, -1]] * 8)
    some = ranker.score(contexts, table, rows)
    np.testing.assert_allclose(some[:, :2], whole[:, [3, 0]], atol=1e-6)
    assert (some[:, 2] == -np.inf).all()
    np.testing.assert_allclose(ranker.score(contexts[2:4], table), whole[2:4], atol=1e-6)


@pytest.mark.slow
def test_it_learns_what_was_asked_for(config_of, world, tmp_path):
    config = config_of(**OWN | {"train": {"rank_candidates": "all", "epochs": 60, "learning_rate": 1e-2}})
    made = trainer(config, world, tmp_path, valid="test")  # there is none: the last epoch is kept
    made.fit()
    queries = world.corpus.queries("train")
    scores = made.ranker.score(made.ranker.encode_contexts(queries), made.ranker.encode_products(world.corpus.products))
    assert [row.argmax() for row in scores] == [query.positives[0] for query in queries]


def test_seeds_repeat_bit_for_bit_and_the_loop_keeps_what_it_is(config_of, world, tmp_path):
    config = config_of(**OWN | {"model": {"kind": "dual-encoder", "dropout": 0.2}})
    for name in ("a", "b"):
        trainer(config, world, tmp_path / name).fit()
    files = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]
    assert '"architecture": "dual-encoder"' in (tmp_path / "a" / "model" / "config.json").read_text()


def test_settings_that_would_do_nothing_are_refused():
    load_config("dual-encoder")
    for setting in ("dsi.hops=2", "loss.alpha=0.3", "state.sentiment=false", "text.share_encoder=true"):
        with pytest.raises(UsageError, match=f"the setting '{setting.partition('=')[0]}' does nothing"):
            load_config("dual-encoder", [setting])
    with pytest.raises(UsageError, match="begin with --preset dual-encoder"):
        load_config("tiny", ["model.kind=dual-encoder"])
    load_config("tiny")


def test_an_unknown_kind_of_model_is_refused():
    with pytest.raises(ModelError, match="an unknown kind of model, 'gru'"):
        find_model("gru")


def test_the_loop_of_a_model_without_states_is_its_own(config_of, world, tmp_path):
    config = config_of(**{**OWN, "train": {"batch_size": 3}})
    assert trainer(config, world, tmp_path).steps_an_epoch == 3  # 8 recommendation turns
