"""An index folder from somebody else: it reaches nothing outside of itself, and ends nothing."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import QUERY, looks
from received import (
    SECRET,
    Victim,
    change,
    index_of,
    name_of,
    put_in_place,
    sign,
    use_all,
    write_managed,
)
from synthetic import WIDE, WIDE_MANIFEST, clustered, found, put_clustered, writing

from rag import RagError, StoreError
from rag.index import CacheSettings, Index, terms
from rag.index.disk import database, files
from rag.index.upkeep import examine, pages, repair
from rag.index.vectors.kinds import KINDS as KINDS_OF_VECTORS
from rag.index.vectors.kinds import Shape
from rag.index.vectors.verifying import has_layout
from rag.query import parse_question

pytestmark = pytest.mark.skipif(os.name == "nt", reason="it needs links and pipes of POSIX")

KINDS = ("vectors", "terms")
# These do to caches what a commit does, too, and take long.
SLOW = ("optimize", "compact", "export")
CACHES = (
    *(f"{kind}-{number}.faiss" for kind in ("vectors", "recent") for number in range(1, 9)),
    *(f"terms-{number}" for number in range(1, 9)),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that all tests of this module copy."""
    return index_of(tmp_path_factory.mktemp("whole")).directory


@pytest.fixture
def index(whole: Path, tmp_path: Path) -> Index:
    shutil.copytree(whole, tmp_path / "index")
    return Index(tmp_path / "index")


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path)


@pytest.fixture(scope="module")
def good(whole: Path) -> dict[str, Any]:
    return {name: look() for name, look in looks(whole).items()}


def assert_as_good(found: dict[str, Any], good: dict[str, Any]) -> None:
    assert {name: found[name] for name in good} == good


# --- Names of caches


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        *("{victim}", "{victim}/inner", "../victim", "terms-1/../../victim", "../victim/secret"),
        *("{victim}/secret", ".", "", "/", "..", "index.sqlite", "commits", "/dev/zero"),
        *("terms-2/", "./terms-2", "terms-02", "terms-2\0", "vectors-2.faiss/", "TERMS-2"),
    ],
)
def test_a_cache_of_another_name_is_not_touched(
    index: Index, victim: Victim, good: dict[str, Any], tmp_path: Path, kind: str, name: str
) -> None:
    change(
        index,
        "UPDATE caches SET name = ? WHERE kind = ?",
        name.format(victim=victim.folder),
        kind,
    )
    used = use_all(index, tmp_path, without=SLOW)
    victim.assert_unharmed()
    assert_as_good(used, good)
    assert f"cache of {kind}" in problems(used["doctor"])
    assert used["repair"].well
    assert not isinstance(used["backup"], RagError)
    copied = [each.read_bytes() for each in (tmp_path / "copy").rglob("*") if each.is_file()]
    assert SECRET not in copied


def test_only_what_has_the_name_of_a_cache_is_removed(index: Index, tmp_path: Path) -> None:
    own = ["terms-of-service", "vectors-mine.faiss.bak", "terms-", "recent-1.faiss.old", "terms-x"]
    for name in own:
        (index.directory / name).write_text("mine")
    use_all(index, tmp_path)
    assert [name for name in own if not (index.directory / name).is_file()] == []


@pytest.mark.parametrize("name", ["/etc/x", "../victim/secret", "{victim}/secret", "secret"])
def test_tantivy_removes_no_file_that_its_list_names(
    index: Index, victim: Victim, good: dict[str, Any], tmp_path: Path, name: str
) -> None:
    (index.directory / "secret").write_bytes(SECRET)
    write_managed(index.directory / name_of(index, "terms"), name.format(victim=victim.folder))
    sign(index, "terms")
    used = use_all(index, tmp_path)
    victim.assert_unharmed()
    assert (index.directory / "secret").read_bytes() == SECRET
    assert_as_good(used, good)


# --- Links, pipes, devices, folders


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
@pytest.mark.parametrize("those", ["that are there", "that are not"])
def test_no_link_is_written_through_and_no_pipe_waited_for(
    index: Index, victim: Victim, good: dict[str, Any], tmp_path: Path, those: str, kind: str
) -> None:
    there = {path.name for path in index.directory.iterdir()}
    others = ("writer.json", "optimized.faiss", "salvage", "damaged-20260101-000000")
    for name in (*CACHES, *others, *(f"{name}.tmp" for name in (*CACHES, *others))):
        if (name in there) == (those == "that are there"):
            put_in_place(index.directory / name, kind, victim)
    used = use_all(index, tmp_path)
    victim.assert_unharmed()
    assert_as_good(used, good)
    assert used["repair"].well


