"""NDCG@5 against the share of labelled dialogues, as an SVG drawing; dashed where no labels are read."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as Svg

from pipeline.experiments.summary import SELECT, RowSummary

__all__ = ["Drawing", "ratio_figure"]

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 240, 40, 50
# told apart by people who see colours differently, too (Okabe and Ito's set)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


class Drawing(str):
    """An SVG document; as the last line of a notebook's cell it is shown as an image."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def ratio_figure(rows: Sequence[RowSummary], title: str) -> Drawing | None:
    """The figure as text; None unless a model was trained at two ratios at least.

    Bars are one standard deviation up and down. Rankers without a ratio are dashed lines.
    """
    lines: dict[str, list[RowSummary]] = {}
    for row in rows:
        if row.ratio is not None:
            lines.setdefault(row.name, []).append(row)
    if max(map(len, lines.values()), default=0) < 2:
        return None
    flat = [row for row in rows if row.ratio is None and row.name != "random"]
    points = [row.figures[SELECT] for row in (*(row for line in lines.values() for row in line), *flat)]
    low = max(0.0, min(100 * (point.mean - (point.std or 0.0)) for point in points) - 2)
    high = min(100.0, max(100 * (point.mean + (point.std or 0.0)) for point in points) + 2)
    ratios = sorted({row.ratio or 0.0 for line in lines.values() for row in line})
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(ratio: float) -> float:
        return _LEFT + (right - _LEFT) * (ratio - ratios[0]) / (ratios[-1] - ratios[0])

    def y(value: float) -> float:
        return bottom - (bottom - _TOP) * (value - low) / (high - low)

    size = {"width": str(_WIDTH), "height": str(_HEIGHT), "viewBox": f"0 0 {_WIDTH} {_HEIGHT}"}
    svg = Svg.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "font-family": "sans-serif", **size})
    Svg.SubElement(svg, "rect", {"width": "100%", "height": "100%", "fill": "white"})
    _text(svg, _LEFT, 22, title, size=12)
    _line(svg, [(_LEFT, _TOP), (_LEFT, bottom), (right, bottom)], "#444444")
    step = next(step for step in (1, 2, 5, 10, 20) if (high - low) / step <= 8 or step == 20)
    for value in range(int(-(-low // step)) * step, int(high) + 1, step):
        _line(svg, [(_LEFT, y(value)), (right, y(value))], "#dddddd")
        _text(svg, _LEFT - 8, y(value) + 4, str(value), anchor="end")
    shown = ratios[0] - 1.0
    for ratio in ratios:
        _line(svg, [(x(ratio), bottom), (x(ratio), bottom + 5)], "#444444")
        if shown < ratios[0] or x(ratio) - x(shown) > 26:  # labels do not touch
            _text(svg, x(ratio), bottom + 19, f"{ratio:g}", anchor="middle")
            shown = ratio
    _text(svg, (_LEFT + right) / 2, _HEIGHT - 8, "share of the training dialogues used with labels", anchor="middle")
    _text(svg, _LEFT - 8, _TOP - 8, "NDCG@5", anchor="end")
    legend = _TOP + 4.0
    for number, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        ordered = sorted(line, key=lambda row: row.ratio or 0.0)
        _line(svg, [(x(row.ratio or 0.0), y(100 * row.figures[SELECT].mean)) for row in ordered], colour, width=2)
        for row in ordered:
            at, found = x(row.ratio or 0.0), row.figures[SELECT]
            up, down = (y(100 * (found.mean + sign * (found.std or 0.0))) for sign in (1, -1))
            _line(svg, [(at, up), (at, down)], colour)
            centre = {"cx": f"{at:.1f}", "cy": f"{y(100 * found.mean):.1f}", "r": "3.5", "fill": colour}
            Svg.SubElement(svg, "circle", centre)
        legend = _legend(svg, legend, name, colour, dashed=False)
    for number, row in enumerate(flat, start=len(lines)):
        colour, height = _COLOURS[number % len(_COLOURS)], y(100 * row.figures[SELECT].mean)
        _line(svg, [(_LEFT, height), (right, height)], colour, dashed=True)
        legend = _legend(svg, legend, row.name, colour, dashed=True)
    Svg.indent(svg)
    return Drawing(Svg.tostring(svg, encoding="unicode") + "\n")


def _line(
    svg: Svg.Element, points: Sequence[tuple[float, float]], colour: str, *, width: float = 1, dashed: bool = False
) -> None:
    style = {"fill": "none", "stroke": colour, "stroke-width": f"{width:g}"}
    if dashed:
        style["stroke-dasharray"] = "6 4"
    Svg.SubElement(svg, "polyline", {"points": " ".join(f"{a:.1f},{b:.1f}" for a, b in points), **style})


def _text(svg: Svg.Element, x: float, y: float, text: str, *, anchor: str = "start", size: int = 11) -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "font-size": str(size), "fill": "#222222"}
    Svg.SubElement(svg, "text", place).text = text


def _legend(svg: Svg.Element, y: float, name: str, colour: str, *, dashed: bool) -> float:
    start = _WIDTH - _RIGHT + 14
    _line(svg, [(start, y), (start + 22, y)], colour, width=2, dashed=dashed)
    _text(svg, start + 28, y + 4, name if len(name) <= 32 else f"{name[:31]}…")
    return y + 20
