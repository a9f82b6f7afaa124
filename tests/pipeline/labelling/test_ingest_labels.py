from __future__ import annotations

import copy
import gzip
import json
import os
import random
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.annotations.dialogue_index import dialogue_sha256
from annotate.states.splits import read_splits
from pipeline.cli import _run
from pipeline.labelling import ingest_labels as stage
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.belief import BeliefState
from schemas.errors import CheckError, LabelError, OntologyError, SchemaError, SemctlError, UsageError, WorkspaceError
from schemas.files import write_json
from schemas.ontology import Ontology, Slot
from schemas.tables import ANNOTATIONS, D_F, QUARANTINE, STATES, TURNS, read_table, write_table
from tests.annotate.belief_strategies import ONTOLOGY as WIDE
from tests.annotate.belief_strategies import states
from tests.label_exports import (
    answer,
    answered,
    gold_of,
    hashes,
    marked,
    pick,
    save,
    simulated,
    states_in,
    tasks_of,
    typed,
)
from tests.labelling_corpus import ONTOLOGY, dialogue, write_workspace

ROOT = Path(__file__).resolve().parents[3]
EXPORTS = ROOT / "tests" / "annotate" / "exports"
D1 = dialogue("d1", users=3)
D2 = dialogue("d2", users=2, split="valid")
RED, BLACK = (ONTOLOGY.link(ONTOLOGY.slot("color"), value) for value in ("red", "black"))
GOLD = {("d1", 0): (RED,), ("d1", 2): (BLACK,), ("d1", 4): (), ("d2", 0): (RED,), ("d2", 2): (RED,)}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [D1, D2])


def corpus_rows(dialogue_id: str, turns: list[int], value: str = "blue", **more: Any) -> list[dict[str, Any]]:
    empty = dict.fromkeys(ANNOTATIONS.columns.names)
    said = {"annotation_id": f"corpus:{dialogue_id}", "dialogue_id": dialogue_id, "annotator": "corpus", "op": "want"}
    said |= {"slot": "color", "value": value, "polarity": "like", "origin": "corpus", "ontology_version": 1}
    said |= {"role": "label", "untouched": False}
    return [{**empty, **said, "turn": turn, **more} for turn in turns]


def in_the_first_version(rows: list[dict[str, Any]], path: Path) -> None:
    """Write annotations as the first version of the table had them, which lacked the columns from ``role`` on."""
    columns = ANNOTATIONS.earlier[1]
    metadata = {"semctl.table": "annotations", "semctl.schema_version": "1", "semctl.inputs": "{}"}
    kept = [{name: row[name] for name in columns.names} for row in rows]
    pq.write_table(pa.Table.from_pylist(kept, columns.with_metadata(metadata)), path)


def quarantined(workspace: Workspace) -> list[tuple[str, int | None]]:
    return [(row["reason"], row["turn"]) for row in read_table(workspace.quarantine, QUARANTINE).to_pylist()]


def adds_up(report: Mapping[str, Any]) -> bool:
    counted = dict(report["annotations"])
    return counted.pop("received") == sum(counted.values()) and counted["quarantined"] == sum(
        report["quarantined"].values()
    )


# --- what comes out


def test_states_splits_and_ledger_of_a_labelled_workspace(workspace: Workspace, tmp_path: Path):
    export = simulated([D1, D2], {**GOLD, ("d2", 2): None})
    report = ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", export))).as_json()
    assert report["annotations"] == {"received": 3, "accepted": 3, "quarantined": 0, "skipped": 0, "superseded": 0}
    assert report["d_f"] == {"dialogues": 1, "turns": 3}
    assert report["d_p"] == {"dialogues": 1, "turns": 2}
    assert report["by_split"]["d_p"] == {"valid": {"dialogues": 1, "turns": 2}}
    found = {key: marked(state) for key, state in states_in(workspace).items()}
    assert found == {
        ("d1", 0): {"color=red"},
        ("d1", 2): {"color=black"},
        ("d1", 4): set(),
        ("d2", 0): {"color=red"},
        ("d2", 2): None,
    }
    full, partial = read_splits(workspace.d_f, workspace.d_p, workspace.split_manifest)
    assert full.column("dialogue_id").to_pylist() == ["d1"] * 3
    assert partial.column("labelled_slots").to_pylist() == [["color", "price"], []]
    ledger = json.loads(workspace.label_ledger.read_bytes())
    assert ledger == {name: report[name] for name in report.keys() - {"changes", "pulled"}}


