"""The agreement report as one HTML page that needs nothing else: no script, no network, every text escaped.

The page is built as a tree of elements, so that no text of a dialogue or an annotator can become markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from annotate.agreement.report import AgreementReport, ComparisonScore, ConfusionCount, Estimate, SlotScore, word
from pipeline.reports.agreement_report import AgreementRequest
from pipeline.reports.agreement_style import STYLE, axis, dot
from pipeline.reports.agreement_turns import TurnShown, differing_turns, example_texts
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import write_atomic

__all__ = ["render_page", "write_page"]

_NOT_PRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LEAST_SAID = 5
_MOST_PAIRS = 40
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_EXPLAINED = (
    (
        "What is compared",
        "Cells: what an answer says of one slot at one turn, which can be values wanted, values to avoid, a drop, or "
        "nothing. Only turns count that two people or more could label; unsure and bad turns are missing answers. "
        "Values are compared as the ontology spells them, so aliases are equal.",
    ),
    (
        "Alpha",
        "Krippendorff's alpha: 1 minus observed disagreement over what chance would give. 1 is perfect, 0 is chance. "
        "It is taken of each turn's update, not of the state after it: one early slip would count again at every later "
        "turn. All slots together: their disagreements are added up, those expected within each slot, too, and one "
        "ratio is taken. Undefined where only one value ever occurs, since nothing could have differed.",
    ),
    (
        "Good, tentative, poor",
        "From 0.8 labels can be relied on; from 0.667 they allow tentative conclusions; below, they do not "
        "(K. Krippendorff, Content Analysis, 2004, p. 241).",
    ),
    (
        "Score of an annotator or a dialogue",
        "Their part of the disagreement against the chance rates of everybody; the overall alpha is the weighted mean.",
    ),
    (
        "F1, precision, recall",
        "Over single things said (slot, value, wanted or not): of two answers, how much of what one says the other "
        "says, too.",
    ),
    (
        "Same state",
        "Joint goal accuracy: the share of turns after which the states of two annotators, each following their own "
        "answers, are the same in every slot known to both.",
    ),
    (
        "Kappa",
        "Cohen's kappa of two annotators, each with their own chance rates, slots pooled in the same way.",
    ),
    (
        "Intervals",
        "95 %, percentile bootstrap: whole dialogues are drawn again and again. A dialogue alone has none.",
    ),
)


def write_page(path: Path, workspace: Workspace, report: AgreementReport, request: AgreementRequest) -> None:
    """Write the page of a report, with the texts of the turns it shows.

    Raises:
        UsageError: the file cannot be written.
    """
    apart = tuple(each.dialogue_id for each in report.worst if each.differing_turns)
    page = render_page(
        report,
        title=workspace.root.name,
        turns=differing_turns(workspace, apart, request),
        examples=example_texts(workspace, (*report.confusions, *report.omissions)),
    )
    try:
        write_atomic(path, page)
    except OSError as problem:
        raise UsageError(f"cannot write the page: {problem.strerror}", where=path) from None


def render_page(
    report: AgreementReport,
    *,
    title: str,
    turns: dict[str, list[TurnShown]],
    examples: dict[tuple[str, int], str],
) -> str:
    """The page as text: the same report gives the same bytes.

    Args:
        title: of the workspace.
        turns: dialogue id -> its turns with different answers.
        examples: (dialogue id, turn) -> what the user says.
    """
    page = Element("html", {"lang": "en"})
    head = _add(page, "head")
    _add(head, "meta", charset="utf-8")
    _add(head, "meta", **{"http-equiv": "Content-Security-Policy", "content": _POLICY})
    _add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "title", f"Agreement: {title}")
    _add(head, "style", STYLE)
    body = _add(page, "body")
    _summary(body, report, title)
    if report.turns:
        _slots(body, report)
        _people(body, report)
        _confusions(body, report, examples)
        _values(body, report)
        _dialogues(body, report, turns)
    _explanations(body, report)
    _contents(body)
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _summary(body: Element, report: AgreementReport, title: str) -> None:
    _add(body, "h1", "Agreement between annotators")
    names = ", ".join(sorted(each.annotator for each in report.annotators))
    _add(body, "p", f"{title}{f': {names}' if names else ''}", **{"class": "soft"})
    cards = _add(body, "div", **{"class": "head"})
    main = _add(cards, "div", **{"class": "card main"})
    figure = _add(main, "b", f"{_figure(report.alpha.value)} ")
    _word(figure, report.alpha.value)
    _add(main, "span", f"Krippendorff's alpha, all slots{_between(report.alpha)}")
    _draw(main, axis(graded=True) if report.alpha.value is not None else None)
    _draw(main, dot(report.alpha, graded=True))
    for found, what in (
        (report.same, "of two answers to a turn say the same"),
        (report.f1, "F1 of slots and values"),
        (report.joint_goal_accuracy, "of turns lead to the same state"),
    ):
        card = _add(cards, "div", **{"class": "card"})
        _add(card, "b", _percent(found.value))
        _add(card, "span", what + _between(found, percent=True))
    card = _add(cards, "div", **{"class": "card"})
    _add(card, "b", f"{report.turns:,}")
    _add(card, "span", f"turns compared, of {report.dialogues:,} dialogues; {report.differing_turns:,} differ")
    _add(body, "p", _sentence(report))


def _sentence(report: AgreementReport) -> str:
    if report.undefined is not None:
        return f"There is no overall alpha: {report.undefined}."
    weak = [slot.slot for slot in report.slots if word(slot.alpha.value) == "poor"]
    near = [slot.slot for slot in report.slots if word(slot.alpha.value) == "tentative"]
    parts = [f"Poor: {', '.join(weak)}."] if weak else ["No slot is poor."]
    parts += [f"Tentative: {', '.join(near)}."] if near else []
    if report.confusions:
        first = report.confusions[0]
        parts.append(f"Mixed up most: {first.slot}, {first.first} against {first.second} ({first.count:,} times).")
    return " ".join(parts)


def _slots(body: Element, report: AgreementReport) -> None:
    _heading(body, "Slots, worst first")
    rows = _table(body, ("slot", None, "alpha", "95 %", "", "F1", "turns", "times said"), graded=True)
    said = sum(slot.said for slot in report.slots)
    everything = SlotScore("all slots", report.alpha, report.f1, report.turns, said, report.undefined)
    for number, slot in enumerate((everything, *report.slots, report.new_topic)):
        row = _add(rows, "tr", **({"class": "total"} if number == 0 else {}))
        _add(row, "td", "new topic" if slot is report.new_topic else slot.slot, **{"class": "name"})
        _draw(
            _add(row, "td", None if slot.alpha.value is not None else slot.undefined, **{"class": "dot"}),
            dot(slot.alpha, graded=True),
        )
        _numbers(row, _figure(slot.alpha.value), _between(slot.alpha, bare=True))
        _word(_add(row, "td"), slot.alpha.value)
        _numbers(row, _percent(slot.f1.value), f"{slot.n:,}", f"{slot.said:,}")


def _people(body: Element, report: AgreementReport) -> None:
    _heading(body, "Annotators, each against the others")
    rows = _table(
        body, ("", None, "alpha", "95 %", "F1", "precision", "recall", "same state", "turns", "unsure"), graded=True
    )
    for each in report.annotators:
        row = _add(rows, "tr")
        _add(row, "td", each.annotator, **{"class": "name"})
        _draw(_add(row, "td", **{"class": "dot"}), dot(each.alpha, graded=True))
        shares = (each.f1, each.precision, each.recall, each.joint_goal_accuracy)
        _numbers(row, _figure(each.alpha.value), _between(each.alpha, bare=True))
        _numbers(row, *(_percent(share.value) for share in shares), f"{each.turns:,}", f"{each.unreadable:,}")
    _add(
        body,
        "p",
        "Precision: of what they mark, the other marks it, too. Recall: of what the other marks, they mark it, too. "
        "Low precision means that they mark more than others, low recall that they miss things.",
        **{"class": "note"},
    )
    if len(report.pairs) > 1:
        _comparisons(body, "Pairs", report.pairs)
    if report.verdicts:
        _comparisons(body, "Each annotator against the verdicts", report.verdicts)
        text = "Verdicts are asked for where answers differ, so these figures are of the hard turns only."
        _add(body, "p", text, **{"class": "note"})
    if report.prelabels:
        _add(body, "h3", "Answers with and without pre-label")
        rows = _table(body, ("started from a pre-label", None, "F1", "95 %", "the same", "95 %", "pairs"), graded=False)
        names = {"with": "both", "mixed": "one of the two", "without": "neither"}
        for score in report.prelabels:
            row = _add(rows, "tr")
            _add(row, "td", names[score.first], **{"class": "name"})
            _draw(_add(row, "td", **{"class": "dot"}), dot(score.f1, graded=False))
            _numbers(row, _percent(score.f1.value), _between(score.f1, percent=True, bare=True))
            _numbers(row, _percent(score.same.value), _between(score.same, percent=True, bare=True), f"{score.turns:,}")
        text = "Two people who leave the same pre-label as it is agree with each other: more agreement is no proof."
        _add(body, "p", text, **{"class": "note"})


def _comparisons(body: Element, title: str, scores: Sequence[ComparisonScore]) -> None:
    _add(body, "h3", title)
    if len(scores) > _MOST_PAIRS:
        _add(body, "p", f"The {_MOST_PAIRS} of {len(scores):,} that agree least.", **{"class": "note"})
    rows = _table(body, ("", None, "kappa", "95 %", "F1", "the same", "same state", "turns"), graded=True)
    for score in scores[:_MOST_PAIRS]:
        row = _add(rows, "tr")
        _add(row, "td", f"{score.first} and {score.second}" if score.second else score.first, **{"class": "name"})
        _draw(_add(row, "td", **{"class": "dot"}), dot(score.kappa, graded=True))
        _numbers(row, _figure(score.kappa.value), _between(score.kappa, bare=True))
        shares = (score.f1, score.same, score.joint_goal_accuracy)
        _numbers(row, *(_percent(share.value) for share in shares), f"{score.turns:,}")


def _confusions(body: Element, report: AgreementReport, examples: dict[tuple[str, int], str]) -> None:
    if not report.confusions and not report.omissions:
        return
    _heading(body, "Mixed up most")
    if report.confusions:
        rows = _table(body, ("slot", "one says", "the other says", "times", "for example"))
        for confusion in report.confusions:
            _confusion(rows, confusion, examples, (confusion.first, confusion.second))
    if report.omissions:
        _add(body, "h3", "Said by one, left out by the other")
        rows = _table(body, ("slot", "one says", "times", "for example"))
        for omission in report.omissions:
            _confusion(rows, omission, examples, (omission.first,))


def _confusion(
    rows: Element, confusion: ConfusionCount, examples: dict[tuple[str, int], str], said: Sequence[str]
) -> None:
    row = _add(rows, "tr")
    _add(row, "td", confusion.slot, **{"class": "name"})
    for text in said:
        _add(row, "td", text, **{"class": "value"})
    _numbers(row, f"{confusion.count:,}")
    cell = _add(row, "td", **{"class": "quotes"})
    for example in confusion.examples[:2]:
        text = examples.get((example.dialogue_id, example.turn), "")
        quote = _add(cell, "div")
        _add(quote, "bdi", f"“{text if len(text) <= 180 else f'{text[:179]}…'}”")
        where = f" {example.dialogue_id}, turn {example.turn}: {confusion.first} by {example.first}, "
        _add(quote, "span", f"{where}{confusion.second} by {example.second}", **{"class": "quote"})


def _dialogues(body: Element, report: AgreementReport, turns: dict[str, list[TurnShown]]) -> None:
    apart = [each for each in report.worst if turns.get(each.dialogue_id)]
    if not apart:
        return
    _heading(body, "Dialogues agreed on least")
    _add(body, "p", "Turns with different answers; what not everybody says stands out.", **{"class": "note"})
    for score in apart:
        about = f"alpha {_figure(score.alpha)}, {score.differing_turns:,} of {score.turns:,} turns differ"
        heading = _add(body, "h3", f"Dialogue {score.dialogue_id} ")
        _add(heading, "span", about, **{"class": "soft"})
        for shown in turns[score.dialogue_id]:
            _turn(body, shown)


def _turn(body: Element, shown: TurnShown) -> None:
    box = _add(body, "div", **{"class": "turn"})
    _add(box, "div", f"Turn {shown.turn}", **{"class": "who"})
    if shown.before:
        _add(box, "div", f"Assistant: {shown.before}", **{"class": "before", "dir": "auto"})
    _add(box, "div", shown.text, **{"class": "said", "dir": "auto"})
    answers = _add(box, "div", **{"class": "answers"})
    for answer in shown.answers:
        side = _add(answers, "div", **({"class": "ruling"} if answer.is_verdict else {}))
        _add(side, "div", answer.who, **{"class": "who"})
        for chip in answer.chips:
            _add(side, "span", chip.text, **{"class": f"chip {chip.kind}"})
        if not answer.chips:
            _add(side, "span", "nothing", **{"class": "soft"})


def _values(body: Element, report: AgreementReport) -> None:
    often = [value for value in report.values if value.said >= _LEAST_SAID and value.alpha.value is not None]
    worst = sorted(often, key=lambda value: (value.alpha.value or 0.0, -value.said))[: len(report.worst) or 20]
    if not worst:
        return
    _heading(body, "Values agreed on least")
    text = f"Of {len(often):,} values said {_LEAST_SAID} times or more; alpha of whether a turn says it."
    _add(body, "p", text, **{"class": "note"})
    rows = _table(body, ("slot", "value", None, "alpha", "95 %", "F1", "times said", "dialogues"), graded=True)
    for value in worst:
        row = _add(rows, "tr")
        _add(row, "td", value.slot, **{"class": "name"})
        _add(row, "td", value.value, **{"class": "value"})
        _draw(_add(row, "td", **{"class": "dot"}), dot(value.alpha, graded=True))
        _numbers(row, _figure(value.alpha.value), _between(value.alpha, bare=True), _percent(value.f1.value))
        _numbers(row, f"{value.said:,}", f"{value.dialogues:,}")


def _explanations(body: Element, report: AgreementReport) -> None:
    _heading(body, "How it was counted")
    terms = _add(body, "dl")
    for term, text in _EXPLAINED:
        _add(terms, "dt", term)
        _add(terms, "dd", text)
    for what, count in report.left_out.items():
        _add(body, "p", f"Left out: {count:,} {what}.", **{"class": "note"})
    chosen = ", ".join(f"{name} {value}" for name, value in report.settings.items() if value is not None)
    _add(body, "p", f"Settings: {chosen}.", **{"class": "note"})


def _add(parent: Element, tag: str, text: str | None = None, **attributes: str) -> Element:
    element = ElementTree.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = text if tag == "style" else _NOT_PRINTABLE.sub("\ufffd", text)
    return element


def _heading(body: Element, text: str) -> None:
    _add(body, "h2", text, id=_anchor(text))


def _anchor(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower())


def _contents(body: Element) -> None:
    """Links to the sections, above the first of them."""
    links = Element("nav")
    for heading in body.iter("h2"):
        _add(links, "a", heading.text, href=f"#{heading.get('id')}")
    body.insert(next(place for place, part in enumerate(body) if part.tag == "h2"), links)


def _table(parent: Element, columns: Sequence[str | None], *, graded: bool = False) -> Element:
    """An empty table's body; a column without a name shows dots."""
    table = _add(_add(parent, "div", **{"class": "wide"}), "table")
    row = _add(_add(table, "thead"), "tr")
    numbers = {"alpha", "kappa", "95 %", "F1", "precision", "recall", "same state", "the same"}
    numbers |= {"turns", "times", "times said", "dialogues", "pairs", "unsure"}
    for column in columns:
        if column is None:
            _draw(_add(row, "th", **{"class": "dot"}), axis(graded=graded))
        else:
            _add(row, "th", column, **({"class": "number"} if column in numbers else {}))
    return _add(table, "tbody")


def _numbers(row: Element, *cells: str) -> None:
    for cell in cells:
        _add(row, "td", cell, **{"class": "number"})


def _draw(parent: Element, svg: Element | None) -> None:
    if svg is not None:
        parent.append(svg)


def _word(parent: Element, alpha: float | None) -> None:
    _add(parent, "span", word(alpha), **{"class": f"word {word(alpha)}"})


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: no minus before 0.00


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _between(found: Estimate, *, percent: bool = False, bare: bool = False) -> str:
    if found.low is None or found.high is None:
        return ""
    low, high = ((_percent if percent else _figure)(end) for end in (found.low, found.high))
    return f"{low} to {high}" if bare else f" ({low} to {high})"
