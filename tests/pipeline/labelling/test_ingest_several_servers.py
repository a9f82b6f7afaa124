"""Exports of several servers and projects whose users, tasks and annotations have the same numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotate.annotations.annotation import Annotation, Mark
from annotate.assignment.annotators import Annotators
from annotate.exports.annotation_store import AnnotationStore
from annotate.exports.identity import Arrival, Identity
from pipeline.cli import _run
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.files import write_json
from schemas.tables import ANNOTATIONS, QUARANTINE, read_table
from tests.label_exports import answer, answered, hashes, marked, pick, save, states_in, tasks_of, typed
from tests.labelling_corpus import dialogue, write_workspace

D1, D2 = dialogue("d1"), dialogue("d2")
T1, T2 = ({**task, "id": number} for number, task in enumerate(tasks_of([D1, D2]), start=1))
RED, BLUE = [pick("want_0", "color=red")], [pick("want_0", "color=blue")]
ANN, BO = {"id": 1, "email": "Ann@x.org"}, {"id": 1, "email": "bo@x.org"}
UUID = "0f8fad5b-d9cb-469f-a165-7086772895{:02}"
LATER = "2026-02-04T10:00:00Z"
HERE, THERE = "http://here:8080", "http://there:8080"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [D1, D2])


def take_in(workspace: Workspace, *tasks: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Ingest an export; ingested twice it must give the same bytes."""
    number = len(list(workspace.root.parent.glob("e*.json")))
    file = save(workspace.root.parent / f"e{number}.json", list(tasks))
    report = ingest_labels(workspace, IngestRequest(export=file, **options)).as_json()
    before = hashes(workspace.root)
    ingest_labels(workspace, IngestRequest(export=file, **options))
    assert without_report(hashes(workspace.root)) == without_report(before)
    return report


def without_report(found: dict[str, str]) -> dict[str, str]:
    return {name: sha for name, sha in found.items() if "ingests/" not in name}


def people(workspace: Workspace) -> set[str]:
    return set(read_table(workspace.annotations, ANNOTATIONS).column("annotator").to_pylist())


def standing(workspace: Workspace) -> dict[str, set[str | None]]:
    """Annotator -> values of their answers that count."""
    found: dict[str, set[str | None]] = {}
    for row in read_table(workspace.annotations, ANNOTATIONS).to_pylist():
        if row["in_force"]:
            found.setdefault(row["annotator"], set()).add(row["value"])
    return found


def disputed(report: Mapping[str, Any]) -> tuple[int, int]:
    return report["resolved"]["turns_of_several"], report["resolved"]["disputed"]


def test_answers_of_one_number_by_two_users_are_two_answers(workspace: Workspace):
    one, other = (answer(1, result, by=by, unique_id=None) for by, result in ((1, RED), (2, BLUE)))
    report = take_in(workspace, answered(T1, one, project=1), answered({**T1, "id": 9}, other, project=1))
    assert standing(workspace) == {"user:1": {"red", None}, "user:2": {"blue", None}}
    assert disputed(report) == (2, 1)


@pytest.mark.parametrize("names", [{}, {"unique_id": None}, {"unique_id": "same on both"}], ids=str)
@pytest.mark.parametrize("at", ["2026-02-03T10:00:00Z", LATER])
def test_two_addresses_behind_one_number_are_two_people(workspace: Workspace, names: dict[str, Any], at: str):
    take_in(workspace, answered(T1, answer(1, RED, by=ANN, **names), project=1))
    report = take_in(workspace, answered(T1, answer(1, BLUE, by=BO, at=at, **names), project=1))
    assert standing(workspace) == {"ann@x.org": {"red", None}, "bo@x.org": {"blue", None}}
    assert disputed(report) == (2, 1)
    assert report["annotations"]["accepted"] == 1


