"""One training step at a given size: as the training loop does it, and as the paper's equations would be typed in.

The plain step is float32, pads every text to L and every turn to M images, and encodes each candidate of each
context; loss, gradient, clipping and Adam are the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from schemas.errors import InputError
from schemas.ontology import Ontology
from semantic_model.config.config import load_config
from semantic_model.data.batch import ProductBatch, Reader, to_device
from semantic_model.data.corpus import Corpus
from semantic_model.data.image_features import Features
from semantic_model.data.tokenizer import PAD, Vocabulary
from semantic_model.layers.attention import Precision, precision_of, set_precision
from semantic_model.ranking.candidates import Choices
from semantic_model.ranking.model_spec import NO_STATES, Objective, StepBatch
from semantic_model.semantic.encoders import ImageEncoder, TextEncoder
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.objective import joint_objective
from semantic_model.semantic.reading import StateBatch
from semantic_model.semantic.settings import Settings
from semantic_model.training.distributed import Processes
from semantic_model.training.optimizer import ScheduledAdam
from semantic_model.training.sampling import Part, Step, sample

Rows = npt.NDArray[np.int64]

_FEATURES, _SLOTS = 512, 15  # numbers an image, as of resnet18; slots of a state
_VOCABULARY = 30_522  # rows of BERT's word table: Adam moves every one, whatever words the corpus has


class Busy(NamedTuple):
    """What a GPU was seen doing."""

    device: str
    steps: int  # handed to it one after the other
    seconds: float  # from the first to the end of the last
    share: float  # of them, with a kernel running or memory being copied


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans.

    >>> covered([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    total, upto = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(end - max(start, upto), 0.0)
        upto = max(upto, end)
    return total


class TrainingCase:
    """Steps on the recommendation turns of a corpus, with random word vectors, image features and states.

    Args:
        corpus: for its texts, which images are shown where, and the candidates of each turn.
        words: word pieces.
        batch: B, contexts in a step.
        width: D; other sizes are the preset ``paper``'s.
        device: where to compute; None: a GPU when there is one.

    Raises:
        InputError: the corpus has no recommendation turns to train on.
    """

    parts: tuple[Part, ...] = ("D_F", "D_P")

    def __init__(
        self, corpus: Corpus, words: Vocabulary, batch: int, width: int, device: torch.device | None = None
    ) -> None:
        settings = ["image.finetune=false", f"train.batch_size={batch}", f"model.width={width}", f"model.inner={width}"]
        config = load_config("paper", settings)
        assert isinstance(config, Settings)
        self.config = config
        self.batch = batch
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision: Precision = precision_of(self.config, self.device)
        self.queries = corpus.queries("train")
        if not self.queries:
            raise InputError("there are no recommendation turns to train on", fix="name a corpus with a train split")
        draw = np.random.default_rng(0)
        image_ids = sorted({image for query in self.queries for said in query.history for image in said.image_ids})
        image_ids += [item.image_id for item in corpus.products if item.image_id]
        rows = {name: row for row, name in enumerate(dict.fromkeys(image_ids))}
        values = draw.standard_normal((max(len(rows), 1), _FEATURES), dtype=np.float32)
        self.features = Features(values, rows, "random numbers")
        reader = Reader(self.config, words, self.features, Ontology(), NO_STATES)
        self.contexts = reader.contexts(self.queries)
        self.products = ProductBatch(*(leaf.to(self.device) for leaf in reader.products(corpus.products)))
        vocabulary = max(_VOCABULARY if width >= 256 else 0, words.size)
        gold = (len(self.queries), _SLOTS, self.config.state.value_tokens)
        self.states = StateBatch(
            to_device(draw.integers(1, words.size, gold), self.device),
            torch.ones(gold[:2], dtype=torch.bool, device=self.device),
        )
        torch.manual_seed(0)
        self.model = Semantic(
            self.config,
            vocabulary=vocabulary,
            word_width=width,
            feature_width=_FEATURES,
            slot_keys=draw.integers(1, words.size, (_SLOTS, 2)),
        ).to(self.device)
        self.optimisation = ScheduledAdam(self.config, self.model, Processes())
        self._step = 0

    def step(self, part: Part, kind: Literal["ours", "float32", "plain"] = "ours", *, wait: bool = True) -> None:
        """One step on D_F or D_P; takes the next contexts of all.

        Args:
            kind: as the loop does it, the same in float32, or the plain one.
            wait: until a GPU has done it.
        """
        self.model.train()
        rows = self._rows(self._step)
        self._step += 1
        set_precision(self.model, self.precision if kind == "ours" else "float32")
        with torch.autocast(self.device.type, enabled=False):
            objective = self._objective(part, rows, plain=kind == "plain")
        self.optimisation.step(objective.total, Step(part, rows))
        if wait and self.device.type == "cuda":
            torch.cuda.synchronize()

    def busy_share(self, steps: int = 10) -> Busy | None:
        """How much of the time a GPU computes while steps are handed to it one after the other; None without a GPU."""
        if self.device.type != "cuda":
            return None
        for _ in range(3):
            self.step("D_P")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
            start = time.perf_counter()
            for _ in range(steps):
                self.step("D_P", wait=False)
            torch.cuda.synchronize()
            seconds = time.perf_counter() - start
        kernels = [
            (event.time_range.start, event.time_range.end)
            for event in profiled.events()
            if event.device_type.name == "CUDA"
        ]
        return Busy(torch.cuda.get_device_name(), steps, seconds, covered(kernels) / 1e6 / seconds)

    def largest_difference(self) -> float:
        """How far the loss of the plain form is from ours in float32, as a share of it, without dropout."""
        self.model.eval()
        set_precision(self.model, "float32")
        rows = self._rows(0)
        with torch.inference_mode():
            losses = [
                [float(self._objective(part, rows, plain=plain).total) for plain in (False, True)]
                for part in self.parts
            ]
        return max(abs(ours - plain) / abs(plain) for ours, plain in losses)

    def _rows(self, step: int) -> Rows:
        order = np.random.default_rng(1).permutation(len(self.queries))
        rows: Rows = order[np.arange(step * self.batch, (step + 1) * self.batch) % len(order)]
        return rows

    def _objective(self, part: Part, rows: Rows, *, plain: bool) -> Objective:
        batch = self.contexts.batch(rows, self.device)
        queries = [self.queries[row] for row in rows.tolist()]
        drawn = sample(queries, self.config.train, len(self.products.tokens), seed=0, epoch=0, step=int(rows[0]))
        assert drawn.products is not None  # the preset draws 1 : 4 candidates
        used, choices = drawn.products, drawn.choices
        if plain:
            at = torch.cat([choices.positives, choices.negatives], dim=1)  # [B, C]
            used = np.where(at < 0, 0, used[at.numpy()]).ravel()
            numbers = torch.arange(at.numel()).reshape(at.shape)
            places = torch.where(at < 0, -1, numbers)
            choices = Choices(places[:, : choices.positives.shape[1]], places[:, choices.positives.shape[1] :])
        choices = choices.to(self.device)
        chosen = to_device(used, self.device)
        with plain_encoders(self.model) if plain else nullcontext():
            products = self.model.encode_products(ProductBatch(*(leaf[chosen] for leaf in self.products)))
            mine = to_device(rows, self.device)
            states = StateBatch(*(leaf[mine] for leaf in self.states)) if part == "D_F" else None
            return joint_objective(self.model, StepBatch(batch, states, products, choices))


@contextmanager
def plain_encoders(model: Semantic) -> Iterator[None]:
    """Every text padded to L, every turn to M images, each as often as it occurs."""
    patched: list[Any] = []
    for part in model.modules():
        if isinstance(part, TextEncoder):
            vars(part)["forward"] = partial(_plain_texts, part, model.config.text.max_tokens)
            patched.append(part)
        elif isinstance(part, ImageEncoder):
            vars(part)["forward"] = partial(_plain_images, part)
            patched.append(part)
    try:
        yield
    finally:
        for part in patched:
            del vars(part)["forward"]


def _plain_texts(encoder: TextEncoder, length: int, tokens: Tensor) -> Tensor:
    tokens = F.pad(tokens, (0, max(length - tokens.shape[1], 0)), value=PAD)  # [R, L]
    mask = tokens != PAD
    x = encoder.positions(encoder.words(tokens), torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens))
    x = encoder.attention(torch.where(mask[..., None], encoder.dropout(x), 0.0), mask)
    found: Tensor = encoder.activation(encoder.pool(x, mask))
    return found


def _plain_images(encoder: ImageEncoder, images: Tensor, mask: Tensor) -> Tensor:
    v = encoder.linear((images - encoder.mean) * encoder.scale)
    v = torch.where(mask[..., None], v, 0.0).flatten(0, -3)  # [R, M, D]
    pooled: Tensor = encoder.activation(encoder.attention(v, mask.flatten(0, -2)).sum(dim=1))
    return pooled.reshape(*mask.shape[:-1], -1)
