"""What a run trains on: the corpus, the labels that may be used, the words."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from annotate.annotations.annotation import is_of_page
from annotate.annotations.dialogue_index import read_dialogue_index
from annotate.assignment.selection_strategies import seeded_order
from annotate.states.splits import read_splits
from pipeline.chosen_dialogues import named_dialogues, training_dialogues
from pipeline.modelling.run_record import Plan
from pipeline.modelling.runs import load_corpus
from pipeline.stages import find_stage, maker_of
from pipeline.workspace import Workspace, check_vocabulary
from schemas.belief import BeliefState, state_from_rows
from schemas.errors import InputError, OntologyError, WorkspaceError
from schemas.files import sha256_file
from schemas.ontology import Ontology
from schemas.progress import Progress
from semantic_model.config.config import Config
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import Query

if TYPE_CHECKING:
    from semantic_model.data.tokenizer import Vocabulary
    from semantic_model.ranking.model_spec import Fitted

_AGAIN = "run `semctl ingest-labels` again"


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on."""

    corpus: Corpus  # catalogue, dialogues and images
    ontology: Ontology  # for its slots
    labelled: list[str]  # ids of the dialogues of D_F whose labels are used
    # their recommendation turns; with states as text none, as these stand in those of D_P
    queries: list[Query]
    states: list[BeliefState]  # the gold state of each
    unlabelled: list[Query]  # recommendation turns of D_P, which holds those of the labelled dialogues, too
    valid: list[Query]  # those that choose the epoch
    unlabelled_dialogues: int  # how many dialogues of D_P are not labelled
    words: Vocabulary  # word pieces
    fitted: Fitted | None  # what the model learns of the corpus beside its weights, if it does


def prepare(workspace: Workspace, plan: Plan, config: Config, progress: Progress) -> TrainingData:
    """Read the corpus and the labels, and choose whose labels are used.

    Raises:
        InputError: no training dialogues, too few are labelled, or one that has to be is not.
        OntologyError: it has no slots.
        WorkspaceError: splits that do not hold what they should.
        MissingPartError: word vectors, or weights of the image network, that are not here; lists the ways out.
        ModelError: word vectors that cannot be used, or a corpus without what the model learns of it.
    """
    from semantic_model.data.tokenizer import find_words
    from semantic_model.data.told_states import STATE_TOKENS, state_words, with_states
    from semantic_model.data.vision import require_weights
    from semantic_model.grounded.settings import Settings as GroundedSettings
    from semantic_model.ranking.model_spec import Sources, find_model

    corpus, labels = load_corpus(workspace, images=plan.images, fold=plan.fold), "D_F" in plan.inputs
    ontology = workspace.ontology()
    if labels and not ontology.slots:
        raise OntologyError(
            "the ontology has no slots, so there is no belief state to learn",
            where=workspace.ontology_file,
            fix="import a catalogue whose products have attributes, or write slots into it",
        )
    training = training_dialogues(corpus.splits)
    if not training:
        raise InputError("there are no training dialogues", fix="import a corpus with a train split")
    states = gold_states(workspace) if labels else {}
    known = set(training) if plan.labelled is None else set(corpus.dialogues("train"))
    usable = [name for name in states if name in known]
    turns: dict[str, list[tuple[int, BeliefState]]] = {}
    known_slots: dict[str, dict[int, frozenset[str]]] = {}
    if plan.labelled is None:
        labelled, partly = labelled_dialogues(usable, len(training), plan.labeled_ratio, plan.seed), list[str]()
    else:
        if labels and isinstance(config, GroundedSettings) and config.grounding.tracks:
            some = partial_states(workspace)
            turns = {name: told for name, told in some.states.items() if name in known}
            known_slots = {name: slots for name, slots in some.known_slots.items() if name in turns}
        labelled, partly = all_labelled(plan.labelled, usable, list(turns))
    d_p = set(unlabelled_dialogues(training, labelled, config.train.unlabelled_ratio, plan.seed))
    used = set(labelled)
    unlabelled = [query for query in corpus.queries("train") if query.dialogue_id in d_p]
    queries = [query for query in unlabelled if query.dialogue_id in used]
    gold = [state_before(states[query.dialogue_id], query.turn) for query in queries]
    valid = corpus.queries("valid")
    told = states_of(valid, states) if plan.ds_input else []
    spoken = [" ".join(state_words(state)) for state in gold] if plan.ds_input else []
    texts = _texts(corpus, ontology, [name for name in training if name in d_p])
    words = find_words(config.text, itertools.chain(texts, spoken))
    if plan.images:
        require_weights(config.image)
    kind = find_model(config.model.kind).fitted
    if partly:
        progress.log(f"{len(partly)} dialogues that are labelled in part teach the state tracker")
    taught = {name: states[name] for name in labelled} | {name: turns[name] for name in partly}
    fitted = None if kind is None else kind.fit(config, Sources(corpus, ontology, taught, known_slots))
    progress.log(f"words: {words.source}")
    if plan.ds_input:
        own = {name: states[name] for name in labelled}
        before = [state_before(own.get(query.dialogue_id, ()), query.turn) for query in unlabelled]
        unlabelled, cut = with_states(unlabelled, before, words)
        valid, cut_valid = with_states(valid, told, words)
        progress.log(f"gold states as text: of {len(labelled)} training dialogues, and of all that choose the epoch")
        if cut + cut_valid:
            left_out = "their last slots are left out"
            progress.log(f"{cut + cut_valid} states have more than {STATE_TOKENS} word pieces: {left_out}")
        queries, gold = [], []
    without = len(d_p) - len(used)
    return TrainingData(corpus, ontology, labelled, queries, gold, unlabelled, valid, without, words, fitted)