def test_one_address_on_two_servers_is_one_person_whose_later_answer_counts(workspace: Workspace):
    take_in(workspace, answered(T1, answer(1, RED, by={"id": 1, "email": "ann@x.org"}), project=1))
    take_in(workspace, answered(T1, answer(3, BLUE, by={"id": 9, "email": "ANN@x.org"}, at=LATER), project=4))
    assert standing(workspace) == {"ann@x.org": {"blue", None}}


@pytest.mark.parametrize("project", [1, 2])
def test_numbers_alone_of_two_exports_that_share_nothing_are_two_people(workspace: Workspace, project: int):
    take_in(workspace, answered(T1, answer(1, RED, unique_id=UUID.format(1)), project=1))
    report = take_in(workspace, answered(T1, answer(1, BLUE, unique_id=UUID.format(2), at=LATER), project=project))
    (apart,) = people(workspace) - {"user:1"}
    assert apart.startswith("user:1@export-")
    assert standing(workspace) == {"user:1": {"red", None}, apart: {"blue", None}}
    assert disputed(report) == (2, 1)


def test_an_export_that_has_grown_is_of_the_same_people(workspace: Workspace):
    first = answered(T1, answer(1, RED, unique_id=UUID.format(1)))
    take_in(workspace, first)
    take_in(workspace, first, answered(T2, answer(2, BLUE, unique_id=UUID.format(2))))
    assert standing(workspace) == {"user:1": {"red", "blue", None}}


def test_an_export_that_holds_answers_of_two_shows_that_they_are_of_one_server(workspace: Workspace):
    one = answered(T1, answer(1, RED, unique_id=UUID.format(1)))
    two = answered(T2, answer(2, BLUE, unique_id=UUID.format(2)))
    take_in(workspace, one)
    take_in(workspace, two)
    assert len(people(workspace)) == 2
    take_in(workspace, one, two)
    assert len(people(workspace)) == 1


def test_the_address_that_is_told_later_names_earlier_answers_too(workspace: Workspace):
    first = answer(1, RED, unique_id=UUID.format(1))
    take_in(workspace, answered(T1, first), answered(T2, answer(2, BLUE, unique_id=UUID.format(2))))
    assert people(workspace) == {"user:1"}
    take_in(workspace, answered(T1, {**first, "completed_by": ANN}))
    assert people(workspace) == {"ann@x.org"}
    take_in(workspace, answered(T1, first))
    assert people(workspace) == {"ann@x.org"}


def test_answers_of_nobody_known_are_of_nobody_else(workspace: Workspace):
    report = take_in(workspace, answered(T1, answer(1, RED, by=None), answer(2, BLUE, by={}), answer(3, RED, by="")))
    assert len(people(workspace)) == 3
    assert all(name.startswith("unknown:") for name in people(workspace))
    assert disputed(report)[0] == 2


def test_an_older_version_of_label_studio_tells_the_address_beside_the_number(workspace: Workspace):
    take_in(
        workspace,
        answered(T1, answer(1, RED, by=7, created_username="Ann Lee Ann@x.org, 7")),
        answered(T2, answer(2, RED, by=8, created_username="Ann Lee Ann@x.org, 7")),  # somebody else's name
    )
    assert people(workspace) == {"ann@x.org", "user:8"}


@pytest.mark.parametrize("names", [{}, {"unique_id": None}], ids=str)
def test_nothing_of_another_server_withdraws_or_replaces_an_answer(workspace: Workspace, names: dict[str, Any]):
    take_in(workspace, answered(T1, answer(1, RED, **names), project=1), server=HERE)
    for at, more in ((LATER, {"was_cancelled": True}), (LATER, {"result": [pick("nope", "x")]}), (LATER, {})):
        changed = {**answer(1, BLUE, at=at, **names), **more}
        take_in(workspace, answered(T1, changed, project=1), server=THERE)
        assert standing(workspace)["user:1@here:8080"] == {"red", None}
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    assert {row["server"] for row in rows} == {HERE, THERE}
    assert len({row["annotation_id"] for row in rows}) == 2


