"""A workspace of the smallest generated corpus, whose own states are its labels."""

from __future__ import annotations

from pathlib import Path

from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.generator.corpus import GenerateRequest, generate_corpus
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace


def generated_workspace(folder: Path) -> Workspace:
    """``shop`` below a folder, of the corpus in ``corpus`` beside it: 20 dialogues to train, 4 valid, 6 test."""
    generate_corpus(folder / "corpus", GenerateRequest(size="test"))
    workspace = Workspace(folder / "shop")
    import_corpus(workspace, ImportRequest(folder / "corpus", "mmd"))
    ingest_labels(workspace, IngestRequest())
    return workspace
