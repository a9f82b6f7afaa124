"""Pre-labels: what a model says that each turn changes, as predictions that Label Studio shows filled in.

A prediction is ``{"model_version", "score", "result"}``; its results have the shape of an annotator's. Values that the
screen does not offer stand in the text field of the turn, as an annotator would have typed them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from annotate.annotations.annotation import turn_update
from annotate.exports.results import filled_in
from annotate.prelabels.offers import Offer
from schemas.accumulate import accumulate, difference
from schemas.belief import TurnUpdate
from schemas.errors import LabelError
from schemas.ontology import Ontology

if TYPE_CHECKING:
    from annotate.prelabels.llm_prelabels import LlmReport


@dataclass(frozen=True)
class TurnPrelabel:
    """What a model says of one turn."""

    update: TurnUpdate  # what the turn changes
    score: float  # how sure the model is that all of the update is right, from 0 to 1
    offers: tuple[Offer, ...] = ()  # what it is not sure enough of to say


Prelabel = Mapping[int, TurnPrelabel]
"""Of one dialogue, by user turn; a turn that is not there is left blank."""


class PrelabelModel(Protocol):
    """Something that labels dialogues before people do."""

    version: str  # names the model, and what it rests on, in every prediction: ``lexicon-v1@ontology3``

    @property
    def asked(self) -> LlmReport | None:
        """What asking a language model took; None where none is asked."""
        ...

    def prelabel(self, dialogue_id: str) -> Prelabel:
        """Of one of the dialogues that the model was made for."""
        ...


def prediction(prelabel: Prelabel, version: str, data: Mapping[str, Any], offered: Collection[str]) -> dict[str, Any]:
    """The prediction for one task, whose window of turns counts; ``offered`` are the ``slot=value`` entries of its
    screen.

    Returns:
        ``{"model_version", "score", "result"}``; the score is the mean over the window's turns of how sure the model is
        of all that it says of the turn, and 0 for a turn of which it says nothing.

    Raises:
        LabelError: the task is not one that semctl made.
    """
    try:
        uid = str(data["uid"])
        turns = [int(turn["turn"]) for turn in data["user_turns"]]
    except (KeyError, TypeError, ValueError) as problem:
        raise LabelError(f"not a task that semctl made: {problem!r}") from None
    results: list[dict[str, Any]] = []
    for index, turn in enumerate(turns):
        if turn in prelabel:
            results += update_results(prelabel[turn].update, index, uid, offered)
    scores = [prelabel[turn].score if turn in prelabel else 0.0 for turn in turns]
    return {"model_version": version, "score": round(sum(scores) / max(len(scores), 1), 4), "result": results}


def whole_states(prelabel: Prelabel, turns: Sequence[int], ontology: Ontology) -> dict[int, TurnPrelabel]:
    """The pre-label of a task that asks for whole states: of each turn the state after it, as an update from nothing.

    Its score is the probability that all updates behind it are right, if they are right independently. A turn after
    which nothing is known has none.

    Args:
        prelabel: of the dialogue.
        turns: all user turns of the dialogue, in order.
        ontology: of both.
    """
    given = [prelabel.get(turn) for turn in turns]
    states = accumulate([None if each is None else each.update for each in given], ontology)
    found: dict[int, TurnPrelabel] = {}
    score = 1.0
    for turn, each, known in zip(turns, given, states, strict=True):
        score = 0.0 if each is None else each.score * (1.0 if each.update.new_topic else score)
        if known.state is not None:
            found[turn] = TurnPrelabel(difference((), known.state), score)
    return found


def update_results(update: TurnUpdate, index: int, uid: str, offered: Collection[str]) -> Iterator[dict[str, Any]]:
    """The results of one turn at ``index`` of the window of task ``uid``; values that are not offered are typed."""
    picked: dict[str, list[str]] = {"want": [], "dislike": []}
    typed: list[str] = []
    for side, values in (("want", update.want), ("dislike", update.dislike)):
        for slot in sorted(values):
            for value in values[slot]:
                entry = f"{slot}={value}"
                if entry in offered:
                    picked[side].append(entry)
                else:
                    typed.append(f"{'!' if side == 'dislike' else ''}{entry}")
    picked["op"] = [f"drop={slot}" for slot in sorted(update.drop)]
    picked["op"] += ["flag=new_topic"] * update.new_topic + ["flag=unsure"] * (not update.readable)
    for control, entries in picked.items():
        if entries:
            paths = {"taxonomy": [[entry] for entry in entries]}
            yield _result(f"{control}_{index}", f"u{index}", "taxonomy", paths, uid)
    if typed:
        yield _result(f"free_{index}", f"u{index}", "textarea", {"text": typed}, uid)


def prelabelled_updates(prelabel: object, turns: Sequence[int], ontology: Ontology) -> dict[int, TurnUpdate]:
    """What a prediction, as Label Studio holds it, says of each turn of its task; empty where none can be read."""
    result = prelabel.get("result") if isinstance(prelabel, Mapping) else None
    return {turn: turn_update(marks) for turn, marks in filled_in(result, turns, ontology).items()}


def with_origins(results: Iterable[Mapping[str, Any]], prelabel: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results with their ``origin`` as Label Studio writes it: ``prediction``, ``prediction-changed`` or ``manual``."""
    filled_in = {entry.get("from_name"): entry.get("value") for entry in prelabel}
    found = []
    for entry in results:
        name, value = entry["from_name"], entry["value"]
        origin = (
            "manual" if name not in filled_in else "prediction" if filled_in[name] == value else "prediction-changed"
        )
        found.append({**entry, "origin": origin})
    return found


def _result(control: str, target: str, kind: str, value: Mapping[str, Any], uid: str) -> dict[str, Any]:
    number = hashlib.sha256(f"{uid}/{control}".encode()).hexdigest()[:10]
    return {"id": number, "from_name": control, "to_name": target, "type": kind, "value": value}
