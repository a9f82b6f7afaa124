"""Whose turn it is when many hosts are asked at once: few requests a host, with pauses, longer ones where it asks."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

import httpx

from pipeline.corpus.web_addresses import port_of


@dataclass
class Errand:
    """One link on its way: where it is asked for next, after how many redirects and tries."""

    link: str
    url: httpx.URL
    redirects: int = 0
    tries: int = 0  # begun
    is_under_way: bool = False  # between the beginning and the end of a try
    seconds: float = 0.0  # that this try has taken so far, over its redirects

    @property
    def host(self) -> str:
        """Who is asked; the same name at another port is another server."""
        return f"{self.url.raw_host.decode()}:{port_of(self.url)}"


@dataclass
class _Host:
    waiting: list[tuple[float, int, Errand]] = field(default_factory=list)  # a heap, by when it may be asked
    asked: int = 0  # requests under way
    not_before: float = 0.0
    failures: int = 0  # in a row, without any answer of HTTP


class HostQueues:
    """Errands by host; threads take them, and put back those that have to be asked again.

    Args:
        per_host: requests to one host at a time.
        delay: seconds between the beginnings of two requests to one host.
    """

    def __init__(self, per_host: int, delay: float) -> None:
        self._per_host = per_host
        self._delay = delay
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._left = 0  # errands waiting or under way
        self._closed = False

    def add(self, errand: Errand, *, after: float = 0.0) -> None:
        """An errand that may be run in so many seconds."""
        with self._changed:
            host = self._hosts.setdefault(errand.host, _Host())
            heapq.heappush(host.waiting, (time.monotonic() + after, next(self._order), errand))
            self._left += 1
            self._changed.notify_all()

    def take(self) -> Errand | None:
        """The next errand, as soon as its host may be asked; None once all are done. Ends with :meth:`done`."""
        with self._changed:
            while self._left and not self._closed:
                now, soonest = time.monotonic(), float("inf")
                for name, host in self._hosts.items():
                    if not host.waiting or host.asked >= self._per_host:
                        continue
                    due = max(host.not_before, host.waiting[0][0])
                    if due <= now:
                        host.asked += 1
                        host.not_before = now + self._delay
                        self._hosts.move_to_end(name)
                        return heapq.heappop(host.waiting)[2]
                    soonest = min(soonest, due)
                self._changed.wait(None if soonest == float("inf") else soonest - now)
            return None

    def done(self, host: str) -> None:
        """A request to ``host`` has ended, and its errand is put back, if it is, by now."""
        with self._changed:
            self._hosts[host].asked -= 1
            self._left -= 1
            self._changed.notify_all()

    def pause(self, host: str, seconds: float) -> None:
        """Ask ``host`` nothing for some seconds."""
        with self._changed:
            found = self._hosts[host]
            found.not_before = max(found.not_before, time.monotonic() + seconds)

    def answered(self, host: str, *, well: bool) -> int:
        """Note whether ``host`` answered at all; how often in a row it has not."""
        with self._changed:
            found = self._hosts[host]
            found.failures = 0 if well else found.failures + 1
            return found.failures

    def give_up(self, host: str) -> list[Errand]:
        """Take out all errands that wait for ``host``."""
        with self._changed:
            found = self._hosts[host]
            waiting, found.waiting = found.waiting, []
            self._left -= len(waiting)
            self._changed.notify_all()
            return [errand for _, _, errand in sorted(waiting)]

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
