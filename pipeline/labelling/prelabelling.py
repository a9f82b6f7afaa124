"""``--prelabel``: tasks that are labelled before people see them, by words, by a trained run, by a language model, or
by what labels say.

A dialogue's own labels teach nothing about it: the lexicon learns, and a language model gets its examples, from the
other dialogues only. A run was trained without regard to what is exported now; pre-labels of its own training dialogues
repeat their labels.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from annotate.annotations.migration import Migration
from annotate.prelabels.offers import offers_data, turn_offers
from annotate.prelabels.prelabels import Prelabel, PrelabelModel, TurnPrelabel, prediction, whole_states
from annotate.simulated_annotators import offered_choices
from annotate.tasks.dialogue_tasks import notice_html, states_html
from annotate.tasks.label_config import NO_KEY, LabelConfig
from pipeline.workspace import Workspace, check_vocabulary
from schemas.accumulate import difference
from schemas.belief import BeliefState, Polarity, TurnUpdate, belief_state
from schemas.errors import ModelError, UsageError
from schemas.files import sha256_file
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.validation import did_you_mean

if TYPE_CHECKING:
    from annotate.prelabels.llm import Questions
    from annotate.prelabels.llm_prelabels import LlmPrelabels, Terms
    from semantic_model.states.tracker import Beliefs, LabelledDialogue, StateTracker

Rows = Sequence[Mapping[str, Any]]

_KINDS = ("lexicon", "run:latest", "llm", "current")
_GUESSED = "These marks were filled in by a program."
_OFFERED = (
    "What it was not sure of is offered: one click takes it in place of what the fields show. In a slot in which you "
    "change a mark, your marks count."
)
_NOTICES = {"current": "These marks are the labels as they are now."}
_SURE_OF_VALUES, _SURE_OF_NOTHING = 0.7, 0.95
"""How sure a run has to be of other values of a slot, or of none any more, before a turn is said to change it.