def test_what_was_marked_is_kept_with_where_it_comes_from(workspace: Workspace, tmp_path: Path):
    task = tasks_of([D1])[0]
    result = [pick("want_0", "color=red", origin="prediction"), typed("free_1", "!color=Teal"), typed("note", "hm")]
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", [answered(task, answer(5, result))])))
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    shared = {
        "annotation_id": "ls:7:a5",
        "task_uid": "d1#0",
        "dialogue_id": "d1",
        "annotator": "user:1",
        "lead_time": 9.5,
        "created_at": "2026-02-03T10:00:00.000000Z",
        "updated_at": "2026-02-03T10:00:00.000000Z",
        "project": "7",
        "ontology_version": 3,
    }
    assert [{name: row[name] for name in shared} for row in rows] == [shared] * 3
    assert [(r["turn"], r["op"], r["slot"], r["value"], r["polarity"], r["origin"]) for r in rows] == [
        (0, "want", "color", "red", "like", "prediction"),
        (0, "note", None, "hm", None, "manual"),
        (2, "dislike", "color", "Teal", "dislike", "manual"),
    ]


def test_values_no_product_has_are_kept_and_counted(workspace: Workspace, tmp_path: Path):
    task = tasks_of([D1])[0]
    export = [answered(task, answer(5, [typed("free_0", "color=teal"), typed("free_1", "color=teal", "price=99")]))]
    report = ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", export)))
    assert report.notices["value_not_in_catalogue"] == 3
    assert report.out_of_catalogue == (("color", "teal", 2), ("price", "99", 1))
    state = states_in(workspace)["d1", 0]
    assert state is not None
    assert [(item.value, item.catalogue_value, item.in_catalogue) for item in state] == [("teal", None, False)]


def test_every_file_names_its_inputs(workspace: Workspace, tmp_path: Path):
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", simulated([D1, D2], GOLD))))
    inputs = json.loads(pq.ParquetFile(workspace.d_f).schema_arrow.metadata[b"semctl.inputs"])
    assert inputs["turns"] == hashes(workspace.root)["data/turns.parquet"]
    assert inputs["annotations"] == hashes(workspace.root)["labels/annotations.parquet"]


# --- the same again, and the next export


def test_ingesting_twice_gives_the_same_bytes_and_the_same_counts(workspace: Workspace, tmp_path: Path):
    write_table(workspace.annotations, ANNOTATIONS, corpus_rows("d2", [0, 2]))
    export = simulated([D1, D2], {**GOLD, ("d2", 2): None}, annotators=(1, 2), error_rate=0.3)
    export[0]["annotations"].append(answer(9, [pick("want_0", "colr=red")]))
    file = save(tmp_path / "e.json", export)
    first = ingest_labels(workspace, IngestRequest(export=file))
    before = hashes(workspace.root)
    assert ingest_labels(workspace, IngestRequest(export=file)) == first
    assert hashes(workspace.root) == before


def test_the_raw_export_is_kept_whatever_was_in_it(workspace: Workspace, tmp_path: Path):
    file = save(tmp_path / "e.json", simulated([D1], GOLD))
    zipped = tmp_path / "e.json.gz"
    zipped.write_bytes(gzip.compress(file.read_bytes()))
    report = ingest_labels(workspace, IngestRequest(export=zipped))
    (kept,) = workspace.raw_exports.iterdir()
    assert kept.name == f"{report.export_sha256}.json.gz"
    assert gzip.decompress(kept.read_bytes()) == file.read_bytes()


def test_an_edit_in_a_later_export_wins_and_both_versions_stay(workspace: Workspace, tmp_path: Path):
    task = tasks_of([D1], window=3)[0]
    old = answered(task, answer(5, [pick("want_0", "color=red")]))
    new = answered(task, answer(5, [pick("want_0", "color=blue")], at="2026-02-04T10:00:00Z"))
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "1.json", [old])))
    report = ingest_labels(workspace, IngestRequest(export=save(tmp_path / "2.json", [new]))).as_json()
    assert report["annotations"]["accepted"] == 1
    assert marked(states_in(workspace)["d1", 4]) == {"color=blue"}
    assert len({row["updated_at"] for row in read_table(workspace.annotations, ANNOTATIONS).to_pylist()}) == 2
    again = ingest_labels(workspace, IngestRequest(export=tmp_path / "1.json")).as_json()
    assert again["annotations"] | {"accepted": 0, "superseded": 1} == again["annotations"]
    assert marked(states_in(workspace)["d1", 4]) == {"color=blue"}


def test_exports_of_several_projects_come_together(workspace: Workspace, tmp_path: Path):
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "1.json", simulated([D1], GOLD, project=1))))
    report = ingest_labels(workspace, IngestRequest(export=save(tmp_path / "2.json", simulated([D2], GOLD, project=2))))
    assert report.as_json()["d_f"] == {"dialogues": 2, "turns": 5}
    assert len(list(workspace.raw_exports.iterdir())) == 2


