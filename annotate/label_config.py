"""Earlier name of :mod:`annotate.tasks.label_config`, for code written for version 0.1."""

from annotate.tasks.label_config import build, slots_lost, slots_offered

__all__ = ["build", "slots_lost", "slots_offered"]