Beliefs waver from turn to turn. Chosen on 200 training dialogues of SIMMC 2 whose labels the run had not seen: 0.74 of
the actions of labelling from nothing, against 1.26 when every wavering becomes an update.
"""


@dataclass(frozen=True)
class LlmOptions:
    """What was asked for of a language model; None: as the environment and ``semctl.toml`` have it."""

    model: str | None = None  # its name at the address in SEMCTL_LLM_URL
    price_in: float | None = None  # of a million tokens sent, and of a million received
    price_out: float | None = None
    max_cost: float | None = None  # in the money of the prices
    max_tokens: int | None = None

    def refuse_without(self, names: Collection[str]) -> None:
        """Refuse options that no pre-labels of these names read.

        Raises:
            UsageError: there is one.
        """
        given = [name for name, value in vars(self).items() if value is not None]
        if given and "llm" not in names:
            option = "--llm-model" if given[0] == "model" else f"--{given[0].replace('_', '-')}"
            raise UsageError(f"{option} is for --prelabel llm", fix="add --prelabel llm, or leave it out")


def add_predictions(
    model: PrelabelModel,
    name: str,
    tasks: Sequence[dict[str, Any]],
    dialogues: Mapping[str, Rows],
    config: LabelConfig,
    ontology: Ontology,
    progress: Progress,
) -> None:
    """Give every task a prediction.

    Args:
        model: of these dialogues.
        name: that of :func:`prelabel_model`.
        tasks: changed; each gets ``predictions`` with one prediction.
    """
    offered = offered_choices(config.xml)
    notice = notice_html(_NOTICES.get(name, _GUESSED) + " Check every mark and add what is missing.")
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
        offers = {
            turn["turn"]: prelabel[turn["turn"]].offers for turn in data["user_turns"] if turn["turn"] in prelabel
        }
        if any(offers.values()):
            data["offers"] = offers_data(offers)
            data["past_html"] += notice_html(_OFFERED)
        for shown in data["user_turns"]:
            shown["html"] += so_far[shown["turn"]]
            shown["offers"] = [{"value": each.text, "hotkey": NO_KEY} for each in offers.get(shown["turn"], ())]


def prelabel_model(
    workspace: Workspace,
    name: str,
    dialogues: Mapping[str, Rows],
    progress: Progress,
    *,
    options: LlmOptions | None = None,
    wanted: Collection[str] | None = None,
) -> PrelabelModel:
    """What pre-labels these dialogues.

    Args:
        name: ``lexicon``, ``run:ID``, ``run:latest``, ``llm`` or ``current``.
        options: of a language model.
        wanted: those that a language model is asked about; None: all.

    Raises:
        UsageError: there is no such name, or what ``llm`` may take is more than its caps allow.
        ServiceError: the language model's server cannot be asked, or gives no replies.
    """
    if name == "lexicon":
        from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
        from semantic_model.states.tracker import fit_tracker

        ontology = workspace.ontology()
        labelled = labelled_dialogues(workspace, without=dialogues, wholly=False)
        progress.log(f"the lexicon reads {len(labelled)} labelled dialogues")
        return Tracked(fit_tracker(list(labelled.values()), ontology, image_choices(workspace, ontology)), dialogues)
    if name == "llm":
        from pipeline.modelling.state_tracking import labelled_dialogues

        known = labelled_dialogues(workspace, without=dialogues)
        model = llm_prelabels(workspace, dialogues, known, options or LlmOptions(), progress)
        model.ask([each for each in dialogues if wanted is None or each in wanted])
        return model
    if name == "current":
        return _Current(workspace, dialogues)
    kind, _, run = name.partition(":")
    if kind == "run" and run:
        return _Run(workspace, run, dialogues)
    fix = did_you_mean(name, _KINDS, "lexicon, run:ID, llm or current")
    raise UsageError(f"no pre-labels are called '{name}'", fix=fix)


def llm_prelabels(
    workspace: Workspace,
    dialogues: Mapping[str, Rows],
    labelled: Mapping[str, LabelledDialogue],
    options: LlmOptions,
    progress: Progress,
) -> LlmPrelabels:
    """A language model as a source of pre-labels; nothing is asked yet.

    Args:
        dialogues: those that it may be asked about.
        labelled: dialogues that examples are chosen from; none of those.

    Raises:
        UsageError: no address or model is named, or terms that cannot be kept to.
    """
    from annotate.prelabels.llm_prelabels import LlmPrelabels, Replies
    from annotate.prelabels.llm_server import LlmServer
    from semantic_model.states.tracker import fingerprint

    settings = workspace.settings()
    url = os.environ.get("SEMCTL_LLM_URL", "").strip()
    if not url:
        raise UsageError(
            "SEMCTL_LLM_URL does not say which language model to ask",
            fix="set it to an OpenAI-compatible address, such as http://127.0.0.1:11434/v1",
        )
    name = options.model or os.environ.get("SEMCTL_LLM_MODEL", "").strip() or settings.llm.model
    if not name:
        raise UsageError("no language model is named", fix="give --llm-model NAME, or set SEMCTL_LLM_MODEL")
    server = LlmServer(
        url,
        name,
        key=os.environ.get("SEMCTL_LLM_KEY", "").strip(),
        seconds=settings.llm.seconds,
        reply_tokens=settings.llm.reply_tokens,
        progress=progress,
    )
    taught = labelled if settings.llm.examples else {}
    return LlmPrelabels(
        _llm_questions(workspace, dialogues, taught),
        server,
        Replies(workspace.llm_replies),
        _llm_terms(workspace, options),
        workspace.ontology(),
        examples=f"+{len(taught)}dialogues:{fingerprint(list(taught.values()))}" if taught else "",
        parallel=settings.llm.parallel,
        progress=progress,
    )


def llm_estimate(
    workspace: Workspace,
    dialogues: Mapping[str, Rows],
    labelled: Mapping[str, LabelledDialogue],
    options: LlmOptions,
    progress: Progress,
) -> dict[str, tuple[int, int, float | None]]:
    """What asking a language model about dialogues may take, rather too much; nothing is sent.

    Args:
        dialogues: those that it would be asked about.
        labelled: dialogues that examples are chosen from; none of those.

    Returns:
        Dialogue -> tokens sent, tokens received, and what they cost; None where no price is known.

    Raises:
        UsageError: prices that are none.
    """
    from annotate.prelabels.llm_prelabels import Tokens, estimated_tokens

    settings, terms = workspace.settings().llm, _llm_terms(workspace, options)
    questions = _llm_questions(workspace, dialogues, labelled if settings.examples else {})
    found = {}
    for name in progress.track(list(dialogues), "counting tokens"):
        asked = (estimated_tokens(question, settings.reply_tokens) for _, question in questions.questions(name))
        tokens = sum(asked, Tokens())
        found[name] = tokens.sent, tokens.received, terms.cost(tokens)
    return found


def _llm_questions(
    workspace: Workspace, dialogues: Mapping[str, Rows], labelled: Mapping[str, LabelledDialogue]
) -> Questions:
    from annotate.prelabels.llm import Questions
    from pipeline.modelling.state_tracking import image_choices

    settings, ontology = workspace.settings(), workspace.ontology()
    return Questions(
        ontology,
        dialogues,
        image_choices(workspace, ontology),
        labelled,
        examples=settings.llm.examples,
        values_per_slot=settings.labelling.max_values_per_slot,
    )


def _llm_terms(workspace: Workspace, options: LlmOptions) -> Terms:
    from annotate.prelabels.llm_prelabels import Terms

    given = {name: value for name, value in vars(options).items() if name != "model" and value is not None}
    kept = workspace.settings().llm.model_dump(include={"price_in", "price_out", "max_cost", "max_tokens"})
    return Terms(**{**kept, **given})


class Tracked:
    """What a state tracker reads in each dialogue."""

    asked = None

    def __init__(self, tracker: StateTracker, dialogues: Mapping[str, Rows]) -> None:
        self._tracker, self._dialogues = tracker, dialogues
        self.version = tracker.version

    def prelabel(self, dialogue_id: str) -> Prelabel:
        found: dict[int, TurnPrelabel] = {}
        before: Beliefs = {}
        for each in self._tracker.track(self._dialogues[dialogue_id]):
            rises = {key: belief - before.get(key, 0.0) for key, belief in each.beliefs.items()}
            offers = turn_offers(each.update, each.state, rises, self._tracker.single, each.sure)
            found[each.turn] = TurnPrelabel(each.update, each.sure, offers)
            before = each.beliefs
        return found


class _Current:
    """What ``labels/states.parquet`` says now; a turn that it does not know is left blank."""

    asked = None

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

    asked = None

    def __init__(self, workspace: Workspace, run: str, dialogues: Mapping[str, Rows]) -> None:
        from pipeline.modelling.runs import find_run, load_corpus, open_ranker
        from semantic_model.data.records import Query
        from semantic_model.ranking.network_ranker import network_of
        from semantic_model.ranking.ranker import PredictsStates
        from semantic_model.training.checkpoint import read_card

        folder = find_run(workspace, run)
        self.version = run_version(folder.name)
        corpus = load_corpus(workspace)
        ranker = open_ranker(folder, corpus)
        network = network_of(ranker)
        if not isinstance(network, PredictsStates):
            raise ModelError(
                f"the run '{folder.name}' predicts no states that can be read",
                where=folder,
                fix="name a run whose preset has grounded states, as `default` has, or use --prelabel lexicon",
            )
        self._reading = BeliefReading(workspace.ontology(), read_card(folder / "model").ontology.version)
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
        states = self._network.predicted_states(self._ranker.encode_contexts(queries)) if queries else ()
        return self._reading.prelabel([query.turn for query in queries], states)


def run_version(run: str) -> str:
    """What predictions of a run are called; its id ends with a hash of what it was trained with."""
    return f"run:{run}"


class BelievedItem(Protocol):
    """A value of a state, as a run spells it."""

    @property
    def slot(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def polarity(self) -> str: ...


class Believed(Protocol):
    """What a run reads of a dialogue up to a turn."""

    @property
    def state(self) -> Sequence[BelievedItem]:
        """The likeliest state."""
        ...

    @property
    def sure(self) -> Mapping[str, float]:
        """Slot -> probability of what was read of it, 0 to 1."""
        ...


class BeliefReading:
    """How the states that a run believes in, turn by turn, become a pre-label.

    Args:
        ontology: as it is today, in whose names pre-labels are written.
        made_with: version of the ontology that the run learned with.
    """

    def __init__(self, ontology: Ontology, made_with: int) -> None:
        self._migration, self._made_with = Migration(ontology), made_with

    def prelabel(self, turns: Sequence[int], states: Sequence[Believed]) -> Prelabel:
        """The pre-label of a dialogue.

        A slot changes once the run is sure enough of it. The score of a turn is the probability that this is right in
        every slot, if slots are right independently: of a slot that stays as the run reads it how sure the run is of
        it; of any other the larger one of that and of its opposite.

        Args:
            turns: user turns, in order, from the dialogue's first one.
            states: what the run believes after each of them.
        """
        held: dict[str, tuple[tuple[str, str, str], ...]] = {}
        found: dict[int, tuple[BeliefState | None, float]] = {}
        for turn, read in zip(turns, states, strict=True):
            score = 1.0
            for slot, sure in read.sure.items():
                said = tuple((item.slot, item.value, item.polarity) for item in read.state if item.slot == slot)
                score *= sure if said == held.get(slot, ()) else max(sure, 1 - sure)
                if sure >= (_SURE_OF_VALUES if said else _SURE_OF_NOTHING):
                    held[slot] = said
            found[turn] = self._known(item for items in held.values() for item in items), score
        return _as_updates(found)

    def _known(self, state: Iterable[tuple[str, str, str]]) -> BeliefState:
        """The state in today's names; slots may be gone and values may have been split since the run was trained."""
        found = []
        for name, value, polarity in state:
            slot = self._migration.ontology.find(name)
            values = () if slot is None else self._migration.values(slot, value, self._made_with)
            if slot is not None and len(values) == 1:
                meant: Polarity = "dislike" if polarity == "dislike" else "like"
                found.append(self._migration.ontology.link(slot, next(iter(values)), meant))
        return belief_state(found)


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
