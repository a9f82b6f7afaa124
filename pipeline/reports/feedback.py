"""Feedback packs: one page and one JSON file per annotator, with the turns where they and the final label differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotate.adjudication.feedback import Difference, Feedback, collect_feedback
from annotate.adjudication.review_tasks import mark_text
from pipeline.chosen_dialogues import read_dialogues
from pipeline.labelling.resolution_policy import policy_name
from pipeline.labelling.resolved_dialogues import resolved_dialogues
from pipeline.labelling.task_images import image_files, product_names
from pipeline.reports.feedback_page import MOST_SHOWN, Images, Said, render_page
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import sha256_bytes, write_atomic, write_json
from schemas.progress import Progress, SilentProgress
from schemas.validation import did_you_mean

__all__ = ["FeedbackPack", "write_feedback"]

FEEDBACK_SCHEMA = 1


@dataclass(frozen=True)
class FeedbackPack:
    """What was written for one annotator.

    Attributes:
        feedback: its content.
        page, data: the HTML page and the JSON file.
    """

    feedback: Feedback
    page: Path
    data: Path


def write_feedback(
    workspace: Workspace,
    folder: Path,
    *,
    annotator: str | None = None,
    resolve_by: str | None = None,
    progress: Progress | None = None,
) -> list[FeedbackPack]:
    """Write a pack for every annotator, or for one.

    Args:
        workspace: with annotations.
        folder: made when it is not there; packs of the same annotators in it are replaced.
        annotator: whom for; everybody when not given.
        resolve_by: what makes the final labels; None takes the setting ``labelling.resolve``.
        progress: shows how far it is.

    Raises:
        InputError: nothing was ingested yet, nobody of that name answered, or the folder cannot be written.
    """
    progress = progress or SilentProgress()
    policy = policy_name(resolve_by, workspace.require().settings().labelling.resolve)
    with resolved_dialogues(workspace, workspace.ontology(), policy, progress) as dialogues:
        found = collect_feedback(progress.track(dialogues(), "comparing answers"))
    if annotator is not None and annotator not in found:
        known = did_you_mean(annotator, found, f"there are: {', '.join(found) or 'none'}")
        raise UsageError(f"no annotator '{annotator}' answered anything", fix=known)
    chosen = [given for name, given in found.items() if annotator in (None, name)]
    shown = sorted({one.dialogue_id for given in chosen for one in given.differences})
    said = Said.of(read_dialogues(workspace.turns, shown, progress))
    images = Images({i: found.path for i, found in image_files(workspace).items()}, product_names(workspace))
    packs = []
    for given in progress.track(chosen, "writing packs"):
        stem = folder / _file_name(given.annotator)
        pack = FeedbackPack(given, stem.with_suffix(".html"), stem.with_suffix(".json"))
        try:
            write_atomic(pack.page, render_page(given, said, images, title=workspace.root.name))
            write_json(pack.data, _as_json(given, said, policy))
        except OSError as problem:
            raise UsageError(f"cannot write the pack: {problem.strerror}", where=problem.filename or folder) from None
        packs.append(pack)
    return packs


def _file_name(annotator: str) -> str:
    """A file name that tells whose it is and cannot be a path; two annotators never share one."""
    legible = re.sub(r"[^A-Za-z0-9]+", "-", annotator).strip("-")[:40].lower() or "annotator"
    return f"feedback-{legible}-{sha256_bytes(annotator.encode())[:6]}"


def _as_json(feedback: Feedback, said: Said, policy: str) -> dict[str, Any]:
    return {
        "semctl_schema": FEEDBACK_SCHEMA,
        "annotator": feedback.annotator,
        "policy": policy,
        "turns": {
            "answered": feedback.answered,
            "compared": feedback.compared,
            "same": feedback.same,
            "differing": feedback.compared - feedback.same,
            "undecided": feedback.undecided,
        },
        "shown_on_the_page": MOST_SHOWN,
        "groups": [
            {
                "slot": group.slot or None,
                "kind": group.kind,
                "count": len(group.differences),
                "differences": [_difference(one, said) for one in group.differences],
            }
            for group in feedback.groups
        ],
    }


def _difference(one: Difference, said: Said) -> dict[str, Any]:
    return {
        "dialogue_id": one.dialogue_id,
        "turn": one.turn,
        "marked": _texts(one.marked),
        "decided": _texts(one.decided),
        "decided_by": one.decided_by,
        "alike": one.alike,
        "answers": one.answers,
        "said": [
            {"turn": row["turn"], "speaker": row["speaker"], "text": row["text"]}
            for row in said.until(one.dialogue_id, one.turn)
        ],
    }


def _texts(marks: Sequence[Any]) -> list[str]:
    return [mark_text(mark) for mark in marks]
