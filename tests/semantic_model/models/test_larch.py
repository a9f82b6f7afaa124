from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import MissingPartError, ModelError, UsageError
from schemas.ontology import Ontology
from semantic_model.config.config import load_config
from semantic_model.data.records import Query, Utterance
from semantic_model.data.tokenizer import PAD
from semantic_model.models.larch import MODEL, LarchContexts, WordColumn
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.training.checkpoint import load_model
from semantic_model.training.trainer import Examples, Trainer
from tests.semantic_model.models.test_systems import CPU, built, settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of knowledge as MMD's, of the world's kinds and another."""
    found = tmp_path / "knowledge"
    found.mkdir()
    (found / "styletips_synset.txt").write_text("dress , shirt , 7\nboots , dress , 9\ndress , jacket , 2\n")
    worn = {"cel_0": {"dress": 0.02, "jacket": 0.01}, "cel_1": {"dress": 0.01}, "cel_2": {"boots": 0.3}}
    (found / "celebrity_distribution.json").write_text(json.dumps(worn))
    return found


def encoded(config, world, seed: int = 0):
    """The network, its reader, the batches of training contexts and products, and both encoded."""
    model, reader = built(config, world, seed)
    model.eval()
    contexts = reader.contexts(world.corpus.queries("train")).batch(slice(None), CPU)
    products = reader.products(world.corpus.products)
    with torch.no_grad():
        return model, reader, contexts, products, model.encode_contexts(contexts), model.encode_products(products)


class Plain:
    """LARCH's equations, a node and a row at a time."""

    def __init__(self, model, reader, config) -> None:
        self.w = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
        self.reader, self.config = reader, config

    def linear(self, name: str, x):
        return self.w[f"{name}.weight"] @ x + self.w.get(f"{name}.bias", 0.0)

    def vector(self, piece: int):
        return self.w["graph.words.table.weight"][piece]

    def weighted(self, name: str, held):
        """sum_j softmax_j(w h_j) h_j."""
        if not held:
            return np.zeros(self.config.model.width)
        shares = np.exp([float(self.linear(name, h)[0]) for h in held])
        return sum(share / shares.sum() * h for share, h in zip(shares, held, strict=True))

    def graph(self, batch: LarchContexts, b: int):
        """Names of nodes -> vectors, and pairs of names that see each other."""
        nodes, links = {}, set()
        marks = {self.reader.words.tokenizer.token_to_id(mark) for mark in ".!?"}
        turns = []
        for t in range(batch.turn_mask.shape[1]):
            pieces = [piece for piece in batch.tokens[b, t].tolist() if piece != PAD]
            sentences: list[list[int]] = [[]]
            for at, piece in enumerate(pieces):
                sentences[-1].append(piece)
                goes_on = at + 1 < len(pieces) and pieces[at + 1] in marks
                if piece in marks and not goes_on and len(sentences) < self.config.larch.sentences:
                    sentences.append([])
            parts = []
            for m in range(batch.image_mask.shape[2]):
                if batch.image_mask[b, t, m]:
                    image = f"image {t} {m}"
                    nodes[image] = self.linear("graph.project_image", batch.images[b, t, m].double().numpy())
                    parts.append(nodes[image])
                    links |= {(image, f"turn {t}"), (image, "session")}
            for s, said in enumerate(sentences):
                if said:
                    for piece in said:
                        nodes[f"word {piece}"] = self.vector(piece)
                        links |= {(f"word {piece}", f"sentence {t} {s}"), (f"word {piece}", f"turn {t}")}
                        links.add((f"word {piece}", "session"))
                    links |= {(f"word {x}", f"word {y}") for x, y in pairwise(said)}
                    links.add((f"sentence {t} {s}", f"turn {t}"))
                    held = [self.vector(piece) for piece in dict.fromkeys(said)]
                    nodes[f"sentence {t} {s}"] = self.weighted("graph.sentence.score", held)
                    parts.append(nodes[f"sentence {t} {s}"])
            if batch.turn_mask[b, t]:
                nodes[f"turn {t}"] = self.weighted("graph.utterance.score", parts)
                turns.append(nodes[f"turn {t}"])
                links.add((f"turn {t}", "session"))
        nodes["session"] = self.weighted("graph.session.score", turns)
        return nodes, links | {(y, x) for x, y in links}

    def attention(self, name: str, nodes, links, heads: int):
        found = {}
        width = self.w[f"{name}.looks"].shape[1]
        h = {node: (self.w[f"{name}.project.weight"] @ x).reshape(heads, width) for node, x in nodes.items()}
        for i, x in nodes.items():
            seen = [j for j in nodes if (i, j) in links]
            out = []
            for head in range(heads):
                ask = self.w[f"{name}.looks"][head] @ h[i][head]
                scores = [ask + self.w[f"{name}.is_seen"][head] @ h[j][head] for j in seen]
                shares = np.exp([score if score > 0 else 0.2 * score for score in scores])
                sums = (share / shares.sum() * h[j][head] for share, j in zip(shares, seen, strict=True))
                out.append(sum(sums, np.zeros(width)))
            same = f"{name}.residual.weight"
            found[i] = np.concatenate(out) + (self.w[same] @ x if same in self.w else x)
        return found

    def query(self, batch: LarchContexts, b: int):
        nodes, links = self.graph(batch, b)
        nodes = {name: self.linear("graph.project", x) for name, x in nodes.items()}
        for layer in range(self.config.larch.layers - 1):
            nodes = self.attention(f"graph.layers.{layer}", nodes, links, self.config.model.heads)
            nodes = {name: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1) for name, x in nodes.items()}
        return self.attention("graph.last", nodes, links, 1)["session"]

    def memory(self, product):
        """The rows of a product: form and vector of each."""
        larch, knowledge = self.config.larch, self.reader.fitted
        kind = product.attributes["type"][0]
        texts = [f"{name} {value}" for name, values in product.attributes.items() for value in values]
        tips = sorted((-tip.times, tip.first, tip.second) for tip in knowledge.tips if kind in tip[:2])
        rows = [("attributes", self.mean(text)) for text in texts[: larch.attributes]]
        if larch.read_padding_rows:
            rows += [("attributes", self.mean(""))] * (larch.attributes - len(rows))
        mine = [("tips", self.mean(f"{first} {second}")) for _, first, second in tips[: larch.style_tips]]
        if larch.read_padding_rows and knowledge.tips:
            mine += [("tips", self.mean(""))] * (larch.style_tips - len(mine))
        rows += mine
        scores = np.array([worn.get(kind, 0.0) for worn in knowledge.celebrities.values()])
        liked = [("celebrities", scores / np.linalg.norm(scores))] if scores.any() else []
        if larch.read_padding_rows and knowledge.celebrities:
            liked += [("celebrities", np.zeros(len(scores)))] * (larch.kinds - len(liked))
        return rows + liked

    def mean(self, text: str):
        pieces = [piece for piece in self.reader.words.encode([text], 8)[0] if piece != PAD]
        return np.mean([self.vector(piece) for piece in pieces], axis=0) if pieces else 0 * self.vector(0)

    def read(self, x, rows, keys: int):
        """keys: 0 of queries, 1 of images."""
        found = np.zeros(self.config.model.width)
        shares = np.exp([x @ self.linear(f"memory.forms.{form}.{keys}", row) for form, row in rows])
        for share, (form, row) in zip(shares, rows, strict=True):
            found += share / shares.sum() * self.linear(f"memory.forms.{form}.2", row)
        return found

    def gated(self, name: str, m, i):
        g = 1 / (1 + np.exp(-self.linear(f"{name}.gate", np.concatenate([m, i]))))
        return g * m + (1 - g) * i

    def product(self, q, product, image):
        rows = self.memory(product)
        i = np.zeros(self.config.model.width) if image is None else self.linear("project_image", image)
        e = self.gated("gate", self.read(q, rows, 0), i)
        other = self.gated("image_gate", self.read(i, rows, 1), i)
        hidden = np.maximum(self.linear("of_query", e) + self.linear("of_image", other), 0)
        return self.linear("out", hidden)


