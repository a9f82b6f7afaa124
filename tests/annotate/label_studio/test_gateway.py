"""The door to Label Studio, against the real server."""

from __future__ import annotations

import base64
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from annotate.label_studio.gateway import Gateway, connect
from annotate.label_studio.plain_http import ask
from annotate.label_studio.project_calls import uid_queries
from annotate.tasks import label_config as labels
from annotate.tasks.dialogue_tasks import TaskStyle, dialogue_tasks
from pipeline.doctor.server import examine_server
from pipeline.workspace import Workspace
from schemas.errors import LabelError, ServiceError, UsageError
from schemas.ontology import Ontology, Slot, Value
from tests.labelling_corpus import ONTOLOGY, turn
from tests.studio_fixtures import RunningStudio, free_port, whole_export

CONFIG = labels.build(ONTOLOGY)
RED = [{"from_name": "want_0", "to_name": "u0", "type": "taxonomy", "value": {"taxonomy": [["color=red"]]}, "id": "a1"}]


@pytest.fixture
def gateway(studio_variables: RunningStudio) -> Gateway:
    return connect(studio_variables.root)


def tasks_named(*names: str) -> list[dict[str, Any]]:
    style = TaskStyle(5, ONTOLOGY.version, CONFIG.sha256)
    return [task for name in names for task in dialogue_tasks([turn(0, "user", "red", dialogue=name)], style)]


def post(studio: RunningStudio, path: str, body: dict[str, Any], method: str = "POST") -> Any:
    headers = {"Authorization": f"Token {studio.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(studio.url + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.studio
def test_the_local_server_is_found_without_variables(studio_server: RunningStudio):
    gateway = connect(studio_server.root)
    assert gateway.url == studio_server.url
    assert gateway.version().startswith("1.23.")


def test_without_a_server_the_mend_is_named(tmp_path: Path):
    with pytest.raises(ServiceError, match="semctl studio start"):
        connect(tmp_path)


@pytest.mark.parametrize("name", ["LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"])
def test_one_variable_without_the_other_is_an_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    with pytest.raises(UsageError, match=f"{name} is set"):
        connect(tmp_path)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", "label studio"])
def test_what_is_not_an_address_is_refused(url: str):
    with pytest.raises(UsageError, match="not an address"):
        Gateway(url, "key")


def test_a_server_that_is_down_is_a_service_error():
    with pytest.raises(ServiceError, match="does not answer") as problem:
        Gateway(f"http://127.0.0.1:{free_port()}", "a-secret-key")
    assert problem.value.exit_code == 4
    assert "a-secret-key" not in str(problem.value)
    assert problem.value.__cause__ is None
    assert problem.value.__suppress_context__


class SomethingElse(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *args: object) -> None:
        del args


@pytest.fixture
def another_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), SomethingElse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_that_is_not_label_studio_is_a_service_error(another_server: str):
    with pytest.raises(ServiceError, match="check LABEL_STUDIO_URL"):
        Gateway(another_server, "key")


@pytest.mark.studio
def test_a_wrong_token_is_a_service_error_that_does_not_show_it(studio_server: RunningStudio):
    with pytest.raises(ServiceError, match="refuses the API key") as problem:
        Gateway(studio_server.url, "0123456789abcdef0123")
    assert problem.value.exit_code == 4
    assert "0123456789abcdef0123" not in str(problem.value)


@pytest.mark.studio
def test_a_personal_access_token_works_and_an_expired_one_says_so(studio_server: RunningStudio, personal_token: str):
    import jwt

    token = personal_token
    assert Gateway(studio_server.url, token).user == "owner@semctl.local"
    claims = jwt.decode(token, options={"verify_signature": False})
    expired = jwt.encode({**claims, "exp": 1000}, "k" * 40)
    with pytest.raises(ServiceError, match=r"has expired .*; make a new one"):
        Gateway(studio_server.url, expired)
    forged = jwt.encode(claims, "k" * 40)
    with pytest.raises(ServiceError, match="refuses the API key"):
        Gateway(studio_server.url, forged)


@pytest.mark.studio
def test_a_project_is_made_once_and_found_by_its_exact_name(gateway: Gateway):
    made = gateway.ensure_project("by name", CONFIG, "<p>guide</p>")
    assert made.created
    found = gateway.ensure_project("by name", CONFIG, "<p>guide</p>")
    assert (found.id, found.created) == (made.id, False)
    assert found.label_config == CONFIG.xml
    assert gateway.find_project("by nam") is None
    with pytest.raises(LabelError, match="no project 'by nam'"):
        gateway.require_project("by nam")


@pytest.mark.studio
@pytest.mark.parametrize("title", ["ab", "x" * 51])
def test_a_name_that_label_studio_does_not_allow_is_refused_first(gateway: Gateway, title: str):
    with pytest.raises(UsageError, match="3 to 50"):
        gateway.ensure_project(title, CONFIG, "")


