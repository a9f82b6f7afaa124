"""What a training run is going to do: checked before anything is read, named after everything that decides it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.modelling.folds import Fold
from pipeline.modelling.training_data import input_hashes
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import sha256_bytes
from schemas.validation import known_name
from semantic_model.config.config import Config, flat_settings, load_config
from semantic_model.registry import BASELINES, MODELS

if TYPE_CHECKING:
    from semantic_model.ranking.model_spec import ModelSpec

_EXECUTION = ("train.log_every", "train.checkpoint_every", "train.compile")
"""Settings that do not change what comes out."""


@dataclass(frozen=True)
class TrainRequest:
    """What ``semctl train`` was asked to do."""

    # share of the training dialogues whose labels are used, 0 to 1; None: not said, for a model that reads none, or
    # with ``labelled``
    labeled_ratio: float | None = 0.0
    # what is trained, instead of ``model.kind``: a name of :data:`semantic_model.registry.MODELS`
    model: str | None = None
    preset: str | None = None  # settings to begin with; None: the model's own, else the workspace's
    settings: tuple[str, ...] = ()  # ``KEY=VALUE`` on top of the preset
    seed: int = 0  # of everything drawn at random
    epochs: int | None = None  # instead of ``train.epochs``
    images: bool = True  # False leaves every image out
    fold: Fold | None = None  # divides the dialogues as this fold does; None: as the corpus does
    # the dialogues whose labels are used, instead of a share drawn at random; None: the share
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
    fold: Fold | None = None
    labelled: list[str] | None = None


def plan_run(workspace: Workspace, request: TrainRequest) -> tuple[Plan, Config]:
    """What a request comes to in this workspace.

    Raises:
        UsageError: unknown model, preset or setting, one that the model does not look at, or a ratio outside 0 ... 1.
        WorkspaceError: an earlier stage has not been run.
    """
    from semantic_model.ranking.model_spec import find_model

    preset = request.preset or _own_preset(request.model) or workspace.settings().train.preset
    settings = [*request.settings, *([] if request.epochs is None else [f"train.epochs={request.epochs}"])]
    if request.model is not None:
        if any(setting.partition("=")[0].strip() == "model.kind" for setting in settings):
            raise UsageError("which model is said twice", fix="give --model or --set model.kind=M")
        settings.append(f"model.kind={request.model}")
    config = load_config(preset, settings)
    spec = find_model(config.model.kind)
    ratio = _ratio(request, spec)
    inputs = input_hashes(workspace, labels=spec.reads_states)
    version = package_version("semctl")
    labelled = None if request.labelled is None else sorted(set(request.labelled))

    decisive = {key: value for key, value in flat_settings(config).items() if key not in _EXECUTION}
    hashed = [decisive, inputs, ratio, request.seed, request.images, version, labelled, request.fold]
    parts = [spec.name, Path(preset).stem] if spec.preset else [Path(preset).stem]
    if spec.reads_states:
        parts.append(f"r{ratio:g}" if labelled is None else f"n{len(labelled)}")
    parts += [f"s{request.seed}", *([] if request.fold is None else [request.fold.tag])]
    run = f"{'-'.join(dict.fromkeys(parts))}-{sha256_bytes(repr(hashed).encode())[:6]}"
    plan = Plan(
        run=run,
        model=spec.name,
        preset=preset,
        labeled_ratio=ratio,
        seed=request.seed,
        images=request.images,
        config=config.model_dump(mode="json"),
        inputs=inputs,
        semctl=version,
        fold=request.fold,
        labelled=labelled,
    )
    return plan, config


def find_named(model: str) -> ModelSpec:
    """What the model of that name says of itself.

    Raises:
        UsageError: there is none (says the nearest), or it is one that is not trained.
    """
    if model in BASELINES:
        raise UsageError(f"'{model}' is not trained", fix="`semctl evaluate` shows it beside every run")
    from semantic_model.ranking.model_spec import find_model

    return find_model(known_name("model", model, tuple(MODELS)))


def _own_preset(model: str | None) -> str | None:
    return None if model is None else find_named(model).preset


def _ratio(request: TrainRequest, spec: ModelSpec) -> float:
    ratio, named = request.labeled_ratio, request.labelled is not None
    if ratio is not None and not 0.0 <= ratio <= 1.0:
        raise UsageError(f"the labelled ratio is {ratio:g}", fix="give a share from 0 to 1")
    if not spec.reads_states and (ratio or named):
        option = "--labelled" if named else "--labeled-ratio"
        raise UsageError(f"a model of kind {spec.name} reads no labels", fix=f"leave {option} out")
    if ratio and named:
        raise UsageError("whose labels are used is said twice", fix="give --labelled or --labeled-ratio")
    if spec.reads_states and ratio is None and not named:
        raise UsageError(
            "--labeled-ratio is missing",
            fix="say which share of the dialogues to use with labels, as 0.2, or name them with --labelled FILE",
        )
    return ratio or 0.0


def package_version(package: str) -> str:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout, as on a machine where nothing is installed
        return "not installed"
