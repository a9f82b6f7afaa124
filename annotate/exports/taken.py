"""An annotator's answer that a reviewer takes over with one click, put in the place of what the controls say.

A review task holds the answers that it shows, ``data.answers[turn][name]``, each a list of ``[control, entry]`` as the
controls store entries. The answer counts slot by slot: in a slot in which the reviewer added or took away a mark, what
the controls say of it wins, and so do flags that were added or taken away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from annotate.annotations.annotation import Mark
from annotate.exports.refusals import Refused
from annotate.tasks.label_config import AS_FILLED_IN
from schemas.ontology import Ontology

_TAKE = re.compile(r"take_([0-9]{1,6})")
_OF_A_TURN = re.compile(r"(want|dislike|op|free)_([0-9]{1,6})")
_UNREADABLE = ("flag=unsure", "flag=bad_turn")


class Entry(NamedTuple):
    """One thing in a control of a turn."""

    control: str  # ``want``, ``dislike``, ``op`` or ``free``
    text: str  # as the control stores it

    def slot(self, ontology: Ontology) -> str | None:
        """The slot that it speaks of; None for flags and lines that name none."""
        name, equals, value = self.text.partition("=")
        if self.control == "op":
            name, equals = (value, equals) if name.strip() == "drop" else ("", "")
        if not equals:
            return None
        name = name.strip().removeprefix("!").strip()
        found = ontology.find(name)
        return name if found is None else found.name

    @property
    def is_new_topic(self) -> bool:
        return (self.control, self.text.strip()) == ("op", "flag=new_topic")


def answer_name(number: int) -> str:
    """What an answer is called, where it is shown and where it is taken over."""
    return f"answer {number}"


def answer_entries(marks: Iterable[Mark]) -> list[list[str]] | None:
    """The marks of an answer to one turn as a task holds them; None when one of them no control can say."""
    entries = []
    for mark in marks:
        match mark.op:
            case "want" | "dislike":
                entries.append([mark.op, f"{mark.slot}={mark.value}"])
            case "drop":
                entries.append(["op", f"drop={mark.slot}"])
            case "new_topic" | "unsure" | "bad_turn":
                entries.append(["op", f"flag={mark.op}"])
            case "none":
                pass
            case _:
                return None
    return entries


def taken_answers(result: Any) -> dict[int, str]:
    """Index of a turn in its task -> what was taken there: the name of an answer, or what was filled in.

    Args:
        result: the ``result`` list of an annotation.

    Raises:
        Refused: a choice that is not one answer.
    """
    found: dict[int, str] = {}
    for raw in result if isinstance(result, list) else ():
        match = _TAKE.fullmatch(_name(raw))
        if match is None:
            continue
        value = raw.get("value")
        chosen = value.get("choices") if isinstance(value, Mapping) else None
        if not isinstance(chosen, list) or len(chosen) != 1 or not isinstance(chosen[0], str):
            raise Refused("malformed_value", f"'{raw['from_name']}' does not take over one answer", raw=raw)
        found[int(match.group(1))] = chosen[0]
    return found


def shown_results(annotation: Mapping[str, Any]) -> Any:
    """The results that the page of an annotation was filled in with; None where it was empty."""
    prediction = annotation.get("prediction")
    return prediction.get("result") if isinstance(prediction, Mapping) else None


def entries_before(shown: Any, here: Iterable[Mapping[str, Any]], index: int) -> list[Entry]:
    """What the page was filled in with at a turn.

    Args:
        shown: :func:`shown_results` of the annotation.
        here: its results at that turn, which say where they are from.
        index: of the turn.
    """
    filled_in = shown if isinstance(shown, list) else [raw for raw in here if raw.get("origin") == "prediction"]
    return list(entries_of(raw for raw in filled_in if turn_index(raw) == index))


def with_taken_answers(annotation: Mapping[str, Any], data: Mapping[str, Any], ontology: Ontology) -> Any:
    """The ``result`` list of an annotation, with the answers that were taken over as if they had been marked.

    Args:
        annotation: as exported, with the ``prediction`` that it started from.
        data: of its task.
        ontology: says which names are the same slot.

    Raises:
        Refused: an answer that the task does not hold.
    """
    result: Any = annotation.get("result")
    taken = taken_answers(result)
    if not taken:
        return result
    shown = shown_results(annotation)
    rest = [raw for raw in result if turn_index(raw) not in taken]
    for index, name in sorted(taken.items()):
        here = [raw for raw in result if turn_index(raw) == index and not _TAKE.fullmatch(_name(raw))]
        if name == AS_FILLED_IN:
            rest += here
            continue
        before = entries_before(shown, here, index)
        merged = _merged(_answer(data, index, name), before, list(entries_of(here)), ontology)
        rest += as_results(merged, index)
    return rest


def _answer(data: Mapping[str, Any], index: int, name: str) -> list[Entry]:
    try:
        turn = data["user_turns"][index]["turn"]
        return [Entry(str(control), str(text)) for control, text in data["answers"][str(turn)][name]]
    except (KeyError, IndexError, TypeError, ValueError):
        detail = f"'take_{index}' takes over '{name}', which the task does not hold"
        raise Refused("malformed_value", detail) from None


def _merged(
    answer: Sequence[Entry], before: Sequence[Entry], after: Sequence[Entry], ontology: Ontology
) -> list[Entry]:
    """The answer, but for slots and flags that the reviewer changed: those are as the controls say."""
    added, removed = added_and_removed(before, after)
    touched = {entry.slot(ontology) for entry in (*added, *removed)} - {None}
    kept = [entry for entry in answer if entry.slot(ontology) not in touched and entry not in removed]
    if added:
        kept = [entry for entry in kept if entry.text not in _UNREADABLE]
    own = [entry for entry in after if entry.slot(ontology) in touched or entry in added]
    return list(dict.fromkeys((*kept, *own)))


def added_and_removed(before: Sequence[Entry], after: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """What somebody put into the controls of a turn, and took out of them."""
    return [entry for entry in after if entry not in before], [entry for entry in before if entry not in after]


def as_results(entries: Sequence[Entry], index: int, *, origin: str = "manual") -> Iterator[dict[str, Any]]:
    """The entries as the controls of the turn at ``index`` store them."""
    for control in ("want", "dislike", "op", "free"):
        texts = [entry.text for entry in entries if entry.control == control]
        if texts:
            typed = control == "free"
            yield {
                "from_name": f"{control}_{index}",
                "to_name": f"u{index}",
                "type": "textarea" if typed else "taxonomy",
                "value": {"text": texts} if typed else {"taxonomy": [[text] for text in texts]},
                "origin": origin,
            }


def entries_of(results: Iterable[Any]) -> Iterator[Entry]:
    """Everything in the controls of a turn; what has another shape is left to whoever reads the results."""
    for raw in results:
        match = _OF_A_TURN.fullmatch(_name(raw))
        value = raw.get("value") if match else None
        if match is None or not isinstance(value, Mapping):
            continue
        for given in (value.get("taxonomy"), value.get("text")):
            for text in given if isinstance(given, list) else [given] if isinstance(given, str) else ():
                said = text[0] if isinstance(text, list) and len(text) == 1 else text
                if isinstance(said, str):
                    yield Entry(match.group(1), said)


def _name(raw: Any) -> str:
    name = raw.get("from_name") if isinstance(raw, Mapping) else None
    return name if isinstance(name, str) else ""


def turn_index(raw: Any) -> int | None:
    """Where the turn that a result is laid at stands in its task; None for those of the whole dialogue."""
    match = _OF_A_TURN.fullmatch(_name(raw)) or _TAKE.fullmatch(_name(raw))
    return None if match is None else int(match.group(match.lastindex or 0))
