"""Figures drawn with matplotlib: measures against a share, dashed where a ranker has none; and rows of marks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.experiments.summary import SELECT, RowSummary, label_heading

# told apart by people who see colours differently, too (Okabe and Ito's set)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# and, where there is no colour, by shape
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("--", ":", "-.", (0, (6, 2)), (0, (4, 1, 1, 1, 1, 1)), (0, (2, 4)))
_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "semctl", "text.parse_math": False, "font.size": 9}


@dataclass(frozen=True)
class Drawing:
    """A figure as a file's content; as the last line of a notebook's cell it is shown as an image."""

    svg: str
    png: bytes = field(repr=False)

    def _repr_svg_(self) -> str:
        return self.svg


def ratio_figure(rows: Sequence[RowSummary], title: str) -> Drawing | None:
    """The figure; None unless a model was trained at two ratios at least. The same rows give the same bytes.

    Bars are one standard deviation up and down. Rankers without a ratio are dashed lines.
    """
    points: dict[str, list[tuple[float, RowSummary]]] = {}
    for row in sorted((row for row in rows if row.ratio is not None), key=lambda row: row.ratio or 0.0):
        points.setdefault(row.shown, []).append((row.ratio or 0.0, row))
    if max(map(len, points.values()), default=0) < 2:
        return None
    level = [row for row in rows if row.ratio is None and row.name != "random"]
    return curves(points, level, (SELECT,), title, "share of the training dialogues used with labels")


def curves(
    lines: Mapping[str, Sequence[tuple[float, RowSummary]]],
    level: Sequence[RowSummary],
    measures: Sequence[str],
    title: str,
    along: str,
) -> Drawing:
    """A panel for each measure, per cent, against a share; bars are one standard deviation up and down.

    Args:
        lines: name -> its points, from left to right.
        level: rows that have no place along the axis, as dashed lines.
        measures: of :attr:`RowSummary.figures` or :attr:`RowSummary.states`.
        title: of the figure.
        along: what the axis is.
    """
    with _figure((7.6, 4.2) if len(measures) == 1 else (3.4 * len(measures) + 0.6, 4.4), title) as (figure, finished):
        handles: dict[str, Any] = {}
        for panel, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
            for number, (name, line) in enumerate(lines.items()):
                found = [(x, row.measure(measure)) for x, row in line]
                known = [(x, spread) for x, spread in found if spread is not None]
                if not known:
                    continue
                bars = panel.errorbar(
                    [x for x, _ in known],
                    [100 * spread.mean for _, spread in known],
                    [100 * (spread.std or 0.0) for _, spread in known],
                    marker=_MARKERS[number % len(_MARKERS)],
                    markersize=5,
                    capsize=3,
                    color=_COLOURS[number % len(_COLOURS)],
                    label=_shortened(name),
                )
                bars[0].set_gid(f"model-{number}" if measure == measures[0] else f"{measure}-{number}")
                handles.setdefault(name, bars)
            for number, row in enumerate(level, start=len(lines)):
                spread = row.measure(measure)
                if spread is not None:
                    colour, dashes = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
                    label = _shortened(row.shown)
                    drawn = panel.axhline(100 * spread.mean, linestyle=dashes, color=colour, label=label)
                    handles.setdefault(row.label, drawn)
            panel.set_xticks(ticks := _apart(sorted({x for line in lines.values() for x, _ in line})))
            panel.set_xticklabels([f"{tick:g}" for tick in ticks])
            panel.set_ylabel(label_heading(measure))
            panel.grid(axis="y", color="#dddddd")
            panel.spines[["top", "right"]].set_visible(False)
            if measure == measures[len(measures) // 2]:
                panel.set_xlabel(along)
        if len(measures) == 1:
            panel.legend(handles=list(handles.values()), loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
        else:
            columns = min(len(handles), 2 + len(measures))
            figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=columns, frameon=False)
    return finished[0]


class Dots(NamedTuple):
    """One kind of mark of :func:`dots`: a mean and a standard deviation, per cent, for each name and measure."""

    name: str
    hollow: bool
    values: Mapping[tuple[str, str], tuple[float, float | None]]  # (name, measure) -> mean and deviation


def dots(names: Sequence[str], series: Sequence[Dots], measures: Sequence[str], title: str) -> Drawing:
    """A line of marks for each name, a panel for each measure; bars are one standard deviation to either side."""
    series = [each for each in series if each.values]
    marked = {name: [each.name for each in series if any(of == name for of, _ in each.values)] for name in names}

    def place(line: int, of: str) -> float:
        beside = marked[names[line]]
        return line + 0.2 * (beside.index(of) - (len(beside) - 1) / 2)

    height = 1.5 + len(names) * (0.18 + 0.1 * max(map(len, marked.values()), default=1))
    with _figure((2.4 + 2.6 * len(measures), height), title) as (figure, finished):
        handles: dict[str, Any] = {}
        panels = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
        for panel, measure in zip(panels, measures, strict=True):
            for number, each in enumerate(series):
                at = [line for line, name in enumerate(names) if (name, measure) in each.values]
                found = [each.values[names[line], measure] for line in at]
                if not found:
                    continue
                colour = _COLOURS[number % len(_COLOURS)]
                marks = panel.errorbar(
                    [mean for mean, _ in found],
                    [place(line, each.name) for line in at],
                    xerr=[deviation or 0.0 for _, deviation in found],
                    linestyle="none",
                    marker=_MARKERS[number % len(_MARKERS)],
                    markersize=5.5,
                    markerfacecolor="white" if each.hollow else colour,
                    capsize=2.5,
                    color=colour,
                    label=each.name,
                )
                marks[0].set_gid(f"{measure}-{number}")
                handles.setdefault(each.name, marks)
            for line in range(1, len(names)):
                panel.axhline(line - 0.5, color="#e5e5e5", linewidth=0.6)
            panel.set_ylim(len(names) - 0.5, -0.5)
            panel.set_yticks(range(len(names)), [_shortened(name) for name in names])
            panel.tick_params(axis="y", length=0)
            panel.set_xlabel(label_heading(measure))
            panel.grid(axis="x", color="#dddddd")
            panel.spines[["top", "right", "left"]].set_visible(False)
        figure.legend(
            handles=list(handles.values()), loc="outside lower center", ncols=min(4, len(handles) or 1), frameon=False
        )
    return finished[0]


@contextmanager
def _figure(size: tuple[float, float], title: str) -> Iterator[tuple[Any, list[Drawing]]]:
    """An empty figure, and where its drawing is found at the end; the same content gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    finished: list[Drawing] = []
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure, finished
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, wrap=True)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
        finished.append(Drawing(svg.getvalue(), png.getvalue()))


def _apart(ratios: Sequence[float]) -> list[float]:
    """Those whose labels do not touch."""
    shown = [ratios[0]]
    for ratio in ratios[1:]:
        if ratio - shown[-1] > 0.05 * (ratios[-1] - ratios[0]):
            shown.append(ratio)
    return shown


def _shortened(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:31]}…"
