"""``plan.json`` of a training run, written first; ``record.json``, which marks a complete run; the page made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.modelling.folds import Fold
from schemas.errors import ModelError
from schemas.files import read_json, write_json
from schemas.json_form import json_form

PLAN = "plan.json"
RECORD = "record.json"


@dataclass(frozen=True)
class Plan:
    """What a run is going to do, as ``plan.json`` keeps it. Same request, same data: same run."""

    run: str
    model: str
    preset: str
    labeled_ratio: float
    seed: int
    images: bool
    config: dict[str, Any]
    inputs: dict[str, str]
    semctl: str
    fold: Fold | None = None
    labelled: list[str] | None = None
    ds_input: bool = False


@dataclass(frozen=True)
class RunRecord:
    """How a run went. Earlier versions wrote less: what they did not write is as by default."""

    run: str = ""
    path: str = ""  # its folder, where it was trained
    # labelled_dialogues, unlabelled_dialogues: of D_F and of D_P
    labelled_dialogues: int = 0
    unlabelled_dialogues: int = 0
    epochs: int = 0
    # the epoch whose weights were kept, as ``epoch``, and its figures on the valid split
    best: dict[str, int | float] = field(default_factory=dict)
    model: str = "semantic"
    remark: str = ""  # what is to be said beside the model's name, as that something stands in for a part of it
    preset: str | None = None
    labeled_ratio: float = 0.0  # share of the training dialogues used with their labels
    labelled_list: bool = False  # these were named in a list, not drawn
    seed: int = 0
    images: bool = True  # False when every image was left out
    ds_input: bool = False  # gold states stand in words before what users said last, in training and in use
    fold: Fold | None = None  # how its dialogues were divided; None: as in the corpus
    examples: dict[str, int] = field(default_factory=dict)  # recommendation turns of D_F, D_P and valid
    parameters: int = 0
    # words, pictures: where word pieces and image features are from, for people
    words: str = ""
    pictures: str = ""
    slots: list[str] = field(default_factory=list)
    labelled: list[str] = field(default_factory=list)  # the dialogues of D_F
    config: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)  # name of a file -> its hash
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    precision: str = ""
    processes: int = 1
    seconds: float = 0.0

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept."""
        return int(self.best.get("epoch", 0))

    @property
    def figures(self) -> dict[str, float]:
        """Metric -> its value on the valid split at that epoch; empty when there was no such split."""
        return {name: value for name, value in self.best.items() if name != "epoch"}

    def as_json(self) -> dict[str, Any]:
        """The object of ``semctl train --json``."""
        return json_form(self)

    def write(self, folder: Path) -> None:
        """Write ``record.json`` into the run's folder."""
        write_json(folder / RECORD, self.as_json())


def read_record(folder: Path) -> RunRecord:
    """The record of a complete run.

    Raises:
        ModelError: it is missing, or not one.
    """
    return read_json(folder / RECORD, error=ModelError, fix="delete the run and train again", shape=RunRecord)


def model_card(record: RunRecord, about: str, *, reimplemented: bool = False) -> str:
    """``model/README.md`` of a run's record.

    Args:
        about: what kind of model it is.
        reimplemented: as :attr:`semantic_model.ranking.model_spec.ModelSpec.reimplemented`.
    """
    origin = (
        "\nRe-implemented from its published description: no code of its authors is public; figures are not theirs.\n"
        if reimplemented
        else ""
    )
    best = record.figures
    with_states, without = record.labelled_dialogues, record.unlabelled_dialogues
    figures = "\n".join(f"| {name} | {100 * value:.2f} |" for name, value in best.items())
    measured = (
        f"Validation split, ranking every product of the catalogue, in percent (epoch {record.best_epoch}):\n\n"
        f"| metric | value |\n|---|---|\n{figures}\n"
        if best
        else "There was no validation split: the last epoch's weights were kept, and no figure can be given.\n"
    )
    labels = (
        f"labelled ratio {record.labeled_ratio:g}: {with_states} dialogues with belief states, {without} without; "
        f"slots: {', '.join(record.slots)}"
        if "D_F" in record.inputs
        else f"{without} dialogues, without belief states"
    )
    if record.ds_input:
        labels += (
            "\n- reads the gold state as text, before what the user said last (--ds-input); every dialogue needs it"
        )
    return f"""# {record.run}

{about}, trained by semctl {record.versions["semctl"]}.
{origin}
- preset `{record.preset}`, seed {record.seed}, {record.epochs} epochs on {record.device}
- {record.parameters:,} trained parameters
- {labels}
- words: {record.words}
- images: {record.pictures}

{measured}
The validation split chose the epoch, so its figures flatter; `semctl evaluate --split test` gives the ones to quote.
The model knows the words, products and slots of its training data, in the language of that data; what a user asks
for beyond them it cannot rank by. It scores products and explains nothing.

Files: `model.safetensors` (weights), `config.json` (settings and sizes), `tokenizer.json` (word pieces).
"""
