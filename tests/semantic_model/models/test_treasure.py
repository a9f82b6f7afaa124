from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import ModelError, UsageError
from schemas.ontology import Ontology
from semantic_model.config.config import load_config
from semantic_model.data.tokenizer import PAD
from semantic_model.layers.word_vectors import WordTable
from semantic_model.models.treasure import AttributeMatrices, AttributeValues
from semantic_model.ranking.model_spec import Sources
from semantic_model.ranking.network_ranker import NetworkRanker
from tests.semantic_model.models.plain_parts import Plain, Vector, cos, mean, softmax, sparsemax
from tests.semantic_model.models.test_systems import CPU, built, settings


class PlainTreasure(Plain):
    """TREASURE's equations, a number at a time."""

    def __init__(self, model, rows: list[int], shares) -> None:
        super().__init__(model, heads=2)
        self.rows, self.shares = rows, shares  # how many rows each matrix has

    def guidance(self, h: Vector) -> Vector:
        found, at = np.zeros(self.width), 0
        for count in self.rows:
            A_m = self.w["matrices.rows"][at : at + count]
            for share, row in zip(softmax([float(h @ row) for row in A_m]), A_m, strict=True):
                found += share * row
            at += count
        return found

    def text(self, pieces: list[int]) -> Vector:
        places = self.w["states.positions.weight"]
        guided = []
        for h in self.attend("states.attention", [self.word(piece) + places[i] for i, piece in enumerate(pieces)]):
            k = self.guidance(h)
            g = 1 / (1 + np.exp(-self.linear("gate", np.concatenate([h, k]))))
            guided.append(h + g * k)
        return mean(guided, self.width)

    def node(self, tokens, images: list[Vector]) -> Vector:
        u = self.text([piece for piece in tokens.tolist() if piece != PAD])
        v = mean([self.linear("image", image) for image in images], self.width)
        return self.linear("node", np.concatenate([u, v]))

    def context(self, batch, b: int) -> Vector:
        nodes = []
        for t in range(batch.turn_mask.shape[1]):
            if batch.turn_mask[b, t]:
                shown = [m for m in range(batch.image_mask.shape[2]) if batch.image_mask[b, t, m]]
                nodes.append(self.node(batch.tokens[b, t], [batch.images[b, t, m].double().numpy() for m in shown]))
        for layer in range(sum(name.endswith("project.weight") and "graph" in name for name in self.w)):
            nodes = self.graph(f"graph.{layer}", nodes, self.shares, residual=True)
        return nodes[-1]

    def product(self, batch, n: int) -> Vector:
        return self.node(batch.tokens[n], [batch.image[n].double().numpy()] if batch.image_mask[n] else [])


@pytest.mark.parametrize(("shares", "layers"), [("sparsemax", 2), ("softmax", 1)])
def test_scores_are_those_of_its_equations(config_of, world, shares: str, layers: int):
    config = settings(config_of, "treasure", treasure={"shares": shares, "graph_layers": layers})
    model, reader = built(config, world)
    model.eval()
    contexts = reader.contexts(world.corpus.queries("train")).batch(slice(None), CPU)
    products = reader.products(world.corpus.products)
    assert contexts.image_mask[:3].any()
    assert not products.image_mask[1]
    with torch.no_grad():
        found = model.score(model.encode_contexts(contexts), model.encode_products(products))
    plain = PlainTreasure(model, [4, 3], {"sparsemax": sparsemax, "softmax": softmax}[shares])
    for b in range(3):
        for n in (0, 1, 11):  # 1, the black jacket, has no image
            assert found[b, n].item() == pytest.approx(
                cos(plain.context(contexts, b), plain.product(products, n)), abs=1e-5
            )


def catalogue(world, *attributes: dict[str, tuple[str, ...]]):
    """What there is to learn from in a corpus of as many products."""
    some = world.corpus.products[: len(attributes)]
    products = tuple(one._replace(attributes=has) for one, has in zip(some, attributes, strict=True))
    return Sources(replace(world.corpus, products=products), Ontology())


def test_the_commonest_attributes_have_matrices_and_their_commonest_values_rows(config_of, world):
    sources = catalogue(
        world,
        {"fit": ("slim",), "color": ("red", "red", "blue"), "note": ()},
        {"color": ("green", "blue"), "care": ("cold",)},
        {"fit": ("loose",), "color": ("blue",), "care": ("hot",), "zip": ("no",)},
    )
    fit = AttributeValues.fit
    config = settings(config_of, "treasure", text={"product_ignore": ["zip"]})
    # color three times, care and fit twice: in the order of names; of color blue three times, green and red once
    every = (("color", ("blue", "green", "red")), ("care", ("cold", "hot")), ("fit", ("loose", "slim")))
    assert fit(config, sources).values == every
    few = settings(
        config_of, "treasure", text={"product_ignore": ["care", "zip"]}, treasure={"matrices": 1, "values": 2}
    )
    assert fit(few, sources).values == (("color", ("blue", "green")),)
    some = settings(config_of, "treasure", text={"product_fields": ["fit"]})
    assert fit(some, sources).values == (("fit", ("loose", "slim")),)