def dialogues_at(ratio: float, training: int) -> int:
    """How many of the training dialogues a labelled ratio is."""
    return int(ratio * training + 0.5)


def labelled_dialogues(labelled: Sequence[str], training: int, ratio: float, seed: int) -> list[str]:
    """Which labelled dialogues are used: for one seed, those of a smaller ratio are among those of a larger one.

    Args:
        labelled: training dialogues whose every turn is labelled.
        training: how many training dialogues there are.
        ratio: share of all training dialogues.
        seed: decides the order.

    Raises:
        InputError: too few are labelled; names the largest possible ratio.
    """
    wanted = dialogues_at(ratio, training)
    if wanted > len(labelled):
        largest = int(10_000 * len(labelled) / training) / 10_000
        raise InputError(
            f"--labeled-ratio {ratio:g} of {training} training dialogues is {wanted}, "
            f"only {len(labelled)} are labelled",
            fix=f"the largest possible ratio is {largest:g}; label more, or run `semctl ingest-labels`",
        )
    return seeded_order(labelled, seed)[:wanted]


def named_for_training(workspace: Workspace, path: Path) -> tuple[str, ...]:
    """The dialogues that a file names, one id a line, as ``semctl select`` writes it.

    Raises:
        UsageError: an unknown or no dialogue, or a file that cannot be read.
    """
    return tuple(named_dialogues(path, read_dialogue_index(workspace.turns, with_hashes=False)))


def all_labelled(named: Sequence[str], usable: Sequence[str], partly: Sequence[str]) -> tuple[list[str], list[str]]:
    """The dialogues named that are labelled throughout, and those of which some turns are.

    Raises:
        InputError: one that is neither; names the first.
    """
    known, some = set(usable), set(partly)
    missing = [name for name in named if name not in known | some]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(named)} dialogues named are not labelled throughout, or not for training: "
            f"the first is {missing[0]}",
            fix="label them, run `semctl ingest-labels`, or take them off the list",
        )
    return [name for name in named if name in known], [name for name in named if name in some]


def unlabelled_dialogues(training: Sequence[str], labelled: Sequence[str], ratio: float, seed: int) -> list[str]:
    """The dialogues of D_P: those of D_F, then others; for one seed, a smaller ratio's are among a larger one's.

    Args:
        training: all training dialogues.
        labelled: those of D_F.
        ratio: share of all training dialogues, D_F's included; no less than D_F is taken.
        seed: decides the order.

    Raises:
        InputError: the ratio leaves no dialogue at all.
    """
    wanted = max(len(labelled), dialogues_at(ratio, len(training)))
    if not wanted:
        raise InputError(
            f"train.unlabelled_ratio {ratio:g} of {len(training)} training dialogues is none, and none is labelled",
            fix="use more of them, or --labeled-ratio above 0",
        )
    inside = set(labelled)
    return [*labelled, *seeded_order([name for name in training if name not in inside], seed)][:wanted]


def input_hashes(
    workspace: Workspace, *, labels: bool = True, files: Mapping[str, Path] | None = None
) -> dict[str, str]:
    """Hashes of everything training reads; the split manifest vouches for the two splits.

    Args:
        labels: False leaves the two splits out, for a model that does not read them.
        files: what the model reads beside the workspace, by name.

    Raises:
        WorkspaceError: a file is missing, or a split is not the one its manifest names.
    """
    names = [name for name in find_stage("train").reads if labels or maker_of(name).command == "import"]
    for name in names:
        path = getattr(workspace, name)
        if not path.is_file():
            fix = f"run `semctl {maker_of(name).command}` first"
            raise WorkspaceError("a file of the workspace is missing", where=path, fix=fix)
    if labels:
        read_splits(workspace.d_f, workspace.d_p, workspace.split_manifest)
    paths = [getattr(workspace, name) for name in names if name != "split_manifest"]
    hashes = {path.stem: sha256_file(path) for path in paths}
    return {**hashes, **{name: sha256_file(path) for name, path in (files or {}).items()}}


