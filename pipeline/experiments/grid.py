"""Which runs a grid consists of: rows of a table, each trained with several seeds and on several folds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pipeline.chosen_dialogues import splits_of, training_dialogues
from pipeline.modelling.folds import Fold, fold_splits
from pipeline.modelling.run_record import Plan
from pipeline.modelling.train import TrainRequest, find_named, plan_run
from pipeline.modelling.training_data import all_labelled, dialogues_at, gold_states, labelled_dialogues, partial_states
from pipeline.workspace import Workspace
from schemas.errors import InputError, UsageError
from semantic_model.config.config import load_config, preset_names, preset_of
from semantic_model.registry import MODELS

NO_IMAGES = "no-images"
"""The one change of :attr:`ExperimentRequest.ablate` that is no setting."""

EVERY_MODEL = "all"
"""In :attr:`ExperimentRequest.models`: all that are trained."""

_DEFAULT = "default"  # for a model that has neither the preset that was asked for nor one of its own


@dataclass(frozen=True)
class ExperimentRequest:
    """What ``semctl experiment grid`` was asked to do."""

    # of each model the one of that name, else its own (:func:`preset_for`); empty: each model's own, or the workspace's
    presets: tuple[str, ...] = ()
    # names of :data:`semantic_model.registry.MODELS`, or :data:`EVERY_MODEL`; empty: what the presets say
    models: tuple[str, ...] = ()
    # shares of the training dialogues whose labels are used, for models that read labels
    ratios: tuple[float, ...] = (1.0,)
    seeds: int = 5  # how many, counted from 0
    folds: int | None = None  # None for the corpus's own splits
    fold_seed: int = 0  # of the order in which dialogues are assigned to folds
    pool_test: bool = False  # the corpus's own test part is assigned, too; else no fold touches it
    settings: tuple[str, ...] = ()  # ``KEY=VALUE`` for every run
    vary: tuple[str, ...] = ()  # ``KEY=V1,V2``: one row for each value, and for each combination of several such keys
    ablate: tuple[str, ...] = ()  # ``KEY=VALUE`` or :data:`NO_IMAGES`: one further row with that one change
    epochs: int | None = None  # instead of ``train.epochs``
    images: bool = True  # False leaves every image out
    split: str = "valid"  # whose recommendation turns are asked; with folds, those of the held-out dialogues
    candidates: str = "all"  # listed, 1000 or all
    # as of :class:`TrainRequest`; all models are then those that read no states themselves
    ds_input: bool = False
    # of what ``ratios`` are shares: of the ``training`` dialogues, or of those that are ``labelled``
    ratios_of: Literal["training", "labelled"] = field(default="training", repr=False)
    # the dialogues whose labels are used, in the order of choosing: ratios are shares of this list, its first ones
    labelled: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def asked(self) -> str:
        """The split that is measured: a fold's held-out dialogues are its ``test``."""
        return self.split if self.folds is None else "test"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str  # model or preset, and what was changed
    ratio: float | None  # share of labelled dialogues; None for a model that reads no labels
    request: TrainRequest  # what is trained, but for seed and fold
    instead_of: tuple[str, ...] = ()  # presets that were asked for and that its model does not have
    reimplemented: bool = False  # as :attr:`semantic_model.ranking.model_spec.ModelSpec.reimplemented`
    remark: str = ""  # as of :attr:`semantic_model.ranking.model_spec.ModelSpec.remark`, "stand-in: what of"
    kind: str = ""  # name of the model
    change: tuple[str, ...] = ()  # what it changes of the preset, as of :func:`_changes`

    @property
    def label(self) -> str:
        """Name and ratio; tells rows apart."""
        return self.name if self.ratio is None else f"{self.name} r{self.ratio:g}"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a grid."""

    row: str  # label of the row it belongs to
    # with all its settings: presets are read when the grid is planned, and what becomes of them then changes nothing
    plan: Plan

    @property
    def run(self) -> str:
        """Its id."""
        return self.plan.run


def rows_of(workspace: Workspace, request: ExperimentRequest) -> list[Row]:
    """The rows, in the order of models, presets, changes and ratios.

    Raises:
        UsageError: no model, ratio or seed, an unknown model, or a change that cannot be read.
    """
    if not request.ratios or request.seeds < 1:
        raise UsageError("a grid needs a ratio and a seed at least")
    if request.folds is not None and request.folds < 2:
        raise UsageError(f"{request.folds} fold holds nothing out", fix="make 2 folds or more")
    if request.pool_test and request.folds is None:
        raise UsageError(
            "--pool-test is for folds, and none were asked for", fix="give --folds N, too, or leave it out"
        )
    rows, shares = [], _shares(workspace, request)
    for (model, preset), instead_of in _trained(workspace, request).items():
        usual = load_config(preset).model.kind
        kind = find_named(model or usual)
        labels = kind.reads_states or request.ds_input
        ratios: Sequence[float | None] = list(shares) if labels else [None]
        stem = Path(preset).stem
        called = [stem] if kind.name == usual else [stem, kind.name]
        if instead_of or preset == f"{kind.name}/{stem}":
            called = list(dict.fromkeys([kind.name, stem]))
        for change, ratio in itertools.product(_changes(request.vary, request.ablate), ratios):
            named = shares[ratio] if ratio else None
            trained = TrainRequest(
                labeled_ratio=(ratio or 0.0) if named is None else None,
                labelled=named,
                model=model,
                preset=preset,
                settings=(*request.settings, *(part for part in change if part != NO_IMAGES)),
                epochs=request.epochs,
                images=request.images and NO_IMAGES not in change,
                ds_input=request.ds_input,
            )
            remark = kind.remark(load_config(preset, [*trained.settings, f"model.kind={kind.name}"]))
            name = " ".join([*called, *["ds-input"] * request.ds_input, *change])
            rows.append(Row(name, ratio, trained, instead_of, kind.reimplemented, remark, kind.name, change))
    return rows


def _shares(workspace: Workspace, request: ExperimentRequest) -> dict[float, tuple[str, ...] | None]:
    """Shares of the training dialogues -> the dialogues named, None where they are drawn."""
    asked = dict.fromkeys(request.ratios)
    if request.labelled is None and request.ratios_of == "training":
        return asked
    for ratio in asked:
        if not 0 <= ratio <= 1:
            raise UsageError(f"the labelled ratio is {ratio:g}", fix="give a share from 0 to 1")
    if request.labelled is not None:
        if request.folds is not None:
            raise UsageError("dialogues are named, and folds would hold some of them out", fix="leave --folds out")
        training = len(training_dialogues(splits_of(workspace.turns)))
        prefixes = [request.labelled[: dialogues_at(ratio, len(request.labelled))] for ratio in asked]
        return {round(len(named) / max(training, 1), 4): named or None for named in prefixes}
    known = gold_states(workspace)
    usable = []
    for fold in folds_of(request):
        own = splits_of(workspace.turns)
        splits = own if fold is None else fold_splits(own, fold)
        train = training_dialogues(splits)
        usable.append(sum(name in known for name in train) / max(len(train), 1))
    least = min(usable)
    if not least:
        raise InputError(
            "no training dialogue is labelled in every turn, and this is about what labels are worth",
            where=workspace.d_f,
            fix="label some, then run `semctl ingest-labels`",
        )
    return {int(10_000 * ratio * least) / 10_000: None for ratio in asked}


def check_labels(workspace: Workspace, request: ExperimentRequest, rows: Sequence[Row]) -> None:
    """Whether there are labels enough for every row, before anything is trained.

    Raises:
        InputError: too few dialogues are labelled, one that is named is not, or too few are there for the folds.
        WorkspaceError: D_F and D_P are not one complete set.
    """
    asked = [row for row in rows if row.ratio]
    if not asked:
        return
    known, own, partly = gold_states(workspace), splits_of(workspace.turns), partial_states(workspace).states
    for fold in folds_of(request):
        splits = own if fold is None else fold_splits(own, fold)
        training = training_dialogues(splits)
        usable = [name for name in training if name in known]
        for row in asked:
            if row.request.labelled is None:
                labelled_dialogues(usable, len(training), row.ratio or 0.0, 0)
            else:
                all_labelled(row.request.labelled, [name for name in known if splits[name] == "train"], list(partly))


def _trained(workspace: Workspace, request: ExperimentRequest) -> dict[tuple[str | None, str], tuple[str, ...]]:
    """Models with their presets -> the presets that were asked for in the place of each."""
    usual = workspace.settings().train.preset
    every = [name for name in MODELS if not (request.ds_input and find_named(name).reads_states)]
    models = dict.fromkeys(name for given in request.models for name in (every if given == EVERY_MODEL else [given]))
    found: dict[tuple[str | None, str], tuple[str, ...]] = {}
    for model in models or [None]:
        for asked in dict.fromkeys(request.presets) or [None]:
            if model is None:
                found[None, asked or usual] = ()
                continue
            preset = preset_for(model, asked, usual)
            missing = () if asked is None or preset in (asked, f"{model}/{asked}") else (asked,)
            found[model, preset] = (*found.get((model, preset), ()), *missing)
    return found


def preset_for(model: str, asked: str | None, usual: str) -> str:
    """The preset that a model is trained with: its own of the name asked for, else a shared one of that name that fits
    it, else its own; ``default`` where there is none of these.

    Args:
        asked: None: not said.
        usual: for a model without a preset of its own.

    Raises:
        UsageError: no such model, or no model has a preset of that name.
    """
    own = find_named(model).preset
    mine = None if own is None else preset_of(model, own)
    if asked is None:
        return mine or usual
    named = preset_of(model, asked)
    if named != asked:
        return named
    names = preset_names()
    if asked in names or asked.endswith(".toml"):
        return asked if mine is None or load_config(asked).model.kind == model else mine
    if any(name.endswith(f"/{asked}") for name in names):
        return mine or _DEFAULT
    return asked  # loading it says what there is


def _changes(vary: Iterable[str], ablate: Iterable[str]) -> list[tuple[str, ...]]:
    """Settings on top of a preset: every combination of the varied keys, then each single change."""
    axes = []
    for text in vary:
        key, equals, values = text.partition("=")
        if not equals or not all(part.strip() for part in values.split(",")):
            raise UsageError(f"cannot read '{text}'", fix="write --vary KEY=V1,V2, as loss.alpha=0,0.5,1")
        axes.append([f"{key.strip()}={value.strip()}" for value in values.split(",")])
    for text in ablate:
        if text != NO_IMAGES and "=" not in text:
            raise UsageError(f"cannot read '{text}'", fix=f"write --ablate KEY=VALUE, or --ablate {NO_IMAGES}")
    return [*itertools.product(*axes), *((text,) for text in ablate)]


def plan_grid(workspace: Workspace, request: ExperimentRequest) -> tuple[list[Row], list[PlannedRun]]:
    """Rows and runs; every setting is checked before anything is trained.

    Runs are in the order of seeds, then rows, then folds, so that a grid stopped early compares all rows.

    Raises:
        UsageError: as :func:`rows_of`, or a preset or setting that does not fit.
        WorkspaceError: an earlier stage has not been run.
    """
    rows = rows_of(workspace, request)
    runs = []
    for seed, row, fold in itertools.product(range(request.seeds), rows, folds_of(request)):
        asked = replace(row.request, seed=seed, fold=fold)
        plan, _ = plan_run(workspace, asked)
        runs.append(PlannedRun(row.label, plan))
    return rows, runs


def folds_of(request: ExperimentRequest) -> list[Fold | None]:
    """The folds, or None alone for the corpus's own splits."""
    if request.folds is None:
        return [None]
    return [Fold(number + 1, request.folds, request.fold_seed, request.pool_test) for number in range(request.folds)]
