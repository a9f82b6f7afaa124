"""The ML backend protocol before a real run: what is filled in, and what is refused."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from annotate.prelabels.prelabels import prediction
from annotate.simulated_annotators import offered_choices
from annotate.tasks import label_config as labels
from annotate.tasks.dialogue_tasks import TaskStyle, state_tasks
from pipeline.chosen_dialogues import Selection, read_dialogues
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.prelabelling import BeliefReading, prelabel_model
from pipeline.labelling.task_images import TaskImages
from pipeline.modelling.conversation import Conversation
from pipeline.modelling.recommender import Recommender
from pipeline.serving.app import AppSettings
from pipeline.serving.label_studio_backend import MOST_TASKS
from pipeline.workspace import Workspace
from schemas.ontology import Slot
from schemas.progress import SilentProgress
from tests.served import client, in_thread, trained_workspace

CHOSEN = Selection(split="test", limit=5)
Task = dict[str, Any]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_workspace(tmp_path_factory.mktemp("backend"))


@pytest.fixture(scope="module")
def exported(workspace: Workspace) -> list[Task]:
    """Tasks with the run's predictions, as an export has them."""
    file = workspace.root / "tasks.json"
    export_for_labelling(workspace, ExportRequest(CHOSEN, to_file=file, window=3, prelabel="run:latest"))
    tasks: list[Task] = json.loads(file.read_text())
    return [{"id": number, **task} for number, task in enumerate(tasks, start=10)]


@pytest.fixture(scope="module")
def screen(workspace: Workspace, exported: list[Task]) -> str:
    """The label configuration of those tasks."""
    return (workspace.labelling / "batch-0001" / "label_config.xml").read_text()


@pytest.fixture(scope="module")
def asking(workspace: Workspace) -> Iterator[httpx.Client]:
    with in_thread(workspace) as (address, _), client(address) as found:
        yield found


def predicted(asking: httpx.Client, tasks: list[Task], screen: str, **more: object) -> dict[str, Any]:
    body = {"tasks": tasks, "label_config": screen, **more}
    answer = asking.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert len(found["results"]) == len(tasks)
    return found


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["result"] == expected["result"]
    assert found["score"] == pytest.approx(expected["score"], abs=1e-3)
    assert found["model_version"] == expected["model_version"]


def test_tasks_are_filled_in_as_an_export_with_prelabels_of_the_run_fills_them_in(
    asking: httpx.Client, exported: list[Task], screen: str, workspace: Workspace
):
    run = next(path.name for path in workspace.runs.iterdir())
    sent = {"project": "1.2", "schema": screen, "hostname": "http://x", "access_token": "t", "extra_params": None}
    assert asking.post("/setup", json=sent).json() == {"model_version": f"run:{run}"}
    more = {"project": "1.2", "params": {"login": None, "password": None, "context": None}}
    found = predicted(asking, exported, screen, **more)
    assert (found["model_version"], found["unanswered"]) == (f"run:{run}", [])
    assert len({task["data"]["dialogue_id"] for task in exported}) < len(exported), "some dialogues have several parts"
    for task, (one,) in zip(exported, found["results"], strict=True):
        same(one, task["predictions"][0])
    assert sum(bool(one["result"]) for (one,) in found["results"]) > 3
    last = predicted(asking, exported[-1:], screen)["results"]
    same(last[0][0], exported[-1]["predictions"][0])


def test_a_task_that_asks_for_the_whole_state_gets_the_state(
    asking: httpx.Client, exported: list[Task], screen: str, workspace: Workspace, tmp_path: Path
):
    name = exported[-1]["data"]["dialogue_id"]
    rows = read_dialogues(workspace.turns, [name], SilentProgress())
    images = TaskImages.link(workspace, rows, SilentProgress())
    style = TaskStyle(1, workspace.ontology().version, "", images.address, images.names)
    users = [row["turn"] for row in rows[name] if row["speaker"] == "user"]
    tasks = [{"id": 1, **task} for task in state_tasks(rows[name], users, style)]
    prelabel = prelabel_model(workspace, "run:latest", rows, SilentProgress()).prelabel(name)
    held: dict[str, set[str]] = {}
    for turn, (one,) in zip(users, predicted(asking, tasks, screen)["results"], strict=True):
        update = prelabel[turn].update
        assert not update.dislike
        if update.new_topic:
            held = {}
        held = {slot: values for slot, values in held.items() if slot not in update.drop}
        held |= {slot: set(values) for slot, values in update.want.items()}
        entries = {entry[0] for each in one["result"] for entry in each["value"].get("taxonomy", [])}
        typed = {line for each in one["result"] for line in each["value"].get("text", [])}
        assert entries | typed == {f"{slot}={value}" for slot, values in held.items() for value in values}
    assert held, "something is wanted in the end"


