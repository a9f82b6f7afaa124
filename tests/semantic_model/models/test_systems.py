"""What holds for every system of the paper's Table 2 alike; what is a system's own is tested in a file of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses import FakeTensorMode

from schemas.errors import UsageError
from schemas.ontology import Ontology
from semantic_model.config.config import Config, load_config, preset_names
from semantic_model.config.sections import MapImageConfig
from semantic_model.data.image_features import Features
from semantic_model.data.records import Query, Utterance
from semantic_model.ranking.candidates import Choices
from semantic_model.ranking.model_spec import Sizes, Sources, StepBatch, find_model
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.registry import MODELS
from semantic_model.training.checkpoint import load_model
from semantic_model.training.trainer import Examples, Interrupted, Trainer, fresh_model
from tests.semantic_model.stop_at import StopAt
from tests.semantic_model.tiny_towers import sentence_encoder

SYSTEMS = [name for name in ("mhred", "umd", "magic", "larch", "treasure", "enteract", "clip") if name in MODELS]
CPU = torch.device("cpu")
LOSSES = {
    "hinge": {"loss": {"rank": "hinge"}, "train": {"rank_candidates": "sampled"}},
    "softmax": {"loss": {"rank": "softmax"}, "train": {"rank_candidates": "all"}},
}


def settings(config_of, name: str, loss: str = "softmax", **sections) -> Config:
    if name == "clip":  # reads texts by a tower
        sections["text"] = {"embeddings": str(sentence_encoder()), **sections.get("text", {})}
    joined = {**LOSSES[loss], **sections}
    return config_of(
        **{
            **{section: {**LOSSES[loss].get(section, {}), **table} for section, table in joined.items()},
            "model": {"kind": name, **sections.get("model", {})},
            "train": {**LOSSES[loss]["train"], "batch_size": 4, "epochs": 2, **sections.get("train", {})},
        }
    )


def features_of(config: Config, world) -> Features:
    """The world's images as the model reads them: vectors, or maps drawn at random."""
    if not isinstance(config.image, MapImageConfig):
        return world.features
    values = np.random.default_rng(0).normal(size=(len(world.features.rows), 2 * 16 * 16)).astype(np.float32)
    return Features(values, world.features.rows, "maps drawn at random", map_shape=(2, 16, 16))


def built(config: Config, world, seed: int = 0):
    """A network as training begins with it, and what reads its inputs."""
    spec = find_model(config.model.kind)
    fitted = None if spec.fitted is None else spec.fitted.fit(config, Sources(world.corpus, Ontology()))
    reader = spec.open_reader(config, world.words, features_of(config, world), Ontology(), fitted)
    torch.manual_seed(seed)
    return fresh_model(spec, config, world.words, reader, world.corpus.products), reader


def step_of(config: Config, reader, queries: list[Query], model, catalogue) -> StepBatch:
    contexts = reader.contexts(queries).batch(slice(None), CPU)
    products = model.encode_products(reader.products(catalogue))
    positives = torch.tensor([[query.positives[0]] for query in queries])
    negatives = torch.tensor([list(query.negatives)[:2] for query in queries])
    relevant = None
    if config.train.rank_candidates == "all":
        relevant = F.one_hot(positives[:, 0], len(catalogue)).bool()
    return StepBatch(contexts, None, products, Choices(positives, negatives, relevant))


