"""An encoded catalogue kept on disk is the one that would be encoded, or it is encoded again."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from pipeline.modelling.runs import find_run, load_corpus, open_ranker
from pipeline.workspace import Workspace
from semantic_model.models.tfidf import TfIdf
from semantic_model.ranking.kept_table import _walk, kept_table
from tests.served import trained_workspace

MADE_OF = {"weights": "1"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_workspace(tmp_path_factory.mktemp("kept"))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.npy"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_kept_is_what_was_encoded(workspace: Workspace, tmp_path: Path, precision: str):
    corpus = load_corpus(workspace)
    ranker = open_ranker(find_run(workspace), corpus, product_table=precision)
    encoded = ranker.encode_products(corpus.products)
    first = kept_table(ranker, corpus.products, tmp_path / "kept", MADE_OF)
    written = [file.stat().st_mtime_ns for file in files(tmp_path / "kept")]
    left = tmp_path / "kept" / ".of-a-killed-process.semctl.tmp"
    left.touch()
    again = kept_table(ranker, corpus.products, tmp_path / "kept", MADE_OF)
    assert [file.stat().st_mtime_ns for file in files(tmp_path / "kept")] == written
    assert not left.exists()
    assert len(written) > 3
    for table in (first, again):
        assert type(table) is type(encoded)
        for one, other in zip(_walk(table), _walk(encoded), strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
    contexts = ranker.encode_contexts(corpus.queries("valid"))
    assert (ranker.score(contexts, again) == ranker.score(contexts, encoded)).all()


def test_another_catalogue_or_other_weights_are_encoded_anew_and_the_old_ones_removed(
    workspace: Workspace, tmp_path: Path
):
    corpus = load_corpus(workspace)
    ranker = open_ranker(find_run(workspace), corpus)
    names = set()
    for products, made_of in (
        (corpus.products, MADE_OF),
        (corpus.products, {"weights": "2"}),
        (corpus.products[:9], {}),
    ):
        table = kept_table(ranker, products, tmp_path / "kept", made_of)
        assert len(table) == len(products)
        found = [path.name for path in (tmp_path / "kept").iterdir()]
        assert len(found) == 1
        names.update(found)
    assert len(names) == 3


def test_damage_is_told_and_made_good(workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    corpus = load_corpus(workspace)
    ranker = open_ranker(find_run(workspace), corpus)
    encoded = kept_table(ranker, corpus.products, tmp_path / "kept", MADE_OF)
    for damage in (b"", b"\x93NUMPY", files(tmp_path / "kept")[0].read_bytes()[:-8]):
        files(tmp_path / "kept")[0].write_bytes(damage)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "semctl"):
            table = kept_table(ranker, corpus.products, tmp_path / "kept", MADE_OF)
        assert "encoded again" in caplog.text
        assert all(torch.equal(one, other) for one, other in zip(_walk(table), _walk(encoded), strict=True))
        caplog.clear()
        kept_table(ranker, corpus.products, tmp_path / "kept", MADE_OF)
        assert caplog.text == ""


def test_a_ranker_without_a_network_keeps_nothing(workspace: Workspace, tmp_path: Path):
    corpus = load_corpus(workspace)
    kept_table(TfIdf().fit(corpus), corpus.products, tmp_path / "kept", MADE_OF)
    assert not (tmp_path / "kept").exists()
