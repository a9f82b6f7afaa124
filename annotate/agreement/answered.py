"""What each annotator says at each turn of one dialogue: the update's cells, and the state it leads to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from annotate.accumulate import KnownState, accumulate
from annotate.agreement.cells import Cell, CellReader
from annotate.annotations import Annotation
from annotate.answers import Answer, people_answers, verdicts
from schemas.belief import TurnUpdate
from schemas.ontology import Ontology

__all__ = ["Answered", "Said", "read_dialogue", "same_state"]


class Said(NamedTuple):
    """One readable answer to one turn.

    Attributes:
        cells: position of a slot -> what is said of it; slots of which nothing is said left out.
        missing: slots of which the answer does not tell what it says, since the ontology has changed.
        state: what holds after the turn by this annotator's own answers; None where it is not asked for.
        prelabelled: whether the answer started from a pre-label.
    """

    cells: Mapping[int, Cell]
    missing: frozenset[int] = frozenset()
    state: KnownState | None = None
    prelabelled: bool = False


class Answered(NamedTuple):
    """The answers to one dialogue.

    Attributes:
        people: annotator -> user turn -> answer, readable ones only.
        verdicts: user turn -> the verdict, where there is a readable one.
        unreadable: annotator -> turns answered with unsure, bad turn or bad dialogue: missing values.
        untouched: annotator -> turns whose answer is the pre-label as it was.
        orphaned: answers to turns that the dialogue does not have (any more), left out.
    """

    people: Mapping[str, Mapping[int, Said]]
    verdicts: Mapping[int, Said]
    unreadable: Mapping[str, int]
    untouched: Mapping[str, int]
    orphaned: int


def read_dialogue(
    annotations: Iterable[Annotation],
    user_turns: Sequence[int],
    reader: CellReader,
    ontology: Ontology,
    annotators: frozenset[str] | None = None,
) -> Answered:
    """Read all annotations of one dialogue.

    Args:
        annotations: every version of every annotation.
        user_turns: of the dialogue, ascending.
        reader: turns marks into cells.
        ontology: keys values, for the states.
        annotators: whose answers to read; None for everybody's.
    """
    annotations = list(annotations)
    answers = people_answers(annotations)
    here = set(user_turns)
    people: dict[str, dict[int, Said]] = {}
    unreadable: dict[str, int] = {}
    untouched: dict[str, int] = {}
    orphaned = 0
    known: list[tuple[Sequence[TurnUpdate | None], list[KnownState]]] = []
    for annotator, given in answers.items():
        if annotators is not None and annotator not in annotators:
            continue
        orphaned += len(given.keys() - here)
        kept = {turn: answer for turn, answer in given.items() if turn in here}
        updates = _updates(kept, reader)
        states: Sequence[KnownState | None] = [None] * len(user_turns)
        if len(answers) > 1:
            states = _states([updates.get(turn) for turn in user_turns], ontology, known)
        after = dict(zip(user_turns, states, strict=True))
        people[annotator] = {
            turn: Said(
                reader.cells(update), reader.missing(update), after[turn], kept[turn].annotation.prelabel is not None
            )
            for turn, update in updates.items()
            if update is not None
        }
        unreadable[annotator] = sum(update is None for update in updates.values())
        untouched[annotator] = sum(answer.annotation.untouched for answer in kept.values())
    ruled = _updates({turn: answer for turn, answer in verdicts(annotations).items() if turn in here}, reader)
    read = {
        turn: Said(reader.cells(update), reader.missing(update)) for turn, update in ruled.items() if update is not None
    }
    return Answered(people, read, unreadable, untouched, orphaned)


def same_state(one: KnownState, other: KnownState) -> bool | None:
    """Whether two states are the same in every slot known to both; None when there is no such slot."""
    shared = one.known_slots & other.known_slots
    if not shared:
        return None
    if one.known_slots == other.known_slots:
        return one.state == other.state
    parts = ([item for item in each.state or () if item.slot in shared] for each in (one, other))
    return next(parts) == next(parts)


def _updates(answers: Mapping[int, Answer], reader: CellReader) -> dict[int, TurnUpdate | None]:
    refused = any(mark.op == "bad_dialogue" for answer in answers.values() for mark in answer.annotation.marks)
    return {turn: None if refused else reader.update(answer.marks) for turn, answer in answers.items()}


def _states(
    updates: Sequence[TurnUpdate | None],
    ontology: Ontology,
    known: list[tuple[Sequence[TurnUpdate | None], list[KnownState]]],
) -> list[KnownState]:
    """Accumulated once for annotators who say the same throughout, which is the common case."""
    for same, states in known:
        if same == updates:
            return states
    states = accumulate(updates, ontology)
    known.append((updates, states))
    return states
