"""One training step at a given size: as the training loop does it, and as the paper's equations would be typed in.

The plain step is float32, pads every text to L and every turn to M pictures, and encodes each candidate of each
context; loss, gradient, clipping and Adam are the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from semantic_model.batch import ContextArrays, ProductBatch, StateBatch, to_device
from semantic_model.config import Config, load_config
from semantic_model.distributed import Processes
from semantic_model.encoders import ImageEncoder, TextEncoder
from semantic_model.image import NO_PICTURE, Features
from semantic_model.model import Semantic
from semantic_model.objective import Choices, Objective, labelled_objective, unlabelled_objective
from semantic_model.optimisation import Optimisation
from semantic_model.precision import Precision, precision_of, set_precision
from semantic_model.sampling import Part, Step
from semantic_model.text import PAD

__all__ = ["Busy", "TrainingCase", "covered"]

Rows = npt.NDArray[np.int64]

# of 4,042 utterances of real dialogues (SIMMC 2), how many had 1, 2, .. 30 word pieces, longer ones cut to 30
_LENGTHS = [0, 9, 82, 45, 72, 209, 283, 274, 298, 299, 299, 251, 227, 174, 144, 118, 128, 107, 113, 84, 93, 60, 67, 62]
_LENGTHS += [38, 44, 48, 31, 36, 347]
_PICTURES = (0.9, 0.05, 0.03, 0.02)  # shares of turns with 0, 1, 2, 3 pictures, there
_REAL_TURNS = 0.69  # the rest pads contexts that are shorter than T


class Busy(NamedTuple):
    """What a GPU was seen doing.

    Attributes:
        steps: handed to it one after the other.
        seconds: from the first to the end of the last.
        share: of them, with a kernel running or memory being copied.
    """

    device: str
    steps: int
    seconds: float
    share: float


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


@dataclass(frozen=True)
class _Sizes:
    contexts: int = 512
    products: int = 1500
    vocabulary: int = 30_522  # BERT's
    features: int = 512
    slots: int = 15


class TrainingCase:
    """Made-up contexts, products and states in the shape of real ones, with random word vectors and features.

    Args:
        batch: B, contexts in a step.
        width: D; other sizes are the paper's.
        device: where to compute; None: a GPU when there is one.
    """

    parts: tuple[Part, ...] = ("D_F", "D_P")

    def __init__(self, batch: int, width: int, device: torch.device | None = None) -> None:
        sizes = _Sizes() if width >= 256 else _Sizes(64, 60, 500, 32)  # small ones for a quick look
        small = [f"model.width={width}", f"model.inner={width}"]
        self.config: Config = load_config("paper", ["image.finetune=false", f"train.batch_size={batch}", *small])
        self.batch = batch
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision: Precision = precision_of(self.config, self.device)
        draw = np.random.default_rng(0)
        self._draw = draw
        self.sizes = sizes
        self.features = Features(
            draw.standard_normal((sizes.products, sizes.features), dtype=np.float32), {}, "random numbers"
        )
        self.contexts = self._contexts()
        self.products = ProductBatch(
            to_device(self._texts(np.full(sizes.products, self.config.text.product_max_tokens)), self.device),
            to_device(self.features.values, self.device),
            torch.ones(sizes.products, dtype=torch.bool, device=self.device),
        )
        values = (sizes.contexts, sizes.slots, self.config.state.value_tokens)
        self.states = StateBatch(
            to_device(draw.integers(2, sizes.vocabulary, values), self.device),
            torch.ones(values[:2], dtype=torch.bool, device=self.device),
        )
        torch.manual_seed(0)
        self.model = Semantic(
            self.config,
            vocabulary=sizes.vocabulary,
            word_width=width,
            feature_width=sizes.features,
            slot_keys=draw.integers(2, sizes.vocabulary, (sizes.slots, 2)),
        ).to(self.device)
        self.optimisation = Optimisation(self.config, self.model, Processes())
        self._step = 0

    def _texts(self, lengths: Rows) -> Rows:
        L = self.config.text.max_tokens
        tokens = self._draw.integers(2, self.sizes.vocabulary, (*lengths.shape, L))
        return np.where(np.arange(L) < lengths[..., None], tokens, PAD)

    def _contexts(self) -> ContextArrays:
        shape = (self.sizes.contexts, self.config.context.window)
        M = self.config.image.max_per_turn
        shares = np.array(_LENGTHS) / sum(_LENGTHS)
        there = self._draw.random(shape) < _REAL_TURNS
        there[:, -1] = True
        there = np.sort(there, axis=1)
        lengths = np.where(there, self._draw.choice(len(_LENGTHS), shape, p=shares) + 1, 0)
        pictures = np.where(there, self._draw.choice(len(_PICTURES), shape, p=_PICTURES), 0)
        rows = self._draw.integers(self.sizes.products, size=(*shape, M))
        rows = np.where(np.arange(M) < pictures[..., None], rows, NO_PICTURE)
        return ContextArrays(self._texts(lengths), rows, there)

    def step(self, part: Part, kind: Literal["ours", "float32", "plain"] = "ours", *, wait: bool = True) -> None:
        """One step on D_F or D_P; takes the next contexts of all.

        Args:
            kind: as the loop does it, the same in float32, or the plain one.
            wait: until a GPU has done it.
        """
        self.model.train()
        rows = np.arange(self._step * self.batch, (self._step + 1) * self.batch) % self.sizes.contexts
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
        rows = np.arange(self.batch) % self.sizes.contexts
        with torch.inference_mode():
            losses = [
                [float(self._objective(part, rows, plain=plain).total) for plain in (False, True)]
                for part in self.parts
            ]
        return max(abs(ours - plain) / abs(plain) for ours, plain in losses)

    def _objective(self, part: Part, rows: Rows, *, plain: bool) -> Objective:
        batch = self.contexts.batch(rows, self.features, self.device)
        drawn = np.random.default_rng(int(rows[0])).integers(self.sizes.products, size=(len(rows), 5))  # 1 : 4
        used, place = (drawn.ravel(), np.arange(drawn.size)) if plain else np.unique(drawn, return_inverse=True)
        chosen = to_device(used, self.device)
        at = to_device(place.reshape(drawn.shape), self.device)
        choices = Choices(at[:, :1], at[:, 1:])
        with plain_encoders(self.model) if plain else _as_it_is():
            products = self.model.encode_products(ProductBatch(*(leaf[chosen] for leaf in self.products)))
            if part == "D_P":
                return unlabelled_objective(self.model, batch, products, choices)
            mine = to_device(rows, self.device)
            states = StateBatch(*(leaf[mine] for leaf in self.states))
            return labelled_objective(self.model, batch, states, products, choices)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def plain_encoders(model: Semantic) -> Iterator[None]:
    """Every text padded to L, every turn to M pictures, each as often as it occurs."""
    patched: list[Any] = []
    for part in model.modules():
        if isinstance(part, TextEncoder):
            vars(part)["forward"] = partial(_plain_texts, part, model.config.text.max_tokens)
            patched.append(part)
        elif isinstance(part, ImageEncoder):
            vars(part)["forward"] = partial(_plain_pictures, part)
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


def _plain_pictures(encoder: ImageEncoder, images: Tensor, mask: Tensor) -> Tensor:
    v = encoder.linear((images - encoder.mean) * encoder.scale)
    v = torch.where(mask[..., None], v, 0.0).flatten(0, -3)  # [R, M, D]
    pooled: Tensor = encoder.activation(encoder.attention(v, mask.flatten(0, -2)).sum(dim=1))
    return pooled.reshape(*mask.shape[:-1], -1)
