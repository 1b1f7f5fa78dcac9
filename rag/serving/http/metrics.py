"""How the server does, as Prometheus reads it."""

from __future__ import annotations

from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.responses import Response

from rag.serving.http.tracing import Cost

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts and times of requests by route; no name of a user, collection or document."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "rag_requests", "Requests answered.", ["route", "method", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "rag_request_seconds", "How long requests took.", ["route"],
            buckets=_BOUNDS, registry=self._registry,
        )  # fmt: skip
        self._busy = Gauge(
            "rag_work", "Requests at work or waiting for a thread.", registry=self._registry
        )
        self._tokens = Counter(
            "rag_tokens", "Tokens of generated answers.", ["direction"], registry=self._registry
        )
        self._cost = Counter(
            "rag_cost", "The price of generated answers, where it is set.", registry=self._registry
        )
        self._jobs = Gauge("rag_jobs", "Jobs by state.", ["state"], registry=self._registry)

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_cost(self, cost: Cost) -> None:
        """Count the tokens of an answer, and their price."""
        self._tokens.labels("read").inc(cost.read)
        self._tokens.labels("written").inc(cost.written)
        self._cost.inc(cost.price)

    def show(self, state: Any) -> Response:
        """Return all figures as text."""
        self._busy.set(state.workers.begun)
        for name in ("waiting", "running", "done", "failed", "cancelled"):
            self._jobs.labels(name).set(state.jobs.counts().get(name, 0))
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
