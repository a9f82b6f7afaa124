"""One logged-in connection to Label Studio: the only module that knows its SDK.

Every failure becomes a :class:`~schemas.errors.ServiceError` (exit code 4) that names the fix; no message holds a
token. No request goes to another origin than the address names, wherever the server redirects. Writes are never
retried: a request that seems to have failed may have arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from annotate.label_studio.plain_http import http_client, is_key, origin, server_address
from schemas.errors import SemctlError, ServiceError, UsageError
from schemas.safe_text import guard, holds_secret

_NEW_KEY = "make a new one under Account & Settings > Personal Access Token and set LABEL_STUDIO_API_KEY"


def refusal(url: str, doing: str, status: int, detail: str) -> ServiceError:
    """The error for an answer with this HTTP status.

    Args:
        url: the server.
        doing: what was asked, a verb phrase.
        status: the HTTP status.
        detail: what the server said, without secrets.
    """
    if status in (401, 403):
        if "expired" in detail:
            return ServiceError("the API key of Label Studio has expired", where=url, fix=_NEW_KEY)
        if "legacy" in detail:
            return ServiceError("this Label Studio takes no legacy tokens", where=url, fix=_NEW_KEY)
        what = f"Label Studio refuses the API key ({doing}: {detail})"
        return ServiceError(what, where=url, fix=f"check LABEL_STUDIO_API_KEY, or {_NEW_KEY}")
    if status >= 500:
        what = f"Label Studio failed ({doing}: {detail})"
        return ServiceError(what, where=url, fix="see its log, then run this again")
    return ServiceError(f"Label Studio refused to {doing} (status {status}: {detail})", where=url)


def not_label_studio(url: str, doing: str) -> ServiceError:
    """The error for a server that answers as Label Studio never does."""
    what = f"what answers there is not Label Studio ({doing})"
    return ServiceError(what, where=url, fix="check LABEL_STUDIO_URL")


def elsewhere(url: str, scheme: str, host: str, port: int) -> ServiceError:
    """The error for a server that sends its visitors to another origin; nothing was asked there."""
    what = f"Label Studio sends to another address, {scheme}://{host}:{port}, which the API key is not for"
    return ServiceError(what, where=url, fix="if that is your Label Studio, set LABEL_STUDIO_URL to it")


def describe(body: object) -> str:
    """What the body of a refusal says, in at most 200 characters; nothing of one that repeats a secret."""
    if isinstance(body, Mapping):
        errors = body.get("validation_errors")
        text = str(errors) if errors else str(body.get("detail") or body)
    else:
        text = str(body)
    if holds_secret(text):
        return "its answer is not shown: it repeats the key"
    return " ".join(text.split())[:200]


ONCE: Mapping[str, Any] = {"max_retries": 0}
"""Options of a request that must not be sent twice."""


def api_error() -> type[Exception]:
    """The SDK's error for an answer with a status of 400 and more; it has ``status_code`` and ``body``."""
    from label_studio_sdk.core.api_error import ApiError

    return ApiError


def time_text(time: Any) -> str:
    """A time as the server writes it, UTC with microseconds, so that text order is time order; empty for none."""
    if time is None or isinstance(time, str):
        return time or ""
    return str(time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


class Session:
    """A connection to one Label Studio; connecting checks that it answers and takes the key.

    Args:
        url: its address, as ``http://127.0.0.1:8080``.
        api_key: a legacy token or a personal access token.
        seconds: how long one request may take.

    Attributes:
        url: its address, without a slash at its end.
        page_url: the address at which people open its pages, where that is another one.
    """

    def __init__(self, url: str, api_key: str, *, seconds: float = 300.0) -> None:
        self.url = self.page_url = server_address(url)
        self._secret = api_key.strip()
        if not is_key(self._secret):
            raise UsageError("the API key is empty or holds what no key does", fix="set LABEL_STUDIO_API_KEY anew")
        guard(self._secret)
        with self._asking("log in"):
            # the whole client imports pandas, faker and more for parts that nobody asks for here
            from label_studio_sdk.base_client import LabelStudioBase
            from label_studio_sdk.tasks.client_ext import TasksClientExt

            hooks = {"request": [self._before_request]}
            self._http = http_client(self.url, seconds, follow_redirects=True, event_hooks=hooks)
            self._client: Any = LabelStudioBase(base_url=self.url, api_key=self._secret, httpx_client=self._http)
            self._tasks: Any = TasksClientExt(client_wrapper=self._client._client_wrapper)
            self.user = str(self._client.users.whoami().email)

    def _before_request(self, request: Any) -> None:
        """Called before everything that is sent, redirected requests too."""
        if origin(str(request.url)) != origin(self.url):
            raise elsewhere(self.url, *origin(str(request.url)))
        for sent in (request.headers.get("Authorization", ""), request.headers.get("Cookie", "")):
            for word in sent.replace(";", " ").split():
                guard(word.partition("=")[2] or word)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def version(self) -> str:
        """The server's version, as ``1.23.2``."""
        with self._asking("read its version"):
            return str(self._client.versions.get().release)

    def _pages(self, listed: Any) -> Iterator[Any]:
        """Items of all pages; asking for one after the last is how this server says that there are no more."""
        from label_studio_sdk._extensions.pager_ext import SyncPagerExt

        yield from SyncPagerExt.from_sync_pager(listed)

    def users(self) -> dict[int, str]:
        """E-mail address by number of every user: annotations name them by number (``completed_by``)."""
        with self._asking("list its users"):
            return {int(user.id): str(user.email) for user in self._client.users.list()}

    def _post(self, path: str, content: bytes) -> Any:
        """Send JSON as it is: the SDK would walk through every value of it, which takes longer than the server does.

        Returns:
            The answer, which is JSON: a page for people, such as one to log in at, is refused.
        """
        from label_studio_sdk.core.api_error import ApiError

        headers = {**self._client._client_wrapper.get_headers(), "Content-Type": "application/json"}
        answer = self._http.post(f"{self.url}{path}", content=content, headers=headers)
        if not answer.is_success:
            is_json = "json" in answer.headers.get("content-type", "")
            raise ApiError(status_code=answer.status_code, body=answer.json() if is_json else answer.text)
        return answer.json()

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        import httpx
        from label_studio_sdk.core.api_error import ApiError

        try:
            yield
        except SemctlError:
            raise
        except ApiError as problem:
            status = problem.status_code or 500
            if not isinstance(problem.body, Mapping) and (status < 400 or status in (404, 405)):
                raise not_label_studio(self.url, doing) from None
            detail = describe(problem.body)
            raise refusal(self.url, doing, status, detail) from None
        except httpx.TimeoutException:
            raise ServiceError(
                f"Label Studio did not answer in time ({doing})",
                where=self.url,
                fix="run it again; it is completed then",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise ServiceError(
                f"Label Studio does not answer ({doing})",
                where=self.url,
                fix="start it with `semctl studio start`, or check LABEL_STUDIO_URL; then run this again",
            ) from None
        except (ValueError, RecursionError):  # not JSON, not UTF-8, or nothing like what was asked for
            raise not_label_studio(self.url, doing) from None
