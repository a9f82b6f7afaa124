"""The one door to Label Studio: the only module that knows its SDK.

Every failure becomes a :class:`~schemas.errors.ServiceError` (exit code 4) that names the mend; no message holds a
token.
Writes are never retried: a request that seems to have failed may have arrived.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from annotate import label_config as labels
from annotate.gateway_errors import describe, not_label_studio, refusal
from annotate.studio import Studio
from annotate.task_list import TASK_LIST_VIEW, uid_queries
from schemas.errors import LabelError, SemctlError, ServiceError, UsageError
from schemas.files import atomic_path
from schemas.progress import Progress, SilentProgress

__all__ = ["Gateway", "Project", "PushedTask", "connect"]

_BATCH_TASKS = 500
_LIST_PAGE = 500
_ALL_TASKS_UP_TO = 20_000
_ONCE: Mapping[str, Any] = {"max_retries": 0}


@dataclass(frozen=True)
class Project:
    """A project of Label Studio.

    Attributes:
        id: its number on the server.
        title: its name.
        label_config: the configuration as the server holds it.
        tasks: how many tasks it holds.
        created: whether this run made it.
    """

    id: int
    title: str
    label_config: str
    tasks: int
    created: bool = False


@dataclass(frozen=True)
class PushedTask:
    """A task that is on the server.

    Attributes:
        id: its number on the server.
        data: what was pushed; ``uid`` names it.
        annotations: how many annotations it has.
    """

    id: int
    data: Mapping[str, Any]
    annotations: int

    @property
    def uid(self) -> str:
        return str(self.data["uid"])


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
    local, credentials = studio.url(), studio.credentials()
    if local is None or credentials is None:
        raise ServiceError(
            "Label Studio is not running",
            fix="start it with `semctl studio start`, or set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
        )
    return Gateway(local, credentials.token)


class Gateway:
    """A connection to one Label Studio; connecting checks that it answers and takes the key.

    Args:
        url: its address, as ``http://127.0.0.1:8080``.
        api_key: a legacy token or a personal access token.
        seconds: how long one request may take.
    """

    def __init__(self, url: str, api_key: str, *, seconds: float = 300.0) -> None:
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise UsageError("not an address of Label Studio", where=url, fix="write it as http://HOST:PORT")
        self.url = url.rstrip("/")
        self._secret = api_key.strip()
        with self._asking("log in"):
            import httpx
            import label_studio_sdk

            client = httpx.Client(
                timeout=httpx.Timeout(seconds, connect=10.0),
                follow_redirects=True,
                # a proxy for the outside world must not see requests to this machine
                trust_env=not _is_loopback(address.hostname),
            )
            sdk: Any = label_studio_sdk
            self._client: Any = sdk.LabelStudio(base_url=self.url, api_key=self._secret, httpx_client=client)
            self.user = str(self._client.users.whoami().email)

    def __repr__(self) -> str:
        return f"Gateway({self.url!r})"

    def version(self) -> str:
        """The server's version, as ``1.23.2``."""
        with self._asking("read its version"):
            return str(self._client.versions.get().release)

    def users(self) -> dict[int, str]:
        """E-mail address by number of every user: annotations name them by number (``completed_by``)."""
        with self._asking("list its users"):
            return {int(user.id): str(user.email) for user in self._client.users.list()}

    def find_project(self, title: str) -> Project | None:
        """The project of exactly this name, or None.

        Raises:
            LabelError: several projects have this name.
        """
        with self._asking(f"look for the project '{title}'"):
            found = [item for item in self._client.projects.list(title=title, page_size=100) if item.title == title]
            if len(found) > 1:
                raise LabelError(
                    f"{len(found)} projects are named '{title}'", where=self.url, fix="rename all but one of them"
                )
            return self.project(found[0].id) if found else None

    def require_project(self, title: str) -> Project:
        """The project of exactly this name.

        Raises:
            LabelError: there is none, or several.
        """
        project = self.find_project(title)
        if project is None:
            raise LabelError(
                f"Label Studio has no project '{title}'",
                where=self.url,
                fix=f"make it with `semctl export-for-labelling --project {title}`",
            )
        return project

    def project(self, project_id: int) -> Project:
        """A project by its number."""
        with self._asking(f"read project {project_id}"):
            item = self._client.projects.get(project_id)
            return Project(item.id, item.title, item.label_config or "", item.task_number or 0)

    def ensure_project(self, title: str, config: labels.LabelConfig, instruction: str) -> Project:
        """The project of this name with this configuration: found, brought up to date, or made.

        Args:
            title: 3 to 50 characters.
            config: the configuration generated from the workspace's ontology.
            instruction: HTML shown to annotators on request.

        Raises:
            UsageError: Label Studio allows no such name.
            LabelError: a project of that name has a configuration that semctl did not write, that was edited by hand,
                or that belongs to another ontology.
        """
        if not 3 <= len(title) <= 50:
            raise UsageError(f"'{title}' has {len(title)} characters", fix="a project's name has 3 to 50")
        project = self.find_project(title)
        shown = {"label_config": config.xml, "expert_instruction": instruction, "show_instruction": False}
        if project is None:
            with self._asking(f"make the project '{title}'"):
                made = self._client.projects.create(
                    title=title,
                    description="Belief states of shopping dialogues, made by semctl",
                    enable_empty_annotation=True,
                    show_collab_predictions=True,
                    **shown,
                    request_options=_ONCE,
                )
                self._client.views.create(project=made.id, data=TASK_LIST_VIEW, request_options=_ONCE)
                return Project(made.id, made.title, made.label_config, 0, created=True)
        self.check_config(project)
        if project.label_config == config.xml:
            return project
        gone = labels.slots_offered(project.label_config) - labels.slots_offered(config.xml)
        if gone:
            raise LabelError(
                f"the project '{title}' labels slots that this ontology lacks: {', '.join(sorted(gone))}",
                where=self.url,
                fix="export to another project, or put the slots back into ontology.json",
            )
        with self._asking(f"bring the project '{title}' up to date"):
            self._client.projects.update(project.id, **shown, request_options=_ONCE)
        return self.project(project.id)

    def label_config(self, project: int | str) -> str:
        """The label configuration of a project, by number or name."""
        found = self.project(project) if isinstance(project, int) else self.require_project(project)
        return found.label_config

    def check_config(self, project: Project) -> None:
        """Refuse a project whose label configuration is not as semctl generated it.

        Raises:
            LabelError: it was written by somebody else, or edited by hand.
        """
        if not labels.is_intact(project.label_config):
            raise LabelError(
                f"the label configuration of the project '{project.title}' is not semctl's, or was edited by hand",
                where=f"{self.url}/projects/{project.id}/settings/labeling",
                fix="paste labelling/batch-NNNN/label_config.xml there again, or use another project name",
            )

    def serve_pictures(self, project_id: int, folder: Path) -> str | None:
        """Let the server show the pictures of a folder in this project.

        Returns:
            None when it can, else why it cannot: a server on another machine or with another document root.
        """
        from label_studio_sdk.core.api_error import ApiError

        with self._asking("connect the pictures"):
            storages = self._client.import_storage.local.list(project=project_id)
            if any(Path(storage.path or "") == folder for storage in storages):
                return None
            try:
                self._client.import_storage.local.create(
                    project=project_id,
                    path=str(folder),
                    title="semctl pictures",
                    use_blob_urls=True,
                    request_options=_ONCE,
                )
            except ApiError as problem:
                if problem.status_code != 400:
                    raise
                return describe(problem.body)
        return None

    def tasks(self, project: Project, uids: Sequence[str] | None = None) -> Iterator[PushedTask]:
        """Tasks of a project, oldest first: all, or those with these uids; tasks without a uid are passed over."""
        if uids is None or 2 * len(uids) > project.tasks:
            wanted = None if uids is None else frozenset(uids)
            queries: Iterator[str | None] = iter([None])
        else:
            wanted = frozenset(uids)
            queries = uid_queries(sorted(wanted))
        for query in queries:
            with self._asking("look up tasks"):
                found = self._client.tasks.list(
                    project=project.id,
                    include="id,data,total_annotations",
                    page_size=_LIST_PAGE,
                    **({} if query is None else {"query": query}),
                )
                for item in found:
                    data = item.data or {}
                    if "uid" in data and (wanted is None or data["uid"] in wanted):
                        yield PushedTask(item.id, data, item.total_annotations or 0)

    def push(self, project: Project, tasks: Sequence[Mapping[str, Any]], progress: Progress | None = None) -> None:
        """Import tasks, several hundred at a time; each request holds all of its tasks or none."""
        progress = progress or SilentProgress()
        with progress.task("pushing tasks", total=len(tasks)) as bar:
            for start in range(0, len(tasks), _BATCH_TASKS):
                batch = list(tasks[start : start + _BATCH_TASKS])
                with self._asking("import tasks"):
                    self._client.projects.import_tasks(project.id, request=batch, request_options=_ONCE)
                bar.advance(len(batch))

    def remove_doubles(self, project: Project, uids: Sequence[str]) -> int:
        """Delete unlabelled tasks whose uid an older task has: what an interrupted push may leave behind.

        Returns:
            How many were deleted.
        """
        seen: set[str] = set()
        removed = 0
        for task in sorted(self.tasks(self.project(project.id), uids), key=lambda task: (-task.annotations, task.id)):
            if task.uid in seen and task.annotations == 0:
                with self._asking("delete a doubled task"):
                    self._client.tasks.delete(str(task.id), request_options=_ONCE)
                removed += 1
            seen.add(task.uid)
        return removed

    def create_annotation(
        self,
        task_id: int,
        result: Sequence[Mapping[str, Any]],
        *,
        lead_time: float | None = None,
        completed_by: int | None = None,
    ) -> int:
        """Store one annotation and return its number; the server checks nothing of ``result``."""
        named = {"lead_time": lead_time, "completed_by": completed_by}
        with self._asking(f"annotate task {task_id}"):
            made = self._client.annotations.create(
                id=task_id,
                result=list(result),
                **{name: value for name, value in named.items() if value is not None},
                request_options=_ONCE,
            )
        return int(made.id)

    def download_export(self, project: Project, path: Path) -> Path:
        """Write the project's JSON export to a file, streamed.

        Projects of up to 20,000 tasks are exported with the tasks not yet labelled, so that drafts (answers begun) are
        seen; larger ones without, because the server would hold them all in memory.
        """
        with self._asking(f"export the project '{project.title}'"), atomic_path(path) as temporary:
            chunks = self._client.projects.exports.download_sync(
                project.id, export_type="JSON", download_all_tasks=project.tasks <= _ALL_TASKS_UP_TO
            )
            with temporary.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
        return path

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        import httpx
        import pydantic
        from label_studio_sdk.core.api_error import ApiError

        try:
            yield
        except SemctlError:
            raise
        except ApiError as problem:
            status = problem.status_code or 500
            if not isinstance(problem.body, Mapping) and (status < 400 or status in (404, 405)):
                raise not_label_studio(self.url, doing) from None
            detail = describe(problem.body).replace(self._secret, "...")
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
        except (json.JSONDecodeError, pydantic.ValidationError, UnicodeDecodeError):
            raise not_label_studio(self.url, doing) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
