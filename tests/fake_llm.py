"""A server that answers as those of language models do, and as they should not."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOTHING = '{"want":[],"dislike":[],"drop":[],"new_topic":false}'


def update(*want: str, **more: Any) -> str:
    """A reply in the form asked for."""
    return json.dumps({"want": want, "dislike": [], "drop": [], "new_topic": False, **more})


@dataclass(frozen=True)
class Act:
    """What the server does with one request.

    Attributes:
        text: of the reply.
        ended: why the reply ended, as servers say it.
        usage: tokens sent and received, as the server counts them; None: it does not.
        status: of HTTP.
        body: sent instead of a reply.
        headers: beside the usual ones.
        how: ``cut`` (half of the body, then the connection ends), ``short`` (the same, with no length announced),
            ``gone`` (no answer at all), ``stall`` (no answer for a long time), ``drip`` (a byte now and then),
            ``drip head`` (so already the headers), ``endless``, ``packed`` (gzip, whoever asked for it).
    """

    text: str = NOTHING
    ended: str = "stop"
    usage: tuple[int, int] | None = (100, 10)
    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = ""

    def content(self) -> bytes:
        if self.body is not None:
            return self.body
        said: dict[str, Any] = {
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": self.ended}
            ]
        }
        if self.usage is not None:
            said["usage"] = dict(zip(("prompt_tokens", "completion_tokens"), self.usage, strict=True))
        return json.dumps(said).encode()


@dataclass(frozen=True)
class Request:
    """What arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float  # of the monotonic clock

    @property
    def asked(self) -> str:
        """The last message: the turn, with what was said before it."""
        return str(self.body["messages"][-1]["content"])

    @property
    def turn(self) -> str:
        """What the user says in the turn asked about."""
        return str(json.loads(self.asked.partition("<turn>\nuser: ")[2].partition("\n</turn>")[0]))


@dataclass
class FakeLlm:
    """The server's state: what it does, and what it has seen."""

    script: Callable[[Request], Act] = lambda request: Act()
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    at_once: int = 0  # requests answered at the same time, at most
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        return f"{self.url}/v1"

    def does(self, acts: Sequence[Act]) -> None:
        """Do these one after the other, the last for all that follows."""
        left = list(acts)
        self.script = lambda request: left.pop(0) if len(left) > 1 else left[0]

    def act(self, request: Request) -> Act:
        with self._lock:
            self.requests.append(request)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
            return self.script(request)

    def over(self) -> None:
        with self._lock:
            self._now -= 1


@contextmanager
def fake_llm(script: Callable[[Request], Act] | None = None) -> Iterator[FakeLlm]:
    """A server on this machine."""
    fake = FakeLlm()
    if script is not None:
        fake.script = script

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            act = fake.act(Request(self.path, dict(self.headers), json.loads(sent), time.monotonic()))
            try:
                with suppress(OSError):
                    self._do(act)
            finally:
                fake.over()

        do_GET = do_POST  # noqa: N815 - the names that http.server calls

        def _do(self, act: Act) -> None:
            self.close_connection = True
            if act.how == "gone":
                return
            if act.how == "stall":
                fake.closing.wait(60)
                return
            if act.how == "drip head":
                self._drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000)
                return
            content = act.content()
            self.send_response(act.status)
            if act.how == "packed":
                content = gzip.compress(content)
                self.send_header("Content-Encoding", "gzip")
            if act.how not in ("short", "endless"):
                self.send_header("Content-Length", str(len(content)))
            for name, value in {"Content-Type": "application/json", "Connection": "close", **act.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if act.how == "drip":
                self._drip(content * 1000)
            elif act.how == "endless":
                while not fake.closing.is_set():
                    self.wfile.write(b" " * 65_536)
            else:
                self.wfile.write(content[: len(content) // 2] if act.how in ("cut", "short") else content)

        def _drip(self, content: bytes) -> None:
            for at in range(len(content)):
                self.wfile.write(content[at : at + 1])
                self.wfile.flush()
                if fake.closing.wait(0.05):
                    return

        def log_message(self, *args: object) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield fake
    finally:
        fake.closing.set()
        server.shutdown()
        server.server_close()
