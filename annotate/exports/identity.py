"""Who gave an answer, and which answer it is: servers count users, tasks and annotations alike, each from 1.

- **People** go by their e-mail address where it is known, else by their number at the server's address. Of an export
  file the server is not known: it is that of stored answers when the file holds one of them, else one of its own, by a
  name that stands for its address, project by project. An answer of nobody known is nobody else's.
- **Answers** go by the name that Label Studio gives them: the universally unique one, else their number in their
  project. Where another server's answer has that name already, a suffix tells the two apart.
- What an earlier version of semctl stored without a server is an answer again when it arrives again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from annotate.annotations.annotation import Annotation
from annotate.assignment.annotators import NOBODY, NUMBERED, Annotators
from schemas.files import sha256_bytes
from schemas.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from annotate.exports.annotation_store import AnnotationStore

_SUFFIX = re.compile(r"~[0-9a-f]{8}")
_UNIQUE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_COUNTED = re.compile(r"[0-9]+|.*/[0-9]+", re.DOTALL)


@dataclass(frozen=True)
class Arrival:
    """An annotation of an export, under the names that the export gives."""

    annotation: Annotation  # as read; its server where it was pulled from one
    export: str  # hash of the export
    assigned_to: str | None = None  # whom the task says it was assigned to


class Match(NamedTuple):
    """Something that arrived, and a stored version of the same name, as they lie in the store."""

    source: tuple[str, str]  # export and project of what arrived
    server: str | None  # its server, where it is known
    number: str | None  # of the user who sent it
    stored_server: str | None  # server of the stored one
    assigned_to: str | None  # see :class:`Arrival`
    arrived: bytes
    stored: bytes

    def both(self) -> tuple[Arrival, Annotation]:
        """What arrived, and what is stored."""
        arrival = Arrival(Annotation.from_json(self.arrived), self.source[0], self.assigned_to)
        return arrival, Annotation.from_json(self.stored)


def base_name(annotation_id: str) -> str:
    """The name of an annotation without the suffix that tells servers apart."""
    return annotation_id[:-9] if _SUFFIX.fullmatch(annotation_id[-9:]) else annotation_id


def is_address(server: str | None) -> bool:
    """Whether it is the address of a server, and not what stands for one."""
    return server is not None and "://" in server


def numbered_name(address: str, number: str) -> str:
    """The name of a user of a server of whom no more than the number is known."""
    return f"{NUMBERED}{number}@{urlsplit(address).netloc}"


class Identity:
    """Names what arrived, given what is stored; :meth:`settle` comes first.

    Args:
        store: what is stored and what arrived.
        known_annotators: who annotators are, as servers tell.
        progress: is told when people are kept apart for want of knowledge.
    """

    def __init__(self, store: AnnotationStore, known_annotators: Annotators, progress: Progress | None = None) -> None:
        self._store = store
        self._known_annotators = known_annotators
        self._progress = progress or SilentProgress()
        self._sources: dict[tuple[str, str], str] = {}
        self._people: dict[tuple[str, str], str] = {}

    def settle(self) -> None:
        """Find the servers of what arrived from files, and the people whose e-mail address is known now."""
        linked: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        same: dict[str, str] = {}
        earlier: dict[tuple[tuple[str, str], str], str] = {}
        for match in self._store.matches():
            if match.stored_server is None:
                told = match.number is None or (match.source, match.number) in earlier
            elif match.server is None:
                told = match.stored_server in linked[match.source]
            else:
                told = is_address(match.stored_server) or match.stored_server in same
            if told:
                continue
            arrival, stored = match.both()
            if not self._is_same(arrival, stored):
                continue
            if match.stored_server is None:
                if stored.completed_by == match.number and match.number is not None:
                    earlier[match.source, match.number] = stored.annotator
            elif match.server is None:
                linked[match.source].add(match.stored_server)
            else:
                same[match.stored_server] = match.server
        for source in self._store.sources():
            servers = linked[source]
            found = min(servers, key=lambda server: (not is_address(server), server), default=None)
            if found is None:
                found = f"export-{sha256_bytes(' '.join(source).encode())[:8]}"
            self._sources[source] = found
            same |= {server: found for server in servers if server != found and not is_address(server)}
        for server, now in same.items():
            self._rename(server, now)
        for (source, number), annotator in earlier.items():
            if source in self._sources and annotator.startswith(NUMBERED):
                self._people.setdefault((self._sources[source], number), annotator)
        self._learn_addresses()

    def named(self, arrival: Arrival) -> Annotation:
        """An annotation that arrived, under semctl's names of its server, itself and its annotator."""
        one = arrival.annotation
        server = one.server or self._sources[arrival.export, one.project or ""]
        base = one.annotation_id
        name, stored = base, None
        others = self._store.of_base(base)
        if others:
            unique = _UNIQUE.fullmatch(_own(base)) is not None
            here = [each for each in others if unique or each.server in (None, server)]
            stored = next((each for each in here if self._is_same(arrival, each)), None)
            if stored is not None:
                name = stored.annotation_id
            else:
                told = f"{server} {self._known(arrival, server) or one.completed_by} {one.created_at}"
                name = f"{base}~{sha256_bytes(told.encode())[:8]}"
        annotator = self._known(arrival, server)
        if annotator is None:
            number = one.completed_by
            annotator = f"{NOBODY}{name}" if number is None else self._numbered(server, number)
        return replace(one, annotation_id=name, server=server, annotator=annotator)

    def _is_same(self, arrival: Arrival, stored: Annotation) -> bool:
        """Whether an annotation of the same name may be this one, by all that both tell."""
        one = arrival.annotation
        if one.server is not None and one.server == stored.server:
            return True
        own = _own(one.annotation_id)
        if _UNIQUE.fullmatch(own):
            return True
        known = self._known(arrival, one.server or stored.server)
        if known is not None and not _is_numbered(stored.annotator) and known != stored.annotator:
            return False
        if _are_two_users(one.completed_by, stored.completed_by):
            return False
        if one.task_uid is not None and stored.task_uid is not None and one.task_uid != stored.task_uid:
            return False
        if _COUNTED.fullmatch(own) is None:
            return True
        begun = one.created_at is not None and one.created_at == stored.created_at
        return begun or stored.export_sha256 == arrival.export

    def _known(self, arrival: Arrival, server: str | None) -> str | None:
        one = arrival.annotation
        email = None if _is_numbered(one.annotator) else one.annotator
        return self._known_annotators.annotator(
            server if is_address(server) else None,
            one.project or "",
            one.completed_by,
            email=email,
            assigned_to=arrival.assigned_to,
        )

    def _numbered(self, server: str, number: str) -> str:
        """The name of a user of whom no more than the number is known."""
        known = self._people.get((server, number))
        if known is None:
            known = self._people[server, number] = self._new_name(server, number)
        return known

    def _new_name(self, server: str, number: str) -> str:
        if is_address(server):
            return numbered_name(server, number)
        stored = self._store.people(server, number)
        if len(stored) == 1:
            return stored[0]
        numbered = [name for name in stored if name.startswith(NUMBERED)]
        if numbered:
            return numbered[0]
        plain = f"{NUMBERED}{number}"
        if not self._store.has_annotator(plain) and plain not in self._people.values():
            return plain
        apart = f"{plain}@{server}"
        self._progress.log(
            f"user {number} of this export counts as '{apart}': nothing tells that it is '{plain}' of an earlier one; "
            "if both are of one server, ingest them with --server ADDRESS"
        )
        return apart

    def _learn_addresses(self) -> None:
        """What an export says once of a user's e-mail address names all their answers of its server."""
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for source, number, email in self._store.addresses():
            found[self._sources.get(source, ""), number].add(email)
        for (server, number), emails in found.items():
            if len(emails) == 1 and server and not is_address(server):
                (email,) = emails
                self._people[server, number] = email
                self._rewrite(server, partial(_with_address, number=number, email=email))

    def _rename(self, server: str, now: str) -> None:
        """Answers of what stood for a server, now that it is known which one it is."""

        def renamed(each: Annotation) -> Annotation:
            annotator = each.annotator
            if annotator.startswith(NUMBERED) and each.completed_by is not None:
                known = None
                if is_address(now):
                    known = self._known_annotators.annotator(now, each.project or "", each.completed_by)
                elif self._store.people(now, each.completed_by):
                    known = self._numbered(now, each.completed_by)
                annotator = known or (self._numbered(now, each.completed_by) if is_address(now) else annotator)
            return replace(each, server=now, annotator=annotator)

        self._rewrite(server, renamed)

    def _rewrite(self, server: str, change: Callable[[Annotation], Annotation]) -> None:
        for each in self._store.of_server(server):
            changed = change(each)
            if changed != each:
                self._store.put(changed)


def _own(base: str) -> str:
    """Label Studio's part of an annotation's name."""
    return base.split(":", 2)[-1]


def _are_two_users(one: str | None, other: str | None) -> bool:
    """Whether both are numbers, and not the same; an answer never changes hands."""
    return one is not None and other is not None and one != other and one.isdecimal() and other.isdecimal()


def _is_numbered(annotator: str) -> bool:
    return annotator.startswith((NUMBERED, NOBODY))


def _with_address(each: Annotation, *, number: str, email: str) -> Annotation:
    numbered = each.completed_by == number and each.annotator.startswith(NUMBERED)
    return replace(each, annotator=email) if numbered else each
