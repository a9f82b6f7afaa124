"""What is counted while serving, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

KIND = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server.

    Args:
        waiting: how many requests wait for the model.
        products: how many products are served.
    """

    def __init__(self, waiting: Callable[[], float], products: Callable[[], float]) -> None:
        self._all = CollectorRegistry()
        self._requests = Counter(
            "semctl_requests", "Requests answered.", ["route", "status"], registry=self._all
        )  # of a few routes: what nobody serves is counted as one
        self._seconds = Histogram(
            "semctl_request_seconds", "Seconds that answers took.", ["route"], buckets=_SECONDS, registry=self._all
        )
        self._batches = Histogram(
            "semctl_batch_requests", "Requests that the model answered at once.", buckets=_SIZES, registry=self._all
        )
        self._updates = Counter(
            "semctl_catalogue_updates", "Times that the catalogue was read again.", ["outcome"], registry=self._all
        )
        self._tasks = Counter(
            "semctl_label_studio_tasks", "Tasks that Label Studio asked about.", ["outcome"], registry=self._all
        )  # predicted, or why not: one of a few codes
        self._changes = Counter(
            "semctl_label_studio_changes", "Changes that Label Studio told of.", ["action"], registry=self._all
        )  # of a few names, others are one
        for outcome in ("served", "failed"):
            self._updates.labels(outcome)
        Gauge("semctl_waiting_requests", "Requests that wait for the model.", registry=self._all).set_function(waiting)
        Gauge("semctl_products", "Products in the catalogue.", registry=self._all).set_function(products)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, size: int) -> None:
        """The model is asked about so many at once."""
        self._batches.observe(size)

    def updated(self, *, served: bool) -> None:
        """The catalogue was read again."""
        self._updates.labels("served" if served else "failed").inc()

    def task(self, outcome: str) -> None:
        """Label Studio asked about a task."""
        self._tasks.labels(outcome).inc()

    def change(self, action: str) -> None:
        """Label Studio told of a change."""
        self._changes.labels(action).inc()

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._all)
