"""One writer at a time, whatever becomes of the others, and on which disk."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import Ran, RunMain
from filelock import FileLock
from processes import PATIENCE, Worker, working
from synthetic import found, put, record, rows, unit, write

from rag import LockedError, StoreError
from rag.config import load_config
from rag.index import Index
from rag.index.disk.mounts import network_disk, warn_of_network_disk


@contextmanager
def another(index: Path) -> Iterator[Worker]:
    """A process that is writing, until it gets a line."""
    with working("write-until-told", index) as worker:
        assert worker.line() == "writing"
        yield worker


@contextmanager
def when_one_waits(act: Callable[[], None]) -> Iterator[None]:
    """Act when a writer of this process says that it waits for another."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            act()

    handler, logger = Handler(), logging.getLogger("rag.index.disk.lock")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def holder(index: Path) -> int:
    return int(json.loads((index / "writer.json").read_text())["process"])


def refusal(index: Path, **options: Any) -> str:
    with pytest.raises(LockedError) as caught, Index(index).write(**options):
        pass
    return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_who_writes_is_named_and_since_when_and_with_what(place: Path) -> None:
    begun = time.strftime("%Y-%m-%d %H:")
    with another(place) as process:
        said = refusal(place)
        assert (
            f"{place}: is being written by process {process.pid} on {socket.gethostname()}" in said
        )
        assert f"since {begun}" in said
        assert "running `worker.py write-until-told`" in said
        assert "--wait" in said
        process.tell()
        assert process.line() == "done"
    assert not (place / "writer.json").exists()
    with Index(place).write():
        assert json.loads((place / "writer.json").read_text())["process"] == os.getpid()


def test_a_killed_writer_leaves_nothing_in_the_way(place: Path) -> None:
    with another(place) as process:
        process.kill()
        assert holder(place) == process.pid
        with FileLock(place / "writer.lock"):
            # Whoever takes over has the lock before it says who it is.
            said = refusal(place)
            assert "is being written by another process:" in said
        with Index(place).write():
            assert f"process {os.getpid()} " in refusal_elsewhere(place)


def refusal_elsewhere(place: Path) -> str:
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(refusal(place)))
    thread.start()
    thread.join()
    return said[0]


@pytest.mark.parametrize(
    "left",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"null",
        b'{"process": 1}',
        b'{"process": "1", "host": "h", "since": 1.0, "command": ""}',
        b'{"process": 99999999999999999999999, "host": "HOST", "since": 1.0, "command": ""}',
        b'{"process": -1, "host": "HOST", "since": 1.0, "command": ""}',
        # The number was given to another process since.
        b'{"process": SELF, "host": "HOST", "since": 1.0, "command": ""}',
    ],
)
def test_a_record_that_cannot_be_right_names_nobody(place: Path, left: bytes) -> None:
    place.mkdir()
    left = left.replace(b"HOST", socket.gethostname().encode())
    (place / "writer.json").write_bytes(left.replace(b"SELF", str(os.getpid()).encode()))
    with FileLock(place / "writer.lock"):
        assert "is being written by another process:" in refusal(place)
    with Index(place).write():
        pass


def test_a_record_that_cannot_be_written_is_done_without(place: Path) -> None:
    (place / "writer.json").mkdir(parents=True)
    write(Index(place), {"a": unit(np.random.default_rng(0), 2)})
    assert Index(place).counts()["chunks"] == 2


