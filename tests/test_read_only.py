"""An index that can be read and not written: on read-only media, or of another user."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunMain
from places import as_nobody, let_others_read, read_only, seen_by_all
from synthetic import DIM, assert_same, found, nearest, put, record, rows, unit, write

from rag import RAG, LockedError, StoreError
from rag.index import Index
from rag.index.disk import database
from rag.index.upkeep import back_up, export_index, repair
from rag.query import parse_question
from rag.query.filters import parse_filter


@pytest.fixture
def files() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {"a": unit(generator, 300), "b": unit(generator, 40)}


def state(folder: Path) -> dict[str, Any]:
    """Everything that a change to a folder would change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in [folder, *folder.rglob("*")]
    }


def assert_searchable(folder: Path, files: dict[str, np.ndarray]) -> None:
    """By vectors, words and filters, each document and each chunk."""
    index = Index(folder)
    query = unit(np.random.default_rng(1), 1)[0]
    assert_same(found(index, query, 10), nearest(files, query, 10))
    with index.snapshot() as snapshot:
        (each, *_) = snapshot.matching(parse_question('"b passage 7"'), 5)
        assert snapshot.passages([each[0]])[each[0]].chunk.text == "b passage 7"
        within = snapshot.passing(parse_filter("path:b"))
        assert len(within) == len(files["b"])
        assert len(snapshot.nearest(query, 1000, within)) == len(files["b"])
    assert [document.id for document in index.documents()] == sorted(files)
    assert index.counts()["chunks"] == sum(map(len, files.values()))


def copied_while_open(source: Path, target: Path, files: dict[str, np.ndarray]) -> None:
    """A copy with a log, such as a killed process leaves or a snapshot holds."""
    index = Index(source)
    write(index, {"a": files["a"]})
    with index.snapshot() as snapshot:
        assert snapshot.manifest
        write(index, {"b": files["b"]})
        shutil.copytree(source, target)
    assert (target / "index.sqlite-wal").stat().st_size


