"""The importer's ledger against what the generator says it planted."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.generator.corpus import GenerateRequest, generate_corpus


def test_the_importers_ledger_agrees_with_what_was_planted(tmp_path: Path) -> None:
    report = generate_corpus(tmp_path / "corpus", GenerateRequest(size="test", seed=5))
    arguments = ["-w", str(tmp_path / "workspace"), "import", str(tmp_path / "corpus"), "--format", "mmd", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    ledger, planted = json.loads(result.stdout), report.corruptions
    assert ledger["dialogues"] == sum(report.dialogues.values())
    assert ledger["user_turns"] == report.user_turns
    assert ledger["recommendation_turns"] == report.recommendation_turns
    assert ledger["images"] == report.images
    rows = ledger["ledger"]
    assert rows["dialogues"]["in"] - rows["dialogues"]["kept"] == planted["broken_dialogues"]
    assert rows["utterances"]["in"] - rows["utterances"]["kept"] == planted["null_utterance"]
    assert rows["positives"]["in"] == report.positives
    assert rows["negatives"]["in"] == report.negatives
    unread = planted["products_with_missing_json"] + planted["products_with_broken_json"]
    assert ledger["products"] == report.products - unread
    dropped = rows["negatives"]["dropped"]
    assert dropped["listed_twice"] == planted["repeated_negatives"]
