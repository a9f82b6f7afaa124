"""The turns that the agreement page shows: what was said, and everybody's answers beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from annotate.agreement.aligned_labels import NEW_TOPIC, NOTHING, AlignedLabels, LabelledTurn
from annotate.agreement.report import ConfusionCount
from pipeline.reports.agreement_report import AgreementRequest, answers_to
from pipeline.workspace import Workspace
from schemas.tables import TURNS, open_table

__all__ = ["AnswerShown", "Chip", "TurnShown", "differing_turns", "example_texts"]

_READ_ROWS = 50_000
_VERDICT = "verdict"


class Chip(NamedTuple):
    """One thing said: by everybody (``same``), not by everybody (``apart``), or left unsaid (``silent``)."""

    text: str
    kind: Literal["same", "apart", "silent"]


class AnswerShown(NamedTuple):
    """One answer to a turn."""

    who: str
    chips: tuple[Chip, ...]
    is_verdict: bool


class TurnShown(NamedTuple):
    """A turn that was answered differently.

    Attributes:
        before: what the assistant said before it.
        text: what the user says.
    """

    turn: int
    before: str
    text: str
    answers: tuple[AnswerShown, ...]


def differing_turns(
    workspace: Workspace, dialogues: Sequence[str], request: AgreementRequest
) -> dict[str, list[TurnShown]]:
    """Dialogue id -> its turns with different answers."""
    texts = _texts(workspace, dialogues)
    found: dict[str, list[TurnShown]] = {}
    for dialogue_id, (answered, slots) in answers_to(workspace, dialogues, request).items():
        said = texts.get(dialogue_id, {})
        found[dialogue_id] = [
            TurnShown(turn, _text(said, turn - 1, "system"), _text(said, turn, "user"), answers)
            for turn in sorted({turn for turns in answered.people.values() for turn in turns})
            if (answers := _answers(answered, turn, slots)) is not None
        ]
    return found


def example_texts(workspace: Workspace, confusions: Iterable[ConfusionCount]) -> dict[tuple[str, int], str]:
    """(dialogue id, turn) -> what the user says, for the examples of some confusions."""
    places = {(each.dialogue_id, each.turn) for confusion in confusions for each in confusion.examples}
    texts = _texts(workspace, sorted({dialogue_id for dialogue_id, _ in places}))
    return {(dialogue, turn): _text(texts.get(dialogue, {}), turn, "user") for dialogue, turn in sorted(places)}


def _answers(answered: AlignedLabels, turn: int, slots: Sequence[str]) -> tuple[AnswerShown, ...] | None:
    """Everybody's answers; None where fewer than two people answered, or all say the same."""
    given = {who: turns[turn] for who, turns in answered.people.items() if turn in turns}
    if len(given) < 2:
        return None
    apart = {
        slot
        for slot in range(len(slots))
        if len({said.cells.get(slot, NOTHING) for said in given.values() if slot not in said.missing}) > 1
    }
    if not apart:
        return None
    shown = [AnswerShown(who, _chips(said, given, apart, slots), False) for who, said in given.items()]
    if turn in answered.verdicts:
        shown.append(AnswerShown(_VERDICT, _chips(answered.verdicts[turn], given, set(), slots), True))
    return tuple(shown)


def _chips(
    said: LabelledTurn, given: Mapping[str, LabelledTurn], apart: set[int], slots: Sequence[str]
) -> tuple[Chip, ...]:
    chips: list[Chip] = []
    for slot, name in enumerate(slots):
        if slot in said.missing:
            continue
        for element in sorted(said.cells.get(slot, NOTHING), key=lambda each: (each.op == "dislike", each)):
            by_all = all(element in other.cells.get(slot, NOTHING) for other in given.values())
            text = str(element) if name == NEW_TOPIC else f"{name}: {element}"
            chips.append(Chip(text, "same" if by_all or slot not in apart else "apart"))
        if slot in apart and not said.cells.get(slot):
            chips.append(Chip("no new topic" if name == NEW_TOPIC else f"{name}: –", "silent"))
    return tuple(chips)


def _texts(workspace: Workspace, dialogues: Sequence[str]) -> dict[str, dict[int, tuple[str, str]]]:
    """Dialogue id -> turn -> (speaker, text)."""
    found: dict[str, dict[int, tuple[str, str]]] = {}
    wanted = pa.array(sorted(dialogues), pa.string())
    with open_table(workspace.turns, TURNS) as file:
        for batch in file.iter_batches(_READ_ROWS, columns=["dialogue_id", "turn", "speaker", "text"]):
            for row in batch.filter(pc.is_in(batch["dialogue_id"], value_set=wanted)).to_pylist():
                found.setdefault(row["dialogue_id"], {})[row["turn"]] = (row["speaker"], row["text"])
    return found


def _text(said: Mapping[int, tuple[str, str]], turn: int, speaker: str) -> str:
    who, text = said.get(turn, ("", ""))
    return text if who == speaker else ""
