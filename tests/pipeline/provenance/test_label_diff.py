from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import _run
from pipeline.labelling.ingest_history import kept_ingests
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.provenance.diff import diff_ingests, diff_workspaces, side_by_side
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError, WorkspaceError
from schemas.ontology import Ontology, Slot
from tests.label_exports import answer, answered, hashes, pick, save, tasks_of, typed
from tests.labelling_corpus import ONTOLOGY, dialogue, write_workspace

D1, D2 = dialogue("d1", users=2), dialogue("d2", users=2)
TASKS = {task["data"]["dialogue_id"]: task for task in tasks_of([D1, D2])}
LATER = "2026-02-04T10:00:00Z"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [D1, D2])


def take_in(workspace: Workspace, folder: Path, *answers: tuple[str, dict[str, Any]], **options: Any) -> None:
    export = [answered(TASKS[name], given, id=number) for number, (name, given) in enumerate(answers)]
    ingest_labels(workspace, IngestRequest(export=save(folder / "e.json", export), **options))


def three_ingests(workspace: Workspace, folder: Path) -> None:
    """d1 is labelled; then d1 is edited and d2 labelled in part; then d1 is skipped."""
    take_in(workspace, folder, ("d1", answer(1, [pick("want_0", "color=red")])))
    take_in(
        workspace,
        folder,
        ("d1", answer(1, [pick("want_0", "color=blue"), pick("dislike_1", "color=black")], at=LATER)),
        ("d2", answer(2, [typed("free_0", "nope=1")], by=2)),
    )
    take_in(workspace, folder, ("d1", answer(1, [], at="2026-02-05T10:00:00Z", was_cancelled=True)))


def test_the_first_ingest_is_compared_with_nothing(workspace: Workspace, tmp_path: Path):
    take_in(workspace, tmp_path, ("d1", answer(1, [pick("want_0", "color=red")])))
    found = diff_ingests(workspace).as_json()
    assert (found["older"]["name"], found["newer"]["name"]) == ("before the first ingest", "ingest 1")
    assert found["annotations"]["by_annotator"] == [{"annotator": "user:1", "added": 1, "changed": 0, "withdrawn": 0}]
    assert found["dialogues"] == {"added": ["d1", "d2"], "removed": [], "changed": 0}
    assert found["turns"] == {"changed": 0, "labelled": 2, "unlabelled": 0}
    assert (found["ontology_changed"], found["policy_changed"], found["differs"]) == (False, False, True)


def test_what_changed_is_counted_by_slot_and_listed_turn_by_turn(workspace: Workspace, tmp_path: Path):
    three_ingests(workspace, tmp_path)
    found = diff_ingests(workspace, 1, 2).as_json()
    assert found["annotations"]["by_annotator"] == [
        {"annotator": "user:1", "added": 0, "changed": 1, "withdrawn": 0},
        {"annotator": "user:2", "added": 1, "changed": 0, "withdrawn": 0},
    ]
    assert [(row["what"], row["dialogue_id"]) for row in found["annotations"]["examples"]] == [
        ("changed", "d1"),
        ("added", "d2"),
    ]
    # of d2 the first turn was refused: nothing is known of it, nor of what holds after it
    assert found["slots"] == [
        {"slot": "color", "changed": 2, "labelled": 0, "unlabelled": 0},
        {"slot": "price", "changed": 0, "labelled": 0, "unlabelled": 0},
    ]
    assert found["examples"] == [
        {"dialogue_id": "d1", "turn": 0, "slot": "color", "before": ["red"], "after": ["blue"]},
        {"dialogue_id": "d1", "turn": 2, "slot": "color", "before": ["red"], "after": ["!black", "blue"]},
    ]
    assert found["dialogues"] == {"added": [], "removed": [], "changed": 1}
    assert (found["splits"]["to_d_f"], found["splits"]["to_d_p"]) == ([], [])


def test_what_was_withdrawn_leaves_d_f(workspace: Workspace, tmp_path: Path):
    three_ingests(workspace, tmp_path)
    found = diff_ingests(workspace).as_json()
    assert found["annotations"]["withdrawn"] == 1
    assert found["turns"] == {"changed": 0, "labelled": 0, "unlabelled": 2}
    assert found["splits"] == {
        "d_f": {"before": 1, "after": 0},
        "d_p": {"before": 1, "after": 2},
        "to_d_f": [],
        "to_d_p": ["d1"],
    }
    backwards = diff_ingests(workspace, 3, 2).as_json()
    assert backwards["splits"]["to_d_f"] == ["d1"]
    assert backwards["annotations"]["added"] == 1


def test_an_ingest_that_changes_nothing_is_not_kept(workspace: Workspace, tmp_path: Path):
    three_ingests(workspace, tmp_path)
    before = hashes(workspace.ingests)
    ingest_labels(workspace, IngestRequest())
    assert hashes(workspace.ingests) == before
    assert not diff_ingests(workspace, 3, 3)


