"""Each operation is recorded with its stages and its cost, and without text."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from servers import scripted, sse
from serving import client, running

from rag import RAG

pytestmark = pytest.mark.model


@pytest.fixture
def index(tmp_path: Path) -> Path:
    (tmp_path / "bridge.md").write_text("The Vorn bridge was opened in 1921.\n")
    RAG(tmp_path / "index").index([tmp_path / "bridge.md"])
    return tmp_path / "index"


def test_what_a_generator_reads_and_writes_is_counted(index: Path) -> None:
    with scripted() as (url, script):
        script.replies = [sse("The Vorn bridge was opened in 1921.")]
        settings = {"generation__model": f"{url}/v1", "answering__way": "generate"}
        prices = {"serve__price_read": 1e6, "serve__price_written": 0.0}
        with running(index, **settings, **prices) as base, client(base) as asked:
            answer = asked.post(
                "/ask", json={"question": "When was the Vorn bridge opened?"}
            ).json()
            assert answer["way"] == "generate"
            told = asked.get("/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in told.splitlines() if line[:1] != "#")
    read = float(figures['rag_tokens_total{direction="read"}'])
    assert read > 0
    assert float(figures["rag_cost_total"]) == pytest.approx(read)


def test_stages_are_spans_without_text(index: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    with running(index) as base, client(base) as asked:
        asked.post("/ask", json={"question": "When was the Vorn bridge opened?"})
    spans = {span.name: span for span in kept.get_finished_spans()}
    whole = spans["rag.ask"]
    assert {"rag.ask.retrieval", "rag.ask.reading"} <= spans.keys()
    inner = spans["rag.ask.retrieval"]
    assert inner.parent and inner.parent.span_id == whole.context.span_id
    assert whole.start_time <= inner.start_time <= inner.end_time
    assert "Vorn" not in str([span.to_json() for span in spans.values()])


@pytest.mark.slow
def test_spans_are_sent_where_the_environment_says(index: Path) -> None:
    """Or, without what sends them, a line says what to install."""
    received = threading.Event()

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            received.set()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    token = "a-token-of-the-tests-1234"
    environment = {
        **os.environ,
        "RAG_SERVE_TOKEN": token,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    started = subprocess.Popen(
        [sys.executable, "-m", "rag", "serve", "--index", str(index), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert started.stderr is not None
    try:
        line = started.stderr.readline()
        try:
            import opentelemetry.exporter.otlp.proto.http  # noqa: F401
        except ModuleNotFoundError:
            assert "checkable-rag[traces]" in line
            return
        with client(line.split()[1].rstrip("/"), token) as asked:
            asked.post("/search", json={"question": "bridge"})
        assert received.wait(60)
    finally:
        started.kill()
        started.wait()
        started.stderr.close()
        server.shutdown()