def test_the_later_of_two_answers_of_one_annotator_supersedes_the_earlier(workspace: Workspace, tmp_path: Path):
    task = tasks_of([D1], window=3)[0]
    answers = [
        answer(5, [pick("want_0", "color=red")], at="2026-02-03T10:00:00.5Z"),
        answer(6, [pick("want_0", "color=blue")], at="2026-02-03T10:00:00Z"),
        answer(7, [pick("want_0", "color=red")], at="2026-02-03T09:00:00Z", by={"id": 2, "email": "b@x"}),
    ]
    report = ingest_labels(
        workspace, IngestRequest(export=save(tmp_path / "e.json", [answered(task, *answers)]))
    ).as_json()
    assert report["annotations"] == {"received": 3, "accepted": 2, "quarantined": 0, "skipped": 0, "superseded": 1}
    assert marked(states_in(workspace)["d1", 0]) == {"color=red"}


def test_a_skipped_answer_never_counts_and_takes_its_earlier_self_along(workspace: Workspace, tmp_path: Path):
    task = tasks_of([D1], window=3)[0]
    given = answer(5, [pick("want_0", "color=red")])
    skipped = answer(5, [pick("want_0", "color=red")], at="2026-02-04T10:00:00Z", was_cancelled=True)
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "1.json", [answered(task, given)])))
    assert marked(states_in(workspace)["d1", 0]) == {"color=red"}
    later = save(tmp_path / "2.json", [answered(task, skipped)])
    for _ in range(2):
        report = ingest_labels(workspace, IngestRequest(export=later)).as_json()
        assert report["annotations"] == {"received": 1, "accepted": 0, "quarantined": 0, "skipped": 1, "superseded": 0}
        assert states_in(workspace)["d1", 0] is None


def test_an_answer_edited_into_something_unreadable_leaves_the_turns_unlabelled(workspace: Workspace, tmp_path: Path):
    task = tasks_of([D1], window=3)[0]
    ingest_labels(
        workspace,
        IngestRequest(export=save(tmp_path / "1.json", [answered(task, answer(5, [pick("want_0", "color=red")]))])),
    )
    broken = answered(task, answer(5, [pick("nope", "color=red")], at="2026-02-04T10:00:00Z"))
    report = ingest_labels(workspace, IngestRequest(export=save(tmp_path / "2.json", [broken])))
    assert report.quarantined == {"unknown_control": 1}
    assert states_in(workspace)["d1", 0] is None


def test_a_damaged_copy_of_an_answer_does_not_take_the_good_one_along(workspace: Workspace, tmp_path: Path):
    task = tasks_of([D1], window=3)[0]
    given = answer(5, [pick("want_0", "color=red")])
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "1.json", [answered(task, given)])))
    damaged = answered({"data": {**task["data"], "uid": "?"}}, given)
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "2.json", [damaged])))
    assert marked(states_in(workspace)["d1", 0]) == {"color=red"}


def test_a_dialogue_that_changed_loses_its_labels(workspace: Workspace, tmp_path: Path):
    file = save(tmp_path / "e.json", simulated([D1, D2], GOLD))
    ingest_labels(workspace, IngestRequest(export=file))
    other = [{**row, "text": "now something else"} for row in D1]
    write_table(workspace.turns, TURNS, [*other, *D2])
    report = ingest_labels(workspace, IngestRequest(export=file))
    assert report.quarantined == {"dialogue_changed": 2}
    assert report.as_json()["d_f"] == {"dialogues": 1, "turns": 2}
    assert states_in(workspace)["d1", 0] is None


def test_what_the_ontology_lacked_is_accepted_once_it_has_it(workspace: Workspace, tmp_path: Path):
    task = tasks_of([D1], window=3)[0]
    export = [answered(task, answer(5, [pick("want_0", "color=red"), typed("free_1", "fabric=silk")]))]
    file = save(tmp_path / "e.json", export)
    assert ingest_labels(workspace, IngestRequest(export=file)).refused_turns == {"unknown_slot": 1}
    assert quarantined(workspace) == [("unknown_slot", 2)]
    Ontology(version=4, slots=(*ONTOLOGY.slots, Slot(name="fabric", attribute="fabric"))).write(workspace.ontology_file)
    assert ingest_labels(workspace, IngestRequest(export=file)).refused_turns == {}
    assert quarantined(workspace) == []
    assert marked(states_in(workspace)["d1", 4]) == {"color=red", "fabric=silk"}