def test_a_new_ontology_and_another_policy_are_told(workspace: Workspace, tmp_path: Path):
    take_in(workspace, tmp_path, ("d1", answer(1, [pick("want_0", "color=red")])))
    ingest_labels(workspace, IngestRequest(resolve_by="adjudicated"))
    found = diff_ingests(workspace).as_json()
    assert (found["policy_changed"], found["older"]["policy"], found["newer"]["policy"]) == (
        True,
        "majority",
        "adjudicated",
    )
    grown = Ontology(version=4, slots=(*ONTOLOGY.slots, Slot(name="size", attribute="size")))
    grown.write(workspace.ontology_file)
    ingest_labels(workspace, IngestRequest(resolve_by="adjudicated"))
    found = diff_ingests(workspace).as_json()
    assert (found["ontology_changed"], found["older"]["ontology_version"], found["newer"]["ontology_version"]) == (
        True,
        3,
        4,
    )
    assert {"slot": "size", "changed": 0, "labelled": 2, "unlabelled": 0} in found["slots"]


def test_the_same_ingests_give_the_same_bytes(tmp_path: Path):
    folders = []
    for name in ("one", "two"):
        workspace = write_workspace(tmp_path / name / "shop", [D1, D2])
        three_ingests(workspace, tmp_path / name)
        folders.append(hashes(workspace.ingests))
    assert folders[0] == folders[1]


def test_kept_ingests_share_the_disk_with_what_is_in_place_and_are_never_written_to(
    workspace: Workspace, tmp_path: Path
):
    three_ingests(workspace, tmp_path)
    last = kept_ingests(workspace)[-1]
    assert last.states.stat().st_ino == workspace.states.stat().st_ino
    before = hashes(workspace.ingests / "0003")
    take_in(workspace, tmp_path, ("d2", answer(2, [], at=LATER, by=2)))
    assert hashes(workspace.ingests / "0003") == before


def test_the_oldest_are_removed_beyond_the_limit_and_numbers_go_on(workspace: Workspace, tmp_path: Path):
    workspace.settings_file.write_text("[labelling]\nkeep_ingests = 2\n")
    three_ingests(workspace, tmp_path)
    assert [kept.number for kept in kept_ingests(workspace)] == [2, 3]
    with pytest.raises(UsageError, match=r"ingest 1 is not kept .*there are 2 to 3"):
        diff_ingests(workspace, 1)
    with pytest.raises(UsageError, match="no ingest before 2 is kept"):
        diff_ingests(workspace, newer=2)


def test_none_is_kept_when_the_limit_is_zero(workspace: Workspace, tmp_path: Path):
    workspace.settings_file.write_text("[labelling]\nkeep_ingests = 0\n")
    three_ingests(workspace, tmp_path)
    assert kept_ingests(workspace) == []
    with pytest.raises(UsageError, match="no ingest is kept"):
        diff_ingests(workspace)


def test_a_run_killed_before_it_kept_its_result_is_made_up_for(workspace: Workspace, tmp_path: Path):
    three_ingests(workspace, tmp_path)
    shutil.rmtree(workspace.ingests / "0003")
    ingest_labels(workspace, IngestRequest())
    assert [kept.number for kept in kept_ingests(workspace)] == [1, 2, 3]
    assert diff_ingests(workspace).as_json()["annotations"]["withdrawn"] == 1
    assert sorted(path.name for path in workspace.ingests.iterdir()) == ["0001", "0002", "0003"]


def test_two_workspaces_are_compared_as_they_are(workspace: Workspace, tmp_path: Path):
    (tmp_path / "other").mkdir()
    other = write_workspace(tmp_path / "other" / "shop", [D1, dialogue("d3")])
    take_in(other, tmp_path, ("d1", answer(1, [pick("want_0", "color=red")])))
    take_in(workspace, tmp_path, ("d1", answer(1, [pick("want_0", "color=blue")])))
    found = diff_workspaces(workspace, other).as_json()
    assert found["dialogues"] == {"added": ["d2"], "removed": ["d3"], "changed": 1}
    assert found["slots"][0] == {"slot": "color", "changed": 2, "labelled": 0, "unlabelled": 0}
    assert found["annotations"]["changed"] == 1
    assert not diff_workspaces(other, other)
    with pytest.raises(WorkspaceError, match="not a semctl workspace"):
        diff_workspaces(workspace, Workspace(tmp_path))


def test_the_command_prints_tables_one_object_and_its_exit_code(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    three_ingests(workspace, tmp_path)
    semctl = ["-w", str(workspace.root), "diff"]
    assert _run([*semctl, "1", "2"]) == 0
    shown = capsys.readouterr().out
    for expected in ("ingest 1 -> ingest 2", "user:2", "color", "!black, blue"):
        assert expected in shown
    assert _run([*semctl, "--exit-code", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["splits"]["to_d_p"] == ["d1"]
    assert _run([*semctl, "2", "2", "--exit-code"]) == 0
    assert "no difference" in capsys.readouterr().out
    assert _run([*semctl, "1", "--with", str(workspace.root)]) == 2
    assert _run([*semctl, "9"]) == 2


def test_a_record_that_is_none_is_one_error(workspace: Workspace, tmp_path: Path):
    three_ingests(workspace, tmp_path)
    (workspace.ingests / "0002" / "record.json").write_text("{}")
    with pytest.raises(LabelError, match=r"not as semctl writes it, at semctl_schema: .*remove that folder"):
        diff_ingests(workspace)


def test_two_sorted_sequences_go_side_by_side():
    left, right = [("a", 1), ("c", 3)], [("b", 2), ("c", 4), ("d", 5)]
    assert list(side_by_side(left, right)) == [("a", 1, None), ("b", None, 2), ("c", 3, 4), ("d", None, 5)]
    assert list(side_by_side([], right[:1])) == [("b", None, 2)]
