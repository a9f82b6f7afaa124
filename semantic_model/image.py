"""Earlier name of :mod:`semantic_model.data.image_features`, for code written for version 0.1."""

from __future__ import annotations

from semantic_model.data.image_features import open_image as open_picture

__all__ = ["open_picture"]
