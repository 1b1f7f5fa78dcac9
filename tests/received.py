"""Make index folders that a hostile sender could make: whole by all checksums, and wrong within."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from damage import MANIFEST, build, looks
from synthetic import DIM, put, record, rows, unit

from rag import RagError
from rag.index import Index
from rag.index.disk import database
from rag.index.upkeep import back_up, examine, export_index, repair

SECRET = b"what the sender must not reach\n"


def index_of(folder: Path) -> Index:
    index = Index(folder / "index")
    build(index)
    return index


def change(index: Index, statement: str, *values: object) -> None:
    """Change the database behind our back; the checksums of its pages agree with it."""
    with closing(database.open_to_write(index.directory)) as connection:
        connection.pragma("foreign_keys", False)
        connection.execute(statement, values).fetchall()


def name_of(index: Index, kind: str) -> str:
    with database.open_to_read(index.directory) as connection:
        return str(connection.execute("SELECT name FROM caches WHERE kind = ?", (kind,)).get)


def sign(index: Index, kind: str) -> None:
    """Let the sha256 in the row agree with what the cache is now."""
    path = index.directory / name_of(index, kind)
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix != ".lock")
        sums = "".join(
            f"{each.name}\0{hashlib.sha256(each.read_bytes()).hexdigest()}\n" for each in files
        )
        digest = hashlib.sha256(sums.encode()).hexdigest()
    else:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change(index, "UPDATE caches SET sha256 = ? WHERE kind = ?", digest, kind)


class Directions:
    """An embedder whose vectors follow from a text's length; the index names it."""

    name, fingerprint, dim = MANIFEST.embedder, MANIFEST.fingerprint, DIM
    max_tokens, special_tokens = 100, 0

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return [(at, at + 1) for at in range(len(text))]

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Any:
        return np.eye(DIM, dtype=np.float32)[len(text) % DIM]


class Victim:
    """A folder outside of the index, which nothing may change or copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "victim"
        (self.folder / "inner").mkdir(parents=True)
        self.file = self.folder / "secret"
        self.file.write_bytes(SECRET)
        (self.folder / "inner" / "meta.json").write_bytes(SECRET)

    def assert_unharmed(self) -> None:
        found = sorted(str(each.relative_to(self.folder)) for each in self.folder.rglob("*"))
        assert found == ["inner", "inner/meta.json", "secret"]
        assert self.file.read_bytes() == SECRET
        assert (self.folder / "inner" / "meta.json").read_bytes() == SECRET


def uses(index: Index, room: Path) -> dict[str, Callable[[], Any]]:
    """Every way to use an index, in the order in which they change more and more of it."""

    def write() -> None:
        with Index(index.directory).write() as writer:
            put(writer, record("new"), rows("new", unit(np.random.default_rng(5), 3)))
            writer.commit()
            writer.refresh_cache()

    return {
        **looks(index.directory),
        "states of files": lambda: list(Index(index.directory).files()),
        "roots": lambda: Index(index.directory).roots(),
        "size": lambda: Index(index.directory).size(),
        "search kind": lambda: Index(index.directory).vector_search(),
        "backup": lambda: back_up(Index(index.directory), room / "copy", force=True),
        "export": lambda: export_index(Index(index.directory), room / "file", force=True),
        "doctor": lambda: examine(index.directory),
        "write": write,
        "optimize": lambda: Index(index.directory).optimize(),
        "compact": lambda: Index(index.directory).compact(),
        "repair": lambda: repair(Index(index.directory)),
    }


def use_all(
    index: Index, room: Path, *, without: Collection[str] = (), seconds: int = 60
) -> dict[str, Any]:
    """Use an index in every way; returns what each returned, or the error of ours that it raised.

    Any other error, and what takes too long, is a failure.
    """
    found: dict[str, Any] = {}
    for name, use in uses(index, room).items():
        if name in without:
            continue
        with at_most(seconds, name):
            try:
                found[name] = use()
            except RagError as error:
                assert len(str(error).splitlines()) == 1, error
                found[name] = error
    return found


@contextmanager
def at_most(seconds: int, name: str) -> Iterator[None]:
    """Raise AssertionError in what takes longer: a pipe, or a query without end."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"{name} takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def put_in_place(path: Path, kind: str, victim: Victim) -> None:
    """Put a link, a pipe or a folder in the place of a file of the index."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    with suppress(FileNotFoundError):
        path.unlink()
    if kind == "link":
        path.symlink_to(victim.file)
    elif kind == "dangling":
        path.symlink_to(victim.folder / "new")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


def write_managed(folder: Path, *names: str) -> None:
    """Let tantivy believe that files are its own."""
    path = folder / ".managed.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), *names]))
