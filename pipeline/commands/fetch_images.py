"""``semctl fetch-images``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, opened
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.corpus.fetch_images import FetchReport, HostLinks

_MOST_HOSTS = 30
"""Rows of the table on the console; all hosts are in --json."""


def fetch_images(
    context: typer.Context,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]", help="Ask this host wherever it is, a private network too, and at PORT; repeatable."
        ),
    ] = None,
    most: Annotated[
        int | None, typer.Option("-n", metavar="N", min=1, help="Ask for at most so many links; else for all.")
    ] = None,
    per_host: Annotated[int, typer.Option(min=1, max=32, help="Requests to one host at a time.")] = 2,
    delay: Annotated[
        float,
        typer.Option(metavar="S", min=0, max=3600, help="Seconds between the beginnings of two requests to one host."),
    ] = 0.2,
    parallel: Annotated[int, typer.Option(min=1, max=128, help="Requests at a time, over all hosts.")] = 16,
    timeout: Annotated[
        float, typer.Option(metavar="S", min=1, max=3600, help="Seconds that one image may take.")
    ] = 30.0,
    max_size: Annotated[float, typer.Option(metavar="MB", min=0.01, max=64, help="Largest file that is taken.")] = 20.0,
    tries: Annotated[
        int, typer.Option(min=1, max=20, help="How often a link is asked for in one run where that may help.")
    ] = 3,
    retry_dead: Annotated[
        bool, typer.Option("--retry-dead", help="Ask for links again that brought nothing for good, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which hosts would be asked for how many images; send nothing.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Fetch the images that the corpus only links to, safely; run again, it goes on where it ended.

    JPEG, PNG, WebP and GIF over HTTP and HTTPS, from public addresses only: every redirect is checked, too (three at
    most), and the connection goes to the very address that was checked. Hosts are asked a little at a time, and left
    alone as long as they wish. What links brought, or why nothing, is in data/fetched.parquet.

    Example: semctl fetch-images --dry-run
    """
    from pipeline.corpus.fetch_images import FetchRequest
    from pipeline.corpus.fetch_images import fetch_images as fetch
    from pipeline.corpus.image_fetching import MIB, Limits

    if not all(map(math.isfinite, (delay, timeout, max_size))):
        raise UsageError("--delay, --timeout and --max-size are numbers")
    workspace, console = opened(context, as_json=as_json)
    request = FetchRequest(
        allow_hosts=tuple(allow_host or ()),
        per_host=per_host,
        delay=delay,
        parallel=parallel,
        most=most,
        retry_dead=retry_dead,
        dry_run=dry_run,
        limits=Limits(total=timeout, size=int(max_size * MIB), tries=tries),
    )
    console.result(fetch(workspace, request, progress=console), _show)


def _show(console: Console, report: FetchReport) -> None:
    from pipeline.corpus.image_fetching import REASONS

    if not report.hosts:
        beside = f"; {report.without_link:,} have neither a file nor a link" if report.without_link else ""
        console.say(f"nothing to fetch: no image has a link and no file{beside}")
        return
    title = "Links by host" if report.dry_run else "Images from the web, by host"
    now = [] if report.dry_run else ["fetched"]
    columns = ["host", "links", *now, "here before", "dead", "broken", "to ask" if report.dry_run else "left"]
    rows = [_row(host, fetched=not report.dry_run) for host in report.hosts[:_MOST_HOSTS]]
    hidden = len(report.hosts) - _MOST_HOSTS
    console.table(
        title,
        [*columns, "reasons"],
        rows,
        caption=f"and {hidden:,} more hosts, which --json lists" if hidden > 0 else None,
    )
    if report.reasons():
        console.table(
            "Links without an image",
            ["reason", "links", "meaning", "asked again"],
            [
                [_plain(reason), number, REASONS[reason][1], _asked_again(reason)]
                for reason, number in report.reasons().items()
            ],
            caption=None if report.file is None else f"each link: {report.file}",
        )
    console.say(_summary(report))
    _say_next(console, report)


def _row(host: HostLinks, *, fetched: bool) -> list[object]:
    reasons = ", ".join(f"{_plain(reason)} {number:,}" for reason, number in host.reasons.items())
    now = [host.fetched] if fetched else []
    return [host.host, host.links, *now, host.before, host.dead, host.broken, host.left, reasons]


def _asked_again(reason: str) -> str:
    from pipeline.corpus.image_fetching import REASONS

    if reason.startswith("refused"):
        return "--allow-host"
    return "by the next run" if REASONS[reason][0] else "--retry-dead"


def _plain(code: str) -> str:
    return code.replace("_", " ")


def _summary(report: FetchReport) -> str:
    if report.expected is not None:
        size = "not known yet" if report.expected.bytes is None else _size(report.expected.bytes)
        basis = "by the images fetched so far" if report.expected.is_measured else "by the pauses alone"
        links, time = _number(report.total("left"), "link"), _duration(report.expected.seconds)
        return f"to ask: {links}; size {size}; at least {time} {basis}"
    images = ", ".join(f"{number:,} {status}" for status, number in report.images.items() if number)
    fetched = f"{_number(report.total('fetched'), 'image')} fetched ({_size(report.total('bytes'))})"
    return f"{fetched} in {_duration(report.seconds)}; images of the workspace: {images}"


def _say_next(console: Console, report: FetchReport) -> None:
    if report.dry_run:
        if report.next:
            console.say(f"Next: {report.next[0]}")
        return
    if report.new_images:
        new = f"new in the workspace: {_number(report.new_images, 'image')}"
        console.say(
            f"{new}; training, evaluation and tasks exported from now on have them, what was made before does not"
        )
    later = report.may_come_later()
    if later:
        console.say(f"perhaps only for now without an image: {_number(later, 'link')}; the next run asks again")
    if report.next:
        console.say(f"Next: {report.next[0]}")


def _number(count: int, of: str) -> str:
    return f"{count:,} {of}{'s' * (count != 1)}"


def _size(count: int) -> str:
    unit, name = next((each for each in ((2**30, "GiB"), (2**20, "MiB")) if count >= each[0]), (2**10, "KiB"))
    return f"{count / unit:.1f} {name}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