@pytest.mark.parametrize(
    ("with_files", "larch"),
    [
        (False, {"layers": 3}),
        (True, {"layers": 2, "graph_width": 12, "style_tips": 2}),
        (True, {"layers": 1, "read_padding_rows": True, "attributes": 3, "style_tips": 3}),
    ],
)
def test_scores_are_those_of_its_equations(config_of, world, folder: Path, with_files: bool, larch):
    own = {"larch": {"min_count": 1, **larch}, "text": {"max_tokens": 9}}
    config = settings(config_of, "larch", knowledge={"folder": str(folder) if with_files else ""}, **own)
    model, reader, contexts, products, encoded_contexts, encoded_products = encoded(config, world)
    assert contexts.image_mask[:3].any()
    plain = Plain(model, reader, config)
    found = model.score(encoded_contexts, encoded_products)
    for b in range(3):
        q = plain.query(contexts, b)
        np.testing.assert_allclose(encoded_contexts.q[b], q, rtol=1e-4, atol=1e-5)
        for n in (0, 1, 11):  # 1, the black jacket, has no image
            image = products.image[n].double().numpy() if products.image_mask[n] else None
            rho = plain.product(q, world.corpus.products[n], image)
            expected = q @ rho / np.linalg.norm(q) / np.linalg.norm(rho)
            assert found[b, n].item() == pytest.approx(expected, abs=1e-5)


