"""Text files of word vectors, and the whole words of a corpus that they are read for."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import MissingPartError, ModelError, UsageError
from schemas.ontology import Ontology
from semantic_model.config.config import load_config
from semantic_model.config.sections import TextConfig
from semantic_model.data.tokenizer import PAD, find_words, read_words
from semantic_model.ranking.model_spec import find_model
from semantic_model.training.trainer import fresh_model

TEXTS = ["Show me a red dress.", "a blue dress, please", "not red, BLUE!"]
LINES = ["the 9 9 9", "red 1 0.5 -2", "dress 0 1e-3 4", "zebra 8 8 8", "a -1 -1 -1"]
UNK = 1


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.3d.txt"
    path.write_text("\n".join(LINES) + "\n")
    return path


def words_of(path: Path | str, texts=TEXTS, **settings):
    return find_words(TextConfig(embeddings=str(path), **settings), texts)


def vector(words, word: str) -> list[float]:
    return words.vectors[words.encode([word], 9)[0, 0]].tolist()


def refused(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ModelError) as problem:
        words_of(path)
    assert "\n" not in str(problem.value)
    return str(problem.value)


def test_whole_words_are_lower_cased_the_most_frequent_first():
    words = find_words(TextConfig(embeddings="words"), TEXTS)
    assert words.vectors is None
    # a, blue, dress, red and the comma twice each, then the rest once; ties by spelling
    assert words.encode([", a blue dress red ! . me not please show"], 99)[0].tolist() == list(range(2, 13))
    assert words.size == 13
    assert words.encode(["RED dresses", ""], 9).tolist() == [[5 + 1, UNK], [PAD, PAD]]


def test_a_word_seen_less_often_is_unknown():
    words = find_words(TextConfig(embeddings="words", min_count=2), TEXTS)
    assert words.encode(["show red"], 9).tolist() == [[UNK, 6]]
    assert "5 words of the corpus, seen 2 times or more" in words.source
    with pytest.raises(ModelError, match="no word 9 times"):
        find_words(TextConfig(embeddings="words", min_count=9), TEXTS)


def test_rare_whole_words_weigh_more():
    words = find_words(TextConfig(embeddings="words"), TEXTS)
    often, once = (words.rarity[words.encode([word], 9)[0, 0]] for word in ("red", "show"))
    assert once / often == pytest.approx(np.log(4 / 2) / np.log(4 / 3), rel=1e-6)


def test_saved_whole_words_encode_alike(tmp_path: Path):
    words = find_words(TextConfig(embeddings="words"), TEXTS)
    words.save(tmp_path / "tokenizer.json")
    assert np.array_equal(read_words(tmp_path / "tokenizer.json").encode(TEXTS, 9), words.encode(TEXTS, 9))


def test_only_words_of_the_corpus_are_kept(file: Path):
    words = words_of(file)
    assert words.size == 2 + 3
    assert vector(words, "Red") == [1, 0.5, -2]
    assert vector(words, "dress") == pytest.approx([0, 1e-3, 4])
    assert words.vectors[PAD].tolist() == [0, 0, 0]
    assert words.vectors[UNK].tolist() == pytest.approx([0, -0.499 / 3, 1 / 3], abs=1e-6)
    assert words.encode(["the blue zebra"], 9).tolist() == [[UNK, UNK, UNK]]
    assert words.source == "3 of the corpus's 11 words, vectors of width 3 from tiny.3d.txt"


def test_a_rare_word_of_the_file_is_unknown(file: Path):
    texts = [*TEXTS, "zebra"]
    assert words_of(file, texts).encode(["zebra"], 9)[0, 0] != UNK
    assert words_of(file, texts, min_count=2).encode(["zebra"], 9)[0, 0] == UNK


def test_packed_files_are_read(file: Path, tmp_path: Path):
    plain = words_of(file).vectors
    (tmp_path / "tiny.txt.gz").write_bytes(gzip.compress(file.read_bytes()))
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.write(file, "tiny.3d.txt")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.write(file, "tiny.3d.txt")
        archive.writestr("tiny.1d.txt", "red 1\n")
    for path in (tmp_path / "tiny.txt.gz", tmp_path / "one.zip", tmp_path / "two.zip" / "tiny.3d.txt"):
        assert np.array_equal(words_of(path).vectors, plain)
    assert words_of(tmp_path / "two.zip" / "tiny.1d.txt").vectors.shape == (3, 1)
    with pytest.raises(ModelError, match=r"a zip of several files .*name one: .*two.zip/tiny.3d.txt, .*tiny.1d.txt"):
        words_of(tmp_path / "two.zip")
    with pytest.raises(ModelError, match="name one"):
        words_of(tmp_path / "two.zip" / "tiny.9d.txt")


def test_a_first_line_that_counts_is_left_out(file: Path):
    plain = words_of(file).vectors
    file.write_text("\n".join(["5 3", *LINES]))
    assert np.array_equal(words_of(file).vectors, plain)


def test_tabs_spaces_within_words_and_doubles_are_read(file: Path):
    plain = words_of(file).vectors
    odd = [
        "red  1 0.5 -2 ",
        "at name@somewhere 1 2 3",
        ". . . 4 5 6",
        "red 7 7 7",
        "dress\t0\t1e-3\t4",
        "a -1 -1 -1 \r",
    ]
    file.write_text("\n".join(odd))
    assert np.array_equal(words_of(file).vectors, plain)


def test_broken_files_name_the_file_and_the_line(file: Path):
    assert f"2 numbers after a word, the lines before have 3 ({file}, line 2)" in refused(file, LINES[0], "red 1 2")
    assert f"4 numbers after a word, the lines before have 3 ({file}, line 3)" in refused(file, *LINES[:2], "b 1 2 3 4")
    assert f"0 numbers after a word, the lines before have 3 ({file}, line 2)" in refused(
        file, LINES[0], "", "red 1 2 3"
    )
    for first in ("", "red", "a red dress", "{"):
        assert f"not a word and its numbers ({file}, line 1)" in refused(file, first, LINES[0])
    assert f"'one' ({file}, line 2)" in refused(file, LINES[0], "red one 2 3")
    assert f"a number that is not finite ({file}, line 1)" in refused(file, "red nan 1 2")
    assert f"a number that is not finite ({file}, line 1)" in refused(file, "red 1e999 1 2")
    assert "none of the corpus's 11 words" in refused(file, "zebra 1 2 3")
    file.write_bytes(b"x" * (1 << 20))
    with pytest.raises(ModelError, match="a line without an end"):
        words_of(file)


@pytest.mark.parametrize("cut", [5, 40])
def test_cut_off_files_are_refused(tmp_path: Path, file: Path, cut: int):
    packed = gzip.compress(file.read_bytes())
    (tmp_path / "cut.txt.gz").write_bytes(packed[:cut])
    (tmp_path / "cut.zip").write_bytes(packed)
    for name in ("cut.txt.gz", "cut.zip"):
        with pytest.raises(ModelError, match=f"cannot read the word vectors: .*{name}"):
            words_of(tmp_path / name)


@pytest.mark.parametrize("name", ["glove.6B.300d.txt", "glove.6B.zip/glove.6B.300d.txt", "wiki.vec", "glove.txt.gz"])
def test_a_file_that_is_not_here_is_said_in_one_line(tmp_path: Path, name: str):
    with pytest.raises(MissingPartError, match=r"there is no file of word vectors '.*text.embeddings=FILE.*=words"):
        words_of(tmp_path / name)


def test_a_network_begins_as_the_vectors_of_the_file(file: Path, config_of, world):
    config = config_of(model={"kind": "dual-encoder"}, text={"embeddings": str(file), "freeze": True})
    words = find_words(config.text, TEXTS)
    spec = find_model("dual-encoder")
    reader = spec.open_reader(config, words, world.features, Ontology(), None)
    model = fresh_model(spec, config, words, reader, ())
    assert torch.equal(model.words.table.weight, torch.from_numpy(words.vectors))
    assert not model.words.table.weight.requires_grad


def test_words_of_the_corpus_are_no_whole_bert():
    with pytest.raises(UsageError, match="'words' has word vectors only"):
        load_config("dual-encoder", ["text.embeddings=words", "text.full_bert=true"])
