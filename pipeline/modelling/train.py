"""``semctl train``: what a run is going to do, its folder, and what it says of itself."""

from __future__ import annotations

import os
import platform
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.chosen_dialogues import training_dialogues
from pipeline.environment import installed_version
from pipeline.modelling.folds import Fold
from pipeline.modelling.run_record import PLAN, RECORD, Plan, RunRecord, model_card
from pipeline.modelling.together import LIBRARIES, agreed, bring, complete_record, of_first, same_images
from pipeline.modelling.training_data import TrainingData, input_hashes, prepare
from pipeline.workspace import Workspace
from schemas.engine import OpenEngine, no_engine
from schemas.errors import ModelError, SemctlError, UsageError
from schemas.files import read_json, sha256_bytes, write_atomic, write_json
from schemas.progress import Progress, SilentProgress
from schemas.validation import did_you_mean, known_name
from semantic_model.config.config import Config, config_from, config_toml, flat_settings, load_config, preset_of
from semantic_model.registry import BASELINES, MODELS

if TYPE_CHECKING:
    from semantic_model.ranking.model_spec import ModelSpec
    from semantic_model.training.distributed import Processes

# up to this width, threads wait for each other more than they work: 1.0 to 2.5 times the time with two
_ONE_THREAD = 128
_EXECUTION = ("train.log_every", "train.checkpoint_every", "train.compile")  # they do not change what comes out


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
    # gives a model that reads no states the gold ones as text, in training those of the labelled dialogues; there,
    # without a share, all of them
    ds_input: bool = False


def train(
    workspace: Workspace,
    request: TrainRequest,
    *,
    go_on: bool = False,
    encoding: OpenEngine = no_engine,
    progress: Progress | None = None,
) -> RunRecord:
    """Train a ranker on D_F and D_P; returns the run's record.

    The same request on the same data is the same run: when it is there and complete, nothing is trained again; when it
    was interrupted, it starts over (:func:`resume` continues instead).

    Args:
        go_on: an interrupted run of this request is gone on with.
        encoding: opens the engine that encodes images that are not encoded yet, for as long as that takes.

    Raises:
        UsageError: unknown model, preset or setting, one that the model does not look at, or a ratio outside 0 ... 1.
        InputError: too few dialogues are labelled; names the largest possible ratio.
        WorkspaceError: an earlier stage has not been run.
        MissingPartError: word vectors or weights that are not here; lists the ways out.
        KeyboardInterrupt: stopped; a checkpoint is kept.
    """
    from semantic_model.training.distributed import open_processes

    with open_processes() as processes:
        plan, config = agreed(processes, lambda: plan_run(workspace.require(), request))
        shown = progress or SilentProgress()
        return _train(workspace, plan, config, shown, processes, encoding, go_on=go_on or _restarted())


