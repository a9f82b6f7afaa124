"""Which version of the ontology the labelling screen offered when an answer was given.

A task carries the version it was made with. When the configuration of its project is changed later, whoever opens the
task sees the newer screen: from the recorded moment on, the project's answers are of that version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

__all__ = ["InterfaceVersions", "Switch"]


@dataclass(frozen=True)
class Switch:
    """A change of a project's screen."""

    since: str  # when, as UTC in ISO 8601
    ontology_version: int  # what the screen offers from then on


@dataclass(frozen=True)
class InterfaceVersions:
    """The changes of all projects' screens, by server and number of the project."""

    switches: Mapping[tuple[str, str], Sequence[Switch]] = field(default_factory=dict)

    def version(
        self, project: str | None, made_with: int, sent_at: str, seconds: float | None, *, server: str | None = None
    ) -> int:
        """The version that an answer is of, which was sent or changed last at ``sent_at`` (UTC in ISO 8601).

        The page may have been opened as long before the answer was sent as its annotator worked on it, so that much is
        allowed for: in doubt the older version counts. Where the server is not known, a number that projects of two
        servers have tells nothing.
        """
        found = self._of(server, project or "")
        if not found or not sent_at:
            return made_with
        opened = _moment(sent_at) - timedelta(seconds=min(seconds or 0.0, 1e6))
        return max([made_with, *(switch.ontology_version for switch in found if _moment(switch.since) <= opened)])

    def _of(self, server: str | None, project: str) -> Sequence[Switch]:
        if server is not None:
            return self.switches.get((server, project), ())
        known = [switches for (_, number), switches in self.switches.items() if number == project]
        return known[0] if len(known) == 1 else ()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
