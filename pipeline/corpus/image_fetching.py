"""Images from the web: many links at once, each within bounds of size, time, pixels, redirects and formats.

Every link ends as one :class:`Fetched`: an image in a file named by its content, or why there is none. What may pass
(a slow or overloaded host) is tried again, after longer and longer pauses or the one that the host asks for; a host
that does not answer at all is not asked further. What a server sends is never trusted: its length is counted, its
format is read from its first bytes, and it is an image only once it has been decoded.
"""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import httpcore
import httpx

from annotate.label_studio.plain_http import retry_after
from pipeline.corpus.host_queues import Errand, HostQueues
from pipeline.corpus.web_addresses import (
    AllowedHosts,
    CertificateError,
    Clock,
    PinnedBackend,
    RefusedError,
    Resolve,
    UnknownHostError,
    checked_form,
    checked_url,
    system_addresses,
)
from schemas.files import sha256_bytes, write_atomic
from semantic_model.data.image_decoding import UndecodableImageError, examine_image

MIB = 1 << 20

_FORMATS = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG\r\n\x1a\n", ".png"), (b"GIF87a", ".gif"), (b"GIF89a", ".gif"))
_RIFF, _WEBP = b"RIFF", b"WEBP"
_HEAD = 12
"""Bytes by which the formats that are taken are told apart."""

REASONS: Mapping[str, tuple[bool, str]] = {
    "refused_link": (False, "not http or https at the usual port, or with a user name"),
    "refused_address": (False, "leads into a private network"),
    "not_found": (False, "the server has no such file"),
    "forbidden": (False, "the server asks for a permission"),
    "other_status": (False, "the server sends no image, but another status"),
    "bad_redirect": (False, "a redirect to no address"),
    "too_many_redirects": (False, "too many redirects"),
    "too_many_bytes": (False, "larger than allowed"),
    "too_many_pixels": (False, "more pixels than allowed"),
    "not_an_image": (False, "not an image, or a damaged one"),
    "unsupported_format": (False, "an image, but no JPEG, PNG, WebP or GIF"),
    "packed": (False, "sent compressed, unasked"),
    "certificate": (True, "no valid TLS certificate for its name"),
    "unknown_host": (True, "no such host"),
    "no_connection": (True, "no connection"),
    "too_slow": (True, "not finished in time"),
    "cut_off": (True, "the connection broke, or the answer is not HTTP"),
    "server_failed": (True, "the server failed"),
    "rate_limit": (True, "the server asks to come again later"),
    "host_given_up": (True, "not tried: its host did not answer before"),
}
"""Why a link brought no image: whether it may pass, so that the next run tries again, and what it means."""

BROKEN = frozenset({"too_many_bytes", "too_many_pixels", "not_an_image", "unsupported_format", "packed"})
"""Reasons for which something came that is not taken; for all others the link is dead."""

_NO_ANSWER = frozenset({"unknown_host", "no_connection", "certificate", "too_slow"})


@dataclass(frozen=True)
class Limits:
    """What one link may take."""

    redirects: int = 3
    connect: float = 5.0  # seconds to connect
    read: float = 10.0  # seconds without a byte
    total: float = 30.0  # seconds of a try, over all redirects
    size: int = 20 * MIB  # bytes
    tries: int = 3
    first_wait: float = 1.0  # seconds before the second try; doubled for each further one
    longest_pause: float = 120.0  # seconds; a host that asks for a longer pause is left for the next run
    failures: int = 6  # so often in a row without an answer, and a host is asked nothing more


class Fetched(NamedTuple):
    """What became of a link; a row of the table ``fetched``."""

    link: str
    host: str
    status: str  # ok, dead or broken
    reason: str  # a key of REASONS, or ok
    detail: str = ""
    http_status: int | None = None
    came_from: str | None = None  # the last address that it led to, without its query
    file: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float = 0.0
    tries: int = 0
    at: str = ""