@pytest.mark.parametrize("name", files.FIXED_NAMES)
def test_a_file_that_is_none_is_named(index: Index, victim: Victim, name: str) -> None:
    for kind in ("link", "dangling", "pipe", "folder"):
        put_in_place(index.directory / name, kind, victim)
        for use in (index.counts, lambda: index.write().__enter__(), lambda: repair(index)):
            try:
                report = use()
            except StoreError as error:
                assert re.search(f"{name}: is a .*, which no index holds: remove it", str(error))
            else:
                assert not report.well
        assert problems(examine(index.directory)) == ["database"]
    victim.assert_unharmed()


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("name", ["meta.json", ".managed.json", ".tantivy-meta.lock", "idx", "new"])
def test_links_in_the_folder_of_terms(
    index: Index, victim: Victim, good: dict[str, Any], tmp_path: Path, kind: str, name: str
) -> None:
    folder = index.directory / name_of(index, "terms")
    path = next(folder.glob("*.idx")) if name == "idx" else folder / name
    put_in_place(path, kind, victim)
    used = use_all(index, tmp_path, without=SLOW)
    victim.assert_unharmed()
    assert_as_good(used, good)


def test_a_folder_that_is_a_link_itself_is_an_index(
    index: Index, good: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "other").symlink_to(index.directory)
    assert {name: look() for name, look in looks(tmp_path / "other").items()} == good


# --- The schema

