from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.modelling.folds import KEPT, Fold, fold_splits
from pipeline.modelling.run_record import RECORD, RunRecord, read_record
from schemas.errors import InputError, ModelError, UsageError

CORPUS = {f"d{i}": "train" if i < 40 else "valid" if i < 47 else "test" for i in range(60)}


def parts(fold: Fold, splits=CORPUS) -> dict[str, set[str]]:
    divided = fold_splits(splits, fold)
    return {
        split: {name for name, its in divided.items() if its == split} for split in ("train", "valid", "test", KEPT)
    }


@given(
    number=st.integers(min_value=4, max_value=80),
    of=st.integers(min_value=2, max_value=7),
    seed=st.integers(min_value=0, max_value=5),
)
def test_every_dialogue_is_held_out_once_and_on_one_side_only(number, of, seed):
    splits = {f"d{i}": "train" for i in range(max(number, 2 * of))}
    held_out: Counter[str] = Counter()
    sizes = []
    for k in range(of):
        found = parts(Fold(k + 1, of, seed), splits)
        assert sum(map(len, found.values())) == len(splits)
        assert set().union(*found.values()) == set(splits)
        assert found["train"]
        assert found["valid"]
        assert not found[KEPT]
        held_out.update(found["test"])
        sizes.append(len(found["test"]))
    assert held_out == Counter(dict.fromkeys(splits, 1))
    assert max(sizes) - min(sizes) <= 1


def test_the_corpus_own_test_part_is_left_alone_unless_it_is_pooled():
    own = {name for name, split in CORPUS.items() if split == "test"}
    for k in range(5):
        found = parts(Fold(k + 1))
        assert found[KEPT] == own
        assert not (found["train"] | found["valid"] | found["test"]) & own
    pooled = [parts(Fold(k + 1, pool_test=True)) for k in range(5)]
    assert set().union(*(found["test"] for found in pooled)) == set(CORPUS)
    assert not any(found[KEPT] for found in pooled)


def test_a_tenth_of_what_is_not_held_out_chooses_the_epoch():
    assert {split: len(names) for split, names in parts(Fold(1, 5)).items()} == {
        "test": 10,
        "valid": 4,
        "train": 33,
        KEPT: 13,
    }


def test_the_order_of_dialogues_does_not_matter_and_the_seed_does():
    backwards = dict(reversed(CORPUS.items()))
    assert fold_splits(backwards, Fold(2)) == fold_splits(CORPUS, Fold(2))
    assert fold_splits(CORPUS, Fold(2, seed=1)) != fold_splits(CORPUS, Fold(2))


def test_a_fold_that_is_not_there_and_too_few_dialogues_are_refused():
    for number, of in ((0, 5), (6, 5), (1, 1)):
        with pytest.raises(UsageError, match="there is no fold"):
            Fold(number, of)
    with pytest.raises(InputError, match="9 dialogues are too few for 5 folds"):
        fold_splits({f"d{i}": "train" for i in range(9)}, Fold(1))


def test_a_record_tells_the_fold(tmp_path: Path):
    fold = Fold(3, 4, seed=2, pool_test=True)
    RunRecord(run="r1", fold=fold).write(tmp_path)
    assert read_record(tmp_path) == RunRecord(run="r1", fold=fold)
    RunRecord(run="r1").write(tmp_path)
    assert read_record(tmp_path).fold is None
    (tmp_path / RECORD).write_text('{"fold": {"number": 1, "shuffled": true}}')
    with pytest.raises(ModelError, match=r"not as semctl writes it, at fold\.shuffled"):
        read_record(tmp_path)


def test_a_record_of_an_earlier_version_has_what_it_did_not_write_by_default(tmp_path: Path):
    (tmp_path / RECORD).write_text('{"run": "r1", "best": {"epoch": 2, "ndcg@5": 0.25}, "gone": 1, "labeled_ratio": 1}')
    record = read_record(tmp_path)
    assert (record.best_epoch, record.figures, record.labeled_ratio) == (2, {"ndcg@5": 0.25}, 1.0)
    assert (record.fold, record.labelled_list, record.inputs) == (None, False, {})