def test_a_dialogue_that_is_not_here_is_read_from_its_page(
    asking: httpx.Client, exported: list[Task], screen: str, workspace: Workspace
):
    """As the same words without images are read."""
    blind = Recommender.open(workspace, images=False)
    assert blind.ontology is not None
    reading = BeliefReading(workspace.ontology(), blind.ontology.version)
    offered = offered_choices(screen)
    for task in exported[:6]:
        data = task["data"]
        name, last = data["dialogue_id"], data["user_turns"][-1]["turn"]
        turns = [n for n, said in blind.corpus.utterances(name) if said.speaker == "user" and n <= last]
        states = blind.states([Conversation(name, turn, blind.corpus.history(name, turn + 1)) for turn in turns])
        assert states is not None
        strange = spoilt(
            task, dialogue_id="elsewhere/1", uid=f"elsewhere/1#{data['window']}", dialogue_sha256="ab" * 32
        )
        version = task["predictions"][0]["model_version"]
        expected = prediction(reading.prelabel(turns, states), version, strange["data"], offered)
        same(predicted(asking, [strange], screen)["results"][0][0], expected)


def spoilt(task: Task, **data: object) -> Task:
    return {**task, "data": {**task["data"], **data}}


UNANSWERED: dict[str, tuple[dict[str, object], str]] = {
    "another wording": ({"dialogue_sha256": "ab" * 32}, "dialogue_changed"),
    "another uid": ({"uid": "x#0"}, "task_without_keys"),
    "no turns": ({"user_turns": []}, "task_without_keys"),
    "turns that are none": ({"user_turns": [1, None]}, "task_without_keys"),
    "turns of nobody": ({"user_turns": [{"turn": 1}]}, "unknown_turn"),
    "a newer semctl": ({"semctl_schema": 99}, "unsupported_schema"),
    "a review": ({"role": "review"}, "task_without_keys"),
    "another question": ({"asks": "poem"}, "task_without_keys"),
    "not here, and no page": (
        {"dialogue_id": "x", "uid": "x#0", "window": 0, "past_html": 7, "user_turns": [{"turn": 0, "html": "<b>"}]},
        "unknown_dialogue",
    ),
    "not here, and a page of other turns": (
        {"dialogue_id": "x", "uid": "x#0", "window": 0, "user_turns": [{"turn": 4, "html": "<div class=sem-t><b>1 U"}]},
        "unknown_turn",
    ),
    "not here, and a page without end": (
        {"dialogue_id": "x", "uid": "x#0", "window": 0, "past_html": "<div class=sem-t><b>9" + "9" * 5000},
        "unknown_dialogue",
    ),
}


def test_of_several_tasks_those_that_cannot_be_filled_in_get_nothing_and_the_reason(
    asking: httpx.Client, exported: list[Task], screen: str
):
    wrong = [spoilt(exported[0], **data) for data, _ in UNANSWERED.values()]
    wrong += [{"id": 3}, {"id": None, "data": "x"}, {"data": []}]
    found = predicted(asking, [exported[0], *wrong, exported[1]], screen)
    same(found["results"][0][0], exported[0]["predictions"][0])
    same(found["results"][-1][0], exported[1]["predictions"][0])
    assert found["results"][1:-1] == [[]] * len(wrong)
    reasons = [each["reason"] for each in found["unanswered"]]
    assert reasons == [reason for _, reason in UNANSWERED.values()] + ["task_without_keys"] * 3
    assert all(each["detail"] for each in found["unanswered"])
    assert [each["task"] for each in found["unanswered"][-3:]] == [3, None, None]
    counted = asking.get("/metrics").text
    assert 'semctl_label_studio_tasks_total{outcome="dialogue_changed"} 1.0' in counted


def test_another_screen_is_refused(asking: httpx.Client, exported: list[Task], screen: str, workspace: Workspace):
    ontology = workspace.ontology()
    more = replace_slots(workspace, (*ontology.slots, Slot(name="mood", attribute="mood")))
    edited = screen.replace('rows="1"', 'rows="2"')
    for other, what in (
        ("<View></View>", "not semctl's, or was edited by hand"),
        (edited, "not semctl's, or was edited by hand"),
        ("", "not semctl's, or was edited by hand"),
        (more, "has other slots than this workspace (not here: mood)"),
    ):
        for path, body in (("/setup", {"schema": other}), ("/predict", {"tasks": exported[:1], "label_config": other})):
            answer = asking.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "LabelError")
            assert what in answer.json()["error"]["what"]
            assert answer.json()["error"]["fix"]
    # older values, and a server that writes its lines otherwise, do no harm
    fewer = labels.build(ontology, max_values_per_slot=1).xml
    (found,) = predicted(asking, exported[1:2], fewer.replace("\n", "\r\n"))["results"]
    assert found[0]["score"] == pytest.approx(exported[1]["predictions"][0]["score"], abs=1e-3)


