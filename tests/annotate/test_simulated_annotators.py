from __future__ import annotations

import json
from itertools import pairwise

import pytest

from annotate.annotations.annotation import Annotation, turn_update
from annotate.exports.refusals import Refused
from annotate.exports.results import read_result
from annotate.simulated_annotators import Annotator, fill_tasks, offered_choices
from annotate.tasks.label_config import build
from schemas.belief import TurnUpdate
from schemas.errors import LabelError
from tests.label_exports import tasks_of
from tests.labelling_corpus import ONTOLOGY, dialogue

COLOR, PRICE = ONTOLOGY.slot("color"), ONTOLOGY.slot("price")
RED, BLUE, TEAL = (ONTOLOGY.link(COLOR, value) for value in ("red", "blue", "teal"))
NOT_BLACK = ONTOLOGY.link(COLOR, "black", "dislike")
THIRTY = ONTOLOGY.link(PRICE, "30")
GOLD = {("d", 0): (RED,), ("d", 2): (RED, NOT_BLACK, THIRTY), ("d", 4): (), ("d", 6): None, ("d", 8): (TEAL,)}
DIALOGUE = dialogue("d", users=5)


def updates(result, turns) -> list[TurnUpdate]:
    marks = read_result(result, turns, ONTOLOGY).marks
    found = Annotation("a", "d", "user:1").with_marks(marks).turns()
    return [turn_update(found[turn]) for turn in turns]


def of_window(number: int, window: int = 2, **options) -> list[dict]:
    return Annotator(ONTOLOGY, GOLD, **options).result(tasks_of([DIALOGUE], window=window)[number]["data"])


def test_an_annotator_marks_what_each_turn_changes_also_across_windows():
    assert updates(of_window(0), (0, 2)) == [
        TurnUpdate(want={"color": ("red",)}),
        TurnUpdate(want={"price": ("30",)}, dislike={"color": ("black",)}),
    ]
    assert updates(of_window(1), (4, 6)) == [TurnUpdate(new_topic=True), TurnUpdate(readable=False)]


@pytest.mark.parametrize("window", [1, 2, 5])
def test_after_a_turn_without_gold_everything_is_said_again(window: int):
    assert updates(of_window(-1, window), (0, 2, 4, 6, 8)[-1:] if window < 5 else (0, 2, 4, 6, 8))[-1] == TurnUpdate(
        want={"color": ("teal",)}, new_topic=True
    )


def test_values_the_screen_does_not_offer_are_typed():
    controls = {entry["from_name"]: entry["value"] for entry in of_window(0)}
    assert controls == {
        "want_0": {"taxonomy": [["color=red"]]},
        "dislike_1": {"taxonomy": [["color=black"]]},
        "free_1": {"text": ["price=30"]},
    }
    typed = {entry["from_name"]: entry["value"] for entry in of_window(0, offered={"color=black"})}
    assert typed["free_0"] == {"text": ["color=red"]}
    assert "want_0" not in typed


def test_the_offer_is_read_from_the_label_configuration():
    offered = offered_choices(build(ONTOLOGY, max_values_per_slot=1).xml)
    assert offered == {"color=black", "price=25-50"}
    with pytest.raises(LabelError, match="not XML"):
        offered_choices("<View>")


def test_a_task_of_something_else_is_refused():
    with pytest.raises(LabelError, match="not a task that semctl made"):
        Annotator(ONTOLOGY, GOLD).result({"text": "hello"})


def test_an_export_has_the_keys_of_a_real_one():
    task = fill_tasks(tasks_of([DIALOGUE]), GOLD, ONTOLOGY)[0]
    # keys of an export of Label Studio 1.23.2
    assert set(task) == {
        *("id", "annotations", "file_upload", "drafts", "predictions", "data", "meta", "created_at", "updated_at"),
        *("inner_id", "total_annotations", "cancelled_annotations", "total_predictions", "comment_count"),
        *("unresolved_comment_count", "last_comment_updated_at", "project", "updated_by", "comment_authors"),
    }
    assert set(task["annotations"][0]) == {
        *("id", "completed_by", "result", "was_cancelled", "ground_truth", "created_at", "updated_at", "project"),
        *("draft_created_at", "lead_time", "prediction", "result_count", "unique_id", "import_id", "last_action"),
        *("bulk_created", "task", "updated_by", "parent_prediction", "parent_annotation", "last_created_by"),
    }
    assert set(task["annotations"][0]["result"][0]) == {"id", "from_name", "to_name", "type", "value", "origin"}
    assert json.loads(json.dumps(task)) == task


