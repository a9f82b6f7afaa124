"""NDCG@5 against the share of labelled dialogues, drawn with matplotlib; dashed where no labels are read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.experiments.summary import SELECT, RowSummary

# told apart by people who see colours differently, too (Okabe and Ito's set)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
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
    lines: dict[str, list[RowSummary]] = {}
    for row in sorted((row for row in rows if row.ratio is not None), key=lambda row: row.ratio or 0.0):
        lines.setdefault(row.shown, []).append(row)
    if max(map(len, lines.values()), default=0) < 2:
        return None
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        colours = iter(_COLOURS * len(rows))
        drawn: list[Any] = []
        for number, (name, line) in enumerate(lines.items()):
            found = [row.figures[SELECT] for row in line]
            bars = axes.errorbar(
                [row.ratio or 0.0 for row in line],
                [100 * each.mean for each in found],
                [100 * (each.std or 0.0) for each in found],
                marker="o",
                markersize=5,
                capsize=3,
                color=next(colours),
                label=_shortened(name),
            )
            bars[0].set_gid(f"model-{number}")
            drawn.append(bars)
        for row in (row for row in rows if row.ratio is None and row.name != "random"):
            height = 100 * row.figures[SELECT].mean
            drawn.append(axes.axhline(height, linestyle="--", color=next(colours), label=_shortened(row.shown)))
        axes.set_xticks(ratios := _apart(sorted({row.ratio or 0.0 for line in lines.values() for row in line})))
        axes.set_xticklabels([f"{ratio:g}" for ratio in ratios])
        axes.set_xlabel("share of the training dialogues used with labels")
        axes.set_ylabel("NDCG@5")
        axes.grid(axis="y", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, wrap=True)
        axes.legend(handles=drawn, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return Drawing(svg.getvalue(), png.getvalue())


def _apart(ratios: Sequence[float]) -> list[float]:
    """Those whose labels do not touch."""
    shown = [ratios[0]]
    for ratio in ratios[1:]:
        if ratio - shown[-1] > 0.05 * (ratios[-1] - ratios[0]):
            shown.append(ratio)
    return shown


def _shortened(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:31]}…"
