from __future__ import annotations

import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import semantic_model.models.inverted_index
import semantic_model.models.tfidf
from semantic_model.data.corpus import Corpus, _Turn
from semantic_model.data.records import Product, Query, Utterance
from semantic_model.evaluation.metrics import rank_metrics
from semantic_model.models.bm25 import Bm25
from semantic_model.models.popularity import Popularity
from semantic_model.models.random_order import RandomOrder
from semantic_model.models.tfidf import TfIdf
from semantic_model.ranking.ranker import Ranker

TEXTS = (
    "red summer dress. color red. type dress",
    "blue jeans. color dark blue. type jeans",
    "black dress with dots. color black. type dress",
    "a b c",
    "Grün-weiß gestreiftes Hemd 42",
)


def product(name: str, text: str = "") -> Product:
    return Product(name, name, text or name, {}, None, None)


def query(text: str, *, dialogue: str = "d", turn: int = 1, positives: tuple[int, ...] = (0,), split: str = "train"):
    history = (Utterance("user", text, ()), Utterance("system", "dress dress jeans", ()))
    return Query(dialogue, turn, split, history, positives, ())


def corpus_of(products: list[Product], queries: list[Query]) -> Corpus:
    asked = tuple((q.dialogue_id, q.turn, q.split, q.positives, q.negatives) for q in queries)
    return Corpus(tuple(products), {}, {}, {}, False, {q.dialogue_id: () for q in queries}, asked)


ALL: list[Ranker] = [RandomOrder(), Popularity({"p0": 3, "p2": 1}), TfIdf(), Bm25()]


@pytest.mark.parametrize("ranker", ALL, ids=lambda ranker: ranker.name)
def test_candidates_score_as_they_do_in_the_whole_table_and_padding_below_everything(ranker: Ranker):
    table = ranker.encode_products([product(f"p{i}", text) for i, text in enumerate(TEXTS)])
    contexts = ranker.encode_contexts([query("a red dress", turn=1), query("blue jeans", turn=3)])
    whole = ranker.score(contexts, table)
    assert whole.shape == (2, 5)
    assert whole.dtype == np.float32
    candidates = np.array([[4, 0, -1], [1, -1, 1]])
    some = ranker.score(contexts, table, candidates)
    assert some.dtype == np.float32
    assert np.array_equal(some, [[whole[0, 4], whole[0, 0], -np.inf], [whole[1, 1], -np.inf, whole[1, 1]]])


@pytest.mark.parametrize("ranker", ALL, ids=lambda ranker: ranker.name)
def test_contexts_can_be_counted_and_sliced(ranker: Ranker):
    table = ranker.encode_products([product(f"p{i}", text) for i, text in enumerate(TEXTS)])
    contexts = ranker.encode_contexts([query("a red dress", turn=t) for t in (1, 3, 5)])
    assert len(contexts) == 3
    assert np.array_equal(ranker.score(contexts[1:3], table), ranker.score(contexts, table)[1:3])


def test_random_scores_depend_on_query_and_product_and_on_nothing_else():
    ranker = RandomOrder(seed=1)
    products = [product(f"p{i}") for i in range(50)]
    queries = [query("", dialogue=f"d{i}", turn=t) for i in range(5) for t in (1, 3)]
    scores = ranker.score(ranker.encode_contexts(queries), ranker.encode_products(products))
    backwards = ranker.score(ranker.encode_contexts(queries[::-1]), ranker.encode_products(products[::-1]))
    assert np.array_equal(scores, backwards[::-1, ::-1])
    assert len(np.unique(scores)) == scores.size
    other = RandomOrder(seed=2)
    assert not np.any(scores == other.score(other.encode_contexts(queries), other.encode_products(products)))


def test_random_scores_are_uniform_and_rank_as_chance_does():
    ranker = RandomOrder()
    table = ranker.encode_products([product(f"p{i}") for i in range(100)])
    scores = ranker.score(ranker.encode_contexts([query("", dialogue=f"d{i}") for i in range(2000)]), table)
    assert scores.min() >= 0
    assert scores.max() < 1
    np.testing.assert_allclose(np.histogram(scores, bins=10, range=(0, 1))[0] / scores.size, 0.1, atol=0.003)
    relevant = np.broadcast_to(np.arange(100) < 4, scores.shape)
    # 20 places of 100; the standard error over 2,000 queries of 4 positives is about 0.0044
    assert rank_metrics(scores, relevant)["recall@20"].mean() == pytest.approx(0.2, abs=0.015)


def test_popularity_counts_positives_of_the_training_split_only():
    products = [product(f"p{i}") for i in range(4)]
    queries = [
        query("", turn=1, positives=(0, 2)),
        query("", turn=3, positives=(2,)),
        query("", dialogue="v", positives=(3,), split="valid"),
    ]
    ranker = Popularity.fit(corpus_of(products, queries))
    assert ranker.counts == {"p0": 1, "p2": 2}
    assert ranker.score(ranker.encode_contexts(queries), ranker.encode_products(products))[2].tolist() == [1, 0, 2, 0]


def reference(product_texts: list[str], said: list[str], heard: list[str]) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit([*product_texts, *heard])
    return (vectorizer.transform(said) @ vectorizer.transform(product_texts).T).toarray()


def cosines(product_texts: list[str], said: list[str], heard: list[str], kind: type = TfIdf) -> np.ndarray:
    ranker = kind(heard)
    table = ranker.encode_products([product(f"p{i}", text) for i, text in enumerate(product_texts)])
    return ranker.score(ranker.encode_contexts([query(text) for text in said]), table)


