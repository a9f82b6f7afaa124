"""Earlier name of :mod:`annotate.tasks.label_config`, for code written for version 0.1."""

from annotate.tasks.label_config import *  # noqa: F403
from annotate.tasks.label_config import __all__ as __all__
