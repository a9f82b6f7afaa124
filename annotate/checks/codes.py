"""Reason codes of findings: how bad each is, what it says, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from schemas.errors import UsageError
from schemas.validation import did_you_mean

__all__ = ["CODES", "SEVERITIES", "Check", "Severity", "codes_of"]

Severity = Literal["error", "warning", "info"]
"""``error``: the label is lost or says two things at once. ``warning``: probably wrong, somebody should look.
``info``: worth knowing, seldom wrong."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Check:
    """One reason code."""

    code: str
    severity: Severity  # see :data:`Severity`
    meaning: str  # what a finding of it says
    remedy: str  # what to do, in a line
    relabel: bool = True  # whether labelling the dialogue again can change it


_ALL: tuple[Check, ...] = (
    Check("quarantined", "error", "an answer was refused and its turn is still unlabelled", "label the dialogue again"),
    Check(
        "line_refused",
        "error",
        "a line of an answer cannot be read; the other marks of its turn count",
        "label the dialogue again, with what the finding says to write",
    ),
    Check(
        "wanted_and_disliked",
        "error",
        "a value is wanted and disliked at once",
        "let a second look decide which of the two holds",
    ),
    Check(
        "contradicts_recommendation",
        "warning",
        "what is recommended next is not what the turn says",
        "compare the turn with the products shown",
    ),
    Check(
        "outdated_want",
        "warning",
        "a want of an earlier turn that nothing recommended since fits",
        "was it given up? mark the drop, or a new topic",
    ),
    Check(
        "unsatisfiable_state",
        "warning",
        "no product can satisfy the state, and yet products are recommended",
        "look for a want that was given up, or a wrong value",
    ),
    Check("wrong_slot", "warning", "a value that is known in another slot", "take the slot suggested, if it is meant"),
    Check("near_miss", "warning", "a value spelled nearly like a known one", "take it, or make it an alias"),
    Check(
        "value_not_in_catalogue",
        "warning",
        "a value that neither the ontology nor any product has",
        "correct it, or add it to the ontology",
    ),
    Check(
        "ambiguous_number",
        "warning",
        "a number that may be one of two, such as '1,299', linked to neither",
        "write it without a mark between thousands",
    ),
    Check("blank_turn", "warning", "left blank, but its text names values not yet held", "label the turn"),
    Check("dropped_nothing", "warning", "a slot was dropped that held nothing", "an earlier want may be missing"),
    Check("unsure", "warning", "the annotator was not sure", "let somebody else label it"),
    Check(
        "outdated_answer",
        "warning",
        "a slot is unknown: its value was split, or the slot added, after the answer",
        "label the dialogue again, in today's values",
    ),
    Check("missing_window", "warning", "turns that nobody answered in a labelled dialogue", "finish the dialogue"),
    Check(
        "untouched_fast",
        "warning",
        "a pre-label or an empty page, sent faster than it can be read",
        "let somebody else label it",
    ),
    Check(
        "outdated_verdict",
        "warning",
        "somebody answered otherwise after the reviewer decided",
        "let the reviewer look again: semctl adjudicate",
        relabel=False,
    ),
    Check(
        "undecided_review",
        "warning",
        "a reviewer left what is in dispute as it was: it stays open",
        "ask again: semctl adjudicate",
        relabel=False,
    ),
    Check("images_missing", "warning", "the annotator saw no images", "repair the images, then label again"),
    Check("orphaned", "warning", "an answer to turns that are no longer there", "was the corpus imported anew?"),
    Check("unavailable", "info", "no product can satisfy the state, and nothing is recommended", "nothing, if meant"),
    Check("without_product", "info", "a known word that no product has, such as 'cheap'", "nothing, if meant"),
    Check("alias_used", "info", "another spelling, linked to its value", "nothing"),
    Check("untouched", "info", "a pre-label sent on as it was", "look at a few of them"),
    Check("bad_turn", "info", "marked as impossible to label", "nothing, or take the dialogue out"),
    Check("bad_dialogue", "info", "marked as useless", "nothing, or take the dialogue out"),
    Check("note", "info", "the annotator left a note", "read it"),
)

CODES: Mapping[str, Check] = {check.code: check for check in _ALL}
"""Every code, the worst first."""


def codes_of(names: Iterable[str], *, where: object | None = None) -> frozenset[str]:
    """The codes that names of codes and severities stand for; ``none`` and ``all`` are understood.

    Raises:
        UsageError: a name that is neither; the nearest one is named.
    """
    found: set[str] = set()
    for name in names:
        if name in CODES:
            found.add(name)
        elif name in SEVERITIES or name == "all":
            found |= {check.code for check in _ALL if name in ("all", check.severity)}
        elif name != "none":
            known = (*SEVERITIES, "all", "none", *CODES)
            fix = did_you_mean(name, known, f"one of {', '.join(known)}")
            raise UsageError(f"'{name}' is no code of a check", where=where, fix=fix)
    return frozenset(found)
