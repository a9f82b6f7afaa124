from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.checks import found_again
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.errors import SchemaError, UsageError, WorkspaceError
from schemas.tables import ANNOTATIONS, D_F, D_P, FINDINGS, PRODUCTS, RECOMMENDATIONS, STATES, read_table, write_table
from tests.label_exports import answer, answered, hashes, pick, save, tasks_of, typed
from tests.labelling_corpus import dialogue, write_workspace

FIVE = [dialogue(name, users=3, text="well") for name in ("d1", "d2", "d3", "d4", "d5")]


def answers() -> list[dict[str, Any]]:
    """d1: fine; d2: an unknown slot in turn 2; d3: two slips; d4: its second window skipped; d5: one slip, an alias."""
    d1, _, d2, _, d3, _, d4, _, d5, _ = tasks_of(FIVE)
    rest = {task["data"]["uid"]: task for task in tasks_of(FIVE)}
    given = [
        answered(d1, answer(1, [pick("want_0", "color=red")])),
        answered(rest["d1#1"], answer(2, [])),
        answered(d2, answer(3, [pick("want_0", "color=red"), typed("free_1", "fabric=silk")])),
        answered(rest["d2#1"], answer(4, [])),
        answered(d3, answer(5, [typed("free_0", "color=blakc"), typed("free_1", "color=bleu")])),
        answered(rest["d3#1"], answer(6, [])),
        answered(d4, answer(7, [pick("want_0", "color=red")])),
        answered(rest["d4#1"], answer(8, [], was_cancelled=True)),
        answered(d5, answer(9, [typed("free_0", "color=teal")])),
        answered(rest["d5#1"], answer(10, [])),
    ]
    return [{**task, "id": number} for number, task in enumerate(given, start=1)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", FIVE)


@pytest.fixture
def checked(workspace: Workspace, tmp_path: Path) -> Workspace:
    ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", answers())))
    return workspace


def semctl(capsys: pytest.CaptureFixture[str], workspace: Workspace, *arguments: object, code: int = 0) -> Any:
    assert _run(["-w", str(workspace.root), *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def rows(workspace: Workspace) -> list[dict[str, Any]]:
    return read_table(workspace.findings, FINDINGS).to_pylist()


def requeued(workspace: Workspace) -> list[str]:
    return workspace.requeue.read_text().splitlines()


def test_an_ingest_counts_what_it_found_and_names_what_to_label_again(workspace: Workspace, tmp_path: Path, capsys):
    report = semctl(capsys, workspace, "ingest-labels", save(tmp_path / "e.json", answers()))
    found = {"quarantined": 1, "near_miss": 2, "value_not_in_catalogue": 1, "missing_window": 1}
    assert report["findings"] == found
    assert report["requeue"] == {"file": "labels/requeue.txt", "dialogues": 4}
    assert requeued(workspace) == ["d2", "d3", "d4", "d5"]
    assert json.loads(workspace.label_ledger.read_bytes())["findings"] == found
    assert [(row["dialogue_id"], row["turn"], row["code"], row["suggestion"]) for row in rows(workspace)] == [
        ("d2", 2, "quarantined", None),
        ("d3", 0, "near_miss", "color=black"),
        ("d3", 2, "near_miss", "color=blue"),
        ("d4", 4, "missing_window", None),
        ("d5", 0, "value_not_in_catalogue", None),
    ]
    assert rows(workspace)[1] == {
        "dialogue_id": "d3",
        "turn": 0,
        "slot": "color",
        "value": "blakc",
        "annotators": ["user:1"],
        "annotation_ids": ["ls:7:a5"],
        "code": "near_miss",
        "severity": "warning",
        "detail": "'blakc' is no known color, but color=black is spelled nearly so",
        "suggestion": "color=black",
    }


def test_people_are_shown_what_was_found_and_what_to_do(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(workspace.root)
    export = save(tmp_path / "e.json", answers())
    assert _run(["-w", str(workspace.root), "ingest-labels", str(export)]) == 0
    shown = capsys.readouterr().out
    assert "near_miss" in shown
    assert "take it, or make it an alias" in shown
    assert f"semctl -w {workspace.root} export-for-labelling --dialogues labels/requeue.txt" in shown


def test_what_is_to_be_labelled_again_is_exported(checked: Workspace, tmp_path: Path, capsys):
    file = tmp_path / "round-2.json"
    again = checked.requeue
    report = semctl(capsys, checked, "export-for-labelling", "--dialogues", again, "--to-file", file, "--window", 2)
    assert report["dialogues"] == 4
    exported = [task["data"]["dialogue_id"] for task in json.loads(file.read_bytes())]
    assert list(dict.fromkeys(exported)) == ["d2", "d3", "d4", "d5"]


def test_once_labelled_again_a_dialogue_is_off_the_list(checked: Workspace, tmp_path: Path):
    second = [
        answered(task, answer(20 + n, [], at="2026-03-01T10:00:00Z"), project=8)
        for n, task in enumerate(tasks_of([FIVE[1], FIVE[2], FIVE[3]]))
    ]
    report = ingest_labels(checked, IngestRequest(export=save(tmp_path / "e2.json", second))).as_json()
    assert report["findings"] == {"value_not_in_catalogue": 1}
    assert requeued(checked) == ["d5"]


@pytest.mark.parametrize(
    ("codes", "dialogues"),
    [
        ("error", ["d2"]),
        ("near_miss", ["d3"]),
        ("error, missing_window", ["d2", "d4"]),
        ("none", []),
        ("all", ["d2", "d3", "d4", "d5"]),
    ],
)
def test_codes_and_severities_choose_what_is_labelled_again(workspace: Workspace, tmp_path: Path, codes, dialogues):
    export = save(tmp_path / "e.json", answers())
    report = ingest_labels(workspace, IngestRequest(export=export, requeue=codes))
    assert requeued(workspace) == dialogues
    assert report.as_json()["requeue"]["dialogues"] == len(dialogues)
    settings = ", ".join(f'"{code.strip()}"' for code in codes.split(","))
    workspace.settings_file.write_text(f"[labelling]\nrequeue = [{settings}]\n")
    ingest_labels(workspace, IngestRequest(export=export))
    assert requeued(workspace) == dialogues


def test_a_code_that_does_not_exist_is_refused_before_anything_is_written(workspace: Workspace, tmp_path: Path):
    export = save(tmp_path / "e.json", answers())
    with pytest.raises(UsageError, match="did you mean 'near_miss'"):
        ingest_labels(workspace, IngestRequest(export=export, requeue="near_mis"))
    workspace.settings_file.write_text('[labelling]\nrequeue = ["eror"]\n')
    with pytest.raises(UsageError, match=r"labelling\.requeue"):
        ingest_labels(workspace, IngestRequest(export=export))
    assert not workspace.annotations.exists()


def test_no_check_changes_a_label(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export = save(tmp_path / "e.json", answers())
    ingest_labels(workspace, IngestRequest(export=export))
    tables = (ANNOTATIONS, STATES, D_F, D_P)
    files = (workspace.annotations, workspace.states, workspace.d_f, workspace.d_p)
    with_checks = [read_table(file, table) for file, table in zip(files, tables, strict=True)]
    monkeypatch.setattr("annotate.checks.checks.Checks._all", lambda *_: iter(()))
    ingest_labels(workspace, IngestRequest(export=export))
    assert rows(workspace) == []
    assert [read_table(file, table) for file, table in zip(files, tables, strict=True)] == with_checks


def test_the_same_answers_in_another_order_give_the_same_files(workspace: Workspace, tmp_path: Path):
    export = save(tmp_path / "e.json", answers())
    ingest_labels(workspace, IngestRequest(export=export))
    first = {name: digest for name, digest in hashes(workspace.root).items() if "findings" in name or "requeue" in name}
    assert len(first) == 2
    ingest_labels(workspace, IngestRequest(export=export))
    assert first.items() <= hashes(workspace.root).items()
    found = rows(workspace)
    for seed in range(3):
        shuffled = random.Random(seed).sample(answers(), 10)
        other = write_workspace(tmp_path / f"shop {seed}", random.Random(seed).sample(FIVE, 5))
        ingest_labels(other, IngestRequest(export=save(tmp_path / "o.json", shuffled)))
        assert rows(other) == found
        assert requeued(other) == requeued(workspace)


def test_answers_of_dialogues_that_are_gone_are_found_and_not_put_up_again(workspace: Workspace):
    empty = dict.fromkeys(ANNOTATIONS.columns.names)
    said = {"annotator": "corpus", "op": "none", "origin": "corpus", "ontology_version": 1, "role": "label", "turn": 0}
    gone = [
        {**empty, **said, "untouched": False, "annotation_id": f"corpus:{name}", "dialogue_id": name}
        for name in ("a", "d3x", "z")
    ]
    write_table(workspace.annotations, ANNOTATIONS, gone)
    report = ingest_labels(workspace, IngestRequest())
    assert report.notices["orphaned_annotations"] == 3
    assert [(row["dialogue_id"], row["code"]) for row in rows(workspace)] == [
        (name, "orphaned") for name in ("a", "d3x", "z")
    ]
    assert requeued(workspace) == []


def test_recommendations_of_the_workspace_are_held_against_the_labels(workspace: Workspace, tmp_path: Path):
    products = read_table(workspace.products, PRODUCTS)
    (row,) = products.to_pylist()
    write_table(workspace.products, PRODUCTS, [{**row, "attributes": [("color", ["red"])]}])
    listed = {"dialogue_id": "d1", "turn": 1, "positives": ["p1"], "negatives": [], "split": "train"}
    write_table(workspace.recommendations, RECOMMENDATIONS, [listed | {"positives_listed": [], "negatives_listed": []}])
    task = tasks_of(FIVE[:1], window=3)[0]
    for value, expected in (("red", {}), ("blue", {"contradicts_recommendation": 1, "unsatisfiable_state": 1})):
        export = [answered(task, answer(1, [pick("want_0", f"color={value}")], at=f"2026-02-0{len(value)}T10:00:00Z"))]
        assert (
            ingest_labels(workspace, IngestRequest(export=save(tmp_path / "e.json", export))).checked.findings
            == expected
        )


# --- semctl checks


def test_findings_are_shown_again_with_the_text_of_the_turn_the_worst_first(checked: Workspace, capsys):
    shown = semctl(capsys, checked, "checks")
    assert list(shown["findings"]) == ["quarantined", "near_miss", "value_not_in_catalogue", "missing_window"]
    assert [(row["code"], row["dialogue_id"], row["text"]) for row in shown["shown"]] == [
        ("quarantined", "d2", "well 1"),
        ("near_miss", "d3", "well 0"),
        ("near_miss", "d3", "well 1"),
        ("value_not_in_catalogue", "d5", "well 0"),
        ("missing_window", "d4", "well 2"),
    ]
    assert _run(["-w", str(checked.root), "checks"]) == 0
    table = capsys.readouterr().out
    assert "well 1" in table
    assert "color=black" in table


def test_findings_are_chosen_by_code_severity_and_dialogue_and_all_are_counted(checked: Workspace, capsys):
    assert semctl(capsys, checked, "checks", "--code", "near_miss")["findings"] == {"near_miss": 2}
    assert semctl(capsys, checked, "checks", "--code", "error")["findings"] == {"quarantined": 1}
    assert semctl(capsys, checked, "checks", "--dialogue", "d3")["findings"] == {"near_miss": 2}
    assert semctl(capsys, checked, "checks", "--dialogue", "d1") == {"findings": {}, "shown": []}
    two = semctl(capsys, checked, "checks", "-n", 2)
    assert (sum(two["findings"].values()), [row["dialogue_id"] for row in two["shown"]]) == (5, ["d2", "d3"])
    assert _run(["-w", str(checked.root), "checks", "-n", "2"]) == 0
    assert "3 more" in capsys.readouterr().out
    assert _run(["-w", str(checked.root), "checks", "--dialogue", "d1"]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_strict_fails_on_errors_alone(checked: Workspace, capsys):
    semctl(capsys, checked, "checks", "--strict", code=3)
    semctl(capsys, checked, "checks", "--strict", "--code", "warning")


def test_what_does_not_exist_is_one_line(checked: Workspace, tmp_path: Path):
    with pytest.raises(UsageError, match="did you mean 'd3'"):
        found_again(checked, dialogue="d33")
    with pytest.raises(UsageError, match="no code of a check"):
        found_again(checked, code="zzz")
    bare = write_workspace(tmp_path / "bare", FIVE)
    with pytest.raises(WorkspaceError, match="semctl ingest-labels"):
        found_again(bare)
    checked.findings.write_bytes(b"?")
    with pytest.raises(SchemaError):
        found_again(checked)


def test_the_requeue_survives_a_corpus_that_lost_dialogues(checked: Workspace, tmp_path: Path):
    """The list is one of ids: what is gone from the corpus since is refused by name, not skipped in silence."""
    write_workspace(checked.root, FIVE[:3])
    with pytest.raises(UsageError, match="unknown dialogue 'd4'"):
        export_for_labelling(checked, ExportRequest(Selection(named=checked.requeue), to_file=tmp_path / "t.json"))
    ingest_labels(checked, IngestRequest())
    assert requeued(checked) == ["d2", "d3"]


def test_a_very_long_typed_value_is_cut_in_tables_and_kept_whole_in_the_labels(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (task,) = tasks_of([FIVE[0]], window=9)
    value = "very " * 20_000 + "long"
    export = save(tmp_path / "e.json", [answered(task, answer(1, [typed("free_0", f"color={value}")]))])
    assert _run(["-w", str(workspace.root), "ingest-labels", str(export)]) == 0
    assert _run(["-w", str(workspace.root), "checks"]) == 0
    shown = capsys.readouterr().out
    assert len(shown) < 20_000
    assert "(100,004 characters)" in "".join(shown.split("\n")).replace("\u2502", "")
    (state, *_) = read_table(workspace.states, STATES).to_pylist()[0]["state"]
    assert state["value"] == value


def test_answers_of_a_dialogue_without_a_user_are_gone_once(tmp_path: Path):
    quiet = [row for row in dialogue("d2x", users=1, text="well") if row["speaker"] == "system"]
    assert quiet
    workspace = write_workspace(tmp_path / "shop", [*FIVE, quiet])
    empty = dict.fromkeys(ANNOTATIONS.columns.names)
    said = {"annotator": "corpus", "op": "none", "origin": "corpus", "ontology_version": 1, "role": "label", "turn": 0}
    row = {**empty, **said, "untouched": False, "annotation_id": "corpus:d2x", "dialogue_id": "d2x"}
    write_table(workspace.annotations, ANNOTATIONS, [row])
    assert ingest_labels(workspace, IngestRequest()).notices["orphaned_annotations"] == 1
    assert [(row["dialogue_id"], row["code"]) for row in rows(workspace)] == [("d2x", "orphaned")]
