"""Pulling from a real Label Studio: only what changed is fetched, and whatever people do there is followed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from annotate.label_studio.gateway import Gateway, connect
from annotate.label_studio.pull import PullState
from annotate.simulated_annotators import Annotator
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.labelling.adjudicate import AdjudicateRequest, adjudicate
from pipeline.labelling.assigned_export import export_assigned
from pipeline.labelling.assignment_record import AssignmentRequest, projects_of
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestReport, IngestRequest, ingest_labels
from pipeline.labelling.sources import pull_states
from pipeline.provenance.trace import trace_cell
from pipeline.workspace import Workspace
from schemas.errors import LabelError
from schemas.ontology import Ontology, Slot
from schemas.tables import ANNOTATIONS, QUARANTINE, TURNS, read_table, write_table
from tests.label_exports import gold_of, hashes, marked, pick, states_in, typed
from tests.labelling_corpus import ONTOLOGY, dialogue, write_workspace
from tests.studio_fixtures import RunningStudio, whole_export

pytestmark = pytest.mark.studio

RED, BLUE = (ONTOLOGY.link(ONTOLOGY.slot("color"), value) for value in ("red", "blue"))
NAMES = [f"d{number}" for number in range(6)]
GOLD = {key: state for name in NAMES for key, state in gold_of(((RED,), (BLUE,)), name).items()}


class Live:
    """A project whose tasks are all answered as the gold says, and somebody who works in it."""

    def __init__(self, workspace: Workspace, title: str, studio: RunningStudio) -> None:
        self.workspace = workspace
        self.title = title
        export_for_labelling(workspace, ExportRequest(Selection(split="all"), project=title, window=5))
        self.gateway: Gateway = connect(workspace.root)
        self.http = httpx.Client(
            base_url=studio.url, headers={"Authorization": f"Token {studio.token}"}, trust_env=False, timeout=60
        )
        annotator = Annotator(ONTOLOGY, GOLD)
        self.project = self.gateway.require_project(title)
        self.tasks: dict[str, int] = {}
        self.answers: dict[str, int] = {}
        for task in self.gateway.tasks(self.project):
            name = task.uid.partition("#")[0]
            self.tasks[name] = task.id
            self.answers[name] = self.gateway.create_annotation(task.id, annotator.result(task.data), lead_time=60.0)

    def pull(self, **options: Any) -> IngestReport:
        return ingest_labels(self.workspace, IngestRequest(projects=(self.title,), **options))

    def edit(self, name: str, value: str) -> None:
        result = [pick("want_0", f"color={value}")]
        assert self.http.patch(f"/api/annotations/{self.answers[name]}/", json={"result": result}).status_code == 200

    def delete_answer(self, name: str) -> None:
        assert self.http.delete(f"/api/annotations/{self.answers[name]}/").status_code == 204

    def action(self, what: str, *names: str) -> None:
        chosen = {"all": False, "included": [self.tasks[name] for name in names]}
        asked = {"id": what, "project": self.project.id}
        assert self.http.post("/api/dm/actions", params=asked, json={"selectedItems": chosen}).status_code == 200

    def color(self, name: str) -> set[str] | None:
        return marked(states_in(self.workspace)[name, 0])


@pytest.fixture
def live(tmp_path: Path, studio_variables: RunningStudio, request: pytest.FixtureRequest) -> Iterator[Live]:
    workspace = write_workspace(tmp_path / "shop", [dialogue(name) for name in NAMES])
    found = Live(workspace, request.node.name.removeprefix("test_")[:48], studio_variables)
    yield found
    found.http.close()


def changes(report: IngestReport) -> tuple[int, int, int, int]:
    adds_up = report.as_json()["annotations"]
    assert adds_up.pop("received") == sum(adds_up.values())
    return report.changes.new, report.changes.changed, report.changes.withdrawn, report.changes.unchanged


def fetched(report: IngestReport) -> tuple[str, int, int]:
    (project,) = report.as_json()["pulled"]
    return project["looked_at"], project["tasks_fetched"], project["tasks_deleted"]


def without(names: tuple[str, ...], found: dict[str, str]) -> dict[str, str]:
    return {path: sha for path, sha in found.items() if path not in names}


def test_the_first_pull_takes_everything_and_the_next_one_nothing(live: Live):
    first = live.pull()
    assert (changes(first), fetched(first)) == ((6, 0, 0, 0), ("listing", 6, 0))
    assert states_in(live.workspace) == GOLD
    before = hashes(live.workspace.root)
    again = live.pull()
    assert (changes(again), fetched(again), again.received) == ((0, 0, 0, 6), ("changes", 0, 0), 0)
    # the ledger tells of the last ingest, everything else is as it was
    assert without(("labels/ledger.json",), hashes(live.workspace.root)) == without(("labels/ledger.json",), before)
    after = hashes(live.workspace.root)
    live.pull()
    assert hashes(live.workspace.root) == after


def test_an_export_file_of_the_project_is_of_the_same_people_and_answers(live: Live, tmp_path: Path):
    file = whole_export(live.gateway, live.project, tmp_path / "e.json")
    alone = ingest_labels(live.workspace, IngestRequest(export=file))
    (before,) = {row["annotator"] for row in read_table(live.workspace.annotations, ANNOTATIONS).to_pylist()}
    assert before.startswith("user:")
    assert (alone.changes.new, changes(live.pull())) == (6, (0, 0, 0, 6))
    rows = read_table(live.workspace.annotations, ANNOTATIONS).to_pylist()
    assert {row["annotator"] for row in rows} == {live.gateway.user}
    assert {row["server"] for row in rows} == {live.gateway.url}
    assert (len({row["annotation_id"] for row in rows}), {row["in_force"] for row in rows}) == (6, {True})
    annotations = live.workspace.annotations.read_bytes()
    assert ingest_labels(live.workspace, IngestRequest(export=file)).changes.as_json()["unchanged"] == 6
    assert live.workspace.annotations.read_bytes() == annotations


def test_an_edited_answer_is_fetched_alone_and_replaces_the_old_one(live: Live):
    live.pull()
    live.edit("d1", "blue")
    report = live.pull()
    assert (changes(report), fetched(report), report.received) == ((0, 1, 0, 5), ("changes", 1, 0), 1)
    assert live.color("d1") == {"color=blue"}
    assert len(list(live.workspace.raw_exports.iterdir())) == 2
    rows = read_table(live.workspace.annotations, ANNOTATIONS).to_pylist()
    versions = {row["updated_at"] for row in rows if row["dialogue_id"] == "d1"}
    assert len(versions) == 2  # both stay


def test_an_answer_saved_again_as_it_was_is_no_change(live: Live):
    live.pull()
    live.edit("d1", "red")
    assert changes(live.pull())[1] == 1  # the gold of its second turn was blue
    live.edit("d1", "red")
    report = live.pull()
    assert (changes(report), report.received) == ((0, 0, 0, 6), 1)


def test_a_deleted_answer_is_withdrawn_and_its_turns_become_unlabelled(live: Live):
    live.pull()
    live.delete_answer("d2")
    report = live.pull()
    assert (changes(report), fetched(report), report.received) == ((0, 0, 1, 5), ("changes", 1, 0), 0)
    assert live.color("d2") is None
    assert report.as_json()["d_f"]["dialogues"] == 5
    assert changes(live.pull()) == (0, 0, 0, 5)


def test_a_deleted_answer_gives_way_to_the_other_one(live: Live):
    live.pull()
    live.gateway.create_annotation(live.tasks["d2"], [pick("want_0", "color=blue")], lead_time=60.0)
    ledger = live.pull().as_json()["annotations"]
    assert (ledger["received"], ledger["accepted"], ledger["superseded"]) == (2, 1, 1)
    assert live.color("d2") == {"color=blue"}
    newer = max(item["id"] for item in live.http.get(f"/api/tasks/{live.tasks['d2']}/annotations/").json())
    assert live.http.delete(f"/api/annotations/{newer}/").status_code == 204
    assert changes(live.pull()) == (0, 0, 1, 6)
    assert live.color("d2") == {"color=red"}


def test_a_skipped_answer_withdraws_itself_and_taken_up_again_it_counts_again(live: Live):
    live.pull()
    answer = f"/api/annotations/{live.answers['d3']}/"
    assert live.http.patch(answer, json={"was_cancelled": True}).status_code == 200
    report = live.pull()
    assert (changes(report), report.skipped) == ((0, 0, 1, 5), 1)
    assert live.color("d3") is None
    assert changes(live.pull()) == (0, 0, 0, 5)
    assert live.http.patch(answer, json={"was_cancelled": False}).status_code == 200
    assert changes(live.pull()) == (0, 1, 0, 5)
    assert live.color("d3") == {"color=red"}


def test_drafts_are_reported_by_person_and_nothing_of_them_is_taken_in(live: Live, capsys: pytest.CaptureFixture[str]):
    live.pull()
    before = hashes(live.workspace.root)
    draft = {"result": [pick("want_0", "color=black")], "lead_time": 1.0}
    for name in ("d1", "d2"):
        assert live.http.post(f"/api/tasks/{live.tasks[name]}/drafts", json=draft).status_code == 201
    report = live.pull()
    assert report.as_json()["drafts_by"] == {"owner@semctl.local": 2}
    assert (report.drafts, report.received, changes(report)) == (2, 0, (0, 0, 0, 6))
    assert without(("labels/ledger.json",), hashes(live.workspace.root)) == without(("labels/ledger.json",), before)
    assert _run(["-w", str(live.workspace.root), "ingest-labels", "--project", live.title]) == 0
    assert "begun and not submitted: 2 (owner@semctl.local 2)" in capsys.readouterr().out


def test_deleted_tasks_leave_no_trace_but_the_totals_tell(live: Live):
    live.pull()
    live.action("delete_tasks", "d1", "d4")
    report = live.pull()
    assert (changes(report), fetched(report)) == ((0, 0, 2, 4), ("listing", 0, 2))
    assert [live.color(name) for name in ("d1", "d4", "d0")] == [None, None, {"color=red"}]
    assert fetched(live.pull()) == ("changes", 0, 0)


def test_a_task_deleted_while_another_is_pushed_is_noticed(live: Live):
    live.pull()
    (data,) = (task.data for task in live.gateway.tasks(live.project) if task.id == live.tasks["d5"])
    live.action("delete_tasks", "d5")
    live.gateway.push(live.project, [{"data": dict(data)}])
    assert live.gateway.totals(live.project).tasks == 6
    report = live.pull()
    assert (changes(report), fetched(report)) == ((0, 0, 1, 5), ("listing", 0, 1))


def test_answers_deleted_in_bulk_and_an_emptied_project_are_followed(live: Live):
    live.pull()
    live.action("delete_tasks_annotations", "d0", "d1")
    assert changes(live.pull()) == (0, 0, 2, 4)
    live.action("delete_tasks", *NAMES)
    report = live.pull()
    assert (changes(report), fetched(report)) == ((0, 0, 4, 0), ("listing", 0, 4))
    assert set(states_in(live.workspace).values()) == {None}
    assert changes(live.pull()) == (0, 0, 0, 0)


def test_a_project_deleted_on_the_server_is_one_error_and_withdraws_nothing(live: Live):
    live.pull()
    before = hashes(live.workspace.root)
    assert live.http.delete(f"/api/projects/{live.project.id}/").status_code == 204
    with pytest.raises(LabelError, match="has no project"):
        live.pull()
    assert hashes(live.workspace.root) == before


def test_a_project_made_anew_under_the_same_name_withdraws_nothing_of_the_old_one(live: Live):
    live.pull()
    assert live.http.delete(f"/api/projects/{live.project.id}/").status_code == 204
    other = Live(live.workspace, live.title, RunningStudio(Path(), live.gateway.url, _token(live), None))  # type: ignore[arg-type]
    report = other.pull()
    assert changes(report)[2] == 0
    assert len(pull_states(live.workspace)) == 2
    other.http.close()


def _token(live: Live) -> str:
    return str(live.http.headers["Authorization"]).removeprefix("Token ")


def test_a_file_export_withdraws_nothing_by_what_it_lacks(live: Live, tmp_path: Path):
    live.pull()
    live.gateway.export_tasks(live.project, [live.tasks["d0"]], tmp_path / "part.json")
    report = ingest_labels(live.workspace, IngestRequest(export=tmp_path / "part.json"))
    assert changes(report) == (0, 0, 0, 1)
    assert report.as_json()["d_f"]["dialogues"] == 6


def test_an_old_file_does_not_bring_back_what_was_deleted_since(live: Live, tmp_path: Path):
    old = whole_export(live.gateway, live.project, tmp_path / "old.json")
    live.pull()
    live.delete_answer("d2")
    live.pull()
    ingest_labels(live.workspace, IngestRequest(export=old))
    assert live.color("d2") is None


def test_answers_that_came_with_a_file_first_are_followed_once_a_pull_has_seen_them(live: Live, tmp_path: Path):
    ingest_labels(live.workspace, IngestRequest(export=whole_export(live.gateway, live.project, tmp_path / "e.json")))
    assert changes(live.pull()) == (0, 0, 0, 6)
    live.delete_answer("d0")
    assert changes(live.pull()) == (0, 0, 1, 5)


def test_a_quarantined_answer_that_is_deleted_leaves_the_quarantine(live: Live):
    number = live.gateway.create_annotation(live.tasks["d0"], [pick("nope", "color=red")], lead_time=60.0)
    assert live.pull().quarantined == {"unknown_control": 1}
    assert fetched(live.pull()) == ("changes", 0, 0)
    assert len(read_table(live.workspace.quarantine, QUARANTINE)) == 1
    assert live.http.delete(f"/api/annotations/{number}/").status_code == 204
    assert changes(live.pull()) == (0, 0, 0, 6)
    assert len(read_table(live.workspace.quarantine, QUARANTINE)) == 0


def test_full_fetches_everything_and_finds_nothing_new(live: Live):
    live.pull()
    before = hashes(live.workspace.root)
    report = live.pull(full=True)
    assert (changes(report), fetched(report), report.received) == ((0, 0, 0, 6), ("listing", 6, 0), 6)
    assert without(("labels/ledger.json",), hashes(live.workspace.root)) == without(("labels/ledger.json",), before)


def test_what_the_ontology_lacked_is_accepted_once_it_has_it_and_a_changed_dialogue_loses_its_labels(live: Live):
    number = live.gateway.create_annotation(live.tasks["d0"], [typed("free_0", "fabric=silk")], lead_time=60.0)
    assert live.pull().refused_turns == {"unknown_slot": 1}
    grown = Ontology(version=4, slots=(*ONTOLOGY.slots, Slot(name="fabric", attribute="fabric")))
    grown.write(live.workspace.ontology_file)
    report = live.pull()
    assert (report.refused_turns, report.changes.changed, fetched(report)[1]) == ({}, 1, 6)
    assert live.http.delete(f"/api/annotations/{number}/").status_code == 204
    others = [row for name in NAMES[1:] for row in dialogue(name)]
    write_table(live.workspace.turns, TURNS, [*dialogue("d0", text="another wish"), *others])
    report = live.pull()
    assert (report.quarantined, fetched(report)[1], live.color("d0")) == ({"dialogue_changed": 1}, 6, None)


def test_the_trace_names_project_and_task_in_the_browser(live: Live):
    live.pull()
    (step,) = trace_cell(live.workspace, "d3", turn=0, slot="color").steps
    (witness,) = step.witnesses
    found = witness.as_json()
    assert (found["project_title"], found["annotator"]) == (live.title, "owner@semctl.local")
    assert found["task_url"] == f"{live.gateway.url}/projects/{live.project.id}/data?task={live.tasks['d3']}"
    assert (found["batch"], found["raw_export"] is None) == (str(live.workspace.labelling / "batch-0001"), False)


def test_a_change_that_no_time_tells_is_found_by_the_totals(live: Live, monkeypatch: pytest.MonkeyPatch):
    """A server killed between an answer and the time of its task, or a clock set back: the window is past it."""
    live.pull()
    monkeypatch.setattr(PullState, "since", property(lambda self: "2999-01-01T00:00:00.000000Z"))
    live.gateway.create_annotation(live.tasks["d0"], [pick("want_0", "color=black")], lead_time=60.0)
    live.delete_answer("d3")
    live.delete_answer("d4")
    report = live.pull()
    assert (changes(report), fetched(report)) == ((1, 0, 2, 4), ("listing", 3, 0))


def test_an_unreadable_pull_state_is_one_error(live: Live):
    live.pull()
    (path,) = live.workspace.pulls.iterdir()
    path.write_text("{}")
    with pytest.raises(LabelError, match=r"not a pull state.*everything is pulled anew"):
        live.pull()
    path.unlink()
    assert changes(live.pull()) == (0, 0, 0, 6)


def test_two_projects_come_in_one_ingest(live: Live, studio_variables: RunningStudio):
    other = Live(live.workspace, live.title[:40] + " again", studio_variables)
    report = ingest_labels(live.workspace, IngestRequest(projects=(live.title, other.title)))
    assert changes(report) == (12, 0, 0, 0)
    assert [project["tasks_fetched"] for project in report.as_json()["pulled"]] == [6, 6]
    assert len(report.as_json()["exports"]) == len(list(live.workspace.raw_exports.iterdir())) == 2
    other.edit("d1", "blue")
    again = ingest_labels(live.workspace, IngestRequest(projects=(live.title, other.title)))
    assert changes(again) == (0, 1, 0, 11)
    other.http.close()


def test_a_dealt_name_brings_everybody_and_the_verdicts_of_their_review(
    tmp_path: Path, studio_variables: RunningStudio
):
    workspace = write_workspace(tmp_path / "shop", [dialogue(name) for name in NAMES[:2]])
    request = AssignmentRequest(annotators=["ann@x.org", "bo@x.org"], overlap=1.0, redundancy=2)
    export_assigned(
        workspace, ExportRequest(Selection(split="all"), assignment=request, project="assigned pull", window=5)
    )
    gateway = connect(workspace.root)
    titles = projects_of(workspace.labelling, "assigned pull")
    assert len(titles) == 2
    for title, value in zip(titles, ("red", "blue"), strict=True):
        for task in gateway.tasks(gateway.require_project(title)):
            gateway.create_annotation(task.id, [pick("want_0", f"color={value}")], lead_time=60.0)
    assert changes(ingest_labels(workspace, IngestRequest(projects=("assigned pull",)))) == (4, 0, 0, 0)
    assert set(states_in(workspace).values()) == {()}  # the slot is in dispute
    adjudicate(workspace, AdjudicateRequest(project="assigned pull: review"))
    review = gateway.require_project("assigned pull: review")
    for task in gateway.tasks(review):
        gateway.create_annotation(task.id, [pick("want_0", "color=blue")], lead_time=60.0)
    report = ingest_labels(workspace, IngestRequest(projects=("assigned pull",)))
    assert changes(report) == (2, 0, 0, 4)
    assert [project["project"] for project in report.as_json()["pulled"]] == [*titles, "assigned pull: review"]
    assert marked(states_in(workspace)["d0", 2]) == {"color=blue"}
    assert len(pull_states(workspace)) == 3
    # a review that was deleted on the server does not stand in the way; its verdicts stay
    headers = {"Authorization": f"Token {studio_variables.token}"}
    gone = f"{studio_variables.url}/api/projects/{review.id}/"
    assert httpx.delete(gone, headers=headers, trust_env=False, timeout=60).status_code == 204
    assert changes(ingest_labels(workspace, IngestRequest(projects=("assigned pull",)))) == (0, 0, 0, 4)
    assert marked(states_in(workspace)["d0", 2]) == {"color=blue"}
