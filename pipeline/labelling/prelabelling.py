"""``--prelabel``: tasks that are labelled before people see them, by words, by a trained run, or by what labels say.

A dialogue's own labels teach nothing about it: the lexicon learns from the other dialogues only. A run was trained
without regard to what is exported now; pre-labels of its own training dialogues repeat their labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from annotate.annotations.migration import Migration
from annotate.prelabels.prelabels import Prelabel, PrelabelModel, TurnPrelabel, prediction, whole_states
from annotate.simulated_annotators import offered_choices
from annotate.tasks.dialogue_tasks import notice_html, states_html
from annotate.tasks.label_config import LabelConfig
from pipeline.workspace import Workspace, check_vocabulary
from schemas.accumulate import difference
from schemas.belief import BeliefState, TurnUpdate
from schemas.errors import ModelError, UsageError
from schemas.files import sha256_file
from schemas.progress import Progress
from schemas.validation import did_you_mean

if TYPE_CHECKING:
    from semantic_model.states.tracker import StateTracker

Rows = Sequence[Mapping[str, Any]]

_KINDS = ("lexicon", "run:latest", "current")
_GUESSED = "These marks were filled in by a program."
_NOTICES = {"current": "These marks are the labels as they are now."}
_SURE_OF_VALUES, _SURE_OF_NOTHING = 0.7, 0.95
"""How sure a run has to be of other values of a slot, or of none any more, before a turn is said to change it.

