"""Copies of an index that are whole, whatever is going on beside them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

import apsw
import numpy as np
import pytest
from places import let_others_read
from processes import working
from synthetic import assert_same, found, nearest, pair, unit, write

from rag import LockedError, StoreError
from rag.index import Index
from rag.index.disk import database
from rag.index.upkeep import back_up
from rag.types import Progress

VECTORS = {name: unit(np.random.default_rng(at), 300 + at) for at, name in enumerate("ab")}


def is_state(index: Index, expected: dict[str, np.ndarray]) -> bool:
    with index.contents() as contents:
        stored = b"".join(contents.vectors())
    return stored == b"".join(each.astype("<f2").tobytes() for each in expected.values())


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = Index(tmp_path / "index")
    write(index, VECTORS)
    write(index, {"c": unit(np.random.default_rng(9), 3)})
    return index


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_copy_is_an_index_with_its_checksums_and_caches(index: Index, tmp_path: Path) -> None:
    signs: list[Progress] = []
    done = back_up(index, tmp_path / "deep" / "copy", progress=signs.append)
    copy = Index(tmp_path / "deep" / "copy")
    assert (done.path, done.documents, done.chunks) == (str(copy.directory), 3, 604)
    assert done.bytes == copy.size()
    assert signs[-1].done == signs[-1].total == (copy.directory / database.NAME).stat().st_size
    assert copy.counts() == index.counts()
    caches = {path.name for path in index.directory.glob("*-*") if path.name != "index.sqlite-wal"}
    caches -= {"index.sqlite-shm"}
    assert caches
    assert caches <= set(names(copy.directory))
    assert not [name for name in names(copy.directory) if name.startswith("index.sqlite-")]
    query = unit(np.random.default_rng(3), 1)[0]
    assert found(copy, query, 20) == found(index, query, 20)
    # It goes on by itself, and the other does not see it.
    write(copy, {"d": VECTORS["a"]}, ("c",))
    assert index.counts()["chunks"] == 604
    assert copy.counts()["chunks"] == 901
    assert names(tmp_path) == ["deep", "index"]


@pytest.mark.slow
def test_a_flipped_bit_in_a_copy_is_noticed(index: Index, tmp_path: Path) -> None:
    back_up(index, tmp_path / "copy")
    path = tmp_path / "copy" / database.NAME
    whole = path.read_bytes()
    for page in range(len(whole) // 4096):
        data = bytearray(whole)
        data[page * 4096 + 2000 + page % 1000] ^= 4
        path.write_bytes(data)
        with pytest.raises(StoreError), Index(tmp_path / "copy").contents() as contents:
            back_up(Index(tmp_path / "copy"), tmp_path / "again")
            list(contents.documents())
        assert not (tmp_path / "again").exists()


def test_a_commit_that_a_copy_loses_is_noticed(index: Index, tmp_path: Path) -> None:
    back_up(index, tmp_path / "copy")
    write(index, {"d": VECTORS["a"]})
    shutil.copy2(tmp_path / "copy" / database.NAME, index.directory / database.NAME)
    for log in index.directory.glob("index.sqlite-*"):
        log.unlink()
    with pytest.raises(StoreError, match="commits are lost"):
        Index(index.directory).counts()
    assert (tmp_path / "copy" / "commits").exists()


def test_a_cache_that_is_gone_is_left_out_and_built_anew(index: Index, tmp_path: Path) -> None:
    (cache,) = index.directory.glob("*.faiss")
    cache.unlink()
    (terms,) = index.directory.glob("terms-*")
    next(terms.glob("*.store")).unlink()
    back_up(index, tmp_path / "copy")
    copy = Index(tmp_path / "copy")
    query = unit(np.random.default_rng(3), 1)[0]
    assert found(copy, query, 20) == found(index, query, 20)
    with copy.write() as writer:
        writer.refresh_cache()
    assert list(copy.directory.glob("*.faiss"))


def test_nothing_else_is_replaced(index: Index, tmp_path: Path) -> None:
    other, mine = tmp_path / "other", tmp_path / "mine"
    write(Index(other), {"z": VECTORS["b"]})
    mine.mkdir()
    (mine / "letter").write_text("dear")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"exists already.*--force"):
        back_up(index, other)
    with pytest.raises(StoreError, match="holds no index, and is not replaced"):
        back_up(index, mine, force=True)
    for folder in (index.directory, index.directory / "copy", tmp_path):
        with pytest.raises(StoreError, match="lie in one another"):
            back_up(index, folder, force=True)
    with pytest.raises(StoreError, match="holds no index"):
        back_up(Index(tmp_path / "none"), tmp_path / "copy")
    with pytest.raises(StoreError, match="cannot be written: File exists"):
        back_up(index, mine / "letter" / "copy")
    assert Index(other).document("z") is not None
    with Index(other).write(), pytest.raises(LockedError):
        back_up(index, other, force=True)
    assert Index(other).document("z") is not None
    back_up(index, other, force=True)
    assert Index(other).document("z") is None
    assert Index(other).counts() == index.counts()
    back_up(index, tmp_path / "empty")
    assert names(tmp_path) == ["empty", "index", "mine", "other"]


class InterruptedCopy(Exception):
    """What the test raises in the middle."""


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.slow
def test_an_interruption_at_any_step_leaves_the_old_or_the_new(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    target, before = tmp_path / "copy", tmp_path / "before"
    write(Index(before), {"old": VECTORS["a"][:9]})

    def begun() -> None:
        shutil.rmtree(target, ignore_errors=True)
        if force:
            shutil.copytree(before, target)

    steps: list[tuple[str, str]] = []
    begun()
    monkeypatch.setattr(
        "rag.index.disk.steps.fault", lambda when, name, _: steps.append((when, name))
    )
    back_up(index, target, force=force)
    # One file of a cache is like the other: of each kind of step the first two, and the last.
    ends = [
        at
        for at, step in enumerate(steps)
        if steps[:at].count(step) < 2 or step not in steps[at + 1 :]
    ]
    assert {"make", "copy", "link", "sync", "write", "rename"} <= {name for _, name in steps}
    for end in ends:
        begun()
        left = iter([False] * end + [True])

        def fault(when: str, name: str, path: Path, left: Iterator[bool] = left) -> None:
            if next(left, False):
                raise InterruptedCopy(name)

        monkeypatch.setattr("rag.index.disk.steps.fault", fault)
        with pytest.raises(InterruptedCopy):
            back_up(index, target, force=force)
        monkeypatch.setattr("rag.index.disk.steps.fault", None)
        if target.exists():
            is_old = Index(target).document("old") is not None
            assert (is_old and force) or Index(target).counts() == index.counts()
        else:
            assert not force
        back_up(index, target, force=True)
        assert Index(target).counts() == index.counts()
        assert names(tmp_path) == ["before", "copy", "index"]


def test_a_full_disk_is_named_and_leaves_nothing(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(database, "copy", copy)
    with pytest.raises(StoreError, match=r"copy: cannot be written: No space left"):
        back_up(index, tmp_path / "copy")
    assert names(tmp_path) == ["index"]


@pytest.mark.slow
def test_every_copy_beside_a_writer_is_one_of_its_states(tmp_path: Path) -> None:
    """A real writer commits all the time, and is kept waiting by no copy."""
    source = Index(tmp_path / "index")
    copies: list[tuple[int, Path]] = []
    with working("write-pairs", source.directory) as writer:
        seen = int(writer.line())
        for number in range(8):
            target = tmp_path / f"copy{number}"
            back_up(source, target)
            copies.append((seen, target))
            # Commits go on before the next one.
            seen = int(writer.line())
    last = int(writer.lines[-1])
    states = []
    for least, target in copies:
        copy = Index(target)
        (at,) = [each for each in range(least, last + 2) if is_state(copy, pair(each))]
        states.append(at)
        query = unit(np.random.default_rng(at), 1)[0]
        assert_same(found(copy, query, 5), nearest(pair(at), query, 5))
        write(copy, {"c": VECTORS["a"]})
    assert states == sorted(states)
    assert last > 8


@pytest.mark.slow
def test_a_killed_copy_leaves_nothing_under_the_name(index: Index, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    with working("pause-at", "before", "link", "copy", index.directory, target) as process:
        assert process.line() == "here"
        # Another one at the same time has a place of its own, and takes nothing from the first.
        back_up(index, target)
        assert len(names(tmp_path)) == 3
    back_up(index, target, force=True)
    assert names(tmp_path) == ["copy", "index"]


@pytest.mark.slow
def test_a_copy_that_is_killed_between_two_names_gives_the_old_one_back(
    index: Index, tmp_path: Path
) -> None:
    target = tmp_path / "copy"
    write(Index(target), {"old": VECTORS["a"]})
    with working("copy-until-replaced", index.directory, target) as process:
        assert process.end() == -signal.SIGKILL
    assert not target.exists()
    with pytest.raises(StoreError, match="exists already"):
        back_up(index, target)
    assert Index(target).document("old") is not None
    back_up(index, target, force=True)
    assert Index(target).counts() == index.counts()
    assert names(tmp_path) == ["copy", "index"]


@pytest.mark.slow
def test_an_index_where_nothing_can_be_written_is_copied(index: Index, tmp_path: Path) -> None:
    """By another user, who may only read it."""
    if os.geteuid() != 0:
        index.directory.chmod(0o555)
        for path in index.directory.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        back_up(index, tmp_path / "copy")
        index.directory.chmod(0o755)
        assert Index(tmp_path / "copy").counts() == index.counts()
        return
    let_others_read(index.directory)
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(gettempdir()):
            break
        folder.chmod(folder.stat().st_mode | 0o055)
    with working("copy-as-nobody", index.directory, place) as process:
        assert process.end() == 0, process.errors
        assert process.lines == ["604", "604"]
    query = unit(np.random.default_rng(3), 1)[0]
    assert found(Index(place / "copy"), query, 20) == found(index, query, 20)


@pytest.mark.slow
def test_the_command_says_what_it_did(index: Index, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rag", "backup", "--index", str(index.directory)]
    copy = str(tmp_path / "copy")
    done = subprocess.run([*command, copy], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"copied 3 documents in 604 passages to {copy}: ")
    done = subprocess.run([*command, copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "exists already" in done.stderr
    command += ["--json", "--force"]
    done = subprocess.run([*command, copy], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["chunks"] == 604
