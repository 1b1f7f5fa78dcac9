from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import working
from synthetic import (
    DIM,
    MANIFEST,
    assert_same,
    found,
    nearest,
    put,
    record,
    remove,
    rows,
    unit,
    write,
)

from rag import StoreError
from rag.index import FileRecord, Index, StoredRoot
from rag.index.disk import database
from rag.index.vectors.kinds import CacheSettings
from rag.types import Problem


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abcde"), st.integers(1, 400), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 2**16),
)
@pytest.mark.slow
def test_search_equals_brute_force_after_any_changes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool]], seed: int
) -> None:
    """Adding, replacing and removing, below and above what makes a new FAISS file."""
    generator = np.random.default_rng(seed)
    index = Index(tmp_path_factory.mktemp("index"))
    expected: dict[str, np.ndarray] = {}
    for name, count, gone in steps:
        if gone:
            expected.pop(name, None)
            write(index, {}, (name,))
        else:
            expected[name] = unit(generator, count)
            write(index, {name: expected[name]})
        query = unit(generator, 1)[0]
        assert_same(found(index, query, 10), nearest(expected, query, 10))
        assert_same(found(Index(index.directory), query, 3), nearest(expected, query, 3))


def test_hits_carry_what_was_stored(tmp_path: Path) -> None:
    index = Index(tmp_path)
    vectors = unit(np.random.default_rng(0), 3)
    write(index, {"a": vectors})
    with index.snapshot() as snapshot:
        ((nearest_id, score),) = snapshot.nearest(vectors[1], 1)
        hit = snapshot.passages([nearest_id])[nearest_id]
        assert np.allclose(snapshot.vectors([nearest_id]), vectors[1:2], atol=1e-3)
    assert (hit.source, hit.title, hit.language) == ("a", "a", "en")
    assert score == pytest.approx(1.0, abs=1e-3)
    assert hit.chunk.heading == ("Top", "a")
    assert (hit.chunk.page, hit.chunk.line, hit.chunk.ordinal) == (1, 2, 1)
    document = index.document("a")
    assert document is not None
    assert document.text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
    assert index.chunks("a")[1] == hit.chunk


@pytest.mark.slow
def test_as_many_are_found_as_are_asked_for(tmp_path: Path) -> None:
    """More than SQLite takes values in one statement."""
    index = Index(tmp_path)
    write(index, {"a": unit(np.random.default_rng(1), 33_000)})
    with index.snapshot() as snapshot:
        scored = snapshot.nearest(np.eye(1, DIM, dtype=np.float32)[0], 40_000)
        ids = [each for each, _ in scored]
        assert len(snapshot.passages(ids)) == len(snapshot.vectors(ids)) == 33_000


