"""A web server of images that does what servers of strangers do: well, badly, and on purpose."""

from __future__ import annotations

import gzip
import io
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from PIL import Image


def image(number: int = 0, kind: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    """An image whose content is another for each number below a million."""
    made = io.BytesIO()
    colour = (number % 100 * 2, number // 100 % 100 * 2, number // 10_000 * 2)
    Image.new("RGB", size, colour).save(made, kind)
    return made.getvalue()


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def bomb() -> bytes:
    """A PNG of 50,000 x 50,000 pixels in a few bytes."""
    head = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    rows = _png_chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
    return b"\x89PNG\r\n\x1a\n" + head + rows + _png_chunk(b"IEND", b"")


@dataclass
class Web:
    """The server, and what it has seen.

    ``/ok/N`` is the N-th image, ``/slow/N`` the same after ``pause`` seconds, ``/meet/N`` an image for each of N that
    ask at the same time; for all else see ``_Handler``.
    """

    port: int = 0
    scheme: str = "http"
    pause: float = 0.2
    asked: list[str] = field(default_factory=list)  # paths, in the order in which they came
    at: list[float] = field(default_factory=list)  # when, by the monotonic clock
    headers: list[dict[str, str]] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)  # that TLS asked for
    most_at_once: int = 0
    sent: Counter[str] = field(default_factory=Counter)  # bytes of the body, by path, of what has no end
    stopped: threading.Event = field(default_factory=threading.Event)
    meetings: dict[int, threading.Barrier] = field(default_factory=dict)
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def meet(self, number: int) -> None:
        """Wait for others, a minute at most."""
        with self._lock:
            barrier = self.meetings.setdefault(number, threading.Barrier(number))
        with suppress(threading.BrokenBarrierError):
            barrier.wait(60)

    @contextmanager
    def busy(self, path: str, headers: dict[str, str]) -> Iterator[int]:
        """Around an answer; how often this path was asked for before."""
        with self._lock:
            before = self.asked.count(path)
            self.asked.append(path)
            self.at.append(time.monotonic())
            self.headers.append(headers)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield before
        finally:
            with self._lock:
                self._now -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def do_GET(self) -> None:
        with self.web.busy(self.path, dict(self.headers)) as before, suppress(OSError):
            what, _, rest = self.path[1:].partition("/")
            getattr(self, f"_{what.replace('-', '_')}", self._missing)(unquote(rest.partition("?")[0]), before)

    def _send(self, content: bytes, kind: str = "image/png", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def _ok(self, rest: str, _: int) -> None:
        self._send(image(int(rest)))

    def _slow(self, rest: str, _: int) -> None:
        self.web.stopped.wait(self.web.pause)
        self._send(image(int(rest)))

    def _meet(self, rest: str, _: int) -> None:
        self.web.meet(int(rest))
        self._send(image(10))

    def _kind(self, rest: str, _: int) -> None:
        """An image of this kind, sent as something else."""
        self._send(image(1, rest), "application/octet-stream")

    def _spelled(self, rest: str, _: int) -> None:
        """Only where the path arrives as it was written: ``a%2Fb c?x=%2B``."""
        well = self.path == "/spelled/a%2Fb%20c.png?x=%2B"
        self._send(image(2) if well else rest.encode(), status=200 if well else 404)

    def _missing(self, rest: str, _: int) -> None:
        self._send(rest.encode(), "text/plain", 404)

    def _status(self, rest: str, _: int) -> None:
        self._send(image(), status=int(rest))

    def _flaky(self, rest: str, before: int) -> None:
        """An error of the server, so often; then the image."""
        self._send(image(3), status=200 if before >= int(rest) else 500)

    def _busy(self, rest: str, before: int) -> None:
        """At first a request to come back in ``rest`` seconds."""
        if before:
            self._send(image(4))
        else:
            self._send(b"", status=429, Retry_After=rest)

    def _to(self, rest: str, _: int) -> None:
        self._send(b"", status=302, Location=rest)

    def _hops(self, rest: str, _: int) -> None:
        left = int(rest)
        if left:
            self._send(b"", status=307, Location=f"{left - 1}")
        else:
            self._send(image(5))

    def _loop(self, _: str, __: int) -> None:
        self._send(b"", status=301, Location="/loop")

    def _page(self, _: str, __: int) -> None:
        self._send(b"<!DOCTYPE html><html><body>sold out</body></html>", "text/html")

    def _svg(self, _: str, __: int) -> None:
        self._send(b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "image/svg+xml")

    def _bomb(self, _: str, __: int) -> None:
        self._send(bomb())

    def _damaged(self, _: str, __: int) -> None:
        content = image(6, size=(300, 300))
        self._send(content[: len(content) // 2])

    def _empty(self, _: str, __: int) -> None:
        self._send(b"")

    def _packed(self, _: str, __: int) -> None:
        self._send(gzip.compress(image(7)), Content_Encoding="gzip")

    def _cut(self, _: str, __: int) -> None:
        """Half of what was announced."""
        content = image(8)
        self.send_response(200)
        self.send_header("Content-Length", str(2 * len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def _announced(self, _: str, __: int) -> None:
        """A length that nobody should wait for."""
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        self.close_connection = True

    def _endless(self, _: str, __: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        block = b"\xff\xd8\xff\xe0" + bytes(1 << 16)
        while not self.web.stopped.is_set():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            self.web.sent[self.path] += len(block)

    def _endless_page(self, _: str, __: int) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.web.stopped.is_set():
            self.wfile.write(b"<p>more</p>" * 1000)
            self.web.sent[self.path] += 11_000

    def _drip(self, _: str, __: int) -> None:
        """A byte now and then, each in time for a timeout between bytes."""
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        for byte in image(9)[:40] + bytes(4960):
            self.wfile.write(bytes([byte]))
            if self.web.stopped.wait(0.05):
                return

    def _drip_head(self, _: str, __: int) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.web.stopped.wait(0.05):
            self.wfile.write(b"X")

    def _early_hints(self, _: str, __: int) -> None:
        """Answers before the answer, without end."""
        while not self.web.stopped.wait(0.001):
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")

    def _long_head(self, _: str, __: int) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.web.stopped.is_set():
            self.wfile.write(b"X-More: %b\r\n" % (b"a" * 4000))

    def _stall(self, _: str, __: int) -> None:
        self.web.stopped.wait(30)

    def _gone(self, _: str, __: int) -> None:
        self.close_connection = True

    def _other_protocol(self, _: str, __: int) -> None:
        self.wfile.write(b"\x16\x03\x01 SSH-2.0-nothing\r\n\r\n")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Whoever hangs up on a hostile server is right."""


@contextmanager
def hostile_web(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A server on this machine, with TLS where a context is given."""
    web = Web(scheme="http" if tls is None else "https")
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    if tls is not None:
        tls.sni_callback = lambda _, name, __: web.names.append(name)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def listener(host: str = "127.0.0.1") -> Iterator[tuple[int, list[str]]]:
    """A port that nobody should connect to, and the addresses of those who did."""
    came: list[str] = []
    with socket.create_server((host, 0)) as server:
        server.settimeout(0.05)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    connection, address = server.accept()
                    connection.close()
                    came.append(str(address))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], came
        finally:
            time.sleep(0.1)  # whoever connects late is seen, too
            over.set()
            thread.join(5)
