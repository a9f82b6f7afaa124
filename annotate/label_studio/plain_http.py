"""Plain HTTP questions to a Label Studio, without its SDK: is it up, what version, which projects.

Here is also what keeps keys where they belong: addresses hold none, and no request leaves for another origin.
"""

from __future__ import annotations

import http.client
import ipaddress
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from schemas.errors import UsageError

__all__ = ["StudioAnswer", "ask", "is_key", "is_loopback", "open_url", "origin", "server_address"]

_LONGEST_ANSWER = 1 << 26


def server_address(url: str) -> str:
    """An address of Label Studio as ``http://HOST:PORT``, perhaps with a path, without a slash at its end.

    Raises:
        UsageError: it is none, or holds a user name, a password or more; the error does not repeat these.
    """
    fix = "write it as http://HOST:PORT"
    try:
        address = urlsplit(url.strip())
        port = address.port
    except ValueError:
        raise UsageError("not an address of Label Studio", fix=fix) from None
    del port  # asking for it checks it
    if "@" in address.netloc or address.query or address.fragment:
        raise UsageError("the address of Label Studio holds more than host, port and path", fix=f"{fix}, no password")
    if address.scheme not in ("http", "https") or not address.hostname or not url.isprintable():
        raise UsageError("not an address of Label Studio", where=url, fix=fix)
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


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another address."""

    def redirect_request(self, *arguments: Any) -> None:
        del arguments


def open_url(request: urllib.request.Request, *, seconds: float) -> Any:
    """As :func:`urllib.request.urlopen`, but redirects are errors, and no proxy sees a request to this machine."""
    here = is_loopback(urlsplit(request.full_url).hostname or "")
    handlers = [_NoRedirect(), *([urllib.request.ProxyHandler({})] if here else [])]
    return urllib.request.build_opener(*handlers).open(request, timeout=seconds)


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
    request = urllib.request.Request(url + path, headers=headers, method=method)
    try:
        with open_url(request, seconds=seconds) as answer:
            return StudioAnswer(answer.status, _object(answer.read(_LONGEST_ANSWER)))
    except urllib.error.HTTPError as problem:
        with problem:
            return StudioAnswer(problem.code, {})
    except (OSError, http.client.HTTPException):
        return StudioAnswer(None, {})


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
