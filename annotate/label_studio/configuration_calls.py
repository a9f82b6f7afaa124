"""Label configurations of projects that people work in already: tried first, then changed."""

from __future__ import annotations

import json
import re
from typing import Any

from annotate.label_studio.errors import describe
from annotate.label_studio.project_calls import Project, ProjectCalls
from annotate.label_studio.session import ONCE, api_error
from annotate.tasks import label_config as labels
from schemas.errors import LabelError

__all__ = ["ConfigurationCalls"]

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
        item = {
            "filter": "filter:tasks:annotations_results",
            "operator": "contains",
            "type": "String",
            "value": control,
        }
        query = json.dumps({"filters": {"conjunction": "and", "items": [item]}})
        found = self._tasks.list(project=project.id, query=query, include="id", page_size=_MOST_NAMED)
        return [task.id for _, task in zip(range(_MOST_NAMED), found, strict=False)]
