"""Feedback packs: a page and a JSON file per annotator, with the turns where they and the final label differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from annotate.adjudication.feedback import Difference, Feedback, Group, Kind, collect_feedback
from annotate.adjudication.review_tasks import mark_text
from pipeline.chosen_dialogues import read_dialogues
from pipeline.labelling.resolution_policy import policy_name, resolved_dialogues
from pipeline.labelling.task_images import image_files, product_names
from pipeline.reports.pages import render, thumbnail_url
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import sha256_bytes, write_atomic, write_json
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.validation import did_you_mean

FEEDBACK_SCHEMA = 1
MOST_SHOWN = 12
"""Turns shown of one slot and kind; the JSON file holds all of them."""

_BEFORE = 3

_KIND_TEXTS: Mapping[Kind, str] = {
    "another value": "another value",
    "left out": "in the final label, not in your answer",
    "marked on top": "in your answer, not in the final label",
    "the other side": "wanted or disliked, the other way round",
    "said otherwise": "marked in another way",
    "not labelled": "whether the turn can be labelled",
}

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Dialogue id -> its rows of ``turns.parquet``, in order."""

ImageUrl = Callable[[str], str | None]


@dataclass(frozen=True)
class FeedbackRequest:
    """What to write."""

    folder: Path  # made when it is not there; packs of the same annotators in it are replaced
    annotator: str | None = None  # whom for; everybody when not given
    resolve_by: str | None = None  # what makes the final labels; None takes the setting ``labelling.resolve``


@dataclass(frozen=True)
class FeedbackPack:
    """What was written for one annotator: the HTML page and the JSON file."""

    feedback: Feedback
    page: Path
    data: Path

    def as_json(self) -> dict[str, Any]:
        counts = {**json_form(self.feedback, "differences"), "differences": len(self.feedback.differences)}
        return {**counts, "page": str(self.page), "data": str(self.data)}


def write_feedback(
    workspace: Workspace, request: FeedbackRequest, *, progress: Progress = SilentProgress()
) -> list[FeedbackPack]:
    """Write a pack for every annotator, or for one.

    Raises:
        InputError: nothing was ingested yet, nobody of that name answered, or the folder cannot be written.
    """
    policy = policy_name(request.resolve_by, workspace.require().settings().labelling.resolve)
    with resolved_dialogues(workspace, workspace.ontology(), policy, progress) as dialogues:
        found = collect_feedback(progress.track(dialogues(), "comparing answers"))
    if request.annotator is not None and request.annotator not in found:
        known = did_you_mean(request.annotator, found, f"there are: {', '.join(found) or 'none'}")
        raise UsageError(f"no annotator '{request.annotator}' answered anything", fix=known)
    chosen = [given for name, given in found.items() if request.annotator in (None, name)]
    rows = read_dialogues(
        workspace.turns, sorted({one.dialogue_id for given in chosen for one in given.differences}), progress
    )
    files, names = image_files(workspace), product_names(workspace)

    @cache
    def image_url(image_id: str) -> str | None:
        """Its content as a ``data:`` address, each once; None when there is no such image."""
        return thumbnail_url(files[image_id].path) if image_id in files else None

    packs = []
    for given in progress.track(chosen, "writing packs"):
        stem = request.folder / _file_name(given.annotator)
        pack = FeedbackPack(given, stem.with_suffix(".html"), stem.with_suffix(".json"))
        try:
            write_atomic(pack.page, _page(given, rows, image_url, names, workspace.root.name))
            write_json(pack.data, _as_json(given, rows, policy))
        except OSError as problem:
            where = problem.filename or request.folder
            raise UsageError(f"cannot write the pack: {problem.strerror}", where=where) from None
        packs.append(pack)
    return packs


def _until(rows: Rows, dialogue_id: str, turn: int) -> list[Mapping[str, Any]]:
    """A turn and the three before it."""
    return [row for row in rows.get(dialogue_id, ()) if row["turn"] <= turn][-1 - _BEFORE :]


def _file_name(annotator: str) -> str:
    """A file name that tells whose it is and cannot be a path; two annotators never share one."""
    legible = re.sub(r"[^A-Za-z0-9]+", "-", annotator).strip("-")[:40].lower() or "annotator"
    return f"feedback-{legible}-{sha256_bytes(annotator.encode())[:6]}"


def _as_json(feedback: Feedback, rows: Rows, policy: str) -> dict[str, Any]:
    return {
        "semctl_schema": FEEDBACK_SCHEMA,
        "annotator": feedback.annotator,
        "policy": policy,
        "turns": {**json_form(feedback, "annotator", "differences"), "differing": feedback.compared - feedback.same},
        "shown_on_the_page": MOST_SHOWN,
        "groups": [
            {
                "slot": group.slot or None,
                "kind": group.kind,
                "count": len(group.differences),
                "differences": [_difference(one, rows) for one in group.differences],
            }
            for group in feedback.groups
        ],
    }


def _difference(one: Difference, rows: Rows) -> dict[str, Any]:
    return {
        **json_form(one, "slot", "kind", "marked", "decided"),
        "marked": list(map(mark_text, one.marked)),
        "decided": list(map(mark_text, one.decided)),
        "said": [
            {"turn": row["turn"], "speaker": row["speaker"], "text": row["text"]}
            for row in _until(rows, one.dialogue_id, one.turn)
        ],
    }


def _page(feedback: Feedback, rows: Rows, url: ImageUrl, names: Mapping[str, str], title: str) -> str:
    """The page as text: the same feedback gives the same bytes."""
    groups = feedback.groups
    shown_images: dict[str, str] = {}
    for one in (one for group in groups for one in group.differences[:MOST_SHOWN]):
        for row in _until(rows, one.dialogue_id, one.turn):
            for image_id in row["image_ids"]:
                if url(image_id) is not None:
                    shown_images.setdefault(image_id, f"p{len(shown_images)}")
    return render(
        "feedback.html",
        title=title,
        feedback=feedback,
        groups=groups,
        until=partial(_until, rows),
        image_url=url,
        names=names,
        shown_images=shown_images,
        most_shown=MOST_SHOWN,
        kind_texts=_KIND_TEXTS,
        mark_text=mark_text,
        slot=_slot,
        nothing=_nothing,
        silent=_silent,
        why=_why,
        plural=_count,
    )


def _nothing(one: Difference) -> str:
    """How an empty final label reads."""
    if one.kind == "not labelled" and not any(mark.op in ("unsure", "bad_turn", "bad_dialogue") for mark in one.marked):
        return "cannot be labelled"
    return _silent(one)


def _silent(one: Difference) -> str:
    return f"nothing about {one.slot}" if one.slot else "nothing"


def _why(one: Difference) -> str:
    alike = f"{one.alike} of {_count(one.answers, 'annotator')} answered like the final label"
    match one.decided_by:
        case "verdict":
            return f"A reviewer decided; {alike}."
        case "dawid-skene":
            return f"Answers are weighed by how reliable each annotator is; {alike}."
        case _:
            return f"Decided by majority: {alike}."


def _slot(group: Group) -> str:
    if group.slot:
        return group.slot
    return "the turn as a whole" if group.kind == "not labelled" else "new topic"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
