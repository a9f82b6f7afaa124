"""The life of the local server: with a small stand-in process for what goes wrong, and with the real Label Studio."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import textwrap
import urllib.error
import urllib.request
from dataclasses import replace
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import pytest

from annotate.label_studio.address import ServerAddress
from annotate.label_studio.environment import environment_folder, install, installed_version
from annotate.label_studio.gateway import connect
from annotate.label_studio.plain_http import ask
from annotate.label_studio.studio import Studio
from schemas.errors import ServiceError, UsageError, WorkspaceError
from tests.studio_fixtures import RunningStudio, free_port

STAND_IN = """\
#!{python}
import http.server, json, os, signal, subprocess, sys
if sys.argv[1:] == ["version"]:
    open(os.path.join(os.environ["LABEL_STUDIO_BASE_DATA_DIR"], "label_studio.sqlite3"), "w").write("empty")
    open(__file__ + ".made", "a").write("once")
    sys.exit()
{before}
host, port = sys.argv[sys.argv.index("--internal-host") + 1], int(sys.argv[sys.argv.index("--port") + 1])
links = ["first"]
class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answers = {{"/health": {{"status": "UP"}}, "/api/version": {{"release": "1.23.9"}},
                   "/api/current-user/whoami": {{"email": os.environ["LABEL_STUDIO_USERNAME"]}},
                   "/api/invite": {{"invite_url": "/user/signup/?token=" + links[-1]}}}}
        known = "Token " + os.environ["LABEL_STUDIO_USER_TOKEN"] == self.headers.get("Authorization")
        body = json.dumps(answers.get(self.path, {{"results": []}})).encode()
        self.send_response(200 if known or "whoami" not in self.path else {refusal})
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        links.append("second")
        self.path = "/api/invite"
        self.do_GET()
    def log_message(self, *args): pass
