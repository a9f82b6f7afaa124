"""Earlier name of :mod:`pipeline.corpus`, for code written for version 0.1."""

from __future__ import annotations

import sys

from pipeline.corpus import parsing

sys.modules[f"{__name__}.parsing"] = parsing
