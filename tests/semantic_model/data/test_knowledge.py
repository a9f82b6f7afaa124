from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import MissingPartError
from semantic_model.config.sections import KnowledgeConfig
from semantic_model.data.knowledge import find_file


def test_the_first_of_the_names_that_is_there(tmp_path: Path):
    config = KnowledgeConfig(folder=str(tmp_path))
    (tmp_path / "tips_old.txt").write_text("shirt , jeans , 2")
    assert find_file(config, ["tips.txt", "tips_old.txt"], what="tips") == tmp_path / "tips_old.txt"
    (tmp_path / "tips.txt").write_text("shirt , jeans , 3")
    assert find_file(config, ["tips.txt", "tips_old.txt"], what="tips") == tmp_path / "tips.txt"


def test_what_is_missing_is_named_with_the_ways_out(tmp_path: Path):
    ways_out = r"--set knowledge\.folder=FOLDER, or leave the setting empty"
    with pytest.raises(MissingPartError, match=rf"has no tips\.txt or tips_old\.txt, the style tips.*{ways_out}"):
        find_file(KnowledgeConfig(folder=str(tmp_path)), ["tips.txt", "tips_old.txt"], what="the style tips")
    with pytest.raises(MissingPartError, match=rf"no folder of knowledge with the style tips.*lost.*{ways_out}"):
        find_file(KnowledgeConfig(folder=str(tmp_path / "lost")), ["tips.txt"], what="the style tips")
