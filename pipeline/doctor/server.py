"""Whether Label Studio answers, in which version, and whether it takes the token."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from typing import Any

from annotate.label_studio.address import ServerAddress
from annotate.label_studio.environment import SERIES
from annotate.label_studio.plain_http import is_key, send, server_address
from annotate.label_studio.session import describe
from annotate.label_studio.studio import Studio
from pipeline.doctor.machine import Finding, Level
from pipeline.workspace import Workspace
from schemas.errors import SemctlError, UsageError
from schemas.safe_text import guard

_AREA = "Label Studio"
_START = "semctl studio start, or set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"


class _RefusedError(Exception):
    """The server answered with an error, or with something that is not JSON."""


def examine_server(workspace: Workspace, environment: Mapping[str, str], timeout: float = 5.0) -> list[Finding]:
    """Ask the Label Studio that ``LABEL_STUDIO_URL`` names, else the one that ``semctl studio`` started.

    Args:
        workspace: its own server is asked when the environment names none.
        environment: holds ``LABEL_STUDIO_URL`` and ``LABEL_STUDIO_API_KEY``; the token appears in no finding.
        timeout: seconds for each question.
    """
    found: list[Finding] = []
    named = environment.get("LABEL_STUDIO_URL", "").strip().rstrip("/")
    token = environment.get("LABEL_STUDIO_API_KEY", "").strip()
    source = "LABEL_STUDIO_API_KEY"
    url = named
    if not named:
        try:
            studio = Studio.of_workspace(workspace.root)
            own, credentials = studio.address(), studio.credentials()
        except SemctlError as problem:
            return [Finding(_AREA, "server", "problem", str(problem), problem.fix or "semctl studio start")]
        if own is None:
            return [Finding(_AREA, "server", "ok", "none running; needed only for labelling", _START)]
        url = own.url
        if own.is_open:
            found.append(_network(own))
        if credentials is not None:
            token, source = credentials.token, str(studio.credentials_file)
    guard(token)
    try:
        url = server_address(url)
    except UsageError as problem:
        return [Finding(_AREA, "address", "problem", problem.what, problem.fix)]
    if importlib.util.find_spec("httpx") is None:
        return [Finding(_AREA, "server", "warning", f"{url} cannot be asked: httpx is not installed")]
    try:
        version = _ask(f"{url}/api/version", timeout)
    except _RefusedError as refused:
        fix = "see what else listens there"
        return [Finding(_AREA, "server", "problem", f"{url} answers, but not as Label Studio does: {refused}", fix)]
    except ConnectionError as problem:
        fix = "start it, or correct LABEL_STUDIO_URL" if named else "semctl studio stop, then semctl studio start"
        return [Finding(_AREA, "server", "problem", f"{url} does not answer: {problem}", fix)]
    release = str(version.get("release", "?"))
    level: Level = "ok" if release == SERIES or release.startswith(f"{SERIES}.") else "warning"
    other = None if level == "ok" else f"semctl is tested with {SERIES}.x, which `semctl studio start` installs"
    server = Finding(_AREA, "server", level, f"{release} at {url}", other)
    return [server, _token(url, token, source, timeout), *found]


def _network(own: ServerAddress) -> Finding:
    if own.page_url.startswith("https:"):
        return Finding(_AREA, "network", "ok", f"other machines reach it at {own.page_url}, with TLS")
    fix = "in a network that others use, too: a proxy with TLS, and semctl studio start --public-url https://NAME"
    return Finding(_AREA, "network", "warning", f"other machines reach it at {own.page_url}, without TLS", fix)


def _token(url: str, token: str, source: str, timeout: float) -> Finding:
    fix = f"set LABEL_STUDIO_API_KEY to the token shown at {url}/user/account"
    if not token:
        return Finding(_AREA, "token", "warning", "none: LABEL_STUDIO_API_KEY is not set", fix)
    if not is_key(token):
        return Finding(_AREA, "token", "problem", f"the one of {source} holds what no key does", fix)
    try:
        if token.count(".") == 2:  # a personal access token is exchanged for one that lasts minutes
            access = str(_ask(f"{url}/api/token/refresh", timeout, body={"refresh": token}).get("access"))
            guard(access)
            authorization = f"Bearer {access}"
        else:
            authorization = f"Token {token}"
        who = _ask(f"{url}/api/current-user/whoami", timeout, authorization=authorization)
    except _RefusedError as refused:
        return Finding(_AREA, "token", "problem", f"the one of {source} is refused: {refused}", fix)
    except ConnectionError as problem:
        return Finding(_AREA, "token", "problem", f"could not be tried: {problem}", "try again")
    return Finding(_AREA, "token", "ok", f"valid, for {who.get('email') or who.get('username') or 'a user'}")


def _ask(
    url: str, timeout: float, *, authorization: str | None = None, body: Mapping[str, str] | None = None
) -> dict[str, Any]:
    headers = {"Accept": "application/json"} | ({"Authorization": authorization} if authorization else {})
    answer = send("GET" if body is None else "POST", url, timeout, headers=headers, json=body)
    if not answer.is_success:
        raise _RefusedError(f"{answer.status_code} {_detail(answer.content) or describe(answer.reason_phrase)}")
    try:
        value = json.loads(answer.content)
    except (ValueError, RecursionError):
        raise _RefusedError("200 what came back is not JSON") from None
    if not isinstance(value, dict):
        raise _RefusedError("200 what came back is not an object")
    return value


def _detail(content: bytes) -> str:
    try:
        return describe(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