def test_the_same_seed_gives_the_same_export_and_another_seed_other_times():
    tasks = tasks_of([DIALOGUE])
    first = fill_tasks(tasks, GOLD, ONTOLOGY, (1, 2), seed=3)
    assert first == fill_tasks(tasks, GOLD, ONTOLOGY, (1, 2), seed=3)
    other = fill_tasks(tasks, GOLD, ONTOLOGY, (1, 2), seed=4)
    assert [task["annotations"][0]["lead_time"] for task in first] != [t["annotations"][0]["lead_time"] for t in other]


def test_dialogues_are_assigned_whole_and_evenly():
    dialogues = [dialogue(f"d{n}", users=4) for n in range(6)]
    gold = {(f"d{n}", turn): () for n in range(6) for turn in (0, 2, 4, 6)}
    export = fill_tasks(tasks_of(dialogues), gold, ONTOLOGY, (11, 12, 13))
    people: dict[str, set[int]] = {}
    for task in export:
        (annotation,) = task["annotations"]
        people.setdefault(task["data"]["dialogue_id"], set()).add(annotation["completed_by"])
    assert all(len(who) == 1 for who in people.values())
    assert sorted(who.pop() for who in people.values()) == [11, 11, 12, 12, 13, 13]


def test_with_redundancy_each_task_has_answers_of_several_with_ids_of_their_own():
    export = fill_tasks(tasks_of([DIALOGUE]), GOLD, ONTOLOGY, (1, 2, 3), redundancy=2)
    assert all(len({each["completed_by"] for each in task["annotations"]}) == 2 for task in export)
    for name in ("id", "unique_id"):
        ids = [each[name] for task in export for each in task["annotations"]]
        assert len(set(ids)) == len(ids)


def test_an_annotator_answers_one_task_after_the_other():
    export = fill_tasks(tasks_of([DIALOGUE], window=1), GOLD, ONTOLOGY)
    times = [(each["created_at"], each["updated_at"]) for task in export for each in task["annotations"]]
    assert all(begun <= done < next_begun for (begun, done), (next_begun, _) in pairwise(times))


def test_slips_change_about_as_many_turns_as_asked_and_stay_readable():
    dialogues = [dialogue(f"d{n}", users=2) for n in range(150)]
    gold = {(f"d{n}", turn): state for n in range(150) for turn, state in ((0, (RED,)), (2, (RED, NOT_BLACK, THIRTY)))}
    careful = Annotator(ONTOLOGY, gold)
    careless = Annotator(ONTOLOGY, gold, error_rate=0.2)
    changed = refused = 0
    for task in tasks_of(dialogues):
        right, found = careful.result(task["data"]), careless.result(task["data"])
        try:
            changed += sum(a != b for a, b in zip(updates(right, (0, 2)), updates(found, (0, 2)), strict=True))
        except (KeyError, Refused):
            refused += 1
    assert refused == 0
    assert 40 <= changed <= 80  # 300 turns, 60 expected, 3 standard deviations


def test_annotators_slip_each_in_their_own_way():
    tasks = tasks_of([dialogue(f"d{n}", users=2) for n in range(20)])
    gold = {(f"d{n}", turn): (RED,) for n in range(20) for turn in (0, 2)}
    results = [
        [Annotator(ONTOLOGY, gold, error_rate=0.5, name=name).result(task["data"]) for task in tasks]
        for name in ("1", "2", "1")
    ]
    assert results[0] == results[2]
    assert results[0] != results[1]
