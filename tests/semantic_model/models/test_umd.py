from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from schemas.errors import MissingPartError, ModelError
from schemas.ontology import Ontology
from semantic_model.config.config import load_config
from semantic_model.data.corpus import Corpus, product_text
from semantic_model.data.image_features import Features
from semantic_model.data.records import Product
from semantic_model.data.taxonomy import Group, Leaf
from semantic_model.data.tokenizer import PAD
from semantic_model.models.umd import MODEL, Tree, knowledge_files
from semantic_model.ranking.model_spec import Sizes, Sources
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.training.checkpoint import load_model
from semantic_model.training.trainer import Examples, Trainer
from tests.semantic_model.models.test_systems import CPU, _placed, _recurrent, built, features_of, settings, step_of

TAXONOMY = """raw_taxonomies = '''upper>shirt,shirts
whole>dress
upper>jacket
__other__>__other__'''"""
ATTRIBUTES = "raw_attributes = '''color:red,crimson;blue;green\nlook:black;plain\ncare:dry'''"


@pytest.fixture
def knowledge(tmp_path: Path) -> dict[str, str]:
    """Settings that name a folder with a taxonomy and groups of attributes."""
    folder = tmp_path / "knowledge"
    folder.mkdir()
    (folder / "raw_taxonomies.py").write_text(TAXONOMY)
    (folder / "raw_attributes.py").write_text(ATTRIBUTES)
    return {"folder": str(folder)}


def product(name: str, **attributes: str | tuple[str, ...]) -> Product:
    found = {key: (value,) if isinstance(value, str) else value for key, value in attributes.items()}
    return Product(name, name, product_text(name, found), found, None, None)


def sources_of(*products: Product) -> Sources:
    return Sources(Corpus(products, {}, {}, {}, True, {}, ()), Ontology())


def batches(world, reader):
    contexts = reader.contexts(world.corpus.queries("train")).batch(slice(None), CPU)
    return contexts, reader.products(world.corpus.products)


