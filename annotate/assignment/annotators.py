"""``labelling/annotators.json``: who annotators are, however Label Studio names them.

Label Studio names people by numbers that mean something only on its own server. What is learned there (e-mail addresses
by number, projects assigned to somebody) is kept, so that an export of that server taken in later as a file names the
same people; see :mod:`annotate.exports.identity` for how a file is known to be of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from annotate.annotations.annotation import Annotation
from schemas.errors import LabelError
from schemas.files import read_json, taken_apart, write_json

NUMBERED = "user:"
"""What the name of an annotator begins with of whom only a number is known."""

NOBODY = "unknown:"
"""What the name of an annotator begins with of whom nothing is known; the rest names their only answer."""

_RECORD = 1


@dataclass
class _Server:
    """One Label Studio."""

    users: dict[str, str] = field(default_factory=dict)  # number -> e-mail address
    # number -> whom it was assigned to, or None for a project that was not assigned
    projects: dict[str, str | None] = field(default_factory=dict)


class Annotators:
    """What is known of annotators; made by :meth:`read`.

    Args:
        servers: address -> what was learned there.
    """

    def __init__(self, servers: Mapping[str, _Server] | None = None) -> None:
        self._servers: dict[str, _Server] = dict(servers or {})

    @classmethod
    def read(cls, labelling: Path) -> Annotators:
        """The annotators that a workspace's labelling folder knows; an empty one when nothing was learned yet.

        Raises:
            LabelError: the file lists no annotators.
        """
        path = labelling / "annotators.json"
        if not path.is_file():
            return cls()
        value: Any = read_json(path, error=LabelError)
        fix = "remove that file; it is learned again"
        with taken_apart(path, error=LabelError, what="not a list of annotators", fix=fix):
            if value["semctl_annotators"] != _RECORD:
                raise ValueError(f"record {value['semctl_annotators']}")
            return cls(
                {
                    str(url): _Server(
                        {str(number): str(email) for number, email in server["users"].items()},
                        {str(number): who if who is None else str(who) for number, who in server["projects"].items()},
                    )
                    for url, server in value["servers"].items()
                }
            )

    def write(self, labelling: Path) -> None:
        """Write ``annotators.json``, whole, when it says something else than the file does."""
        path = labelling / "annotators.json"
        servers = {
            url: {"users": server.users, "projects": server.projects} for url, server in sorted(self._servers.items())
        }
        value = {"semctl_annotators": _RECORD, "servers": servers}
        if not path.is_file() or read_json(path, error=LabelError) != value:
            write_json(path, value)

    def learn(self, url: str, users: Mapping[int, str], projects: Mapping[int, str | None]) -> None:
        """Take in what a server says.

        Args:
            url: its address.
            users: all its users, by number, with their e-mail addresses.
            projects: some of its projects, by number, with whom they were assigned to.
        """
        server = self._servers.setdefault(url, _Server())
        server.users = {str(number): email.lower() for number, email in sorted(users.items())}
        server.projects |= {str(number): annotator for number, annotator in projects.items()}
        server.projects = dict(sorted(server.projects.items()))

    def annotator(
        self,
        server: str | None,
        project: str,
        number: str | None,
        *,
        email: str | None = None,
        assigned_to: str | None = None,
    ) -> str | None:
        """semctl's name of who answered; None where nothing but a number is known.

        The e-mail address of one of those that work was assigned to, wherever they answered; else the one whom the
        project was assigned to: people share logins. Else the e-mail address.

        Args:
            server: its address, or None where it is not known.
            project: number of the project.
            number: who sent the answer, by number.
            email: who sent it, by e-mail address.
            assigned_to: whom the task says it was assigned to.
        """
        known = self._servers.get(server or "", _Server())
        owner = assigned_to or known.projects.get(project)
        email = email or known.users.get(number or "")
        if email is not None and (owner is None or email in self._assigned_to()):
            return email
        return owner

    def named(self, annotation: Annotation) -> Annotation:
        """A stored annotation under semctl's name of its annotator, where it only has a number."""
        if not annotation.annotator.startswith(NUMBERED):
            return annotation
        name = self.annotator(annotation.server, annotation.project or "", annotation.completed_by)
        return annotation if name in (None, annotation.annotator) else replace(annotation, annotator=name)

    def everybody(self) -> set[str]:
        """All names known: e-mail addresses of users, and whom projects were assigned to."""
        return self._assigned_to() | {email for server in self._servers.values() for email in server.users.values()}

    def _assigned_to(self) -> set[str]:
        return {who for server in self._servers.values() for who in server.projects.values() if who is not None}
