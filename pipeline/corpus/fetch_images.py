"""Images that a catalogue only links to, fetched into the workspace.

Files lie in ``data/fetched``, each named by the hash of its content. What became of each link is written down as soon
as it is known (``data/fetched.jsonl``), and at the end in the table ``data/fetched.parquet``; only then the table of
images names the new files. A run that is killed therefore loses nothing but the requests under way, and the next one
goes on from there; links that brought nothing for good are not asked again unless that is wanted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import orjson
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from pipeline.corpus.image_fetching import REASONS, Fetched, ImageFetcher, Limits, host_of
from pipeline.corpus.web_addresses import AllowedHosts, RefusedError, Resolve, checked_url, system_addresses
from pipeline.workspace import Workspace
from schemas.errors import SchemaError, UsageError
from schemas.files import locked
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.tables import FETCHED, IMAGES, open_table, open_writer, read_table, write_table

_BATCH = 20_000
_UNREACHABLE = frozenset({"unknown_host", "no_connection", "too_slow", "host_given_up"})


@dataclass(frozen=True)
class FetchRequest:
    """What to fetch, and how fast.

    Raises:
        UsageError: no request at a time, a negative delay, or a limit that lets nothing through.
    """

    allow_hosts: tuple[str, ...] = ()  # ``HOST`` or ``HOST:PORT`` that may be asked wherever they are
    per_host: int = 2  # requests to one host at a time
    delay: float = 0.2  # seconds between the beginnings of two requests to one host
    parallel: int = 16  # requests at a time, over all hosts
    most: int | None = None  # links to ask for at most; None: all
    retry_dead: bool = False  # ask for links again that brought nothing for good
    dry_run: bool = False  # only count
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if min(self.per_host, self.parallel) < 1 or self.delay < 0 or (self.most is not None and self.most < 1):
            raise UsageError("at least one request at a time, and no negative delay")
        if self.limits.size < 1 or self.limits.total <= 0:
            raise UsageError("an image has at least one byte, and takes some time")


@dataclass
class HostLinks:
    """What became of the links of one host."""

    host: str
    links: int = 0
    fetched: int = 0  # now
    before: int = 0  # fetched by an earlier run
    dead: int = 0  # no answer that may be taken, now or by an earlier run that said so for good
    broken: int = 0  # what came is no image that may be taken, now or earlier
    left: int = 0  # not asked
    bytes: int = 0  # fetched now
    reasons: dict[str, int] = field(default_factory=dict)  # why links are dead or broken -> how many

    def count(self, found: Fetched, *, now: bool) -> None:
        """Add a link that has ended."""
        if found.status == "ok":
            self.fetched += now
            self.before += not now
            self.bytes += (found.bytes or 0) * now
            return
        self.dead += found.status == "dead"
        self.broken += found.status == "broken"
        self.reasons[found.reason] = self.reasons.get(found.reason, 0) + 1


@dataclass(frozen=True)
class Expected:
    """What fetching the links that are left would take; None where nothing was fetched yet to go by."""

    bytes: int | None  # by the mean of the images fetched so far
    seconds: float  # at least, by the pauses; and by the mean time of links asked for so far, if any were
    is_measured: bool


@dataclass
class FetchReport:
    """What a run fetched: links = fetched + before + dead + broken + left."""

    dry_run: bool
    hosts: list[HostLinks] = field(default_factory=list)  # those with most links first
    lost: list[Fetched] = field(default_factory=list)  # links without an image, sorted
    asked: int = 0  # links asked for by this run
    seconds: float = 0.0
    expected: Expected | None = None  # of a dry run
    images: dict[str, int] = field(default_factory=dict)  # status -> images of the table, afterwards
    new_images: int = 0  # of the table that have a file since this run
    without_link: int = 0  # images that have neither a file nor a link
    file: str | None = None  # the table of all links; None when there is none yet
    next: list[str] = field(default_factory=list)  # commands

    def total(self, name: str) -> int:
        """A count of :class:`HostLinks` over all hosts."""
        return sum(int(getattr(host, name)) for host in self.hosts)

    def reasons(self) -> dict[str, int]:
        """Reason -> links that are dead or broken for it, most first."""
        found: Counter[str] = Counter()
        for host in self.hosts:
            found.update(host.reasons)
        return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))

    def may_come_later(self) -> int:
        """Links whose reason may pass."""
        return sum(REASONS[found.reason][0] for found in self.lost)

    def as_json(self) -> dict[str, Any]:
        """The object of ``semctl fetch-images --json``."""
        totals = ("links", "fetched", "before", "dead", "broken", "left", "bytes")
        lost = [{name: getattr(found, name) for name in _SHOWN_OF_LOST} for found in self.lost]
        return {
            **{name: self.total(name) for name in totals},
            **json_form(self, "lost"),
            "reasons": self.reasons(),
            "lost": lost,
        }


_SHOWN_OF_LOST = ("link", "host", "status", "reason", "detail", "http_status", "came_from", "tries", "at")


def fetch_images(
    workspace: Workspace,
    request: FetchRequest = FetchRequest(),
    *,
    progress: Progress | None = None,
    resolve: Resolve = system_addresses,
) -> FetchReport:
    """Fetch the images that have a link and no file, and let the table of images name their files.

    Args:
        resolve: looks names of hosts up.

    Raises:
        WorkspaceError: there is no workspace, or no table of images in it.
        SchemaError: a table is damaged.
        UsageError: a host to allow that is none.
    """
    progress = progress or SilentProgress()
    allowed = AllowedHosts.parse(request.allow_hosts)
    workspace.require()
    if request.dry_run:
        return _Fetch(workspace, request, allowed, progress).plan()
    open_table(workspace.images, IMAGES).close()
    with locked(workspace.fetched_images / ".lock"):
        return _Fetch(workspace, request, allowed, progress).run(resolve)


class _Fetch:
    """One run over the links of a workspace."""

    def __init__(self, workspace: Workspace, request: FetchRequest, allowed: AllowedHosts, progress: Progress) -> None:
        self._workspace, self._request, self._allowed, self._progress = workspace, request, allowed, progress
        self._known = _known_links(workspace)
        self._hosts: dict[str, HostLinks] = {}
        self._report = FetchReport(dry_run=request.dry_run)
        self._asked: list[Fetched] = []
        self._ask = self._sort_links()

    def plan(self) -> FetchReport:
        """What would be asked for; nothing is sent, and nothing is written."""
        request, report = self._request, self._report
        asked = Counter[str]()
        for link in self._ask:
            try:
                checked_url(link, self._allowed)
            except RefusedError as problem:
                self._end(Fetched(link, host_of(link), "dead", problem.reason, problem.detail), now=True)
            else:
                asked[host_of(link)] += 1
                self._hosts[host_of(link)].left += 1
        ok = [found for found in self._known.values() if found.status == "ok"]
        mean = sum(found.seconds for found in ok) / len(ok) if ok else 0.0
        slowest = max((n * max(request.delay, mean / request.per_host) for n in asked.values()), default=0.0)
        report.expected = Expected(
            bytes=asked.total() * sum(found.bytes or 0 for found in ok) // len(ok) if ok else None,
            seconds=round(max(slowest, asked.total() * mean / request.parallel), 1),
            is_measured=bool(ok),
        )
        return self._finished()

    def run(self, resolve: Resolve) -> FetchReport:
        """Fetch, and tell the table of images."""
        workspace, request, began = self._workspace, self._request, time.monotonic()
        self._settle()  # what a killed run wrote down
        fetcher = ImageFetcher(
            workspace.fetched_images,
            workspace.fetched_images.relative_to(workspace.root).as_posix(),
            allowed=self._allowed,
            user_agent=f"semctl/{metadata.version('semctl')} (fetch-images)",
            limits=request.limits,
            per_host=request.per_host,
            delay=request.delay,
            parallel=request.parallel,
            resolve=resolve,
        )
        try:
            if self._ask:
                self._fetch(fetcher)
        finally:  # what was fetched before somebody stopped it is of use, too
            self._settle()
            self._publish()
        self._report.seconds = round(time.monotonic() - began, 3)
        if self._report.asked and all(found.reason in _UNREACHABLE for found in self._asked):
            self._progress.log("warning: not one host could be reached: is this machine online?")
        return self._finished()

    def _sort_links(self) -> list[str]:
        """The links to ask for; all others are counted."""
        images, wanted = Counter[str](), dict[str, None]()
        for row in _image_rows(self._workspace):
            images[row["status"]] += 1
            link = row["link"] or row["url"]
            is_here = self._is_here(row)
            if link is None:
                self._report.without_link += not is_here
            elif not is_here or self._is_ours(row["file"]):
                wanted[link] = None
        self._report.images = dict(images)
        asked: list[str] = []
        for link in wanted:
            known = self._known.get(link)
            host = self._hosts.setdefault(host_of(link), HostLinks(host_of(link)))
            host.links += 1
            if known is not None and known.status == "ok" and self._has_file(known):
                host.count(known, now=False)
            elif known is not None and known.status != "ok" and self._is_final(known):
                self._end(known, now=False)
            elif self._request.most is not None and len(asked) >= self._request.most:
                host.left += 1
            else:
                asked.append(link)
        return asked

    def _is_final(self, known: Fetched) -> bool:
        """Whether a link that brought nothing is not asked again."""
        if REASONS[known.reason][0] or self._request.retry_dead:
            return False
        if known.reason not in ("refused_link", "refused_address"):
            return True
        return not self._allowed.names(known.came_from or known.link)  # where it leads may be allowed by now

    def _is_here(self, row: Mapping[str, Any]) -> bool:
        """Whether an image of the table has the file that the table names."""
        return row["status"] == "ok" and bool(row["file"]) and (self._workspace.root / row["file"]).is_file()

    def _is_ours(self, file: str) -> bool:
        return (self._workspace.root / file).is_relative_to(self._workspace.fetched_images)

    def _has_file(self, found: Fetched) -> bool:
        """Whether the file of a link is there; a file in the folder is whole, or it would have no name yet."""
        with suppress(OSError):
            path = self._workspace.root / str(found.file)
            return path.is_relative_to(self._workspace.fetched_images) and path.stat().st_size == found.bytes
        return False

    def _end(self, found: Fetched, *, now: bool) -> None:
        self._hosts[host_of(found.link)].count(found, now=now)
        if found.status != "ok":
            self._report.lost.append(found)

    def _fetch(self, fetcher: ImageFetcher) -> None:
        """Ask for the links, and write down what became of each."""
        done = Counter[str]()
        with (
            self._workspace.fetch_journal.open("ab") as journal,
            self._progress.task("fetching images", len(self._ask)) as task,
        ):
            for found in fetcher.fetch(self._ask):
                journal.write(orjson.dumps(found._asdict(), option=orjson.OPT_APPEND_NEWLINE))
                journal.flush()
                self._known[found.link] = found
                self._asked.append(found)
                self._end(found, now=True)
                done[found.status] += 1
                task.advance(note=", ".join(f"{number:,} {status}" for status, number in sorted(done.items())))

    def _settle(self) -> None:
        """Move what the journal says into the table of links."""
        if not self._workspace.fetch_journal.exists():
            return
        rows = [self._known[link]._asdict() for link in sorted(self._known)]
        write_table(self._workspace.fetched, FETCHED, rows)
        self._workspace.fetch_journal.unlink(missing_ok=True)

    def _publish(self) -> None:
        """Let the table of images, as it is now, name the files; whoever reads it sees the old one or the new one."""
        changed: dict[str, dict[str, Any]] = {}
        images = Counter[str]()
        for row in _image_rows(self._workspace):
            new = self._as_fetched(row)
            if new is not None:
                changed[row["image_id"]] = new
            images[(new or row)["status"]] += 1
            self._report.new_images += new is not None and new["status"] == "ok"
        self._report.images = dict(images)
        if not changed:
            return
        with open_table(self._workspace.images, IMAGES) as file:
            inputs = orjson.loads((file.schema_arrow.metadata or {}).get(b"semctl.inputs", b"{}"))
        with open_writer(self._workspace.images, IMAGES, inputs=inputs, batch_rows=_BATCH) as table:
            table.write_all(changed.get(row["image_id"], row) for row in _image_rows(self._workspace))

    def _as_fetched(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """A row of the table of images with what became of its link; None where nothing changes."""
        found = self._known.get(row["link"] or row["url"] or "")
        if found is None or self._is_here(row):
            return None
        if found.status == "ok":
            if not self._has_file(found):
                return None
            file = {name: getattr(found, name) for name in ("file", "sha256", "width", "height")}
            return {**row, **file, "status": "ok"}
        came = row["file"] is None or self._is_ours(row["file"])  # a file of the corpus is not the link's
        if not came or row["status"] == found.status or row["status"] == "missing":
            return None
        return {**row, "file": None, "sha256": None, "width": None, "height": None, "status": found.status}

    def _finished(self) -> FetchReport:
        report = self._report
        report.hosts = sorted(self._hosts.values(), key=lambda host: (-host.links, host.host))
        for host in report.hosts:
            host.reasons = dict(sorted(host.reasons.items(), key=lambda entry: (-entry[1], entry[0])))
        report.lost.sort(key=lambda found: found.link)
        report.images = {status: report.images.get(status, 0) for status in ("ok", "missing", "dead", "broken")}
        report.asked = len(self._asked)
        report.file = str(self._workspace.fetched) if self._workspace.fetched.is_file() else None
        report.next = self._next()
        return report

    def _next(self) -> list[str]:
        report, workspace = self._report, self._workspace
        if report.dry_run:
            return ["semctl fetch-images"] if report.total("left") else []
        again = ["semctl fetch-images"] if report.may_come_later() or report.total("left") else []
        if not report.new_images:
            return again
        if workspace.d_f.is_file():
            return ["semctl train", *again]
        return ["semctl export-for-labelling --project NAME", *again]


def _image_rows(workspace: Workspace) -> Iterator[dict[str, Any]]:
    with open_table(workspace.images, IMAGES) as file:
        for batch in file.iter_batches(_BATCH):
            yield from IMAGES.as_now(pa.Table.from_batches([batch])).to_pylist()


def _known_links(workspace: Workspace) -> dict[str, Fetched]:
    """What became of links before, by the table and by what a killed run wrote down.

    Raises:
        SchemaError: the table is damaged.
    """
    known: dict[str, Fetched] = {}
    if workspace.fetched.is_file():
        try:
            rows = read_table(workspace.fetched, FETCHED).to_pylist()
        except SchemaError as problem:
            fix = "delete it: links are asked again, files that are there are kept"
            raise SchemaError(problem.what, where=problem.where, fix=fix) from None
        known = {row["link"]: Fetched(**row) for row in rows}
    form = TypeAdapter(Fetched)
    with suppress(FileNotFoundError), workspace.fetch_journal.open("rb") as lines:
        for line in lines:
            with suppress(ValidationError):  # a line that was cut off: that link is asked again
                found = form.validate_json(line)
                known[found.link] = found
    return known
