"""Turns that people answer differently, as tasks for a reviewer: the same screen, each answer shown, names hidden.

A review task shows only the turns to decide, each with what everybody marked; the turns between are shown without
controls. What is agreed stands there already, so that only the rest is to be decided: what the reviewer changes is the
verdict. A turn that is not in dispute has no controls in it and keeps its label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.annotations.annotation import Mark
from annotate.annotations.dialogue_index import dialogue_sha256
from annotate.exports.taken import answer_entries, answer_name
from annotate.prelabels.prelabels import TurnPrelabel, prediction
from annotate.resolution.ballots import Ballot, Item, answers_sha256, items_of, update_of
from annotate.resolution.resolve import Resolution, TurnResolution
from annotate.tasks.dialogue_tasks import TASK_SCHEMA, TaskStyle, shown_text, states_html, turn_html
from annotate.tasks.guidelines import guideline_html
from annotate.tasks.label_config import NO_KEY
from schemas.ontology import Ontology

AGREED = "agreed"
"""The model version of the prediction that holds what is agreed."""

REVIEW_RULES = (
    "Every row is one user turn that annotators answered differently. Their answers are shown below it; "
    "what differs is highlighted.",
    "One click beside Take takes an annotator's whole answer, or what is filled in; another click gives it up again. "
    "In a slot in which you add or remove a mark yourself, what the fields show counts instead.",
    "What is agreed is filled in already. If you take nothing, add what is missing and remove what is wrong: "
    "you decide the slots in which you change something. "
    "Those in dispute that you leave as they are stay open and are asked again.",
    "If nobody can tell what the user means, use the flag unsure: the turn stays unlabelled.",
)
"""What a reviewer has to know beyond the guideline, sentence by sentence."""


def review_instruction(ontology: Ontology) -> str:
    """What a reviewer reads under Instructions, as HTML."""
    rules = "".join(f"<li>{rule}</li>" for rule in REVIEW_RULES)
    return f"<h2>How to review</h2><ul>{rules}</ul>" + guideline_html(ontology)


_MARK_TEXTS: Mapping[str, str] = {
    "new_topic": "new topic",
    "unsure": "unsure",
    "bad_turn": "bad turn",
    "bad_dialogue": "bad dialogue",
    "none": "nothing",
}


@dataclass(frozen=True)
class Dispute:
    """One turn for a reviewer."""

    resolution: TurnResolution  # what people say of it and what is agreed
    slots: tuple[str, ...]  # the slots that their answers differ in, sorted

    @property
    def turn(self) -> int:
        return self.resolution.turn

    @property
    def is_open(self) -> bool:
        """Whether a reviewer has to decide: nothing has, or answers changed since."""
        return self.resolution.decided_by == "disputed" or bool(self.resolution.outdated)

    @property
    def sha256(self) -> str:
        """Hash of the answers, see :func:`annotate.resolution.ballots.answers_sha256`."""
        return answers_sha256(self.resolution.ballots)


def disputes_of(resolution: Resolution, min_disagreement: float | None = None) -> list[Dispute]:
    """The turns of a dialogue that a reviewer should see.

    Args:
        resolution: of the dialogue.
        min_disagreement: None for the turns that nothing has decided. Else every turn on which at least this share of
            the annotators, and somebody, differs from the commonest answer, decided or not. Of turns with a verdict
            only those are among them whose verdict is outdated.
    """
    found = []
    for turn in resolution.turns:
        dispute = Dispute(turn, _slots_that_differ(turn.ballots))
        enough = min_disagreement is not None and turn.disagreement > 0 and turn.disagreement >= min_disagreement
        if turn.outdated or (
            turn.decided_by != "verdict" and (dispute.is_open if min_disagreement is None else enough)
        ):
            found.append(dispute)
    return found


def review_tasks(
    rows: Sequence[Mapping[str, Any]],
    disputes: Sequence[Dispute],
    resolution: Resolution,
    style: TaskStyle,
    ontology: Ontology,
    *,
    offered: Collection[str],
    first_window: int = 0,
) -> list[dict[str, Any]]:
    """The review tasks of one dialogue.

    Args:
        rows: the dialogue's rows of ``turns.parquet``, in order.
        disputes: the turns to decide, in order; at least one.
        resolution: of the dialogue: the labels of other turns are shown as they are.
        style: what all tasks share; its window is how many turns one task asks for at most.
        ontology: says which spellings are the same value.
        offered: ``slot=value`` entries that the screen offers.
        first_window: number of the first task; numbers of earlier review tasks of the dialogue are not used again.
    """
    parts = [disputes[start : start + style.window] for start in range(0, len(disputes), style.window)]
    position = {int(row["turn"]): index for index, row in enumerate(rows)}
    labels = {turn.turn: turn for turn in resolution.turns}
    people = _numbers(resolution, str(rows[0]["dialogue_id"]))
    dialogue_id = str(rows[0]["dialogue_id"])
    so_far = states_html(list(labels), resolution.updates, ontology)
    tasks = []
    for number, part in enumerate(parts):
        shown = _first_shown(rows, position[part[0].turn])
        shown_before = shown > 0
        past = "".join(_context(row, labels, style) for row in rows[:shown])
        answers = {str(dispute.turn): dict(_to_take_over(dispute, people)) for dispute in part}
        user_turns: list[dict[str, Any]] = []
        for dispute in part:
            here = position[dispute.turn]
            since = "".join(_context(row, labels, style) for row in rows[shown:here])
            asked = turn_html(rows[here], style, current=True)
            asked += so_far[dispute.turn] + _answers(dispute, people, ontology)
            buttons = [{"value": name, "hotkey": NO_KEY} for name in answers.get(str(dispute.turn), {})]
            user_turns.append({"turn": dispute.turn, "html": since + asked, "answers": buttons})
            shown = here + 1
        last = number == len(parts) - 1
        tail = "".join(_context(row, labels, style) for row in rows[shown:]) if last else ""
        end = "end of the dialogue" if last else "the dialogue continues in the next part"
        data: dict[str, Any] = {
            "uid": f"{dialogue_id}#{first_window + number}",
            "dialogue_id": dialogue_id,
            "window": first_window + number,
            "windows": first_window + len(parts),
            "dialogue_sha256": dialogue_sha256(rows),
            "semctl_schema": TASK_SCHEMA,
            "ontology_version": style.ontology_version,
            "config_sha256": style.config_sha256,
            "role": "review",
            "disputes": {str(dispute.turn): dispute.sha256 for dispute in part},
            "answers": answers,
            "past_html": _head(dialogue_id, number, len(parts), is_start=not shown_before) + past,
            "user_turns": user_turns,
            "tail_html": tail + f'<div class="sem-head">{end}</div>' + _notes(resolution, people),
        }
        agreed = {dispute.turn: TurnPrelabel(update_of(_without_contradictions(dispute)), 1.0) for dispute in part}
        tasks.append({"data": data, "predictions": [prediction(agreed, AGREED, data, offered)]})
    return tasks


def mark_text(mark: Mark) -> str:
    """A mark as people read it: ``wants color=red``."""
    if mark.op in ("want", "dislike"):
        return f"{'wants' if mark.op == 'want' else 'dislikes'} {mark.slot}={mark.value}"
    if mark.op in ("drop", "unknown"):
        return f"{'drops' if mark.op == 'drop' else 'cannot tell'} {mark.slot}"
    return _MARK_TEXTS.get(mark.op, mark.op)


def _slots_that_differ(ballots: Sequence[Ballot]) -> tuple[str, ...]:
    items = {item for ballot in ballots for item in ballot.items}
    return tuple(sorted({item.slot for item in items if any(item not in ballot.items for ballot in ballots)} - {""}))


def _first_shown(rows: Sequence[Mapping[str, Any]], asked: int) -> int:
    """Where the part beside the controls begins: what was said since the user spoke last."""
    before = [index for index in range(asked) if rows[index]["speaker"] == "user"]
    return before[-1] + 1 if before else 0


def _context(row: Mapping[str, Any], labels: Mapping[int, TurnResolution], style: TaskStyle) -> str:
    """A turn that is not asked for, with its label where it has one."""
    label = labels.get(int(row["turn"]))
    if label is None or label.decided_by in (None, "disputed") or label.update is None or not label.update.readable:
        return turn_html(row, style)
    said = [Mark(0, item.op, item.slot, spelled) for item, spelled in sorted(label.agreed.items())]
    marked = "; ".join(map(mark_text, said)) or "nothing"
    return turn_html(row, style) + f'<div class="sem-agreed">labelled: {shown_text(marked)}</div>'


def _head(dialogue_id: str, number: int, count: int, *, is_start: bool) -> str:
    part = f" · part {number + 1} of {count}" if count > 1 else ""
    head = "start of the dialogue" if is_start else "earlier in the dialogue"
    return f'<div class="sem-head">review of dialogue {shown_text(dialogue_id)}{part} · {head}</div>'


def _without_contradictions(dispute: Dispute) -> dict[Item, str]:
    """What is agreed, without values both wanted and disliked, which no answer may hold."""
    agreed = dispute.resolution.agreed
    both = {item[1:] for item in agreed if item.op == "want"} & {item[1:] for item in agreed if item.op == "dislike"}
    return {item: spelled for item, spelled in agreed.items() if item[1:] not in both or item.op == "drop"}


def _to_take_over(dispute: Dispute, people: Mapping[str, int]) -> Iterator[tuple[str, list[list[str]]]]:
    """The answers that can be taken over, by name; not those that call the dialogue useless or cannot be marked."""
    for ballot in sorted(dispute.resolution.ballots, key=lambda ballot: people[ballot.annotator]):
        entries = None if ballot.flags_dialogue else answer_entries(ballot.marks)
        if entries is not None:
            yield answer_name(people[ballot.annotator]), entries


def _answers(dispute: Dispute, people: Mapping[str, int], ontology: Ontology) -> str:
    """What everybody marked: what all have in common is plain, the rest stands out."""
    ballots = dispute.resolution.ballots
    common = set.intersection(*(set(ballot.items) for ballot in ballots)) if ballots else set()
    lines = []
    for ballot in sorted(ballots, key=lambda ballot: people[ballot.annotator]):
        marks = [mark for mark in ballot.annotation.marks if mark.op == "bad_dialogue"] + list(ballot.marks)
        chips = "".join(_chip(mark, common, ontology) for mark in marks)
        lines.append(f'<div class="sem-answer"><b>{answer_name(people[ballot.annotator])}</b>{chips}</div>')
    where = f" on {shown_text(', '.join(dispute.slots))}" if dispute.slots else ""
    return f'<div class="sem-answers"><div class="sem-head">the answers differ{where}</div>{"".join(lines)}</div>'


def _chip(mark: Mark, common: set[Item], ontology: Ontology) -> str:
    items = items_of([mark], ontology)
    differs = "" if mark.op == "none" or (items and common >= items.keys()) else " sem-differs"
    return f'<span class="sem-mark{differs}">{shown_text(mark_text(mark))}</span>'


def _numbers(resolution: Resolution, dialogue_id: str) -> dict[str, int]:
    """Annotator -> number, the same throughout a dialogue and telling nothing from one dialogue to the next."""
    people = {ballot.annotator for turn in resolution.turns for ballot in turn.ballots}
    order = sorted(people, key=lambda who: hashlib.sha256(f"{dialogue_id}\x1f{who}".encode()).digest())
    return {who: number for number, who in enumerate(order, start=1)}


def _notes(resolution: Resolution, people: Mapping[str, int]) -> str:
    """The notes that annotators left for whoever checks the dialogue."""
    lines = {
        (people[ballot.annotator], mark.value)
        for turn in resolution.turns
        for ballot in turn.ballots
        for mark in ballot.annotation.marks
        if mark.op == "note" and mark.value
    }
    return "".join(
        f'<div class="sem-answer"><b>note of answer {number}</b>{shown_text(text)}</div>'
        for number, text in sorted(lines)
    )
