"""A disk that is really full: a file system of two megabytes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from crashing import Operation, State, carry_out, survival

from rag import StoreError
from rag.index import Index


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with two megabytes of room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or not mounted(mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)):
        pytest.skip("nothing can be mounted here")
    yield folder
    assert mounted("umount", "--lazy", str(folder))


def mounted(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def fill(index: Index) -> State:
    """Add documents until there is no room; what was acknowledged."""
    state: State = {}
    for number in range(100):
        operation = Operation("add", {f"d{number}": (number, 80)})
        try:
            carry_out(index, operation)
        except StoreError as error:
            assert "\n" not in str(error)
            assert number > 2
            # The chunks may be in, and only the cache of vectors not.
            held, torn = survival.read_state(index)
            assert not torn
            assert held in (state, operation.apply(state))
            return held
        state = operation.apply(state)
    pytest.fail("the disk never got full")


def assert_whole(index: Index, state: State) -> None:
    held, torn = survival.read_state(index)
    assert not torn
    assert held == state
    for seed in range(2):
        assert not survival.wrong_answers(index, state, seed)


@pytest.mark.slow
@pytest.mark.root
def test_all_that_was_acknowledged_is_found_on_a_full_disk(disk: Path) -> None:
    index = Index(disk / "index")
    state = fill(index)
    assert_whole(index, state)
    # Not a byte is free.
    with (disk / "rest").open("wb", buffering=0) as rest, pytest.raises(OSError, match="space"):
        while True:
            rest.write(b"x" * 4096)
    assert_whole(index, state)
    assert_whole(Index(index.directory), state)
    again = Operation("add", {"again": (1000, 150)})
    with pytest.raises(StoreError, match=r"full|space"):
        carry_out(index, again)
    assert_whole(Index(index.directory), state)


@pytest.mark.slow
@pytest.mark.root
def test_work_goes_on_when_the_disk_has_grown(disk: Path) -> None:
    index = Index(disk / "index")
    state = fill(index)
    assert mounted("mount", "-o", "remount,size=16m", str(disk))
    operation = Operation("add", {"more": (1000, 300)})
    carry_out(index, operation)
    state = operation.apply(state)
    assert_whole(Index(index.directory), state)
    index.compact()
    assert_whole(index, state)


@pytest.mark.slow
@pytest.mark.root
def test_work_goes_on_when_other_files_make_room(disk: Path) -> None:
    other = disk / "other"
    other.write_bytes(b"x" * 900_000)
    index = Index(disk / "index")
    state = fill(index)
    other.unlink()
    operation = Operation("remove", {}, sorted(state)[:2])
    carry_out(index, operation)
    state = operation.apply(state)
    assert_whole(Index(index.directory), state)
    index.compact()
    operation = Operation("add", {"more": (1000, 40)})
    carry_out(index, operation)
    assert_whole(Index(index.directory), operation.apply(state))