class Plain:
    """UMD's equations, a word, a cell and a product at a time."""

    def __init__(self, model, tree: Tree, *, lengths: tuple[int, int] | None = None) -> None:
        self.w = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
        self.tree = tree
        self.lengths = lengths  # places that the token attention sees of an utterance, of a product

    def linear(self, name: str, x):
        return self.w[f"{name}.weight"] @ x + self.w.get(f"{name}.bias", 0.0)

    def lstm(self, name: str, steps):
        """The states of an LSTM: gates in the order input, forget, new, output."""
        w_x, w_h = self.w[f"{name}.weight_ih_l0"], self.w[f"{name}.weight_hh_l0"]
        bias = self.w[f"{name}.bias_ih_l0"] + self.w[f"{name}.bias_hh_l0"]
        h = c = np.zeros(w_h.shape[1])
        states = []
        for x in steps:
            i, f, new, o = (w_x @ x + w_h @ h + bias).reshape(4, -1)
            c = c / (1 + np.exp(-f)) + np.tanh(new) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            states.append(h)
        return states

    def text(self, name: str, tokens, length: int | None):
        words = [self.w["words.table.weight"][piece] for piece in tokens if piece != PAD]
        forwards = self.lstm(f"{name}.lstm.forwards", words)
        backwards = self.lstm(f"{name}.lstm.backwards", words[::-1])[::-1]
        states = [np.concatenate(both) for both in zip(forwards, backwards, strict=True)]
        width = self.w[f"{name}.pool.inner.weight"].shape[1]
        states += [np.zeros(width)] * ((length or len(states)) - len(states))
        shares = [
            np.exp(self.linear(f"{name}.pool.score", np.tanh(self.linear(f"{name}.pool.inner", h)))) for h in states
        ]
        return sum((share * h for share, h in zip(shares, states, strict=True)), np.zeros(width)) / max(
            sum(shares), 1e-9
        )

    @staticmethod
    def conv(weight, bias, x):
        size = x.shape[1] - 2
        out = np.zeros((len(weight), size, size))
        for row in range(size):
            for column in range(size):
                for channel in range(len(weight)):
                    cells = x[:, row : row + 3, column : column + 3]
                    out[channel, row, column] = max((weight[channel] * cells).sum() + bias[channel], 0.0)
        return out

    def node(self, name: str, number: int, x):
        return self.conv(self.w[f"{name}.weight"][number], self.w[f"{name}.bias"][number], x)

    def mfb(self, name: str, x, y, factors: int):
        products = self.linear(f"{name}.of_x", x) * self.linear(f"{name}.of_y", y)
        return np.array([sum(products[at : at + factors]) for at in range(0, len(products), factors)])

    def attributes(self, item: Product, numbers):
        leaf = self.tree.leaf(item)
        kind = self.node("leaf", leaf, self.node("top", self.tree.top_of[leaf], numbers.reshape(2, 16, 16)))
        channels = self.w["values.weight"].shape[1]
        found = []
        for group, value in enumerate(self.tree.values(item)):
            own = slice(group * channels, (group + 1) * channels)
            maps = self.conv(self.w["groups.weight"][own], self.w["groups.bias"][own], kind)
            before = sum(len(other.values) + 1 for other in self.tree.groups[:group])
            found.append(self.node("values", before + value, maps).reshape(-1))
        return found

    def product(self, batch, n: int, item: Product):
        x = self.text("product", batch.tokens[n].tolist(), self.lengths and self.lengths[1])
        image = batch.image[n].double().numpy() if batch.image_mask[n] else np.zeros(2 * 16 * 16)
        a = self.attributes(item, image)
        if len(a) > 1:
            every = len(self.w["attend.of_x.bias"])
            shares = [np.exp(self.mfb("attend", x, each, every)[0]) for each in a]
            v = sum(share * each for share, each in zip(shares, a, strict=True)) / sum(shares)
        else:
            v = a[0]
        return self.mfb("fuse", x, v, len(self.w["fuse.of_x.bias"]) // len(self.w["out.bias"]))

    def context(self, batch, b: int):
        turns = []
        for t in range(batch.turn_mask.shape[1]):
            if batch.turn_mask[b, t]:
                x = self.text("utterance", batch.tokens[b, t].tolist(), self.lengths and self.lengths[0])
                shown = [m for m in range(batch.image_mask.shape[2]) if batch.image_mask[b, t, m]]
                maps = [batch.images[b, t, m].double().numpy() for m in shown]
                image = np.mean(maps, axis=0) if maps else np.zeros(2 * 16 * 16)
                turns.append(np.concatenate([x, self.linear("turn_image", image)]))
        last = [self.lstm("context.forwards", turns)[-1], self.lstm("context.backwards", turns[::-1])[-1]]
        return self.linear("out", np.concatenate(last))

    def scores(self, contexts, products, items):
        rho = [self.product(products, n, item) for n, item in enumerate(items)]
        c = [self.context(contexts, b) for b in range(len(contexts.turn_mask))]
        return [[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in rho] for x in c]


@pytest.mark.parametrize("sections", [{}, {"factors": 3, "text_width": 5}, {"attend_padding": True}])
def test_it_scores_as_its_equations_say(config_of, world, knowledge, sections: dict[str, object]):
    small = {"tree_channels": 3, "attribute_channels": 2, "token_attention": 4, **sections}
    config = settings(config_of, "umd", knowledge=knowledge, umd=small)
    model, reader = built(config, world)
    for part in (model.top, model.leaf, model.values):
        nn.init.normal_(part.bias)
    model.eval()
    contexts, products = batches(world, reader)
    with torch.no_grad():
        found = model.score(model.encode_contexts(contexts), model.encode_products(products))
    lengths = (config.text.max_tokens, config.text.product_max_tokens) if "attend_padding" in sections else None
    plain = Plain(model, reader.fitted, lengths=lengths)
    np.testing.assert_allclose(found, plain.scores(contexts, products, world.corpus.products), rtol=1e-4, atol=1e-5)


def test_products_go_through_the_nodes_that_their_text_names(config_of, world, knowledge):
    _, reader = built(settings(config_of, "umd", knowledge=knowledge), world)
    tree: Tree = reader.fitted
    assert tree.top_of == [0, 1, 0, 2]
    assert tree.first_of == [0, 4, 7, 9]
    batch = reader.products(world.corpus.products)
    expected = {"shirt": 0, "dress": 1, "jacket": 2}
    assert batch.leaf.tolist() == [expected[item.name.split()[1]] for item in world.corpus.products]
    colours = {"red": [0, 2, 1], "blue": [1, 2, 1], "green": [2, 2, 1], "black": [3, 0, 1]}
    assert batch.values.tolist() == [colours[item.name.split()[0]] for item in world.corpus.products]
    assert (tree.leaf(product("a scarf")), tree.values(product("a scarf"))) == (3, [3, 2, 1])
    nothing = reader.products([])
    assert (nothing.leaf.shape, nothing.values.shape) == ((0,), (0, 3))


def test_the_attribute_of_that_name_comes_before_all_other_text():
    leaves = (Leaf("upper", ("shirt",)), Leaf("shoes", ("boots",)))
    tree = Tree(leaves, (Group("color", (("black",), ("white",))),), substrings=False)
    item = product("black shirt look boots", type="boots", color="white")
    assert (tree.leaf(item), tree.values(item)) == (1, [1])
    item = product("black shirt look boots", type="unknown")
    assert (tree.leaf(item), tree.values(item)) == (0, [0])
    assert tree.leaf(product("red", material=("cotton", "of boots"))) == 1


def test_substrings_are_found_within_words_and_names_of_attributes(config_of, world, knowledge):
    plain, release = (
        built(settings(config_of, "umd", knowledge=knowledge, umd={"match": match}), world)[1].fitted
        for match in ("words", "substrings")
    )
    item = product("a tired laundry bag", dress_code="none")
    assert (plain.leaf(item), plain.values(item)) == (3, [3, 2, 1])
    assert (release.leaf(item), release.values(item)) == (1, [0, 2, 0])  # tiRED, launDRY, DRESS_code


def test_kinds_and_groups_are_derived_from_the_catalogue(config_of):
    items = [
        product("1", type="Shirt", category="Top", color="red", brand="A", size="7", price="10"),
        product("2", type="shirt", category="top", color="blue", brand="B", size="8", price="10"),
        product("3", type="blouse", category="top", color="red", brand="A", size="7", care="dry"),
        product("4", type="boots", category="shoes", color="blue", brand="A", size="8", pattern="plain"),
        product("5", type="boots", category="shoes", color="green", brand="B", size="7"),
        product("6", type="boots", category="shoes", color=("green", "red"), pattern="dots", size="8"),
        product("7", type="scarf", category="shoes", pattern="plain"),
        product("8", type="scarf", category="accessories", pattern="dots"),
        product("9", type="scarf", category="accessories", color="white"),
    ]
    config = settings(config_of, "umd", text={"product_ignore": ["price"]})
    tree = Tree.fit(config, sources_of(*items))
    assert tree.leaves == (
        Leaf("top", ("blouse",)),
        Leaf("shoes", ("boots",)),
        Leaf("accessories", ("scarf",)),
        Leaf("top", ("shirt",)),
    )
    assert tree.groups == (
        Group("color", (("blue",), ("green",), ("red",))),  # white is one product's alone
        Group("brand", (("a",), ("b",))),
        Group("pattern", (("dots",), ("plain",))),
    )
    assert [tree.leaf(item) for item in items] == [3, 3, 0, 1, 1, 1, 2, 2, 2]
    assert tree.values(items[8]) == [3, 2, 2]
    less = settings(config_of, "umd", umd={"groups": 1, "values": 2, "leaves": 2})
    tree = Tree.fit(less, sources_of(*items))
    assert tree.leaves == (Leaf("product", ("boots",)), Leaf("product", ("scarf",)))  # no fewer categories than these
    assert tree.groups == (Group("color", (("blue",), ("red",))),)


def test_a_catalogue_that_says_nothing_has_one_node_of_each(config_of, world):
    config = settings(config_of, "umd")
    for items in ((), (product("a thing"), product("another"))):
        tree = Tree.fit(config, sources_of(*items))
        assert tree == Tree((), (Group("", ()),), substrings=False)
        assert (tree.top_of, tree.first_of) == ([0], [0, 1])
        assert (tree.leaf(product("a dress")), tree.values(product("a dress"))) == (0, [0])
    reader = MODEL.open_reader(config, world.words, features_of(config, world), Ontology(), tree)
    model = MODEL.build(config, Sizes(world.words.size, 8, reader.features.width, reader, reader.features.map_shape))
    assert model.encode_products(reader.products([product("a dress")])).norm().item() == pytest.approx(1)
    assert model.encode_products(reader.products([])).shape == (0, 8)


def test_the_tree_is_saved_and_read_back(config_of, world, knowledge, tmp_path: Path):
    tree = built(settings(config_of, "umd", knowledge=knowledge), world)[1].fitted
    tree.save(tmp_path)
    assert Tree.load(tmp_path) == tree
    file = tmp_path / "tree.json"
    stored = json.loads(file.read_text())
    for damaged in ({**stored, "groups": []}, {**stored, "leaves": [{"top": 1}]}, [], {"leaves": stored["leaves"]}):
        file.write_text(json.dumps(damaged))
        with pytest.raises(ModelError, match=r"tree\.json.*train again"):
            Tree.load(tmp_path)
    file.write_text("{")
    with pytest.raises(ModelError, match=r"not valid JSON.*tree\.json"):
        Tree.load(tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match=r"no such file.*tree\.json"):
        Tree.load(tmp_path)


def test_files_of_knowledge_are_named_or_missed(config_of, knowledge):
    config, folder = settings(config_of, "umd", knowledge=knowledge), Path(knowledge["folder"])
    assert knowledge_files(settings(config_of, "umd")) == {}
    assert list(knowledge_files(config)) == ["raw_taxonomies.py", "raw_attributes.py"]
    (folder / "raw_attributes.py").write_text("color red")
    with pytest.raises(ModelError, match=r"no line 'group:word,word;word' of attributes.*raw_attributes\.py, line 1"):
        knowledge_files(config)
    (folder / "raw_attributes.py").unlink()
    with pytest.raises(MissingPartError, match=r"no raw_attributes\.py or .*, groups of attribute values"):
        knowledge_files(config)
    (folder / "raw_taxonomies.py").unlink()
    with pytest.raises(MissingPartError, match=r"no raw_taxonomies\.py or .*, a taxonomy of products"):
        knowledge_files(config)
    with pytest.raises(MissingPartError, match=r"no folder of knowledge .*--set knowledge\.folder=FOLDER"):
        knowledge_files(load_config("umd/native"))


def test_mmds_own_pair_of_taxonomies_is_one(config_of, knowledge):
    config, folder = settings(config_of, "umd", knowledge=knowledge), Path(knowledge["folder"])
    (folder / "raw_taxonomies.py").unlink()
    (folder / "taxonomy_men.txt").write_text("man>apparel>upper>shirt>shirt\nman>apparel>upper>coat>parka")
    (folder / "taxonomy_women.txt").write_text("woman>apparel>upper>shirt>shirt\nwoman>apparel>whole>dress>dress,gown")
    assert list(knowledge_files(config)) == ["taxonomy_men.txt", "taxonomy_women.txt", "raw_attributes.py"]
    tree = Tree.fit(config, sources_of())
    assert tree.leaves == (Leaf("upper", ("shirt",)), Leaf("upper", ("parka",)), Leaf("whole", ("dress", "gown")))
    (folder / "taxonomy_men.txt").unlink()
    assert list(knowledge_files(config)) == ["taxonomy_women.txt", "raw_attributes.py"]


def test_a_tree_that_does_not_train_stays_as_drawn_and_is_saved(config_of, world, knowledge, tmp_path: Path):
    config = settings(config_of, "umd", "hinge", knowledge=knowledge, umd={"tree_trainable": False})
    drawn = {name: value.clone() for name, value in built(config, world)[0].state_dict().items()}
    features = features_of(config, world)
    trainer = Trainer(
        config,
        Examples([], [], world.corpus.queries("train"), world.corpus.queries("valid")),
        world.corpus,
        words=world.words,
        features=features,
        ontology=Ontology(),
        folder=tmp_path,
        seed=0,
    )
    trainer.fit()
    model, reader = load_model(tmp_path / "model", features, world.corpus)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, drawn[name])}
    tree = {name for name in drawn if name.startswith(("top.", "leaf.", "groups.", "values."))}
    assert len(tree) == 8
    assert not moved & tree
    assert {"fuse.of_x.weight", "turn_image.weight"} <= moved
    scores = [
        ranker.score(
            ranker.encode_contexts(world.corpus.queries("valid")), ranker.encode_products(world.corpus.products)
        )
        for ranker in (NetworkRanker(model, reader, "umd"), trainer.ranker)
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("trainable", [True, False])
def test_with_several_groups_every_parameter_that_trains_receives_a_gradient(
    config_of, world, knowledge, trainable: bool
):
    moved = dict[str, bool]()
    for seed in range(4):
        config = settings(config_of, "umd", knowledge=knowledge, umd={"tree_trainable": trainable})
        model, reader = built(config, world, seed)
        queries, items = world.corpus.queries("train"), world.corpus.products
        MODEL.objective(model, step_of(config, reader, queries, model, items)).total.backward()
        for name, value in model.named_parameters():
            moved[name] = moved.get(name, False) or (value.grad is not None and bool(value.grad.any()))
    still = {name for name, has in moved.items() if not has}
    tree = {f"{part}.{name}" for part in ("top", "leaf", "groups", "values") for name in ("weight", "bias")}
    assert still == (set() if trainable else tree)


def test_with_several_groups_nothing_stays_behind_on_the_cpu(config_of, world, knowledge, monkeypatch):
    monkeypatch.setattr(nn.LSTM, "forward", _recurrent)
    config = settings(config_of, "umd", knowledge=knowledge, umd={"attend_padding": True})
    _, reader = built(config, world)
    contexts, products = batches(world, reader)
    with FakeTensorMode():
        sizes = Sizes(world.words.size, 8, reader.features.width, reader, reader.features.map_shape)
        model = MODEL.build(config, sizes)
        _placed(model, "cuda")
        there = [
            type(batch)(*(torch.empty(part.shape, dtype=part.dtype, device="cuda") for part in batch))
            for batch in (contexts, products)
        ]
        scores = model.score(model.encode_contexts(there[0]), model.encode_products(there[1]))
        assert (scores.device.type, scores.shape) == ("cuda", (8, 12))


def test_padding_that_is_looked_at_is_as_long_as_the_settings_say(config_of, world):
    config = settings(config_of, "umd", text={"max_tokens": 9, "product_max_tokens": 12}, umd={"attend_padding": True})
    model, reader = built(config, world)
    model.eval()
    contexts, products = batches(world, reader)
    assert products.tokens.shape[1] < config.text.product_max_tokens
    grown = products._replace(tokens=nn.functional.pad(products.tokens, (0, 1)))
    longer = contexts._replace(tokens=nn.functional.pad(contexts.tokens, (0, 1)))
    for plain, padded, encode in ((products, grown, model.encode_products), (contexts, longer, model.encode_contexts)):
        torch.testing.assert_close(encode(padded), encode(plain), rtol=1e-4, atol=1e-6)
    model.product.length = None
    assert (model.encode_products(products) - model.encode_products(grown)).abs().max() < 1e-6
    without = model.encode_products(products)
    model.product.length = config.text.product_max_tokens
    assert (model.encode_products(products) - without).abs().max() > 1e-3


def test_maps_that_are_too_small_for_the_tree_are_refused(config_of, world):
    for shape in ((2, 8, 8), (4, 9, 8), ()):
        count = len(world.features.rows)
        features = Features(
            np.zeros((count, int(np.prod(shape or 5))), np.float32), world.features.rows, "", map_shape=shape
        )
        config = settings(config_of, "umd")
        tree = Tree.fit(config, Sources(world.corpus, Ontology()))
        reader = MODEL.open_reader(config, world.words, features, Ontology(), tree)
        with pytest.raises(ModelError, match=r"maps of 9 x 9 cells at least.*image\.map to an earlier layer"):
            MODEL.build(config, Sizes(world.words.size, 8, features.width, reader, features.map_shape))
