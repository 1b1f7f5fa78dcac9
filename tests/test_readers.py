"""Many readers beside one writer: each look is at one state, and nobody keeps another waiting."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_index import DIM, MANIFEST, put, record, remove, rows, unit, write

from rag import StoreError
from rag.index import Index, Writer
from rag.index.disk import database, steps
from rag.query import parse_question
from rag.types import Chunk, Document

PROCESSES = 4
ROUNDS = 16

# At each commit every file is replaced by one of the same number; every other one has a file more.
SIZES = {"a": 40, "b": 80}
MORE = {"c": 20}


def versioned(name: str, version: int, size: int) -> list[tuple[Document, list[Chunk], np.ndarray]]:
    texts = [f"{name} version {version} passage {at}" for at in range(size)]
    chunks, at = [], 0
    for number, text in enumerate(texts):
        chunks.append(Chunk(0, name, text, at, at + len(text), number))
        at += len(text) + 1
    document = Document(name, name, "\n".join(texts), name, "text/plain", f"{name} {version}")
    return [(document, chunks, np.stack([vector_of(text) for text in texts]))]


@lru_cache(10_000)
def vector_of(text: str) -> np.ndarray:
    numbers = [int(word) if word.isdigit() else ord(word[0]) for word in text.split()]
    return unit(np.random.default_rng(numbers), 1)[0]


def put_version(writer: Writer, version: int) -> None:
    for name, size in SIZES.items():
        put(writer, record(name), versioned(name, version, size))
    for name, size in MORE.items():
        if version % 2:
            remove(writer, name)
        else:
            put(writer, record(name), versioned(name, version, size))


def sizes_at(version: int) -> dict[str, int]:
    return SIZES if version % 2 else SIZES | MORE


def look(index: Index) -> int:
    """All that can be seen of one state; returns its version, or raises AssertionError."""
    query = np.eye(1, DIM, dtype=np.float32)[0]
    with index.snapshot() as snapshot:
        by_vector = dict(snapshot.nearest(query, 1000))
        by_word = dict(snapshot.matching(parse_question("passage"), 1000))
        passages = snapshot.passages(list(by_vector))
        again = dict(snapshot.nearest(query, 1000))
        vectors = snapshot.vectors(list(by_vector))
        documents = snapshot.documents(["a", "b", "c"])
    (version,) = {int(each.chunk.text.split()[2]) for each in passages.values()}
    wanted = [
        f"{name} version {version} passage {at}"
        for name, size in sizes_at(version).items()
        for at in range(size)
    ]
    assert sorted(each.chunk.text for each in passages.values()) == sorted(wanted)
    assert by_vector.keys() == by_word.keys() == again.keys() == passages.keys()
    assert documents.keys() == sizes_at(version).keys()
    assert {each.content_hash.split()[1] for each in documents.values()} == {str(version)}
    for (number, score), vector in zip(by_vector.items(), vectors, strict=True):
        text = passages[number].chunk.text
        assert np.abs(vector - vector_of(text)).max() < 1e-3
        assert abs(score - vector[0]) < 1e-5
    return version


READER = f"""
import json, sys, time, traceback
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from rag.index import Index
from test_readers import look
index, versions, problem = Index(Path(sys.argv[1])), [], ""
look(index)
print("ready", flush=True)
try:
    while not Path(sys.argv[2]).exists():
        versions.append(look(index))
        time.sleep(0.02)
except BaseException:
    problem = traceback.format_exc()
