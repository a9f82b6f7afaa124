"""Work assigned over projects of a real Label Studio, answered by three users, reassigned, and taken in."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from annotate.annotations.annotation import read_annotations
from annotate.label_studio.gateway import Gateway, connect
from annotate.resolution.answers import people_answers
from annotate.simulated_annotators import Annotator
from pipeline.chosen_dialogues import Selection
from pipeline.labelling.assigned_export import AssignedExport, export_assigned
from pipeline.labelling.assignment_record import Assignment, AssignmentRequest, projects_of
from pipeline.labelling.export_for_labelling import ExportRequest
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.errors import ServiceError, UsageError
from tests.label_exports import gold_of, pick, states_in
from tests.labelling_corpus import ONTOLOGY, dialogue, write_workspace
from tests.studio_fixtures import RunningStudio, whole_export

pytestmark = pytest.mark.studio

RED, BLUE = (ONTOLOGY.link(ONTOLOGY.slot("color"), value) for value in ("red", "blue"))
NAMES = [f"d{number}" for number in range(9)]
GOLD = {key: state for name in NAMES for key, state in gold_of([(RED,), (BLUE,), (RED,)], name).items()}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "shop", [dialogue(name, users=3) for name in NAMES])


@pytest.fixture
def http(studio_variables: RunningStudio) -> httpx.Client:
    key = {"Authorization": f"Token {studio_variables.token}"}
    return httpx.Client(base_url=studio_variables.url, headers=key, trust_env=False)


@pytest.fixture
def people(http: httpx.Client) -> dict[str, int]:
    """Three users made as the server's own API makes them: e-mail address -> number."""
    made = {}
    for name in ("Ann", "bo", "cy"):
        email = f"{name}.{uuid.uuid4().hex[:6]}@x.org"
        answered = http.post("/api/users/", json={"email": email, "username": email[:20]})
        assert answered.status_code == 201, answered.text
        made[email.lower()] = int(answered.json()["id"])
    return made


@pytest.fixture
def title() -> str:
    return f"deal {uuid.uuid4().hex[:6]}"


def assigned(workspace: Workspace, title: str, *people: str, n: int | None = 9, **terms: Any) -> AssignedExport:
    request = AssignmentRequest(annotators=list(people) or None, **terms)
    return export_assigned(
        workspace, ExportRequest(Selection(limit=n) if n else None, assignment=request, project=title, window=2)
    )


def answer_all(gateway: Gateway, place: str, user: int, *, first: int | None = None) -> Counter[str]:
    """Answer the tasks of a project as the gold says; dialogue -> tasks."""
    annotator = Annotator(ONTOLOGY, GOLD)
    done: Counter[str] = Counter()
    for task in sorted(gateway.tasks(gateway.require_project(place)), key=lambda task: task.uid)[:first]:
        gateway.create_annotation(task.id, annotator.result(task.data), lead_time=6.0, completed_by=user)
        done[task.data["dialogue_id"]] += 1
    return done


def uids(gateway: Gateway, place: str) -> Counter[str]:
    return Counter(task.uid for task in gateway.tasks(gateway.require_project(place)))


def test_three_annotators_answer_apart_and_are_taken_in_together(
    workspace: Workspace, people: dict[str, int], title: str
):
    done = assigned(workspace, title, *people, overlap=1 / 3)
    gateway = connect(workspace.root)
    assert done.shared == 3
    assert projects_of(workspace.labelling, title) == [f"{title} ({person})"[:50] for person in people]
    record = Assignment.read(workspace.labelling, title)
    assert record is not None
    answered: Counter[tuple[str, str]] = Counter()
    for part, (person, user) in zip(done.parts, people.items(), strict=True):
        assert len(part.place) <= 50
        # the first one works under the owner's login: the project is theirs all the same
        login = 1 if person.startswith("ann") else user
        for name, tasks in answer_all(gateway, part.place, login).items():
            assert name in record.dialogues_of(person)
            answered[person, name] = tasks
    assert len(answered) == 12  # nine dialogues, three of them twice
    report = ingest_labels(workspace, IngestRequest(projects=(title,))).as_json()
    assert report["annotations"] == {
        "received": 24,  # two windows each
        "accepted": 24,
        "quarantined": 0,
        "skipped": 0,
        "superseded": 0,
    }
    stored = list(read_annotations(workspace.annotations))
    assert Counter((each.annotator, each.dialogue_id) for each in stored) == answered
    logins = {each.annotator: each.completed_by for each in stored}
    first, second, third = people
    assert logins == {first: "1", second: str(people[second]), third: str(people[third])}
    assert states_in(workspace) == GOLD
    again = ingest_labels(workspace, IngestRequest(projects=(title,))).as_json()
    assert (again["d_f"], again["changes"]["new"]) == (report["d_f"], 0)


