from __future__ import annotations

import numpy as np
import pytest
import torch

from schemas.errors import UsageError
from semantic_model.config.config import load_config
from semantic_model.data.tokenizer import PAD
from semantic_model.ranking.network_ranker import NetworkRanker
from tests.semantic_model.models.test_systems import CPU, built, settings


def vectors(config, world, seed: int = 0):
    """The network, its reader, the encoded training contexts and products, and the batches of both."""
    model, reader = built(config, world, seed)
    model.eval()
    contexts = reader.contexts(world.corpus.queries("train")).batch(slice(None), CPU)
    products = reader.products(world.corpus.products)
    with torch.no_grad():
        return model, contexts, products, model.encode_contexts(contexts), model.encode_products(products)


class Plain:
    """MAGIC's equations, a number at a time."""

    def __init__(self, model) -> None:
        self.w = {name: value.detach().double().numpy() for name, value in model.named_parameters()}

    def linear(self, name: str, x):
        return self.w[f"{name}.weight"] @ x + self.w.get(f"{name}.bias", 0.0)

    def lstm(self, name: str, steps):
        """The last state of an LSTM: gates in the order input, forget, new, output (Hochreiter and Schmidhuber)."""
        w_x, w_h = self.w[f"{name}.weight_ih_l0"], self.w[f"{name}.weight_hh_l0"]
        bias = self.w[f"{name}.bias_ih_l0"] + self.w[f"{name}.bias_hh_l0"]
        h = c = np.zeros(w_h.shape[1])
        for x in steps:
            gates = (w_x @ x + w_h @ h + bias).reshape(4, -1)
            i, f, o = (1 / (1 + np.exp(-gates[at])) for at in (0, 1, 3))
            c = f * c + i * np.tanh(gates[2])
            h = o * np.tanh(c)
        return h

    def both_ways(self, name: str, steps):
        return np.concatenate([self.lstm(f"{name}.forwards", steps), self.lstm(f"{name}.backwards", steps[::-1])])

    def text(self, name: str, tokens):
        return self.both_ways(f"{name}.recurrent", [self.w["words.table.weight"][piece] for piece in tokens])

    def image(self, name: str, numbers, u, cells: int = 4):
        side = 16 // cells
        grid = numbers.reshape(2, 16, 16)
        x, scores = [], []
        for row in range(cells):
            for column in range(cells):
                block = grid[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
                x.append(np.tanh(self.linear(f"{name}.project", np.array([part.mean() for part in block]))))
        if cells == 1:
            return x[0]
        for each in x:
            hidden = self.linear(f"{name}.attention.of_cell", each) + self.linear(f"{name}.attention.of_text", u)
            scores.append(float(self.linear(f"{name}.attention.score", np.tanh(hidden))[0]))
        total = sum(np.exp(score) for score in scores)
        return sum(np.exp(score) / total * each for score, each in zip(scores, x, strict=True))

    def context(self, batch, b: int, cells: int = 4):
        turns = []
        for t in range(batch.turn_mask.shape[1]):
            if batch.turn_mask[b, t]:
                u = self.text("utterance", [piece for piece in batch.tokens[b, t].tolist() if piece != PAD])
                shown = [m for m in range(batch.image_mask.shape[2]) if batch.image_mask[b, t, m]]
                images = [self.image("context_image", batch.images[b, t, m].double().numpy(), u, cells) for m in shown]
                i = np.mean(images, axis=0) if images else np.zeros(len(self.w["turn.bias"]))
                turns.append(self.linear("turn", np.concatenate([u, i])))
        return self.both_ways("context", turns)

    def product(self, batch, n: int, cells: int = 4):
        u = self.text("product_text", [piece for piece in batch.tokens[n].tolist() if piece != PAD])
        i = np.zeros(len(self.w["turn.bias"]))
        if batch.image_mask[n]:
            i = self.image("product_image", batch.image[n].double().numpy(), u, cells)
        return self.linear("product", np.concatenate([u, i]))


@pytest.mark.parametrize("one_cell", [False, True])
def test_scores_are_those_of_its_equations(config_of, world, one_cell: bool):
    config = settings(config_of, "magic", magic={"one_cell_attention": one_cell, "context_width": 5})
    model, contexts, products, c, rho = vectors(config, world)
    assert contexts.image_mask[:3].any()
    assert not products.image_mask[1]
    plain, cells = Plain(model), 1 if one_cell else 4
    for b in range(3):
        for n in (0, 1, 11):  # 1, the black jacket, has no image
            x, y = plain.context(contexts, b, cells), plain.product(products, n, cells)
            found = model.score(c[b : b + 1], rho[n : n + 1]).item()
            assert found == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-5)