def gold_states(workspace: Workspace) -> dict[str, list[tuple[int, BeliefState]]]:
    """Dialogue -> (user turn, state) in order, for the dialogues of D_F."""
    d_f, d_p = read_splits(workspace.d_f, workspace.d_p, workspace.split_manifest)
    check_vocabulary(workspace)
    found: dict[str, list[tuple[int, BeliefState]]] = {}
    for row in d_f.select(["dialogue_id", "turn", "state"]).to_pylist():
        state = state_from_rows(row["state"])
        if state is None:
            raise WorkspaceError(
                f"D_F holds an unlabelled turn: dialogue {row['dialogue_id']}, turn {row['turn']}",
                where=workspace.d_f,
                fix=_AGAIN,
            )
        found.setdefault(row["dialogue_id"], []).append((row["turn"], state))
    overlap = found.keys() & set(d_p.column("dialogue_id").to_pylist())
    if overlap:
        raise WorkspaceError(f"dialogue {min(overlap)} is in both D_F and D_P", where=workspace.d_p, fix=_AGAIN)
    return {dialogue: sorted(rows, key=lambda row: row[0]) for dialogue, rows in found.items()}


@dataclass(frozen=True)
class PartialStates:
    """The labels of D_P."""

    states: Mapping[str, list[tuple[int, BeliefState]]]  # dialogue -> (user turn, state) in order
    # dialogue -> user turn -> the slots that its state tells of, for turns where these are not all
    known_slots: Mapping[str, dict[int, frozenset[str]]]


def partial_states(workspace: Workspace) -> PartialStates:
    """The turns of D_P whose state is known in every slot, and those of dialogues held on the page in any."""
    _, d_p = read_splits(workspace.d_f, workspace.d_p, workspace.split_manifest)
    slots = {slot.name for slot in workspace.ontology().slots}
    found: dict[str, list[tuple[int, BeliefState]]] = {}
    known_slots: dict[str, dict[int, frozenset[str]]] = {}
    for row in d_p.select(["dialogue_id", "turn", "state", "labelled_slots"]).to_pylist():
        name, state, known = row["dialogue_id"], state_from_rows(row["state"]), frozenset(row["labelled_slots"])
        is_whole = slots <= known
        if state is not None and (is_whole or is_of_page(name)):
            found.setdefault(name, []).append((row["turn"], state))
            if not is_whole:
                known_slots.setdefault(name, {})[row["turn"]] = known
    return PartialStates(
        {dialogue: sorted(rows, key=lambda row: row[0]) for dialogue, rows in found.items()}, known_slots
    )


def state_before(states: Sequence[tuple[int, BeliefState]], turn: int) -> BeliefState:
    """The state after the user's last turn before ``turn``; nothing is wanted before the first."""
    at = bisect_left(states, turn, key=lambda row: row[0])
    return states[at - 1][1] if at else ()


def states_of(queries: Sequence[Query], gold: Mapping[str, Sequence[tuple[int, BeliefState]]]) -> list[BeliefState]:
    """The gold state of each query.

    Raises:
        InputError: dialogues without one; names the first.
    """
    missing = list(dict.fromkeys(query.dialogue_id for query in queries if query.dialogue_id not in gold))
    if missing:
        asked = len({query.dialogue_id for query in queries})
        raise InputError(
            f"gold states as text (--ds-input) are needed of every dialogue that is ranked for, and {len(missing)} of "
            f"{asked} have none: the first is {missing[0]}",
            fix="label them throughout and run `semctl ingest-labels`, or train without --ds-input",
        )
    return [state_before(gold[query.dialogue_id], query.turn) for query in queries]


def _texts(corpus: Corpus, ontology: Ontology, training: Sequence[str]) -> Iterator[str]:
    """What words are learned from: training dialogues, products, slots and their values."""
    for dialogue in training:
        for _, utterance in corpus.utterances(dialogue):
            yield utterance.text
    for product in corpus.products:
        yield product.text
    for slot in ontology.slots:
        yield f"{slot.name} {slot.title} like dislike none"
        for value in slot.values:
            yield f"like {value.value} dislike {value.value}"
