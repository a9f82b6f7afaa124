from __future__ import annotations

import numpy as np
import pytest

from schemas.errors import ModelError, UsageError
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import Product, Query
from semantic_model.evaluation.evaluation import CANDIDATE_KINDS, candidate_set, evaluate_ranker
from semantic_model.evaluation.metrics import metric_names
from semantic_model.models.random_order import RandomOrder


def query(
    positives: tuple[int, ...],
    negatives: tuple[int, ...] = (),
    *,
    dialogue: str = "d",
    turn: int = 1,
    split: str = "valid",
) -> Query:
    return Query(dialogue, turn, split, (), positives, negatives)


def corpus_of(products: int, queries: list[Query]) -> Corpus:
    catalogue = tuple(Product(f"p{i:04}", f"p{i}", "", {}, None, None) for i in range(products))
    asked = tuple((q.dialogue_id, q.turn, q.split, q.positives, q.negatives) for q in queries)
    return Corpus(
        catalogue, {}, {}, {q.dialogue_id: q.split for q in queries}, False, {q.dialogue_id: () for q in queries}, asked
    )


class ByRow:
    """Scores product row r with -r: row 0 comes first."""

    name = "by row"

    def __init__(self) -> None:
        self.encoded = 0

    def encode_products(self, products):
        self.encoded += 1
        return -np.arange(len(products), dtype=np.float32)

    def encode_contexts(self, queries):
        return list(queries)

    def score(self, contexts, table, candidates=None):
        if candidates is None:
            return np.tile(table, (len(contexts), 1))
        return np.where(candidates < 0, -np.inf, table[candidates]).astype(np.float32)


def test_listed_candidates_are_the_positives_and_the_listed_negatives():
    chosen = candidate_set([query((3, 5), (1, 2)), query((0,), (4,))], 10, "listed")
    assert chosen.rows is not None
    assert chosen.rows.tolist() == [[1, 2, 3, 5], [0, 4, -1, -1]]
    assert chosen.relevant.tolist() == [[False, False, True, True], [True, False, False, False]]
    assert chosen.valid is not None
    assert chosen.valid.tolist() == [[True] * 4, [True, True, False, False]]


def test_all_candidates_are_the_catalogue_in_order():
    chosen = candidate_set([query((3, 1), (0,))], 5, "all")
    assert chosen.rows is None
    assert chosen.relevant.tolist() == [[False, True, False, True, False]]


def test_five_to_a_thousand_takes_listed_negatives_first_and_draws_the_rest():
    asked = query(tuple(range(2000, 2007)), tuple(range(100, 150)))
    chosen = candidate_set([asked], 5000, "1000", seed=3)
    assert chosen.rows is not None
    row = chosen.rows[0]
    assert len(set(row.tolist())) == 1005
    assert row[chosen.relevant[0]].tolist() == [2000, 2001, 2002, 2003, 2004]
    assert set(range(100, 150)) < set(row.tolist())
    assert not {2005, 2006} & set(row.tolist())  # the sixth and seventh positive are no negatives


def test_five_to_a_thousand_clips_a_long_list_of_negatives():
    chosen = candidate_set([query((0,), tuple(range(1, 1500)))], 2000, "1000")
    assert chosen.rows is not None
    assert chosen.rows[0].tolist() == list(range(1001))


def test_five_to_a_thousand_takes_the_rest_of_a_small_catalogue():
    chosen = candidate_set([query((0, 1, 2, 3, 4, 5), (9,))], 20, "1000")
    assert chosen.rows is not None
    assert chosen.rows[0].tolist() == [0, 1, 2, 3, 4, *range(6, 20)]


def test_where_a_positive_stands_does_not_give_it_away():
    queries = [query((i,), tuple(j for j in range(20) if j != i), dialogue=f"d{i}") for i in range(20)]
    assert np.array_equal(candidate_set(queries, 20, "listed").relevant, np.eye(20, dtype=bool))


def test_drawn_negatives_depend_on_the_query_and_the_seed_alone():
    first, second = query((0,), dialogue="a"), query((0,), dialogue="b")
    both = candidate_set([first, second], 3000, "1000", seed=1).rows
    alone = candidate_set([second], 3000, "1000", seed=1).rows
    reseeded = candidate_set([second], 3000, "1000", seed=2).rows
    assert both is not None
    assert alone is not None
    assert reseeded is not None
    assert both[1].tolist() == alone[0].tolist()
    assert both[0].tolist() != both[1].tolist()
    assert alone[0].tolist() != reseeded[0].tolist()


