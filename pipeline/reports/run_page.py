"""The page of a run's report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.labelling.task_images import image_files
from pipeline.reports.curves import HEIGHT, WIDTH
from pipeline.reports.pages import render
from pipeline.reports.thumbnails import LARGEST, ROOM, Sheet, image_sheet
from pipeline.workspace import Workspace
from schemas.progress import Progress

if TYPE_CHECKING:
    from pipeline.reports.run_report import RunReport
    from pipeline.reports.slices import Figure

_FEW = 10  # recommendation turns, of which a slice tells little

_CANDIDATES = {
    "listed": "ranked among the wrong candidates that the corpus lists for each",
    "1000": "five right products among a thousand wrong ones at most",
    "all": "ranked among all other products of the catalogue",
    "release": "ranked among the candidates as listed, the way the released code takes them",
}
_OUTCOMES = {"won": "Won", "lost": "Lost", "alike": "Alike", "found": "Found", "missed": "Missed"}
_TOLD = {
    "states": "State it reads: the likeliest values, with the probability of what is read of their slot; ✓ as in the "
    "gold state, ✗ not there, missed: only there. Without a gold state there are no marks.",
    "beliefs": "What it ranks by: the probabilities of values that enter the score, from 5 % on; ✗ only from 50 %.",
    "slots": "Attends to: weights of the state's slots in the last hop of the dialogue state interaction, by which the "
    "context's text and images are enhanced; they sum to 100 %.",
    "turns": "Attended: what the student's value predictor looks at in each turn it reads, the mean over slots.",
    "parts": "Why: the largest parts of the sum that is a product's score (log-odds, up to a constant): how well its "
    "values fit each slot, the similarity of words and images, and whether it was shown before.",
}


def run_page(workspace: Workspace, report: RunReport, progress: Progress) -> str:
    """The page as text: the same report and images give the same bytes."""
    files = {image: file.path for image, file in image_files(workspace).items()}
    bare = _page(report, image_sheet({}, [], progress))
    room = min(ROOM, LARGEST - len(bare.encode()))
    return _page(report, image_sheet(files, list(report.cases.images), progress, max(room, 0)))


def _page(report: RunReport, sheet: Sheet) -> str:
    from pipeline.modelling.evaluate import RULES

    metric_names = list(report.evaluation.rows[0].means)
    sections = [
        ("what", "What it is"),
        ("figures", "Figures"),
        *([("training", "Training")] if report.curves else []),
        ("states", "States"),
        ("slices", "Slices"),
        ("cases", "Cases"),
        ("next", "What to label next"),
    ]
    return render(
        "run_report.html",
        report=report,
        sheet=sheet,
        sections=sections,
        facts=_facts(report),
        candidates=_CANDIDATES[report.evaluation.candidates],
        verdict=_verdict(report),
        own=report.evaluation.rows[0].name,
        explained_rows=[text for name, text in RULES.items() if any(name in row for row in report.rows)],
        metrics=[_heading(name) for name in metric_names],
        metric_names=metric_names,
        split_chose=report.evaluation.split == "valid" and report.record.fold is None,
        few=_FEW,
        tally=_tally(report),
        outcomes=_OUTCOMES,
        told=[text for name, text in _TOLD.items() if name in report.cases.explained] or [_NOTHING_TOLD],
        image_notes=_image_notes(sheet),
        width=WIDTH,
        height=HEIGHT,
        percent=percent,
        percent1=percent1,
        points=points,
        signed=_signed,
        span=span,
        between=_between,
    )


_NOTHING_TOLD = "This kind of model tells neither what it believes nor what it attends to."


def percent(value: float | None) -> str:
    """A share in whole per cent."""
    return "–" if value is None else f"{100 * value:.0f}\u00a0%"


def percent1(value: float | None) -> str:
    """A share in per cent with one place; the heading says per cent."""
    return "–" if value is None else f"{100 * value:.1f}"


def points(value: float | None) -> str:
    """A difference of shares in points, with its sign."""
    return "–" if value is None else _signed(100 * value)


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: no minus before 0.0


def span(found: Figure, shown: Callable[[float | None], str] = percent1) -> str:
    """The interval of a figure; empty without one."""
    return "" if found.interval is None else f"{shown(found.interval.low)} to {shown(found.interval.high)}"


def _between(found: Figure, shown: Callable[[float | None], str] = percent1) -> str:
    text = span(found, shown)
    return f" (95 %: {text})" if text else ""


def _heading(metric: str) -> str:
    return metric.replace("precision", "P").replace("recall", "R").replace("ndcg", "NDCG")


def _facts(report: RunReport) -> list[tuple[str, str]]:
    record = report.record
    labels = (
        f"{record.labelled_dialogues:,} dialogues with belief states, {record.unlabelled_dialogues:,} without; "
        f"labelled ratio {record.labeled_ratio:g}{', from a list' if record.labelled_list else ''}"
        if "D_F" in record.inputs
        else f"{record.unlabelled_dialogues:,} dialogues, without belief states"
    )
    facts = [
        ("model", f"{report.about}{f' ({record.remark})' if record.remark else ''}"),
        ("preset", record.preset or "of its own"),
        ("seed", str(record.seed)),
        ("labels", labels),
        ("states as text", "gold ones, before what the user said last (--ds-input)" if record.ds_input else ""),
        ("slots", ", ".join(record.slots)),
        ("training", f"{record.epochs} epochs, the weights of epoch {record.best_epoch} kept; {_time(record.seconds)} "
         f"on {record.device}, {record.precision}"),
        ("parameters", f"{record.parameters:,}"),
        ("words", record.words),
        ("images", record.pictures if record.images else "left out"),
        ("catalogue", f"{report.products:,} products"),
        ("made with", ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))),
    ]  # fmt: skip
    return [(name, text) for name, text in facts if text]


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _verdict(report: RunReport) -> str:
    ahead = report.differences[report.rival]
    if ahead.interval is None:
        return f"Against {report.rival} nothing can be told: there is a single dialogue."
    if ahead.interval.low > 0:
        return f"The run is ahead of {report.rival} beyond what other dialogues would change."
    if ahead.interval.high < 0:
        return f"The run is behind {report.rival} beyond what other dialogues would change."
    return f"The run cannot be told apart from {report.rival} on these dialogues."


def _tally(report: RunReport) -> str:
    tally = report.cases.tally
    if report.against is not None:
        won, lost, alike = (tally.get(name, 0) for name in ("won", "lost", "alike"))
        return f"Against {report.against}, by NDCG@10: {won:,} turns won, {lost:,} lost, {alike:,} alike."
    found, missed = (tally.get(name, 0) for name in ("found", "missed"))
    return f"Of {found + missed:,} turns, {found:,} have a right product among the first ten, {missed:,} have none."


def _image_notes(sheet: Sheet) -> tuple[str, ...]:
    notes = []
    if sheet.missing:
        notes.append(f"{sheet.missing:,} of the images have no file that can be read")
    if sheet.left_out:
        notes.append(
            f"{sheet.left_out:,} of the images are left out, so that the page stays small; ask for fewer cases"
        )
    return tuple(notes)


def run_lines(report: RunReport) -> tuple[str, ...]:
    """What the page says, in short."""
    own = report.figures[report.evaluation.rows[0].name]
    ahead = report.differences[report.rival]
    return (
        f"{report.run} on {report.evaluation.split}: NDCG@5 {percent1(own.mean)}{_between(own)}; "
        f"{points(ahead.mean)} points against {report.rival}{_between(ahead, points)}",
        _tally(report),
    )
