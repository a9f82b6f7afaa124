from __future__ import annotations

import numpy as np
import pytest
import torch

from schemas.errors import ModelError, UsageError
from semantic_model.config.config import load_config
from semantic_model.data.tokenizer import PAD
from semantic_model.models.enteract import MODEL, Request, Views
from semantic_model.ranking.model_spec import Sizes
from semantic_model.ranking.network_ranker import NetworkRanker
from tests.semantic_model.models.plain_parts import Plain, Vector, cos, mean, softmax
from tests.semantic_model.models.test_systems import CPU, built, settings


class PlainEnteract(Plain):
    """Enteract's equations, a number at a time."""

    def __init__(self, model, grid: int) -> None:
        super().__init__(model, heads=2)
        self.grid = grid

    def gated(self, name: str, x: Vector, y: Vector) -> Vector:
        g = 1 / (1 + np.exp(-self.linear(f"{name}.gate", np.concatenate([x, y]))))
        return g * x + (1 - g) * y

    def image(self, numbers: Vector) -> tuple[Vector, list[Vector]]:
        """G and L of a map of two channels, 16 x 16."""
        maps, side, cells = numbers.reshape(2, 16, 16), 16 // self.grid, []
        for row in range(self.grid):
            for column in range(self.grid):
                block = maps[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
                place = self.w["images.places.weight"][len(cells)]
                cells.append(self.linear("images.cell", np.array([part.mean() for part in block])) + place)
        x = self.linear("images.whole", np.array([part.mean() for part in maps]))
        return self.gated("images.gate_whole", x, mean(cells, self.width)), [
            self.gated("images.gate_cell", cell, x) for cell in cells
        ]

    def text(self, tokens) -> list[Vector]:
        places = self.w["text.positions.weight"]
        pieces = [piece for piece in tokens.tolist() if piece != PAD]
        return self.attend("text.attention", [self.word(piece) + places[i] for i, piece in enumerate(pieces)])

    def context(self, batch, b: int) -> tuple[Vector, Vector]:
        turns = []
        for t in range(batch.turn_mask.shape[1]):
            if batch.turn_mask[b, t]:
                shown = [m for m in range(batch.image_mask.shape[2]) if batch.image_mask[b, t, m]]
                images = [self.image(batch.images[b, t, m].double().numpy())[0] for m in shown]
                turns.append(mean(self.text(batch.tokens[b, t]), self.width) + mean(images, self.width))
        return self.attend("over_turns", turns)[-1], self.linear("request", turns[-1])

    def views(self, batch, n: int) -> list[Vector]:
        """Those that a product has."""
        G, L = self.image(batch.image[n].double().numpy()) if batch.image_mask[n] else (None, [])
        attributes = []
        for tokens in batch.attribute_tokens[n]:
            pieces = [piece for piece in tokens.tolist() if piece != PAD]
            if pieces:
                attributes.append(mean([self.word(piece) for piece in pieces], self.width))
        nodes = [*([] if G is None else [G]), *attributes]
        for layer in range(2):
            nodes = self.graph(f"structure.{layer}", nodes, softmax)
        s = self.text(batch.description_tokens[n])
        found = [] if G is None else [nodes[0], mean(self.attend("cells_see", L, s), self.width)]
        found.append(mean(nodes[len(nodes) - len(attributes) :], self.width))
        found.append(mean(self.attend("sequence_sees", s, L), self.width))
        return [self.norm("norm", view) for view in found]

    def score(self, contexts, products, b: int, n: int) -> float:
        c, q = self.context(contexts, b)
        views = self.views(products, n)
        shares = softmax([float(q @ view) / np.sqrt(self.width) for view in views])
        return cos(c, sum(share * view for share, view in zip(shares, views, strict=True)))


@pytest.mark.parametrize("grid", [4, 2])
def test_scores_are_those_of_its_equations(config_of, world, grid: int):
    model, reader = built(settings(config_of, "enteract", enteract={"grid": grid}), world)
    model.eval()
    contexts = reader.contexts(world.corpus.queries("train")).batch(slice(None), CPU)
    catalogue = [one._replace(description="as soft as a blue dress") for one in world.corpus.products[:3]]
    products = reader.products(catalogue)
    assert contexts.image_mask[:3].any()
    assert products.image_mask.tolist() == [True, False, True]
    with torch.no_grad():
        found = model.score(model.encode_contexts(contexts), model.encode_products(products))
    plain = PlainEnteract(model, grid)
    for b in range(3):
        for n in range(3):
            assert found[b, n].item() == pytest.approx(plain.score(contexts, products, b, n), abs=1e-5)


def test_a_product_shows_the_view_that_is_asked_for(config_of, world):
    model, _ = built(settings(config_of, "enteract"), world)
    X = torch.eye(4, 8)[None]  # four views, each its own direction
    there = torch.ones(1, 4, dtype=torch.bool)
    q = 30 * torch.eye(4, 8)
    contexts = Request(torch.eye(4, 8), q)
    found = model.products_for(contexts, Views(there[None], X[None]))[:, 0]
    torch.testing.assert_close(found, X[0], atol=1e-3, rtol=0)  # request 1 is answered by view 1, and so on
    missing = there.clone()
    missing[0, 2] = False
    expected = torch.tensor([1.0, 1.0, 0.0, 1.0, 0, 0, 0, 0]) / 3**0.5
    torch.testing.assert_close(model.products_for(contexts, Views(missing[None], X[None]))[2, 0], expected)


def test_the_last_turn_is_the_request(config_of, world):
    model, reader = built(settings(config_of, "enteract"), world)
    query = world.corpus.queries("train")[0]
    other = query._replace(history=(query.history[0]._replace(text="hello"), *query.history[1:]))
    later = query._replace(history=(*query.history[:2], query.history[2]._replace(text="hello")))
    with torch.no_grad():
        found = model.eval().encode_contexts(reader.contexts([query, other, later]).batch(slice(None), CPU))
    torch.testing.assert_close(found.q[0], found.q[1])
    assert not torch.allclose(found.c[0], found.c[1])
    assert not torch.allclose(found.q[0], found.q[2])


def test_a_product_is_four_vectors_and_the_views_that_it_lacks_are_marked(config_of, world):
    model, reader = built(settings(config_of, "enteract"), world)
    whole, bare = world.corpus.products[0], world.corpus.products[0]._replace(name="", attributes={}, image_id=None)
    catalogue = [
        whole,
        whole._replace(image_id=None),
        whole._replace(attributes={}),
        whole._replace(name=""),
        whole._replace(name="", description="a black one"),
        bare,
    ]
    with torch.no_grad():
        found = model.encode_products(reader.products(catalogue))
    assert found.X.shape == (6, 4, 8)
    marks = [  # global view, structure, sequence, local view
        [True, True, True, True],
        [False, True, True, False],
        [True, False, True, True],
        [True, True, False, True],
        [True, True, True, True],
        [False, False, False, False],
    ]
    assert found.there.tolist() == marks
    assert not found.X[~found.there].any()


def test_the_description_is_read_after_the_name(config_of, world):
    model, reader = built(settings(config_of, "enteract"), world)
    plain = world.corpus.products[0]
    with torch.no_grad():
        found = model.eval().encode_products(reader.products([plain, plain._replace(description="soft")]))
    same = [torch.allclose(found.X[0, view], found.X[1, view]) for view in range(4)]
    assert same == [True, True, False, False]  # the sequence, and the local view that looks at it


def test_the_global_view_and_the_attributes_look_at_each_other(config_of, world):
    model, reader = built(settings(config_of, "enteract"), world)
    plain = world.corpus.products[0]
    with torch.no_grad():
        found = model.eval().encode_products(reader.products([plain, plain._replace(attributes={"color": ("red",)})]))
    same = [torch.allclose(found.X[0, view], found.X[1, view]) for view in range(4)]
    assert same == [False, False, True, True]


def test_a_map_smaller_than_the_grid_keeps_its_cells(config_of, world):
    config = settings(config_of, "enteract")
    _, reader = built(config, world)
    model = MODEL.build(config, Sizes(world.words.size, 8, 12, reader, (3, 2, 2)))
    values = np.random.default_rng(0).normal(size=(2, 3 * 2 * 2)).astype(np.float32)
    G, L = model.images(torch.from_numpy(values), torch.tensor([True, False]))
    assert (G.shape, L.shape) == ((2, 8), (2, 4, 8))
    assert not L[1].any()


def test_images_of_one_vector_are_refused_with_the_way_out(config_of, world):
    config = settings(config_of, "enteract")
    _, reader = built(config, world)
    with pytest.raises(ModelError, match=r"one vector an image.*image.features"):
        MODEL.build(config, Sizes(world.words.size, 8, 5, reader))


@pytest.mark.parametrize(
    "setting", ["enteract.grid=0", "enteract.graph_layers=0", "enteract.views=3", "text.max_attributes=0"]
)
def test_settings_that_do_not_fit_are_refused(setting: str):
    with pytest.raises(UsageError, match=setting.partition("=")[0]):
        load_config("enteract/tuned", [setting])


def test_the_native_preset_has_the_settings_of_its_authors_next_paper():
    config, semantic = load_config("enteract/native"), load_config("paper")
    assert config.context.window == semantic.context.window == 5
    assert config.joint == semantic.joint
    assert (config.model.width, config.model.layers, config.model.heads) == (768, 3, 8)
    assert (config.image.map, config.image.size, config.enteract.grid) == ("layer4", 64, 2)


def test_no_contexts_and_no_products_are_encoded_as_none(config_of, world):
    ranker = NetworkRanker(*built(settings(config_of, "enteract"), world), "enteract")
    assert ranker.score(ranker.encode_contexts([]), ranker.encode_products([])).shape == (0, 0)


def test_turn_positions_tell_turns_apart(config_of, world):
    """Turns in another order are another context, where positions are asked for; the request stays the last."""
    query = world.corpus.queries("train")[0]
    first, second, last = (said._replace(image_ids=()) for said in query.history)
    swapped = [query._replace(history=(first, second, last)), query._replace(history=(second, first, last))]
    for told in (False, True):
        model, reader = built(settings(config_of, "enteract", context={"turn_positions": told}), world)
        with torch.no_grad():
            c = model.eval().encode_contexts(reader.contexts(swapped).batch(slice(None), CPU)).c
        assert torch.allclose(c[0], c[1], atol=1e-6) is not told