class _NoImageError(Exception):
    """Why an errand brought no image."""

    def __init__(self, reason: str, detail: str = "", *, status: int | None = None, pause: float | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.status = status
        self.pause = pause


class _RedirectError(Exception):
    """It is somewhere else."""

    def __init__(self, url: httpx.URL) -> None:
        super().__init__()
        self.url = url


class ImageFetcher:
    """Fetches images into a folder.

    Args:
        folder: where the files go, as ``ab/abcd...jpg`` by the hash of their content.
        shown: how ``folder`` is called in the rows.
        allowed: hosts that are asked wherever they are.
        limits: what one link may take.
        per_host, delay: see :class:`~pipeline.corpus.host_queues.HostQueues`.
        parallel: requests at a time, over all hosts.
        user_agent: what servers are told of who asks.
        resolve: looks names up.
        tls: what certificates are checked against; the certificates that come with httpx when None.
    """

    def __init__(
        self,
        folder: Path,
        shown: str,
        *,
        allowed: AllowedHosts,
        user_agent: str,
        limits: Limits = Limits(),
        per_host: int = 2,
        delay: float = 0.2,
        parallel: int = 16,
        resolve: Resolve = system_addresses,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._folder, self._shown = folder, shown
        self._allowed, self._limits, self._parallel = allowed, limits, parallel
        self._queues = HostQueues(per_host, delay)
        self._clock = Clock()
        self._done: Queue[Fetched | BaseException] = Queue()
        self._decoding = threading.Semaphore(2)  # of images that may be large once they are decoded
        self._headers = [
            (b"User-Agent", user_agent.encode("ascii")),
            (b"Accept", b"image/jpeg, image/png, image/webp, image/gif"),
            (b"Accept-Encoding", b"identity"),
        ]
        seconds = {"connect": limits.connect, "read": limits.read, "write": limits.read, "pool": limits.total}
        self._extensions = {"timeout": seconds}
        self._pool = httpcore.ConnectionPool(
            tls or httpx.create_ssl_context(trust_env=False),
            max_connections=2 * parallel,
            max_keepalive_connections=parallel,
            keepalive_expiry=5.0,
            network_backend=PinnedBackend(allowed, self._clock, resolve),
        )

    def fetch(self, links: Iterable[str]) -> Iterator[Fetched]:
        """What becomes of each link, as they end. Whoever stops early leaves nothing running that keeps the program.

        Raises:
            OSError: a file cannot be written.
        """
        waiting = 0
        for link in links:
            waiting += 1
            try:
                self._queues.add(Errand(link, checked_url(link, self._allowed)))
            except RefusedError as problem:
                self._done.put(self._without(Errand(link, httpx.URL()), problem.reason, problem.detail))
        with closing(self._queues):
            for number in range(min(self._parallel, waiting)):
                # daemons, for nobody should wait for a slow server once all is decided
                threading.Thread(target=self._work, daemon=True, name=f"fetch {number}").start()
            for _ in range(waiting):
                found = self._done.get()
                if isinstance(found, BaseException):
                    raise found
                yield found
        self._pool.close()

    def _work(self) -> None:
        while (errand := self._queues.take()) is not None:
            host = errand.host
            try:
                self._run(errand, host)
            except BaseException as problem:
                self._done.put(problem)
            finally:
                self._queues.done(host)

    def _run(self, errand: Errand, host: str) -> None:
        """One request, and what follows from it: a file, a redirect, another try, or the end of the link."""
        errand.tries += not errand.is_under_way
        errand.is_under_way = True
        began = time.monotonic()
        self._clock.start(max(self._limits.total - errand.seconds, 0.001))
        problem: _NoImageError
        try:
            content, suffix = self._ask(errand.url)
            sides = self._sides(content)
        except _RedirectError as redirect:
            self._queues.answered(host, well=True)
            errand.seconds += time.monotonic() - began
            self._follow(errand, redirect.url)
            return
        except _NoImageError as found:
            problem = found
        except RefusedError as found:
            problem = _NoImageError(found.reason, found.detail)
        else:
            self._queues.answered(host, well=True)
            errand.seconds += time.monotonic() - began
            self._done.put(self._kept(errand, content, suffix, sides))
            return
        errand.seconds += time.monotonic() - began
        self._fail(errand, host, problem)

    def _follow(self, errand: Errand, url: httpx.URL) -> None:
        errand.redirects += 1
        if errand.redirects > self._limits.redirects:
            self._done.put(self._without(errand, "too_many_redirects", f"more than {self._limits.redirects}"))
            return
        errand.url = url
        try:
            checked_form(url, self._allowed)
        except RefusedError as problem:
            self._done.put(self._without(errand, problem.reason, f"redirected: {problem.detail}"))
            return
        self._queues.add(errand)  # the next host has its own limits

    def _fail(self, errand: Errand, host: str, problem: _NoImageError) -> None:
        limits, reason = self._limits, problem.reason
        failures = self._queues.answered(host, well=reason not in _NO_ANSWER)
        asks_too_long = problem.pause is not None and problem.pause > limits.longest_pause
        given_up = failures >= limits.failures or asks_too_long
        if problem.pause is not None:
            self._queues.pause(host, min(problem.pause, limits.longest_pause))
        if given_up:
            why = f"it asks for a pause of {problem.pause:.0f} s" if asks_too_long else f"{reason}: {problem.detail}"
            for other in self._queues.give_up(host):
                self._done.put(self._without(other, "rate_limit" if asks_too_long else "host_given_up", why))
        if not given_up and REASONS[reason][0] and errand.tries < limits.tries:
            wait = limits.first_wait * 2 ** (errand.tries - 1) * random.uniform(0.75, 1.25)
            errand.seconds, errand.is_under_way = 0.0, False
            self._queues.add(errand, after=wait)
        else:
            self._done.put(self._without(errand, reason, problem.detail, problem.status))

    def _ask(self, url: httpx.URL) -> tuple[bytes, str]:
        """What an address sends, and the suffix of its format.

        Raises:
            _RedirectError: it is elsewhere.
            _NoImageError: there is nothing that may be taken.
            RefusedError: its host may not be asked.
        """
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [(b"Host", url.netloc), *self._headers]
        try:
            with self._pool.stream("GET", target, headers=headers, extensions=self._extensions) as response:
                answer = httpx.Headers(response.headers)
                self._judge(url, response.status, answer)
                return self._body(response)
        except UnknownHostError as problem:
            raise _NoImageError("unknown_host", str(problem)) from None
        except CertificateError as problem:
            raise _NoImageError("certificate", str(problem)) from None
        except httpcore.TimeoutException:
            raise _NoImageError("too_slow") from None
        except httpcore.ConnectError as problem:
            raise _NoImageError("no_connection", str(problem)) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, ValueError) as problem:
            raise _NoImageError("cut_off", str(problem)[:200]) from None

    def _judge(self, url: httpx.URL, status: int, answer: httpx.Headers) -> None:
        """Go on only with an answer that holds what was asked for."""
        if status in (301, 302, 303, 307, 308):
            place = answer.get("location", "")
            try:
                to = url.join(place)
            except (httpx.InvalidURL, ValueError):
                to = None
            if not place or to is None:
                raise _NoImageError("bad_redirect", place[:200], status=status)
            raise _RedirectError(to)
        if status in (404, 410):
            raise _NoImageError("not_found", status=status)
        if status in (401, 402, 403, 407, 451):
            raise _NoImageError("forbidden", status=status)
        if status in (408, 425, 429) or status >= 500:
            pause = retry_after(answer.get("retry-after", ""))
            raise _NoImageError("rate_limit" if status == 429 else "server_failed", status=status, pause=pause)
        if status != 200:
            raise _NoImageError("other_status", status=status)
        if answer.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise _NoImageError("packed", answer["content-encoding"][:200], status=status)
        with suppress(ValueError):
            if int(answer.get("content-length", "0")) > self._limits.size:
                raise _NoImageError("too_many_bytes", f"{answer['content-length']} bytes", status=status)

    def _body(self, response: httpcore.Response) -> tuple[bytes, str]:
        content, suffix = bytearray(), None
        for block in response.iter_stream():
            content += block
            if len(content) > self._limits.size:
                raise _NoImageError("too_many_bytes", f"more than {self._limits.size} bytes", status=200)
            if suffix is None and len(content) >= _HEAD:
                suffix = _suffix_of(bytes(content[:_HEAD]), httpx.Headers(response.headers))
        if suffix is None:
            raise _NoImageError("not_an_image", f"{len(content)} bytes", status=200)
        return bytes(content), suffix

    def _sides(self, content: bytes) -> tuple[int, int]:
        with self._decoding:
            try:
                facts = examine_image(content)
            except UndecodableImageError as problem:
                raise _NoImageError(problem.reason, status=200) from None
        return facts.width, facts.height

    def _kept(self, errand: Errand, content: bytes, suffix: str, sides: tuple[int, int]) -> Fetched:
        sha256 = sha256_bytes(content)
        name = f"{sha256[:2]}/{sha256}{suffix}"
        path = self._folder / name
        if not path.is_file() or path.stat().st_size != len(content):
            write_atomic(path, content)
        return self._ended(errand, "ok", "ok")._replace(
            http_status=200,
            file=f"{self._shown}/{name}",
            sha256=sha256,
            bytes=len(content),
            width=sides[0],
            height=sides[1],
        )

    def _without(self, errand: Errand, reason: str, detail: str = "", status: int | None = None) -> Fetched:
        found = self._ended(errand, "broken" if reason in BROKEN else "dead", reason)
        return found._replace(detail=detail, http_status=status)

    def _ended(self, errand: Errand, status: str, reason: str) -> Fetched:
        url = str(errand.url.copy_with(query=None, fragment=None, userinfo=b"")) or None
        return Fetched(
            errand.link,
            host_of(errand.link),
            status,
            reason,
            came_from=url,
            seconds=round(errand.seconds, 3),
            tries=errand.tries,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def host_of(link: str) -> str:
    """The host that a link names, with its port where that is not the usual one; as it is called in reports."""
    try:
        url = httpx.URL(f"https:{link}" if link.startswith("//") else link)
    except (httpx.InvalidURL, ValueError):
        return "?"
    return url.netloc.decode("ascii", "replace") or "?"


def _suffix_of(head: bytes, answer: Mapping[str, Any]) -> str:
    """The suffix of the format that a file begins like.

    Raises:
        _NoImageError: it is none of those that are taken.
    """
    for begin, suffix in _FORMATS:
        if head.startswith(begin):
            return suffix
    if head.startswith(_RIFF) and head[8:12] == _WEBP:
        return ".webp"
    kind = str(answer.get("content-type", "")).split(";")[0].strip()[:100]
    is_image = kind.startswith("image/")
    raise _NoImageError(
        "unsupported_format" if is_image else "not_an_image", f"sent as {kind or 'nothing'}", status=200
    )
