"""An index that can be read and not written: on read-only media, or of another user."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunMain
from places import as_nobody, read_only, seen_by_all
from synthetic import assert_same, found, nearest, put, record, rows, unit, write

from rag import RAG, LockedError, StoreError
from rag.index import Index
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
        folder.chmod(0o700)
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


def test_modes_of_files_are_those_that_were_asked_for(
    tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    mask = os.umask(0o022)
    try:
        write(Index(tmp_path / "index"), files)
    finally:
        os.umask(mask)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o644}