@pytest.mark.parametrize("heard", [[], ["show me a dress", "show me jeans with dots", ""]])
def test_tfidf_agrees_with_scikit_learn(heard: list[str]):
    said = [
        "A red, RED dress!",
        "show me dark blue jeans or a dress with dots",
        "nothing",
        "",
        "weiß gestreiftes hemd 42",
    ]
    np.testing.assert_allclose(cosines(list(TEXTS), said, heard), reference(list(TEXTS), said, heard), atol=1e-6)


def texts(words: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.lists(st.sampled_from(words.split())).map(" ".join), min_size=1)


@settings(max_examples=60, deadline=None)
@given(
    products=texts("red dress blue x jeans_2 Größe don't"),
    said=texts("red dress blue x jeans_2 größe unheard"),
    heard=texts("red show me x größe"),
)
def test_tfidf_agrees_with_scikit_learn_on_any_text(products: list[str], said: list[str], heard: list[str]):
    products = [*products, "red dress"]  # scikit-learn refuses an empty vocabulary
    np.testing.assert_allclose(cosines(products, said, heard), reference(products, said, heard), atol=1e-6)


def test_tfidf_learns_from_the_training_split_which_words_tell_nothing():
    products = [product("p0", "dress show piece"), product("p1", "red dress"), product("p2", "blue jeans")]
    spoken = [query("show me something", turn=t) for t in (1, 3, 5)]
    turns = {"d": tuple(_Turn(t, Utterance("user", "show me something", ())) for t in (0, 2, 4))}
    corpus = replace(corpus_of(products, spoken), _turns=turns)
    asked = [query("show me a red one", split="valid")]
    innocent, learned = TfIdf(), TfIdf.fit(corpus)
    assert learned.said == ("show me something",) * 3
    before = innocent.score(innocent.encode_contexts(asked), innocent.encode_products(products))[0]
    after = learned.score(learned.encode_contexts(asked), learned.encode_products(products))[0]
    assert before[0] / before[1] > 0.7  # "show" weighs about as much as "red"
    assert after[0] / after[1] < 0.5


@pytest.mark.parametrize("kind", [TfIdf, Bm25])
def test_products_without_text_score_nothing(kind: type):
    assert cosines(["", "a"], ["red dress"], [], kind).tolist() == [[0.0, 0.0]]
    assert cosines([], ["red dress"], ["red"], kind).shape == (1, 0)


def test_bm25_comes_to_what_is_worked_out_by_hand():
    found = cosines(["red dress red", "blue jeans", "dress"], ["red", "red or red jeans"], [], Bm25)
    # red: one of three products has it, twice among three words, where two are usual:
    # ln(1 + 2.5 / 1.5) * 2 * 2.5 / (2 + 1.5 (0.25 + 0.75 * 3 / 2))
    red = math.log(8 / 3) * 5 / (2 + 1.5 * 1.375)
    assert found[0] == pytest.approx([red, 0, 0], rel=1e-6)
    assert found[1] == pytest.approx([2 * red, math.log(8 / 3) * 2.5 / (1 + 1.5), 0], rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(products=texts("red dress blue jeans_2 Größe don't"), said=texts("red dress blue x jeans_2 größe unheard"))
def test_bm25_agrees_with_bm25s_on_any_text(products: list[str], said: list[str]):
    import bm25s

    products = [*filter(None, products), "red dress"]  # it takes no empty vocabulary
    other = bm25s.BM25(method="lucene", k1=1.5, b=0.75)  # without the factor k1 + 1
    other.index([Bm25.terms(text) for text in products], show_progress=False)
    expected = [2.5 * other.get_scores(Bm25.terms(text)) for text in said if Bm25.terms(text)]
    ours = cosines(products, [text for text in said if Bm25.terms(text)], [], Bm25)
    np.testing.assert_allclose(ours, np.reshape(expected, ours.shape), rtol=1e-5, atol=1e-6)


def test_what_users_say_counts_for_the_documents_that_have_a_word_and_not_for_their_length():
    plain, heard = (cosines(["red dress red", "jeans"], ["red"], said, Bm25)[0, 0] for said in ([], ["red", "red"]))
    # one of two documents has "red"; then three of four
    assert heard / plain == pytest.approx(math.log(1 + 1.5 / 3.5) / math.log(1 + 1.5 / 1.5), rel=1e-6)


@pytest.mark.parametrize("kind", [TfIdf, Bm25])
def test_the_last_user_turn_only_is_read(kind: type):
    ranker = kind()
    table = ranker.encode_products([product("p0", "red dress"), product("p1", "blue jeans")])
    history = (
        Utterance("user", "blue jeans", ()),
        Utterance("system", "blue jeans", ()),
        Utterance("user", "rather a red dress", ()),
        Utterance("system", "blue jeans", ()),
    )
    contexts = ranker.encode_contexts([Query("d", 4, "test", history, (0,), ()), Query("d", 0, "test", (), (0,), ())])
    scores = ranker.score(contexts, table)
    assert scores[0, 0] > 0.5
    assert scores[0, 1] == 0
    assert scores[1].tolist() == [0, 0]


def test_doctests_hold():
    assert doctest.testmod(semantic_model.models.inverted_index).failed == 0
    assert doctest.testmod(semantic_model.models.tfidf).failed == 0
