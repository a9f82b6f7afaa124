"""Which web addresses may be asked for an image, and connections to the very address that was looked at.

A catalogue's links come from strangers, and so do redirects. A link is asked for only over HTTP or HTTPS, at the usual
port and with no user name in it, and only where every address that its host's name stands for is a public one. The
connection goes to an address out of that same answer, so that a name that stands for something else a moment later
(DNS rebinding) changes nothing; TLS asks for, and checks, the name.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any

import httpcore
import httpx

from schemas.errors import UsageError
from schemas.safe_text import shortened

Resolve = Callable[[str, int, float | None], list[str]]
"""Host, port and seconds that it may take (None: any) -> addresses; raises an :class:`OSError` if there are none."""

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._-]{1,253}")
_LONGEST_SHOWN = 200  # characters of what is refused
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")

_NOT_PUBLIC_4 = tuple(
    map(
        ipaddress.IPv4Network,
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
        "168.63.129.16/32".split(),
    )
)
"""IANA's registry of special-purpose IPv4 addresses, multicast, and a public one that is the host in Azure's clouds."""

_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(map(ipaddress.IPv6Network, "2001::/23 2001:db8::/32 2002::/16 3fff::/20".split()))
"""Of what is public, IANA's special purposes: Teredo and the like, documents, 6to4 (which wraps IPv4 addresses)."""

_WRAPPED_4 = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""IPv4 addresses as IPv6, mapped and of NAT64: they are as public as the address within."""


class RefusedError(Exception):
    """A web address that is not asked.

    Args:
        reason: a code: ``refused_link`` (its form) or ``refused_address`` (where it leads).
        detail: what is wrong with it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def is_public(address: str) -> bool:
    """Whether an IP address is that of a machine of the public internet, whatever version of Python asks."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return False
        if not any(found in network for network in _WRAPPED_4):
            return found in _PUBLIC_6 and not any(found in network for network in _NOT_PUBLIC_6)
        found = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
    return not any(found in network for network in _NOT_PUBLIC_4)


@dataclass(frozen=True)
class AllowedHosts:
    """Hosts that are asked wherever they are: one's own servers."""

    # host and port; without a port, the usual ones
    named: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> AllowedHosts:
        """Hosts as ``--allow-host`` names them: ``HOST`` or ``HOST:PORT``, an IPv6 address in brackets.

        Raises:
            UsageError: it is none.
        """
        return cls(frozenset(map(_named_host, texts)))

    def has(self, host: str, port: int) -> bool:
        """Whether a host may be asked at a port, whatever its address."""
        return (host, port) in self.named or ((host, None) in self.named and port in _PORTS.values())

    def names(self, link: str) -> bool:
        """Whether a link leads to one of these hosts."""
        try:
            url = httpx.URL(link)
            return url.scheme in _PORTS and self.has(_checked_host(url), port_of(url))
        except (httpx.InvalidURL, RefusedError, ValueError):
            return False


def _named_host(text: str) -> tuple[str, int | None]:
    fix = "write it as HOST or HOST:PORT, such as images.example.org or 127.0.0.1:8000"
    try:
        url = httpx.URL(f"http://{text.strip()}")
        if url.raw_path != b"/" or url.userinfo or url.query or url.fragment or "/" in text or text.endswith(":"):
            raise ValueError
        host = _checked_host(url)
    except (httpx.InvalidURL, RefusedError, ValueError):
        raise UsageError(f"'{shortened(text, _LONGEST_SHOWN)}' is no host", fix=fix) from None
    given = re.search(r":(\d+)$", text.strip())  # httpx.URL forgets a port that is usual
    port = int(given[1]) if given else None
    if port is not None and not 0 < port < 1 << 16:
        raise UsageError(f"'{shortened(text, _LONGEST_SHOWN)}' has no port that can be", fix=fix)
    return host, port


def checked_url(link: str, allowed: AllowedHosts) -> httpx.URL:
    """A link as it is asked for, once its form is found to be one that may be asked; no name is looked up.

    Raises:
        RefusedError: with ``refused_link``.
    """
    text = link.strip()
    if text.startswith("//"):
        text = f"https:{text}"
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as problem:
        raise RefusedError("refused_link", f"not a web address: {problem}") from None
    return checked_form(url, allowed)