def test_the_graph_of_a_session_by_hand(config_of, world):
    """Two turns: "red shirt. red?" with an image, then "blue"."""
    config = settings(config_of, "larch", text={"max_tokens": 9}, larch={"sentences": 2}, context={"window": 2})
    model, reader = built(config, world)
    id_of = reader.words.tokenizer.token_to_id
    red, shirt, blue, stop, asked = (id_of(word) for word in ("red", "shirt", "blue", ".", "?"))
    if None in (red, shirt, blue):
        pytest.fail("the world's words are not whole")
    stop, asked = (number if number is not None else 150 + at for at, number in enumerate((stop, asked)))
    model.graph.ends = torch.tensor([stop, asked, -1])
    model.graph.words.table = torch.nn.Embedding(200, 8, padding_idx=PAD)
    tokens = torch.tensor([[[red, shirt, stop, red, asked], [blue, PAD, PAD, PAD, PAD]]])
    words = torch.tensor([[red, shirt, blue, stop, asked, PAD]])
    images = torch.randn(1, 2, 2, 5)
    image_mask = torch.tensor([[[True, False], [False, False]]])
    batch = LarchContexts(tokens, words, images, image_mask, torch.ones(1, 2, dtype=torch.bool))
    sees = model.graph.graph(batch).sees[0]
    names = "red shirt blue . ? none i00 i01 i10 i11 s00 s01 s10 s11 t0 t1 session".split()
    assert sees.shape == (17, 17)
    found = {frozenset((names[i], names[j])) for i, j in sees.nonzero().tolist()}
    expected = "red-shirt shirt-. red-? red-s00 shirt-s00 .-s00 red-s01 ?-s01 blue-s10 s00-t0 s01-t0 s10-t1 t0-session "
    expected += "t1-session red-t0 shirt-t0 .-t0 ?-t0 blue-t1 i00-t0 i00-session "
    expected += "red-session shirt-session blue-session .-session ?-session"
    assert found == {frozenset(link.split("-")) for link in expected.split()}
    assert torch.equal(sees, sees.T)