def replace_slots(workspace: Workspace, slots: tuple[Slot, ...]) -> str:
    return labels.build(workspace.ontology().model_copy(update={"slots": slots})).xml


def test_broken_and_too_large_requests_are_refused_and_the_server_lives_on(
    asking: httpx.Client, exported: list[Task], screen: str
):
    tasks = exported[:1]
    for path, body, status in (
        ("/predict", {"tasks": [], "label_config": screen}, 422),
        ("/predict", {"tasks": tasks * (MOST_TASKS + 1), "label_config": screen}, 422),
        ("/predict", {"tasks": ["x"], "label_config": screen}, 422),
        ("/predict", {"tasks": tasks}, 422),
        ("/predict", {"tasks": tasks, "label_config": 7}, 422),
        ("/predict", {"tasks": tasks, "label_config": "x" * 4_000_001}, 422),
        ("/predict", [], 422),
        ("/setup", {}, 422),
        ("/webhook", {"action": "x" * 101}, 422),
        ("/webhook", {}, 422),
    ):
        answer = asking.post(path, json=body)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["kind"] == "UsageError"
    broken = asking.post("/predict", content=b'{"tasks": [', headers={"Content-Type": "application/json"})
    assert (broken.status_code, "not JSON" in broken.text) == (400, True)
    large = asking.post("/predict", content=b" " * 17 * 2**20, headers={"Content-Type": "application/json"})
    assert large.status_code == 413
    assert asking.get("/predict").status_code == 405
    assert asking.get("/health").json()["status"] == "ok"
    same(predicted(asking, tasks, screen)["results"][0][0], exported[0]["predictions"][0])


def test_changes_are_counted_and_nothing_else_comes_of_them(asking: httpx.Client, workspace: Workspace):
    before = sorted(path for path in workspace.root.rglob("*") if path.is_file())
    for action in ("ANNOTATION_CREATED", "ANNOTATION_CREATED", "ANNOTATIONS_DELETED", "PROJECT_UPDATED", "made up\n"):
        answer = asking.post("/webhook", json={"action": action, "annotation": {"result": []}, "project": {"id": 1}})
        assert (answer.status_code, answer.json()) == (200, {"status": "counted"})
    refused = asking.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 1}})
    assert (refused.status_code, refused.json()["error"]["what"]) == (422, "nothing is trained from here")
    counted = [line for line in asking.get("/metrics").text.splitlines() if line.startswith("semctl_label_studio_ch")]
    assert [line for line in counted if "_total" in line] == [
        'semctl_label_studio_changes_total{action="ANNOTATION_CREATED"} 2.0',
        'semctl_label_studio_changes_total{action="ANNOTATIONS_DELETED"} 1.0',
        'semctl_label_studio_changes_total{action="other"} 2.0',
    ]
    assert sorted(path for path in workspace.root.rglob("*") if path.is_file()) == before


def test_a_key_may_come_as_a_password(workspace: Workspace, screen: str):
    key = "0123456789abcdef-secret"
    with in_thread(workspace, settings=AppSettings(api_key=key, hosts=("127.0.0.1",))) as (address, _):
        for user, password, status in (
            ("semctl", key, 200),
            ("anybody", key, 200),
            ("semctl", "wrong", 401),
            (key, "", 401),
            ("", "", 401),
        ):
            with httpx.Client(base_url=address, auth=(user, password), trust_env=False) as asking:
                assert asking.post("/setup", json={"schema": screen}).status_code == status
        with client(address) as nobody:
            assert nobody.get("/health").status_code == 200
            for path in ("/setup", "/predict", "/webhook"):
                assert nobody.post(path, json={}).status_code == 401
            whole = b64encode(f"x:{key}".encode()).decode()
            for header in (f"Basic {whole[:-3]}", f"Basic {whole}!", "Basic", f"Digest {whole}", f"Basic x:{key}"):
                assert nobody.post("/setup", json={}, headers={"Authorization": header}).status_code == 401


def test_a_run_whose_states_cannot_be_read_says_so(workspace: Workspace, screen: str, exported: list[Task]):
    with in_thread(workspace, run="tfidf") as (address, _), client(address) as asking:
        for path, body in (("/setup", {"schema": screen}), ("/predict", {"tasks": exported, "label_config": screen})):
            answer = asking.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "ModelError")
            assert "predicts no states" in answer.json()["error"]["what"]
