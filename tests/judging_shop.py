"""A generated shop with two runs whose rankers need no training: TF-IDF and BM25, called ``quince`` and ``medlar``."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.generator.corpus import GenerateRequest, generate_corpus
from pipeline.workspace import Workspace
from semantic_model.models.bm25 import Bm25
from semantic_model.models.popularity import Popularity
from semantic_model.models.tfidf import TfIdf

RANKERS = {"quince": TfIdf, "medlar": Bm25, "crowd": Popularity, "again": TfIdf}


def made_shop(folder: Path) -> Workspace:
    """The workspace, with run folders that only :func:`with_rankers` can open."""
    generate_corpus(folder / "corpus", GenerateRequest("test"))
    shop = Workspace(folder / "shop")
    import_corpus(shop, ImportRequest(folder / "corpus", "mmd"))
    for run in RANKERS:
        (shop.runs / run).mkdir(parents=True)
        (shop.runs / run / "record.json").write_text("{}")
    return shop


def with_rankers(patch: pytest.MonkeyPatch) -> None:
    """Let these runs be opened."""
    patch.setattr("pipeline.judging.export.open_ranker", lambda folder, corpus: RANKERS[folder.name].fit(corpus))
