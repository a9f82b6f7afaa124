"""What one annotation's ``result`` list says, turn by turn; anything else is refused with a reason.

A line or a choice that cannot be read is refused alone: the other marks of its turn count, but the slot that it names
is unknown there. A turn with nothing else in it, or with a bad result, stays unlabelled (a label known to be wrong is
worse than none); the other turns of the annotation count. A result that cannot be laid at a turn, or that speaks of the
whole dialogue, refuses the annotation; so does an annotation none of whose turns is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from annotate.annotations.annotation import Mark
from annotate.annotations.migration import Migration
from annotate.exports.refusals import Reason, Refusal, Refused, raw_json
from annotate.exports.taken import shown_results, taken_answers
from annotate.exports.typed import UnreadableLine, lines_of, read_typed
from annotate.resolution.ballots import items_of
from schemas.belief import DIALOGUE_OPS, Op
from schemas.folding import unescape
from schemas.ontology import Ontology
from schemas.safe_text import shortened
from schemas.validation import nearest

_TURN_CONTROL = re.compile(r"(want|dislike|op|free)_([0-9]{1,6})")
_KIND = {
    "want": "taxonomy",
    "dislike": "taxonomy",
    "op": "taxonomy",
    "dialogue_op": "taxonomy",
    "free": "textarea",
    "note": "textarea",
}
_TURN_FLAGS: Mapping[str, Op] = {"new_topic": "new_topic", "unsure": "unsure", "bad_turn": "bad_turn"}
_DIALOGUE_FLAGS: Mapping[str, Op] = {"bad_dialogue": "bad_dialogue", "images_missing": "images_missing"}
_ORIGINS = ("manual", "prediction", "prediction-changed")


@dataclass(frozen=True)
class ReadResult:
    """What can be used of an annotation."""

    # everything marked at the turns that are not refused; a turn that changes nothing has one ``none``
    marks: tuple[Mark, ...]
    refused: tuple[Refusal, ...] = ()  # every refusal, in turn order
    # the turns that stay unlabelled, each with the reason of its first refusal
    refused_turns: Mapping[int, Reason] = field(default_factory=dict)


@dataclass(frozen=True)
class _Words:
    """The names of slots and values as they were in the version that an answer is of."""

    migration: Migration
    version: int

    def slot(self, name: str) -> str:
        found = self.migration.slot_name(name, self.version)
        if found is None:
            close = nearest(name, [slot.name for slot in self.migration.ontology.slots])
            raise UnreadableLine(
                "unknown_slot", f"'{shortened(name, 120)}'" + (f"; did you mean '{close}'?" if close else "")
            )
        return found

    def without_entities(self, text: str) -> str:
        """A choice or a typed line with its HTML entities resolved, unless it names a value that is spelled so."""
        name, _, value = (part.strip() for part in text.removeprefix("!").partition("="))
        slot = self.migration.ontology.find(name)
        return text if slot is not None and slot.named(value) is not None else unescape(text)

    def meaning(self, mark: Mark) -> tuple[object, ...]:
        return self.migration.meaning(mark.slot or "", mark.value or "", self.version)


def read_result(
    result: Any,
    turns: Sequence[int],
    ontology: Ontology,
    *,
    version: int | None = None,
    migration: Migration | None = None,
) -> ReadResult:
    """Read the ``result`` list of an annotation; slots are named as they were when it was given.

    Args:
        result: the list, as exported.
        turns: the user turns of the task's window; the suffix of a control counts in it.
        ontology: names the slots there are.
        version: of the ontology that the answer was given in; the current one when not given.
        migration: of this ontology, where many answers are read.

    Raises:
        Refused: the whole annotation cannot be used.
    """
    if not isinstance(result, list):
        raise Refused("malformed_annotation", f"'result' is no list but {type(result).__name__}")
    words = _Words(migration or Migration(ontology), ontology.version if version is None else version)
    marks: dict[int, list[Mark]] = {turn: [] for turn in turns}
    refused: dict[int, list[Refusal]] = {turn: [] for turn in turns}
    lost: set[int] = set()
    remarks: list[Mark] = []
    for entry in result:
        control, index = _control(entry)
        if index is None:
            remarks.extend(replace(mark, turn=turns[0]) for mark in _marks(control, entry, None, words, []))
            continue
        if index >= len(turns):
            detail = f"'{entry['from_name']}', but the task has {len(turns)} user turns"
            raise Refused("turn_out_of_range", detail, raw=entry)
        turn, lines = turns[index], list[Refusal]()
        try:
            marks[turn].extend(replace(mark, turn=turn) for mark in _marks(control, entry, index, words, lines))
        except Refused as problem:
            lost.add(turn)
            lines.append(problem.refusal)
        refused[turn] += [replace(line, turn=turn) for line in lines]
    for turn, said in marks.items():
        both = _wanted_and_disliked(said, words)
        if both is not None:
            lost.add(turn)
            refused[turn].append(Refusal("wanted_and_disliked", f"both: {both}", turn))
        if refused[turn] and not said:
            lost.add(turn)
    every = tuple(each for turn in sorted(refused) for each in refused[turn])
    if len(lost) == len(marks):
        detail = "; ".join(f"turn {each.turn}: {each.detail}" for each in every)
        raise Refused(every[0].reason, detail, raw=result)
    for turn, said in marks.items():
        if not said:
            said.append(Mark(turn, "none"))
        named = {mark.slot for mark in said}
        said += [Mark(turn, "unknown", slot) for slot in _unreadable(refused[turn], words) if slot not in named]
    kept = [mark for turn, said in marks.items() if turn not in lost for mark in said]
    return ReadResult((*kept, *remarks), every, {turn: refused[turn][0].reason for turn in sorted(lost)})


def whole_state(marks: Iterable[Mark]) -> Iterator[Mark]:
    """Marks that say the whole state after their turn, as those of an update that starts over and leads to it.

    A turn that could not be labelled stays as it is, and so do remarks on the dialogue.
    """
    given = list(marks)
    ops: dict[int, set[Op]] = {}
    for mark in given:
        if mark.op not in DIALOGUE_OPS:
            ops.setdefault(mark.turn, set()).add(mark.op)
    labelled = {turn for turn, said in ops.items() if said.isdisjoint(_GIVEN_UP)}
    yield from (Mark(turn, "new_topic") for turn in sorted(labelled) if "new_topic" not in ops[turn])
    yield from (mark for mark in given if mark.op != "none" or mark.turn not in labelled)


def slots_alone(marks: Iterable[Mark], turn: int, ontology: Ontology) -> Iterator[Mark]:
    """Marks of one turn that say all that holds of the slots they name, as those of an update that says no more.

    Every other slot is unknown after it. A slot that is only dropped is known to hold nothing.
    """
    given = list(marks)
    named = {slot.name for mark in given if mark.slot and mark.op != "unknown" and (slot := ontology.find(mark.slot))}
    yield Mark(turn, "new_topic")
    yield from (mark for mark in given if mark.op in ("want", "dislike"))
    yield from (Mark(turn, "unknown", slot.name) for slot in ontology.slots if slot.name not in named)


def _unreadable(refused: Iterable[Refusal], words: _Words) -> list[str]:
    """The slots that refused lines name."""
    return sorted({words.slot(each.slot) for each in refused if each.slot})


def _control(entry: Any) -> tuple[str, int | None]:
    """The control that a result comes from, and the index of its turn; None for those of the whole dialogue."""
    if not isinstance(entry, dict) or not isinstance(entry.get("from_name"), str):
        raise Refused("malformed_result", "a result without 'from_name'", raw=entry)
    name = entry["from_name"]
    if name in ("dialogue_op", "note"):
        return name, None
    match = _TURN_CONTROL.fullmatch(name)
    if match is None:
        raise Refused("unknown_control", f"no control of the labelling screen is named '{name}'", raw=entry)
    return match.group(1), int(match.group(2))


def _marks(
    control: str, entry: Mapping[str, Any], index: int | None, words: _Words, refused: list[Refusal]
) -> Iterator[Mark]:
    """The marks of one result, at turn 0; lines and choices that cannot be read are put into ``refused``."""
    kind = _KIND[control]
    if entry.get("type") not in (None, kind):
        raise Refused("wrong_type", f"'{entry['from_name']}' gives {entry.get('type')!r}, not '{kind}'", raw=entry)
    target = "tail" if index is None else f"u{index}"
    if entry.get("to_name") not in (None, target):
        detail = f"'{entry['from_name']}' is laid at {entry['to_name']!r}, not at '{target}'"
        raise Refused("wrong_target", detail, raw=entry)
    origin = "manual" if entry.get("origin") is None else entry["origin"]
    if origin not in _ORIGINS:
        origin = "unknown"
    for text in _texts(entry, kind):
        for line in lines_of(text) if control == "free" else (text,):
            try:
                mark = _mark(control, line, words)
            except UnreadableLine as problem:
                refusal = replace(problem.refusal, raw=raw_json(entry))
                if refusal.reason == "unknown_operation":  # which might have changed what all the others mean
                    raise Refused(refusal.reason, refusal.detail, raw=entry) from None
                refused.append(refusal)
                continue
            if mark is not None:
                yield replace(mark, origin=origin)


def _texts(entry: Mapping[str, Any], kind: str) -> list[str]:
    """The picked or typed texts of a result: a list of one-step taxonomy paths, or a list of lines."""
    value = entry.get("value")
    name = "taxonomy" if kind == "taxonomy" else "text"
    given = value.get(name) if isinstance(value, dict) else None
    if given is None and isinstance(value, dict) and name in value:
        return []  # a null for nothing picked or typed
    if kind == "textarea" and isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        raise Refused("malformed_value", f"'{entry['from_name']}' without a list of values", raw=entry)
    texts = []
    for item in given:
        if kind == "taxonomy" and isinstance(item, list) and len(item) == 1:
            item = item[0]
        elif kind == "taxonomy":
            raise Refused("malformed_value", f"'{entry['from_name']}' holds a path of several steps", raw=entry)
        if not isinstance(item, str):
            raise Refused("malformed_value", f"'{entry['from_name']}' holds a value that is no text", raw=entry)
        texts.append(item)
    return texts


def _mark(control: str, text: str, words: _Words) -> Mark | None:
    """What one picked or typed line says; None for a blank note."""
    stripped = text.strip()
    if control == "note":
        return Mark(0, "note", value=stripped) if stripped else None
    stripped = words.without_entities(stripped)
    if control == "free":
        said = read_typed(stripped, words.migration.ontology, words.slot)
        return Mark(0, "dislike" if said.disliked else "want", said.slot, said.value)
    if control in ("want", "dislike"):
        slot, _, value = (part.strip() for part in stripped.partition("="))
        if not value:
            raise UnreadableLine("slot_without_value", f"'{shortened(stripped, 120)}'")
        return Mark(0, "want" if control == "want" else "dislike", words.slot(slot), value)
    verb, _, name = stripped.partition("=")
    if control == "op" and verb == "drop" and name:
        return Mark(0, "drop", words.slot(name))
    op = (_TURN_FLAGS if control == "op" else _DIALOGUE_FLAGS).get(name) if verb == "flag" else None
    if op is None:
        raise UnreadableLine("unknown_operation", f"'{shortened(stripped, 120)}'")
    return Mark(0, op)


def _wanted_and_disliked(marks: Sequence[Mark], words: _Words) -> str | None:
    sides: dict[tuple[object, ...], Op] = {}
    for mark in marks:
        if mark.op in ("want", "dislike") and sides.setdefault(words.meaning(mark), mark.op) != mark.op:
            linked = words.migration.ontology.link(words.migration.ontology.slot(mark.slot or ""), mark.value or "")
            return f"{mark.slot}={linked.value}"
    return None


_GIVEN_UP = ("unsure", "bad_turn")


def decided_marks(
    raw: Mapping[str, Any], data: Mapping[str, Any], marks: Sequence[Mark], migration: Migration, version: int
) -> Iterator[Mark]:
    """Marks ``decided`` and ``left_open`` of a review, for every turn that it speaks of.

    Args:
        raw: the annotation as exported, with a copy of the prediction that it started from.
        data: of its task.
        marks: what it says, turn by turn.
        migration: of the ontology.
        version: of the ontology that the screen offered.
    """
    hashes = data.get("disputes")
    shown = hashes if isinstance(hashes, Mapping) else {}
    turns = [int(turn["turn"]) for turn in data["user_turns"]]
    prefilled = filled_in(shown_results(raw), turns, migration.ontology, version=version, migration=migration)
    taken_over = {turns[index] for index in taken_answers(raw.get("result")) if index < len(turns)}
    said: dict[int, list[Mark]] = {}
    for mark in marks:
        if mark.turn in turns and mark.op not in DIALOGUE_OPS:
            said.setdefault(mark.turn, []).append(mark)
    for turn in sorted(said):
        text = shown.get(str(turn))
        answers = text if isinstance(text, str) else None
        if turn in taken_over or any(mark.op in _GIVEN_UP for mark in said[turn]):
            yield Mark(turn, "decided", value=answers)
            continue
        before = items_of(prefilled.get(turn, ()), migration.ontology)
        after = items_of(said[turn], migration.ontology)
        touched = {item.slot for item in before.keys() ^ after.keys()}
        touched -= {item.slot for item in after if item.op == "unknown"}  # what was marked there cannot be read
        yield from (Mark(turn, "decided", slot, answers) for slot in sorted(touched))
        if not touched:
            yield Mark(turn, "left_open")


def filled_in(
    result: Any,
    turns: Sequence[int],
    ontology: Ontology,
    *,
    version: int | None = None,
    migration: Migration | None = None,
) -> dict[int, list[Mark]]:
    """User turn -> what the results that a page was filled in with say; nothing where they cannot be read.

    The arguments are those of :func:`read_result`.
    """
    try:
        marks = read_result(result, turns, ontology, version=version, migration=migration).marks
    except Refused:
        return {}
    return {turn: [mark for mark in marks if mark.turn == turn] for turn in turns}
