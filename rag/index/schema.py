"""The tables of the store, and the migration of an older format to this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from rag.errors import StoreError
from rag.index.disk import database, steps

FORMAT = 4
_OLDEST_FORMAT = 3
# The kinds of caches beside the database, all of which can be built from it.
CACHES = ("vectors", "recent", "terms")


def read_schema() -> str:
    """Return the SQL that creates the tables of an index."""
    return Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


def format_of(connection: apsw.Connection) -> int | None:
    """Return the format of an index; None if it has no tables yet."""
    if not connection.table_exists("main", "manifest"):
        return None
    row = connection.execute("SELECT value FROM manifest WHERE key = 'format'").fetchone()
    return int(row[0]) if row and str(row[0]).isdigit() else 0


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
    if found == 3:
        with steps.step("checksums", directory / database.NAME):
            database.add_checksums(directory)
        with (
            closing(database.open_to_write(directory)) as connection,
            _transaction(connection, directory),
        ):
            connection.execute("ALTER TABLE caches ADD COLUMN details TEXT NOT NULL DEFAULT '{}'")
            connection.execute("UPDATE manifest SET value = '4' WHERE key = 'format'")


@contextmanager
def _transaction(connection: apsw.Connection, directory: Path) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    yield
    with steps.step("commit", directory / database.NAME):
        connection.execute("COMMIT")
