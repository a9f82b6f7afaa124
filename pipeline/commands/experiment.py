"""``semctl experiment``: grids of runs, and the paper's tables and figures as declared ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.commands.evaluate import Candidates, Split
from pipeline.context import DS_INPUT, JSON_OPTION, NO_IMAGES, SETTINGS, opened
from schemas.errors import UsageError
from semantic_model.registry import MODELS

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.experiments.declaration import Declared
    from pipeline.experiments.declared_run import DeclaredReport
    from pipeline.experiments.estimate import DryRun
    from pipeline.experiments.experiment import ExperimentReport


class _Group(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in {"-h", "--help"}:
            raise UsageError(f"'experiment' has no option {args[0]}", fix="write `semctl experiment grid ...`")
        return super().parse_args(ctx, args)


NAME = typer.Argument(metavar="NAME", help="As `semctl experiment list` has it, or a .toml file.")

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


@group.command(name="list")
def list_(context: typer.Context, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """List the experiments that come along, the paper's tables and figures.

    Example: semctl experiment list
    """
    from pipeline.experiments.declaration import declared_names, find_declared

    _, console = opened(context, as_json=as_json)
    found = [find_declared(name) for name in declared_names()]
    if as_json:
        console.json({"experiments": [{"name": each.name, **each.declaration.model_dump()} for each in found]})
        return
    console.table(
        "The paper's tables and figures",
        ["", "what", "asks", "scales, or what does it"],
        [
            [
                each.name,
                each.declaration.title.partition(": ")[2],
                each.declaration.asks,
                ", ".join(each.declaration.scales) or ", ".join(each.declaration.commands) or "nothing is trained",
            ]
            for each in found
        ],
        caption="Next: semctl experiment show NAME, then semctl experiment run NAME --scale smoke --dry-run",
    )


@group.command()
def show(context: typer.Context, name: Annotated[str, NAME], as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """Show what an experiment asks and consists of, and the paper's own figures.

    Example: semctl experiment show table2
    """
    from pipeline.experiments.declaration import find_declared

    _, console = opened(context, as_json=as_json)
    found = find_declared(name)
    if as_json:
        console.json({"name": found.name, **found.declaration.model_dump()})
    else:
        _show_declared(console, found)


@group.command()
def copy(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `semctl experiment list` has it.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new .toml file.")],
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Copy an experiment into a file, to be edited and run.

    Example: semctl experiment copy table2 mine.toml
    """
    from pipeline.experiments.declaration import copy_declared

    _, console = opened(context, as_json=as_json)
    written = copy_declared(name, file)
    if as_json:
        console.json({"file": str(written)})
    else:
        console.say(f"{written}. Next: edit it, then semctl experiment run {written}")