def test_drawn_negatives_are_uniform_over_the_rest_of_the_catalogue():
    queries = [query((0,), (1,), dialogue=f"d{i}") for i in range(400)]
    rows = candidate_set(queries, 2000, "1000").rows
    assert rows is not None
    counts = np.bincount(rows.ravel(), minlength=2000)[2:]
    # each of 1,998 products is drawn with chance 999/1998 = 1/2: mean 200, standard deviation 10
    assert counts.mean() == pytest.approx(200, abs=0.2)
    assert counts.std() == pytest.approx(10, abs=1)
    assert abs(counts - 200).max() < 50


def test_figures_of_a_ranking_worked_by_hand():
    corpus = corpus_of(30, [query((0, 7), (1, 2), turn=1), query((9,), (8,), turn=3)])
    evaluation = evaluate_ranker(ByRow(), corpus, "valid", "listed", ks=(1, 2))
    # turn 1: order 0 1 2 7, hit at the first place; turn 3: order 8 9, hit at the second
    assert evaluation.means["precision@1"] == pytest.approx((1 + 0) / 2)
    assert evaluation.means["recall@2"] == pytest.approx((0.5 + 1) / 2)
    assert evaluation.queries == (("d", 1), ("d", 3))
    whole = evaluate_ranker(ByRow(), corpus, "valid", "all", ks=(8,))
    assert whole.per_query["recall@8"].tolist() == [1.0, 0.0]


def test_products_are_encoded_once_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(0)
    queries = [
        query(tuple(generator.choice(60, 3, replace=False).tolist()), dialogue=f"d{i:03}", turn=1) for i in range(40)
    ]
    corpus = corpus_of(60, queries)
    ranker = ByRow()
    whole = {kind: evaluate_ranker(ranker, corpus, "valid", kind).per_query for kind in ("1000", "all")}
    assert ranker.encoded == 2
    monkeypatch.setattr("semantic_model.evaluation.evaluation._CELLS", 200)
    monkeypatch.setattr("semantic_model.evaluation.evaluation._CHUNK", 7)
    for kind, figures in whole.items():
        again = evaluate_ranker(ByRow(), corpus, "valid", kind).per_query
        assert tuple(again) == metric_names()
        for name, values in figures.items():
            assert np.array_equal(values, again[name])


def test_a_small_catalogue_gives_5_to_1000_the_figures_of_the_whole_catalogue():
    corpus = corpus_of(50, [query((4, 20), (1, 30), dialogue=f"d{i}") for i in range(10)])
    ranker = RandomOrder()
    thousand = evaluate_ranker(ranker, corpus, "valid", "1000").means
    assert thousand == pytest.approx(evaluate_ranker(ranker, corpus, "valid", "all").means)


def test_turns_without_listed_negatives_are_left_out_and_counted():
    corpus = corpus_of(9, [query((0,), (1,), turn=1), query((2,), turn=3), query((), (2,), turn=5)])
    evaluation = evaluate_ranker(ByRow(), corpus, "valid", "listed")
    assert evaluation.queries == (("d", 1),)
    assert evaluation.skipped == {"no_negatives": 1, "no_positives": 1}


def test_a_split_whose_turns_list_no_negatives_is_refused_with_a_way_out():
    corpus = corpus_of(9, [query((0,))])
    with pytest.raises(UsageError, match=r"1 have no negatives.*--candidates all"):
        evaluate_ranker(ByRow(), corpus, "valid", "listed")


def test_an_empty_split_is_refused_with_the_splits_there_are():
    corpus = corpus_of(9, [query((0,), (1,)), query((1,), (2,), dialogue="t", split="train")])
    with pytest.raises(UsageError, match=r"'test' has no recommendation turns; .*train \(1\), valid \(1\)"):
        evaluate_ranker(ByRow(), corpus, "test", "all")


@pytest.mark.parametrize("kind", [kind for kind in CANDIDATE_KINDS if kind != "release"])
def test_a_collapsed_ranker_is_found_out(kind: str):
    class Broken(ByRow):
        def score(self, contexts, table, candidates=None):
            return super().score(contexts, table, candidates) * np.float32("nan")

    with pytest.raises(ModelError, match="not a number"):
        evaluate_ranker(Broken(), corpus_of(9, [query((0,), (1,))]), "valid", kind)


def test_intervals_hold_the_mean():
    generator = np.random.default_rng(5)
    queries = [
        query((int(generator.integers(50)),), dialogue=f"d{i // 3:03}", turn=2 * (i % 3) + 1) for i in range(150)
    ]
    evaluation = evaluate_ranker(RandomOrder(), corpus_of(50, queries), "valid", "all")
    for name, mean in evaluation.means.items():
        low, high = evaluation.intervals[name]
        assert low < mean < high
