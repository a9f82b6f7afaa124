"""Label Studio's ML backend protocol: an opened task is filled in by what the run believes.

Label Studio 1.23 asks ``GET /health`` (anything but an error will do), then ``POST /setup`` with the project's label
configuration, then ``POST /predict`` with the tasks, and keeps what comes back as predictions. It waits 1, 3 and 100
seconds. What it sends along besides (its address, an API token of the project's maker, log-in of its storage) is not
read. Changes of annotations come to ``POST /webhook``, where they are counted: labels come in through
``semctl ingest-labels`` alone, and nothing is trained from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from annotate.annotations.dialogue_index import IndexedDialogue, read_dialogue_index
from annotate.exports.reader import ExportedTask
from annotate.exports.refusals import Refused
from annotate.exports.staging import TaskKeys, check_task
from annotate.prelabels.prelabels import prediction, whole_states
from annotate.simulated_annotators import offered_choices
from annotate.tasks import label_config as labels
from annotate.tasks.dialogue_tasks import dialogue_of_page
from pipeline.labelling.prelabelling import BeliefReading, run_version
from pipeline.modelling.conversation import Conversation
from pipeline.modelling.recommender import BelievedState
from pipeline.serving.batching import BusyError
from pipeline.serving.metrics import Metrics
from pipeline.serving.service import Service, Shop
from schemas.errors import CorpusError, LabelError, ModelError, UsageError
from schemas.ontology import Ontology
from semantic_model.data.records import Utterance

MOST_TASKS = 500
"""Of one request: more would not be answered in the time that Label Studio waits."""

_MOST_TURNS = 10_000
_TOGETHER = 32  # user turns that are read at a time; other requests come in between
_MOST_WAITING = 16  # requests for predictions; more are refused
_TRAIN = "START_TRAINING"
_ACTIONS = frozenset({"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"})


class _Sent(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class SetupForm(_Sent):
    """What Label Studio asks before anything else: whether this model knows the project's screen."""

    label_config: str = Field(alias="schema", max_length=4_000_000, description="The project's label configuration.")


class SetupAnswer(BaseModel):
    """It does."""

    model_version: str = Field(description="What predictions are called: `run:` and the run's id.")


class PredictForm(_Sent):
    """Tasks to be filled in."""

    tasks: list[dict[str, Any]] = Field(min_length=1, max_length=MOST_TASKS, description="As Label Studio has them.")
    label_config: str = Field(max_length=4_000_000, description="The project's label configuration.")


class PredictionAnswer(BaseModel):
    """What a task is filled in with."""

    model_version: str
    score: float = Field(
        description="The mean over the task's user turns of how sure the run is that all it says of the turn is right: "
        "the product over the slots, 0 to 1."
    )
    result: list[dict[str, Any]] = Field(description="As an annotator's answer.")


class UnansweredTask(BaseModel):
    """A task that cannot be filled in."""

    task: int | str | None = Field(description="Label Studio's number of it.")
    reason: str = Field(description="A code, as `semctl ingest-labels` would refuse answers with it.")
    detail: str


class PredictAnswer(BaseModel):
    """Of each task, in order, its prediction, or none."""

    model_version: str
    results: list[list[PredictionAnswer]] = Field(description="One entry a task; empty where there is no prediction.")
    unanswered: list[UnansweredTask]


class WebhookForm(_Sent):
    """What happened in Label Studio."""

    action: str = Field(max_length=100)


class WebhookAnswer(BaseModel):
    """It was counted."""

    status: Literal["counted"] = "counted"


@dataclass(frozen=True)
class _Asked:
    """A task that can be filled in, and the dialogue that it shows."""

    data: Mapping[str, Any]
    keys: TaskKeys
    dialogue: str  # of :attr:`_Plan.conversations`


@dataclass(frozen=True)
class _Plan:
    """What has to be read to fill tasks in."""

    shop: Shop
    ontology: Ontology
    offered: frozenset[str]
    tasks: list[_Asked | UnansweredTask]
    conversations: dict[str, list[Conversation]]  # dialogue -> after each user turn, as far as tasks show it


