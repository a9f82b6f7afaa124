"""A proxy before a real Label Studio that lets things go wrong, and limits of a process that a full disk would set."""

from __future__ import annotations

import ctypes
import http.client
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

LOGIN_PAGE = b"<!DOCTYPE html><html><body><form action='/user/login/'></form></body></html>"
_HOP = {"transfer-encoding", "connection", "content-length", "content-encoding"}


@dataclass
class Faults:
    """What the proxy does to requests whose path contains ``at``, from the ``after``-th one on (counted from 0).

    Attributes:
        url: of the proxy.
        kind: ``cut`` (half of the body, then the connection ends), ``short`` (the same, with no length announced),
            ``html``, ``gone`` (no answer at all), a status of HTTP, or None for passing everything on.
        body: what comes with a status.
        seen: paths of all requests.
        before: called before a request concerned is passed on.
    """

    url: str = ""
    at: str = "/export"
    after: int = 0
    kind: str | int | None = None
    body: bytes = b'{"detail": "it went wrong"}'
    seen: list[str] = field(default_factory=list)
    before: Callable[[], None] | None = None
    _met: int = 0

    def meets(self, path: str) -> bool:
        """Whether this request is concerned."""
        self.seen.append(path)
        if self.at not in path:
            return False
        self._met += 1
        return self._met > self.after

    def set(self, kind: str | int | None, *, at: str = "/export", after: int = 0, body: bytes | None = None) -> None:
        self.kind, self.at, self.after, self._met = kind, at, after, 0
        self.body = self.body if body is None else body


@contextmanager
def faulty(url: str) -> Iterator[Faults]:
    """A proxy before ``url``."""
    faults = Faults()
    target = urlsplit(url)

    class Proxy(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            concerned = faults.meets(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if concerned and faults.before is not None:
                faults.before()
            if concerned and faults.kind == "gone":
                self.connection.close()
                return
            if concerned and faults.kind == "html":
                self._send(200, [("Content-Type", "text/html")], LOGIN_PAGE)
                return
            if concerned and isinstance(faults.kind, int):
                self._send(faults.kind, [("Content-Type", "application/json")], faults.body)
                return
            try:
                upstream = http.client.HTTPConnection(str(target.hostname), int(target.port or 80), timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
                upstream.request(self.command, self.path, sent, headers)
                answer = upstream.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                self.connection.close()
                return
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            self._send(answer.status, kept, body, how=faults.kind if concerned else None)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _pass_on  # noqa: N815 - the names that http.server calls

        def _send(self, status: int, headers: list[tuple[str, str]], body: bytes, how: str | int | None = None) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if how != "short":
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body if how is None else body[: len(body) // 2])
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    faults.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield faults
    finally:
        server.shutdown()
        server.server_close()


def files_of_at_most(size: int) -> Callable[[], None]:
    """For ``preexec_fn``: writing beyond ``size`` bytes of any file fails, as it does when a disk fills up."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def as_anyone() -> None:
    """For ``preexec_fn``: root, too, is bound by permissions from the next program on."""
    drop_from_bounding_set = 24
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(41):
        libc.prctl(drop_from_bounding_set, capability, 0, 0, 0)