@group.command()
def run(
    context: typer.Context,
    name: Annotated[str, NAME],
    scale: Annotated[
        str | None, typer.Option(help="smoke, small or paper, as the experiment has them; else the file's own.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes of one thread each; spread over the GPUs.")] = 1,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Print cells, time and disk; train and write nothing.")
    ] = False,
    settings: Annotated[list[str] | None, SETTINGS] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds, from 0; else the scale's.")] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Measure on folds by dialogue; else as the scale.")] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Dialogues in the order of choosing, as `semctl select` lists them: ratios are of this list.",
        ),
    ] = None,
    more: Annotated[
        int | None,
        typer.Option(min=1, help="How many more labelled dialogues are asked about; else the file's number."),
    ] = None,
    folder: Annotated[str | None, typer.Option("--name", help="Folder below experiments/; else NAME-SCALE.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Run an experiment and print its table beside the paper's figures; continues where it was stopped.

    Example: semctl -w shop experiment run figure4 --scale smoke --jobs 2
    """
    from pipeline.experiments.declaration import find_declared
    from pipeline.experiments.declared_run import RunRequest, dry_run, run_declared
    from pipeline.modelling.training_data import named_for_training

    workspace, console = opened(context, as_json=as_json)
    declared = find_declared(name)
    request = RunRequest(
        scale=scale,
        settings=tuple(settings or ()),
        seeds=seeds,
        folds=folds,
        labelled=None if labelled is None else named_for_training(workspace.require(), labelled),
        more=more,
        name=folder,
        jobs=jobs,
    )
    if dry:
        console.result(dry_run(workspace, declared, request), _show_dry)
        return
    report = run_declared(workspace, declared, request, progress=console)
    console.result(report, _show_run)
    if report.problem is not None:
        if as_json:  # which is one object: ``failed`` tells
            raise typer.Exit(report.problem.exit_code)
        raise report.problem


def _show_declared(console: Console, found: Declared) -> None:
    from pipeline.experiments.declared_run import paper_lines
    from pipeline.experiments.summary import label_heading

    it = found.declaration
    console.say(f"{it.title}. {it.asks}")
    if it.commands:
        console.say(f"No grid of runs; it is done by: {', then '.join(it.commands)}")
    if it.scales:
        console.table(
            "scales",
            ["", "for", "grids", "seeds", "folds"],
            [
                [
                    f"{scale} (usual)" if scale == it.scale else scale,
                    found.about(scale),
                    ", ".join(grids := found.grids(scale)),
                    next(iter(grids.values())).seeds,
                    next(iter(grids.values())).folds or "-",
                ]
                for scale in it.scales
            ],
        )
    lines = [line for row in it.rows for line in paper_lines(row, percent=not it.statistics)]
    if lines:
        headings = [label_heading(name) for name in it.measures]
        console.table(
            "the paper's own figures" + ("" if it.statistics else ", per cent"),
            ["", "measured", *headings],
            [[line.name, line.source, *line.cells] for line in lines],
        )
    for claim in it.claims:
        console.say(f"claimed: {claim.says} ({claim.where})")
    for note in it.footnotes:
        console.say(f"note: {note}")


def _show_dry(console: Console, found: DryRun) -> None:
    def time(seconds: float | None) -> str:
        if seconds is None:
            return "not known"
        return (
            f"{seconds:.0f} s"
            if seconds < 120
            else f"{seconds / 60:.0f} min"
            if seconds < 7200
            else f"{seconds / 3600:.1f} h"
        )

    def disk(size: int | None) -> str:
        return "not known" if size is None else f"{size / 1e6:,.1f} MB"

    console.table(
        f"{found.name} at scale {found.scale}: {found.about}",
        ["", "runs", "done", "training, one after the other", "disk", "after"],
        [[row.row, row.runs, row.done, time(row.seconds), disk(row.bytes), row.basis] for row in found.cells],
        caption=f"{sum(row.runs for row in found.cells):,} runs, of which trained already: "
        f"{sum(row.done for row in found.cells):,}; with --jobs {found.jobs}: {time(found.seconds)}, "
        f"{disk(found.bytes)} of {found.free / 1e9:,.0f} GB free; into {found.folder}",
    )
    if found.unknown:
        console.say(
            f"Not known of {len(found.unknown)} rows. One finished run of each tells: runs go by seeds, then "
            "rows, and what is finished is kept, so start it, stop it with Ctrl-C after the first ones, and ask again"
        )


def _show_run(console: Console, report: DeclaredReport) -> None:
    from pipeline.experiments.declared_run import claim_lines, table_of

    headings, rows = table_of(report)
    grid = report.grid
    title = report.declared.declaration.title + ("" if grid is None else f"; {grid.title}")
    console.table(title, headings, rows, caption="; ".join([*report.notes, str(report.folder)]))
    for answer in report.answers:
        console.say(answer.text)
    for found in report.verdicts:
        for line in claim_lines(found):
            console.say(line)
    for name, said in ({} if grid is None else grid.failed).items():
        console.say(f"failed: {name}: {said}")


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
