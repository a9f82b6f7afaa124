"""What a training run is going to do: checked before anything is read, named after everything that decides it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.modelling.folds import Fold
from pipeline.modelling.training_data import input_hashes
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import sha256_bytes
from schemas.ontology import nearest
from semantic_model.config.config import Config, load_config

__all__ = ["MODELS", "Plan", "TrainRequest", "package_version", "plan_run"]

MODELS = ("semantic", "dual-encoder")
"""What can be trained."""


@dataclass(frozen=True)
class TrainRequest:
    """What ``semctl train`` was asked to do.

    Attributes:
        labeled_ratio: share of the training dialogues whose labels are used, 0 to 1; 0 for a model that reads none.
        model: one of :data:`MODELS`.
        preset: settings to begin with; None: the model's own, else the workspace's.
        settings: ``KEY=VALUE`` on top of the preset.
        seed: of everything drawn at random.
        epochs: instead of ``train.epochs``.
        images: False leaves every image out.
        fold: divides the dialogues as this fold does; None: as the corpus does.
        labelled: the dialogues whose labels are used, instead of a share drawn at random; None: the share.
    """

    labeled_ratio: float = 0.0
    model: str = "semantic"
    preset: str | None = None
    settings: tuple[str, ...] = ()
    seed: int = 0
    epochs: int | None = None
    images: bool = True
    fold: Fold | None = None
    labelled: tuple[str, ...] | None = None


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
    fold: dict[str, Any] | None = None
    labelled: list[str] | None = None


def plan_run(workspace: Workspace, request: TrainRequest) -> tuple[Plan, Config]:
    """What a request comes to in this workspace.

    Raises:
        UsageError: unknown model, preset or setting, one that the model does not look at, or a ratio outside 0 ... 1.
        WorkspaceError: an earlier stage has not been run.
    """
    from semantic_model.training.architecture import find_architecture, refuse_idle

    if request.model not in MODELS:
        close = nearest(request.model, MODELS)
        raise UsageError(
            f"unknown model '{request.model}'",
            fix=f"did you mean '{close}'?" if close else f"one of {', '.join(MODELS)}",
        )
    if not 0.0 <= request.labeled_ratio <= 1.0:
        raise UsageError(f"the labelled ratio is {request.labeled_ratio:g}", fix="give a share from 0 to 1")
    kind = find_architecture(request.model)
    if (request.labeled_ratio or request.labelled is not None) and not kind.reads_states:
        option = "--labelled" if request.labelled is not None else "--labeled-ratio"
        raise UsageError(f"a model of kind {kind.name} reads no labels", fix=f"leave {option} out")
    if request.labeled_ratio and request.labelled is not None:
        raise UsageError("whose labels are used is said twice", fix="give --labelled or --labeled-ratio")
    preset = request.preset or kind.preset or workspace.settings().train.preset
    settings = [*request.settings, *([] if request.epochs is None else [f"train.epochs={request.epochs}"])]
    config = load_config(preset, settings)
    if kind.name == "semantic":
        kind = find_architecture(config.model.kind)
    refuse_idle(kind, config)
    inputs = input_hashes(workspace, labels=kind.reads_states)
    version = package_version("semctl")
    decisive = [config.model_dump_json(), inputs, request.labeled_ratio, request.seed, request.images, version]
    labelled = None if request.labelled is None else sorted(set(request.labelled))
    parts = [Path(preset).stem, f"r{request.labeled_ratio:g}" if labelled is None else f"n{len(labelled)}"]
    if labelled is not None:
        decisive.append(labelled)
    if request.model != "semantic":
        parts = [request.model, Path(preset).stem]
        decisive.append(request.model)
    parts.append(f"s{request.seed}")
    if request.fold is not None:
        parts.append(request.fold.tag)
        decisive.append(request.fold.as_dict())
    run = f"{'-'.join(dict.fromkeys(parts))}-{sha256_bytes(repr(decisive).encode())[:6]}"
    plan = Plan(
        run=run,
        model=kind.name,
        preset=preset,
        labeled_ratio=request.labeled_ratio,
        seed=request.seed,
        images=request.images,
        config=config.model_dump(mode="json"),
        inputs=inputs,
        semctl=version,
        fold=None if request.fold is None else request.fold.as_dict(),
        labelled=labelled,
    )
    return plan, config


def package_version(package: str) -> str:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout, as on a machine where nothing is installed
        return "not installed"
