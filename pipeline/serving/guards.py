"""What stands before the app: who may ask, how much may be sent, how long it may take, what browsers may do."""

from __future__ import annotations

import asyncio
import binascii
import hmac
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from schemas.safe_text import conceal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
"""What the page may do: run its own script, ask its own server, show images of it and of the user's."""

_HEADERS = {
    b"content-security-policy": PAGE_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}


@dataclass(frozen=True)
class RequestLimits:
    """What a request may take."""

    body: int = 16 * 2**20  # bytes
    bodies: int = 256 * 2**20  # bytes of all bodies that are held at a time
    drained: int = 256 * 2**20  # bytes of a body too large that are read and thrown away, so that its sender hears why
    seconds: float = 30.0  # until a body must have come


class Guards:
    """An ASGI app around another one.

    Args:
        app: the other one.
        limits: what requests may take.
        api_key: asked of every request but those for ``open_paths``, as a bearer token or as the password of basic
            authentication; empty: of none.
        hosts: names by which this server may be called; empty: any. A page elsewhere that has its own name point at
            this machine is refused by that.
        open_paths: what everybody may read.
    """

    def __init__(
        self,
        app: App,
        *,
        limits: RequestLimits,
        api_key: str = "",
        hosts: Iterable[str] = (),
        open_paths: Iterable[str] = (),
    ) -> None:
        self.app = app
        self.limits = limits
        self.api_key = api_key
        self.hosts = frozenset(hosts)
        self.open_paths = frozenset(open_paths)
        self.held = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # websockets: there are none
            await send({"type": "websocket.close", "code": 1000})
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        send = _with_headers(send)
        refused = self._refused(scope, headers)
        if refused is not None:
            await _drain(receive, self.limits)
            await send_error(send, *refused)
            return
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        try:
            await self._with_body(scope, headers, receive, send)
        except _RefusedError as refusal:
            await send_error(send, refusal.status, refusal.what, refusal.fix)
        except _GoneError:
            return

    def _refused(self, scope: Scope, headers: MutableMapping[bytes, bytes]) -> tuple[int, str, str] | None:
        if self.hosts and _host(headers.get(b"host", b"")) not in self.hosts:
            return 421, "this server is not called by that name", f"call it {' or '.join(sorted(self.hosts))}"
        given = _given_key(headers.get(b"authorization", b""))
        is_known = not self.api_key or hmac.compare_digest(given, self.api_key.encode())
        if not is_known and scope["path"] not in self.open_paths:
            return 401, "no key, or a wrong one", "send the header `Authorization: Bearer KEY`"
        return None

    async def _with_body(
        self, scope: Scope, headers: MutableMapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind and kind != b"application/json":  # what forms of other pages can send is never JSON
            await _drain(receive, self.limits)
            raise _RefusedError(415, "a body must be JSON", "send it with `Content-Type: application/json`")
        body = bytearray()
        try:
            await self._read(headers, receive, body)
            whole = bytes(body)
            told = False

            async def again() -> Message:
                nonlocal told
                if told:
                    return await receive()
                told = True
                return {"type": "http.request", "body": whole, "more_body": False}

            await self.app(scope, again, send)
        finally:
            self.held -= len(body)

    async def _read(self, headers: MutableMapping[bytes, bytes], receive: Receive, body: bytearray) -> None:
        too_large = _RefusedError(
            413, "the body is too large", f"send at most {self.limits.body:,} bytes; images may be made smaller"
        )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.limits.body:
            await _drain(receive, self.limits)
            raise too_large
        try:
            async with asyncio.timeout(self.limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _GoneError
                    part = message.get("body", b"")
                    body += part
                    self.held += len(part)
                    if len(body) > self.limits.body:
                        await _drain(receive, self.limits)
                        raise too_large
                    if self.held > self.limits.bodies:
                        raise _RefusedError(503, "too much is being sent at once", "try again in a second")
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            raise _RefusedError(
                408, f"the body did not come within {self.limits.seconds:g} seconds", "send it faster, or less of it"
            ) from None


def _given_key(header: bytes) -> bytes:
    """The key in an Authorization header: ``Bearer KEY``, or ``Basic`` with the key as the password of any user."""
    scheme, _, given = header.partition(b" ")
    if scheme.lower() == b"bearer":
        return given.strip()
    if scheme.lower() == b"basic":
        with suppress(binascii.Error):
            return b64decode(given.strip(), validate=True).partition(b":")[2]
    return b""


class _RefusedError(Exception):
    def __init__(self, status: int, what: str, fix: str) -> None:
        super().__init__(what)
        self.status, self.what, self.fix = status, what, fix


class _GoneError(Exception):
    """The client went away."""


async def _drain(receive: Receive, limits: RequestLimits) -> None:
    """Read what is still sent: a connection that is closed on it would take the answer along."""
    read = 0
    try:
        async with asyncio.timeout(limits.seconds):
            while read <= limits.drained:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                read += len(message.get("body", b""))
    except TimeoutError:
        return


def error_body(kind: str, what: str, fix: str | None, where: str | None = None) -> bytes:
    """An error as JSON, of the form that ``--json`` has; no secret is in it."""
    said = {"kind": kind, "what": conceal(what), "where": where and conceal(where), "fix": fix and conceal(fix)}
    return orjson.dumps({"error": said})


async def send_error(send: Send, status: int, what: str, fix: str | None) -> None:
    """Answer with an error."""
    body = error_body("Refused", what, fix)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="semctl"'))
    if status == 503:
        headers.append((b"retry-after", b"1"))
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            more = [(name, value) for name, value in _HEADERS.items() if name not in given]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sent


def _host(header: bytes) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{header.decode('ascii')}").hostname or ""
    except ValueError:
        return ""