@pytest.mark.root
def test_read_only_media_can_be_searched_and_nothing_is_written(
    tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    folder = tmp_path / "index"
    write(Index(folder), files)
    before = state(folder)
    with read_only(folder):
        assert_searchable(folder, files)
    assert state(folder) == before


@pytest.mark.parametrize("kind", ["vectors-*.faiss", "terms-*/*.term", "terms-*/meta.json"])
@pytest.mark.root
def test_damaged_caches_are_rebuilt_in_memory(
    tmp_path: Path, files: dict[str, np.ndarray], kind: str
) -> None:
    folder = tmp_path / "index"
    write(Index(folder), files)
    cache = next(folder.glob(kind))
    data = bytearray(cache.read_bytes())
    data[len(data) // 2] ^= 0x10
    cache.write_bytes(data)
    before = state(folder)
    with read_only(folder):
        assert_searchable(folder, files)
    assert state(folder) == before


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.root
def test_a_log_that_was_left_is_read_or_named(
    tmp_path: Path, files: dict[str, np.ndarray], shared_memory: bool
) -> None:
    folder = tmp_path / "index"
    copied_while_open(tmp_path / "first", folder, files)
    if not shared_memory:
        (folder / "index.sqlite-shm").unlink()
    before = state(folder)
    with read_only(folder):
        if shared_memory:
            assert_searchable(folder, files)
        else:
            with pytest.raises(StoreError, match=r"sqlite-wal: holds changes that cannot be read"):
                Index(folder).counts()
    assert state(folder) == before
    assert_searchable(folder, files)


@pytest.mark.root
def test_writing_says_that_it_cannot_be_written(
    tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    folder = tmp_path / "index"
    write(Index(folder), files)
    with read_only(folder):
        with (
            pytest.raises(StoreError, match="cannot be written: Read-only file system") as caught,
            Index(folder).write(wait=float("inf")),
        ):
            pass
        assert not isinstance(caught.value, LockedError)
    with Index(folder).write():
        pass


@pytest.fixture(scope="module")
def shelf(sample: RAG, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The index of the sample corpus on read-only media."""
    folder = tmp_path_factory.mktemp("shelf") / "index"
    shutil.copytree(sample.path, folder)
    with read_only(folder):
        yield folder


@pytest.mark.parametrize("command", ["info", "status", "search"])
@pytest.mark.root
def test_commands_that_read(shelf: Path, command: str, run_main: RunMain) -> None:
    before = state(shelf)
    arguments = ["How is the pump greased?", "--where", "path:**"] if command == "search" else []
    done = run_main(command, *arguments, "--index", shelf, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert len(said) == 5 if command == "search" else said
    assert state(shelf) == before


@pytest.mark.parametrize(
    "arguments", [["index"], ["add", "."], ["remove", "data"], ["compact", "--wait"]]
)
@pytest.mark.root
def test_commands_that_write_say_in_one_line_that_they_cannot(
    shelf: Path, arguments: list[str], run_main: RunMain
) -> None:
    complaint = run_main(*arguments, "--index", shelf).complaint
    assert complaint.startswith(f"rag: {shelf}: cannot be written: Read-only file system")


@pytest.mark.root
def test_the_doctor_looks_and_says_that_it_cannot_mend(shelf: Path, run_main: RunMain) -> None:
    before = state(shelf)
    command = ["doctor", "--index", str(shelf)]
    assert run_main(*command).code == 0
    done = run_main(*command, "--repair")
    assert done.code == 1
    assert f"{shelf}: cannot be written: Read-only file system" in done.out + done.err
    assert state(shelf) == before


@pytest.mark.slow
@pytest.mark.root
def test_another_users_index_can_be_read_and_not_written(files: dict[str, np.ndarray]) -> None:
    with seen_by_all() as place:
        folder = place / "index"
        write(Index(folder), files)
        let_others_read(folder)
        before = state(folder)
        with as_nobody("search", folder, folder) as reader:
            assert (reader.end(), reader.errors) == (0, [])
        report = json.loads(reader.lines[-1])
        assert (report["seen"], report["problems"]) == ([[340, 340, 340]], [])
        assert "cannot be written: Permission denied" in report["wrote"]
        assert state(folder) == before


@pytest.mark.slow
@pytest.mark.root
def test_another_users_folder_that_cannot_be_entered_is_named(
    files: dict[str, np.ndarray],
) -> None:
    with seen_by_all() as place:
        folder = place / "index"
        write(Index(folder), files)
        with as_nobody("refusals", folder) as reader:
            assert (reader.end(), reader.errors) == (0, [])
    assert reader.lines == [
        f"{folder}: cannot be looked into: Permission denied",
        f"{folder}: cannot be written: Permission denied",
    ]


@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.root
@pytest.mark.slow
def test_another_users_index_can_be_read_while_it_is_written(
    files: dict[str, np.ndarray], stays: bool
) -> None:
    """The writer stays, or comes and goes, and with it the shared memory of the database."""
    with seen_by_all() as place:
        index = Index(place / "index")
        write(index, {"a": files["a"][:40]})
        let_others_read(index.directory)
        generator = np.random.default_rng(3)
        with as_nobody("search", index.directory, place / "stop") as reader:
            commits = 0
            while reader.is_at_work() and (commits <= 5 or len(reader.lines) <= 5):
                if stays:
                    with index.write() as writer:
                        for _ in range(5):
                            put(writer, record("a"), rows("a", unit(generator, 40)))
                            writer.commit()
                            commits += 1
                else:
                    write(index, {"a": unit(generator, 40)})
                    commits += 1
            (place / "stop").touch()
            assert (reader.end(), reader.errors) == (0, [])
        report = json.loads(reader.lines[-1])
        assert commits > 5
        assert len(report["seen"]) > 5
        # Always one whole file of 40.
        assert {tuple(numbers) for numbers in report["seen"]} == {(40, 40, 40)}
        assert all("was changed while it was read" in each for each in report["problems"])


def modes_below(folder: Path) -> tuple[set[int], set[int]]:
    """The modes of files and of folders."""
    found: tuple[set[int], set[int]] = (set(), set())
    for path in folder.rglob("*"):
        found[path.is_dir()].add(path.stat().st_mode & 0o777)
    return found


def test_an_index_is_for_its_owner_alone(tmp_path: Path, files: dict[str, np.ndarray]) -> None:
    mask = os.umask(0)
    try:
        index = Index(tmp_path / "new" / "index")
        with index.write() as writer:
            # SQLite's log and its shared memory, and the record of who writes.
            assert {path.name for path in index.directory.iterdir()} >= {"writer.json"}
            put(writer, record("new"), rows("new", unit(np.random.default_rng(5), 3)))
            assert (index.directory / "index.sqlite-wal").stat().st_size
            assert (index.directory / "index.sqlite-shm").stat().st_size
            assert modes_below(tmp_path) == ({0o600}, {0o700})
        write(index, files)
        back_up(index, tmp_path / "copies" / "copy")
        export_index(index, tmp_path / "file")
        index.optimize()
        index.compact()
        change = "UPDATE caches SET sha256 = 'damaged'"
        with closing(database.open_to_write(index.directory)) as connection:
            connection.execute(change).fetchall()
        assert repair(index).well
        with index.snapshot() as snapshot:
            assert snapshot.nearest(np.eye(1, DIM, dtype=np.float32)[0], 1)
            assert modes_below(tmp_path) == ({0o600}, {0o700})
        let_others_read(index.directory)
        write(index, files, without=("a",))
        with index.snapshot():
            assert modes_below(index.directory) == ({0o644}, {0o755})
    finally:
        os.umask(mask)