def test_chunk_ids_are_never_used_again(tmp_path: Path) -> None:
    index = Index(tmp_path)
    vectors = unit(np.random.default_rng(0), 3)
    write(index, {"a": vectors})
    first = {chunk.id for chunk in index.chunks("a")}
    write(index, {}, ("a",))
    write(index, {"a": vectors[::-1].copy()})
    assert not first & {chunk.id for chunk in index.chunks("a")}


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete", "garbage"])
def test_a_damaged_cache_is_never_believed(tmp_path: Path, damage: str) -> None:
    generator = np.random.default_rng(1)
    expected = {"a": unit(generator, 300)}
    write(Index(tmp_path), expected)
    (cache,) = tmp_path.glob("*.faiss")
    data = bytearray(cache.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0x40
        cache.write_bytes(data)
    elif damage == "truncate":
        cache.write_bytes(data[:-100])
    elif damage == "empty":
        cache.write_bytes(b"")
    elif damage == "garbage":
        cache.write_bytes(b"\xff" * len(data))
    else:
        cache.unlink()
    query = unit(generator, 1)[0]
    assert_same(found(Index(tmp_path), query, 10), nearest(expected, query, 10))
    with Index(tmp_path).write() as writer:
        writer.refresh_cache()
    (mended,) = tmp_path.glob("*.faiss")
    assert mended.stat().st_size == len(data)


def test_a_small_change_writes_no_new_cache_a_large_one_does(tmp_path: Path) -> None:
    index, generator = Index(tmp_path), np.random.default_rng(2)
    write(index, {"a": unit(generator, 20)})
    (first,) = tmp_path.glob("*.faiss")
    write(index, {"b": unit(generator, CacheSettings().stale_rows)})
    assert list(tmp_path.glob("*.faiss")) == [first]
    write(index, {"c": unit(generator, 1)})
    assert list(tmp_path.glob("*.faiss")) != [first]


def test_what_was_not_committed_is_not_there(tmp_path: Path) -> None:
    index, generator = Index(tmp_path), np.random.default_rng(3)
    write(index, {"a": unit(generator, 2)})
    with pytest.raises(RuntimeError), index.write() as writer:
        put(writer, record("b"), rows("b", unit(generator, 2)))
        raise RuntimeError
    assert index.counts() == {"files": 1, "documents": 1, "chunks": 2}


def test_an_interruption_leaves_no_document_without_its_chunks(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    old, new = (unit(np.random.default_rng(seed), 3) for seed in (1, 2))
    write(index, {"a": old})

    def interrupted():  # type: ignore[no-untyped-def]
        yield new[0]
        raise KeyboardInterrupt

    with index.write() as writer:
        ((document, chunks, _),) = rows("a", new)
        passages = [chunk.text for chunk in chunks]
        file_id = writer.begin_file(record("a"))
        with pytest.raises(KeyboardInterrupt):
            writer.put_document(file_id, document, chunks, passages, interrupted())
        writer.commit()
        assert not writer.holds(document)
    assert_same(found(index, old[0], 3), nearest({"a": old}, old[0], 3))


def test_readers_see_the_old_state_until_the_commit(tmp_path: Path) -> None:
    index, generator = Index(tmp_path), np.random.default_rng(4)
    write(index, {"a": unit(generator, 2)})
    with index.write() as writer:
        writer.clear()
        put(writer, record("b"), rows("b", unit(generator, 5)))
        assert index.counts()["chunks"] == 2
        assert len(found(index, unit(generator, 1)[0], 9)) == 2
        writer.commit()
        assert index.counts()["chunks"] == 5


def test_a_second_writer_fails_at_once_and_names_the_first(tmp_path: Path) -> None:
    with working("write-until-told", tmp_path) as first:
        assert first.line() == "writing"
        with (
            pytest.raises(StoreError, match=f"process {first.pid} on .* since "),
            Index(tmp_path).write(),
        ):
            pass
    with Index(tmp_path).write():
        pass


def test_a_document_id_belongs_to_one_file_while_that_is_there(tmp_path: Path) -> None:
    index, vectors = Index(tmp_path / "index"), unit(np.random.default_rng(5), 2)
    first = FileRecord(str(tmp_path / "a"), "a", 1, 1, "hash")
    Path(first.path).write_text("here")
    with index.write() as writer:
        writer.set_manifest(MANIFEST)
        put(writer, first, rows("a", vectors))
        with pytest.raises(StoreError, match="belongs to a already"):
            put(writer, record("b"), rows("a", vectors))
        Path(first.path).unlink()
        put(writer, record("b"), rows("a", vectors))
        remove(writer, first.path.lstrip("/"))
        writer.commit()
    assert index.counts() == {"files": 1, "documents": 1, "chunks": 2}


def test_what_came_of_a_file_is_remembered(tmp_path: Path) -> None:
    index, vectors = Index(tmp_path), unit(np.random.default_rng(6), 2)
    inner = Problem("z.zip/a.bin", "is no document", "skipped")
    broken = Problem("b.pdf", "is damaged", lasting=False)
    with index.write() as writer:
        writer.set_manifest(MANIFEST)
        file_id = writer.begin_file(record("z.zip"))
        ((document, chunks, _),) = rows("z", vectors)
        writer.put_document(file_id, document, chunks, ["p", "q"], vectors)
        state = writer.file("/z.zip")
        assert state is not None
        assert not state.complete
        writer.end_file(file_id, record("z.zip"), [inner])
        writer.fail_file(record("b.pdf"), [broken])
        writer.commit()
    failed, taken = index.files()
    assert (failed.record.path, failed.complete, failed.problems) == ("/b.pdf", False, (broken,))
    assert (taken.record.path, taken.complete, taken.problems) == ("/z.zip", True, (inner,))
    assert index.counts() == {"files": 1, "documents": 1, "chunks": 2}


def test_files_below_a_folder_are_not_those_beside_it(tmp_path: Path) -> None:
    with Index(tmp_path).write() as writer:
        for name in ("d", "d/a", "d/b/c", "d.txt", "d0", "dd/e", "D/f"):
            writer.begin_file(record(name))
        assert sorted(r.source for _, r in writer.files_below("/d")) == ["d", "d/a", "d/b/c"]
        assert len(list(writer.files_below("/"))) == 7


def test_roots_are_kept_with_their_patterns(tmp_path: Path) -> None:
    root = StoredRoot("/docs", "docs", ("*.md",), ("old/", "a,b"), True)
    with Index(tmp_path).write() as writer:
        writer.put_root(root)
        writer.put_root(StoredRoot("/other", "other", (), (), False))
        writer.remove_root("/other")
        writer.commit()
    assert Index(tmp_path).roots() == [root]


def test_vectors_of_known_passages_are_found_whoever_holds_them(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(7), 3)
    with Index(tmp_path).write() as writer:
        writer.set_manifest(MANIFEST)
        for name in ("a", "b", "c"):
            ((document, chunks, _),) = rows(name, vectors)
            file_id = writer.begin_file(record(name))
            writer.put_document(file_id, document, chunks, ["same", name, "same"], vectors)
        found = writer.known_vectors(["same", "b", "unknown"])
    assert set(found) == {"same", "b"}
    assert np.allclose(found["b"], vectors[1], atol=1e-3)


@pytest.mark.parametrize(("room", "taken"), [("vectors", 600), ("terms", 300)])
def test_a_full_disk_leaves_the_old_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str, taken: int
) -> None:
    """Terms are committed together with the chunks, vectors catch up later."""
    generator = np.random.default_rng(8)
    expected = {"a": unit(generator, 300)}
    write(Index(tmp_path), expected)

    def no_space(when: str, step: str, path: Path) -> None:
        if (when, step) == ("before", "sync") and path.name.startswith(room):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("rag.index.disk.steps.fault", no_space)
    with pytest.raises(StoreError, match="No space left"):
        write(Index(tmp_path), {"b": unit(generator, 300)})
    monkeypatch.undo()
    assert len(found(Index(tmp_path), unit(generator, 1)[0], 1000)) == taken
    assert Index(tmp_path).counts()["chunks"] == taken


@pytest.mark.slow
def test_threads_read_while_one_writes(tmp_path: Path) -> None:
    index, generator = Index(tmp_path), np.random.default_rng(6)
    blocks = [unit(generator, 40) for _ in range(10)]
    write(index, {"a": blocks[0]})
    problems: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                # Each state holds one whole file of 40.
                assert len(found(index, blocks[0][0], 100)) == 40
        except Exception as error:
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for block in blocks:
        write(index, {"a": block})
    stop.set()
    for reader in readers:
        reader.join()
    assert not problems


def test_what_is_no_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no index"):
        Index(tmp_path / "none").counts()
    assert not (tmp_path / "none").exists()
    (tmp_path / "index.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match=r"index\.sqlite: cannot be read: it is not a database"):
        Index(tmp_path).counts()
    (tmp_path / "index.sqlite").unlink()
    write(Index(tmp_path), {"a": unit(np.random.default_rng(7), 1)})
    with closing(database.open_to_write(tmp_path)) as connection:
        connection.execute("UPDATE manifest SET value = '99' WHERE key = 'format'")
    with pytest.raises(StoreError, match="format 99"):
        Index(tmp_path).counts()


def test_a_query_of_another_dimension_is_refused(tmp_path: Path) -> None:
    write(Index(tmp_path), {"a": unit(np.random.default_rng(8), 1)})
    with pytest.raises(StoreError, match=r"dimension 8 \(embedder\), the question's has 5"):
        found(Index(tmp_path), np.zeros(5, np.float32), 1)