def test_a_catalogue_without_attributes_is_refused_with_the_ways_out(config_of, world):
    for sources in (catalogue(world, {}, {"fit": ()}), catalogue(world, {"care": ("cold",)}), catalogue(world)):
        config = settings(config_of, "treasure", text={"product_ignore": ["care"]})
        with pytest.raises(ModelError, match=r"no attribute of the catalogue is read.*import a catalogue"):
            AttributeValues.fit(config, sources)


def test_attributes_and_values_are_read_back_in_their_order(tmp_path: Path):
    known = AttributeValues([("zip", ("no", "a é")), ("color", ("red",)), ("care", ("hot", "cold"))])
    known.save(tmp_path)
    assert AttributeValues.load(tmp_path).values == known.values


@pytest.mark.parametrize(
    "damage", [None, "", "{}", "[]", '[["color", []]]', '[["color", "red"]]', '[["color", [1]]]', '[["color"]]', "[[]"]
)
def test_attributes_missing_or_damaged_are_refused(tmp_path: Path, damage: str | None):
    if damage is not None:
        (tmp_path / "attribute_values.json").write_text(damage)
    with pytest.raises(ModelError, match=r"attribute_values.json.*train again"):
        AttributeValues.load(tmp_path)


def test_rows_begin_as_the_word_vectors_of_their_values(config_of, world):
    config = settings(config_of, "treasure", model={"width": 4})
    words = WordTable(config, 30, 6)  # vectors of six numbers, which are projected to four
    matrices = AttributeMatrices(words, [np.array([[5, 0], [7, 9]]), np.array([[0, 0]])])
    matrices.start_from(world.words)
    table = words.table.weight
    expected = torch.stack([table[5], (table[7] + table[9]) / 2, torch.zeros(6)])
    torch.testing.assert_close(matrices.rows, expected)
    h = torch.randn(3, 4)
    A = words.project(expected)
    each = [torch.softmax(h @ part.T, dim=1) @ part for part in (A[:2], A[2:])]
    torch.testing.assert_close(matrices(h), each[0] + each[1])


def test_a_word_draws_the_value_that_it_names(config_of, world):
    model, reader = built(settings(config_of, "treasure"), world)
    with torch.no_grad():
        model.words.table.weight *= 8  # vectors long enough for the softmax to choose
        model.matrices.start_from(world.words)
        red = torch.from_numpy(reader.words.encode(["red"], 4))
        told = model.matrices(model.words(red))[0, 0]
    rows = dict(zip(("black", "blue", "green", "red"), model.matrices.rows.detach(), strict=False))
    assert reader.fitted.values[0] == ("color", tuple(rows))
    assert max(rows, key=lambda name: float(told @ rows[name])) == "red"


def test_sparse_shares_leave_turns_out_and_even_ones_do_not(config_of, world):
    moved = {}
    for shares in ("sparsemax", "softmax"):
        config = settings(config_of, "treasure", treasure={"shares": shares, "graph_layers": 1}, model={"heads": 1})
        model, reader = built(config, world)
        batch = reader.contexts(world.corpus.queries("train")[:1]).batch(slice(None), CPU)
        layer = model.graph[0]
        nodes = torch.eye(3, 8)[None]
        with torch.no_grad():
            layer.project.weight.copy_(torch.eye(8))
            layer.looks.zero_()
            layer.is_seen.copy_(torch.tensor([[-3.0, 0.5, 1.0, 0, 0, 0, 0, 0]]))  # the first turn is beneath notice
            found = layer(nodes, batch.turn_mask[:, :, None] & batch.turn_mask[:, None, :])
        moved[shares] = (found - nodes)[0, -1, :3].tolist()
    # LeakyReLU(-3) = -0.6: (0.5 + 1 - 1) / 2 = 0.25 is taken off the others
    assert moved["sparsemax"] == pytest.approx([0.0, 0.25, 0.75])
    assert moved["softmax"] == pytest.approx(softmax([-0.6, 0.5, 1.0]))


@pytest.mark.parametrize(
    "setting",
    ["treasure.matrices=0", "treasure.values=0", "treasure.graph_layers=0", "treasure.shares=entmax", "treasure.a=1"],
)
def test_settings_that_do_not_fit_are_refused(setting: str):
    with pytest.raises(UsageError, match=setting.partition("=")[0]):
        load_config("treasure/tuned", [setting])


def test_the_native_preset_has_the_settings_of_its_laboratory():
    config = load_config("treasure/native")
    assert (config.context.window, config.model.width, config.image.encoder) == (5, 512, "resnet18")
    assert (config.train.learning_rate, config.train.negatives, config.loss.rank) == (1e-4, 4, "hinge")
    assert (config.treasure.graph_layers, config.treasure.shares) == (2, "sparsemax")


def test_no_contexts_and_no_products_are_encoded_as_none(config_of, world):
    ranker = NetworkRanker(*built(settings(config_of, "treasure"), world), "treasure")
    assert ranker.score(ranker.encode_contexts([]), ranker.encode_products([])).shape == (0, 0)


def test_products_without_text_or_image_are_ranked_too(config_of, world):
    ranker = NetworkRanker(*built(settings(config_of, "treasure"), world), "treasure")
    bare = world.corpus.products[0]._replace(name="", attributes={}, image_id=None)
    table = ranker.encode_products([bare, *world.corpus.products[:2]])
    assert np.isfinite(ranker.score(ranker.encode_contexts(world.corpus.queries("valid")), table)).all()
