"""Folders to the Hugging Face Hub, or to what HF_ENDPOINT names in its place."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import Any

from pipeline.sharing.folders import Export, Kind
from schemas.errors import MissingPartError, ServiceError, UsageError
from schemas.safe_text import guard

_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def check_push(repo: str) -> None:
    """See that something can be pushed there, before any work.

    Raises:
        UsageError: no name of a repository.
        MissingPartError: huggingface_hub is not installed, or there is no token.
    """
    if not _REPO.fullmatch(repo):
        raise UsageError(f"'{repo}' is no repository of the Hub", fix="name it OWNER/NAME")
    try:
        from huggingface_hub import get_token
    except ImportError:
        raise MissingPartError(
            "pushing needs the package huggingface_hub", fix="pip install huggingface_hub, or leave --push out"
        ) from None
    token = get_token()
    if token is None:
        raise MissingPartError("there is no token of the Hub", fix="set HF_TOKEN, or run `hf auth login`")
    guard(token)


def push(export: Export, repo: str, *, public: bool) -> Export:
    """Send a folder to a repository, made when it is not there, in one commit; files that it has already stay unsent.

    Args:
        export: what was written.
        repo: OWNER/NAME.
        public: of a new repository: everybody may read it. One that is there stays as it is.

    Returns:
        The same, with its address there.

    Raises:
        ServiceError: the Hub cannot be reached, or refuses it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api, kind = HfApi(), _TYPES[export.kind]
    try:
        with warnings.catch_warnings():
            # a model's folder has a table in it, its catalogue; and what the Hub misses in a card is no error
            warnings.simplefilter("ignore", UserWarning)
            made = api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
            api.upload_folder(
                repo_id=repo,
                repo_type=kind,
                folder_path=export.folder,
                commit_message=f"{export.kind.capitalize()} written by semctl",
            )
    except Exception as problem:
        # errors of the HTTP library come through, httpx or httpx2 as huggingface_hub's version has it
        known = isinstance(problem, HfHubHTTPError | OSError | RuntimeError | ValueError)
        if not known and not type(problem).__module__.startswith("httpx"):
            raise
        raise ServiceError(f"the Hub did not take it: {_said(problem)}", where=repo, fix=_FIX) from None
    return replace(export, url=str(made))


_TYPES: dict[Kind, str] = {"model": "model", "dataset": "dataset"}
_FIX = "the folder is written; push it again once that is put right (`hf auth whoami` says who you are there)"


def _said(problem: Any) -> str:
    server = getattr(problem, "server_message", None)
    response = getattr(problem, "response", None)
    status = getattr(response, "status_code", None)
    lines = [line for line in str(server or problem).splitlines() if line.strip()]
    text = lines[-1].strip() if lines else type(problem).__name__
    return text if status is None else f"{text} (HTTP {status})"
