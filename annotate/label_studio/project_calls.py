"""Projects of Label Studio: found by their exact name, made, brought up to date, checked."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from annotate.label_studio.errors import describe
from annotate.label_studio.session import ONCE, Session, api_error, time_text
from annotate.label_studio.task_list import TASK_LIST_VIEW
from annotate.tasks import label_config as labels
from schemas.errors import LabelError, UsageError

__all__ = ["Project", "ProjectCalls"]


@dataclass(frozen=True)
class Project:
    """A project of Label Studio.

    Attributes:
        id: its number on the server.
        title: its name.
        label_config: the configuration as the server holds it.
        tasks: how many tasks it holds.
        created: whether this run made it.
        instruction: HTML shown to annotators on request.
        created_at: when it was made, as UTC in ISO 8601; with its number it tells one server's projects from another's.
    """

    id: int
    title: str
    label_config: str
    tasks: int
    created: bool = False
    instruction: str = ""
    created_at: str = ""

    def is_current(self, config: labels.LabelConfig, instruction: str) -> bool:
        """Whether it has this configuration and says this under Instructions, whose markup Label Studio rewrites."""
        return self.label_config == config.xml and _words(self.instruction) == _words(instruction)


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
                    request_options=ONCE,
                )
                self._client.views.create(project=made.id, data=TASK_LIST_VIEW, request_options=ONCE)
                return Project(made.id, made.title, made.label_config, 0, created=True)
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


def _words(instruction: str) -> list[str]:
    return html.unescape(re.sub(r"<[^>]*>", " ", instruction)).split()