@pytest.fixture
def made(config_of, world):
    """A system's network, its reader and its settings."""

    def make(name: str, loss: str = "softmax", seed: int = 0, **sections):
        config = settings(config_of, name, loss, **sections)
        model, reader = built(config, world, seed)
        return model, reader, config

    return make


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_parameter_that_trains_receives_a_gradient(made, world, name: str, loss: str):
    moved: dict[str, bool] = {}
    for seed in range(4):  # a unit that is off for one draw of weights is on for another
        model, reader, config = made(name, loss, seed)
        step = step_of(config, reader, world.corpus.queries("train"), model, world.corpus.products)
        find_model(name).objective(model, step).total.backward()
        for key, parameter in model.named_parameters():
            if parameter.requires_grad:
                moved[key] = moved.get(key, False) or bool(parameter.grad is not None and parameter.grad.any())
    assert moved
    assert [key for key, has in moved.items() if not has] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_it_overfits_32_examples(made, world, name: str):
    model, reader, config = made(name, model={"width": 16, "inner": 16})
    products = world.corpus.products
    queries = []
    for number in range(32):
        wanted = number % 12
        colour, kind = products[wanted].product_id.split()
        shown = products[(number * 5 + 1) % 12].image_id or "lost.jpg"
        said = [f"i want {colour}", f"{colour} please", f"only {colour} ones"][number // 12]
        history = (
            Utterance("user", f"show me a {kind}", ()),
            Utterance("system", "how about this", (shown,)),
            Utterance("user", said, ()),
        )
        queries.append(Query(f"e{number}", 3, "train", history, (wanted,), ((wanted + 1) % 12, (wanted + 5) % 12)))
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    objective = find_model(name).objective
    for step in range(250):
        found = objective(model.train(), step_of(config, reader, queries, model, products))
        adam.zero_grad()
        found.total.backward()
        adam.step()
        if step % 25 == 24:
            ranker = NetworkRanker(model, reader, name)
            scores = ranker.score(ranker.encode_contexts(queries), ranker.encode_products(products))
            if (scores.argmax(axis=1) == [query.positives[0] for query in queries]).all():
                return
    pytest.fail(f"a loss of {found.total.item():.3f} after 250 steps")


@pytest.mark.parametrize("name", SYSTEMS)
def test_padding_changes_nothing(made, world, name: str):
    model, reader, _ = made(name)
    model.eval()
    queries = world.corpus.queries("train")[:4]
    batch = reader.contexts(queries).batch(slice(None), CPU)
    products = reader.products(world.corpus.products)
    plain = model.score(model.encode_contexts(batch), model.encode_products(products))
    grown = {}
    if "tokens" in batch._fields:
        grown["tokens"] = F.pad(batch.tokens, (0, 3))
    if "images" in batch._fields:
        grown["images"] = F.pad(batch.images, (0, 0, 0, 1), value=7.0)
        grown["image_mask"] = F.pad(batch.image_mask, (0, 1))
    more_words = {"tokens": F.pad(products.tokens, (0, 2))} if "tokens" in products._fields else {}
    if "attribute_tokens" in products._fields:
        more_words["attribute_tokens"] = F.pad(products.attribute_tokens, (0, 1, 0, 1))
    padded = model.score(
        model.encode_contexts(batch._replace(**grown)), model.encode_products(products._replace(**more_words))
    )
    torch.testing.assert_close(padded, plain, rtol=1e-4, atol=1e-5)
    alone = model.encode_products(type(products)(*(part[:1] for part in products)))
    one = model.score(model.encode_contexts(batch), alone)
    torch.testing.assert_close(one, plain[:, :1], rtol=1e-4, atol=1e-5)  # whoever stands in the batch beside it


@pytest.mark.parametrize("name", SYSTEMS)
def test_candidates_score_as_in_the_whole_catalogue_and_piece_by_piece(made, world, name: str):
    model, reader, _ = made(name)
    ranker = NetworkRanker(model, reader, name)
    contexts, table = (
        ranker.encode_contexts(world.corpus.queries("train")),
        ranker.encode_products(world.corpus.products),
    )
    whole = ranker.score(contexts, table)
    assert whole.shape == (8, 12)
    candidates = np.array([[11, 3, -1, 0, 7, 7]] * 8)
    some = ranker.score(contexts, table, candidates)
    assert np.isneginf(some[:, 2]).all()
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(some[:, kept], whole[:, candidates[0, kept]], rtol=1e-4, atol=1e-5)
    ranker.context_chunk, ranker.scored, ranker.pairs = 3, 5, 1
    np.testing.assert_allclose(ranker.score(contexts, table), whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ranker.score(contexts, table, candidates), some, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_resumes_bit_for_bit_and_ranks_the_same_when_loaded(config_of, world, tmp_path: Path, name: str):
    config = settings(config_of, name, "hinge", model={"dropout": 0.3})
    features = features_of(config, world)

    def trainer(folder: str) -> Trainer:
        examples = Examples([], [], world.corpus.queries("train"), world.corpus.queries("valid"))
        return Trainer(
            config,
            examples,
            world.corpus,
            words=world.words,
            features=features,
            ontology=Ontology(),
            folder=tmp_path / folder,
            seed=0,
        )

    straight = trainer("straight")
    straight.fit()
    first = trainer("stopped")
    first.progress = StopAt(3)
    with pytest.raises(Interrupted):
        first.fit()
    torch.manual_seed(99)  # whatever the next process draws first
    second = trainer("stopped")
    second.restore()
    second.fit()
    files = [tmp_path / folder / "model" / "model.safetensors" for folder in ("straight", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()
    model, reader = load_model(tmp_path / "stopped" / "model", features, world.corpus)
    queries = world.corpus.queries("valid")
    loaded, kept = NetworkRanker(model, reader, name), second.ranker
    scores = [r.score(r.encode_contexts(queries), r.encode_products(world.corpus.products)) for r in (loaded, kept)]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_setting_of_another_model_is_refused(name: str):
    with pytest.raises(UsageError, match=f"'dsi.hops' does nothing in a model of kind {name}"):
        load_config(f"{name}/uniform", ["dsi.hops=2"])


@pytest.mark.parametrize("preset", ["native", "uniform", "tuned"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_three_presets(name: str, preset: str):
    assert f"{name}/{preset}" in preset_names()
    config = load_config(f"{name}/{preset}")
    assert config.model.kind == name
    if preset == "uniform":  # the paper's protocol
        train, text = config.train, config.text
        assert (config.context.window, text.max_tokens, config.image.max_per_turn) == (5, 30, 5)
        assert (train.positives, train.negatives, train.rank_candidates, train.select) == (1, 4, "sampled", "ndcg@5")
        assert (config.loss.rank, config.loss.margin) == ("hinge", 1.0)
    if preset == "tuned":
        assert (config.loss.rank, config.train.rank_candidates) == ("softmax", "all")


def _placed(module: nn.Module, device: str) -> None:
    """Every parameter and buffer anew on a device, without moving anything there."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                there = torch.empty(value.shape, dtype=value.dtype, device=device)
                part._parameters[name] = nn.Parameter(there, requires_grad=value.requires_grad)
        for name, value in list(part._buffers.items()):
            if value is not None:
                part._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device=device)


def _recurrent(self: nn.RNNBase, x: torch.Tensor) -> tuple[torch.Tensor, None]:
    """Shapes and devices of a GRU or LSTM, whose own kernel asks a GPU what it can do."""
    found = x @ self.weight_ih_l0.T + self.bias_ih_l0 + self.bias_hh_l0 + self.weight_hh_l0.sum()
    return found[..., : self.hidden_size], None


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", SYSTEMS)
def test_nothing_stays_behind_on_the_cpu(made, world, monkeypatch, name: str, loss: str):
    """Forward and loss on a GPU that is not there: tensors of two devices in one operation are refused."""
    for kind in (nn.GRU, nn.LSTM):
        monkeypatch.setattr(kind, "forward", _recurrent)
    model, reader, config = made(name, loss)
    queries = world.corpus.queries("train")[:4]
    contexts = reader.contexts(queries).batch(slice(None), CPU)
    products = reader.products(world.corpus.products)
    with FakeTensorMode():

        def there(batch):
            return type(batch)(*(torch.empty(part.shape, dtype=part.dtype, device="cuda") for part in batch))

        spec = find_model(name)
        sizes = Sizes(world.words.size, 8, reader.features.width, reader, reader.features.map_shape)
        model = spec.build(config, sizes)
        _placed(model, "cuda")
        positives = torch.zeros(4, 1, dtype=torch.int64, device="cuda")
        negatives = torch.zeros(4, 2, dtype=torch.int64, device="cuda")
        relevant = torch.zeros(4, 12, dtype=torch.bool, device="cuda") if loss == "softmax" else None
        encoded = model.encode_products(there(products))
        found = spec.objective(
            model, StepBatch(there(contexts), None, encoded, Choices(positives, negatives, relevant))
        )
        assert found.total.device.type == "cuda"
