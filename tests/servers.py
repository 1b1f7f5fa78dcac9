"""A server of language models that replies what a test tells it to, and notes what it was asked."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Script(http.server.BaseHTTPRequestHandler):
    """Injects faults: each request takes the next (status, headers, body) of the script."""

    replies: list[tuple[int, dict[str, str], str]]
    seen: list[dict[str, str]]
    asked: list[dict[str, Any]]

    def do_GET(self) -> None:
        self.reply(200, {}, json.dumps({"data": [{"id": "served"}]}))

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.seen.append(dict(self.headers))
        self.reply(*self.replies.pop(0))

    def reply(self, status: int, headers: dict[str, str], body: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


def sse(*pieces: str, done: bool = True) -> tuple[int, dict[str, str], str]:
    lines = [f'data: {{"choices": [{{"delta": {{"content": "{piece}"}}}}]}}' for piece in pieces]
    body = "\n\n".join([*lines, *(["data: [DONE]"] if done else [])]) + "\n\n"
    return 200, {"Content-Type": "text/event-stream"}, body


@contextmanager
def scripted() -> Iterator[tuple[str, type[Script]]]:
    """Run a server, and yield its URL and its script."""
    script = type("Faulty", (Script,), {"replies": [], "seen": [], "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), script)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", script
    finally:
        server.shutdown()
