"""Small wheels, and a package index that serves them over HTTP, with faults when told to."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def make_wheel(folder: Path, package: str, content: Mapping[str, bytes]) -> Path:
    """Make version 1.0 of a package that holds files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = package.replace("-", "_")
    info = f"{stem}-1.0.dist-info"
    files = {
        **content,
        f"{stem}/__init__.py": b"raise RuntimeError('must never be imported')",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]).encode()
    wheel = folder / f"{stem}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return wheel


class PackageIndex:
    """An index of the wheels in a folder, as they are when they are asked for.

    Of the packages in `cut` half comes before the connection ends, of those in `stalled` half and
    then nothing; `reached` is set when one stalls. `with_hashes` says whether the index tells the
    wheels' hashes. `sent` counts the wheels that were asked for, by package.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cut: set[str] = set()
        self.stalled: set[str] = set()
        self.with_hashes = True
        self.sent: Counter[str] = Counter()
        self.reached = threading.Event()
        self.closing = threading.Event()
        self.url = ""

    def page(self, package: str) -> bytes | None:
        """The page of links to a package's wheels; None if there are none."""
        wheel = self.folder / f"{package.replace('-', '_')}-1.0-py3-none-any.whl"
        if not wheel.exists():
            return None
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        fragment = f"#sha256={digest}" if self.with_hashes else ""
        return f'<a href="/wheels/{wheel.name}{fragment}">{wheel.name}</a>'.encode()


@contextmanager
def serve(folder: Path) -> Iterator[PackageIndex]:
    """Serve a package index of the wheels in `folder` until the block ends."""
    index = PackageIndex(folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, kind, name, *_ = self.path.split("/")
            if kind == "simple":
                self.send(index.page(name), "text/html")
                return
            package = name.partition("-1.0-")[0].replace("_", "-")
            index.sent[package] += 1
            data = (index.folder / name).read_bytes()
            self.send(data, "application/zip", halt=package in index.cut | index.stalled)
            if package in index.stalled:
                index.reached.set()
                index.closing.wait(300)

        def send(self, body: bytes | None, kind: str, *, halt: bool = False) -> None:
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if halt else body)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        index.closing.set()
        server.shutdown()
        server.server_close()
