"""Plain HTTP questions to a Label Studio, without its SDK: is it up, what version, which projects.

Here is also what keeps keys where they belong: addresses hold none, and no request leaves for another origin.
"""

from __future__ import annotations

import ipaddress
import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from schemas.errors import ServiceError, UsageError

if TYPE_CHECKING:
    import httpx


def server_address(url: str, of: str = "Label Studio", *, form: str = "http://HOST:PORT") -> str:
    """An address of a server as ``http://HOST:PORT``, perhaps with a path, without a slash at its end.

    Args:
        url: as it was given.
        of: whose address it should be, for the error.
        form: how such an address is written, for the error.

    Raises:
        UsageError: it is none, or holds a user name, a password or more; the error does not repeat these.
    """
    fix = f"write it as {form}"
    try:
        address = urlsplit(url.strip())
        port = address.port
    except ValueError:
        raise UsageError(f"not an address of {of}", fix=fix) from None
    del port  # asking for it checks it
    if "@" in address.netloc or address.query or address.fragment:
        raise UsageError(f"the address of {of} holds more than host, port and path", fix=f"{fix}, no password")
    if address.scheme not in ("http", "https") or not address.hostname or not url.isprintable():
        raise UsageError(f"not an address of {of}", where=url, fix=fix)
    return url.strip().rstrip("/")


def is_key(text: str) -> bool:
    """Whether a text can be an API key: visible ASCII characters, as headers take them."""
    return bool(text) and all("!" <= letter <= "~" for letter in text)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address."""
    address = urlsplit(url)
    return address.scheme, address.hostname or "", address.port or (443 if address.scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def retry_after(given: str) -> float | None:
    """The seconds that a server asks to wait in its header ``Retry-After``: a number, or until a date."""
    given = given.strip()
    with suppress(ValueError):
        seconds = float(given)
        return seconds if 0 <= seconds < float("inf") else None
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    return None


def http_client(url: str, seconds: float, **options: Any) -> httpx.Client:
    """A client for one server: no redirect is followed unless asked, and no proxy sees a request to this machine.

    Answers are bounded, see :mod:`annotate.label_studio.bounded_answers`.

    Args:
        url: an address of the server.
        seconds: how long an answer may take.
        options: of the client.
    """
    import httpx

    from annotate.label_studio.bounded_answers import bound_answer

    timeout = httpx.Timeout(seconds, connect=min(seconds, 10.0))
    client = httpx.Client(timeout=timeout, trust_env=not is_loopback(origin(url)[1]), **options)
    client.event_hooks["response"].append(bound_answer)
    return client


def send(method: str, url: str, seconds: float, **request: Any) -> httpx.Response:
    """One request with a client of its own.

    Raises:
        ConnectionError: nobody answered, or with more than is read.
    """
    import httpx

    try:
        with http_client(url, seconds) as client:
            return client.request(method, url, **request)
    except (httpx.HTTPError, ServiceError) as problem:
        raise ConnectionError(problem) from None


@dataclass(frozen=True)
class StudioAnswer:
    """An answer: the HTTP status (None when nobody answered) and the JSON body, when it is an object."""

    status: int | None
    body: dict[str, Any]

    def value(self, key: str) -> Any:
        """One member of the body, or None."""
        return self.body.get(key)


def ask(url: str, path: str, *, token: str | None = None, method: str = "GET", seconds: float = 10.0) -> StudioAnswer:
    """Ask for a path, with nothing to send; never raises for what the server does."""
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Token {token}"
    try:
        answer = send(method, url + path, seconds, headers=headers)
    except ConnectionError:
        return StudioAnswer(None, {})
    return StudioAnswer(answer.status_code, _object(answer.content) if answer.is_success else {})


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
