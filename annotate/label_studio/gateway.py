"""The one door to Label Studio.

What it can be asked is beside it, by theme: projects and configurations, tasks, and models (``*_calls.py``); how
requests are made and fail in :mod:`annotate.label_studio.session`.
"""

from __future__ import annotations

import os
from pathlib import Path

from annotate.label_studio.model_calls import ModelCalls
from annotate.label_studio.project_calls import ConfigurationCalls, Project
from annotate.label_studio.studio import Studio
from annotate.label_studio.task_calls import PushedTask, TaskCalls
from schemas.errors import ServiceError, UsageError

__all__ = ["Gateway", "Project", "PushedTask", "connect"]


class Gateway(TaskCalls, ConfigurationCalls, ModelCalls):
    """A connection to one Label Studio; see :class:`~annotate.label_studio.session.Session` for how it is made."""


def connect(workspace: Path) -> Gateway:
    """The Label Studio named by ``LABEL_STUDIO_URL`` and ``LABEL_STUDIO_API_KEY``, else the workspace's own one.

    Raises:
        UsageError: only one of the two variables is set, or the address is not one.
        ServiceError: neither is there, or it does not answer, or it refuses the key.
    """
    url, key = os.environ.get("LABEL_STUDIO_URL"), os.environ.get("LABEL_STUDIO_API_KEY")
    if url and key:
        return Gateway(url, key)
    if url or key:
        there, lacking = ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")[:: 1 if url else -1]
        raise UsageError(f"{there} is set, {lacking} is not", fix=f"set {lacking} too, or neither for the local server")
    studio = Studio.of_workspace(workspace)
    local, credentials = studio.address(), studio.credentials()
    if local is None or credentials is None:
        raise ServiceError(
            "Label Studio is not running",
            fix="start it with `semctl studio start`, or set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
        )
    gateway = Gateway(local.url, credentials.token)
    gateway.page_url = local.page_url
    return gateway
