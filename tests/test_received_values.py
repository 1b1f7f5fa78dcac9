"""An index whose checksums are right and whose values are not: each command says so in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from conftest import RunMain
from damage import contents, restore
from received import Directions, at_most, index_of
from synthetic import record

from rag.index import StoredRoot
from rag.index.disk import database
from rag.index.schema import read_schema
from rag.types import Problem

INVALID = object()
VALUES: dict[str, object] = {
    "bytes": b"\x00\xff",
    "a negative number": -1,
    "a text": "x",
    "no UTF-8": INVALID,
    "a large number": (1 << 63) - 1,
    "a real number": 1e308,
    "nothing": "",
    "null": None,
    "a deep list": "[" * 5000,
    "an object": '{"a": {"language": 1}}',
    "a list": '[1, "\\ud800"]',
    "lists": "[[9, 1, 5, 7], [0, 99999999, 3]]",
    "many digits": "9" * 5000,
    "a NUL": "a\0b",
    "an escape": "\x1b[31mred\u202e",
    "a true number": 1,
    "numbers as text": "1e5",
}
FEW = ("bytes", "a negative number", "a text", "no UTF-8", "a large number", "an object", "lists")


def columns() -> Iterator[tuple[str, str, str]]:
    """Each table and column of an index, with the condition that picks a row; manifest by key."""
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(read_schema()).fetchall()
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            )
        ]
        for table in tables:
            for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,)):
                if table == "manifest":
                    continue
                yield table, column, "true"
    for key in ("format", "embedder", "fingerprint", "dim", "chunk_size", "chunk_overlap"):
        yield "manifest", "value", f"key = '{key}'"
    for key in ("revision", "reading_settings", "commits", "salvage_lost"):
        yield "manifest", "value", f"key = '{key}'"


COLUMNS = list(columns())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    index = index_of(folder)
    with index.write() as writer:
        writer.fail_file(record("bad.pdf"), [Problem("bad.pdf", "is damaged")])
        writer.put_root(StoredRoot("/no/such/folder", "folder", ("*.md",), (), False))
        writer.set_reading_settings("{}")
        writer.commit()
        writer.refresh_cache()
    with closing(database.open_to_write(index.directory)) as connection:
        connection.execute("INSERT INTO manifest VALUES ('salvage_lost', '[[], []]')").fetchall()
        connection.execute("INSERT INTO tombstones VALUES (999)").fetchall()
    return contents(index.directory)


def spoil(directory: Path, table: str, column: str, where: str, value: object) -> bool:
    """Put a value into a row; returns whether SQLite took it."""
    place = "CAST(x'ff' AS TEXT)" if value is INVALID else "?"
    values = () if value is INVALID else (value,)
    row = f"(SELECT {{}} FROM {table} WHERE {where} LIMIT 1 OFFSET 1)"
    if table in ("manifest", "languages", "roots"):
        picked = where
    else:
        picked = f"rowid = coalesce({row.format('rowid')}, (SELECT rowid FROM {table}))"
    with closing(database.open_to_write(directory)) as connection:
        connection.pragma("foreign_keys", False)
        try:
            connection.execute(f'UPDATE {table} SET "{column}" = {place} WHERE {picked}', values)
        except apsw.Error:
            return False
        return bool(connection.changes())


@pytest.fixture
def commands(
    run_main: RunMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Callable[[], object]]:
    """The commands that read an index, then those that write."""
    monkeypatch.setattr("rag.embedding.load_embedder", lambda *_: Directions())
    monkeypatch.setenv("RAG_ANSWERING_READER", "none")
    monkeypatch.setenv("RAG_GENERATION_MODEL", "extractive")
    index = ("--index", tmp_path / "index")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "new.md").write_text("# New\n\nA passage that is new.\n")
    lines = {
        "status": ("status",),
        "info": ("info", "--json"),
        "show": ("show", "delta"),
        "search": ("search", "delta passage 11"),
        "filter": ("search", "passage", "--where", "path:alpha* page>0 date>2000 heading~a x>1"),
        "ask": ("ask", "delta passage 11", "--json"),
        "export": ("export", tmp_path / "file", "--force"),
        "backup": ("backup", tmp_path / "copy", "--force"),
        "doctor": ("doctor",),
        "index": ("index", tmp_path / "docs"),
        "repair": ("doctor", "--repair"),
    }

    def command(words: tuple[object, ...]) -> Callable[[], object]:
        def run() -> object:
            ran = run_main(words[0], *words[1:], *index)
            if ran.code == 1 and words[0] not in ("doctor",):
                assert ran.err.splitlines()[-1].startswith("rag: ") or "failed" in ran.err, ran
            assert "Traceback" not in ran.out + ran.err
            return ran

        return run

    return {name: command(words) for name, words in lines.items()}


def spoiled(
    names: Sequence[str], most: int, whole: dict[str, bytes], directory: Path
) -> Iterator[tuple[str, str]]:
    """Spoil one cell after the other; yields what was spoiled, and with what.

    Of the values, each column gets the first `most` that SQLite takes, each from another on.
    """
    for at, (table, column, where) in enumerate(COLUMNS):
        taken = 0
        for name in (*names[at % len(names) :], *names[: at % len(names)]):
            restore(directory, whole)
            if taken < most and spoil(directory, table, column, where, VALUES[name]):
                taken += 1
                yield f"{table}.{column} {where}", name


READS = ("status", "info", "show", "search", "filter", "doctor")


def test_wrong_values_end_no_command(
    whole: dict[str, bytes], commands: dict[str, Callable[[], object]], tmp_path: Path
) -> None:
    restore(tmp_path / "index", whole)
    for name, run in commands.items():
        assert run().code in (0, 1, 3), name
    for cell, value in spoiled(FEW, 1, whole, tmp_path / "index"):
        assert_no_traceback(cell, value, {name: commands[name] for name in READS})


# Every value in every cell, by every command, takes minutes; the test above takes one value a cell.
@pytest.mark.nightly
def test_no_value_ends_any_command(
    whole: dict[str, bytes], commands: dict[str, Callable[[], object]], tmp_path: Path
) -> None:
    wrong = []
    for cell, value in spoiled(tuple(VALUES), len(VALUES), whole, tmp_path / "index"):
        try:
            assert_no_traceback(cell, value, commands)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)


def assert_no_traceback(cell: str, value: str, commands: dict[str, Callable[[], object]]) -> None:
    for name, run in commands.items():
        try:
            with at_most(60, name):
                run()
        except BaseException as error:
            raise AssertionError(
                f"{cell} = {value}: {name}: {type(error).__name__}: {str(error)[:300]}"
            ) from error
