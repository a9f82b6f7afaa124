"""The model that a project asks for predictions: an ML backend in Label Studio's words, with its webhook.

What Label Studio 1.23 does, as read and tried: it asks the first backend of a project, when a task without predictions
is opened and for each task of its label stream, the latter only while ``model_version`` of the project is the title of
the backend. An address in a reserved network is refused unless the server was started to allow it. With a backend it
makes a webhook that sends every change in the project, with all tasks and answers in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from annotate.label_studio.project_calls import Project, ProjectCalls
from annotate.label_studio.session import ONCE, api_error, describe
from schemas.errors import LabelError, ServiceError

_MADE_BY = "semctl serve"
_USER = "semctl"
_CONNECTED = "CO"
_RESERVED = "reserved network"
TOLD = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
"""What a model's webhook is told of."""


@dataclass(frozen=True)
class ModelServer:
    """A server that fills tasks in."""

    url: str  # its address, without a slash at its end, as Label Studio is to ask it
    title: str  # what its predictions are called
    key: str = ""  # asked of every request; empty: none is


class ReservedAddressError(ServiceError):
    """This Label Studio asks nothing at such an address."""


class ModelCalls(ProjectCalls):
    """What semctl asks of a project's model."""

    def connect_model(self, project: Project, server: ModelServer) -> Literal["connected", "updated", "unchanged"]:
        """Let a project ask this server, and no other one of semctl; with its webhook told of annotations only.

        A webhook cannot keep a key to itself, so that it is switched off where one is needed.

        Raises:
            LabelError: the project asks a model already that semctl did not put there.
            ReservedAddressError: Label Studio asks nothing at this address.
            ServiceError: it cannot ask this server.
        """
        with self._asking(f"look for models of the project '{project.title}'"):
            models = list(self._client.ml.list(project=project.id))
            item = self._client.projects.get(project.id)
        ours = [model for model in models if model.description == _MADE_BY]
        foreign = [model.url for model in models if model.description != _MADE_BY]
        if foreign:
            raise LabelError(
                f"the project '{project.title}' asks another model: {foreign[0]}",
                where=f"{self.page_url}/projects/{project.id}/settings/ml",
                fix="delete it there, then run this again",
            )
        changed = self._put_model(project, server, ours)
        wanted = {"show_collab_predictions": True, "model_version": server.title}
        if any(getattr(item, name) != value for name, value in wanted.items()):
            changed = True
            with self._asking(f"let the project '{project.title}' show predictions"):
                self._client.projects.update(project.id, **wanted, request_options=ONCE)
        changed |= self._put_webhook(project, server, [f"{model.url.rstrip('/')}/webhook" for model in ours])
        if not changed:
            return "unchanged"
        return "updated" if ours else "connected"

    def predictions(self, project: Project) -> int:
        """How many predictions a project holds."""
        with self._asking("count predictions"):
            include = "id,total_predictions_number"
            (item,) = self._client.projects.list_counts(ids=str(project.id), include=include, page_size=1).results
            return int(item.total_predictions_number or 0)

    def _put_model(self, project: Project, server: ModelServer, ours: list[Any]) -> bool:
        """Whether anything had to be changed."""
        auth = {"auth_method": "BASIC_AUTH" if server.key else "NONE"}
        if server.key:
            auth |= {"basic_auth_user": _USER, "basic_auth_pass": server.key}
        wanted = {"project": project.id, "url": server.url, "title": server.title, "description": _MADE_BY, **auth}
        told = {name: value for name, value in wanted.items() if name != "basic_auth_pass"}
        with self._asking("delete a model"):
            for doubled in ours[1:]:
                self._client.ml.delete(doubled.id, request_options=ONCE)
        if ours and ours[0].state == _CONNECTED and all(getattr(ours[0], name) == told[name] for name in told):
            return len(ours) > 1
        with self._asking(f"let the project '{project.title}' ask a model"):
            try:
                if ours:
                    made = self._client.ml.update(ours[0].id, **wanted, request_options=ONCE)
                else:
                    made = self._client.ml.create(**wanted, request_options=ONCE)
            except api_error() as problem:
                self._explain_model(server, problem)
                raise
            made = self._client.ml.get(made.id)
        if made.state != _CONNECTED:
            raise ServiceError(
                f"Label Studio cannot ask the model: {made.error_message or 'it does not answer'}", where=server.url
            )
        return True

    def _explain_model(self, server: ModelServer, problem: Any) -> None:
        """Raise the error for an address that Label Studio does not ask, or does not reach; else return."""
        if _RESERVED in str(problem.body):
            raise ReservedAddressError(f"this Label Studio asks nothing at {server.url}", where=self.url) from None
        if problem.status_code == 400:
            raise ServiceError(
                f"Label Studio cannot ask the model: {describe(problem.body)}", where=server.url
            ) from None

    def _put_webhook(self, project: Project, server: ModelServer, before: list[str]) -> bool:
        """Whether anything had to be changed."""
        url = f"{server.url}/webhook"
        with self._asking("look for webhooks"):
            hooks = [hook for hook in self._client.webhooks.list(project=str(project.id)) if hook.url in (url, *before)]
        wanted = {"url": url, "is_active": not server.key, "send_payload": False, "send_for_all_actions": False}
        changed = False
        for number, hook in enumerate(hooks):
            is_current = all(getattr(hook, name) == value for name, value in wanted.items())
            if number == 0 and is_current and sorted(hook.actions or ()) == sorted(TOLD):
                continue
            changed = True
            with self._asking("tell a webhook what to send"):
                if number:
                    self._client.webhooks.delete(hook.id, request_options=ONCE)
                else:
                    self._client.webhooks.update(hook.id, **wanted, actions=list(TOLD), request_options=ONCE)
        return changed
