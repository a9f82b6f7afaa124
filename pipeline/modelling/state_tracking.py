"""The state tracker on a workspace: what teaches it, and how well it reads the states there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.chosen_dialogues import read_dialogues
from pipeline.modelling.training_data import gold_states, states_of
from pipeline.workspace import Workspace
from schemas.belief import BeliefState, state_from_rows
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress
from schemas.state_metrics import StateFigures
from schemas.tables import PRODUCTS, STATES, open_table, read_table
from semantic_model.data.corpus import Corpus
from semantic_model.states.tracker import MOST_DIALOGUES, LabelledDialogue, fit_tracker, product_choices
from semantic_model.states.turn_reading import Choice

if TYPE_CHECKING:
    from semantic_model.ranking.ranker import Ranker

TRACKER, TRACKER_RULES = "tracker", "tracker (rules)"
"""Whose states are shown beside a run's: the state tracker's, taught by the labels that the run had, and untaught."""


def states_read(
    workspace: Workspace, corpus: Corpus, split: str, ranker: Ranker, labelled: Sequence[str], progress: Progress
) -> dict[str, StateFigures]:
    """How the states before the recommendation turns of a split are read, by whom; empty without a gold one.

    Args:
        labelled: dialogues whose labels taught the run, and teach the tracker.

    Raises:
        WorkspaceError: D_F and D_P are not one complete set.
    """
    from semantic_model.models.state_rule import predicted_states

    known = gold_states(workspace) if workspace.split_manifest.is_file() else {}
    queries = [query for query in corpus.queries(split) if query.dialogue_id in known]
    if not queries:
        return {}
    gold = states_of(queries, known)
    asked = dict.fromkeys(query.dialogue_id for query in queries)
    rows = read_dialogues(workspace.turns, [*asked, *(name for name in labelled if name not in asked)], progress)
    ontology = workspace.ontology()
    images = image_choices(workspace, ontology)
    teachers = [LabelledDialogue(rows[name], dict(known[name])) for name in labelled if name in known]
    found: dict[str, StateFigures] = {}
    predicted = predicted_states(ranker, queries)
    if predicted is not None:
        found[ranker.name] = _figures([read.state for read in predicted], gold)
    for name, tracker in (
        (TRACKER, fit_tracker(teachers, ontology, images)),
        (TRACKER_RULES, fit_tracker((), ontology, images)),
    ):
        read = {each: [(turn.turn, turn.state) for turn in tracker.track(rows[each])] for each in asked}
        found[name] = _figures(states_of(queries, read), gold)
    return found


def states_of_run(workspace: Workspace, corpus: Corpus, split: str, ranker: Ranker) -> dict[str, StateFigures]:
    """Dialogue -> how a run reads the states before its recommendation turns; empty where it predicts none.

    Dialogues without gold states are left out.

    Raises:
        WorkspaceError: D_F and D_P are not one complete set.
    """
    from semantic_model.models.state_rule import predicted_states

    known = gold_states(workspace) if workspace.split_manifest.is_file() else {}
    queries = [query for query in corpus.queries(split) if query.dialogue_id in known]
    predicted = predicted_states(ranker, queries)
    found: dict[str, StateFigures] = {}
    if predicted is not None:
        for query, read, gold in zip(queries, predicted, states_of(queries, known), strict=True):
            found.setdefault(query.dialogue_id, StateFigures()).add(read.state, gold)
    return found


def _figures(states: Iterable[BeliefState], gold: Iterable[BeliefState]) -> StateFigures:
    figures = StateFigures()
    for said, right in zip(states, gold, strict=True):
        figures.add(said, right)
    return figures


def image_choices(workspace: Workspace, ontology: Ontology) -> dict[str, frozenset[Choice]]:
    """Of each image, the slots and values of the product in it."""
    found: dict[str, frozenset[Choice]] = {}
    with open_table(workspace.products, PRODUCTS) as file:
        for batch in file.iter_batches(columns=["attributes", "image_ids"]):
            for row in batch.to_pylist():
                choices = product_choices(ontology, dict(row["attributes"])) if row["image_ids"] else frozenset()
                for image in row["image_ids"]:
                    found.setdefault(image, choices)
    return found


def labelled_dialogues(
    workspace: Workspace, without: Mapping[str, object], *, wholly: bool = True
) -> dict[str, LabelledDialogue]:
    """Labelled dialogues, at most a thousand, with their states; none before anything was ingested.

    Args:
        workspace: whose labels.
        without: dialogues to leave out.
        wholly: only those of which every turn is labelled; else all of which some turn is.
    """
    if not workspace.states.is_file():
        return {}
    every = known_states(workspace)
    enough = all if wholly else any
    labelled = [name for name, states in every.items() if enough(state is not None for state in states.values())]
    chosen = sorted(name for name in labelled if name not in without)[:MOST_DIALOGUES]
    rows = read_dialogues(workspace.turns, chosen, SilentProgress())
    return {name: LabelledDialogue(rows[name], every[name]) for name in chosen}


def known_states(workspace: Workspace) -> dict[str, dict[int, BeliefState | None]]:
    """Dialogue -> user turn -> its labelled state; None where not every slot is known."""
    every = {slot.name for slot in workspace.ontology().slots}
    found: dict[str, dict[int, BeliefState | None]] = {}
    columns = ["dialogue_id", "turn", "state", "labelled_slots"]
    for row in read_table(workspace.states, STATES, columns=columns).to_pylist():
        known = every <= set(row["labelled_slots"])
        found.setdefault(row["dialogue_id"], {})[row["turn"]] = state_from_rows(row["state"]) if known else None
    return found