http.server.HTTPServer((host, port), Server).serve_forever()
"""


def stand_in(root: Path, *, before: str = "", refusal: int = 401) -> Studio:
    """A studio whose server is a few lines of Python."""
    environment = root / "environment"
    script = environment / "bin" / "label-studio"
    script.parent.mkdir(parents=True)
    script.write_text(STAND_IN.format(python=sys.executable, before=textwrap.dedent(before), refusal=refusal))
    script.chmod(0o755)
    record = environment / "lib" / "python3.11" / "site-packages" / "label_studio-1.23.9.dist-info" / "RECORD"
    record.parent.mkdir(parents=True)
    record.touch()
    return Studio(root / ".studio", root / "labelling" / "files", environment)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_is_started_once_seen_and_stopped(tmp_path: Path):
    studio, port = stand_in(tmp_path), free_port()
    started = studio.start(port)
    try:
        assert (started.running, started.health, started.version) == (True, "UP", "1.23.9")
        assert started.url == f"http://127.0.0.1:{port}"
        assert studio.start(port).pid == started.pid
        with pytest.raises(UsageError, match="already runs at"):
            studio.start(free_port())
    finally:
        assert studio.stop()
    assert not is_listening(port)
    assert not studio.status().running
    assert not studio.stop()


def variables_of(pid: int | None) -> dict[str, str]:
    return dict(item.split("=", 1) for item in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in item)


def test_a_server_for_other_machines_is_asked_here_and_shown_at_its_public_address(tmp_path: Path):
    studio, port = stand_in(tmp_path), free_port()
    shown = studio.start(port, host="0.0.0.0", public_url=f"http://Labels.test:{port}/")
    try:
        assert (shown.url, shown.page_url, shown.is_open) == (
            f"http://127.0.0.1:{port}",
            f"http://labels.test:{port}",
            True,
        )
        assert shown.invitation == f"http://labels.test:{port}/user/signup/?token=first"
        assert studio.invitation(new=True) == f"http://labels.test:{port}/user/signup/?token=second"
        assert ask(f"http://127.0.0.2:{port}", "/health").value("status") == "UP", "another address of this machine"
        variables = variables_of(shown.pid)
        assert variables["LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK"] == "true"
        assert variables["LABEL_STUDIO_ALLOWED_HOSTS"].split(",") == [
            "127.0.0.1",
            "localhost",
            "labels.test",
            "0.0.0.0",
        ]
        assert variables["LABEL_STUDIO_CSRF_TRUSTED_ORIGINS"] == f"http://labels.test:{port}"
        assert studio.start(port, host="0.0.0.0", public_url=f"http://labels.test:{port}").pid == shown.pid
        for other in ({}, {"host": "0.0.0.0"}, {"public_url": f"http://labels.test:{port}"}):
            with pytest.raises(UsageError, match=r"already runs at http://labels\.test"):
                studio.start(port, **other)
    finally:
        studio.stop()
    with pytest.raises(ServiceError, match="not running"):
        studio.invitation()


def test_a_server_answers_only_to_this_machine_and_its_names_unless_asked(tmp_path: Path):
    studio, port = stand_in(tmp_path), free_port()
    shown = studio.start(port)
    try:
        assert (shown.page_url, shown.is_open) == (shown.url, False)
        assert ask(f"http://127.0.0.2:{port}", "/health").status is None
        assert variables_of(shown.pid)["LABEL_STUDIO_ALLOWED_HOSTS"] == "127.0.0.1,localhost"
        assert "LABEL_STUDIO_CSRF_TRUSTED_ORIGINS" not in variables_of(shown.pid)
    finally:
        studio.stop()


@pytest.mark.parametrize(
    ("host", "public_url", "url", "page_url", "allowed"),
    [
        ("127.0.0.1", "https://Labels.test", "http://127.0.0.1:8080", "https://labels.test", "labels.test"),
        ("127.0.0.1", "https://labels.test:443/", "http://127.0.0.1:8080", "https://labels.test", "labels.test"),
        ("localhost", "", "http://localhost:8080", "http://localhost:8080", "localhost"),
        ("192.168.7.5", "", "http://192.168.7.5:8080", "http://192.168.7.5:8080", "192.168.7.5"),
        ("192.168.7.5", "http://labels.test:80", "http://192.168.7.5:8080", "http://labels.test", "labels.test"),
    ],
)
def test_addresses_for_semctl_and_for_people(host: str, public_url: str, url: str, page_url: str, allowed: str):
    address = ServerAddress.of(host, 8080, public_url)
    assert (address.url, address.page_url) == (url, page_url)
    assert allowed in address.settings()["LABEL_STUDIO_ALLOWED_HOSTS"].split(",")
    assert address.is_open == (host not in ("127.0.0.1", "localhost") or bool(public_url))


@pytest.mark.parametrize(
    ("host", "public_url", "model_here", "may_ask"),
    [
        ("127.0.0.1", "", False, True),
        ("127.0.0.1", "https://labels.test", False, False),
        ("0.0.0.0", "", False, False),
        ("0.0.0.0", "", True, True),
    ],
)
def test_a_server_that_others_reach_asks_nothing_of_this_machine_unless_told(
    host: str, public_url: str, model_here: bool, may_ask: bool
):
    settings = ServerAddress.of(host, 8080, public_url, model_here=model_here).settings()
    assert (settings.get("LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS") == "false") == may_ask
    assert ("LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS" in settings) == may_ask


def test_on_all_addresses_without_a_name_any_name_is_answered_and_the_machine_s_own_is_shown():
    address = ServerAddress.of("0.0.0.0", 8080)
    assert address.settings()["LABEL_STUDIO_ALLOWED_HOSTS"] == "*"
    assert address.url == "http://127.0.0.1:8080"
    assert address.page_url not in ("http://0.0.0.0:8080", "http://127.0.0.1:8080")


@pytest.mark.parametrize(
    ("host", "public_url", "says"),
    [
        ("not a host", "", "is no host to listen on"),
        ("::1", "", "is no host to listen on"),
        ("", "", "is no host to listen on"),
        ("127.0.0.1", "labels.test", "is no web address"),
        ("127.0.0.1", "ftp://labels.test", "is no web address"),
        ("127.0.0.1", "https://", "is no web address"),
        ("127.0.0.1", "https://me:secret@labels.test", "^the public address holds more than a name and a port; write"),
        ("127.0.0.1", "https://labels.test:port", "is no web address"),
        ("127.0.0.1", "https://labels.test/studio", "has more than a name"),
        ("127.0.0.1", "https://labels.test/?a=b", "has more than a name"),
    ],
)
def test_addresses_that_are_none_are_refused(host: str, public_url: str, says: str):
    with pytest.raises(UsageError, match=says):
        ServerAddress.of(host, 8080, public_url)


def test_an_address_of_another_machine_and_a_port_taken_on_this_one_are_refused(tmp_path: Path):
    studio = stand_in(tmp_path)
    with pytest.raises(UsageError, match=r"192\.0\.2\.77' is not an address of this machine"):
        studio.start(free_port(), host="192.0.2.77")
    with socket.socket() as other:  # Label Studio would see it there and move to the next port
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match="is taken"):
            studio.start(other.getsockname()[1], host="127.0.0.2")


def test_stopping_ends_children_that_ignore_it(tmp_path: Path):
    before = """
        child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); "
                                  "open('ready', 'w').close(); time.sleep(600)"])
        open("child", "w").write(str(child.pid))
        while not os.path.exists("ready"): pass
    """
    studio = stand_in(tmp_path, before=before)
    studio.start(free_port())
    child = int((studio.folder / "child").read_text())
    assert studio.stop()
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or ") Z " in state.read_text()


def test_a_second_start_keeps_the_login(tmp_path: Path):
    studio = stand_in(tmp_path)
    studio.start(free_port())
    first = studio.credentials()
    studio.stop()
    studio.start(free_port())
    studio.stop()
    assert studio.credentials() == first


def test_a_server_begins_with_a_copy_of_the_database_that_is_made_once(tmp_path: Path):
    first = stand_in(tmp_path)
    second = replace(first, folder=tmp_path / "other" / ".studio", files=tmp_path / "other" / "files")
    for studio in (first, second, first):
        studio.start(free_port())
        studio.stop()
        database = studio.folder / "data" / "label_studio.sqlite3"
        assert database.read_text() == "empty"
        assert stat.S_IMODE(database.stat().st_mode) == 0o600
    database.write_text("used")
    first.start(free_port())
    first.stop()
    assert database.read_text() == "used"
    assert (first.environment / "bin" / "label-studio.made").read_text() == "once"


def test_a_database_that_cannot_be_made_is_an_error_with_the_last_words(tmp_path: Path):
    studio = stand_in(tmp_path)
    (studio.environment / "bin" / "label-studio").write_text("#!/bin/sh\necho no such table\nexit 1\n")
    with pytest.raises(ServiceError, match="could not make its database: no such table"):
        studio.start(free_port())
    assert not list(studio.environment.glob("*.sqlite3"))
    assert not list(studio.environment.glob(".*"))


def test_token_and_password_are_for_the_owner_only_and_never_shown(tmp_path: Path):
    studio = stand_in(tmp_path)
    shown = studio.start(free_port())
    studio.stop()
    credentials = studio.credentials()
    assert credentials is not None
    assert stat.S_IMODE(studio.credentials_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(studio.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(studio.log_file.stat().st_mode) == 0o600
    for secret in (credentials.token, credentials.password):
        assert secret not in repr(credentials) + repr(shown) + studio.log_file.read_text()


def test_a_busy_port_is_refused_before_anything_starts(tmp_path: Path):
    studio = stand_in(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match="is taken"):
            studio.start(other.getsockname()[1])
    assert not studio.status().running


def test_a_server_that_ends_while_starting_is_an_error_with_its_last_words(tmp_path: Path):
    studio = stand_in(tmp_path, before="sys.exit('the database is locked')")
    with pytest.raises(ServiceError, match="ended while starting: the database is locked"):
        studio.start(free_port())
    assert not studio.status().running


def test_a_server_that_does_not_know_our_token_is_not_taken_for_ours(tmp_path: Path):
    studio, port = stand_in(tmp_path, before="os.environ['LABEL_STUDIO_USER_TOKEN'] = 'another'"), free_port()
    with pytest.raises(ServiceError, match="does not know our token"):
        studio.start(port)
    assert not is_listening(port)


def test_a_reused_process_id_is_not_taken_for_our_server(tmp_path: Path):
    studio = stand_in(tmp_path)
    studio.folder.mkdir()
    record = {"pid": os.getpid(), "born": "1", "port": 8080, "url": "http://127.0.0.1:8080", "version": "1.23.2"}
    (studio.folder / "server.json").write_text(json.dumps(record))
    assert not studio.status().running
    assert not studio.stop()
    assert not (studio.folder / "server.json").exists()


def test_a_database_without_its_credentials_is_an_error(tmp_path: Path):
    studio = stand_in(tmp_path)
    (studio.folder / "data").mkdir(parents=True)
    (studio.folder / "data" / "label_studio.sqlite3").touch()
    with pytest.raises(WorkspaceError, match="credentials are not"):
        studio.start(free_port())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"username": "owner@semctl.local"}'])
def test_credentials_are_made_anew_where_the_file_is_empty_and_else_refused(tmp_path: Path, content: str):
    studio = stand_in(tmp_path)
    studio.folder.mkdir()
    studio.credentials_file.write_text(content)
    if content:
        with pytest.raises(WorkspaceError, match=r"credentials\.json.*restore it, or move it"):
            studio.start(free_port())
        return
    assert studio.status().running is False
    studio.start(free_port())
    studio.stop()
    made = studio.credentials()
    assert made is not None
    assert len(made.token) == 40


def test_the_environment_lies_outside_every_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SEMCTL_STUDIO_ENV", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert environment_folder() == tmp_path / "semctl" / "label-studio-1.23"
    monkeypatch.setenv("SEMCTL_STUDIO_ENV", str(tmp_path / "shared"))
    assert environment_folder() == tmp_path / "shared"


def test_an_interrupted_installation_does_not_count(tmp_path: Path):
    environment = stand_in(tmp_path).environment
    assert installed_version(environment) == "1.23.9"
    next(environment.rglob("RECORD")).unlink()
    assert installed_version(environment) is None


def test_another_version_and_a_folder_of_something_else_are_refused(tmp_path: Path):
    environment = stand_in(tmp_path).environment
    other = next(environment.rglob("*.dist-info"))
    other.rename(other.with_name("label_studio-1.19.0.dist-info"))
    with pytest.raises(UsageError, match=r"Label Studio 1\.19\.0"):
        install(environment)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(UsageError, match="not empty"):
        install(tmp_path / "photos")


def status_of(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as problem:
        return problem.code


@pytest.mark.studio
def test_the_real_server_is_healthy_and_of_the_right_version(studio_server: RunningStudio):
    status = studio_server.studio.status()
    assert (status.running, status.health) == (True, "UP")
    assert status.version is not None
    assert status.version.startswith("1.23.")


@pytest.mark.studio
def test_the_real_server_listens_on_this_machine_only(studio_server: RunningStudio):
    port = int(studio_server.url.rpartition(":")[2])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {fields[1] for fields in listening if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port}
    assert addresses == {f"0100007F:{port:04X}"}


@pytest.mark.studio
def test_the_real_server_sends_nothing_home_and_takes_no_strangers(studio_server: RunningStudio):
    variables = variables_of(studio_server.studio.status().pid)
    assert variables["COLLECT_ANALYTICS"] == variables["LATEST_VERSION_CHECK"] == variables["DEBUG"] == "false"
    assert variables["SENTRY_DSN"] == variables["FRONTEND_SENTRY_DSN"] == ""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar := CookieJar()))
    browser.open(f"{studio_server.url}/user/signup/", timeout=20).close()
    form = {"email": "stranger@example.com", "password": "open-sesame-12", "allow_newsletters": "false"}
    form["csrfmiddlewaretoken"] = str(next(cookie.value for cookie in jar if cookie.name == "csrftoken"))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        browser.open(f"{studio_server.url}/user/signup/", urlencode(form).encode(), timeout=20)
    assert "stranger@example.com" not in connect(studio_server.root).users().values()
    assert ask(studio_server.url, "/api/projects").status == 401


@pytest.mark.studio
def test_the_real_server_serves_no_file_outside_the_images(studio_server: RunningStudio):
    header = {"Authorization": f"Token {studio_server.token}"}
    for path in ("/etc/passwd", "../../.studio/credentials.json", "pictures/../../../semctl.toml"):
        assert status_of(f"{studio_server.url}/data/local-files/?d={path}", **header) in (400, 403, 404, 500)