Beliefs waver from turn to turn. Chosen on 200 training dialogues of SIMMC 2 whose labels the run had not seen: 0.74 of
the actions of labelling from nothing, against 1.26 when every wavering becomes an update.
"""


def add_predictions(
    workspace: Workspace,
    name: str,
    tasks: Sequence[dict[str, Any]],
    dialogues: Mapping[str, Rows],
    config: LabelConfig,
    progress: Progress,
) -> str:
    """Give every task a prediction.

    Args:
        name: ``lexicon``, ``run:ID``, ``run:latest`` or ``current``.
        tasks: changed; each gets ``predictions`` with one prediction.

    Returns:
        The version of the model, as it stands in every prediction.
    """
    model = prelabel_model(workspace, name, dialogues, progress)
    offered = offered_choices(config.xml)
    notice = notice_html(_NOTICES.get(name, _GUESSED) + " Check every mark and add what is missing.")
    ontology = workspace.ontology()
    for task in progress.track(tasks, "pre-labels", total=len(tasks)):
        data = task["data"]
        prelabel = model.prelabel(data["dialogue_id"])
        data["past_html"] += notice
        turns = [row["turn"] for row in dialogues[data["dialogue_id"]] if row["speaker"] == "user"]
        if data.get("asks") == "state":
            task["predictions"] = [prediction(whole_states(prelabel, turns, ontology), model.version, data, offered)]
            continue
        task["predictions"] = [prediction(prelabel, model.version, data, offered)]
        updates = [prelabel[turn].update if turn in prelabel else None for turn in turns]
        so_far = states_html(turns, updates, ontology, source=", as filled in")
        for shown in data["user_turns"]:
            shown["html"] += so_far[shown["turn"]]
    return model.version


def prelabel_model(workspace: Workspace, name: str, dialogues: Mapping[str, Rows], progress: Progress) -> PrelabelModel:
    """What pre-labels these dialogues, by the name that :func:`add_predictions` takes."""
    if name == "lexicon":
        from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
        from semantic_model.states.tracker import fit_tracker

        ontology = workspace.ontology()
        labelled = labelled_dialogues(workspace, without=dialogues, wholly=False)
        progress.log(f"the lexicon reads {len(labelled)} labelled dialogues")
        return Tracked(fit_tracker(list(labelled.values()), ontology, image_choices(workspace, ontology)), dialogues)
    if name == "current":
        return _Current(workspace, dialogues)
    kind, _, run = name.partition(":")
    if kind == "run" and run:
        return _Run(workspace, run, dialogues)
    raise UsageError(f"no pre-labels are called '{name}'", fix=did_you_mean(name, _KINDS, "lexicon, run:ID or current"))


class Tracked:
    """What a state tracker reads in each dialogue."""

    def __init__(self, tracker: StateTracker, dialogues: Mapping[str, Rows]) -> None:
        self._tracker, self._dialogues = tracker, dialogues
        self.version = tracker.version

    def prelabel(self, dialogue_id: str) -> Prelabel:
        read = self._tracker.track(self._dialogues[dialogue_id])
        return {each.turn: TurnPrelabel(each.update, each.sure) for each in read}


class _Current:
    """What ``labels/states.parquet`` says now; a turn that it does not know is left blank."""

    def __init__(self, workspace: Workspace, dialogues: Mapping[str, Rows]) -> None:
        from pipeline.modelling.state_tracking import known_states

        every = known_states(workspace)
        check_vocabulary(workspace)
        self._states = {name: every.get(name, {}) for name in dialogues}
        self.version = f"current@{sha256_file(workspace.states)[:12]}"

    def prelabel(self, dialogue_id: str) -> Prelabel:
        return _as_updates({turn: (state, 1.0) for turn, state in self._states[dialogue_id].items()})


class _Run:
    """What the student of a trained run believes after each turn."""

    def __init__(self, workspace: Workspace, run: str, dialogues: Mapping[str, Rows]) -> None:
        from pipeline.modelling.runs import find_run, load_corpus, open_ranker
        from semantic_model.data.records import Query
        from semantic_model.ranking.network_ranker import network_of
        from semantic_model.ranking.ranker import PredictsStates
        from semantic_model.training.checkpoint import read_card

        folder = find_run(workspace, run)
        self.version = f"run:{folder.name}"
        corpus = load_corpus(workspace)
        ranker = open_ranker(folder, corpus)
        network = network_of(ranker)
        if not isinstance(network, PredictsStates):
            raise ModelError(
                f"the run '{folder.name}' predicts no states that can be read",
                where=folder,
                fix="name a run whose preset has grounded states, as `default` has, or use --prelabel lexicon",
            )
        self._migration = Migration(workspace.ontology())
        self._made_with = read_card(folder / "model").ontology.version
        self._ranker, self._network = ranker, network
        self._queries = {
            name: [
                Query(name, row["turn"], "", corpus.history(name, row["turn"] + 1), (), ())
                for row in rows
                if row["speaker"] == "user"
            ]
            for name, rows in dialogues.items()
        }

    def prelabel(self, dialogue_id: str) -> Prelabel:
        queries = self._queries[dialogue_id]
        held: dict[str, BeliefState] = {}
        found: dict[int, tuple[BeliefState | None, float]] = {}
        states = self._network.predicted_states(self._ranker.encode_contexts(queries)) if queries else ()
        for query, read in zip(queries, states, strict=True):
            score = 1.0
            for slot, sure in read.sure.items():
                said = tuple(item for item in read.state if item.slot == slot)
                score *= sure if said == held.get(slot, ()) else max(sure, 1 - sure)
                if sure >= (_SURE_OF_VALUES if said else _SURE_OF_NOTHING):
                    held[slot] = said
            found[query.turn] = self._known(tuple(item for items in held.values() for item in items)), score
        return _as_updates(found)

    def _known(self, state: BeliefState) -> BeliefState:
        """The state in today's names; slots may be gone and values may have been split since the run was trained."""
        found = []
        for item in state:
            slot = self._migration.ontology.find(item.slot)
            values = () if slot is None else self._migration.values(slot, item.value, self._made_with)
            if slot is not None and len(values) == 1:
                found.append(self._migration.ontology.link(slot, next(iter(values)), item.polarity))
        return tuple(sorted(found, key=lambda item: (item.slot, item.polarity == "dislike", item.value)))


def _as_updates(states: Mapping[int, tuple[BeliefState | None, float]]) -> Prelabel:
    """Each turn's update, of a dialogue's states; a turn without a state has none."""
    found: dict[int, TurnPrelabel] = {}
    before: BeliefState | None = ()
    for turn, (after, score) in sorted(states.items()):
        if after is not None:
            found[turn] = TurnPrelabel(_written(difference(before, after)), score)
        before = after
    return found


def _written(update: TurnUpdate) -> TurnUpdate:
    """The update with each value once: two spellings of one value are one mark."""
    return replace(
        update,
        want={slot: tuple(dict.fromkeys(values)) for slot, values in update.want.items()},
        dislike={slot: tuple(dict.fromkeys(values)) for slot, values in update.dislike.items()},
    )
