from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import MissingPartError, ModelError
from semantic_model.config.sections import KnowledgeConfig
from semantic_model.data.knowledge import StyleTip, find_file, read_celebrities, read_style_tips


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


def test_style_tips_are_pairs_in_alphabetical_order_each_once(tmp_path: Path):
    path = tmp_path / "styletips_synset.txt"
    path.write_text(
        "\ufeffjacket , Footwear , 718\r\n\ntrouser , v-neck , 44\nfootwear , jacket , 2\n", encoding="utf-8"
    )
    assert read_style_tips(path) == [StyleTip("footwear", "jacket", 720), StyleTip("trouser", "v-neck", 44)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"jacket , boots , 3\njacket , boots", r"no line 'kind , kind , count' of style tips \(.*, line 2\)"),
        (b"jacket , boots , many", "line 1"),
        (b"jacket , boots , -3", "line 1"),
        (b"jacket , , 3", "line 1"),
        (b"a , b , c , 3", "line 1"),
        (b"jacket , boots , 99999999999", "line 1"),
        (b"\n\n", "it lists no style tip"),
        (b"\xff\xfe\x00", "cannot read the file of knowledge"),
    ],
)
def test_a_broken_file_of_style_tips_is_named_with_its_line(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "styletips_synset.txt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=said) as raised:
        read_style_tips(path)
    assert str(path) in str(raised.value)
    assert "leave knowledge.folder empty" in str(raised.value)


def test_celebrities_and_what_they_wear(tmp_path: Path):
    path = tmp_path / "celebrity_distribution.json"
    path.write_text('{"cel_1": {"Jeans": 0.25, "boots": 1}, "cel_0": {}}')
    assert read_celebrities(path) == {"cel_0": {}, "cel_1": {"jeans": 0.25, "boots": 1.0}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"cel_0": {"jeans": 0.2}, "cel_1": {"jeans": "much"}}', r"no scores .*cel_1"),
        ('{"cel_0": {"jeans": -0.2}}', r"no scores .*cel_0"),
        ('{"cel_0": {"jeans": true}}', r"no scores .*cel_0"),
        ('{"cel_0": {"jeans": 1e999}}', "not valid JSON|no scores"),
        ('{"cel_0": ["jeans"]}', r"no scores .*cel_0"),
        ("[]", r"no file \{celebrity"),
        ("{}", r"no file \{celebrity"),
        ('{"cel_0": {"jeans": 0.2}', "not valid JSON"),
    ],
)
def test_a_broken_file_of_celebrities_is_named_with_the_celebrity(tmp_path: Path, content: str, said: str):
    path = tmp_path / "celebrity_distribution.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=said) as raised:
        read_celebrities(path)
    assert str(path) in str(raised.value)


@pytest.mark.realdata
def test_mmds_own_files_are_read_whole(shared_data: Path):
    folder = shared_data / "mmd_fragments" / "knowledge"
    tips = read_style_tips(folder / "styletips_synset.txt")
    assert len(tips) == 4827
    assert StyleTip("footwear", "jacket", 718) in tips
    celebrities = read_celebrities(folder / "celebrity_distribution.json")
    assert len(celebrities) == 411
    assert sum(map(len, celebrities.values())) == 3910
    assert celebrities["cel_0"]["vest"] == 0.006512297980767168