def test_both_servers_refusals_are_kept(workspace: Workspace):
    bad = [typed("free_1", "colr=red"), *RED]
    for server in (HERE, THERE, HERE):
        take_in(workspace, answered(T1, answer(1, bad), project=1), server=server)
    rows = read_table(workspace.quarantine, QUARANTINE).to_pylist()
    assert sorted(row["annotator"] for row in rows) == ["user:1@here:8080", "user:1@there:8080"]
    assert len({row["annotation_id"] for row in rows}) == 2
    take_in(workspace, answered(T1, answer(1, RED), project=1), server=THERE)
    assert len(read_table(workspace.quarantine, QUARANTINE)) == 1


def test_a_file_is_of_the_server_whose_answers_it_holds(workspace: Workspace):
    known_annotators = Annotators()
    known_annotators.learn(HERE, {1: "ann@x.org", 2: "bo@x.org"}, {1: None})
    workspace.labelling.mkdir(exist_ok=True)
    known_annotators.write(workspace.labelling)
    first = answered(T1, answer(1, RED, unique_id=UUID.format(1)), project=1)
    take_in(workspace, first, server=HERE)
    take_in(workspace, first, answered(T2, answer(2, BLUE, by=2, unique_id=UUID.format(2)), project=1))
    assert people(workspace) == {"ann@x.org", "bo@x.org"}
    take_in(workspace, answered(T2, answer(2, RED, by=2, unique_id=UUID.format(3), at=LATER), project=1))
    assert people(workspace) == {"ann@x.org", "bo@x.org", "user:2"}  # nothing tells that it is of that server


def test_what_came_as_a_file_gets_its_names_once_its_server_is_known(workspace: Workspace):
    task = answered(T1, answer(1, RED, unique_id=UUID.format(1)), answer(2, BLUE, by=2, unique_id=UUID.format(2)))
    take_in(workspace, task)
    take_in(workspace, answered(T1, task["annotations"][0]), server=HERE)
    assert people(workspace) == {"user:1@here:8080", "user:2@here:8080"}
    known_annotators = Annotators()
    known_annotators.learn(HERE, {2: "bo@x.org"}, {})
    workspace.labelling.mkdir(exist_ok=True)
    known_annotators.write(workspace.labelling)
    ingest_labels(workspace, IngestRequest())
    assert people(workspace) == {"user:1@here:8080", "bo@x.org"}


def test_two_exports_put_together_into_one_file_stay_apart(workspace: Workspace):
    both = [answered(T1, answer(1, RED, by=ANN), project=1), answered(T1, answer(1, BLUE, by=BO), project=1)]
    report = take_in(workspace, *both)
    assert standing(workspace) == {"ann@x.org": {"red", None}, "bo@x.org": {"blue", None}}
    assert report["annotations"]["accepted"] == 2


def test_a_table_of_the_second_version_is_read_and_its_people_are_found_again(workspace: Workspace):
    file = save(workspace.root.parent / "e.json", [answered(T1, answer(1, RED)), answered(T2, answer(2, BLUE))])
    ingest_labels(workspace, IngestRequest(export=file))
    columns = ANNOTATIONS.earlier[2]
    kept = read_table(workspace.annotations, ANNOTATIONS).select(columns.names)
    metadata = {"semctl.table": "annotations", "semctl.schema_version": "2", "semctl.inputs": "{}"}
    pq.write_table(pa.table(kept.columns, schema=columns.with_metadata(metadata)), workspace.annotations)
    ingest_labels(workspace, IngestRequest())
    assert read_table(workspace.annotations, ANNOTATIONS).column("server").null_count == 4
    report = ingest_labels(workspace, IngestRequest(export=file)).as_json()
    assert report["changes"] == {"new": 0, "changed": 0, "withdrawn": 0, "unchanged": 2}
    assert standing(workspace) == {"user:1": {"red", "blue", None}}
    assert read_table(workspace.annotations, ANNOTATIONS).column("server").null_count == 0
    assert [marked(states_in(workspace)[name, 0]) for name in ("d1", "d2")] == [{"color=red"}, {"color=blue"}]