@pytest.mark.studio
def test_a_configuration_edited_by_hand_is_refused(gateway: Gateway, studio_server: RunningStudio):
    project = gateway.ensure_project("edited by hand", CONFIG, "")
    edited = {"label_config": CONFIG.xml.replace("color=red", "color=crimson")}
    post(studio_server, f"/api/projects/{project.id}", edited, method="PATCH")
    with pytest.raises(LabelError, match="edited by hand") as problem:
        gateway.ensure_project("edited by hand", CONFIG, "")
    assert f"/projects/{project.id}/settings/labeling" in str(problem.value)


@pytest.mark.studio
def test_a_grown_ontology_brings_the_project_up_to_date_and_another_one_is_refused(gateway: Gateway):
    project = gateway.ensure_project("growing", CONFIG, "")
    grown = labels.build(Ontology(slots=(*ONTOLOGY.slots, Slot(name="size", attribute="size"))))
    assert gateway.ensure_project("growing", grown, "").label_config == grown.xml
    assert gateway.label_config(project.id) == grown.xml
    other = labels.build(Ontology(slots=(Slot(name="voltage", attribute="v", values=(Value(value="230"),)),)))
    with pytest.raises(LabelError, match="slots that this ontology lacks: color, price, size"):
        gateway.ensure_project("growing", other, "")


@pytest.mark.studio
def test_tasks_are_found_by_uid_whatever_it_holds(gateway: Gateway):
    project = gateway.ensure_project("odd uids", CONFIG, "")
    names = ["plain", "train/with/slash", "comma, quote ' and \"", "日本 ☂", "a&b=c#d?e%20f", "back\\slash", "[1]", "*"]
    filler = [f"filler {number}" for number in range(30)]
    gateway.push(project, tasks_named(*names, *filler))
    project = gateway.project(project.id)
    assert project.tasks == 38
    wanted = [f"{name}#0" for name in names]
    assert sorted(task.uid for task in gateway.tasks(project, [*wanted, "absent#0"])) == sorted(wanted)
    assert len(list(gateway.tasks(project))) == 38


def test_a_query_stays_short_enough_for_any_server():
    uids = [f"train/dialogue number {number}é#0" for number in range(2000)]
    queries = list(uid_queries(uids))
    decoded = [json.loads(unquote(query)) for query in queries]
    assert [uid for query in decoded for uid in query["filters"]["items"][0]["value"]] == uids
    assert max(len(query) for query in queries) < 8000
    assert len(queries) < 30


@pytest.mark.studio
def test_doubled_tasks_are_deleted_but_not_those_with_labels(gateway: Gateway):
    project = gateway.ensure_project("doubled", CONFIG, "")
    gateway.push(project, tasks_named("a", "b"))
    gateway.push(project, tasks_named("a", "b", "c"))
    tasks = list(gateway.tasks(gateway.project(project.id)))
    newer = max(task.id for task in tasks if task.uid == "b#0")
    gateway.create_annotation(newer, RED, lead_time=1.5)
    assert gateway.remove_doubles(project, ["a#0", "b#0", "c#0"]) == 2
    left = {task.uid: task for task in gateway.tasks(gateway.project(project.id))}
    assert sorted(left) == ["a#0", "b#0", "c#0"]
    assert left["b#0"].id == newer


@pytest.mark.studio
def test_annotations_come_back_in_the_export_and_other_tasks_too(gateway: Gateway, tmp_path: Path):
    project = gateway.ensure_project("exported", CONFIG, "")
    gateway.push(project, tasks_named("a", "b"))
    task = next(task for task in gateway.tasks(gateway.project(project.id)) if task.uid == "a#0")
    gateway.create_annotation(task.id, RED, lead_time=2.5)
    exported = json.loads(whole_export(gateway, gateway.project(project.id), tmp_path / "export.json").read_bytes())
    by_uid = {item["data"]["uid"]: item["annotations"] for item in exported}
    assert by_uid["b#0"] == []
    (annotation,) = by_uid["a#0"]
    assert annotation["result"] == RED
    assert annotation["lead_time"] == 2.5
    assert [path.name for path in tmp_path.iterdir()] == ["export.json"]


@pytest.mark.studio
def test_images_elsewhere_than_the_server_serves_are_reported(gateway: Gateway, tmp_path: Path):
    project = gateway.ensure_project("images elsewhere", CONFIG, "")
    problem = gateway.serve_images(project.id, tmp_path)
    assert problem is not None
    assert "LOCAL_FILES_DOCUMENT_ROOT" in problem


