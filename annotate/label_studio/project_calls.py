"""Projects of Label Studio: found by their exact name, made, brought up to date, checked."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from annotate.label_studio.session import ONCE, Session, api_error, describe, time_text
from annotate.tasks import label_config as labels
from schemas.errors import LabelError, UsageError


@dataclass(frozen=True)
class Project:
    """A project of Label Studio."""

    id: int  # its number on the server
    title: str  # its name
    label_config: str  # the configuration as the server holds it
    tasks: int  # how many tasks it holds
    created: bool = False  # whether this run made it
    instruction: str = ""  # HTML shown to annotators on request
    # when it was made, as UTC in ISO 8601; with its number it tells one server's projects from another's
    created_at: str = ""

    def is_current(self, config: labels.LabelConfig, instruction: str) -> bool:
        """Whether it has this configuration and says this under Instructions, whose markup Label Studio rewrites."""
        return self.label_config == config.xml and _words(self.instruction) == _words(instruction)


class Totals(NamedTuple):
    """How much a project holds."""

    tasks: int  # all tasks
    answers: int  # all annotations, skipped ones too


class ProjectCalls(Session):
    """What semctl asks of projects."""

    def find_project(self, title: str) -> Project | None:
        """The project of exactly this name, or None.

        Raises:
            LabelError: several projects have this name.
        """
        with self._asking(f"look for the project '{title}'"):
            found = [
                item
                for item in self._pages(self._client.projects.list(title=title, page_size=100))
                if item.title == title
            ]
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
            return Project(
                item.id,
                item.title,
                item.label_config or "",
                item.task_number or 0,
                instruction=item.expert_instruction or "",
                created_at=time_text(item.created_at),
            )

    def projects_numbered(self, numbers: Sequence[int]) -> dict[int, Project]:
        """The projects that have these numbers, without their configurations, in one question a hundred."""
        found = {}
        for ids in _hundreds(numbers):
            with self._asking("look for projects"):
                include = "id,title,created_at,task_number"
                page = self._client.projects.list(ids=ids, include=include, page=1, page_size=_PROJECTS)
                for item in page.items or ():
                    made = time_text(getattr(item, "created_at", None))
                    found[item.id] = Project(item.id, item.title, "", item.task_number or 0, created_at=made)
        return found

    def answer_counts(self, numbers: Sequence[int]) -> dict[int, int]:
        """Project number -> its answers, skipped ones too, as the server counts them; cheap."""
        with self._asking("count answers"):
            return {number: held.answers for number, held in self._totals(numbers)}

    def totals(self, project: Project) -> Totals:
        """How much the project holds now, counted by the server; cheap."""
        with self._asking(f"count the tasks of the project '{project.title}'"):
            ((_, held),) = self._totals([project.id])
            return held

    def _totals(self, numbers: Sequence[int]) -> Iterator[tuple[int, Totals]]:
        names = ("task_number", "total_annotations_number", "skipped_annotations_number")
        for ids in _hundreds(numbers):
            include = ",".join(("id", *names))
            for item in self._client.projects.list_counts(ids=ids, include=include, page_size=_PROJECTS).results:
                tasks, finished, skipped = (int(getattr(item, name) or 0) for name in names)
                yield item.id, Totals(tasks, finished + skipped)

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
        _check_title(title)
        project = self.find_project(title)
        shown = {"label_config": config.xml, "expert_instruction": instruction, "show_instruction": False}
        if project is None:
            about = "Belief states of shopping dialogues, made by semctl"
            return self._make(title, about, TASK_LIST_VIEW, enable_empty_annotation=True, **shown)
        self.check_config(project)
        if project.is_current(config, instruction):
            return project
        gone = labels.slots_lost(project.label_config, config)
        if gone:
            raise LabelError(
                f"the project '{title}' labels slots that this ontology lacks: {', '.join(gone)}",
                where=self.url,
                fix="export to another project, or put the slots back into ontology.json",
            )
        with self._asking(f"bring the project '{title}' up to date"):
            self._client.projects.update(project.id, **shown, request_options=ONCE)
        return self.project(project.id)

    def ensure_judging_project(self, title: str, xml: str, instruction: str) -> Project:
        """The project of this name on whose screen two lists are judged: found, or made.

        Args:
            title: 3 to 50 characters.
            xml: its configuration, see :func:`annotate.judging.screen.judging_config`.
            instruction: HTML that annotators are shown when they begin, and on request.

        Raises:
            UsageError: Label Studio allows no such name.
            LabelError: a project of that name has another configuration.
        """
        _check_title(title)
        project = self.find_project(title)
        if project is None:
            shown = {"label_config": xml, "expert_instruction": instruction, "show_instruction": True}
            return self._make(title, "Which list fits better, made by semctl", JUDGING_VIEW, **shown)
        if project.label_config.replace("\r\n", "\n") != xml:
            raise LabelError(
                f"the project '{title}' is there and has another screen",
                where=f"{self.page_url}/projects/{project.id}/settings/labeling",
                fix="use another project name",
            )
        return project

    def _make(self, title: str, about: str, view: Mapping[str, Any], **settings: Any) -> Project:
        with self._asking(f"make the project '{title}'"):
            made = self._client.projects.create(
                title=title, description=about, show_collab_predictions=True, **settings, request_options=ONCE
            )
            self._client.views.create(project=made.id, data=view, request_options=ONCE)
            return Project(made.id, made.title, made.label_config, 0, created=True)

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
                where=f"{self.page_url}/projects/{project.id}/settings/labeling",
                fix="paste labelling/batch-NNNN/label_config.xml there again, or use another project name",
            )

    def serve_images(self, project_id: int, folder: Path) -> str | None:
        """Let the server show the images of a folder in this project.

        Returns:
            None when it can, else why it cannot: a server on another machine or with another document root.
        """
        with self._asking("connect the images"):
            storages = self._client.import_storage.local.list(project=project_id)
            if any(Path(storage.path or "") == folder for storage in storages):
                return None
            try:
                self._client.import_storage.local.create(
                    project=project_id,
                    path=str(folder),
                    title="semctl images",
                    use_blob_urls=True,
                    request_options=ONCE,
                )
            except api_error() as problem:
                if getattr(problem, "status_code", None) != 400:
                    raise
                return describe(getattr(problem, "body", problem))
        return None


def _check_title(title: str) -> None:
    if not 3 <= len(title) <= 50:
        raise UsageError(f"'{title}' has {len(title)} characters", fix="a project's name has 3 to 50")


def _hundreds(numbers: Sequence[int]) -> Iterator[str]:
    for start in range(0, len(numbers), _PROJECTS):
        yield ",".join(map(str, numbers[start : start + _PROJECTS]))


def _words(instruction: str) -> list[str]:
    return html.unescape(re.sub(r"<[^>]*>", " ", instruction)).split()


_QUERY_CHARACTERS = 6000
_PROJECTS = 100

_BULKY = (
    "past_html",
    "tail_html",
    "user_turns",
    "dialogue_sha256",
    "config_sha256",
    "semctl_schema",
    "ontology_version",
)
UNUSED_COLUMNS = (
    "annotations_ids",
    "annotations_results",
    "created_at",
    "draft_exists",
    "file_upload",
    "inner_id",
    "predictions_model_versions",
    "predictions_results",
    "predictions_score",
    "storage_filename",
    "total_predictions",
    "updated_at",
    "updated_by",
)
"""Columns of the task list that nobody reads there."""

_NOT_WHILE_LABELLING = ("id", "completed_at", "cancelled_annotations", "annotators", "avg_lead_time")


def _task_list_view(title: str, bulky: Sequence[str], *while_labelling: str) -> dict[str, Any]:
    """A view that hides parts of the tasks' data: ``bulky`` ones always, others beside the screen."""
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "hiddenColumns": {
            "explore": [*(f"tasks:data.{name}" for name in bulky), *(f"tasks:{name}" for name in UNUSED_COLUMNS)],
            "labeling": [
                *(f"tasks:data.{name}" for name in (*bulky, *while_labelling)),
                *(f"tasks:{name}" for name in (*UNUSED_COLUMNS, *_NOT_WHILE_LABELLING)),
            ],
        },
    }


