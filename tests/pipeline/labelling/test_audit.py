"""The audit on the tiny shop: what it doubts, worked by hand; slips in real ingests found; its list exported again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.annotations.annotation import CORPUS, Annotation, Mark
from pipeline import cli
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.audit import AuditRequest, Labels, TurnLabel, audit, doubts, out_of_fold, rank
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.accumulate import difference
from schemas.belief import BeliefState
from schemas.errors import LabelError, UsageError
from schemas.progress import SilentProgress
from schemas.tables import ANNOTATIONS, RECOMMENDATIONS, write_table
from semantic_model.states.tracker import LabelledDialogue, fit_tracker
from tests.labelling_corpus import write_workspace
from tests.semantic_model.states.shop import ATTRIBUTES, SHOP, labelled, state

ALL = frozenset(slot.name for slot in SHOP.slots)
SLIPS: Mapping[int, dict[int, BeliefState]] = {
    8: {0: state(color="red", type="shoes"), 2: state(color="red", price="40 and over", type="shoes")},  # it says black
    13: {0: state(type="coat"), 2: state(type="coat")},  # "I need a white coat"
    17: {2: state(color="white", type="dress")},  # "Who makes that dress?", and only then "Show me dress"
}


def told(number: int, *, slips: bool = True) -> LabelledDialogue:
    right = labelled(number)
    return LabelledDialogue(right.rows, {**right.states, **(SLIPS.get(number, {}) if slips else {})})


def shop_labels(*numbers: int) -> Labels:
    dialogues = {f"d{number}": told(number) for number in numbers}
    turns = {(name, turn): TurnLabel(ALL, ("ann",)) for name, each in dialogues.items() for turn in each.states}
    return Labels(dialogues, frozenset(dialogues), turns)


def marks(dialogue: LabelledDialogue) -> list[Mark]:
    found, before = [], ()
    for turn in sorted(dialogue.states):
        update = difference(before, dialogue.states[turn])
        before = dialogue.states[turn]
        found += [Mark(turn, "new_topic")] * update.new_topic + [Mark(turn, "drop", slot) for slot in update.drop]
        found += [Mark(turn, "want", slot, value) for slot, values in update.want.items() for value in values]
        if not (update.want or update.drop or update.new_topic):
            found.append(Mark(turn, "none"))
    return found


def workspace_of(root: Path, numbers: range, *, unsure: tuple[tuple[int, int], ...] = ()) -> Workspace:
    """A workspace whose labels were ingested; turns of ``unsure`` (dialogue, turn) stay unlabelled."""
    dialogues = {f"d{number}": told(number) for number in numbers}
    rows = [[{**row, "act": "", "split": "train"} for row in each.rows] for each in dialogues.values()]
    workspace = write_workspace(root, rows, ontology=SHOP)
    write_table(workspace.recommendations, RECOMMENDATIONS, [])
    annotations = []
    for number in numbers:
        said = [mark for mark in marks(told(number)) if (number, mark.turn) not in unsure]
        said += [Mark(turn, "unsure") for each, turn in unsure if each == number]
        annotations.append(Annotation(f"{CORPUS}:d{number}", f"d{number}", CORPUS).with_marks(said))
    annotations.sort(key=lambda each: each.annotation_id)
    write_table(workspace.annotations, ANNOTATIONS, [row for each in annotations for row in each.rows()])
    ingest_labels(workspace, IngestRequest())
    return workspace


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace_of(tmp_path_factory.mktemp("audit") / "shop", range(30))


def run(workspace: Workspace, *arguments: str) -> int:
    return cli._run(["-w", str(workspace.root), "-q", "audit", *arguments])


def test_doubts_worked_by_hand():
    believed = {
        ("color", "red", "like"): 0.9,  # said, and not marked
        ("color", "blue", "like"): 0.2,  # named, and marked
        ("type", "coat", "like"): 0.3,  # held, and kept
        ("pattern", "plain", "like"): 0.8,  # held, and given up
        ("price", "cheap", "like"): 0.7,  # of a slot that is not labelled
    }
    before, after = state(pattern="plain", type="coat"), state(color="blue", rating="good", type="coat")
    found = doubts(before, after, believed, {("color", "red"), ("color", "blue")}, ALL - {"price"})
    assert {(each.how, each.value): pytest.approx(each.probability) for each in found} == {
        ("missing", "red"): 0.1,
        ("marked", "blue"): 0.2,
        ("kept", "coat"): 0.3,
        ("ended", "plain"): 0.2,
        ("marked", "good"): 0.5,  # nothing names it: it may have been seen
    }


@given(
    certain=st.floats(0.99, 1.0),
    excluded=st.floats(0.0, 0.01),
    others=st.lists(st.floats(0.0, 0.01), max_size=3),
    finding=st.booleans(),
)
def test_a_label_that_is_read_never_outranks_one_that_is_excluded(
    certain: float, excluded: float, others: list[float], *, finding: bool
):
    """Whatever checks find in the first: color=red is marked in both, and read in d1 only."""
    dialogues = {f"d{n}": LabelledDialogue(labelled(2).rows[:1], {0: state(color="red")}) for n in (1, 2)}
    labels = Labels(dialogues, frozenset(), {(name, 0): TurnLabel(ALL, ()) for name in dialogues})
    rest = {("color", color, "like"): belief for color, belief in zip(("black", "white", "blue"), others, strict=False)}
    believed: Any = {
        "d1": {0: {**rest, ("color", "red", "like"): certain}},
        "d2": {0: {**rest, ("color", "red", "like"): excluded}},
    }
    ranked = rank(labels, believed, SHOP, {("d1", 0): ["near_miss"]} if finding else {})
    assert [each.dialogue_id for each in ranked] == ["d2", "d1"]


def test_slips_are_found_and_nothing_else_is_doubted(shop: Workspace):
    report = audit(shop, AuditRequest())
    assert (report.turns, report.dialogues, report.taught_by) == (90, 30, 24)
    by_place = {(row.dialogue_id, row.turn): row for row in report.rows}
    assert by_place.keys() == {("d8", 0), ("d13", 0), ("d17", 2)}
    assert [row.score for row in report.rows] == sorted(row.score for row in report.rows)
    black = by_place["d8", 0]
    assert (black.doubt.how, black.doubt.slot, black.doubt.value) == ("missing", "color", "black")
    assert (black.label, black.reads, black.annotators) == (("red",), ("black",), (CORPUS,))
    assert by_place["d17", 2].doubt[1:] == ("marked", "type", "dress", "like")


def test_the_list_is_what_an_export_takes_in_this_order_and_the_same_again(shop: Workspace):
    report = audit(shop, AuditRequest(top=3))
    assert report.file == shop.root / "labelling/audit.txt"
    assert report.file.read_text().split() == [row.dialogue_id for row in report.rows] == list(report.listed)
    before = report.file.read_bytes()
    assert audit(shop, AuditRequest(top=3)) == report
    assert report.file.read_bytes() == before
    tasks = shop.root / "tasks.json"
    export_for_labelling(shop, ExportRequest(Selection(named=report.file), to_file=tasks))
    exported = [task["data"]["dialogue_id"] for task in json.loads(tasks.read_text())]
    assert list(dict.fromkeys(exported)) == list(report.listed)


def test_the_command_shows_the_worst_and_prints_one_object(shop: Workspace, capfd: pytest.CaptureFixture[str]):
    assert run(shop, "--top", "2") == 0
    out = capfd.readouterr().out
    assert "90 labelled turns of 30 dialogues, held against what at least 24 other labelled dialogues teach" in out
    assert "2 dialogues in the list" in out
    assert "--dialogues" in out
    assert run(shop, "--top", "3", "--json", "--out", str(shop.root / "mine.txt")) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["list"] == (shop.root / "mine.txt").read_text().split()
    assert found["suspects"][0].keys() >= {"dialogue_id", "turn", "slot", "label", "reads", "probability", "findings"}
    assert {each["how"] for each in found["suspects"]} == {"missing", "marked"}


def test_too_few_dialogues_are_held_against_rules_and_this_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    small = workspace_of(tmp_path / "small", range(5, 15))
    assert run(small) == 0
    out = capfd.readouterr().out
    assert "too few labelled dialogues to learn from: held against the rules of the lexicon alone" in out
    report = audit(small, AuditRequest(folds=30))
    assert report.taught_by == 0
    assert ("d8", 0) in {(row.dialogue_id, row.turn) for row in report.rows}


def test_turns_around_a_gap_are_judged_as_far_as_they_are_known(tmp_path: Path):
    """Turn 2 of d8 is unlabelled: turn 4 says what kind of thing is wanted, and nothing is known before it."""
    shop = workspace_of(tmp_path / "gap", range(30), unsure=((8, 2),))
    report = audit(shop, AuditRequest(top=90))
    assert report.turns == 88
    assert {row.turn for row in report.rows if row.dialogue_id == "d8"} == {0}


def test_slots_that_are_not_labelled_are_not_judged():
    labels = shop_labels(*range(25))
    without = {**labels.turns, ("d8", 0): TurnLabel(ALL - {"color"}, ("ann",))}
    read = out_of_fold(labels, SHOP, ATTRIBUTES, 5, SilentProgress()).beliefs
    for turns, doubted in ((labels.turns, True), (without, False)):
        ranked = rank(Labels(labels.dialogues, labels.teaching, turns), read, SHOP, {})
        worst = {(each.dialogue_id, each.turn) for each in ranked if each.score < 0.1}
        assert (("d8", 0) in worst) is doubted
        assert ("d13", 0) in worst


def test_every_dialogue_is_read_by_the_others_as_scikit_learn_would_have_it():
    """``cross_val_predict`` over the same folds, with the tracker as its estimator, gives the same beliefs."""
    selection = pytest.importorskip("sklearn.model_selection")
    base = pytest.importorskip("sklearn.base")
    labels = shop_labels(*range(26))
    names = sorted(labels.dialogues)
    found = out_of_fold(labels, SHOP, ATTRIBUTES, 5, SilentProgress())
    dealt = [part for part, size in enumerate((6, 5, 5, 5, 5)) for _ in range(size)]
    parts = dict(zip(found.beliefs, dealt, strict=True))  # which come part by part
    assert found.taught_by == 20

    class Estimator(base.BaseEstimator):
        def fit(self, rows: Any, answers: Any) -> Estimator:
            teachers = [labels.dialogues[names[at]] for at in sorted(rows[:, 0])]
            self.tracker_ = fit_tracker(teachers, SHOP, ATTRIBUTES)
            return self

        def predict(self, rows: Any) -> Any:
            read = [self.tracker_.beliefs_given(labels.dialogues[names[at]]) for at in rows[:, 0]]
            return np.array([sum(sum(each.values()) for each in turns.values()) for turns in read])

    rows = np.arange(len(names))[:, None]
    split = selection.PredefinedSplit([parts[name] for name in names])
    oracle = selection.cross_val_predict(Estimator(), rows, np.zeros(len(names)), cv=split)
    ours = [sum(sum(each.values()) for each in found.beliefs[name].values()) for name in names]
    assert ours == pytest.approx(oracle.tolist())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (AuditRequest(top=0), "--top 0 shows nothing"),
        (AuditRequest(folds=1), "--folds 1 leaves no dialogue to learn from"),
        (AuditRequest(folds=31), "--folds 31 are more than the dialogues that teach"),
        (AuditRequest(out=Path("/")), "this is a folder"),
    ],
)
def test_bad_requests_are_refused(shop: Workspace, asked: AuditRequest, says: str):
    with pytest.raises(UsageError, match=says):
        audit(shop, asked)


def test_without_labels_the_error_says_what_to_do(tmp_path: Path):
    rows = [[{**row, "act": "", "split": "train"} for row in labelled(1).rows]]
    empty = write_workspace(tmp_path / "empty", rows, ontology=SHOP)
    with pytest.raises(LabelError, match="no labels to audit") as caught:
        audit(empty, AuditRequest())
    assert caught.value.fix == "run `semctl ingest-labels` first"
    ingest_labels(empty, IngestRequest())
    with pytest.raises(LabelError, match="no turn is labelled"):
        audit(empty, AuditRequest())
    assert not (empty.root / "labelling/audit.txt").exists()