class Scripted(ThreadingHTTPServer):
    """Answers every request as told, and remembers all that it was sent."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, str], tuple[int, dict[str, str], str]]) -> None:
        self.sent: list[str] = []
        self.answer = answer
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.sent.append(f"{self.command} {self.path}\n{self.headers}\n{body}")
        status, headers, text = self.server.answer(self, body)
        content = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        del args


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler, str], tuple[int, dict[str, str], str]]) -> Iterator[Scripted]:
    server = Scripted(answer)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def refresh_token() -> str:
    import jwt

    return jwt.encode({"exp": 4_000_000_000, "token_type": "refresh", "jti": "5b2c0f3f"}, "s" * 40)


LEGACY = "5f0c17ab93de42c68b1e77d90a4c3f21d8e6b5a2"
ME = '{"id": 1, "email": "ann@example.org", "username": "ann", "first_name": "", "last_name": "", "initials": "a"}'


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_no_credentials_follow_a_redirect_to_another_origin(status: int, kind: str, tmp_path: Path):
    with serving(lambda request, body: (200, {}, ME)) as other:
        elsewhere = {"Location": f"{other.url}/api/token/refresh/"}
        with serving(lambda request, body: (status, elsewhere, "{}")) as server:
            key = LEGACY if kind == "legacy" else refresh_token()
            with pytest.raises(ServiceError, match=f"another address, {other.url}") as problem:
                Gateway(server.url, key)
            variables = {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": key}
            assert [finding.level for finding in examine_server(Workspace(tmp_path), variables)] == ["problem"]
            assert ask(server.url, "/api/current-user/whoami", token=LEGACY).status == status
            assert server.sent
    assert other.sent == []
    assert key not in str(problem.value)


def test_another_name_of_the_same_machine_is_another_origin():
    def moved(request: BaseHTTPRequestHandler, body: str) -> tuple[int, dict[str, str], str]:
        return 307, {"Location": f"http://localhost:{server.server_port}/elsewhere"}, "{}"

    with serving(moved) as server, pytest.raises(ServiceError, match="another address, http://localhost"):
        Gateway(server.url, LEGACY)
    assert len(server.sent) == 1


def test_a_redirect_within_the_server_is_followed():
    def moved(request: BaseHTTPRequestHandler, body: str) -> tuple[int, dict[str, str], str]:
        return (200, {}, ME) if request.path.endswith("/there") else (307, {"Location": "/there"}, "{}")

    with serving(moved) as server:
        assert Gateway(server.url, LEGACY).user == "ann@example.org"


def parroting(form: Callable[[str], str]) -> Callable[[BaseHTTPRequestHandler, str], tuple[int, dict[str, str], str]]:
    """A server that answers with what it was sent, written somehow."""

    def answer(request: BaseHTTPRequestHandler, body: str) -> tuple[int, dict[str, str], str]:
        if request.path == "/api/version":
            return 200, {}, '{"release": "1.23.2"}'
        heard = request.headers.get("Authorization", "") or json.loads(body)["refresh"]
        return 401, {}, json.dumps({"detail": f"invalid: {form(heard)}"})

    return answer


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capital letters": str.upper,
    "the first half": lambda text: text[: 6 + (len(text) - 6) // 2],
    "the second half": lambda text: text[-20:],
    "backwards": lambda text: text[::-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 within more": lambda text: base64.urlsafe_b64encode(f"x{text}y".encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "per cent": lambda text: "".join(f"%{ord(letter):02x}" for letter in text),
    "entities": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "escapes": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "spaced": " ".join,
    "dashed": lambda text: "-".join(text[at : at + 4] for at in range(0, len(text), 4)),
    "after much else": lambda text: "x" * 190 + text,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_a_server_that_repeats_the_key_gets_nothing_shown(form: str, kind: str, tmp_path: Path):
    key = LEGACY if kind == "legacy" else refresh_token()
    with serving(parroting(FORMS[form])) as server:
        with pytest.raises(ServiceError, match="refuses the API key") as problem:
            Gateway(server.url, key)
        variables = {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": key}
        found = examine_server(Workspace(tmp_path), variables)[-1]
    for shown in (str(problem.value), found.found):
        assert "it repeats the key" in shown
        assert FORMS[form](key)[-12:] not in shown
        assert "invalid" not in shown


@pytest.mark.parametrize("key", ["", "  ", "two words", "with\x1bescape", "schlüssel", "line\nbreak"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key: str):
    with pytest.raises(UsageError, match="API key") as problem:
        Gateway("http://127.0.0.1:1", key)
    assert not key.strip() or key not in str(problem.value)


@pytest.mark.parametrize("rest", ["ann:pa55w0rd@host", "pa55w0rd@host", "host/?token=pa55w0rd", "host#pa55w0rd"])
def test_an_address_with_a_password_is_refused_without_showing_it(rest: str, tmp_path: Path):
    with pytest.raises(UsageError, match="more than host, port and path") as problem:
        Gateway(f"http://{rest}", LEGACY)
    variables = {"LABEL_STUDIO_URL": f"http://{rest}", "LABEL_STUDIO_API_KEY": LEGACY}
    (found,) = examine_server(Workspace(tmp_path), variables)
    assert "pa55w0rd" not in f"{problem.value} {found}"
