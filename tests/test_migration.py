"""An index of format 3, as an earlier version wrote it, comes up to this one and loses nothing."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
from places import as_nobody, read_only, seen_by_all
from processes import Worker, working
from synthetic import DIM, found, put, record, rows, unit

from rag import LockedError, StoreError
from rag.index import Index, store
from rag.index.disk import database
from rag.index.disk.lock import hold_lock
from rag.query import parse_question

# What `iterdump` of sqlite3 gave of an index that format 3's code made, a line for each table.
DUMP = Path(__file__).parent / "format3.sql"
TABLES = ("files", "problems", "roots", "documents", "chunks", "tombstones", "languages")


def format3(folder: Path) -> Path:
    """An index of format 3, without its caches."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / database.NAME)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.executescript(DUMP.read_text(encoding="utf-8"))
    return folder


def before() -> dict[str, list[Any]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(DUMP.read_text(encoding="utf-8"))
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}"))
            for table in (*TABLES, "sqlite_sequence")
        }


def assert_brought_up(folder: Path) -> None:
    """All that was there is there, under checksums, and found."""
    expected = before()
    with database.open_to_read(folder) as connection:
        assert connection.reserve_bytes("main") == 8
        assert connection.pragma("integrity_check") == "ok"
        assert connection.pragma("journal_mode") == "wal"
        manifest = dict(connection.execute("SELECT key, value FROM manifest"))
        assert manifest["format"] == "4"
        for table, kept in expected.items():
            assert sorted(connection.execute(f"SELECT * FROM {table}")) == kept
    index = Index(folder)
    stored = index.manifest()
    assert stored is not None
    assert (stored.embedder, stored.fingerprint, stored.dim) == ("embedder", "weights", DIM)
    assert stored.revision == ""
    with index.snapshot() as snapshot:
        for number, _, start, end, *_, blob in expected["chunks"]:
            vector = np.frombuffer(blob, dtype="<f2").astype(np.float32)
            ((nearest, score),) = snapshot.nearest(vector, 1)
            assert (nearest, round(score, 2)) == (number, 1.0)
            assert len(snapshot.passages([nearest])[nearest].chunk.text) == end - start
        (lamp,) = snapshot.matching(parse_question("whale oil"), 5)
        assert lamp[0] == 2
        assert not snapshot.matching(parse_question("removed"), 5)


def read(index: Index) -> None:
    assert index.counts() == {"files": 2, "documents": 2, "chunks": 5}


def search(index: Index) -> None:
    assert len(found(index, np.eye(1, DIM, dtype=np.float32)[0], 9)) == 5


def write(index: Index) -> None:
    with index.write() as writer:
        assert writer.file("/docs/keep.md") is not None


@pytest.mark.parametrize("use", [read, search, write])
def test_the_first_use_brings_it_up(tmp_path: Path, use: Callable[[Index], None]) -> None:
    index = Index(format3(tmp_path / "index"))
    use(index)
    assert_brought_up(index.directory)
    use(index)


def test_what_was_brought_up_is_written_on(tmp_path: Path) -> None:
    index = Index(format3(tmp_path / "index"))
    with index.write() as writer:
        put(writer, record("new"), rows("new", unit(np.random.default_rng(0), 3)))
        writer.commit()
        writer.refresh_cache()
    assert index.counts() == {"files": 3, "documents": 3, "chunks": 8}
    # Ids go on where format 3 left off.
    assert [chunk.id for chunk in index.chunks("new")] == [7, 8, 9]


@pytest.mark.slow
def test_several_at_once(tmp_path: Path) -> None:
    folder = format3(tmp_path / "index")
    processes = [Worker("count", folder) for _ in range(3)]
    assert [process.line() for process in processes] == ["ready"] * 3
    counted: list[int] = []
    index = Index(folder)
    threads = [
        threading.Thread(target=lambda: counted.append(index.counts()["chunks"])) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for process in processes:
        process.tell()
    counted += [int(process.line()) for process in processes]
    assert [process.end() for process in processes] == [0] * 3
    for thread in threads:
        thread.join()
    assert counted == [5] * 6
    assert_brought_up(folder)


def test_a_look_waits_for_whoever_changes_the_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = format3(tmp_path / "index")
    real, refused = store.format_of, [apsw.BusyError("database is locked")] * 3

    def look(connection: apsw.Connection) -> int | None:
        if refused:
            raise refused.pop()
        return real(connection)

    monkeypatch.setattr(store, "format_of", look)
    assert Index(folder).counts()["chunks"] == 5
    assert not refused


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["checksums", "commit"])
def test_killed_in_the_middle(tmp_path: Path, when: str, step: str) -> None:
    folder = format3(tmp_path / "index")
    with working("die-at", when, step, "count", folder) as process:
        process.tell()
        assert process.end() == -signal.SIGKILL
    read(Index(folder))
    assert_brought_up(folder)


@pytest.mark.root
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = format3(tmp_path / "index")
    data = (folder / database.NAME).read_bytes()
    with read_only(folder):
        for use in (read, search):
            with pytest.raises(StoreError) as caught:
                use(Index(folder))
            assert str(caught.value) == (
                f"{folder}: is to be brought up to index format 4 first: {folder}: cannot be "
                "written: Read-only file system"
            )
        with pytest.raises(StoreError, match="Read-only file system"):
            write(Index(folder))
    assert (folder / database.NAME).read_bytes() == data
    read(Index(folder))
    assert_brought_up(folder)


@pytest.mark.slow
@pytest.mark.root
def test_of_another_user(tmp_path: Path) -> None:
    with seen_by_all() as place:
        folder = format3(place / "index")
        with as_nobody("refusals", folder) as process:
            said = process.line()
            assert (process.end(), process.errors) == (0, [])
        assert "is to be brought up to index format 4 first" in said
        assert "Permission denied" in said
        read(Index(folder))
        with as_nobody("count", folder) as process:
            assert process.line() == "ready"
            process.tell()
            assert process.line() == "5"
            assert (process.end(), process.errors) == (0, [])


def test_another_writer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = format3(tmp_path / "index")
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with hold_lock(folder):
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    monkeypatch.setattr("rag.index.store._MIGRATION_SECONDS", 0.2)
    with pytest.raises(LockedError, match="is being written by process"):
        read(Index(folder))
    monkeypatch.undo()
    begun = time.monotonic()
    threading.Timer(0.3, over.set).start()
    read(Index(folder))
    assert time.monotonic() - begun >= 0.2
    thread.join()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("2", "has index format 2, this version reads format 3 to 4: delete the folder"),
        ("99", "has index format 99, this version reads up to 4: use a newer version"),
        ("x", "has index format unknown"),
    ],
)
def test_other_formats_are_refused(tmp_path: Path, number: str, said: str) -> None:
    folder = format3(tmp_path / "index")
    with closing(sqlite3.connect(folder / database.NAME)) as connection, connection:
        connection.execute("UPDATE manifest SET value = ? WHERE key = 'format'", (number,))
    shutil.copytree(folder, tmp_path / "copy")
    for use in (read, search, write):
        with pytest.raises(StoreError, match=said):
            use(Index(folder))
    data = (folder / database.NAME).read_bytes()
    assert data == (tmp_path / "copy" / database.NAME).read_bytes()
