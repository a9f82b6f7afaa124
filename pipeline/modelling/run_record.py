"""``record.json``: how a training run went, written last, so that it marks a complete run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from typing_extensions import TypedDict

from schemas.errors import ModelError
from schemas.files import read_json

__all__ = ["RECORD", "RunRecord", "read_record"]

RECORD = "record.json"


class RunRecord(TypedDict, total=False):
    """What others read of it; :func:`pipeline.modelling.train.train` writes more, earlier versions wrote less."""

    run: str
    path: str
    labelled_dialogues: int
    unlabelled_dialogues: int
    epochs: int
    best: dict[str, float]
    model: str
    preset: str | None
    images: bool
    labelled: list[str]
    config: dict[str, Any]
    inputs: dict[str, str]
    seconds: float
    labeled_ratio: float
    labelled_list: bool
    fold: dict[str, Any] | None


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a complete run.

    Raises:
        ModelError: it is missing, or not one.
    """
    fix = "delete the run and train again"
    return cast(dict[str, Any], read_json(folder / RECORD, error=ModelError, fix=fix, shape=RunRecord))