def test_the_table_says_which_version_is_in_force(workspace: Workspace):
    take_in(workspace, answered(T1, answer(1, RED)))
    take_in(workspace, answered(T1, answer(1, BLUE, at=LATER), answer(2, RED, by=2), answer(3, BLUE, by=2, at=LATER)))
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    found = {(row["annotation_id"], row["updated_at"][:10], row["in_force"]) for row in rows}
    assert found == {
        ("ls:7:a1", "2026-02-03", False),
        ("ls:7:a1", "2026-02-04", True),
        ("ls:7:a2", "2026-02-03", False),
        ("ls:7:a3", "2026-02-04", True),
    }


@pytest.mark.parametrize("server", ["studio", "ftp://studio", "http://", "", "http://[studio", "http://studio:x"])
def test_an_address_that_is_none_is_refused(workspace: Workspace, server: str):
    file = save(workspace.root.parent / "e.json", [answered(T1, answer(1, RED))])
    with pytest.raises(UsageError, match="not an address of Label Studio"):
        ingest_labels(workspace, IngestRequest(export=file, server=server))


def test_an_address_with_a_password_is_refused_and_not_repeated(workspace: Workspace):
    file = save(workspace.root.parent / "e.json", [answered(T1, answer(1, RED))])
    with pytest.raises(UsageError) as raised:
        ingest_labels(workspace, IngestRequest(export=file, server="http://ann:tulips@studio"))
    assert "tulips" not in str(raised.value)


def test_a_server_without_a_file_is_refused_and_the_command_takes_both(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(UsageError, match="without an export file"):
        ingest_labels(workspace, IngestRequest(server=HERE))
    file = save(workspace.root.parent / "e.json", [answered(T1, answer(1, RED))])
    command = ["-w", str(workspace.root), "ingest-labels", str(file)]
    assert _run([*command, "--server", f"{HERE}/", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["annotations"]["accepted"] == 1
    assert people(workspace) == {"user:1@here:8080"}
    save(file, [answered(T2, answer(1, RED, by=1, created_at="2026-01-01T00:00:00Z", unique_id=None))])
    assert _run(command) == 0
    save(file, [answered(T2, answer(1, RED, by=1, created_at="2026-01-02T00:00:00Z", unique_id=None))])
    assert _run(command) == 0
    assert "ingest them with --server ADDRESS" in " ".join(capsys.readouterr().err.split())


def test_a_server_at_another_address_keeps_its_answers():
    one = Annotation("ls:7:a", "d", "user:3@here:8080", "2026", (Mark(0, "none"),), project="7", completed_by="3")
    with AnnotationStore() as store:
        store.load([replace(one, server=HERE), replace(one, annotation_id="ls:8:b", project="8", server=HERE)])
        store.move(HERE, THERE, "7")
        assert [each.server for each in store.all()] == [THERE, HERE]
        known_annotators = Annotators()
        known_annotators.learn(THERE, {3: "cy@x"}, {})
        identity = Identity(store, known_annotators)
        identity.settle()
        named = identity.named(Arrival(replace(one, annotator="user:3", server=THERE), "e" * 64))
    assert (named.annotation_id, named.annotator, named.server) == ("ls:7:a", "cy@x", THERE)


def test_a_record_of_screens_of_another_server_says_nothing_of_a_project(workspace: Workspace):
    entries = [
        {"project_id": 1, "url": url, "ontology_version": 9, "since": "2026-01-01T00:00:00Z"} for url in (HERE, THERE)
    ]
    write_json(workspace.labelling / "screens.json", {"semctl_schema": 1, "screens": entries[:1]})
    take_in(workspace, answered(T1, answer(1, RED), project=1), server=THERE)
    take_in(workspace, answered(T2, answer(1, RED), project=1), server=HERE)
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    assert {(row["dialogue_id"], row["ontology_version"]) for row in rows} == {("d1", 3), ("d2", 9)}
