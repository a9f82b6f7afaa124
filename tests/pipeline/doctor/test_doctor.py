from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from annotate.label_studio.address import ServerAddress
from annotate.label_studio.studio import Studio
from pipeline.doctor import Finding, examine
from pipeline.doctor.machine import REQUIREMENTS, examine_machine, examine_packages
from pipeline.doctor.server import examine_server
from pipeline.doctor.space import examine_workspace
from pipeline.workspace import Workspace
from schemas.files import atomic_path, sha256_file, write_json
from schemas.ontology import Ontology
from schemas.tables import ANNOTATIONS, D_F, D_P, IMAGES, PRODUCTS, RECOMMENDATIONS, STATES, TURNS, write_table

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "0123456789abcdef0123456789abcdef01234567"
ACCESS_TOKEN = "head.body.tail"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with every artefact in order: one image, no dialogues."""
    space = Workspace(tmp_path / "shop").create()
    Ontology().write(space.ontology_file)
    (space.root / "images").mkdir()
    (space.root / "images" / "a.jpg").write_bytes(b"x")
    image = {"image_id": "a", "file": "images/a.jpg", "url": None, "sha256": None, "width": 1, "height": 1}
    write_table(space.products, PRODUCTS, [])
    write_table(space.images, IMAGES, [{**image, "status": "ok"}])
    write_table(space.turns, TURNS, [])
    write_table(space.recommendations, RECOMMENDATIONS, [])
    tables = {
        path.name: sha256_file(path) for path in (space.products, space.images, space.turns, space.recommendations)
    }
    write_json(space.import_manifest, {"tables": tables})
    write_table(space.annotations, ANNOTATIONS, [])
    inputs = {"annotations": sha256_file(space.annotations), "ontology": space.ontology().sha256()}
    for path, table in ((space.states, STATES), (space.d_f, D_F), (space.d_p, D_P)):
        write_table(path, table, [], inputs=inputs)
    splits = {path.stem: {"sha256": sha256_file(path), "rows": 0} for path in (space.d_f, space.d_p)}
    write_json(space.split_manifest, {"files": splits})
    return space


def bad(findings: list[Finding]) -> dict[str, tuple[str, str]]:
    return {f.check: (f.level, f.found) for f in findings if f.level != "ok"}


def test_requirements_are_those_of_the_project_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = {}
    for line in project["dependencies"]:
        name, _, versions = line.partition(">=")
        parts = [part for part in versions.split(",") if not part.startswith("!=")]
        upper = next((part.removeprefix("<") for part in parts[1:]), None)
        stated[name] = (parts[0], upper)
    assert stated == REQUIREMENTS


def test_this_machine_can_run_semctl():
    findings = examine_machine(ROOT)
    assert [f for f in findings if f.level == "problem"] == []
    assert {"Python", "torch", "torchvision", "transformers", "pyarrow", "memory", "disk"} <= {
        f.check for f in findings
    }


def good_versions() -> dict[str, str | None]:
    return {package: lowest for package, (lowest, _) in REQUIREMENTS.items()}


def test_versions_that_are_known_not_to_work_are_problems():
    found = bad(examine_packages({**good_versions(), "torch": "2.13.0+cpu", "torchvision": "0.28.0"}))
    assert found == {"torch with torchvision": ("problem", "torch 2.13.0 with torchvision 0.28.0: known not to work")}


@pytest.mark.parametrize(
    ("package", "version", "level"),
    [
        ("torch", "2.9.1", "problem"),
        ("torch", None, "problem"),
        ("label-studio-sdk", "2.2.0", "problem"),
        ("label-studio-sdk", None, "warning"),
        ("rich", "13.8.1", "problem"),
    ],
)
def test_versions_out_of_range_come_with_a_mend(package: str, version: str | None, level: str):
    findings = examine_packages({**good_versions(), package: version})
    assert bad(findings) == {package: (level, version or "not installed")}
    assert next(f.fix for f in findings if f.check == package).startswith(f'pip install "{package}>=')


def test_the_lowest_versions_will_do():
    assert bad(examine_packages(good_versions())) == {}


def test_a_whole_workspace_has_nothing_wrong(workspace: Workspace):
    findings = examine_workspace(workspace)
    assert bad(findings) == {}
    assert {"settings", "ontology", "products", "D_F", "data/manifest.json", "splits/manifest.json", "images"} <= {
        f.check for f in findings
    }


def test_a_folder_that_is_no_workspace_is_not_a_problem(tmp_path: Path):
    assert bad(examine_workspace(Workspace(tmp_path))) == {}
    assert set(bad(examine_workspace(Workspace(tmp_path).create()))) == {"corpus"}


def test_a_truncated_table_and_one_of_another_kind_are_problems(workspace: Workspace):
    workspace.turns.write_bytes(workspace.turns.read_bytes()[:-20])
    write_table(workspace.d_p, D_F, [])
    found = bad(examine_workspace(workspace))
    assert found["turns"][0] == "problem"
    assert "not a readable Parquet file" in found["turns"][1]
    assert "expected the table 'D_P', found 'D_F'" in found["D_P"][1]


def test_a_table_changed_behind_its_manifest_is_a_problem(workspace: Workspace):
    write_table(workspace.d_f, D_F, [], inputs={"somebody": "else"})
    write_table(workspace.products, PRODUCTS, [], inputs={"somebody": "else"})
    found = bad(examine_workspace(workspace))
    assert found["splits/manifest.json"] == ("problem", "D_F is not the file it names")
    assert found["data/manifest.json"] == ("problem", "products is not the file it names")


def test_an_import_or_an_ingest_that_did_not_end_is_a_problem(workspace: Workspace):
    workspace.import_manifest.unlink()
    workspace.d_p.unlink()
    found = bad(examine_workspace(workspace))
    assert found["data/manifest.json"][0] == "problem"
    assert found["splits/manifest.json"] == ("problem", "D_P is missing")
    assert found["D_P"][0] == "problem"


def test_states_made_before_the_annotations_changed_are_a_warning(workspace: Workspace):
    write_table(workspace.annotations, ANNOTATIONS, [], inputs={"more": "labels"})
    assert bad(examine_workspace(workspace)) == dict.fromkeys(
        ("states", "D_F", "D_P"), ("warning", "made before annotations changed")
    )


def test_images_that_went_away_are_a_problem_and_missing_ones_a_warning(workspace: Workspace):
    (workspace.root / "images" / "a.jpg").unlink()
    assert bad(examine_workspace(workspace))["images"][0] == "problem"
    image = {"image_id": "a", "file": None, "url": "u", "sha256": None, "width": None, "height": None}
    write_table(workspace.images, IMAGES, [{**image, "status": "dead"}])
    assert bad(examine_workspace(workspace))["images"] == ("warning", "1 dead")
    found = [finding for finding in examine_workspace(workspace) if finding.check == "images"][-1]
    assert "`semctl fetch-images`" in str(found.fix)
    fetched = {**image, "file": "data/fetched/ab/ab.jpg", "status": "ok"}
    write_table(workspace.images, IMAGES, [fetched])
    found = [finding for finding in examine_workspace(workspace) if finding.check == "images"][-1]
    assert (found.level, found.fix) == ("problem", "run `semctl fetch-images` again")


def test_work_that_was_broken_off_is_a_warning(workspace: Workspace):
    (workspace.labelling / "batch-0001").mkdir(parents=True)
    write_json(workspace.labelling / "batch-0002" / "manifest.json", {"complete": True})
    (workspace.runs / "tiny-r0.2").mkdir(parents=True)
    (workspace.root / "data" / ".turns.parquet.x1.tmp").write_bytes(b"")
    (workspace.root / ".semctl-import-x1").mkdir()
    write_json(workspace.runs / "done" / "record.json", {})
    with atomic_path(workspace.turns) as in_use:
        found = bad(examine_workspace(workspace))
        assert in_use.is_file()
    assert {name: level for name, (level, _) in found.items()} == {
        "batch-0001": "warning",
        "run tiny-r0.2": "warning",
        "run done": "problem",
        "temporary files": "warning",
    }
    assert found["temporary files"][1].startswith("2 of an earlier semctl")


def test_temporary_files_of_killed_commands_are_removed(workspace: Workspace):
    for name in ("data/.turns.parquet.12345678.semctl.tmp", ".import.12345678.semctl.tmp.d/turns.parquet"):
        (workspace.root / name).parent.mkdir(exist_ok=True)
        (workspace.root / name).write_bytes(b"half")
    found = {finding.check: (finding.level, finding.found) for finding in examine_workspace(workspace)}
    assert found["temporary files"][0] == "ok"
    assert found["temporary files"][1].startswith("removed 2 that killed commands left")
    assert [path for path in workspace.root.rglob("*") if "semctl.tmp" in path.name] == []
    assert "temporary files" not in {finding.check for finding in examine_workspace(workspace)}


def test_damage_within_a_table_is_a_problem(workspace: Workspace):
    said = {
        "dialogue_id": "d",
        "turn": 0,
        "speaker": "user",
        "act": "",
        "text": "red",
        "image_ids": [],
        "split": "test",
    }
    write_table(workspace.turns, TURNS, [said])
    content = bytearray(workspace.turns.read_bytes())
    column = pq.read_metadata(workspace.turns).row_group(0).column(0)
    content[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1] ^= 1
    workspace.turns.write_bytes(content)
    level, what = bad(examine_workspace(workspace))["turns"]
    assert level == "problem"
    assert "not a readable Parquet file" in what


def test_settings_and_ontology_edited_into_something_invalid_are_problems(workspace: Workspace):
    workspace.settings_file.write_text("[studio]\nprot = 1\n")
    workspace.ontology_file.write_text('{"version": 0}')
    found = bad(examine_workspace(workspace))
    assert "unknown setting 'studio.prot'" in found["settings"][1]
    assert "ontology not valid at version" in found["ontology"][1]


class Server(BaseHTTPRequestHandler):
    """The three questions that doctor asks a Label Studio, answered as 1.23 does."""

    release = "1.23.2"
    elsewhere = ""
    seen: tuple[str, ...] = ()

    def do_GET(self) -> None:
        authorization = self.headers.get("Authorization")
        type(self).seen += (f"{self.path} {authorization}",)
        if self.elsewhere:
            self._answer(302, {}, location=self.elsewhere)
        elif self.path == "/api/version":
            self._answer(200, {"release": self.release})
        elif authorization in {f"Token {TOKEN}", f"Bearer {ACCESS_TOKEN}x"}:
            self._answer(200, {"email": "ann@example.org"})
        else:
            self._answer(401, {"detail": "Invalid token."})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = self.path == "/api/token/refresh" and body == {"refresh": ACCESS_TOKEN}
        self._answer(200 if good else 401, {"access": f"{ACCESS_TOKEN}x"} if good else {"detail": "Token is invalid"})

    def _answer(self, status: int, value: object, location: str = "") -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        del arguments


def serve(**answers: str) -> Iterator[tuple[str, type[Server]]]:
    handler = type("Handler", (Server,), {"seen": (), **answers})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def studio() -> Iterator[tuple[str, type[Server]]]:
    yield from serve()


@pytest.mark.parametrize("token", [TOKEN, ACCESS_TOKEN])
def test_a_label_studio_that_takes_the_token_is_fine(studio, workspace: Workspace, token: str):
    url, _ = studio
    findings = examine_server(workspace, {"LABEL_STUDIO_URL": url + "/", "LABEL_STUDIO_API_KEY": token})
    assert bad(findings) == {}
    assert [f.found for f in findings] == [f"1.23.2 at {url}", "valid, for ann@example.org"]


@pytest.mark.parametrize("token", ["0" * 40, "not.the.one"])
def test_a_refused_token_is_a_problem_and_is_not_shown(studio, workspace: Workspace, token: str):
    url, _ = studio
    findings = examine_server(workspace, {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": token})
    assert bad(findings)["token"][0] == "problem"
    assert not any(token in str(finding) for finding in findings)


@pytest.mark.parametrize("token", ["a key of words", "ключ-от-сервера", "cut\nin two", os.fsdecode(b"caf\xe9-caf\xe9")])
def test_a_token_that_can_be_none_is_not_sent(studio, workspace: Workspace, token: str):
    url, server = studio
    findings = examine_server(workspace, {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": token})
    assert bad(findings)["token"] == ("problem", "the one of LABEL_STUDIO_API_KEY holds what no key does")
    assert len(server.seen) == 1  # the version


def test_a_missing_token_and_another_release_are_warnings(workspace: Workspace):
    for url, _ in serve(release="1.19.0"):
        found = bad(examine_server(workspace, {"LABEL_STUDIO_URL": url}))
    assert {name: level for name, (level, _) in found.items()} == {"server": "warning", "token": "warning"}


def test_a_token_does_not_follow_a_redirect(workspace: Workspace, studio):
    elsewhere, other = studio
    for url, _ in serve(elsewhere=elsewhere):
        found = bad(examine_server(workspace, {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": TOKEN}))
    assert found["server"][0] == "problem"
    assert other.seen == ()


def test_a_named_server_that_is_down_is_a_problem_and_none_at_all_is_not(workspace: Workspace):
    for url, _ in serve():
        gone = url
    assert "does not answer" in bad(examine_server(workspace, {"LABEL_STUDIO_URL": gone}))["server"][1]
    assert bad(examine_server(workspace, {"LABEL_STUDIO_URL": "file:///etc/passwd"}))["address"][0] == "problem"
    assert bad(examine_server(workspace, {})) == {}


def test_the_command_exits_with_3_when_something_is_a_problem(workspace: Workspace):
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline.cli", "-w", str(workspace.root), "doctor", "--json"]
        alone = {name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO_")}
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=alone, timeout=120, check=False)

    whole = run()
    assert whole.returncode == 0, whole.stdout
    assert json.loads(whole.stdout)["problems"] == 0
    workspace.d_f.write_bytes(b"no parquet")
    broken = run()
    assert broken.returncode == 3
    report = json.loads(broken.stdout)
    assert report["problems"] == 2
    assert all(f["fix"] for f in report["findings"] if f["level"] == "problem")


def test_examining_changes_nothing(workspace: Workspace):
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")}
    areas = {finding.area for finding in examine(workspace, {})}
    assert areas == {"machine", "workspace", "Label Studio"}
    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")} == before


@pytest.mark.parametrize(
    ("host", "public_url", "level"),
    [
        ("127.0.0.1", "", None),
        ("127.0.0.1", "https://labels.test", "ok"),
        ("0.0.0.0", "", "warning"),
        ("0.0.0.0", "http://labels.test", "warning"),
    ],
)
def test_a_studio_that_other_machines_reach_is_told(
    studio, workspace: Workspace, host: str, public_url: str, level: str | None
):
    url, _ = studio
    own = Studio.of_workspace(workspace.root)
    born = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    process = {"pid": os.getpid(), "born": born, "version": "1.23.2"}
    write_json(own.credentials_file, {"username": "owner", "password": "open sesame", "token": TOKEN})
    own_address = ServerAddress(host, int(url.rpartition(":")[2]), public_url)
    write_json(own.folder / "server.json", {**process, "url": url, **asdict(own_address)})
    found = {finding.check: finding for finding in examine_server(workspace, {})}
    assert found["token"].level == "ok"
    assert (found["network"].level if "network" in found else None) == level
    if level:
        assert own_address.page_url in found["network"].found