def test_sentences_end_at_marks_and_the_last_one_takes_the_rest(config_of, world):
    model, _ = built(settings(config_of, "larch", larch={"sentences": 3}), world)
    model.graph.ends = torch.tensor([90, 91, -1])
    tokens = torch.tensor(
        [[[5, 90, 91, 6, 7, 91, 8, 90, 9, 90, PAD], [91, 5, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD]]]
    )
    assert model.graph.sentence_of(tokens)[0].tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2], [0] + [1] * 10]


def test_distinct_words_are_those_of_a_set():
    tokens = np.random.default_rng(0).integers(0, 6, (5, 12)).astype(np.int32)
    tokens[4] = PAD
    found = WordColumn(tokens).batch(slice(None), CPU)
    sets = [sorted(set(rows.tolist()) - {PAD}) for rows in tokens]
    longest = max(map(len, sets))
    assert found.tolist() == [each + [PAD] * (longest - len(each)) for each in sets]
    assert WordColumn(tokens).batch(np.array([4]), CPU).tolist() == [[PAD]]
    assert WordColumn(tokens).batch(slice(0, 0), CPU).shape == (0, 1)


def test_rows_are_counted_form_by_form_the_empty_one_first(config_of, world, folder: Path):
    config = settings(
        config_of,
        "larch",
        knowledge={"folder": str(folder)},
        larch={"min_count": 1, "attributes": 3, "style_tips": 2, "kinds": 1},
    )
    _, reader = built(config, world)
    # 1 + 7 attributes: black blue green red, dress jacket shirt; 1 + 3 tips: boots-dress, dress-jacket, dress-shirt;
    # 1 + 3 kinds that celebrities wear: boots, dress, jacket
    black_dress, black_jacket, black_shirt = reader.memory_rows(world.corpus.products[:3]).tolist()
    assert black_dress == [1, 5, 0, 9, 11, 14]  # boots-dress 9 times, dress-shirt 7
    assert black_jacket == [1, 6, 0, 10, 8, 15]
    assert black_shirt == [1, 7, 0, 11, 8, 12]
    assert reader.memory_rows([]).shape == (0, 6)


def test_empty_rows_get_no_attention_unless_asked_for(config_of, world):
    """As the release: how many empty rows there are, which depends on the batch there, changes what a product is."""
    scores = {}
    for read_padding in (False, True):
        for places in (2, 9):
            larch = {"min_count": 1, "attributes": places, "read_padding_rows": read_padding}
            model, _, _, _, c, rho = encoded(settings(config_of, "larch", larch=larch), world)
            scores[read_padding, places] = model.score(c, rho)
            assert model.memory.empty.any() != read_padding
    torch.testing.assert_close(scores[False, 2], scores[False, 9])
    assert not torch.allclose(scores[True, 2], scores[True, 9], atol=1e-4)


def test_the_table_of_rows_is_encoded_once_until_a_weight_changes(config_of, world, monkeypatch):
    model, *_ = encoded(settings(config_of, "larch"), world)
    calls = []
    encode = type(model.memory)._encoded
    monkeypatch.setattr(type(model.memory), "_encoded", lambda self, words: calls.append(1) or encode(self, words))
    with torch.no_grad():
        first = model._table()
        assert model._table() is first
        assert not calls  # encoded with the contexts and products
        model.memory.forms["tips"][0].weight.add_(1.0)
        second = model._table()
        assert not torch.equal(second.query_keys, first.query_keys)
        model.graph.words.table.weight.mul_(2.0)
        assert not torch.equal(model._table().values, second.values)
    assert len(calls) == 2
    assert model._table().values.requires_grad  # in training, always anew
    assert len(calls) == 3


def test_products_hold_numbers_of_rows_rather_than_rows(config_of, world):
    _, _, _, _, _, products = encoded(settings(config_of, "larch"), world)
    assert products.rows.dtype == torch.int32
    numbers = sum(part[0].numel() for part in products)
    assert numbers == 2 * 8 + 16 + 16  # i, e', and a number a place: no celebrities without files