def test_the_text_says_where_in_an_image_to_look(config_of, world):
    model, *_ = vectors(settings(config_of, "magic"), world)
    u = torch.randn(2, 8)
    map_of_two_cells = torch.randn(1, 2, 16, 16).expand(2, -1, -1, -1)
    found = model.product_image(map_of_two_cells, u)
    assert not torch.allclose(found[0], found[1])


def test_attention_over_one_cell_does_nothing_whatever_the_text_says(config_of, world):
    """As the release: ResNet's average is one cell, and a softmax over one is 1."""
    config = settings(config_of, "magic", magic={"one_cell_attention": True})
    model, *_ = vectors(config, world)
    assert not any(".attention." in name for name, _ in model.named_parameters())
    image = torch.randn(1, 2, 16, 16)
    texts = torch.randn(3, 8)
    found = model.product_image(image.expand(3, -1, -1, -1), texts)
    plain = torch.tanh(model.product_image.project(image.mean(dim=(2, 3))))
    torch.testing.assert_close(found, plain.expand(3, -1))


def test_a_map_smaller_than_the_cells_is_read_as_it_is(config_of, world):
    model, *_ = vectors(settings(config_of, "magic"), world)
    small = torch.randn(1, 2, 3, 2)
    u = torch.randn(1, 8)
    cells = torch.tanh(model.product_image.project(small.flatten(2).transpose(1, 2)))
    torch.testing.assert_close(model.product_image(small, u), model.product_image.attention(cells, u))


def test_padding_that_is_read_changes_texts(config_of, world):
    """As the release: its LSTM goes on over the padding, and what it said last is forgotten little by little."""
    plain, contexts, _, c, _ = vectors(settings(config_of, "magic"), world)
    config = settings(config_of, "magic", magic={"read_padding": True})
    reading, *_ = vectors(config, world)
    reading.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert not torch.allclose(reading.encode_contexts(contexts), c)
        word = torch.tensor([[5]])
        by_hand = reading.words(torch.tensor([[5, 0, 0, 0, 0, 0]]))  # max_tokens = 6
        _, expected = reading.utterance.recurrent(by_hand, torch.ones(1, 6, dtype=torch.bool))
        torch.testing.assert_close(reading.utterance(reading.words, word), expected)
        longer = torch.nn.functional.pad(word, (0, 3))  # however long the batch is
        torch.testing.assert_close(reading.utterance(reading.words, longer), expected)


def test_the_native_preset_is_the_release(world):
    config = load_config("magic/native")
    assert (config.model.width, config.magic.context_width, config.context.window) == (512, 1024, 2)
    assert (config.image.encoder, config.image.map, config.image.max_per_turn) == ("resnet18", "layer4", 1)
    assert (config.train.learning_rate, config.train.negatives) == (1e-4, 4)


@pytest.mark.parametrize("setting", ["magic.cells=0", "magic.context_width=-1", "magic.attention=true", "image.map=''"])
def test_settings_that_do_not_fit_are_refused(setting: str):
    with pytest.raises(UsageError, match=setting.partition("=")[0]):
        load_config("magic/tuned", [setting])


def test_no_contexts_and_no_products_are_encoded_as_none(config_of, world):
    ranker = NetworkRanker(*built(settings(config_of, "magic"), world), "magic")
    assert ranker.score(ranker.encode_contexts([]), ranker.encode_products([])).shape == (0, 0)


def test_products_without_text_or_image_are_ranked_too(config_of, world):
    model, reader = built(settings(config_of, "magic"), world)
    ranker = NetworkRanker(model, reader, "magic")
    bare = world.corpus.products[0]._replace(name="", attributes={}, image_id=None)
    table = ranker.encode_products([bare, *world.corpus.products[:2]])
    assert np.isfinite(ranker.score(ranker.encode_contexts(world.corpus.queries("valid")), table)).all()
