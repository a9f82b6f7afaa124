"""Work assigned through export-for-labelling and taken in again, as files: no server is needed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotate.annotations.annotation import read_annotations
from annotate.assignment.assignment import AssignmentTerms, assign
from pipeline.batches import read_batches
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.assigned_export import AssignedExport, export_assigned
from pipeline.labelling.assignment_record import (
    Assignment,
    AssignmentRequest,
    annotators_named,
    assignment_file,
    part_title,
    projects_of,
    read_assignments,
)
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError
from tests.label_exports import answer, answered, pick, save, tasks_of
from tests.labelling_corpus import dialogue, write_workspace

ANN, BO, CY = "ann@x.org", "bo@x.org", "cy@x.org"
FORTY = [dialogue(f"d{number:02d}", users=number % 5 + 1) for number in range(40)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "ws", FORTY)


def assigned(workspace: Workspace, *people: str, n: int = 20, **terms: Any) -> AssignedExport:
    request = AssignmentRequest(annotators=list(people) or None, **terms)
    return export_assigned(
        workspace, ExportRequest(Selection(limit=n), assignment=request, to_file=workspace.root / "round1.json")
    )


def dialogues_in(workspace: Workspace, annotator: str) -> list[str]:
    tasks = json.loads((workspace.root / f"round1-{annotator}.json").read_text())
    assert {task["data"]["annotator"] for task in tasks} == {annotator}
    return [task["data"]["dialogue_id"] for task in tasks]


def test_each_annotator_gets_a_file_with_whole_dialogues_and_nothing_of_the_others(workspace: Workspace):
    done = assigned(workspace, ANN, BO, CY, overlap=0.2)
    files = {each: dialogues_in(workspace, each) for each in (ANN, BO, CY)}
    counts = Counter(name for names in files.values() for name in set(names))
    assert sorted(counts.values()) == [1] * 16 + [2] * 4
    assert (done.dialogues, done.dialogues_new, done.shared) == (20, 20, 4)
    assert [part.dialogues for part in done.parts] == [len(set(names)) for names in files.values()]
    turns = [part.user_turns for part in done.parts]
    assert max(turns) - min(turns) <= 5
    text = (workspace.root / f"round1-{ANN}.json").read_text()
    assert BO not in text
    assert CY not in text


def test_the_batches_say_whose_they_are(workspace: Workspace):
    assigned(workspace, ANN, BO)
    batches = read_batches(workspace.labelling)
    assert [(batch.annotator, Path(str(batch.destination)).name) for batch in batches] == [
        (ANN, f"round1-{ANN}.json"),
        (BO, f"round1-{BO}.json"),
    ]


def test_the_same_export_again_changes_no_byte(workspace: Workspace):
    assigned(workspace, ANN, BO, CY)
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    again = assigned(workspace, ANN, BO, CY)
    assert again.dialogues_new == sum(export.tasks_new for export in again.exports) == 0
    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before


def test_more_dialogues_and_more_annotators_never_move_what_was_dealt(workspace: Workspace):
    assigned(workspace, ANN, BO, n=20)
    first = Assignment.read(workspace.labelling, "round1")
    before = {each: dialogues_in(workspace, each) for each in (ANN, BO)}
    assigned(workspace, ANN, BO, CY, n=30)
    after = {each: dialogues_in(workspace, each) for each in (ANN, BO, CY)}
    record = Assignment.read(workspace.labelling, "round1")
    assert first is not None
    assert record is not None
    assert record.rounds[:1] == first.rounds
    assert len(record.rounds) == 2
    for each in (ANN, BO):
        assert after[each][: len(before[each])] == before[each]
    assert len(set(after[CY])) > sum(len(set(after[each])) - len(set(before[each])) for each in (ANN, BO)) / 2


def test_who_is_left_out_keeps_what_is_theirs_and_gets_nothing_new(workspace: Workspace):
    assigned(workspace, ANN, BO, CY, n=20)
    before = dialogues_in(workspace, CY)
    done = assigned(workspace, ANN, BO, n=40)
    assert dialogues_in(workspace, CY) == before
    assert [part.annotator for part in done.parts] == [ANN, BO, CY]


def test_a_run_that_was_killed_before_it_pushed_is_completed_as_it_was_dealt(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    def killed(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.labelling.assigned_export.export_for_labelling", killed)
        with pytest.raises(KeyboardInterrupt):
            assigned(workspace, ANN, BO, n=20)
    record = Assignment.read(workspace.labelling, "round1")
    assert record is not None
    assert not record.pushed
    assigned(workspace, ANN, BO, n=10)  # whatever is asked for now, what was assigned is pushed
    completed = Assignment.read(workspace.labelling, "round1")
    assert completed is not None
    assert completed.pushed
    assert completed.rounds == record.rounds
    assert dialogues_in(workspace, ANN)[0] in record.assigned()
    assert set(dialogues_in(workspace, ANN)) | set(dialogues_in(workspace, BO)) == record.assigned()


def test_another_name_is_another_deal(workspace: Workspace):
    assigned(workspace, ANN, BO)
    export_assigned(
        workspace,
        ExportRequest(Selection(limit=3), assignment=AssignmentRequest([CY]), to_file=workspace.root / "round2.json"),
    )
    assert [each.name for each in read_assignments(workspace.labelling)] == ["round1", "round2"]
    assert (workspace.root / f"round2-{CY}.json").is_file()


def test_terms_of_another_deal_are_refused_and_the_overlap_may_change(workspace: Workspace):
    assigned(workspace, ANN, BO, CY, n=10, overlap=0.2)
    with pytest.raises(
        UsageError, match=r"assigned with --redundancy 2, not 3; .*--overlap and --annotators may change"
    ):
        assigned(workspace, n=12, redundancy=3)
    with pytest.raises(UsageError, match="assigned with --seed 0, not 1"):
        assigned(workspace, n=12, seed=1)
    with pytest.raises(UsageError, match="assigned as files before"):
        export_assigned(workspace, ExportRequest(Selection(), assignment=AssignmentRequest(), project="round1"))
    with pytest.raises(UsageError, match="assigned to other files before"):
        export_assigned(
            workspace,
            ExportRequest(
                Selection(), assignment=AssignmentRequest(), to_file=workspace.root / "elsewhere" / "round1.json"
            ),
        )
    with pytest.raises(UsageError, match="cannot be reassigned"):
        assigned(workspace, leaving=ANN)
    assert assigned(workspace, n=20, overlap=0.5).shared == 2 + 5


def test_a_name_exported_whole_is_not_dealt_out_later(workspace: Workspace):
    whole = workspace.root / "whole.json"
    export_for_labelling(workspace, ExportRequest(Selection(limit=2), to_file=whole))
    with pytest.raises(UsageError, match="exported whole before"):
        export_assigned(workspace, ExportRequest(Selection(), assignment=AssignmentRequest([ANN]), project=str(whole)))


@pytest.mark.parametrize("text", ["", "ann@x,", "a b", "ann@x/../y", "corpus", "user:1", "-x", "a@b@c", "x" * 80])
def test_a_name_that_cannot_name_an_annotator_is_refused(text: str):
    with pytest.raises(UsageError, match="cannot name an annotator"):
        annotators_named(text)


def test_names_are_compared_in_small_letters():
    assert annotators_named("Ann@X.org, bo+shop@x.org,cy_2") == ["ann@x.org", "bo+shop@x.org", "cy_2"]
    with pytest.raises(UsageError, match="named twice"):
        annotators_named("ann@x,ANN@x")


@given(st.text(min_size=1, max_size=50), st.text("abcdefgh.+", min_size=1, max_size=64), st.text("ab.", max_size=60))
def test_titles_are_short_enough_and_tell_whose_it_is(name: str, person: str, domain: str):
    annotator = f"{person}@x{domain}"
    title = part_title(name, annotator)
    assert 3 <= len(title) <= 50
    assert person[:24] in title
    assert title != part_title(f"{name}!", annotator)
    assert title != part_title(name, f"{annotator}z")


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_every_name_has_a_file_of_its_own_in_the_folder(one: str, other: str):
    files = [assignment_file(Path("labelling"), name) for name in (one, other)]
    assert all(file.parent == Path("labelling/deals") and len(file.name.encode()) < 100 for file in files)
    assert (files[0] == files[1]) == (one == other)


def test_a_record_that_is_not_one_is_refused(workspace: Workspace):
    assigned(workspace, ANN, BO)
    assignment_file(workspace.labelling, "round1").write_text('{"semctl_deal": 1, "name": "round1"}')
    with pytest.raises(LabelError, match="not the record of an assignment"):
        assigned(workspace)


def test_projects_of_a_name_that_was_not_dealt_is_the_name(workspace: Workspace):
    assigned(workspace, ANN, BO)
    assert projects_of(workspace.labelling, "anything") == ["anything"]
    assert projects_of(workspace.labelling, "round1") == ["round1"]  # files have no projects


def test_the_command_deals_and_deals_more_without_being_told_to_whom(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
):
    file = str(workspace.root / "round1.json")
    command = ["-w", str(workspace.root), "-q", "export-for-labelling", "--to-file", file, "--json"]
    assert _run([*command, "-n", "10", "--annotators", f"{ANN},{BO}", "--overlap", "0.2", "--redundancy", "2"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["file"], first["tasks_new"], first["dialogues"], first["shared"]) == ("round1", 12, 10, 2)
    assert first["pairs"] == [{"annotators": [ANN, BO], "dialogues": 2}]
    assert [part["annotator"] for part in first["annotators"]] == [ANN, BO]
    assert _run([*command, "-n", "20"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert (second["tasks_new"], second["tasks_present"], second["dialogues_new"]) == (12, 12, 10)
    assert _run([*command, "--annotators", "a/b"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 2


# --- merging is lossless -------------------------------------------------------------------------------------------

VALUES = st.sampled_from(["color=red", "color=black", "color=blue"])
ANSWERS = st.fixed_dictionaries({"want": st.sets(VALUES, max_size=2), "drop": st.booleans()})


def _result(index: int, said: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [pick(f"want_{index}", *sorted(said["want"]))] if said["want"] else []
    return [*found, pick(f"op_{index}", "drop=price")] if said["drop"] else found


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_everything_that_anybody_answered_is_kept_exactly_once(data: st.DataObject, tmp_path_factory: Any):
    """Every (annotator, dialogue, turn, mark), for any assignment and answers, ingested in any order, again."""
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    dialogues = [dialogue(f"d{number}", users=users) for number, users in enumerate(sizes)]
    people = [ANN, BO, CY][: data.draw(st.integers(1, 3))]
    redundancy = data.draw(st.integers(1, len(people)))
    overlap = data.draw(st.sampled_from([0.0, 0.5, 1.0])) if redundancy > 1 else 0.0
    round_ = assign(
        {f"d{number}": users for number, users in enumerate(sizes)},
        people,
        AssignmentTerms(overlap, redundancy, data.draw(st.integers(0, 5))),
    )
    root = tmp_path_factory.mktemp("lossless")
    workspace = write_workspace(root / "ws", dialogues)
    expected: Counter[tuple[str, str, int, str]] = Counter()
    exports: list[Path] = []
    number = 0
    for project, person in enumerate(people, start=1):
        mine = [rows for rows in dialogues if person in round_.assigned_to[rows[0]["dialogue_id"]]]
        exported = []
        for task in tasks_of(mine, window=2):
            task["data"]["annotator"] = person
            if not data.draw(st.booleans()):
                exported.append(answered(task, project=project))
                continue
            said = [data.draw(ANSWERS) for _ in task["data"]["user_turns"]]
            number += 1
            result = [each for index, turn in enumerate(said) for each in _result(index, turn)]
            # everybody logs in as the same user of their own server
            exported.append(answered(task, answer(number, result, by=1), project=project))
            for turn, marks in zip(task["data"]["user_turns"], said, strict=True):
                about = (person, task["data"]["dialogue_id"], turn["turn"])
                named = {*marks["want"], *(["drop=price"] if marks["drop"] else [])} or {"none"}
                expected.update((*about, mark) for mark in named)
        if exported:
            exports.append(save(root / f"{project}.json", exported))
    for export in [*data.draw(st.permutations(exports)), *exports[:1]]:
        ingest_labels(workspace, IngestRequest(export=export))
    kept = Counter(
        (
            annotation.annotator,
            annotation.dialogue_id,
            mark.turn,
            mark.op if mark.op == "none" else f"{'drop' if mark.op == 'drop' else mark.slot}={mark.value or mark.slot}",
        )
        for annotation in read_annotations(workspace.annotations)
        for mark in annotation.marks
    )
    assert kept == expected
