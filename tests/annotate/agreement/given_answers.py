"""Answers in a short notation, and everything agreement says of them counted again in plain loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from hypothesis import strategies as st

from annotate.agreement.aligned_labels import CellReader, read_dialogue
from annotate.agreement.coefficients import Distance
from annotate.agreement.tally import Tally
from annotate.annotations.annotation import Annotation, Mark
from schemas.ontology import Ontology, Slot, Value

ONTOLOGY = Ontology(
    slots=(
        Slot(
            name="color",
            attribute="color",
            aliases=("colour",),
            values=(Value(value="red", count=2, aliases=("crimson",)), Value(value="blue", count=1)),
        ),
        Slot(name="size", attribute="size", values=(Value(value="S", count=1), Value(value="XL", count=1))),
    )
)
SLOTS = ("color", "size", "new_topic")
TURNS = (0, 2, 4)

Answers = Mapping[str, Mapping[int, Sequence[str]]]
"""Annotator -> turn -> marks: ``color=red``, ``!color=red``, ``drop=color``, ``new_topic``, ``unsure``; [] is none."""

Dialogues = Sequence[Answers]


def mark(turn: int, text: str) -> Mark:
    if text.startswith("drop="):
        return Mark(turn, "drop", text.removeprefix("drop="))
    if "=" not in text:
        return Mark(turn, text)  # type: ignore[arg-type]
    slot, _, value = text.removeprefix("!").partition("=")
    return Mark(turn, "dislike" if text.startswith("!") else "want", slot, value)


def annotation(dialogue: str, annotator: str, turns: Mapping[int, Sequence[str]], **more: object) -> Annotation:
    marks = [mark(turn, text) for turn, texts in turns.items() for text in texts or ["none"]]
    made = Annotation(f"ls:1:{dialogue}:{annotator}", dialogue, annotator, **more)  # type: ignore[arg-type]
    return made.with_marks(marks)


def tallied(dialogues: Dialogues, distance: Distance = "nominal") -> Tally:
    """Dialogue number n is ``dn``; its user turns are :data:`TURNS`."""
    reader = CellReader(ONTOLOGY)
    tally = Tally(reader.slots, distance)
    for number, answers in enumerate(dialogues):
        given = [annotation(f"d{number}", annotator, turns) for annotator, turns in answers.items() if turns]
        tally.add(f"d{number}", read_dialogue(given, TURNS, reader, ONTOLOGY))
    return tally


_SAID = ("color=red", "color=crimson", "colour=Blue", "!color=red", "color=teal", "drop=color", "size=S", "size=XL")
_marks = st.one_of(
    st.lists(st.sampled_from(_SAID), max_size=2, unique=True),
    st.lists(st.sampled_from(("color=red", "size=S", "new_topic", "unsure")), max_size=2, unique=True),
)
_answers = st.dictionaries(
    st.sampled_from(("ann", "bo", "cy")), st.dictionaries(st.sampled_from(TURNS), _marks, max_size=3), max_size=3
)
dialogues = st.lists(_answers, max_size=5)


def plain_cells(texts: Sequence[str]) -> dict[str, frozenset[str]] | None:
    """Slot -> things said of it at one turn; None when unsure."""
    if "unsure" in texts:
        return None
    found: dict[str, set[str]] = {slot: set() for slot in SLOTS}
    for text in texts:
        if text == "new_topic":
            found["new_topic"].add(text)
        elif text.startswith("drop="):
            found["color"].add("drop")
        else:
            slot, _, value = text.replace("colour", "color").partition("=")
            value = {"crimson": "red", "Blue": "blue"}.get(value, value)
            found[slot.removeprefix("!")].add(f"not {value}" if slot.startswith("!") else value)
    return {
        slot: frozenset(thing for thing in things if f"not {thing}" not in things) for slot, things in found.items()
    }


def plain_turns(dialogues: Dialogues) -> Iterator[tuple[int, int, dict[str, dict[str, frozenset[str]]]]]:
    """Dialogue number, turn, and annotator -> cells, for turns with two readable answers."""
    for number, answers in enumerate(dialogues):
        for turn in TURNS:
            given = {who: plain_cells(turns[turn]) for who, turns in sorted(answers.items()) if turn in turns}
            read = {who: cells for who, cells in given.items() if cells is not None}
            if len(read) > 1:
                yield number, turn, read


def plain_pairs(
    dialogues: Dialogues,
) -> Iterator[tuple[int, int, str, str, dict[str, frozenset[str]], dict[str, frozenset[str]]]]:
    """All pairs of readable answers to one turn."""
    for number, turn, read in plain_turns(dialogues):
        for one, other in combinations(read, 2):
            yield number, turn, one, other, read[one], read[other]