def test_a_bad_line_costs_one_line_and_the_dialogue_is_labelled_again(workspace: Workspace, tmp_path: Path):
    task = tasks_of([D1], window=3)[0]
    said = [pick("want_0", "color=red"), typed("free_0", "price>=2000", "!color=blue"), typed("free_2", "not red")]
    report = ingest_labels(
        workspace, IngestRequest(export=save(tmp_path / "e.json", [answered(task, answer(5, said))]))
    ).as_json()
    assert report["annotations"]["accepted"] == 1
    assert (report["refused_lines"], report["refused_turns"]) == (
        {"malformed_free_text": 1},
        {"malformed_free_text": 1},
    )
    assert marked(states_in(workspace)["d1", 0]) == {"color=red", "!color=blue"}
    (row,) = [
        row
        for row in read_table(workspace.states, STATES).to_pylist()
        if (row["dialogue_id"], row["turn"]) == ("d1", 0)
    ]
    assert "price" not in row["labelled_slots"]
    assert states_in(workspace)["d1", 4] is None
    assert quarantined(workspace) == [("malformed_free_text", 0), ("malformed_free_text", 4)]
    assert {code: report["findings"][code] for code in ("line_refused", "quarantined")} == {
        "line_refused": 1,
        "quarantined": 1,
    }
    assert workspace.requeue.read_text() == "d1\n"
    again = [pick("want_0", "color=red"), typed("free_0", "!color=blue")]
    other = answer(5, again, updated_at="2026-03-02T10:00:00Z")
    report = ingest_labels(
        workspace, IngestRequest(export=save(tmp_path / "f.json", [answered(task, other)]))
    ).as_json()
    assert not {"line_refused", "quarantined"} & report["findings"].keys()
    assert quarantined(workspace) == []


def test_drafts_are_reported_and_nothing_else(workspace: Workspace, tmp_path: Path):
    tasks = [answered(task, drafts=[{"result": [pick("want_0", "color=red")]}]) for task in tasks_of([D1])]
    report = ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", tasks))).as_json()
    assert report["drafts"] == 2
    assert report["annotations"]["received"] == 0
    assert report["d_f"]["dialogues"] == 0


# --- the corpus' own states


def test_without_an_export_the_corpus_speaks(workspace: Workspace):
    rows = [*corpus_rows("d1", [0]), *corpus_rows("d1", [2, 4], op="none", slot=None, value=None, polarity=None)]
    write_table(workspace.annotations, ANNOTATIONS, [*rows, *corpus_rows("d2", [0])])
    report = ingest_labels(workspace, IngestRequest()).as_json()
    assert report["annotations"] == {"received": 2, "accepted": 2, "quarantined": 0, "skipped": 0, "superseded": 0}
    assert report["export_sha256"] is None
    assert report["d_f"] == {"dialogues": 1, "turns": 3}
    assert marked(states_in(workspace)["d1", 4]) == {"color=blue"}
    assert not workspace.raw_exports.exists()


def test_without_any_annotation_everything_is_unlabelled(workspace: Workspace):
    report = ingest_labels(workspace, IngestRequest()).as_json()
    assert report["d_p"] == {"dialogues": 2, "turns": 5}
    assert set(states_in(workspace).values()) == {None}


def test_people_supersede_the_corpus_dialogue_by_dialogue(workspace: Workspace, tmp_path: Path):
    write_table(workspace.annotations, ANNOTATIONS, [*corpus_rows("d1", [0, 2, 4]), *corpus_rows("d2", [0, 2])])
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", simulated([D1], GOLD))))
    assert marked(states_in(workspace)["d1", 2]) == {"color=black"}
    assert marked(states_in(workspace)["d2", 2]) == {"color=blue"}
    assert ingest_labels(workspace, IngestRequest()).as_json()["annotations"] == {
        "received": 2,
        "accepted": 1,
        "quarantined": 0,
        "skipped": 0,
        "superseded": 1,
    }


def test_annotations_of_dialogues_that_are_gone_are_counted(workspace: Workspace):
    write_table(workspace.annotations, ANNOTATIONS, [*corpus_rows("a", [0]), *corpus_rows("z", [0])])
    report = ingest_labels(workspace, IngestRequest())
    assert report.notices["orphaned_annotations"] == 2
    assert report.as_json()["annotations"]["superseded"] == 2


# --- bad exports


def malformed(level: str) -> list[Path]:
    return sorted((EXPORTS / level).glob("*.json"))


def placed(file: Path, tmp_path: Path) -> Path:
    """A copy of an export that names the hash of the dialogue as it is."""
    text = file.read_text().replace("@sha256 of d1@", dialogue_sha256(D1))
    copied = tmp_path / file.name
    copied.write_text(text)
    return copied


@pytest.mark.parametrize("file", malformed("turn"), ids=lambda file: file.stem)
def test_a_malformed_turn_is_refused_alone(file: Path, workspace: Workspace, tmp_path: Path):
    reason = file.stem.partition("-")[0]
    report = ingest_labels(workspace, IngestRequest(export=placed(file, tmp_path))).as_json()
    assert report["annotations"] == {"received": 1, "accepted": 1, "quarantined": 0, "skipped": 0, "superseded": 0}
    assert report["refused_turns"] == {reason: 1}
    assert quarantined(workspace) == [(reason, 2)]
    assert marked(states_in(workspace)["d1", 0]) == {"color=red"}
    assert states_in(workspace)["d1", 2] is None