def test_a_file_taken_in_later_names_the_same_people_and_nobody_counts_twice(
    workspace: Workspace, people: dict[str, int], title: str, tmp_path: Path
):
    from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling

    # not assigned: two people answer the same tasks of one project
    export_for_labelling(workspace, ExportRequest(Selection(limit=2), project=title, window=2))
    gateway = connect(workspace.root)
    first, second, _ = people
    for person in (first, second):
        answer_all(gateway, title, people[person])
    file = whole_export(gateway, gateway.require_project(title), tmp_path / "export.json")
    ingest_labels(workspace, IngestRequest(export=file))
    numbered = {each.annotator for each in read_annotations(workspace.annotations)}
    assert numbered == {f"user:{people[first]}", f"user:{people[second]}"}
    ingest_labels(workspace, IngestRequest(projects=(title,)))
    stored = list(read_annotations(workspace.annotations))
    assert Counter(each.annotator for each in stored) == {first: 4, second: 4}
    assert {each.completed_by for each in stored} == {str(people[first]), str(people[second])}
    for name in {each.dialogue_id for each in stored}:
        assert set(people_answers(each for each in stored if each.dialogue_id == name)) == {first, second}
    before = workspace.annotations.read_bytes()
    ingest_labels(workspace, IngestRequest(export=file))  # the same answers as a file: known by name now
    assert workspace.annotations.read_bytes() == before


def test_who_leaves_hands_over_what_is_not_finished_and_their_answers_stay(
    workspace: Workspace, people: dict[str, int], title: str, http: httpx.Client
):
    first, leaving, third = people
    done = assigned(workspace, title, *people, overlap=1 / 3)
    gateway = connect(workspace.root)
    place = done.parts[1].place
    theirs = sorted(dialogues(workspace, title, leaving))
    # one dialogue finished, one half answered, one with a draft only
    finished, half, drafted = theirs[:3]
    tasks = {task.uid: task.id for task in gateway.tasks(gateway.require_project(place))}
    annotator = Annotator(ONTOLOGY, GOLD)
    for task in gateway.tasks(gateway.require_project(place)):
        if task.uid in (f"{finished}#0", f"{finished}#1", f"{half}#0"):
            gateway.create_annotation(task.id, annotator.result(task.data), completed_by=people[leaving])
    draft = {"result": [pick("want_0", "color=black")], "lead_time": 1.0}
    assert http.post(f"/api/tasks/{tasks[f'{drafted}#0']}/drafts", json=draft).status_code == 201

    before = {path: path.read_bytes() for path in workspace.labelling.rglob("*") if path.is_file()}
    asked = assigned(workspace, title, leaving=leaving, n=None, dry_run=True)
    assert {path: path.read_bytes() for path in workspace.labelling.rglob("*") if path.is_file()} == before
    assert {task.uid for task in gateway.tasks(gateway.require_project(place))} == set(tasks)
    reassigned = assigned(workspace, title, leaving=leaving, n=None)
    assert reassigned.reassigned == len(theirs) - 1
    assert [(part.annotator, part.dialogues) for part in asked.parts] == [
        (part.annotator, part.dialogues) for part in reassigned.parts
    ]
    assert (asked.dry_run, asked.reassigned, asked.removed) == (True, reassigned.reassigned, reassigned.removed)
    assert reassigned.dialogues_new == 0
    assert [part.annotator for part in reassigned.parts] == [first, third]
    assert sorted(uids(gateway, place)) == sorted([f"{finished}#0", f"{finished}#1", f"{half}#0", f"{drafted}#0"])
    now = {person: dialogues(workspace, title, person) for person in people}
    assert now[leaving] == [finished]
    for name in theirs[1:]:
        assert sum(name in now[person] for person in (first, third)) >= 1
    for part in reassigned.parts:
        assert uids(gateway, part.place) == Counter(
            f"{name}#{window}" for name in now[part.annotator] for window in (0, 1)
        )
    # nothing more the second time, and what they answered is taken in under their name
    again = assigned(workspace, title, leaving=leaving, n=None)
    assert (again.reassigned, again.removed) == (0, 0)
    report = ingest_labels(workspace, IngestRequest(projects=(title,)))
    assert report.received == 3
    assert {each.annotator for each in read_annotations(workspace.annotations)} == {leaving}


def dialogues(workspace: Workspace, title: str, person: str) -> list[str]:
    record = Assignment.read(workspace.labelling, title)
    assert record is not None
    return record.dialogues_of(person)


def test_a_push_that_broke_off_between_two_annotators_is_completed_without_doubles(
    workspace: Workspace, people: dict[str, int], title: str, monkeypatch: pytest.MonkeyPatch
):
    real = Gateway.push
    pushed: list[str] = []

    def breaks_off(self: Gateway, project: Any, tasks: Any, progress: Any = None, **more: Any) -> Any:
        if pushed:
            raise ServiceError("Label Studio does not answer (import tasks)")
        pushed.append(project.title)
        return real(self, project, tasks, progress, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Gateway, "push", breaks_off)
        with pytest.raises(ServiceError):
            assigned(workspace, title, *people)
    before = Assignment.read(workspace.labelling, title)
    assert before is not None
    assert not before.pushed
    done = assigned(workspace, title)
    after = Assignment.read(workspace.labelling, title)
    assert after is not None
    assert after.pushed
    assert after.rounds == before.rounds
    gateway = connect(workspace.root)
    for part in done.parts:
        expected = {f"{name}#{window}": 1 for name in after.dialogues_of(part.annotator) for window in (0, 1)}
        assert uids(gateway, part.place) == expected


def test_nobody_left_to_take_over_is_refused(workspace: Workspace, people: dict[str, int], title: str):
    first, second, _ = people
    assigned(workspace, title, first, n=2)
    with pytest.raises(UsageError, match="nobody is left to take over"):
        assigned(workspace, title, leaving=first, n=None)
    with pytest.raises(UsageError, match="has nothing of"):
        assigned(workspace, title, leaving=second, n=None)