class Backend:
    """Fills tasks of Label Studio in; methods may be called by several threads.

    Args:
        service: the run, and the dialogues.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._indexed: tuple[Shop, Mapping[str, IndexedDialogue]] | None = None

    @property
    def version(self) -> str:
        """The name of all its predictions."""
        return run_version(self.service.run)

    def check(self, label_config: str) -> Ontology:
        """Whether tasks on this screen can be filled in; the ontology that it is made of.

        Raises:
            ModelError: the run predicts no states that can be read.
            LabelError: a screen that semctl did not write, that was edited, or that is of another ontology.
        """
        if not self.service.shop.recommender.reads_states:
            raise ModelError(
                f"the run '{self.service.run}' predicts no states that can be read",
                fix="serve a run whose preset has grounded states, as `default` has",
            )
        if not labels.is_intact(label_config):
            raise LabelError(
                "the label configuration of this project is not semctl's, or was edited by hand",
                fix="connect a project that `semctl export-for-labelling` made",
            )
        ontology = self.service.workspace.ontology()
        here, there = {slot.name for slot in ontology.slots}, labels.slots_offered(label_config)
        if here != there:
            missing, strange = sorted(here - there), sorted(there - here)
            told = "; ".join(
                f"{what}: {', '.join(names[:8])}"
                for what, names in (("not on it", missing), ("not here", strange))
                if names
            )
            raise LabelError(
                f"the project's screen has other slots than this workspace ({told})",
                fix="run `semctl export-for-labelling` to the project again, or serve a run of its own workspace",
            )
        return ontology

    def plan(self, form: PredictForm) -> _Plan:
        """What has to be read.

        Raises:
            ModelError, LabelError: as :meth:`check`.
            UsageError: more user turns than are read at once.
        """
        ontology = self.check(form.label_config)
        shop = self.service.shop
        index = self._index(shop)
        conversations: dict[str, list[Conversation]] = {}
        tasks: list[_Asked | UnansweredTask] = []
        for position, raw in enumerate(form.tasks):
            data = raw.get("data")
            task = ExportedTask(position, str(raw.get("id")), "", data if isinstance(data, dict) else {}, [], 0)
            try:
                asked, said = _asked(task, index, shop)
            except Refused as problem:
                number = raw.get("id")
                known = number if isinstance(number, int | str) else None
                refusal = problem.refusal
                tasks.append(UnansweredTask(task=known, reason=refusal.reason, detail=refusal.detail[:500]))
                continue
            tasks.append(asked)
            if len(said) > len(conversations.get(asked.dialogue, ())):
                conversations[asked.dialogue] = said
        turns = sum(map(len, conversations.values()))
        if turns > _MOST_TURNS:
            raise UsageError(f"{turns:,} user turns are too many at once", fix=f"ask about {_MOST_TURNS:,} at most")
        return _Plan(shop, ontology, offered_choices(form.label_config), tasks, conversations)

    def answer(self, plan: _Plan, states: Sequence[BelievedState]) -> PredictAnswer:
        """The predictions.

        Args:
            plan: of the request.
            states: what the run believes, of all conversations of the plan in order.
        """
        learned = plan.shop.recommender.ontology
        reading = BeliefReading(plan.ontology, plan.ontology.version if learned is None else learned.version)
        remaining = iter(states)
        turns = {name: [one.turn for one in some] for name, some in plan.conversations.items()}
        prelabels = {
            name: reading.prelabel(numbers, [next(remaining) for _ in numbers]) for name, numbers in turns.items()
        }
        results: list[list[PredictionAnswer]] = []
        for task in plan.tasks:
            if isinstance(task, UnansweredTask):
                results.append([])
                continue
            prelabel = prelabels[task.dialogue]
            if task.keys.asks == "state":
                prelabel = whole_states(prelabel, turns[task.dialogue], plan.ontology)
            results.append([PredictionAnswer(**prediction(prelabel, self.version, task.data, plan.offered))])
        unanswered = [task for task in plan.tasks if isinstance(task, UnansweredTask)]
        return PredictAnswer(model_version=self.version, results=results, unanswered=unanswered)

    def _index(self, shop: Shop) -> Mapping[str, IndexedDialogue]:
        """The dialogues of the workspace; read anew with them."""
        known = self._indexed
        if known is None or known[0] is not shop:
            known = self._indexed = shop, read_dialogue_index(self.service.workspace.turns, with_hashes=True)
        return known[1]


def _asked(task: ExportedTask, index: Mapping[str, IndexedDialogue], shop: Shop) -> tuple[_Asked, list[Conversation]]:
    """A task, and the conversations after each user turn of its dialogue up to the last one that it shows.

    A dialogue that the workspace does not have is read from the task's page, without its images.

    Raises:
        Refused: not a task that asks for labels, or not of this wording of its dialogue.
    """
    corpus = shop.recommender.corpus
    try:
        keys = check_task(task, index)
        if keys.dialogue_id not in corpus.splits:  # imported this very moment
            raise Refused("unknown_dialogue", f"no dialogue '{keys.dialogue_id}' is served")
        dialogue, said = f"corpus {keys.dialogue_id}", corpus.utterances(keys.dialogue_id)
    except Refused as problem:
        if problem.refusal.reason != "unknown_dialogue":
            raise
        try:
            page = dialogue_of_page(task.data)
        except CorpusError as unreadable:
            raise Refused("unknown_dialogue", f"{problem.refusal.detail}; {unreadable.what}") from None
        keys = _keys_of_page(task, page)
        dialogue = f"page {task.position}"
        said = tuple((turn["turn"], Utterance(turn["speaker"], turn["text"], ())) for turn in page)
    if keys.role != "label":
        raise Refused("task_without_keys", "a reviewer's task comes with its own answers")
    history: list[Utterance] = []
    found = []
    for turn, utterance in said:
        history.append(utterance)
        if utterance.speaker == "user" and turn <= max(keys.turns):
            found.append(Conversation(keys.dialogue_id, turn, tuple(history)))
    return _Asked(task.data, keys, dialogue), found


def _keys_of_page(task: ExportedTask, page: Sequence[Mapping[str, Any]]) -> TaskKeys:
    """The keys of a task that shows this dialogue.

    Raises:
        Refused: its keys do not go together.
    """
    users = tuple(turn["turn"] for turn in page if turn["speaker"] == "user")
    digest = "00" * 32  # what the dialogue says elsewhere is not known here
    shown = replace(task, data={**task.data, "dialogue_sha256": digest})
    return check_task(shown, {str(task.data.get("dialogue_id")): IndexedDialogue("", users, bytes.fromhex(digest))})


def label_studio_routes(service: Service, metrics: Metrics) -> APIRouter:
    """What Label Studio asks, beside ``/health``."""
    backend = Backend(service)
    router = APIRouter(tags=["label studio"])
    turn = asyncio.Semaphore(1)
    waiting = 0

    @router.post("/setup", response_model=SetupAnswer)
    async def setup(form: SetupForm) -> Response:
        """Whether the run can fill in tasks on a project's screen."""
        await asyncio.to_thread(backend.check, form.label_config)
        return _json(SetupAnswer(model_version=backend.version))

    @router.post("/predict", response_model=PredictAnswer)
    async def predict(form: PredictForm) -> Response:
        """What the run fills tasks in with; a task of which it can say nothing gets no prediction, and the reason."""
        nonlocal waiting
        if waiting >= _MOST_WAITING:
            raise BusyError
        waiting += 1
        try:
            async with turn:
                plan = await asyncio.to_thread(backend.plan, form)
                asked = [*chain.from_iterable(plan.conversations.values())]
                states: list[BelievedState] = []
                for start in range(0, len(asked), _TOGETHER):
                    some = asked[start : start + _TOGETHER]
                    read = await asyncio.to_thread(plan.shop.recommender.states, some)
                    states += read or ()
                answer = await asyncio.to_thread(backend.answer, plan, states)
        finally:
            waiting -= 1
        for task in plan.tasks:
            metrics.task(task.reason if isinstance(task, UnansweredTask) else "predicted")
        return _json(answer)

    @router.post("/webhook", response_model=WebhookAnswer)
    async def webhook(form: WebhookForm) -> Response:
        """Label Studio tells of a change, which is counted in `/metrics`; labels come in by `semctl ingest-labels`."""
        if form.action == _TRAIN:
            raise UsageError(
                "nothing is trained from here", fix="run `semctl ingest-labels`, `semctl train`, then serve the new run"
            )
        metrics.change(form.action if form.action in _ACTIONS else "other")
        return _json(WebhookAnswer())

    return router


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
