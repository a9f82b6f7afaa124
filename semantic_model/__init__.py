"""Rankers of products for shopping dialogues: SeMANTIC, the teacher-student ranker of the paper, and what it is
measured against. :func:`load` brings a model back that ``semctl export-model`` wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from semantic_model.exported import ExportedModel


def load(folder: str | Path, *, products: Sequence[Mapping[str, Any]] | None = None) -> ExportedModel:
    """The trained model of a folder that ``semctl export-model`` wrote; nothing but the folder is read.

    Args:
        folder: the folder.
        products: rank these instead of the catalogue in it; as
            :func:`semantic_model.exported.product_of` takes them.

    Raises:
        ModelError: no such folder, or files missing, damaged or that do not fit together.
        UsageError: products that cannot be ranked, or none.
    """
    from semantic_model.exported import open_exported

    return open_exported(folder, products)
