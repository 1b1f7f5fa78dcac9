"""Plant readers that misbehave, as an installed package would bring them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.sources import pool

READERS = """
import ctypes, os, sys, time
from rag.types import Document


def _document(source, text):
    return Document("", source, text, "planted", "text/x-planted", "")


def good(path, source):
    yield _document(source, path.read_text())


def hang(path, source):
    _say_that_it_hangs()
    time.sleep(3600)
    yield


def hang_in_c(path, source):
    yield _document(source, "The first one came.")
    _say_that_it_hangs()
    ctypes.PyDLL(None).sleep(3600)


def _say_that_it_hangs():
    name = f"planted.{os.getpid()}.hangs"
    try:
        open(os.path.join(os.path.dirname(__file__), name), "w").close()
    except PermissionError:
        # A reader that is confined writes nowhere else.
        open(os.path.join(os.environ["TMPDIR"], name), "w").close()


def crash(path, source):
    ctypes.string_at(0)
    yield


def leave(path, source):
    os._exit(7)
    yield


def explode(path, source):
    blocks = []
    while True:
        blocks.append(bytearray(10_000_000))
    yield


def chatter(path, source):
    print("not a result")
    os.write(1, b"{}\\nnot JSON\\n")
    os.write(2, b"noise")
    yield _document(source, path.read_text())


def vanish(path, source):
    text = path.read_text()
    os.unlink(os.path.realpath(path))
    yield _document(source, text)


def change(path, source):
    text = path.read_text()
    path.write_text(text + " and more")
    yield _document(source, text)


def odd(path, source):
    raise Exception("a message\\nof two lines")
    yield


def half(path, source):
    yield _document(source, "half \\ud800 a pair, and \\0 nothing")
"""

NAMES = (
    "good",
    "hang",
    "hang_in_c",
    "crash",
    "leave",
    "explode",
    "chatter",
    "vanish",
    "change",
    "odd",
    "half",
)


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a reader `NAME` for files that end with `.NAME`."""
    folder.mkdir()
    (folder / "planted_readers.py").write_text(READERS)
    info = folder / "planted_readers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-readers\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = planted_readers:{name}" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[rag.readers]\n{lines}\n")
    monkeypatch.syspath_prepend(str(folder))


def hanging(folder: Path) -> list[Path]:
    """Return a mark for each planted reader that hangs; its name holds the process id."""
    return list(folder.glob("*.hangs"))


def expire_when_hanging(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time of a reader run out as soon as it hangs, and of no other, however slow it is."""
    check_time = pool._Worker.check_time

    def check(worker: pool._Worker) -> None:
        scratch = worker._scratch
        for mark in [*hanging(folder), *(hanging(Path(scratch.name)) if scratch else [])]:
            if worker._process and mark.name.endswith(f".{worker._process.pid}.hangs"):
                mark.unlink()
                worker._deadline = float("-inf")
        check_time(worker)

    monkeypatch.setattr(pool._Worker, "check_time", check)
