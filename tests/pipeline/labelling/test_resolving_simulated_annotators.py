"""What resolving is worth on real dialogues: three annotators with planted error rates, against the gold.

The figures of the README are those of :func:`measured`, printed with ``pytest -s``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from annotate.annotations.annotation import Annotation, Mark, read_annotations
from annotate.annotations.dialogue_index import IndexedDialogue, read_dialogue_index
from annotate.resolution.ballots import Item, items_of
from annotate.resolution.policies import Majority, Policy, Weighted
from annotate.resolution.resolve import AnswerCounts, ballots_of, resolve
from annotate.simulated_annotators import GoldStates, fill_tasks, offered_choices
from annotate.states.splits import label_dialogue
from pipeline.chosen_dialogues import Selection
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.labelling.adjudicate import AdjudicateRequest, adjudicate
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.simulated_labels import gold_states
from pipeline.workspace import Workspace
from schemas.accumulate import difference
from schemas.belief import BeliefState, TurnUpdate, state_from_rows
from schemas.ontology import Ontology

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

RATES = (0.05, 0.15, 0.30)
"""Share of turns that each annotator marks with a slip."""


@dataclass(frozen=True)
class Figures:
    """How labels compare with the gold.

    Attributes:
        update_f1: micro F1 over all marks of all turns.
        joint_goal: share of turns whose state is known in every slot and is the gold's.
        labelled: share of turns whose state is known in every slot.
        complete: share of dialogues labelled throughout (D_F).
        seen: turns that a reviewer saw.
    """

    update_f1: float
    joint_goal: float
    labelled: float
    complete: float
    seen: int = 0

    @property
    def right_where_labelled(self) -> float:
        return self.joint_goal / self.labelled


def said_by(update: TurnUpdate | None, ontology: Ontology) -> set[Item]:
    if update is None or not update.readable:
        return set()
    marks = [Mark(0, "want", slot, value) for slot, values in update.want.items() for value in values]
    marks += [Mark(0, "dislike", slot, value) for slot, values in update.dislike.items() for value in values]
    marks += [Mark(0, "drop", slot) for slot in update.drop] + [Mark(0, "new_topic")] * update.new_topic
    return set(items_of(marks, ontology))


def compared(
    annotations: Mapping[str, Sequence[Annotation]],
    index: Mapping[str, IndexedDialogue],
    gold: GoldStates,
    ontology: Ontology,
    policy: Policy,
    seen: int = 0,
) -> Figures:
    """The labels that a policy makes of these annotations, held against the gold."""
    hit = marked = expected = right = labelled = turns = complete = 0
    every_slot = sorted(slot.name for slot in ontology.slots)
    for dialogue_id, dialogue in index.items():
        resolution = resolve(annotations[dialogue_id], dialogue.user_turns, ontology, policy)
        found = label_dialogue(dialogue_id, dialogue, resolution, ontology)
        complete += found.complete
        before: BeliefState | None = ()
        for one, row in zip(resolution.turns, found.rows, strict=True):
            after = gold[dialogue_id, one.turn]
            assert after is not None
            mine, theirs = said_by(one.update, ontology), said_by(difference(before, after), ontology)
            hit, marked, expected = hit + len(mine & theirs), marked + len(mine), expected + len(theirs)
            known = row["labelled_slots"] == every_slot
            labelled += known
            right += known and state_from_rows(row["state"]) == after
            turns += 1
            before = after
    return Figures(2 * hit / (marked + expected), right / turns, labelled / turns, complete / len(index), seen)


def by_dialogue(annotations: Iterable[Annotation]) -> dict[str, list[Annotation]]:
    found: dict[str, list[Annotation]] = {}
    for annotation in annotations:
        found.setdefault(annotation.dialogue_id, []).append(annotation)
    return found


def newest_wins(annotations: Iterable[Annotation]) -> list[Annotation]:
    """The rule that looks at nothing but the clock: as if all were answers of one person, sent in any order."""
    return [
        replace(each, annotator="one", updated_at=hashlib.sha256(each.annotation_id.encode()).hexdigest())
        for each in annotations
    ]


def taken_as_filled_in(row: int) -> dict[str, Any]:
    value = {"choices": ["as filled in"]}
    return {"from_name": f"take_{row}", "to_name": f"u{row}", "type": "choices", "value": value, "origin": "manual"}


def answered_by(
    space: Workspace, tasks: Path, gold: GoldStates, who: int, error_rate: float = 0.0, **options: str
) -> None:
    """One annotator answers all tasks of a file, in a project of their own, and the answers are ingested."""
    config = sorted(space.labelling.glob("batch-*/label_config.xml"))[-1]
    given = json.loads(tasks.read_bytes())
    export = fill_tasks(
        given,
        gold,
        space.ontology(),
        (who,),
        offered=offered_choices(config.read_text()),
        error_rate=error_rate,
        project=who,
    )
    for task in export:
        if task["data"].get("role") == "review":  # who decides every row, blank ones too
            rows = range(len(task["data"]["user_turns"]))
            task["annotations"][0]["result"] += [taken_as_filled_in(row) for row in rows]
    file = space.root / f"answers-of-{who}.json"
    file.write_text(json.dumps(export))
    ingest_labels(space, IngestRequest(export=file, **options))


def measured(corpus: Path, folder: Path, rates: Sequence[float], *, with_reviewer: bool = True) -> dict[str, Figures]:
    """Each way to make one label of several people's answers, by name."""
    gold_space, space = Workspace(folder / "gold"), Workspace(folder / "shop")
    import_corpus(gold_space, ImportRequest(corpus, "mmd"))
    ingest_labels(gold_space, IngestRequest())
    import_corpus(space, ImportRequest(corpus, "mmd", ignore_states=True))
    ontology = space.ontology()
    gold = gold_states(gold_space, ontology)
    export_for_labelling(space, ExportRequest(Selection(split="all"), to_file=folder / "tasks.json"))
    for who, rate in enumerate(rates, start=1):
        answered_by(space, folder / "tasks.json", gold, who, rate)
    annotations = by_dialogue(read_annotations(space.annotations))
    index = read_dialogue_index(space.turns, with_hashes=False)

    def figures(of: Mapping[str, Sequence[Annotation]], policy: Policy, seen: int = 0) -> Figures:
        return compared(of, index, gold, ontology, policy, seen)

    found: dict[str, Figures] = {}
    for who, rate in enumerate(rates, start=1):
        alone = {name: [each for each in said if each.annotator == f"user:{who}"] for name, said in annotations.items()}
        found[f"annotator {who} alone, {rate:.0%} slips"] = figures(alone, Majority())
    found["newest wins"] = figures({name: newest_wins(said) for name, said in annotations.items()}, Majority())
    found["majority"] = figures(annotations, Majority())
    ballots = (ballots_of(said, index[name].user_turns, ontology) for name, said in annotations.items())
    found["dawid-skene"] = figures(annotations, Weighted(AnswerCounts.of(ballots, ontology).fitted()))
    if not with_reviewer:
        return found
    kept = space.annotations.read_bytes()
    for name, options in (("majority, then a reviewer", {}), ("adjudicated", {"resolve_by": "adjudicated"})):
        space.annotations.write_bytes(kept)
        review = folder / f"review {name}.json"
        result = adjudicate(space, AdjudicateRequest(to_file=review, **options))
        answered_by(space, review, gold, 99, **options)
        with_verdicts = by_dialogue(read_annotations(space.annotations))
        found[name] = figures(with_verdicts, Majority(), result.turns_new)
    return found