@pytest.mark.parametrize("file", malformed("annotation"), ids=lambda file: file.stem)
def test_a_malformed_annotation_is_quarantined_with_its_reason(file: Path, workspace: Workspace, tmp_path: Path):
    reason = file.stem.partition("-")[0]
    report = ingest_labels(workspace, IngestRequest(export=placed(file, tmp_path))).as_json()
    assert report["annotations"] == {"received": 1, "accepted": 0, "quarantined": 1, "skipped": 0, "superseded": 0}
    assert report["quarantined"] == {reason: 1}
    assert quarantined(workspace) == [(reason, None)]
    (row,) = read_table(workspace.quarantine, QUARANTINE).to_pylist()
    assert row["detail"]
    assert row["raw"]
    assert row["export_sha256"] == report["export_sha256"]
    assert set(states_in(workspace).values()) == {None}


def without(given: Mapping[str, Any], *names: str, null: bool) -> dict[str, Any]:
    """A copy in which these keys are null, or not there."""
    return {**given, **dict.fromkeys(names)} if null else {name: given[name] for name in given if name not in names}


@pytest.mark.parametrize("null", [True, False])
@pytest.mark.parametrize(
    "names",
    [
        ("was_cancelled",),
        ("updated_at",),
        ("updated_at", "created_at"),
        ("completed_by", "lead_time", "ground_truth"),
        ("unique_id",),
        ("unique_id", "id"),
        ("id", "unique_id", "completed_by", "was_cancelled", "ground_truth", "created_at", "updated_at", "lead_time"),
    ],
    ids=" ".join,
)
def test_what_an_export_does_not_say_has_its_obvious_meaning(
    names: tuple[str, ...], null: bool, workspace: Workspace, tmp_path: Path
):
    task = tasks_of([D1], window=3)[0]
    given = without(answer(5, [pick("want_0", "color=red")]), *names, null=null)
    other = without(answered(tasks_of([D2])[0], answer(6, [])), "id", "project", "drafts", null=null)
    file = save(tmp_path / "e.json", [answered(task, given), other])
    report = ingest_labels(workspace, IngestRequest(export=file)).as_json()
    assert report["annotations"] == {"received": 2, "accepted": 2, "quarantined": 0, "skipped": 0, "superseded": 0}
    assert marked(states_in(workspace)["d1", 0]) == {"color=red"}
    assert marked(states_in(workspace)["d2", 0]) == set()
    before = hashes(workspace.root)
    ingest_labels(workspace, IngestRequest(export=file))
    assert hashes(workspace.root) == before


@pytest.mark.parametrize("value", [1, True])
def test_a_skip_written_as_a_number_is_a_skip(value: Any, workspace: Workspace, tmp_path: Path):
    task = answered(tasks_of([D1])[0], answer(5, [pick("want_0", "color=red")], was_cancelled=value))
    assert ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", [task]))).skipped == 1


@pytest.mark.parametrize("value", ["no", "false", 2, [], {"skipped": False}])
def test_a_skip_that_is_neither_true_nor_false_is_refused(value: Any, workspace: Workspace, tmp_path: Path):
    task = answered(tasks_of([D1])[0], answer(5, [pick("want_0", "color=red")], was_cancelled=value))
    report = ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", [task])))
    assert report.quarantined == {"malformed_annotation": 1}


def test_answers_have_another_name_and_their_times_are_numbers_in_early_exports(workspace: Workspace, tmp_path: Path):
    early = {"id": 5, "created_at": 1580000000, "lead_time": 9.5, "result": [pick("want_0", "color=red")]}
    skipped = {**early, "id": 6, "skipped": True}
    task = {"id": 35, "data": tasks_of([D1], window=3)[0]["data"], "completions": [early, skipped]}
    report = ingest_labels(
        workspace, IngestRequest(export=save(tmp_path / "e.json", [task, {**task, "annotations": []}]))
    )
    assert report.as_json()["annotations"]["accepted"] == report.skipped == 1
    assert marked(states_in(workspace)["d1", 0]) == {"color=red"}
    assert read_table(workspace.annotations, ANNOTATIONS).column("updated_at")[0].as_py()[:10] == "2020-01-26"


def test_numbers_that_became_decimals_are_the_same_numbers(workspace: Workspace, tmp_path: Path):
    task = answered(tasks_of([D1], window=3)[0], answer(5, [pick("want_0", "color=red")], by=3))
    decimals = {**task, "id": float(task["id"]), "project": float(task["project"])}
    decimals["annotations"] = [{**task["annotations"][0], "id": 5.0, "completed_by": 3.0}]
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", [task])))
    before = read_table(workspace.annotations, ANNOTATIONS).column("annotation_id").to_pylist()
    report = ingest_labels(workspace, IngestRequest(export=save(tmp_path / "f.json", [decimals]))).as_json()
    rows = read_table(workspace.annotations, ANNOTATIONS)
    assert report["annotations"]["accepted"] == 1
    assert rows.column("annotation_id").to_pylist() == before
    assert set(rows.column("annotator").to_pylist()) == {"user:3"}


