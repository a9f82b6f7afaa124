"""Simulated annotators: they know the gold states, mark what each turn changes, and can make mistakes.

What they produce has the shape of a real export of Label Studio, so that it takes the same way in as people's work.
Everything is drawn from the seed, the task and the annotator: the same call gives the same answers.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from xml.etree import ElementTree

from annotate.prelabels.prelabels import prelabelled_updates, update_results, with_origins
from annotate.tasks.label_config import stored_text
from schemas.accumulate import difference
from schemas.belief import BeliefState, TurnUpdate
from schemas.corrections import corrected, edited
from schemas.errors import LabelError
from schemas.ontology import Ontology

GoldStates = Mapping[tuple[str, int], BeliefState | None]
"""(dialogue id, user turn) -> the state after it; None, or no entry, where there is no gold: marked ``unsure``."""

_FIRST_MOMENT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_SECONDS_TO_READ_A_TURN = 2.5
_SECONDS_PER_MARK = 4.0


@dataclass(frozen=True)
class Annotator:
    """One simulated annotator."""

    ontology: Ontology  # the slots and values there are
    gold: GoldStates  # what the users of all dialogues want
    # the ``slot=value`` entries that the screen offers, see :func:`offered_choices`; others are typed. None: every
    # value of the ontology is offered.
    offered: Collection[str] | None = None
    # probability that a turn is marked with a slip: something forgotten, a neighbouring value picked, a want marked as
    # a dislike
    error_rate: float = 0.0
    name: str = "1"  # tells annotators with the same gold apart
    seed: int = 0  # of the slips and the times
    # probability that one mark to make or to take away is not seen; pre-labels stay as they are there
    oversight: float = 0.0
    _turns: dict[str, list[int]] = field(init=False, repr=False, compare=False)
    _offered: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        turns: dict[str, list[int]] = {}
        for dialogue_id, turn in sorted(self.gold):
            turns.setdefault(dialogue_id, []).append(turn)
        object.__setattr__(self, "_turns", turns)
        every = (f"{slot.name}={value.value}" for slot in self.ontology.slots for value in slot.values)
        object.__setattr__(self, "_offered", frozenset(every if self.offered is None else self.offered))

    def random(self, *about: object) -> Random:
        """A source of randomness of its own for each purpose."""
        text = "\x1f".join(str(part) for part in (self.seed, self.name, *about))
        return Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))

    def result(self, data: Mapping[str, Any], prelabel: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The ``result`` list for a task with this ``data``: what Label Studio stores of an annotation.

        Args:
            data: of the task.
            prelabel: the prediction shown filled in, which is corrected with the fewest actions; None: from nothing.

        Raises:
            LabelError: the task is not one that semctl made.
        """
        try:
            dialogue_id, uid = str(data["dialogue_id"]), str(data["uid"])
            turns = [int(turn["turn"]) for turn in data["user_turns"]]
        except (KeyError, TypeError, ValueError) as problem:
            raise LabelError(f"not a task that semctl made: {problem!r}") from None
        filled_in = prelabelled_updates(prelabel, turns, self.ontology)
        whole = data.get("asks") == "state"
        entries: list[dict[str, Any]] = []
        for index, turn in enumerate(turns):
            update = self._update(dialogue_id, turn, turns[:index], filled_in.get(turn), whole=whole)
            random = self.random("slip", uid, turn)
            if random.random() < self.error_rate:
                update = _slip(update, self.ontology, random)
            entries.extend(update_results(update, index, uid, self._offered))
        return with_origins(entries, () if prelabel is None else prelabel.get("result", ()))

    def lead_time(self, data: Mapping[str, Any], result: Sequence[Mapping[str, Any]]) -> float:
        """Seconds this annotator takes for a task."""
        marks = sum(len(entry["value"].get("taxonomy", entry["value"].get("text", ()))) for entry in result)
        typical = _SECONDS_TO_READ_A_TURN * len(data["user_turns"]) + _SECONDS_PER_MARK * marks
        return round(typical * self.random("time", data["uid"]).lognormvariate(0, 0.35), 3)

    def _update(
        self, dialogue_id: str, turn: int, in_sight: Sequence[int], filled_in: TurnUpdate | None, *, whole: bool
    ) -> TurnUpdate:
        """What the turn changes, or the ``whole`` state after it, which is what it would change if nothing had been
        said before; after a turn without gold nothing is taken for known.
        """
        after = self.gold.get((dialogue_id, turn))
        if after is None:
            return TurnUpdate(readable=False)
        earlier = [other for other in (*self._turns.get(dialogue_id, ()), *in_sight) if other < turn]
        before = self.gold.get((dialogue_id, max(earlier))) if earlier and not whole else ()
        if filled_in is None and not self.oversight:
            return difference(before, after)
        given = filled_in or TurnUpdate()
        correction = corrected(given, before, after, self.ontology)
        random = self.random("oversight", dialogue_id, turn)
        seen = [edit for edit in correction.edits if random.random() >= self.oversight]
        return edited(given, seen, self.ontology)


def offered_choices(label_config: str) -> frozenset[str]:
    """The ``slot=value`` entries that a label configuration offers for wants.

    Raises:
        LabelError: the configuration is not XML.
    """
    try:
        root = ElementTree.fromstring(label_config)
    except ElementTree.ParseError as problem:
        raise LabelError(f"the label configuration is not XML: {problem}") from None
    wants = (control for control in root.iter("Taxonomy") if control.get("name", "").startswith("want_"))
    return frozenset(stored_text(choice) for control in wants for choice in control.iter("Choice"))