print(json.dumps([versions, problem]), flush=True)
"""


@contextmanager
def readers(index: Index, stop: Path, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(index.directory), str(stop)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_each_look_is_at_one_state_in_processes_and_threads(tmp_path: Path) -> None:
    """While files are replaced and removed, caches refreshed and optimized, the whole compacted."""
    index, stop = Index(tmp_path / "index", wait=60), tmp_path / "stop"
    with index.write() as writer:
        writer.set_manifest(MANIFEST)
        put_version(writer, 0)
        writer.commit()
        writer.refresh_cache()
    seen: list[int] = []
    optimized: list[int] = []
    problems: list[BaseException] = []

    def in_a_thread() -> None:
        try:
            while not stop.exists():
                seen.append(look(index))
        except BaseException as error:
            problems.append(error)

    def optimizing() -> None:
        try:
            while not stop.exists():
                # Compacting makes the same anew, and optimizing says so.
                with suppress(StoreError):
                    Index(index.directory).optimize()
                    optimized.append(len(seen))
                time.sleep(0.3)
        except BaseException as error:
            problems.append(error)

    with readers(index, stop, PROCESSES) as processes:
        threads = [threading.Thread(target=each) for each in (in_a_thread, optimizing)]
        for thread in threads:
            thread.start()
        for version in range(1, ROUNDS):
            with index.write() as writer:
                put_version(writer, version)
                writer.commit()
                if version % 3 == 0:
                    writer.refresh_cache()
            if version % 6 == 0:
                index.compact()
            time.sleep(0.1)
        stop.touch()
        for thread in threads:
            thread.join()
        told: list[tuple[list[int], str]] = [
            json.loads(process.communicate()[0]) for process in processes
        ]
    assert not problems
    assert optimized
    assert [problem for _, problem in told] == [""] * PROCESSES
    for versions in (seen, *(versions for versions, _ in told)):
        # Each sees what was committed last, at once: never an older state than before.
        assert versions == sorted(versions)
        assert len(set(versions)) > 3
    assert look(index) == ROUNDS - 1
    assert index.compact()
    assert look(Index(index.directory)) == ROUNDS - 1


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


def test_a_reading_that_is_held_sees_one_state_and_keeps_no_writer_waiting(tmp_path: Path) -> None:
    index = Index(tmp_path)
    vectors = unit(np.random.default_rng(0), 40)
    write(index, {"a": vectors})
    everything = parse_question("passage")

    def commits(seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        with index.write() as writer:
            while time.monotonic() < end:
                put(writer, record("b"), rows("b", vectors[: done % 20 + 1]))
                writer.commit()
                done += 1
        return done

    free = commits(1.0)
    with index.snapshot() as snapshot:
        before = snapshot.nearest(vectors[0], 100)
        held = commits(1.0)
        write(index, {"c": unit(np.random.default_rng(1), 400)})
        # From the caches of its own state, which are gone from the folder meanwhile.
        assert snapshot.nearest(vectors[0], 100) == before
        words = snapshot.matching(everything, 1000)
        assert sorted(each for each, _ in words) == sorted(each for each, _ in before)
        assert len(snapshot.passages([each for each, _ in words])) == len(words)
    assert held > free / 4
    assert index.counts()["files"] == 3


HELD = """
import sys
from pathlib import Path
from rag.index import Index
with Index(Path(sys.argv[1])).snapshot() as snapshot:
    print(snapshot.manifest.dim, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held(index: Index) -> Iterator[subprocess.Popen[str]]:
    """A process that stays at one state of the index, and is stopped there."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", HELD, str(index.directory)], **pipes)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{DIM}\n"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.communicate()


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
        process.wait()
        assert index.compact()
        assert not log.exists() or not log.stat().st_size
    assert index.counts()["chunks"] == 600


def test_a_reader_that_is_done_in_time_is_waited_for(tmp_path: Path) -> None:
    index = Index(tmp_path)
    write(index, {"a": unit(np.random.default_rng(0), 300)})
    with held(index) as process:
        write(index, {"a": unit(np.random.default_rng(1), 300)})
        threading.Timer(0.5, process.kill).start()
        assert index.compact()


OVERLAPPING = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from rag.index import Index
index, first = Index(Path(sys.argv[1])), ExitStack()
first.enter_context(index.snapshot())
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    second = ExitStack()
    second.enter_context(index.snapshot())
    time.sleep(0.005)
    first.close()
    first = second
"""


@contextmanager
def overlapping(index: Index, stop: Path) -> Iterator[None]:
    """A process and a thread that begin each look before the one before has ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", OVERLAPPING, str(index.directory), str(stop)],
        stdout=subprocess.PIPE,
        text=True,
    )
    own = Index(index.directory)

    def in_a_thread() -> None:
        first = ExitStack()
        first.enter_context(own.snapshot())
        while not stop.exists():
            second = ExitStack()
            second.enter_context(own.snapshot())
            time.sleep(0.005)
            first.close()
            first = second
        first.close()

    thread = threading.Thread(target=in_a_thread)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        thread.start()
        yield
    finally:
        stop.touch()
        thread.join()
        process.communicate()


def test_the_log_is_bounded_beside_readers_that_never_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, patience = 200_000, 60_000
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


LOOK = """
import sys
from pathlib import Path
from rag.index import Index
print(Index(Path(sys.argv[1])).counts()["chunks"])
"""


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
    monkeypatch.setattr(database, "_PATIENCE_MS", 60_000)
    monkeypatch.setattr(database, "_MOST_PATIENCE_MS", 60_000)
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
        assert waits.wait(60)
        for _ in range(20):
            assert index.counts()["chunks"] == 600
        command = [sys.executable, "-c", LOOK, str(tmp_path)]
        assert subprocess.run(command, capture_output=True, check=True).stdout == b"600\n"
        assert not left
    thread.join()
    assert left == [0]


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
        process.wait()
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
