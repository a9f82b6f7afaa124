"""Plain HTTP questions to a local Label Studio, without its SDK: is it up, what version, which projects."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["StudioAnswer", "ask"]

# a proxy set for the outside world must not see requests to this machine
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class StudioAnswer:
    """An answer: the HTTP status (None when nobody answered) and the JSON body, when it is an object."""

    status: int | None
    body: dict[str, Any]

    def value(self, key: str) -> Any:
        """One member of the body, or None."""
        return self.body.get(key)


def ask(url: str, path: str, *, token: str | None = None, seconds: float = 10.0) -> StudioAnswer:
    """GET a path; never raises for what the server does."""
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Token {token}"
    request = urllib.request.Request(url + path, headers=headers)
    try:
        with _opener.open(request, timeout=seconds) as answer:
            return StudioAnswer(answer.status, _object(answer.read()))
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
