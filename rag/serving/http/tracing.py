"""A span of OpenTelemetry for each operation and each of its stages, with tokens and their price.

Without an SDK that is set up, nothing is recorded. `OTEL_EXPORTER_OTLP_ENDPOINT` names where spans
are sent, as for any other program; the extra `traces` brings what sends them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace

from rag.errors import ConfigError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """The tokens of an answer that a generator wrote, and their price; 0 where that is unknown."""

    read: int
    written: int
    price: float

    @classmethod
    def of(cls, read: int, written: int, price_read: float, price_written: float) -> Cost:
        """Make it of tokens, and of prices for a million of them."""
        return cls(read, written, (read * price_read + written * price_written) / _MILLION)


def set_up_traces() -> None:
    """Send spans where the environment says, if it does.

    Raises:
        ConfigError: if it does, and what sends them is not installed.
    """
    if not os.environ.get(ENDPOINT):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{ENDPOINT} is set, which needs {error.name}: run "
            "`pip install 'checkable-rag[traces]'`, or unset it"
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME", "rag")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def record(
    name: str, started: float, timings: Mapping[str, float], facts: Mapping[str, Any]
) -> None:
    """Record an operation that began at `started` (seconds since the epoch) and ends now.

    `timings` are its stages in milliseconds: each becomes a span, one after the other. Facts hold
    no text of a question or a document.
    """
    tracer = trace.get_tracer("rag")
    begin = int(started * 1e9)
    span = tracer.start_span(f"rag.{name}", start_time=begin, attributes=dict(facts))
    if span.is_recording():
        context = trace.set_span_in_context(span)
        at = begin
        for stage, milliseconds in timings.items():
            end = at + int(milliseconds * 1e6)
            inner = tracer.start_span(f"rag.{name}.{stage}", context=context, start_time=at)
            inner.end(end)
            at = end
    span.end(int(time.time() * 1e9))
