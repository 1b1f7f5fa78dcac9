"""Many readers beside one writer: each look is at one state, and nobody keeps another waiting."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from processes import PATIENCE, Worker, working
from synthetic import DIM, MANIFEST, look, overlap, put, put_version, record, rows, unit, write

from rag import StoreError
from rag.index import Index
from rag.index.disk import database, steps
from rag.query import parse_question

PROCESSES = 4
ROUNDS = 16


@pytest.mark.slow
def test_each_look_is_at_one_state_in_processes_and_threads(tmp_path: Path) -> None:
    """While files are replaced and removed, caches refreshed and optimized, the whole compacted."""
    index, stop = Index(tmp_path / "index", wait=PATIENCE), tmp_path / "stop"
    with index.write() as writer:
        writer.set_manifest(MANIFEST)
        put_version(writer, 0)
        writer.commit()
        writer.refresh_cache()
    seen: list[int] = []
    problems: list[BaseException] = []
    optimized = threading.Event()

    def keep_looking() -> None:
        try:
            while not stop.exists():
                seen.append(look(index))
        except BaseException as error:
            problems.append(error)

    def keep_optimizing() -> None:
        try:
            while not stop.exists():
                # Compacting makes the same anew, and optimizing says so.
                with suppress(StoreError):
                    Index(index.directory).optimize()
                    optimized.set()
                time.sleep(0.3)
        except BaseException as error:
            problems.append(error)

    def wait_until(so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not so() and not problems:
            assert time.monotonic() < end
            time.sleep(0.01)

    with ExitStack() as stack:
        readers = [
            stack.enter_context(working("look-until", index.directory, stop))
            for _ in range(PROCESSES)
        ]
        assert [reader.line() for reader in readers] == ["ready"] * PROCESSES
        threads = [threading.Thread(target=each) for each in (keep_looking, keep_optimizing)]
        for thread in threads:
            thread.start()
        try:
            for version in range(1, ROUNDS):
                with index.write() as writer:
                    put_version(writer, version)
                    writer.commit()
                    if version % 3 == 0:
                        writer.refresh_cache()
                if version % 6 == 0:
                    index.compact()
                if version % 4 == 0 or version == ROUNDS - 1:
                    # However slow the machine is, each sees what was committed last.
                    now = str(version)
                    for reader in readers:
                        wait_until(lambda r=reader, v=now: r.lines[-1] == v or not r.is_at_work())
                    wait_until(lambda v=version: seen[-1:] == [v])
            wait_until(optimized.is_set)
        finally:
            stop.touch()
            for thread in threads:
                thread.join()
        assert [reader.end() for reader in readers] == [0] * PROCESSES
    assert not problems
    looks = [reader.lines[1:] for reader in readers]
    assert all(line.isdigit() for lines in looks for line in lines), looks
    for versions in (seen, *([int(line) for line in lines] for lines in looks)):
        # Each sees what was committed last, at once: never an older state than before.
        assert versions == sorted(versions)
        assert {4, 8, 12, ROUNDS - 1} <= set(versions)
    assert look(index) == ROUNDS - 1
    assert index.compact()
    assert look(Index(index.directory)) == ROUNDS - 1


@pytest.mark.slow
def test_what_is_acknowledged_is_seen_by_the_next_look(tmp_path: Path) -> None:
    index, other = Index(tmp_path), Index(tmp_path)
    with index.write() as writer:
        writer.set_manifest(MANIFEST)
        for version in range(8):
            put_version(writer, version)
            writer.commit()
            assert look(other) == look(Index(tmp_path)) == version
            if version % 2:
                writer.refresh_cache()
                assert look(other) == version


@pytest.mark.slow
def test_a_snapshot_that_is_held_is_one_state_and_keeps_no_writer_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever has to wait for another fails at once.
    monkeypatch.setattr(database, "_BUSY_MS", 0)
    index = Index(tmp_path)
    vectors = unit(np.random.default_rng(0), 40)
    write(index, {"a": vectors})
    everything = parse_question("passage")
    with index.snapshot() as snapshot:
        before = snapshot.nearest(vectors[0], 100)
        with index.write() as writer:
            for size in range(1, 30):
                put(writer, record("b"), rows("b", vectors[:size]))
                writer.commit()
        write(index, {"c": unit(np.random.default_rng(1), 400)})
        # From the caches of its own state, which are gone from the folder meanwhile.
        assert snapshot.nearest(vectors[0], 100) == before
        words = snapshot.matching(everything, 1000)
        assert sorted(each for each, _ in words) == sorted(each for each, _ in before)
        assert len(snapshot.passages([each for each, _ in words])) == len(words)
    assert index.counts()["files"] == 3


@contextmanager
def held(index: Index) -> Iterator[Worker]:
    """A process that stays at one state of the index, and is stopped there."""
    with working("hold-snapshot", index.directory) as worker:
        assert worker.line() == str(DIM)
        worker.send(signal.SIGSTOP)
        yield worker


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no SIGSTOP")
def test_a_reader_that_was_stopped_keeps_nothing_but_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_MS", 300)
    index, log = Index(tmp_path), tmp_path / f"{database.NAME}-wal"
    write(index, {"a": unit(np.random.default_rng(0), 300)})
    with held(index) as process:
        for version in range(10):
            write(index, {"b": unit(np.random.default_rng(version), 300)})
        assert index.counts()["chunks"] == 600
        # What the reader may still look at is said to be there.
        assert not index.compact()
        assert log.stat().st_size
        process.kill()
        assert index.compact()
        assert not log.exists() or not log.stat().st_size
    assert index.counts()["chunks"] == 600


@pytest.mark.slow
def test_a_reader_that_is_done_in_time_is_waited_for(tmp_path: Path) -> None:
    index = Index(tmp_path)
    write(index, {"a": unit(np.random.default_rng(0), 300)})
    with held(index) as process:
        write(index, {"a": unit(np.random.default_rng(1), 300)})
        threading.Timer(0.5, process.kill).start()
        assert index.compact()


@contextmanager
def overlapping(index: Index, stop: Path) -> Iterator[None]:
    """A process and a thread that begin each look before the one before has ended."""
    own = Index(index.directory)
    thread = threading.Thread(target=overlap, args=(own, stop))
    with working("overlap-until", index.directory, stop) as process:
        assert process.line() == "ready"
        thread.start()
        try:
            yield
        finally:
            stop.touch()
            thread.join()


@pytest.mark.slow
def test_the_log_is_bounded_beside_readers_that_never_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, patience = 200_000, 600_000
    monkeypatch.setattr(database, "LONG_LOG", most)
    monkeypatch.setattr(database, "_PATIENCE_MS", patience)
    monkeypatch.setattr(database, "_MOST_PATIENCE_MS", patience)
    index, log = Index(tmp_path / "index"), tmp_path / "index" / f"{database.NAME}-wal"
    write(index, {"a": unit(np.random.default_rng(0), 10)})
    sizes = []
    with overlapping(index, tmp_path / "stop"), index.write() as writer:
        for version in range(20):
            put(writer, record("b"), rows("b", unit(np.random.default_rng(version), 300)))
            writer.commit()
            sizes.append(log.stat().st_size)
    # With no bound it would be as long as all that was written.
    written = sum(max(0, after - before) for before, after in pairwise([0, *sizes]))
    assert written > 4 * most
    assert max(sizes) < most
    assert index.counts() == {"files": 2, "documents": 2, "chunks": 310}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no SIGSTOP")
@pytest.mark.parametrize("state", ["before", "after"])
def test_nobody_waits_while_a_writer_waits_to_empty_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Until a reader that stays, at the state before the commit or at that after it, has ended."""
    index, log = Index(tmp_path), tmp_path / f"{database.NAME}-wal"
    vectors = unit(np.random.default_rng(0), 300)
    write(index, {"a": vectors})
    monkeypatch.setattr(database, "LONG_LOG", 1)
    monkeypatch.setattr(database, "_PATIENCE_MS", 600_000)
    monkeypatch.setattr(database, "_MOST_PATIENCE_MS", 600_000)
    waits, stays = threading.Event(), ExitStack()
    left: list[int] = []

    def step(when: str, name: str, _path: Path) -> None:
        if name == "checkpoint" and when == "before":
            if state == "after":
                stays.enter_context(held(index))
            waits.set()

    def commit() -> None:
        with index.write() as writer:
            put(writer, record("b"), rows("b", vectors))
            writer.commit()
            left.append(log.stat().st_size)

    monkeypatch.setattr(steps, "fault", step)
    if state == "before":
        stays.enter_context(held(index))
    thread = threading.Thread(target=commit)
    with stays:
        thread.start()
        assert waits.wait(PATIENCE)
        for _ in range(20):
            assert index.counts()["chunks"] == 600
        with working("count", tmp_path) as other:
            assert other.line() == "ready"
            other.tell()
            assert other.line() == "600"
        assert not left
    thread.join()
    assert left == [0]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no SIGSTOP")