def fill_tasks(
    tasks: Sequence[Mapping[str, Any]],
    gold: GoldStates,
    ontology: Ontology,
    annotators: Sequence[int] = (1,),
    *,
    redundancy: int = 1,
    offered: Collection[str] | None = None,
    error_rate: float = 0.0,
    seed: int = 0,
    project: int = 1,
) -> list[dict[str, Any]]:
    """Answer every task of a tasks file; the export that a Label Studio holding these tasks would give.

    Args:
        tasks: as ``export-for-labelling --to-file`` writes them; pre-labels in them are corrected.
        gold: the state after each user turn.
        ontology: the slots and values there are.
        annotators: Label Studio numbers of the annotators; dialogues are assigned to them in turn.
        redundancy: how many annotators answer each task.
        offered: see :class:`Annotator`.
        error_rate: see :class:`Annotator`.
        seed: of the slips and the times.
        project: number of the Label Studio project.

    Raises:
        LabelError: a task is not one that semctl made.
    """
    people = [Annotator(ontology, gold, offered, error_rate, str(number), seed) for number in annotators]
    assigned: dict[str, int] = {}
    clock = {annotator.name: _FIRST_MOMENT for annotator in people}
    export = []
    for number, task in enumerate(tasks, start=1):
        data = task["data"]
        place = assigned.setdefault(str(data.get("dialogue_id")), len(assigned))
        answers = []
        for step in range(min(redundancy, len(people))):
            annotator = people[(place + step) % len(people)]
            prelabel = next(iter(task.get("predictions") or ()), None)
            result = annotator.result(data, prelabel)
            lead_time = annotator.lead_time(data, result)
            begun = clock[annotator.name]
            clock[annotator.name] = begun + timedelta(seconds=lead_time + 1)
            answer_id = (number - 1) * redundancy + step + 1
            answers.append(_annotation(answer_id, number, project, annotator, result, begun, lead_time, data))
            if prelabel is not None:
                answers[-1] |= {"prediction": {"id": number, **prelabel}, "parent_prediction": number}
        export.append(_exported_task(number, project, data, answers))
    return export


def _annotation(
    answer_id: int,
    task_id: int,
    project: int,
    annotator: Annotator,
    result: list[dict[str, Any]],
    begun: datetime,
    lead_time: float,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    who = int(annotator.name)
    unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{project}/{data['uid']}/{who}/{annotator.seed}")
    return {
        "id": answer_id,
        "completed_by": who,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": _moment(begun),
        "updated_at": _moment(begun + timedelta(seconds=lead_time)),
        "draft_created_at": None,
        "lead_time": lead_time,
        "prediction": {},
        "result_count": len(result),
        "unique_id": str(unique),
        "import_id": None,
        "last_action": None,
        "bulk_created": False,
        "task": task_id,
        "project": project,
        "updated_by": who,
        "parent_prediction": None,
        "parent_annotation": None,
        "last_created_by": None,
    }


def _exported_task(
    number: int, project: int, data: Mapping[str, Any], annotations: list[dict[str, Any]]
) -> dict[str, Any]:
    created = _moment(_FIRST_MOMENT - timedelta(hours=1))
    updated = max((answer["updated_at"] for answer in annotations), default=created)
    return {
        "id": number,
        "annotations": annotations,
        "file_upload": None,
        "drafts": [],
        "predictions": [],
        "data": dict(data),
        "meta": {},
        "created_at": created,
        "updated_at": updated,
        "inner_id": number,
        "total_annotations": len(annotations),
        "cancelled_annotations": 0,
        "total_predictions": 0,
        "comment_count": 0,
        "unresolved_comment_count": 0,
        "last_comment_updated_at": None,
        "project": project,
        "updated_by": annotations[-1]["completed_by"] if annotations else None,
        "comment_authors": [],
    }


def _moment(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _slip(update: TurnUpdate, ontology: Ontology, random: Random) -> TurnUpdate:
    """The update with one mistake of the kind people make; an update that changes nothing gets a value too many."""
    marked = [(side, slot) for side in ("want", "dislike") for slot in sorted(getattr(update, side))]
    slips = ["forget", "neighbour", "other side"] if marked else []
    slips += ["forget the drop"] if update.drop or update.new_topic else []
    slip = random.choice(slips or ["too much"])
    if slip == "forget the drop":
        return replace(update, drop=frozenset(), new_topic=False)
    sides: dict[str, dict[str, tuple[str, ...]]] = {"want": dict(update.want), "dislike": dict(update.dislike)}
    if slip == "too much":
        filled = [slot for slot in ontology.slots if slot.values]
        if filled:
            slot = random.choice(filled)
            sides["want"][slot.name] = (random.choice(slot.values).value,)
        return replace(update, want=sides["want"])
    side, name = random.choice(marked)
    values = list(sides[side].pop(name))
    wrong = random.randrange(len(values))
    if slip == "neighbour":
        known = [value.value for value in ontology.slot(name).values if value.value not in values]
        values[wrong : wrong + 1] = [random.choice(known)] if known else []
    elif slip == "other side":
        other = "dislike" if side == "want" else "want"
        sides[other][name] = tuple(dict.fromkeys((*sides[other].get(name, ()), values.pop(wrong))))
    else:
        del values[wrong]
    taken = sides["dislike" if side == "want" else "want"].get(name, ())
    kept = tuple(value for value in values if value not in taken)
    if kept:
        sides[side][name] = kept
    return replace(update, want=sides["want"], dislike=sides["dislike"])
