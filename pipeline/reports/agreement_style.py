"""How the agreement page looks: its style sheet, and intervals drawn as a dot on a line."""

from __future__ import annotations

from xml.etree import ElementTree

from annotate.agreement.report import GOOD, TENTATIVE, Estimate, word

__all__ = ["STYLE", "axis", "dot"]

_WIDTH, _HEIGHT, _MARGIN = 240, 20, 6
_COLOURS = {"good": "#0b6e4f", "tentative": "#9a6700", "poor": "#b3261e", "undefined": "#5f6368"}
_PLAIN = "#1f4e79"

STYLE = """
:root { --ink: #1d2125; --soft: #5b6470; --line: #d9dde2; --pale: #f5f7f9; --good: #0b6e4f;
  --tentative: #9a6700; --poor: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 32px 64px; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 4px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 24px 0 6px; }
p { margin: 4px 0 12px; max-width: 80ch; }
.soft { color: var(--soft); }
.note { color: var(--soft); font-size: 13.5px; }
.head { display: flex; flex-wrap: wrap; gap: 14px; margin: 22px 0 8px; }
.card { flex: 1 1 150px; padding: 12px 16px; background: var(--pale); border: 1px solid var(--line);
  border-radius: 8px; }
.card.main { flex: 2 1 300px; }
.card b { display: block; font-size: 26px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.word { display: inline-block; padding: 0 8px; border-radius: 10px; color: #fff !important;
  font-size: 12.5px; font-weight: 600;
  line-height: 20px; vertical-align: 3px; white-space: nowrap; }
td .word { vertical-align: baseline; }
.word.good { background: var(--good); } .word.tentative { background: var(--tentative); }
.word.poor { background: var(--poor); } .word.undefined { background: #5f6368; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 8px 0; }
th, td { padding: 5px 10px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-size: 12.5px; font-weight: 600; color: var(--soft); vertical-align: bottom; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.dot, th.dot { width: 252px; padding-bottom: 0; }
tr.total td { font-weight: 600; background: var(--pale); }
td { overflow-wrap: break-word; }
td.name { min-width: 9em; }
td.value { min-width: 8em; overflow-wrap: anywhere; }
td.quotes { min-width: 18em; overflow-wrap: anywhere; }
nav { margin: 14px 0 0; font-size: 14px; }
nav a { color: #1f4e79; margin-right: 18px; white-space: nowrap; }
svg { display: block; }
.quote { color: var(--soft); font-size: 13.5px; }
.quote + .quote { margin-top: 6px; }
.turn { break-inside: avoid; margin: 10px 0 14px; padding: 10px 14px; border: 1px solid var(--line);
  border-radius: 8px; }
.said { white-space: pre-wrap; overflow-wrap: anywhere; }
.before { color: var(--soft); font-size: 13.5px; white-space: pre-wrap; overflow-wrap: anywhere;
  margin-bottom: 2px; }
.who { color: var(--soft); font-size: 12.5px; font-weight: 600; overflow-wrap: anywhere; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 8px 20px;
  margin-top: 8px;
  padding-top: 8px; border-top: 1px dashed var(--line); }
.chip { display: inline-block; margin: 2px 6px 2px 0; padding: 0 8px; border: 1px solid var(--line);
  border-radius: 5px;
  font-size: 13.5px; overflow-wrap: anywhere; }
.chip.same { color: var(--soft); }
.chip.apart { border: 1.5px solid #9a3412; background: #fff4ed; font-weight: 600; }
.chip.silent { border: 1.5px dashed #9a3412; color: #7c2d12; }
.ruling { border-left: 3px solid var(--good); padding-left: 10px; }
dt { font-weight: 600; margin-top: 8px; } dd { margin: 0 0 0 0; max-width: 88ch; }
@media print {
  nav { display: none; }
  body { max-width: none; padding: 0; font-size: 11.5px; }
  .wide { overflow: visible; } tr, .card { break-inside: avoid; } h2, h3 { break-after: avoid; }
  thead { display: table-header-group; }
  .word, .card, tr.total td, .chip, svg * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  th, .word { font-size: 10px; }
  th, td { padding-right: 7px; }
  td svg, th svg { width: 130px; height: auto; }
  td.dot, th.dot { width: 138px; }
  td.name { min-width: 6em; }
  td.value { min-width: 6em; }
  td.quotes { min-width: 12em; }
  .quote, .before, .chip, .note { font-size: 11px; }
  @page { size: A4; margin: 14mm; }
}
"""


def dot(found: Estimate, *, graded: bool) -> ElementTree.Element | None:
    """An interval from 0 to 1 as a line with a dot at the figure; None where there is no figure.

    Args:
        found: the figure; what lies below 0 is drawn at the left end, as an arrow.
        graded: whether the thresholds of alpha hold for it: they are drawn, and it is coloured by them.
    """
    if found.value is None:
        return None
    colour = _COLOURS[word(found.value)] if graded else _PLAIN
    middle = _HEIGHT / 2
    svg = _svg(_HEIGHT)
    spread = "" if found.low is None or found.high is None else f", 95 % interval {found.low:.2f} to {found.high:.2f}"
    ElementTree.SubElement(svg, "title").text = f"{found.value:.2f}{spread}"
    _line(svg, 0, 1, middle, "#e3e7ec", 2)
    if graded:
        for threshold in (TENTATIVE, GOOD):
            tick = {"x1": _x(threshold), "x2": _x(threshold), "y1": "2", "y2": f"{_HEIGHT - 2}"}
            ElementTree.SubElement(svg, "line", {**tick, "stroke": "#b6bec8", "stroke-dasharray": "2 2"})
    if found.low is not None and found.high is not None:
        _line(svg, found.low, found.high, middle, colour, 3)
    if found.value < 0:
        points = f"{_MARGIN - 5},{middle} {_MARGIN + 4},{middle - 5} {_MARGIN + 4},{middle + 5}"
        ElementTree.SubElement(svg, "polygon", {"points": points, "fill": colour})
    else:
        circle = {"cx": _x(found.value), "cy": f"{middle:g}", "r": "5", "fill": colour, "stroke": "#fff"}
        ElementTree.SubElement(svg, "circle", circle)
    return svg


def axis(*, graded: bool) -> ElementTree.Element:
    """The scale above a column of dots."""
    svg = _svg(15)
    marks = [(0.0, "0"), (TENTATIVE, f"{TENTATIVE:g}"), (GOOD, f"{GOOD:g}"), (1.0, "1")] if graded else []
    for value, text in marks or [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")]:
        anchor = "start" if value == 0 else "end" if value in (1, TENTATIVE) else "start" if graded else "middle"
        place = {"x": _x(value), "y": "12", "text-anchor": anchor, "font-size": "11", "fill": "#5b6470"}
        ElementTree.SubElement(svg, "text", place).text = text
    return svg


def _svg(height: int) -> ElementTree.Element:
    size = {"width": f"{_WIDTH}", "height": f"{height}", "viewBox": f"0 0 {_WIDTH} {height}", "role": "img"}
    return ElementTree.Element("svg", size)


def _x(value: float) -> str:
    return f"{_MARGIN + (_WIDTH - 2 * _MARGIN) * min(max(value, 0.0), 1.0):.1f}"


def _line(svg: ElementTree.Element, start: float, end: float, y: float, colour: str, width: int) -> None:
    ends = {"x1": _x(start), "x2": _x(end), "y1": f"{y:g}", "y2": f"{y:g}"}
    style = {"stroke": colour, "stroke-width": f"{width}", "stroke-linecap": "round"}
    ElementTree.SubElement(svg, "line", {**ends, **style})