COUNTING = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
SCHEMAS = {
    "a trigger": (
        "CREATE TRIGGER evil AFTER INSERT ON documents BEGIN "
        "UPDATE documents SET text = 'evil' WHERE id = NEW.id; END",
        "trigger evil",
    ),
    "a trigger on another name": (
        "DROP TRIGGER bury_chunk; CREATE TRIGGER bury_chunk AFTER DELETE ON chunks BEGIN "
        "INSERT OR IGNORE INTO tombstones VALUES (OLD.id); DELETE FROM files; END",
        "trigger bury_chunk",
    ),
    "a view": (f"CREATE VIEW more AS {COUNTING}", "view more"),
    **{
        f"a view for {table}": (
            f"DROP TABLE {table}; CREATE VIEW {table} AS {COUNTING}",
            f"view {table}",
        )
        for table in ("files", "documents", "chunks", "caches", "roots", "languages")
    },
    "a view with a trigger": (
        f"CREATE VIEW evil AS {COUNTING}; CREATE TRIGGER more INSTEAD OF INSERT ON evil BEGIN "
        "SELECT 1; END",
        "view evil",
    ),
    "a virtual table": ("CREATE VIRTUAL TABLE more USING fts5(x)", "table more"),
    "a virtual table for files": (
        "DROP TABLE files; CREATE VIRTUAL TABLE files USING fts5(id, path, source, size, mtime_ns, "
        "sha256, complete)",
        "table files",
    ),
    "a generated column": (
        "ALTER TABLE files ADD COLUMN more AS (zeroblob(1000000000))",
        "table files",
    ),
    "an index on an expression": (
        "CREATE INDEX evil ON documents (hex(zeroblob(10)))",
        "index evil",
    ),
    "a table": ("CREATE TABLE more (x)", "table more"),
    "statistics": ("ANALYZE", "table sqlite_stat1"),
    "a missing index": ("DROP INDEX chunks_by_passage", "has no index chunks_by_passage"),
    "a missing table": ("DROP TABLE tombstones", "has no table tombstones"),
    "a missing manifest": ("DROP TABLE manifest", "has no table manifest"),
    "a view for manifest": (
        f"DROP TABLE manifest; CREATE VIEW manifest AS {COUNTING}",
        "has index format unknown",
    ),
    "a column more": ("ALTER TABLE roots ADD COLUMN evil", "table roots"),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_that_is_not_ours_is_refused_and_named(
    index: Index, good: dict[str, Any], tmp_path: Path, name: str
) -> None:
    statement, said = SCHEMAS[name]
    change(index, statement)
    before = Index(index.directory)
    for use in (before.counts, before.manifest, lambda: list(before.documents())):
        with pytest.raises(StoreError):
            use()
    with pytest.raises(StoreError), index.write():
        pass
    (problem,) = [each for each in examine(index.directory).findings if each.status == "problem"]
    assert said in problem.text
    used = use_all(index, tmp_path, without=SLOW)
    report = used["repair"]
    if report.well:
        again = {name: look() for name, look in looks(index.directory).items()}
        assert {each.id for each in again["documents"]} <= {each.id for each in good["documents"]}
    else:
        assert (
            "salvage" in str(report) or "cannot be told" in str(report) or "format" in str(report)
        )


def test_nothing_else_is_believed_of_a_schema(index: Index) -> None:
    for opened in (database.open_to_write(index.directory), database.open_damaged(index.directory)):
        with closing(opened) as connection:
            assert connection.pragma("trusted_schema") in (0, "0")
            with pytest.raises(database.apsw.SQLError):
                connection.execute("DELETE FROM sqlite_schema").fetchall()


def test_pages_that_lead_to_one_another_without_end(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_STEPS_AT_LEAST", 2_000_000)
    monkeypatch.setattr(database, "_STEPS_FOR_A_BYTE", 1)
    for table in ("chunks", "documents", "files", "caches", "sqlite_schema"):
        shutil.copytree(index.directory, tmp_path / table)
        make_endless(Index(tmp_path / table), table)
        (tmp_path / f"of {table}").mkdir()
        use_all(Index(tmp_path / table), tmp_path / f"of {table}")


def make_endless(index: Index, table: str) -> None:
    """Let all children of a tree of pages be one and the same, six levels deep."""
    with closing(database.open_to_write(index.directory)) as connection:
        root = (
            connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
            or 1
        )
        connection.wal_checkpoint(mode=database.apsw.SQLITE_CHECKPOINT_TRUNCATE)
    path = index.directory / database.NAME
    data = bytearray(path.read_bytes())
    count = len(data) // 4096
    leaf = data[(root - 1) * 4096 : root * 4096]
    head = 100 if root == 1 else 0
    inner = bytearray(4096)
    if root == 1:
        inner[:100] = leaf[:100]
    for level in range(6):
        page = bytearray(4096)
        child = count + level + 2 if level < 5 else root
        if level == 5:
            break
        fill_inner(page, 0, child)
        data += pages.seal(bytes(page))
    fill_inner(inner, head, count + 1)
    data[28:32] = (len(data) // 4096).to_bytes(4, "big")
    start = (root - 1) * 4096
    data[start : start + 4096] = pages.seal(bytes(inner))
    if root != 1:
        first = bytearray(data[:4096])
        data[:4096] = pages.seal(bytes(first))
    path.write_bytes(data)


def fill_inner(page: bytearray, head: int, child: int) -> None:
    """Make an inner page of a table, all of whose children are one page."""
    cells = 300
    at = 4096 - 8
    page[head] = 5
    page[head + 3 : head + 5] = cells.to_bytes(2, "big")
    page[head + 8 : head + 12] = child.to_bytes(4, "big")
    for number in range(cells):
        at -= 5
        page[at : at + 5] = child.to_bytes(4, "big") + bytes([number % 128])
        place = head + 12 + 2 * number
        page[place : place + 2] = at.to_bytes(2, "big")
    page[head + 5 : head + 7] = at.to_bytes(2, "big")


def put_anew(path: Path, data: bytes) -> None:
    """Put another file in the place of one that may be mapped: its pages must not go."""
    path.unlink()
    path.write_bytes(data)


def problems(found: Any) -> list[str]:
    return [each.check for each in found.findings if each.status == "problem"]


# --- Caches whose checksum agrees

# Named as the one that pyo3 raises, which is no Exception.
PanicException = type("PanicException", (BaseException,), {})
SEVERAL = CacheSettings(least_rows=60, flat_rows=100, mapped_bytes=1 << 30)


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An index with each kind of vectors' cache."""
    folder = tmp_path_factory.mktemp("shaped")
    for kind in KINDS_OF_VECTORS:
        index = Index(folder / kind, caches=replace(SEVERAL, kind=kind))
        with writing(index, WIDE_MANIFEST, refresh=True) as writer:
            put_clustered(writer, "a", clustered(1, 400))
    return {kind: folder / kind for kind in KINDS_OF_VECTORS}


@pytest.mark.parametrize("kind", KINDS_OF_VECTORS)
@pytest.mark.parametrize("mapped", [0, 1 << 30])
def test_a_mutated_cache_of_vectors_is_built_anew(
    shaped: dict[str, Path], tmp_path: Path, kind: str, mapped: int
) -> None:
    """All numbers that say how the file is laid out are replaced, one after the other."""
    query = clustered(2, 1)[0]
    settings = replace(SEVERAL, kind=kind, mapped_bytes=mapped)
    wanted = found(Index(shaped[kind], caches=settings), query, 5)
    folder = tmp_path / "index"
    shutil.copytree(shaped[kind], folder)
    path = folder / name_of(Index(folder), "vectors")
    data = path.read_bytes()
    places = [*range(0, 160, 4), *range(len(data) // 2, len(data) // 2 + 8, 4), len(data) - 3300]
    places += [data.find(mark) + 8 for mark in (b"ilar", b"ilbl", b"IxFI", b"full") if mark in data]
    for place in places[:: 1 if kind == "hnsw" else 3]:
        for wrong in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"):
            put_anew(path, data[:place] + wrong + data[place + 4 :])
            sign(Index(folder), "vectors")
            index = Index(folder, caches=settings)
            with index.snapshot() as snapshot:
                scored = snapshot.nearest(query, 5)
                vectors = snapshot.vectors([each for each, _ in scored])
            # Whatever the codes are, what is found is as near as it is said to be.
            assert np.allclose(vectors @ query, [score for _, score in scored], atol=1e-3)
            assert len(scored) == len(wanted)


def test_a_cache_for_another_dimension_or_of_another_kind_is_not_read(
    shaped: dict[str, Path],
) -> None:
    for kind, folder in shaped.items():
        path = folder / name_of(Index(folder), "vectors")
        lists = int(Index(folder).vector_search().lists)  # type: ignore[union-attr]
        with path.open("rb") as file:
            assert has_layout(file, Shape(kind, lists=lists), WIDE, 400)
            for shape, dim, count in (
                (Shape("flat" if kind != "flat" else "hnsw"), WIDE, 400),
                (Shape(kind, lists=lists + 1), WIDE, 400 if kind.startswith("ivf") else 401),
                (Shape(kind, lists=lists), WIDE + 1, 400),
                (Shape(kind, lists=lists), WIDE, 399),
            ):
                assert not has_layout(file, shape, dim, count)


def test_vectors_that_are_too_long_are_refused(index: Index) -> None:
    long = (8192 * np.sign(QUERY)).astype("<f2").tobytes()
    change(index, "UPDATE chunks SET vector = ? WHERE id = 2", long)
    path = index.directory / name_of(index, "vectors")
    data = path.read_bytes()
    # The codes of the flat cache, too.
    path.write_bytes(data[:118] + 2 * long + data[150:])
    sign(index, "vectors")
    with pytest.raises(StoreError, match="of another length than 1"), index.snapshot() as snapshot:
        snapshot.nearest(QUERY, 3)
    assert problems(examine(index.directory)) == ["vectors"]
    assert repair(index).well


def test_mutated_terms_are_built_anew(
    index: Index, good: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = index.directory / name_of(index, "terms")
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for place in range(0, len(data), max(1, len(data) // 6)):
            put_anew(path, data[:place] + b"\xff" * 8 + data[place + 8 :])
            sign(index, "terms")
            with Index(index.directory).snapshot() as snapshot:
                matched = snapshot.matching(parse_question("delta passage 11"), 500)
                snapshot.passages([each for each, _ in matched])
                snapshot.holding(parse_question('"delta passage"'))
                snapshot.terms_with_prefix("del")
                snapshot.frequency("delta")
        put_anew(path, data)
    capfd.readouterr()


@pytest.mark.parametrize("error", [MemoryError(), PanicException()])
def test_a_failure_within_tantivy_is_damage(
    index: Index, good: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    real = terms.TermsIndex
    failures = [error] * 2

    class Failing:
        def __init__(self, searcher: Any) -> None:
            self._searcher = searcher

        def __getattr__(self, name: str) -> Any:
            if name == "search" and failures:
                raise failures.pop()
            return getattr(self._searcher, name)

    class Wrapped(real):
        def __init__(self, index: Any) -> None:
            super().__init__(index)
            self._searcher = Failing(self._searcher)

    monkeypatch.setattr(terms, "TermsIndex", Wrapped)
    failures.pop()
    assert looks(index.directory)["matching"]() == good["matching"]
    assert not failures
    failures += [error] * 2
    with pytest.raises(StoreError, match="its words cannot be searched"):
        looks(index.directory)["matching"]()
