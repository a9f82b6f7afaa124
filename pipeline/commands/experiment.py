"""``semctl experiment``: grids of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.commands.evaluate import Candidates, Split
from pipeline.context import DS_INPUT, JSON_OPTION, NO_IMAGES, SETTINGS, opened
from schemas.errors import UsageError
from semantic_model.registry import MODELS

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.experiments.experiment import ExperimentReport


class _Group(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in {"-h", "--help"}:
            raise UsageError(f"'experiment' has no option {args[0]}", fix="write `semctl experiment grid ...`")
        return super().parse_args(ctx, args)


group = typer.Typer(cls=_Group, help="Train and measure many runs, and show them in one table.", no_args_is_help=True)


@group.command()
def grid(
    context: typer.Context,
    presets: Annotated[
        str | None,
        typer.Option(
            help="Presets or .toml files, as tiny,paper, or tuned for each model's own of that name; else the models' "
            "own, or the workspace's."
        ),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help=f"What to train: all, or {', '.join(MODELS)}, or several; else the presets'.")
    ] = None,
    ratios: Annotated[str, typer.Option(help="Shares of dialogues used with labels, as 0,0.2,1.")] = "1",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 5,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validate by dialogue, instead of the corpus's splits.")
    ] = None,
    pool_test: Annotated[
        bool, typer.Option("--pool-test", help="Spread the corpus's test dialogues over the folds, too.")
    ] = False,
    settings: Annotated[list[str] | None, SETTINGS] = None,
    vary: Annotated[
        list[str] | None, typer.Option(metavar="KEY=V1,V2", help="A row for each value; repeatable.")
    ] = None,
    ablate: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="One more row with that change, or no-images; repeatable."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the presets'.")] = None,
    ds_input: Annotated[bool, DS_INPUT] = False,
    no_images: Annotated[bool, NO_IMAGES] = False,
    split: Annotated[Split | None, typer.Option(help="Split to measure on; else valid. Not with --folds.")] = None,
    candidates: Annotated[Candidates, typer.Option(help="What the positives are ranked against.")] = Candidates.all,
    against: Annotated[
        str | None,
        typer.Option(metavar="ROW", help="Compare every row with this one, query by query; else with the best."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Folder below experiments/; else made up.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes of one thread each.")] = 1,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Train and measure a grid of runs with several seeds, or cross-validate; continues where it was stopped.

    Example: semctl -w shop experiment grid --models all --presets tuned --ratios 0.2 --seeds 3 --jobs 2
    """
    from pipeline.experiments.experiment import experiment
    from pipeline.experiments.grid import ExperimentRequest

    workspace, console = opened(context, as_json=as_json)
    if folds is not None and split is not None:
        raise UsageError("--folds measures on the held-out dialogues", fix="leave --split out")
    request = ExperimentRequest(
        presets=_words(presets or ""),
        models=_words(models or ""),
        ratios=tuple(_share(text) for text in _words(ratios)),
        seeds=seeds,
        folds=folds,
        pool_test=pool_test,
        settings=tuple(settings or ()),
        vary=tuple(vary or ()),
        ablate=tuple(ablate or ()),
        epochs=epochs,
        images=not no_images,
        split=(split or Split.valid).value,
        candidates=candidates.value,
        ds_input=ds_input,
    )
    report = experiment(workspace, request, name=name, jobs=jobs, against=against, progress=console)
    console.result(report, _show)


def _show(console: Console, report: ExperimentReport) -> None:
    from pipeline.experiments.summary import COST, SELECT, costs, difference, percent, percent_interval

    console.table(
        report.title,
        ["", "ratio", "runs", "NDCG@5", "95 %", "R@5", "NDCG@10", f"- {report.against}", *COST.values()],
        [
            [
                row.shown,
                "" if row.ratio is None else f"{row.ratio:g}",
                row.figures[SELECT].n,
                percent(row.figures[SELECT]),
                percent_interval(row.figures[SELECT].interval),
                *(percent(row.figures[metric]) for metric in ("recall@5", "ndcg@10")),
                difference(row),
                *costs(row),
            ]
            for row in report.rows
        ],
        caption="; ".join([*report.notes, str(report.folder)]),
    )
    held_out = sorted({fold for row in report.rows for fold in row.folds})
    if held_out:
        console.table(
            "NDCG@5 fold by fold",
            ["", *(f"fold {fold}" for fold in held_out)],
            [
                [row.shown_label, *(percent(row.folds[fold][SELECT]) if fold in row.folds else "" for fold in held_out)]
                for row in report.rows
            ],
        )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"the labelled ratio '{text}' is no number", fix="write --ratios 0,0.2,1") from None