def test_a_stopped_writer_is_waited_for(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with another(place) as process:
        process.send(signal.SIGSTOP)
        assert f"process {process.pid} " in refusal(place)
        begun = time.monotonic()
        with caplog.at_level(logging.WARNING):
            assert f"process {process.pid} " in refusal(place, wait=0.4)
        assert time.monotonic() - begun >= 0.4
        (said,) = caplog.messages
        assert said.startswith(f"{place}: waiting for process {process.pid} on ")

        def go_on() -> None:
            process.send(signal.SIGCONT)
            process.tell()

        with when_one_waits(go_on), Index(place, wait=float("inf")).write() as writer:
            assert writer.manifest() is None
        assert process.line() == "done"


def test_a_writer_killed_while_others_wait_for_it(place: Path) -> None:
    with (
        another(place) as process,
        when_one_waits(process.kill),
        Index(place).write(wait=PATIENCE),
    ):
        assert holder(place) == os.getpid()


def test_threads_take_turns(place: Path) -> None:
    """Two of them share an object, two have their own."""
    shared = Index(place, wait=60)
    write(shared, {"first": unit(np.random.default_rng(0), 1)})
    inside: list[int] = []
    problems: list[BaseException] = []

    def work(index: Index, number: int) -> None:
        generator = np.random.default_rng(number)
        try:
            for turn in range(3):
                with index.write() as writer:
                    inside.append(number)
                    name = f"{number}.{turn}"
                    put(writer, record(name), rows(name, unit(generator, 2)))
                    writer.commit()
                    assert inside == [number]
                    inside.remove(number)
        except BaseException as error:
            problems.append(error)

    indexes = (shared, shared, Index(place, wait=60), Index(place, wait=60))
    threads = [threading.Thread(target=work, args=(i, n)) for n, i in enumerate(indexes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert shared.counts() == {"files": 13, "documents": 13, "chunks": 25}


def test_a_thread_does_not_wait_for_itself(place: Path) -> None:
    index = Index(place, wait=float("inf"))
    with index.write():
        for each in (index, Index(place)):
            with (
                pytest.raises(LockedError, match=f"by process {os.getpid()} "),
                each.write(wait=float("inf")),
            ):
                pass


def test_a_writer_may_be_left_in_another_thread(place: Path) -> None:
    writing = Index(place).write()
    writing.__enter__()
    assert holder(place) == os.getpid()
    thread = threading.Thread(target=writing.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert not (place / "writer.json").exists()
    with Index(place).write():
        assert holder(place) == os.getpid()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_child_has_no_part_in_the_lock(place: Path) -> None:
    with working("fork", place) as process:
        assert process.line() == "writing"
        child = int(process.line())
        # It leaves the block that holds the lock, and the process.
        process.tell("leave")
        _wait_for(lambda: psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
        assert f"process {process.pid} " in refusal(place)
    with working("fork", place) as process:
        assert process.line() == "writing"
        child = int(process.line())
        try:
            process.process.kill()
            process.process.wait()
            assert psutil.pid_exists(child)
            with Index(place).write(wait=PATIENCE):
                assert holder(place) == os.getpid()
        finally:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def _wait_for(so: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_readers_need_no_lock(place: Path) -> None:
    vectors = unit(np.random.default_rng(0), 3)
    write(Index(place), {"a": vectors})
    with another(place) as process:
        process.send(signal.SIGSTOP)
        assert len(found(Index(place), vectors[0], 9)) == 3
        process.send(signal.SIGCONT)


@pytest.mark.parametrize("command", [["remove", "a"], ["compact"]])
def test_commands_wait_if_they_are_told_to(
    place: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    run_main: RunMain,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vectors = unit(np.random.default_rng(0), 3)
    write(Index(place), {"a": vectors})
    monkeypatch.chdir("/")

    def run(*more: str) -> Ran:
        return run_main(*command, "--index", place, *more)

    with another(place) as process:
        assert f"is being written by process {process.pid} " in run().complaint
        assert run("--wait", "0.1").code == run("--wait=0.1").code == 1
        caplog.clear()
        with when_one_waits(process.tell):
            ended = run("--wait")
        assert (ended.code, ended.err) == (0, "")
        assert "waiting for process" in caplog.messages[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--wait", "docs"], "must be a number of at least 0, not 'docs': put --wait last"),
        (["--wait=nan"], "must be a number of at least 0, not 'nan'"),
    ],
)
def test_what_is_no_time_is_refused(given: list[str], said: str, run_main: RunMain) -> None:
    done = run_main("index", *given)
    assert done.code == 2
    assert said in done.err


def test_waiting_is_a_setting() -> None:
    assert load_config(None, {"RAG_INDEX_WAIT": "inf"}).index.wait == float("inf")
    assert load_config(None, {}).index.wait == 0


Mount = tuple[str, str, str]


def mounted(monkeypatch: pytest.MonkeyPatch, *mounts: Mount) -> None:
    table = [psutil._ntuples.sdiskpart("disk", *mount) for mount in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: table)  # noqa: A006


@pytest.mark.parametrize(
    ("kind", "is_network"),
    [
        *((each, True) for each in ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "gpfs")),
        *(
            (each, True)
            for each in ("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "virtiofs", "NFS")
        ),
        *((each, False) for each in ("ext4", "xfs", "tmpfs", "overlay", "apfs", "NTFS", "btrfs")),
        *((each, False) for each in ("fuseblk", "fuse.ntfs-3g", "fuse.gocryptfs", "")),
    ],
)
def test_network_disks_are_known_by_their_file_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, is_network: bool
) -> None:
    place = tmp_path.resolve()
    mounted(monkeypatch, ("/", "ext4", "rw"), (str(place.parent), kind, "rw"))
    assert network_disk(place) == ((kind, str(place.parent)) if is_network else None)
    assert network_disk(Path("/elsewhere")) is None


def test_the_innermost_mount_counts_and_of_two_there_the_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path.resolve()
    inner = place / "inner"
    inner.mkdir()
    local, network = (str(inner), "ext4", "rw"), (str(place), "nfs4", "rw")
    mounted(monkeypatch, local, network, (f"{place}/inn", "cifs", "rw"), ("/", "ext4", "rw"))
    assert network_disk(inner / "index") is None
    assert network_disk(place / "index") == ("nfs4", str(place))
    (place / "link").symlink_to(place)
    assert network_disk(Path("/", *inner.parts[1:-1], "link", "index")) == ("nfs4", str(place))
    mounted(monkeypatch, local, network, (str(inner), "fuse.sshfs", "rw"))
    assert network_disk(inner / "index") == ("fuse.sshfs", str(inner))
    mounted(monkeypatch, ("/", "NTFS", "rw,remote"))
    assert network_disk(inner) == ("NTFS", "/")


def test_what_cannot_be_found_out_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(all: bool) -> None:  # noqa: A002
        raise psutil.AccessDenied(1)

    assert network_disk(Path("/proc/self")) is None
    mounted(monkeypatch)
    assert network_disk(tmp_path) is None
    monkeypatch.setattr(psutil, "disk_partitions", refused)
    assert network_disk(tmp_path) is None


def test_writing_over_a_network_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mounted(monkeypatch, ("/", "nfs4", "rw"))
    warn_of_network_disk.cache_clear()
    write(Index(place), {"a": unit(np.random.default_rng(0), 2)})
    with Index(place).write():
        pass
    (told,) = caplog.messages
    assert told.startswith(f"{place}: lies on a network disk (nfs4 at /), where the locks")
    assert "rag backup" in told
    caplog.clear()
    assert Index(place).counts()["chunks"] == 2
    assert not caplog.messages


def test_a_file_system_without_locks_is_refused(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def missing(descriptor: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with (
        pytest.warns(UserWarning, match="flock not supported"),
        pytest.raises(StoreError, match="its file system has no locks: keep the index on a local"),
        Index(place).write(),
    ):
        pass
