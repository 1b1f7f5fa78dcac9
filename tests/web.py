"""A web server that serves what a test tells it to, and notes what it was asked."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

Page = tuple[int, dict[str, str], bytes]
DELAY = {"fetching.delay": 0, "fetching.allow_private": True, "sources.workers": 1}


@dataclass
class Site:
    """What a server serves, by path: a page of HTML, or a status with headers and a body."""

    pages: dict[str, str | Page] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    sent: int = 0
    address: str = ""

    def reply(self, path: str, headers: Mapping[str, str]) -> Page:
        self.asked.append(path)
        self.headers.append(headers)
        page = self.pages.get(path)
        if page is None:
            return 404, {}, b""
        if isinstance(page, str):
            body = page.encode()
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            if headers.get("If-None-Match") == tag:
                return 304, {"ETag": tag}, b""
            kind = "application/xml" if page.startswith("<?xml") else "text/html"
            page = 200, {"Content-Type": kind, "ETag": tag}, body
        self.sent += page[0] == 200
        return page


@contextmanager
def serving(site: Site, host: str = "127.0.0.1", port: int = 0) -> Iterator[Site]:
    """Serve a site on this machine for the length of the block."""
    with listening(site.reply, host, port) as address:
        site.address = address
        yield site


@contextmanager
def listening(
    reply: Callable[[str, Mapping[str, str]], Page], host: str = "127.0.0.1", port: int = 0
) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = reply(self.path, dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((host, port), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://{host}:{server.server_address[1]}"
        finally:
            server.shutdown()