def _restarted() -> bool:
    """Whether ``torchrun --max-restarts`` started this again, after a process or a machine was lost."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def train_planned(workspace: Workspace, plan: Plan, *, progress: Progress | None = None) -> RunRecord:
    """Train what was planned, or go on with it, with the settings that it was planned with, whatever became of presets.

    Raises:
        ModelError: the data changed since it was planned, or as :func:`resume` does.
        Else as :func:`train` does.
    """
    folder = workspace.runs / plan.run
    config = config_from(plan.config, where=folder / PLAN, kind=plan.model)
    if not (folder / RECORD).is_file():
        _unchanged(workspace, plan, config)
    from semantic_model.training.distributed import open_processes

    with open_processes() as processes:
        return _train(workspace, plan, config, progress or SilentProgress(), processes, no_engine, go_on=True)


def _train(
    workspace: Workspace,
    plan: Plan,
    config: Config,
    shown: Progress,
    processes: Processes,
    encoding: OpenEngine,
    *,
    go_on: bool,
) -> RunRecord:
    run, folder = plan.run, workspace.runs / plan.run
    bring(folder, processes, unfinished=go_on)
    record = complete_record(folder, processes)
    if record is not None:
        shown.log(f"this run is there already: {folder} (delete the folder to train it again)")
        return record
    if processes.collect(go_on and (folder / PLAN).is_file())[0]:
        return _go_on(workspace, folder, shown, processes, encoding)
    prepared = prepare(workspace, plan, config, shown)  # nothing is written before the inputs are found good
    if processes.first:
        if folder.exists():
            shown.log(f"an unfinished run {run} starts over (`semctl train --resume {run}` would have gone on)")
            shutil.rmtree(folder)
        write_atomic(folder / "config.toml", config_toml(config, title=f"settings of the run {run}"))
        write_json(folder / PLAN, asdict(plan))
    return _run(workspace, folder, plan, config, prepared, shown, processes, encoding, resumed=False)


def resume(
    workspace: Workspace, run: str, *, encoding: OpenEngine = no_engine, progress: Progress | None = None
) -> RunRecord:
    """Resume an interrupted run from its last checkpoint, as if it had never stopped; returns its record.

    Of several machines, one has to have the run.

    Args:
        run: its id, or ``latest`` for the unfinished run worked on last.
        encoding: see :func:`train`.

    Raises:
        ModelError: no such run, a checkpoint that cannot be used, or data that changed since it began.
        KeyboardInterrupt: stopped again.
    """
    from semantic_model.training.distributed import open_processes

    shown = progress or SilentProgress()
    with open_processes() as processes:
        folder = workspace.runs / _found(workspace, run, processes)
        bring(folder, processes, unfinished=True)
        record = complete_record(folder, processes)
        if record is not None:
            shown.log(f"the run {folder.name} is complete; nothing is left to do")
            return record
        return _go_on(workspace, folder, shown, processes, encoding)


def _found(workspace: Workspace, run: str, processes: Processes) -> str:
    """The id of the run to resume, which may be on one machine only."""
    here: tuple[int, str] | None = None
    wrong: SemctlError | None = None
    try:
        found = _unfinished(workspace.require(), run)
        here = (found / PLAN).stat().st_mtime_ns, found.name
    except SemctlError as problem:
        wrong = problem
    told = [tuple(each) for each in processes.collect(here) if each is not None]
    if not told and wrong is not None:
        raise wrong
    return str(max(told)[1])


def _go_on(
    workspace: Workspace, folder: Path, shown: Progress, processes: Processes, encoding: OpenEngine
) -> RunRecord:
    def read() -> Plan:
        return read_json(folder / PLAN, error=ModelError, fix="delete the run and train again", shape=Plan)

    planned = of_first(processes, read, Plan)
    assert planned is not None

    def make() -> tuple[Plan, Config]:
        config = config_from(planned.config, where=folder / PLAN, kind=planned.model, stored=True)
        _unchanged(workspace.require(), planned, config)
        return planned, config

    _, config = agreed(processes, make)
    prepared = prepare(workspace, planned, config, shown)
    return _run(workspace, folder, planned, config, prepared, shown, processes, encoding, resumed=True)


def _unchanged(workspace: Workspace, plan: Plan, config: Config) -> None:
    from semantic_model.ranking.model_spec import find_model

    now = input_hashes(workspace, labels="D_F" in plan.inputs, files=find_model(plan.model).files(config))
    changed = sorted(name for name in now.keys() | plan.inputs.keys() if now.get(name) != plan.inputs.get(name))
    if changed:
        raise ModelError(
            f"the data changed since this run began: {', '.join(changed)}",
            where=workspace.runs / plan.run,
            fix="start a new run with `semctl train --labeled-ratio R`",
        )


def plan_run(workspace: Workspace, request: TrainRequest) -> tuple[Plan, Config]:
    """What a request comes to in this workspace.

    Raises:
        UsageError: unknown model, preset or setting, one that the model does not look at, or a ratio outside 0 ... 1.
        WorkspaceError: an earlier stage has not been run.
        MissingPartError: a file of knowledge that the settings ask for is not here; lists the ways out.
    """
    from semantic_model.ranking.model_spec import find_model

    own = None if request.model is None else find_named(request.model).preset
    preset = preset_of(request.model, request.preset or own or workspace.settings().train.preset)
    settings = [*request.settings, *([] if request.epochs is None else [f"train.epochs={request.epochs}"])]
    if request.model is not None:
        if any(setting.partition("=")[0].strip() == "model.kind" for setting in settings):
            raise UsageError("which model is said twice", fix="give --model or --set model.kind=M")
        settings.append(f"model.kind={request.model}")
    config = load_config(preset, settings)
    spec = find_model(config.model.kind)
    ratio, labels = _ratio(request, spec), spec.reads_states or request.ds_input
    if request.ds_input:
        from semantic_model.data.told_states import STATE_TOKENS

        if not config.context.include_current:
            what = "context.include_current = false leaves out the utterance that the state is put before"
            raise UsageError(what, fix="leave --ds-input out, or that setting")
        config = load_config(preset, [*settings, f"text.max_tokens={config.text.max_tokens + STATE_TOKENS}"])
    inputs = input_hashes(workspace, labels=labels, files=spec.files(config))
    version = _version("semctl")
    labelled = None if request.labelled is None else sorted(set(request.labelled))

    decisive = {key: value for key, value in flat_settings(config).items() if key not in _EXECUTION}
    hashed = [decisive, inputs, ratio, request.seed, request.images, version, labelled, request.fold]
    hashed += ["ds-input"] * request.ds_input
    named = spec.preset or preset == f"{spec.name}/{Path(preset).stem}"
    parts = [spec.name, Path(preset).stem] if named else [Path(preset).stem]
    parts += ["ds"] * request.ds_input
    if labels:
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
        ds_input=request.ds_input,
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


def _ratio(request: TrainRequest, spec: ModelSpec) -> float:
    ratio, named = request.labeled_ratio, request.labelled is not None
    if ratio is not None and not 0.0 <= ratio <= 1.0:
        raise UsageError(f"the labelled ratio is {ratio:g}", fix="give a share from 0 to 1")
    if spec.reads_states and request.ds_input:
        raise UsageError(f"a model of kind {spec.name} reads states itself", fix="leave --ds-input out")
    if not (spec.reads_states or request.ds_input) and (ratio or named):
        option = "--labelled" if named else "--labeled-ratio"
        raise UsageError(f"a model of kind {spec.name} reads no labels", fix=f"leave {option} out")
    if ratio and named:
        raise UsageError("whose labels are used is said twice", fix="give --labelled or --labeled-ratio")
    if spec.reads_states and ratio is None and not named:
        raise UsageError(
            "--labeled-ratio is missing",
            fix="say which share of the dialogues to use with labels, as 0.2, or name them with --labelled FILE",
        )
    return 1.0 if request.ds_input and ratio is None and not named else ratio or 0.0


def _run(
    workspace: Workspace,
    folder: Path,
    plan: Plan,
    config: Config,
    data: TrainingData,
    shown: Progress,
    processes: Processes,
    encoding: OpenEngine,
    *,
    resumed: bool,
) -> RunRecord:
    import torch

    from semantic_model.data.image_features import load_features
    from semantic_model.training.trainer import Examples, Interrupted, Trainer

    began = time.perf_counter()
    if config.model.width <= _ONE_THREAD:
        torch.set_num_threads(1)
    corpus = data.corpus
    with processes.first_here_before_others(), encoding() as engine:  # it encodes images, the others find them encoded
        features = load_features(
            config.image,
            corpus.image_files,
            hashes=corpus.image_hashes,
            cache=workspace.features,
            engine=engine,
            progress=shown,
        )
    same_images(processes, features)
    shown.log(f"images: {features.source}" if plan.images else "images: all left out")
    without = sum(product.image_file is None for product in corpus.products)
    if plan.images and without:
        shown.log(f"{without:,} of {len(corpus.products):,} products have no image that can be read: text alone")
    if features.broken:
        shown.log(f"{features.broken} images cannot be decoded and count as missing")
    trainer = Trainer(
        config,
        Examples(data.queries, data.states, data.unlabelled, data.valid),
        corpus,
        words=data.words,
        features=features,
        ontology=data.ontology,
        folder=folder,
        seed=plan.seed,
        progress=shown,
        processes=processes,
        fitted=data.fitted,
    )
    remark = trainer.spec.remark(config)
    if remark:
        shown.log(f"{plan.model}: {remark}")
    computing = f"{trainer.device}, {trainer.precision}"
    shown.log(f"computing on: {computing}" + (f", {processes.count} processes" if processes.count > 1 else ""))
    if resumed:
        trainer.restore()
        shown.log(f"resuming {folder.name} after epoch {trainer.state.epoch}, step {trainer.state.step} of the next")
    try:
        trained = trainer.fit()
    except Interrupted:
        shown.log(f"stopped; continue with `semctl train --resume {folder.name}`")
        raise
    except torch.OutOfMemoryError:
        fix = "set a smaller train.batch_size, or a smaller model.width"
        raise ModelError("the GPU has not enough memory for this model", where=folder, fix=fix) from None
    share = len(data.labelled) / len(training_dialogues(corpus.splits))
    record = RunRecord(
        run=folder.name,
        path=str(folder),
        labelled_dialogues=len(data.labelled),
        unlabelled_dialogues=data.unlabelled_dialogues,
        epochs=trained.epochs,
        best={"epoch": trained.best_epoch, **trained.best},
        model=plan.model,
        remark=remark,
        preset=plan.preset,
        labeled_ratio=plan.labeled_ratio if plan.labelled is None else round(share, 4),
        labelled_list=plan.labelled is not None,
        seed=plan.seed,
        images=plan.images,
        ds_input=plan.ds_input,
        fold=plan.fold,
        examples={"D_F": len(data.queries), "D_P": len(data.unlabelled), "valid": len(trainer.valid)},
        parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        words=data.words.source,
        pictures=features.source if plan.images else "left out",
        slots=list(trainer.reader.slots),
        labelled=sorted(data.labelled),
        config=plan.config,
        inputs=plan.inputs,
        versions=_versions(),
        device=str(trainer.device),
        precision=trainer.precision,
        processes=processes.count,
        seconds=round(time.perf_counter() - began, 1),
    )
    if processes.first:
        about = trainer.spec.with_remark(trainer.spec.about, config)
        card = model_card(record, about, reimplemented=trainer.spec.reimplemented)
        write_atomic(folder / "model" / "README.md", card)
        record.write(folder)
    processes.wait()
    return record


def _unfinished(workspace: Workspace, run: str) -> Path:
    folders = sorted(path.parent for path in workspace.runs.glob(f"*/{PLAN}"))
    if run == "latest":
        open_runs = [path for path in folders if not (path / RECORD).is_file()]
        if not open_runs:
            raise ModelError(
                "there is no unfinished run here", where=workspace.runs, fix="start one with --labeled-ratio"
            )
        return max(open_runs, key=lambda path: ((path / PLAN).stat().st_mtime_ns, path.name))
    for path in folders:
        if path.name == run:
            return path
    fix = did_you_mean(run, [path.name for path in folders], "start one with `semctl train --labeled-ratio R`")
    raise ModelError(f"there is no run '{run}'", where=workspace.runs, fix=fix)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: _version(name) for name in ("semctl", *LIBRARIES)}}


def _version(package: str) -> str:
    return installed_version(package) or "not installed"
