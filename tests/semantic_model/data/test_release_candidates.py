"""The released code's candidates: as listed, the first 5 right and 1,000 wrong ones, doubles and contradictions in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import CorpusError
from schemas.tables import IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, write_table
from semantic_model.data.corpus import Corpus, as_listed
from semantic_model.evaluation.evaluation import candidate_set, evaluate_ranker


class ByRow:
    """Scores product row r with -r: row 0 comes first."""

    name = "by row"

    def encode_products(self, products):
        return -np.arange(len(products), dtype=np.float32)

    def encode_contexts(self, queries):
        return list(queries)

    def score(self, contexts, table, candidates=None):
        assert candidates is not None
        return np.where(candidates < 0, -np.inf, table[candidates]).astype(np.float32)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Products p0 ... p6; p2's image is referred to by its address, p3's by its id, the others by themselves."""
    files = {name: tmp_path / "data" / f"{name}.parquet" for name in ("turns", "recommendations", "products", "images")}
    blank = {"name": "x", "description": "", "attributes": [], "price": None, "currency": None, "source": "test"}
    products = [{**blank, "product_id": f"p{i}", "image_ids": [f"{i}.jpg"]} for i in range(7)]
    size = {"sha256": None, "width": None, "height": None, "status": "missing", "file": None}
    images = [{**size, "image_id": f"{i}.jpg", "url": f"http://x/{i}"} for i in range(7)]
    turn = {"dialogue_id": "d", "act": "", "split": "test", "image_ids": []}
    turns = [{**turn, "turn": 0, "speaker": "user", "text": "hi"}, {**turn, "turn": 1, "speaker": "system", "text": ""}]
    asked = {
        "dialogue_id": "d",
        "turn": 1,
        "split": "test",
        "positives": ["p2", "p4"],
        "negatives": ["p3", "p0"],
        "positives_listed": ["http://x/2", "p4", "http://x/2", "gone", "p4", "p4", "p4"],
        "negatives_listed": ["3.jpg", "3.jpg", "p4", "nobody", "p0"],
    }
    write_table(files["turns"], TURNS, turns)
    write_table(files["recommendations"], RECOMMENDATIONS, [asked])
    write_table(files["products"], PRODUCTS, products)
    write_table(files["images"], IMAGES, images)
    return Corpus.load(**files)


def listed(corpus: Corpus):
    queries = corpus.queries("test")
    return as_listed(queries, corpus.listed, corpus.product_rows, positives=5, negatives=1000)


def test_references_count_as_often_as_they_are_listed(corpus):
    (query,) = listed(corpus)
    assert query.positives == (2, 4, 2, 4, 4)  # the first five that name a product
    assert query.negatives == (3, 3, 4, 0)  # p4 is right, too
    assert corpus.queries("test")[0].negatives == (3, 0)


def test_the_candidates_keep_doubles_and_contradictions(corpus):
    chosen = candidate_set(listed(corpus), 7, "release")
    assert chosen.rows.tolist() == [[0, 2, 2, 3, 3, 4, 4, 4, 4]]
    assert chosen.relevant.sum() == 5


def test_the_released_protocol_end_to_end(corpus):
    # scores -row: negatives 0, -3, -3, -4; positives 2, 2 have one negative above, 4, 4, 4 have three (the tie is won)
    found = evaluate_ranker(ByRow(), corpus, "test", "release", formula="release", ks=(2, 5)).means
    assert found["precision@5"] == pytest.approx(5 / 5)
    assert found["precision@2"] == pytest.approx(2 / 2)
    assert found["recall@2"] == pytest.approx(2 / 5)
    gain, best = 2 / np.log2(3), 3 + 2 / np.log2(3)  # rel = (0, 2, 0, 3) against (3, 2)
    assert found["ndcg@2"] == pytest.approx(gain / best)


def test_turns_with_too_few_negatives_are_left_out_and_counted(corpus):
    with pytest.raises(Exception, match="1 have too few negatives"):
        evaluate_ranker(ByRow(), corpus, "test", "release", min_negatives=5)
    assert evaluate_ranker(ByRow(), corpus, "test", "release", min_negatives=4).skipped == {}


def test_a_corpus_without_its_tables_says_so(world):
    with pytest.raises(CorpusError, match="does not say what was listed"):
        as_listed(world.corpus.queries("valid"), None, world.corpus.product_rows, positives=5, negatives=10)
