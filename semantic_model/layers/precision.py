"""How the attention stacks compute: in float32 or bfloat16, compiled or not. Weights are float32 everywhere."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch
from torch import nn

from schemas.errors import MissingPartError
from semantic_model.config.config import Config
from semantic_model.layers.attention import AttentionStack

__all__ = ["Precision", "compile_stacks", "precision_of", "set_precision"]

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