TASK_LIST_VIEW = _task_list_view("Dialogues", _BULKY, "dialogue_id", "window", "windows")
"""Without a view of its own, a project's task list is full of the tasks' HTML."""

JUDGING_VIEW = _task_list_view("Turns", ("judgement", "context_html", "left_html", "right_html"), "annotator")


def task_filter(column: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    """A condition on a column of the task list, in Label Studio's words."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def task_query(filters: Sequence[Mapping[str, Any]], conjunction: str = "and", **view: Any) -> str:
    """Which tasks to list, and how."""
    return orjson.dumps({"filters": {"conjunction": conjunction, "items": filters}, **view}).decode()


def uid_queries(uids: Sequence[str]) -> Iterator[str]:
    """Filters for some uids each, short enough for any server's limit on the length of an address."""
    batch: list[str] = []
    length = 0
    for uid in uids:
        cost = len(quote(uid)) + 9
        if batch and length + cost > _QUERY_CHARACTERS:
            yield _uid_query(batch)
            batch, length = [], 0
        batch.append(uid)
        length += cost
    if batch:
        yield _uid_query(batch)


def _uid_query(uids: list[str]) -> str:
    query = task_query([task_filter("data.uid", "in_list", "String", uids)])
    return query.replace("%", "%25")  # the server decodes it once more than HTTP does


_MOST_NAMED = 5
_ONLY_HERE = "These labels still exist"
"""The check is stricter than the change: values that answers hold may go from the screen."""

_INCOMPATIBLE = re.compile(r"with from_name=(.+?), to_name=")


class ConfigurationCalls(ProjectCalls):
    """What semctl asks of configurations that are in use."""

    def try_config(self, project: Project, config: labels.LabelConfig) -> None:
        """Ask the server whether it would take a new configuration beside the answers there are; changes nothing.

        Raises:
            LabelError: it would not: answers came in that no screen of semctl can have given.
        """
        with self._asking(f"check the new configuration of the project '{project.title}'"):
            try:
                self._client.projects.validate_label_config(project.id, label_config=config.xml, request_options=ONCE)
            except api_error() as problem:
                if _ONLY_HERE in str(getattr(problem, "body", "")):
                    return
                self._explain(project, problem)
                raise

    def change_config(self, project: Project, config: labels.LabelConfig, instruction: str) -> None:
        """Give a project another configuration and instruction; answers stay as they are.

        Raises:
            LabelError: as :meth:`try_config`.
        """
        with self._asking(f"bring the project '{project.title}' up to date"):
            try:
                self._client.projects.update(
                    project.id, label_config=config.xml, expert_instruction=instruction, request_options=ONCE
                )
            except api_error() as problem:
                self._explain(project, problem)
                raise

    def _explain(self, project: Project, problem: Any) -> None:
        """Raise the error for answers that no configuration of semctl allows, naming them; else return."""
        if problem.status_code != 400:
            return
        strange = sorted(set(_INCOMPATIBLE.findall(str(problem.body))))
        tasks = [task for name in strange[:_MOST_NAMED] for task in self._tasks_answered_by(project, name)]
        where = f"{self.page_url}/projects/{project.id}/data"
        if not strange:
            raise LabelError(
                f"the project '{project.title}' does not take the new configuration: {describe(problem.body)}",
                where=where,
            ) from None
        named = ", ".join(f"'{name}'" for name in strange[:_MOST_NAMED])
        of = f" (tasks {', '.join(map(str, sorted(set(tasks))[:_MOST_NAMED]))})" if tasks else ""
        raise LabelError(
            f"the project '{project.title}' holds answers from a control that is not on the screen: {named}{of}",
            where=where,
            fix="delete these annotations, then run this again; nothing was changed",
        ) from None

    def _tasks_answered_by(self, project: Project, control: str) -> list[int]:
        query = task_query([task_filter("annotations_results", "contains", "String", control)])
        found = self._tasks.list(project=project.id, query=query, include="id", page_size=_MOST_NAMED)
        return [task.id for _, task in zip(range(_MOST_NAMED), found, strict=False)]
