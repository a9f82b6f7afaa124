"""The lines that annotators type: ``slot=value`` for a wish, ``!slot=value`` for something to avoid, and nothing else.

A line with any other operator is refused with what to write: read as a plain wish, it would say the opposite of what
was meant, or something else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

from annotate.exports.refusals import Refused
from schemas.folding import fold
from schemas.mentions import is_negation
from schemas.ontology import Ontology, Slot
from schemas.safe_text import shortened

_MARKS = str.maketrans(
    {"\uff1d": "=", "\ufe66": "=", "\u207c": "=", "\u208c": "=", "\uff01": "!", "\ufe57": "!", "\ufe15": "!"}
)
"""The other forms of the two marks of this grammar that keyboards give."""

_BOUNDS = "<>\u2264\u2265\u2266\u2267\uff1c\uff1e\u2192"
_OPERATORS = f"!={_BOUNDS}~\u2260\u2248\u00ac^\u0338"
_NOT = ("anything but", "anything except", "everything but", "other than", "dont", "non ", "\u00ac", "!")
_BOUND_WORDS = re.compile(r"(?:no|not) (?:more|less|over|under|above|below|higher|lower|cheaper)\b")
_INSIDE = re.compile(rf"[-=]*[{_BOUNDS}\u2260\u00ac]")
_NAME_WORD = re.compile(r"[^\s()]+")
_OTHER_MARK = re.compile(rf"[:\uff1a{re.escape(_OPERATORS)}]+")
_NEGATION = re.compile(
    r"(?:(?:(?:any|every)thing (?:but|except)|other than|do ?n.?t(?: want)?|non|not|no|without|except|avoid|never)\s+"
    r"|[\W_]+)+",
    re.IGNORECASE,
)
_LIST = re.compile(r"\s*[,;|]\s*|(?<!\d)\s*/\s*(?!\d)|\s+(?:and|or|&|\+)\s+")
_WORD_BREAK = re.compile(r"[\s,;|!]+")


_LONGEST_SHOWN = 120  # characters of a line in a message; the whole of it lies in the quarantine


class TypedLine(NamedTuple):
    """What one line says."""

    disliked: bool  # whether it begins with the exclamation mark
    slot: str  # the slot's name as typed
    value: str  # as typed


class UnreadableLine(Refused):
    """A line, or a choice, that says nothing that can be used; the others of its turn count."""


def lines_of(text: str) -> Iterator[str]:
    """The lines of what was typed at once, without blanks and what is not seen at their ends; blank ones left out."""
    for line in re.split(r"[\r\n]+", text):
        seen = [at for at, letter in enumerate(line) if not letter.isspace() and unicodedata.category(letter) != "Cf"]
        if seen:
            yield line[seen[0] : seen[-1] + 1]


def read_typed(line: str, ontology: Ontology, slot_name: Callable[[str], str]) -> TypedLine:
    """Read one of :func:`lines_of`.

    Args:
        line: as typed.
        ontology: names the slots and values there are.
        slot_name: the name of the slot that a text names, as it was when the line was typed.

    Raises:
        UnreadableLine: no line of this grammar, no such slot, or no value; says what to write.
    """
    marked = line.translate(_MARKS)
    name, equals, value = marked.partition("=")
    disliked = name.startswith("!")
    name, value = name.removeprefix("!").strip(), line[len(name) + 1 :].strip()
    if not equals or not name:
        head, rest = (*_OTHER_MARK.split(marked, maxsplit=1), "")[:2]
        slot = ontology.find(_without_signs(head)) if rest else None
        named = "" if slot is None else slot.name
        raise UnreadableLine("malformed_free_text", f"{_quoted(line)}; {_advice(line, slot, rest)}", named)
    slot = ontology.find(name) or ontology.find(_without_signs(name))
    if slot is not None and not _is_name_of(name, slot):
        raise UnreadableLine("malformed_free_text", f"{_quoted(line)}; {_advice(line, slot, value)}", slot.name)
    if slot is None and (_negated(name) or any(is_negation(fold(word)) for word in _NAME_WORD.findall(name))):
        words = _NAME_WORD.findall(name)
        parts = (" ".join(words[at:end]) for at in range(len(words)) for end in range(len(words), at, -1))
        slot = next((found for part in parts if (found := ontology.find(part))), None)
        named = "" if slot is None else slot.name
        raise UnreadableLine("malformed_free_text", f"{_quoted(line)}; {_advice(line, slot, value)}", named)
    named = slot_name(name)
    assert slot is not None
    if not value:
        raise UnreadableLine("slot_without_value", _quoted(line), slot.name)
    problem = None if slot.named(value) is not None else _problem(line, slot, value, ontology)
    if problem is not None:
        raise UnreadableLine("malformed_free_text", f"{_quoted(line)}; {problem}", slot.name)
    return TypedLine(disliked, named, value)


def _quoted(line: str) -> str:
    return f"'{shortened(line, _LONGEST_SHOWN)}'"


def _is_name_of(name: str, slot: Slot) -> bool:
    """Whether a text is a name of the slot with no sign around it that its name does not have."""
    return _bare(name) in {_bare(known) for known in (slot.name, *slot.aliases, slot.attribute)}


def _without_signs(name: str) -> str:
    """Without punctuation and symbols at its ends."""
    letters = [place for place, letter in enumerate(name) if unicodedata.category(letter)[0] in "LMN"]
    return name[letters[0] : letters[-1] + 1] if letters else name


def _bare(name: str) -> str:
    """Folded, without what only parts its words."""
    return re.sub(r"(?<=\S)[\s_\-]+(?=\S)", "", fold(name))


def _problem(line: str, slot: Slot, value: str, ontology: Ontology) -> str | None:
    """Why a value that the slot does not know is no plain value; None where it is one."""
    if slot.is_money and (number := slot.number(value)) and (number.value or 0) < 0:
        return f"no price is below zero; {_advice(line, slot, value)}"
    if value[0] in _OPERATORS or _negated(value) or (value[0] in "-\u2212\u2013" and slot.named(value[1:].strip())):
        return _advice(line, slot, value)
    head, *rest = _INSIDE.split(value, maxsplit=1)
    if rest and slot.named(head.strip()) is not None:
        return _advice(line, slot, head.strip())
    before = [part.translate(_MARKS) for part in value.translate(_MARKS).split("=")[:-1]]
    if any(_ends_in_a_slot(part, ontology) for part in before):
        return "write each slot=value in a line of its own, with Enter after it"
    parts = _LIST.split(value)
    if len(parts) > 1 and all(slot.named(part) for part in parts):
        each = ", ".join(f"{slot.name}={part}" for part in parts[:4])
        return f"write each value in a line of its own: {each}"
    return None


def _ends_in_a_slot(text: str, ontology: Ontology) -> bool:
    words = [word for word in _WORD_BREAK.split(text) if word]
    for at in range(max(0, len(words) - 3), len(words)):
        name = " ".join(words[at:])
        slot = ontology.find(name)
        if slot is not None and _is_name_of(name, slot):
            return True
    return False


def _negated(text: str) -> bool:
    folded = fold(text).replace("\u2019", "'")
    if _BOUND_WORDS.match(folded):
        return False
    first = folded.split(" ", 1)
    return folded.startswith(_NOT) or (len(first) > 1 and is_negation(first[0]))


def _advice(line: str, slot: Slot | None, value: str = "") -> str:
    """What to write instead."""
    name = "slot" if slot is None else slot.name
    if any(sign in line for sign in _BOUNDS) and (slot is None or slot.kind == "numeric"):
        known = next((one.value for one in slot.values if one.is_range), None) if slot is not None else None
        return f"write {name}= and a value of the list" + (f", as in {name}={known}" if known else "")
    start = _NEGATION.match(value)
    plain = value[start.end() if start else 0 :]
    if ("(" in line and "(" not in plain) or line[0] in "\"'([\u201c\u2018\u201e\u00ab":
        plain = plain.rstrip("\"')]\u201d\u2019\u201c\u00bb")
    plain = plain if 0 < len(plain) <= _LONGEST_SHOWN else "value"
    return f"write {name}={plain} for a wish, !{name}={plain} for something to avoid"
