"""The models that can be trained, a line each: name -> the module whose ``MODEL`` says all about it.

A name is what ``model.kind`` of the settings, ``semctl train --model`` and ``model/config.json`` call it. The value of
``MODEL`` is a :class:`semantic_model.ranking.model_spec.ModelSpec`.
"""

from __future__ import annotations

__all__ = ["MODELS"]

MODELS = {
    "semantic": "semantic_model.semantic.spec",
    "dual-encoder": "semantic_model.models.dual_encoder",
    "grounded": "semantic_model.grounded.spec",
}
