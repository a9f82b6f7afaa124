"""What Label Studio's refusals mean, and the fix for each."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.errors import ServiceError
from schemas.safe_text import holds_secret

__all__ = ["describe", "elsewhere", "not_label_studio", "refusal"]

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