def test_what_the_user_asks_for_changes_what_a_product_is(config_of, world):
    model, _, _, _, contexts, products = encoded(settings(config_of, "larch"), world)
    every = type(products)(*(part[None] for part in products))
    found = model.products_for(contexts, every)
    assert found.shape == (8, 12, 8)
    torch.testing.assert_close(found.norm(dim=2), torch.ones(8, 12))
    assert not torch.allclose(found[0, 3], found[1, 3])


def test_knowledge_travels_with_the_model(config_of, world, folder: Path, tmp_path: Path):
    config = settings(config_of, "larch", knowledge={"folder": str(folder)}, train={"epochs": 1})
    trainer = Trainer(
        config,
        Examples([], [], world.corpus.queries("train"), world.corpus.queries("valid")),
        world.corpus,
        words=world.words,
        features=world.features,
        ontology=Ontology(),
        folder=tmp_path / "run",
        seed=0,
    )
    trainer.fit()
    for path in folder.iterdir():
        path.unlink()
    saved = tmp_path / "run" / "model"
    model, reader = load_model(saved, world.features, world.corpus)
    assert reader.fitted == trainer.reader.fitted
    queries = world.corpus.queries("valid")
    loaded = NetworkRanker(model, reader, "larch")
    scores = [
        ranker.score(ranker.encode_contexts(queries), ranker.encode_products(world.corpus.products))
        for ranker in (loaded, trainer.ranker)
    ]
    np.testing.assert_array_equal(*scores)
    (saved / "knowledge.json").write_text("{}")
    with pytest.raises(ModelError, match=r"knowledge\.json.*train again"):
        load_model(saved, world.features, world.corpus)
    other = {"attributes": [], "tips": [], "celebrities": {}}  # of another model
    (saved / "knowledge.json").write_text(json.dumps(other))
    with pytest.raises(ModelError, match="weights of another model"):
        load_model(saved, world.features, world.corpus)


def test_files_of_knowledge_are_named_before_training(config_of, folder: Path):
    assert MODEL.files(settings(config_of, "larch")) == {}
    config = settings(config_of, "larch", knowledge={"folder": str(folder)})
    assert set(MODEL.files(config)) == {"styletips_synset.txt", "celebrity_distribution.json"}
    (folder / "styletips_synset.txt").unlink()
    with pytest.raises(MissingPartError, match=r"no styletips_synset\.txt.*leave the setting empty"):
        MODEL.files(config)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("larch.graph_width=130", r"model\.heads = 4 does not divide larch\.graph_width = 130"),
        ("larch.layers=0", r"larch\.layers"),
        ("larch.attributes=0", r"larch\.attributes"),
        ("larch.mask_memory=true", r"unknown setting 'larch\.mask_memory'"),
        ("image.map=layer4", r"unknown setting 'image\.map'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting: str, said: str):
    with pytest.raises(UsageError, match=said):
        load_config("larch/tuned", [setting])


def test_the_native_preset_is_the_release():
    config = load_config("larch/native")
    assert (config.larch.layers, config.model.heads, config.graph_width, config.model.width) == (5, 16, 1024, 512)
    assert (config.train.learning_rate, config.train.negatives, config.train.batch_size) == (1e-5, 1, 200)
    assert config.text.freeze
    assert config.larch.read_padding_rows


def test_sessions_and_products_of_nothing_are_ranked_too(config_of, world):
    model, reader = built(settings(config_of, "larch"), world)
    ranker = NetworkRanker(model, reader, "larch")
    bare = world.corpus.products[0]._replace(name="", attributes={}, image_id=None)
    table = ranker.encode_products([bare, *world.corpus.products[:2]])
    silent = Query("s", 1, "test", (Utterance("user", "", ()),), (0,), ())
    contexts = ranker.encode_contexts([silent, silent._replace(history=()), *world.corpus.queries("valid")])
    assert np.isfinite(ranker.score(contexts, table)).all()
    assert ranker.score(ranker.encode_contexts([]), ranker.encode_products([])).shape == (0, 0)
