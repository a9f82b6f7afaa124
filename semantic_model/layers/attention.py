"""Attention stacks: SelfAttn and CrossAttn of sections 3.1 and 3.5.

Shape letters of this package: B dialogues, T turns, L tokens, M images, N products, C candidates, n slots, D width;
here also Q queries and K keys of a sequence.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from schemas.errors import MissingPartError
from semantic_model.config.config import Config
from semantic_model.config.sections import ModelConfig
from semantic_model.layers.packing import Spans, sequences

_STEPS = 1 << 16


class Dropout(nn.Module):
    """Zeros a share of the numbers in training, and scales the others so that the mean stays.

    Args:
        p: the share; on a CPU it is rounded to 1 / 65,536.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The same shape and type."""
        dropped = round(self.p * _STEPS)
        if not self.training or not dropped:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)  # 4 x 16 each
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - _STEPS // 2
        return x * kept * (_STEPS / (_STEPS - dropped))


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with several heads; a query without any key to look at gets zeros."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor, source_mask: Tensor) -> Tensor:
        """Args: ``x`` [B, Q, D], ``source`` [B, K, D], ``source_mask`` bool [B, K]. Returns [B, Q, D]."""
        q, k, v = (
            self._split(layer(part))
            for layer, part in zip((self.query, self.key, self.value), (x, source, source), strict=True)
        )  # [B, heads, ., D / heads]
        any_key = source_mask.any(dim=1)  # [B]
        mask = source_mask | ~any_key[:, None]
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :], dropout_p=dropout)
        merged: Tensor = self.out(found.transpose(1, 2).flatten(2))  # [B, Q, D]
        return merged * any_key[:, None, None]

    def weights(self, x: Tensor, source: Tensor, source_mask: Tensor) -> Tensor:
        """What is looked at, the mean over heads: arguments as of :meth:`forward`. Returns [B, Q, K], rows sum to 1."""
        q, k = self._split(self.query(x)), self._split(self.key(source))  # [B, heads, ., D / heads]
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        mask = source_mask | ~source_mask.any(dim=1)[:, None]
        found: Tensor = scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(dim=-1).mean(dim=1)
        return found

    def packed(self, x: Tensor, spans: Spans) -> Tensor:
        """Every sequence to itself, as they lie in ``x`` [P, D]."""
        dropout = self.dropout if self.training else 0.0
        layers = (self.query, self.key, self.value)
        weight, bias = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("weight", "bias"))
        every = F.linear(x, weight, bias)  # one product instead of three: x is read, and rounded, once
        parts = (sequences(part, spans) for part in every.chunk(3, dim=1))
        found = []
        for qkv in zip(*parts, strict=True):
            q, k, v = map(self._split, qkv)
            found.append(F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2).flatten(0, 1))
        merged: Tensor = self.out(torch.cat(found).flatten(1))  # [P, D]
        return merged

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class _Block(nn.Module):
    """Attention, then a feed-forward part, each with a residual and a layer norm after it (post-LN)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config.width, config.heads, config.dropout)
        self.inner = nn.Linear(config.width, config.inner)
        self.outer = nn.Linear(config.inner, config.width)
        self.norm_attention = nn.LayerNorm(config.width)
        self.norm_forward = nn.LayerNorm(config.width)
        self.dropout = Dropout(config.dropout)
        if config.start_as_identity:
            for last in (self.attention.out, self.outer):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, source: Tensor, source_mask: Tensor) -> Tensor:
        return self.finish(x, self.attention(x, source, source_mask))

    def packed(self, x: Tensor, spans: Spans) -> Tensor:
        """Self-attention within each sequence of ``x`` [P, D]."""
        return self.finish(x, self.attention.packed(x, spans))

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows the attention."""
        x = self.norm_attention(x + self.dropout(attended))
        found: Tensor = self.norm_forward(x + self.dropout(self.outer(torch.relu(self.inner(x)))))
        return found


class AttentionStack(nn.Module):
    """``layers`` blocks. SelfAttn(X, X, X) reads its own stream, CrossAttn(X, Y, Y) the same Y in every layer.

    Attributes:
        in_bfloat16: matrix products in bfloat16 (autocast); residuals, norms and softmax stay float32, as do weights.
    """

    def __init__(self, config: ModelConfig, layers: int | None = None) -> None:
        super().__init__()
        self.in_bfloat16 = False
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers if layers is None else layers))

    @property
    def layers(self) -> Sequence[_Block]:
        """The blocks, first to last."""
        return cast("Sequence[_Block]", self.blocks)

    def forward(
        self, x: Tensor, mask: Tensor, source: Tensor | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            x: queries [B, Q, D].
            mask: bool [B, Q], which of them are real; the others come out as zeros.
            source: keys and values [B, K, D]; None: ``x`` itself.
            source_mask: bool [B, K]; None: ``mask``.

        Returns:
            [B, Q, D].
        """
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            for block in self.layers:
                x = block(x, x if source is None else source, mask if source_mask is None else source_mask)
        return torch.where(mask[..., None], x, 0.0)

    def last_weights(self, x: Tensor, source: Tensor, source_mask: Tensor) -> Tensor:
        """What the last block of a CrossAttn looks at: [B, Q, D], [B, K, D], bool [B, K] -> [B, Q, K]."""
        for block in self.layers[:-1]:
            x = block(x, source, source_mask)
        return self.layers[-1].attention.weights(x, source, source_mask)

    def packed(self, x: Tensor, spans: Spans) -> Tensor:
        """SelfAttn of sequences without padding.

        Args:
            x: sequences one after the other [P, D].
            spans: how they lie.

        Returns:
            [P, D].
        """
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            for block in self.layers:
                x = block.packed(x, spans)
        return x


Precision = Literal["float32", "bfloat16"]

# one block, forward and backward, on one core with bfloat16 instructions, times faster than float32:
# width 64 0.94, 128 1.15, 256 1.41, 384 1.59, 512 and 768 1.7
_PAYS_FROM = 256


def precision_of(config: Config, device: torch.device) -> Precision:
    """What ``train.precision`` means on this machine."""
    asked = config.train.precision
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if config.model.width >= _PAYS_FROM and _cpu_has_bfloat16() else "float32"


def set_precision(model: nn.Module, precision: Precision) -> None:
    """Let every attention stack compute in ``precision``."""
    for part in model.modules():
        if isinstance(part, AttentionStack):
            part.in_bfloat16 = precision == "bfloat16"


def compile_stacks(model: nn.Module, device: torch.device) -> str:
    """Compile what follows the attention in every block, on a GPU; returns what was done, for people.

    That is where small kernels follow each other; the attention's own shapes change from step to step. On a CPU nothing
    is compiled: matrix products take nearly all the time there, and compiling takes minutes.

    Raises:
        MissingPartError: there is a GPU, but no Triton to compile for it.
    """
    if device.type != "cuda":
        return "train.compile is for GPUs; nothing is compiled on a CPU"
    if importlib.util.find_spec("triton") is None:
        raise MissingPartError("train.compile needs Triton", fix="pip install triton, or --set train.compile=false")
    blocks = [block for part in model.modules() if isinstance(part, AttentionStack) for block in part.layers]
    for block in blocks:
        vars(block)["finish"] = torch.compile(block.finish, dynamic=True)  # the number of tokens changes
    return f"{len(blocks)} attention blocks are compiled during the first steps"


def _cpu_has_bfloat16() -> bool:
    asks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in asks if ask is not None)
