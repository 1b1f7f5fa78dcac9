"""A server of language models that replies what a test tells it to, and notes what it was asked."""

from __future__ import annotations

import http.server
import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
def raw(converse: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """Run a server that reads a request and then does as it likes, and yield its URL.

    `converse` is given the connection and the request's head. That the client hangs up ends it.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked = b""
            with suppress(OSError):
                while b"\r\n\r\n" not in asked:
                    if not (piece := self.request.recv(1 << 16)):
                        return
                    asked += piece
                # What was sent and not read would reset the connection.
                head, _, body = asked.partition(b"\r\n\r\n")
                found = re.search(rb"content-length: (\d+)", head.lower())
                left = int(found[1]) - len(body) if found else 0
                while left > 0:
                    left -= len(self.request.recv(left))
                converse(self.request, asked)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def scripted(**methods: Callable[[Any], None]) -> Iterator[tuple[str, type[Script]]]:
    """Run a server, and yield its URL and its script; `methods` take the place of the script's."""
    script = type("Faulty", (Script,), {"replies": [], "seen": [], "asked": [], **methods})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), script)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", script
    finally:
        server.shutdown()
