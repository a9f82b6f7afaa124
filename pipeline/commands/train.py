"""``semctl train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import DS_INPUT, ENGINE_OF_IMAGES, JSON_OPTION, NO_IMAGES, SETTINGS, first_process, opened
from pipeline.engine import EngineName, find_engine
from schemas.errors import UsageError
from semantic_model.registry import MODELS, WITHOUT_PUBLIC_CODE

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.modelling.run_record import RunRecord


def train(
    context: typer.Context,
    labeled_ratio: Annotated[
        float | None, typer.Option(help="Share of the training dialogues used with their labels, 0 to 1.")
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Use the labels of these dialogues, one id a line, instead.")
    ] = None,
    unlabeled_ratio: Annotated[
        float | None, typer.Option(help="Share of the training dialogues that D_P holds, D_F's among them; else 1.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"What to train: {', '.join(MODELS)}; else the preset's. Re-implemented from their published "
            f"descriptions: {', '.join(WITHOUT_PUBLIC_CODE)}."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Settings to begin with: tiny, default, paper, release or a .toml file, or native, uniform or tuned "
            "of a model that has these; else the model's own, or the workspace's."
        ),
    ] = None,
    settings: Annotated[list[str] | None, SETTINGS] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything drawn at random; else 0.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the preset's.")] = None,
    ds_input: Annotated[bool, DS_INPUT] = False,
    no_images: Annotated[bool, NO_IMAGES] = False,
    run: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Resume an interrupted run (an id, or latest).")
    ] = None,
    engine: Annotated[EngineName, ENGINE_OF_IMAGES] = EngineName.local,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Train the teacher-student ranker on D_F and D_P.

    Example: semctl train --labeled-ratio 0.2 --set loss.alpha=0.3
    """
    from pipeline.modelling.train import TrainRequest, resume
    from pipeline.modelling.train import train as train_run
    from pipeline.modelling.training_data import named_for_training

    workspace, console = opened(context, as_json=as_json)
    encoding = find_engine(engine)
    if run is not None:
        others = (labeled_ratio, labelled, unlabeled_ratio, model, preset, seed, epochs)
        if settings or no_images or ds_input or any(value is not None for value in others):
            raise UsageError("--resume takes the run's own settings", fix="leave the other options out")
        record = resume(workspace, run, encoding=encoding, progress=console)
    else:
        size = [] if unlabeled_ratio is None else [f"train.unlabelled_ratio={unlabeled_ratio}"]
        request = TrainRequest(
            labeled_ratio=labeled_ratio,
            model=model,
            preset=preset,
            settings=(*(settings or ()), *size),
            seed=seed or 0,
            epochs=epochs,
            images=not no_images,
            labelled=None if labelled is None else named_for_training(workspace.require(), labelled),
            ds_input=ds_input,
        )
        record = train_run(workspace, request, encoding=encoding, progress=console)
    if not first_process():
        return
    console.result(record, _show)


def _show(console: Console, record: RunRecord) -> None:
    from semantic_model.evaluation.metrics import metric_names
    from semantic_model.ranking.model_spec import find_model

    best = record.figures
    measured = [(name, best[name]) for name in metric_names() if name in best]  # in a file, keys are sorted
    rows = [
        ("run", record.run),
        ("model", find_model(record.model).title + (f" ({record.remark})" if record.remark else "")),
        ("labelled dialogues", record.labelled_dialogues),
        ("unlabelled dialogues", record.unlabelled_dialogues),
        ("epochs", record.epochs),
        ("best epoch", record.best_epoch),
        *((f"valid {name}, %", f"{100 * value:.2f}") for name, value in measured),
        ("words", record.words),
        ("images", record.pictures),
        ("seconds", f"{record.seconds:.0f}"),
        ("folder", record.path),
    ]
    console.table("trained", ("", ""), rows, caption="Next: semctl evaluate")