def test_a_control_of_which_null_is_told_is_empty(workspace: Workspace, tmp_path: Path):
    nothing = [
        {"from_name": "free_0", "value": {"text": None}},
        {"from_name": "dislike_0", "value": {"taxonomy": None}},
    ]
    task = answered(tasks_of([D1], window=3)[0], answer(5, [pick("want_0", "color=red"), *nothing]))
    assert (
        ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", [task]))).as_json()["refused_turns"]
        == {}
    )
    assert marked(states_in(workspace)["d1", 0]) == {"color=red"}


def test_results_without_type_and_target_go_by_their_control(workspace: Workspace, tmp_path: Path):
    bare = {"from_name": "want_0", "value": {"taxonomy": [["color=red"]]}}
    task = answered(
        tasks_of([D1])[0], answer(5, [bare, {**bare, "from_name": "want_1", "type": None, "to_name": None}])
    )
    report = ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", [task]))).as_json()
    assert (report["refused_turns"], report["annotations"]["accepted"]) == ({}, 1)
    assert marked(states_in(workspace)["d1", 2]) == {"color=red"}


EXPECTED = tomllib.loads((EXPORTS / "error" / "expected.toml").read_text())


def test_every_broken_export_has_its_expected_error():
    assert set(EXPECTED) == {file.name for file in (EXPORTS / "error").iterdir()} - {"expected.toml"}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_broken_export_is_one_line_and_changes_nothing(
    name: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
):
    before = hashes(workspace.root)
    code = _run(["-w", str(workspace.root), "ingest-labels", str(EXPORTS / "error" / name), "--json"])
    said = capsys.readouterr()
    assert code == 2
    assert EXPECTED[name] in said.err
    assert said.err.count("\n") == 1
    assert json.loads(said.out)["error"]["kind"] == "LabelError"
    assert hashes(workspace.root) == before


