"""Tasks of a generated corpus, answered by simulated annotators who know its gold states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from annotate.simulated_annotators import GoldStates, fill_tasks, offered_choices
from pipeline.workspace import Workspace
from schemas.belief import BeliefState, state_from_rows
from schemas.errors import LabelError
from schemas.files import read_json, write_atomic
from schemas.ontology import Ontology
from schemas.tables import STATES, read_table


def gold_states(gold: Workspace, ontology: Ontology) -> dict[tuple[str, int], BeliefState | None]:
    """The states of a workspace in the slot names of an ontology: a corpus may say ``colors``, its catalogue ``color``.

    Args:
        gold: a workspace in which the states that the corpus brought were ingested.
        ontology: of the workspace to label, which was imported without these states.

    Returns:
        (dialogue id, user turn) -> the state after it; None where there is no gold.
    """
    rows = read_table(gold.states, STATES, columns=["dialogue_id", "turn", "state"]).to_pylist()
    answers: dict[tuple[str, int], BeliefState | None] = {}
    for row in rows:
        state = state_from_rows(row["state"])
        if state is not None:
            state = tuple(replace(item, slot=ontology.slot(item.attribute or item.slot).name) for item in state)
        answers[row["dialogue_id"], row["turn"]] = state
    return answers


def answer_tasks(
    workspace: Workspace,
    tasks: Path,
    export: Path,
    gold: GoldStates,
    *,
    annotators: Sequence[int] = (1, 2),
    redundancy: int = 1,
    error_rate: float = 0.0,
    seed: int = 0,
) -> None:
    """Answer the tasks that ``export-for-labelling --to-file`` wrote, on the screen of the newest batch.

    Args:
        export: written; as Label Studio would export the answers.
        annotators: their numbers; dialogues are assigned to them in turn.
        redundancy: how many of them answer each task.
        error_rate: probability that a turn is marked with a slip.
        seed: of the slips and the times.
    """
    configs = sorted(workspace.labelling.glob("batch-*/label_config.xml"))
    if not configs:
        raise LabelError(
            "no batch was exported yet", where=workspace.labelling, fix="run `semctl export-for-labelling` first"
        )
    answered = fill_tasks(
        read_json(tasks, error=LabelError, fix="write it with `semctl export-for-labelling --to-file`"),
        gold,
        workspace.ontology(),
        annotators,
        redundancy=redundancy,
        offered=offered_choices(configs[-1].read_text()),
        error_rate=error_rate,
        seed=seed,
    )
    write_atomic(export, orjson.dumps(answered, option=orjson.OPT_INDENT_2))
