"""``semctl select``."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.selection.select_dialogues import SelectReport
    from pipeline.selection.stop_signal import StopSignal

_MOST_SHOWN = 20
_WORDS = {
    "seeds": "how much these runs disagree",
    "teacher": "how much student and teacher disagree, who is told the values that the user names",
    "margin": "how little the first product is ahead",
}


Strategy = StrEnum("Strategy", "random stratified uncertainty diversity hybrid")
Measure = StrEnum("Measure", "seeds teacher margin")


def select(
    context: typer.Context,
    strategy: Annotated[
        Strategy | None,
        typer.Option(
            help="How to choose; random and stratified need no trained run. Else stratified; of turns uncertainty, or "
            "random."
        ),
    ] = None,
    count: Annotated[int, typer.Option("-n", metavar="N", help="How many dialogues or turns; a larger N adds.")] = 100,
    unit: Annotated[
        str, typer.Option(help="dialogue, or turn: single turns, labelled by the whole state after each.")
    ] = "dialogue",
    per_dialogue: Annotated[
        int | None, typer.Option("-k", metavar="K", help="Of turns: at most so many of one dialogue; else 1.")
    ] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="RUN", help="A trained run to ask; repeatable. Else the newest and its seeds."),
    ] = None,
    measure: Annotated[
        Measure | None,
        typer.Option(
            help="Of uncertainty: runs that differ in seed disagree, student and teacher do, or a small margin; else "
            "the first of these that the runs allow."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random order, and of ties.")] = 0,
    split: Annotated[str, typer.Option(help="train, valid, test or all.")] = "train",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write the list; else selection.txt in labelling/.")
    ] = None,
    include_labelled: Annotated[
        bool, typer.Option("--include-labelled", help="Choose among labelled dialogues, too, as if they were not.")
    ] = False,
    include_exported: Annotated[
        bool, typer.Option("--include-exported", help="Choose among dialogues exported for labelling, too.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Choose which dialogues to label next, and say what labelling them is expected to bring; or which single turns.

    Example: semctl select --strategy hybrid -n 100, or semctl select --unit turn -k 2 -n 100; then
    semctl export-for-labelling --project shop --dialogues labelling/selection.txt
    """
    from pipeline.selection.select_dialogues import SelectRequest, select_dialogues

    workspace, console = opened(context, as_json=as_json)
    request = SelectRequest(
        strategy=None if strategy is None else strategy.value,
        unit=unit,
        per_dialogue=per_dialogue,
        count=count,
        runs=tuple(runs or ()),
        measure=None if measure is None else measure.value,
        seed=seed,
        split=split,
        include_labelled=include_labelled,
        include_exported=include_exported,
        out=out,
    )
    report = select_dialogues(workspace, request, progress=console)
    console.result(report, _show)


def _show(console: Console, report: SelectReport) -> None:
    shown = report.rows[:_MOST_SHOWN]
    rest = len(report.rows) - len(shown)
    there = f"{len(report.pool.candidates):,} dialogues"
    if report.unit == "turn":
        there = f"{sum(report.pool.turns):,} turns of {there}"
    console.table(
        f"{len(report.rows)} of {there}, {report.strategy}",
        ("", "dialogue", "turns" if report.unit == "dialogue" else "turn", "score", "why"),
        [
            (number, row.dialogue_id, row.user_turns if row.turn is None else row.turn, f"{row.score:.3f}", row.why)
            for number, row in enumerate(shown, start=1)
        ],
        caption=f"and {rest:,} more; all are in the list" if rest else None,
    )
    console.say(f"score: {report.formula}")
    if report.runs:
        uncertainty = "" if report.measure is None else f"; uncertainty: {_WORDS[report.measure]}"
        console.say(f"asked: {', '.join(report.runs)}{uncertainty}")
    console.say(
        f"left out: {len(report.pool.known):,} labelled or with annotators, {report.pool.silent:,} without a user turn"
    )
    console.say(f"to label: {report.user_turns:,} user turns")
    if report.coverage is not None:
        found = report.coverage
        console.say(
            f"their labels show {found.values} of the {found.in_labels} values that all labels of these dialogues "
            f"show; the ontology has {found.in_ontology}"
        )
    if report.signal is not None:
        _show_signal(console, report.signal)
    console.say(f"Next: semctl export-for-labelling --project NAME --dialogues {shlex.quote(str(report.file))}")


def _show_signal(console: Console, signal: StopSignal) -> None:
    step = f"from {signal.before:,} to {signal.after:,} labelled dialogues"
    if signal.gain is None or signal.interval is None:
        console.say(f"expected gain {step}: not known, {signal.missing}; to know it: {signal.make}")
        return
    low, high = signal.interval
    console.say(
        f"expected gain {step}: {100 * signal.gain:+.1f} points of NDCG@5 (95 %: {100 * low:+.1f} to "
        f"{100 * high:+.1f}): {signal.verdict}"
    )
    for note in signal.notes:
        console.say(f"  {note}")