def checked_form(url: httpx.URL, allowed: AllowedHosts) -> httpx.URL:
    """The same for an address that was taken apart already."""
    if url.scheme not in _PORTS:
        raise RefusedError("refused_link", f"neither http nor https: {url.scheme or 'no scheme'}")
    if url.userinfo:
        raise RefusedError("refused_link", "a user name is in it")
    host, port = _checked_host(url), port_of(url)
    if port not in _PORTS.values() and not allowed.has(host, port):
        raise RefusedError("refused_link", f"port {port}")
    return url


def port_of(url: httpx.URL) -> int:
    """The port of an address, the usual one of its scheme where it names none."""
    return _PORTS[url.scheme] if url.port is None else url.port


def _checked_host(url: httpx.URL) -> str:
    host = url.raw_host.decode("ascii")
    try:
        return str(ipaddress.ip_address(host)) if ":" in host else str(ipaddress.IPv4Address(host))
    except ValueError:
        pass
    if not _HOST.fullmatch(host):
        raise RefusedError("refused_link", "no host that can be")
    # what ends in a number would be read as an address, but not by everyone as the same one: 0177.1, 2130706433
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        raise RefusedError("refused_link", "an address that is not written as one usually is")
    return host


def system_addresses(host: str, port: int, seconds: float | None) -> list[str]:
    """The addresses that the system knows of a host, in its order.

    Raises:
        OSError: there are none, or they were not found in time (:class:`TimeoutError`).
    """
    answers: Queue[list[str] | OSError] = Queue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except UnicodeError:
            answers.put(OSError("no name that can be"))
        except OSError as problem:
            answers.put(problem)

    # the system's own look-up cannot be stopped
    threading.Thread(target=look_up, daemon=True, name=f"look up {host}").start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError("its name was not found in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


class Clock(threading.local):
    """How long a thread's request may still take; a timeout alone would begin anew with each byte that arrives."""

    def __init__(self) -> None:
        self._end: float | None = None

    def start(self, seconds: float) -> None:
        """From now on, this thread has so many seconds."""
        self._end = time.monotonic() + seconds

    def left(self, most: float | None) -> float | None:
        """Seconds that the next step may take, ``most`` of them; None: as many as it likes.

        Raises:
            httpcore.ReadTimeout: none are left.
        """
        if self._end is None:
            return most
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("it took too long")
        return left if most is None else min(left, most)


class UnknownHostError(httpcore.ConnectError):
    """A host whose name stands for no address."""


class CertificateError(httpcore.ConnectError):
    """A server that could not prove by TLS that it is the host asked for."""


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to the addresses that it has looked at, and to no others.

    Args:
        allowed: hosts that are asked wherever they are.
        clock: ends whatever takes too long.
        resolve: looks names up.
    """

    def __init__(self, allowed: AllowedHosts, clock: Clock, resolve: Resolve = system_addresses) -> None:
        self._allowed = allowed
        self._clock = clock
        self._resolve = resolve
        self._system = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to a host, which took part in no look-up but this one.

        Raises:
            RefusedError: one of its addresses is not public, and the host is none of those allowed.
            httpcore.NetworkError: there is no connection, or no such name.
            httpcore.TimeoutException: it took too long.
        """
        for address in (addresses := self.addresses(host, port, timeout)):
            try:
                left = self._clock.left(timeout)
                stream = self._system.connect_tcp(address, port, left, local_address, socket_options)
                return _TimedStream(stream, self._clock)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise UnknownHostError("no address")

    def addresses(self, host: str, port: int, seconds: float | None) -> list[str]:
        """The addresses of a host, looked up once and all of them looked at; three at most, for each may take long."""
        try:
            host = str(ipaddress.ip_address(host))
            found = [host]
        except ValueError:
            try:
                found = self._resolve(host, port, self._clock.left(seconds))
            except TimeoutError as problem:
                raise httpcore.ConnectTimeout(str(problem)) from None
            except OSError as problem:
                raise UnknownHostError(problem.strerror or str(problem)) from None
        if not self._allowed.has(host, port):
            for address in found:
                if not is_public(address):
                    raise RefusedError("refused_address", f"{host} is {address}, which is not public")
        return found[:3]


class _TimedStream(httpcore.NetworkStream):
    """A connection on which nothing takes longer than the clock of its request allows."""

    def __init__(self, stream: httpcore.NetworkStream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            inner = self._stream.start_tls(ssl_context, server_hostname, self._clock.left(timeout))
        except httpcore.ConnectError as problem:
            if isinstance(problem.__cause__, ssl.SSLError):
                raise CertificateError(problem.__cause__.reason or str(problem.__cause__)) from None
            raise
        return _TimedStream(inner, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