def test_the_command_prints_the_ledger_and_one_json_object(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    export = simulated([D1, D2], GOLD)
    export[0]["annotations"][0]["result"].append(typed("free_0", "color=teal"))
    file = save(tmp_path / "e.json", export)
    assert _run(["-w", str(workspace.root), "ingest-labels", str(file), "--json"]) == 0
    assert adds_up(json.loads(capsys.readouterr().out))
    assert _run(["-w", str(workspace.root), "ingest-labels", str(file)]) == 0
    shown = capsys.readouterr().out
    for expected in ("received", "D_F dialogues", "not in the catalogue", "teal"):
        assert expected in shown


def test_nothing_quarantined_is_said_only_where_nothing_is(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def said(*export: Any) -> str:
        files = [str(save(tmp_path / "e.json", [*export]))] if export else []
        assert _run(["-w", str(workspace.root), "ingest-labels", *files]) == 0
        shown = capsys.readouterr().out.splitlines()
        (line,) = [line for line in shown if line.startswith("│ quarantined") and line.count("│") == 3]
        return line.split("│")[2].strip()

    task, other = tasks_of([D1], window=3)[0], tasks_of([D2])[0]
    good = answered(other, answer(6, []), id=36)
    assert said(good) == "0"
    turn_and_line = [typed("free_0", "color=red", "silk"), pick("op_1", "flag=sleepy")]
    assert said(answered(task, answer(5, turn_and_line))) == "1 turn, 1 line"
    assert said(good) == "none now, 2 of earlier exports"
    assert said() == "none now, 2 of earlier exports"
    assert said(answered(task, answer(5, [pick("nope", "x")]))) == "1"
    assert said(answered(task, answer(5, []))) == "0"


def test_a_configuration_edited_by_hand_is_refused(workspace: Workspace, tmp_path: Path):
    from pipeline.chosen_dialogues import Selection
    from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling

    tasks_file = tmp_path / "tasks.json"
    export_for_labelling(workspace, ExportRequest(Selection(split="all"), to_file=tasks_file))
    export = [answered(task, answer(n, [])) for n, task in enumerate(json.loads(tasks_file.read_bytes()))]
    file = save(tmp_path / "e.json", export)
    assert ingest_labels(workspace, IngestRequest(export=file)).as_json()["d_f"]["dialogues"] == 2
    before = hashes(workspace.root)
    config = workspace.labelling / "batch-0001" / "label_config.xml"
    config.write_text(config.read_text().replace("color=red", "color=maroon"))
    with pytest.raises(LabelError, match="configuration was edited by hand"):
        ingest_labels(workspace, IngestRequest(export=file))
    config.unlink()
    with pytest.raises(LabelError, match="configuration is missing"):
        ingest_labels(workspace, IngestRequest(export=file))
    before.pop("labelling/batch-0001/label_config.xml")
    assert hashes(workspace.root) == before


def test_a_folder_that_is_no_workspace_and_two_sources_are_refused(workspace: Workspace, tmp_path: Path):
    with pytest.raises(WorkspaceError, match="not a semctl workspace"):
        ingest_labels(Workspace(tmp_path), IngestRequest())
    with pytest.raises(UsageError, match="both given"):
        ingest_labels(workspace, IngestRequest(export=tmp_path / "e.json", projects=("p",)))


@pytest.mark.parametrize("table", ["turns", "annotations", "quarantine"])
def test_a_table_of_an_older_version_is_refused_and_nothing_changes(workspace: Workspace, tmp_path: Path, table: str):
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", simulated([D1], GOLD))))
    path: Path = getattr(workspace, table)
    data = pq.read_table(path)
    pq.write_table(data.replace_schema_metadata({**data.schema.metadata, b"semctl.schema_version": b"0"}), path)
    before = hashes(workspace.root)
    with pytest.raises(SchemaError, match=f"table '{table}' has schema version 0, this semctl reads 1"):
        ingest_labels(workspace, IngestRequest(export=tmp_path / "e.json"))
    assert hashes(workspace.root) == before


def test_a_slot_taken_out_of_the_ontology_is_refused_and_nothing_changes(workspace: Workspace, tmp_path: Path):
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", simulated([D1], GOLD))))
    Ontology(version=4, slots=ONTOLOGY.slots[1:]).write(workspace.ontology_file)
    before = hashes(workspace.root)
    with pytest.raises(OntologyError, match=r"unknown slot 'color' \(dialogue d1, turn 0, annotation ls:1:"):
        ingest_labels(workspace, IngestRequest())
    assert hashes(workspace.root) == before


def test_a_ledger_that_does_not_add_up_is_a_failed_check_and_nothing_changes(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stage.AnnotationStore, "counts", lambda self: (1, 0))
    with pytest.raises(CheckError, match="2 annotations received, 1 accounted for"):
        ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", simulated([D1], GOLD))))
    assert not [path for path in workspace.root.rglob("*") if path.parent.name in ("splits", "raw")]
    assert not workspace.annotations.exists()


# --- interrupted

KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
replace, left = os.replace, int(sys.argv[3])
def dying(*paths):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = dying
ingest_labels(Workspace(Path(sys.argv[1])), IngestRequest(export=Path(sys.argv[2])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("renames", [0, 10, 13, 15])
def test_killed_at_any_rename_it_leaves_old_or_new_and_the_next_run_completes_it(
    renames: int, workspace: Workspace, tmp_path: Path
):
    first, second = save(tmp_path / "1.json", simulated([D1], GOLD)), save(tmp_path / "2.json", simulated([D2], GOLD))
    ingest_labels(workspace, IngestRequest(export=first))
    old = hashes(workspace.root)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(workspace.root), str(second), str(renames)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -9
    try:
        full, _ = read_splits(workspace.d_f, workspace.d_p, workspace.split_manifest)
        assert full.num_rows == 3
        assert hashes(workspace.root)["splits/manifest.json"] == old["splits/manifest.json"]
    except WorkspaceError as problem:
        assert "is not the one its manifest names" in str(problem)  # noqa: PT017 - refused is as good as old
    for path, table in ((workspace.annotations, ANNOTATIONS), (workspace.states, STATES), (workspace.d_f, D_F)):
        read_table(path, table)
    report = ingest_labels(workspace, IngestRequest(export=second))
    assert report.as_json()["d_f"] == {"dialogues": 2, "turns": 5}
    assert not [path for path in workspace.root.rglob("*") if path.name.startswith(".") and path.name != ".lock"]


def test_a_full_or_read_only_disk_is_one_error_and_nothing_changes(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = save(tmp_path / "e.json", simulated([D1], GOLD))
    ingest_labels(workspace, IngestRequest(export=file))
    before = hashes(workspace.root)

    def full(self: object, value: object) -> None:
        raise OSError(28, "No space left on device", "/disk")

    monkeypatch.setattr(stage, "write_json", full)
    with pytest.raises(WorkspaceError, match=r"No space left on device \(/disk\)"):
        ingest_labels(workspace, IngestRequest())
    assert hashes(workspace.root) == before


# --- any states, any damage


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.one_of(states(), st.none()), min_size=1, max_size=5), min_size=1, max_size=3),
    st.integers(min_value=1, max_value=4),
    st.sampled_from([(1,), (1, 2, 3)]),
)
def test_gold_states_come_back_through_tasks_answers_and_ingest(
    tmp_path_factory: pytest.TempPathFactory, sequences: list[list[BeliefState | None]], window: int, annotators
):
    folder = tmp_path_factory.mktemp("round")
    dialogues = [dialogue(f"d{n}", users=len(sequence)) for n, sequence in enumerate(sequences)]
    gold = dict(chain.from_iterable(gold_of(sequence, f"d{n}").items() for n, sequence in enumerate(sequences)))
    workspace = write_workspace(folder, dialogues, ontology=WIDE)
    export = simulated(dialogues, gold, window=window, ontology=WIDE, annotators=annotators)
    report = ingest_labels(workspace, IngestRequest(export=save(folder / "e.json", export))).as_json()
    assert states_in(workspace) == gold
    complete = [sequence for sequence in sequences if None not in sequence]
    assert report["d_f"] == {"dialogues": len(complete), "turns": sum(map(len, complete))}
    assert report["refused_turns"] == report["quarantined"] == {}


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value, as (container, key)."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from nodes(value[key])


NOISE = [None, True, -1, 10**30, 1.5, "", "color", "want_1", "2026-13-01", [], {}, [[]], {"id": []}, "\x00é😀"]


def damage(export: list[Any], random: random.Random) -> None:
    places = list(nodes(export))
    container, key = random.choice(places)
    what = random.randrange(4)
    if what == 0:
        container[key] = random.choice(NOISE)
    elif what == 1:
        del container[key]
    elif what == 2 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    else:
        other, place = random.choice(places)
        container[key] = copy.deepcopy(other[place]) if place in range(len(other)) or place in other else None


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(min_value=1, max_value=6), st.randoms(use_true_random=False))
def test_the_ledger_adds_up_whatever_is_damaged(
    tmp_path_factory: pytest.TempPathFactory, times: int, random: random.Random
):
    folder = tmp_path_factory.mktemp("damage")
    workspace = write_workspace(folder / "shop", [D1, D2])
    export = simulated([D1, D2], GOLD, annotators=(1, 2), redundancy=2)
    for _ in range(times):
        if export:
            damage(export, random)
    expected = sum(
        len(given) if isinstance(given := task.get("annotations"), list) else given is not None
        for task in export
        if isinstance(task, dict)
    )
    try:
        file = save(folder / "e.json", export)
        report = ingest_labels(workspace, IngestRequest(export=file)).as_json()
    except SemctlError as problem:
        assert problem.exit_code == 2  # noqa: PT017 - an export damaged too far is refused whole
        assert not workspace.annotations.exists()
        return
    assert report["annotations"]["received"] == expected
    assert adds_up(report)
    assert report["d_f"]["turns"] + report["d_p"]["turns"] == 5
    before = hashes(workspace.root)
    assert ingest_labels(workspace, IngestRequest(export=file)).as_json() | {"changes": report["changes"]} == report
    assert hashes(workspace.root) == before


def test_a_manifest_that_says_nothing_is_refused(workspace: Workspace, tmp_path: Path):
    write_json(workspace.labelling / "batch-0001" / "manifest.json", {"complete": True})
    with pytest.raises(LabelError, match="not a manifest of semctl"):
        ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", simulated([D1], GOLD))))


# --- large exports

MEASURED = """
import sys
from pathlib import Path
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
report = ingest_labels(Workspace(Path(sys.argv[1])), IngestRequest(export=Path(sys.argv[2])))
# the peak of this program alone: ru_maxrss would count the one that started it
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(report.received, int(peak.split()[1]) // 1024)
"""


def peak_memory(folder: Path, dialogues: int) -> int:
    """MiB that ingesting takes for an export of ``dialogues`` x 100 kB, each answered by three people."""
    spoken = [dialogue(f"d{n}") for n in range(dialogues)]
    workspace = write_workspace(folder / "shop", spoken)
    three = [[answer(3 * n + who, [pick("want_0", "color=red")], by=who) for who in range(3)] for n in range(dialogues)]
    export = [answered(task, *answers) for task, answers in zip(tasks_of(spoken), three, strict=True)]
    for task in export:
        task["data"]["past_html"] = "<p>what was said before</p>" * 3700
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, str(workspace.root), str(save(folder / "e.json", export))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    received, memory = map(int, measured.stdout.split())
    assert received == 3 * dialogues
    return memory


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to see the peak of memory")
def test_memory_does_not_grow_with_the_export(tmp_path_factory: pytest.TempPathFactory):
    small, large = (peak_memory(tmp_path_factory.mktemp("size"), dialogues) for dialogues in (20, 1500))
    assert large - small < 50, f"{small} MiB for 2 MB, {large} MiB for 150 MB"


def test_annotations_of_the_first_table_version_are_read_and_written_anew(workspace: Workspace):
    workspace.annotations.parent.mkdir(parents=True, exist_ok=True)
    write_table(workspace.annotations, ANNOTATIONS, [*corpus_rows("d1", [0, 2, 4]), *corpus_rows("d2", [0, 2])])
    ingest_labels(workspace, IngestRequest())
    now = workspace.annotations.read_bytes()
    in_the_first_version(read_table(workspace.annotations, ANNOTATIONS).to_pylist(), workspace.annotations)
    assert workspace.annotations.read_bytes() != now
    report = ingest_labels(workspace, IngestRequest())
    assert (report.d_f.dialogues, report.d_f.turns) == (2, 5)
    assert workspace.annotations.read_bytes() == now