def show(found: Mapping[str, Figures]) -> None:
    for name, one in found.items():
        cells = (one.update_f1, one.joint_goal, one.labelled, one.right_where_labelled, one.complete)
        sys.stderr.write(f"| {name} | {' | '.join(f'{cell:.1%}' for cell in cells)} | {one.seen:,} |\n")


def test_resolving_beats_the_newest_answer_and_a_reviewer_of_disputes_nearly_restores_the_gold(
    shared_data: Path, tmp_path: Path
):
    found = measured(shared_data / "simmc2_fashion_mmd", tmp_path, RATES)
    show(found)
    assert found["majority"].update_f1 > found["newest wins"].update_f1 + 0.05
    assert found["majority"].joint_goal > found["newest wins"].joint_goal + 0.15
    assert found["majority, then a reviewer"].joint_goal > found["majority"].joint_goal
    assert found["adjudicated"].joint_goal > 0.98
    assert found["adjudicated"].labelled == 1
    assert 0 < found["majority, then a reviewer"].seen < found["adjudicated"].seen / 5


def test_weighing_is_the_majority_with_three_annotators_and_beats_it_with_five_of_whom_two_guess(
    shared_data: Path, tmp_path: Path
):
    three = measured(shared_data / "simmc2_fashion_mmd", tmp_path / "three", RATES, with_reviewer=False)
    assert three["dawid-skene"] == three["majority"]
    five = measured(shared_data / "simmc2_fashion_mmd", tmp_path / "five", (*RATES, 0.5, 0.5), with_reviewer=False)
    show(five)
    assert five["dawid-skene"].update_f1 > five["majority"].update_f1
    assert five["dawid-skene"].joint_goal > five["majority"].joint_goal + 0.01
