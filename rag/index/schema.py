"""The tables of the store, and the migration of an older format to this one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache, lru_cache
from pathlib import Path

import apsw

from rag.errors import StoreError
from rag.index.disk import database, steps

FORMAT = 4
_OLDEST_FORMAT = 3
READABLE = range(_OLDEST_FORMAT, FORMAT + 1)
# Format 4 added it, as the last column of its table.
_ADDED = "details TEXT NOT NULL DEFAULT '{}'"
# An index has some 25 tables, indexes and triggers; of many more, these are enough to say so.
_MOST_OBJECTS = 100
_MOST_NAMED = 5
_MOST_DIGITS = 10
_SPACE = re.compile(r"\s+")
_SPACE_AT_SIGNS = re.compile(r" ?([(),;]) ?")

Object = tuple[str, str, str, str | None]
"""Type, name and table of what a schema holds, and the SQL that makes it, in one layout."""


def read_schema() -> str:
    """Return the SQL that creates the tables of an index."""
    return Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


def objects_of(connection: apsw.Connection) -> frozenset[Object]:
    """Return the tables, indexes, triggers and views of a database."""
    found = connection.execute(
        f"SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT {_MOST_OBJECTS}"
    )
    return frozenset((str(a), str(b), str(c), _lay_out(sql)) for a, b, c, sql in found)


@cache
def expected_objects(number: int) -> frozenset[Object]:
    """Return what the database of an index of a format holds."""
    schema = read_schema()
    if number == 3:
        schema = re.sub(rf",\s*{re.escape(_ADDED)}", "", schema)
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(schema).fetchall()
        return objects_of(connection)


def differences(connection: apsw.Connection, number: int) -> str:
    """Say how a database differs from that of an index of a format; empty if it does not.

    A trigger, a view or a table that is none of ours could do what it likes with each statement.
    """
    found, wanted = objects_of(connection), expected_objects(number)
    if found == wanted:
        return ""
    foreign, missing = found - wanted, wanted - found
    if foreign:
        return f"holds what is not of an index: {_name(foreign)}"
    return f"has no {_name(missing)}"


def check_schema(connection: apsw.Connection, number: int, directory: Path) -> None:
    """Raise StoreError unless a database holds what an index of a format holds, and no more.

    Raises:
        StoreError: naming the difference.
    """
    said = differences(connection, number)
    if said:
        raise StoreError(
            f"{directory / database.NAME}: {said}: run `rag doctor`, or bring back a copy"
        )


@lru_cache(maxsize=256)
def _lay_out(sql: object) -> str | None:
    """Return SQL without what only its layout says: earlier versions wrote it in another one."""
    if sql is None:
        return None
    return _SPACE_AT_SIGNS.sub(r"\1", _SPACE.sub(" ", str(sql)))


def _name(objects: frozenset[Object]) -> str:
    named = sorted(f"{kind[:20]} {name[:40]}" for kind, name, _, _ in objects)
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return ", ".join(dict.fromkeys(named[:_MOST_NAMED])) + more


def format_of(connection: apsw.Connection) -> int | None:
    """Return the format of an index; None if it has no tables yet, 0 if it cannot be told.

    A manifest that is a view, or any table but ours, is not read.
    """
    found = objects_of(connection)
    own = [each for each in found if each[1] == "manifest"]
    if not own:
        return None
    if not set(own) <= expected_objects(FORMAT):
        return 0
    row = connection.execute("SELECT value FROM manifest WHERE key = 'format'").fetchone()
    text = str(row[0]) if row else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS else 0


def check_format(found: int | None, directory: Path) -> None:
    """Raise StoreError unless this version can read a format, or migrate it.

    Raises:
        StoreError: naming the format.
    """
    if found is None:
        raise StoreError(f"{directory}: holds no index: build one with `rag index PATH...`")
    if found > FORMAT:
        raise StoreError(
            f"{directory}: has index format {found}, this version reads up to {FORMAT}: "
            "use a newer version of rag, or delete the folder and run `rag index` again"
        )
    if found < _OLDEST_FORMAT:
        raise StoreError(
            f"{directory}: has index format {found or 'unknown'}, this version reads format "
            f"{_OLDEST_FORMAT} to {FORMAT}: delete the folder and run `rag index` again"
        )


def create(connection: apsw.Connection, directory: Path) -> None:
    """Create the tables of a new index."""
    with _transaction(connection, directory):
        connection.execute(read_schema()).fetchall()
        connection.execute("INSERT INTO manifest VALUES ('format', ?)", (str(FORMAT),))


def migrate(directory: Path) -> None:
    """Migrate an index of an older format to this one; the caller holds the writer's lock.

    Each step leaves a whole index, of the format before the step or after it.

    Raises:
        StoreError: if its format is not known.
        apsw.Error: if it cannot be written.
    """
    if not database.exists(directory):
        return
    with database.open_to_read(directory) as connection:
        found = format_of(connection)
        if found is None:
            return
        check_format(found, directory)
        check_schema(connection, found, directory)
    if found == 3:
        with steps.step("checksums", directory / database.NAME):
            database.add_checksums(directory)
        with (
            closing(database.open_to_write(directory)) as connection,
            _transaction(connection, directory),
        ):
            connection.execute(f"ALTER TABLE caches ADD COLUMN {_ADDED}")
            connection.execute("UPDATE manifest SET value = '4' WHERE key = 'format'")


@contextmanager
def _transaction(connection: apsw.Connection, directory: Path) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    yield
    with steps.step("commit", directory / database.NAME):
        connection.execute("COMMIT")
