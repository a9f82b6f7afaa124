"""A Hugging Face Hub of one process: the calls that huggingface_hub makes to push a folder and to fetch it again.

Repositories, commits (NDJSON), Git LFS for files that the Hub keeps there, and downloads. What a client sends is
checked as the Hub does: the token, hashes and sizes of large files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_aTokenOfNobodyAtAll0123456789"
LARGE = (".safetensors", ".parquet", ".npy")
_TYPES = r"(?P<kind>model|dataset)s"
_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Repository:
    """One of its repositories."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)  # messages


@dataclass
class FakeHub:
    """What it holds, and what it was asked."""

    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)  # kind and name
    stored: dict[str, bytes] = field(default_factory=dict)  # large files by hash
    asked: list[str] = field(default_factory=list)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A running one, on a free port of this machine."""
    hub = FakeHub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, value: Any = None, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value or {}).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refused(self, status: int, said: str, **headers: str) -> None:
        self._answer(status, {"error": said}, X_Error_Message=said, **headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self._body()
        self.hub.asked.append(f"{self.command} {path}")
        if not path.startswith("/lfs/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refused(401, "Invalid username or password.")
            return
        for method, pattern, action in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command == method:
                action(self, body, **found.groupdict())
                return
        self._refused(404, f"no such call: {self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def _repository(self, kind: str, repo: str) -> Repository | None:
        found = self.hub.repositories.get((kind, repo))
        if found is None:
            self._refused(404, "Repository not found", X_Error_Code="RepoNotFound")
        return found

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        key = asked.get("type") or "model", name
        if key in self.hub.repositories:
            self._answer(409, {"error": "You already created this repo", "url": f"{self.hub.url}/{name}"})
            return
        self.hub.repositories[key] = Repository(asked.get("private") or asked.get("visibility") == "private")
        prefix = "" if key[0] == "model" else f"{key[0]}s/"
        self._answer(200, {"url": f"{self.hub.url}/{prefix}{name}", "name": name, "id": name})

    def card(self, body: bytes) -> None:
        asked = json.loads(body)
        begins = asked["content"].startswith("---\n")
        self._answer(200 if begins else 400, {"errors": [] if begins else [{"message": "no metadata"}], "warnings": []})

    def preupload(self, body: bytes, kind: str, repo: str) -> None:
        repository = self._repository(kind, repo)
        if repository is None:
            return
        found = []
        for file in json.loads(body)["files"]:
            known, large = repository.files.get(file["path"]), file["path"].endswith(LARGE)
            told = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if known is not None:
                told["oid"] = _sha(known) if large else _git_id(known)
            found.append(told)
        self._answer(200, {"files": found})

    def batch(self, body: bytes, kind: str = "model", repo: str = "") -> None:
        del kind, repo
        objects = []
        for each in json.loads(body)["objects"]:
            told = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.hub.stored:
                place = f"{self.hub.url}/lfs/{each['oid']}"
                told["actions"] = {
                    "upload": {"href": place},
                    "verify": {"href": f"{self.hub.url}/verify/{each['oid']}"},
                }
            objects.append(told)
        self._answer(200, {"transfer": "basic", "objects": objects}, Content_Type="application/vnd.git-lfs+json")

    def put(self, body: bytes, oid: str) -> None:
        if _sha(body) != oid:
            self._refused(400, "another file than was promised")
            return
        self.hub.stored[oid] = body
        self._answer(200)

    def verify(self, body: bytes, oid: str) -> None:
        size = json.loads(body)["size"]
        fits = oid in self.hub.stored and len(self.hub.stored[oid]) == size
        self._answer(200 if fits else 422, {"message": "ok" if fits else "another size"})

    def commit(self, body: bytes, kind: str, repo: str) -> None:
        repository = self._repository(kind, repo)
        if repository is None:
            return
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repository.commits.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.stored[value["oid"]]
            else:
                self._refused(400, f"unknown operation {line['key']}")
                return
        address = f"{self.hub.url}/{repo}/commit/{self._head(repository)}"
        self._answer(200, {"commitUrl": address, "commitOid": self._head(repository), "success": True})

    @staticmethod
    def _head(repository: Repository) -> str:
        return hashlib.sha1("\n".join(repository.commits).encode()).hexdigest()

    def info(self, _: bytes, kind: str, repo: str) -> None:
        repository = self._repository(kind, repo)
        if repository is not None:
            files = [{"rfilename": name} for name in sorted(repository.files)]
            told = {"id": repo, "sha": self._head(repository), "private": repository.private, "siblings": files}
            self._answer(200, told)

    def tree(self, _: bytes, kind: str, repo: str) -> None:
        repository = self._repository(kind, repo)
        if repository is not None:
            files = sorted(repository.files.items())
            self._answer(200, [{"type": "file", "path": n, "size": len(c), "oid": _git_id(c)} for n, c in files])

    def download(self, _: bytes, repo: str, file: str, kind: str | None = None) -> None:
        repository = self._repository("dataset" if kind else "model", repo)
        if repository is None:
            return
        content = repository.files.get(file)
        if content is None:
            self._refused(404, "Entry not found", X_Error_Code="EntryNotFound")
            return
        head = self._head(repository)
        self._answer(200, content, ETag=f'"{_sha(content)}"', X_Repo_Commit=head, Accept_Ranges="none")


_ROUTES = (
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.card),
    ("POST", rf"/api/{_TYPES}/{_REPO}/preupload/main", _Handler.preupload),
    ("POST", rf"/(?:(?P<kind>dataset)s/)?{_REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", _Handler.put),
    ("POST", r"/verify/(?P<oid>[0-9a-f]{64})", _Handler.verify),
    ("POST", rf"/api/{_TYPES}/{_REPO}/commit/main", _Handler.commit),
    ("GET", rf"/api/{_TYPES}/{_REPO}(?:/revision/\w+)?", _Handler.info),
    ("GET", rf"/api/{_TYPES}/{_REPO}/tree/\w+", _Handler.tree),
    ("GET", rf"/(?P<kind>datasets/)?{_REPO}/resolve/\w+/(?P<file>.+)", _Handler.download),
    ("HEAD", rf"/(?P<kind>datasets/)?{_REPO}/resolve/\w+/(?P<file>.+)", _Handler.download),
)