def test_a_reader_that_stays_is_waited_for_at_few_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LONG_LOG", 100_000)
    monkeypatch.setattr(database, "_PATIENCE_MS", 1)
    tried = []
    monkeypatch.setattr(steps, "fault", lambda *step: tried.append(step[:2]))
    index, log = Index(tmp_path), tmp_path / f"{database.NAME}-wal"
    write(index, {"a": unit(np.random.default_rng(0), 300)})
    with held(index) as process:
        tried.clear()
        with index.write() as writer:
            for version in range(12):
                put(writer, record("b"), rows("b", unit(np.random.default_rng(version), 300)))
                writer.commit()
                assert index.counts()["chunks"] == 600
            # Each time that it has doubled.
            times = int(log.stat().st_size // 100_000).bit_length()
            assert tried.count(("before", "checkpoint")) == times > 3
        process.kill()
    write(index, {"c": unit(np.random.default_rng(1), 10)})
    assert not log.exists() or not log.stat().st_size


def test_a_commit_stands_where_the_log_cannot_be_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LONG_LOG", 1)
    failed = []

    def fail(_when: str, name: str, path: Path) -> None:
        if name == "checkpoint":
            failed.append(path)
            raise OSError(errno.EIO, "the disk is broken", str(path))

    monkeypatch.setattr(steps, "fault", fail)
    index = Index(tmp_path)
    write(index, {"a": unit(np.random.default_rng(0), 3)})
    assert failed
    assert index.counts()["chunks"] == 3


def test_an_index_that_goes_while_it_is_read_is_named(tmp_path: Path) -> None:
    index = Index(tmp_path)
    write(index, {"a": unit(np.random.default_rng(0), 3)})
    assert index.counts()["chunks"] == 3
    (tmp_path / database.NAME).rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is missing"):
        index.counts()
