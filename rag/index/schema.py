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

# A file's row is `complete` once all of it is in; a file that an interrupted run left incomplete
# is read again. A file that cannot be read has a row too, with its problem. `passage_hash` is the
# hash of what was embedded for a chunk. A chunk's text is a slice of its document's text and is not
# stored twice. Chunk ids are AUTOINCREMENT, so that an id in an old FAISS file can never mean
# another chunk; so are the generations of caches. A document's text is its last column, since
# SQLite is slow to reach what comes after a long text. Tombstones are ids of removed chunks that
# caches of vectors may still hold. The manifest counts commits, which `disk.commits` counts too.
SCHEMA = """
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    complete INTEGER NOT NULL
);
CREATE INDEX files_by_content ON files (sha256);
CREATE TABLE problems (
    file_id INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    kind TEXT NOT NULL,
    lasting INTEGER NOT NULL
);
CREATE INDEX problems_by_file ON problems (file_id);
CREATE TABLE roots (
    path TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    include TEXT NOT NULL,
    exclude TEXT NOT NULL,
    hidden INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE documents (
    id TEXT PRIMARY KEY,
    file_id INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    title TEXT NOT NULL,
    media_type TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    modified REAL,
    metadata TEXT NOT NULL,
    pages TEXT NOT NULL,
    headings TEXT NOT NULL,
    verbatim INTEGER NOT NULL,
    markup TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX documents_by_file ON documents (file_id);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    heading TEXT NOT NULL,
    page INTEGER,
    line INTEGER,
    passage_hash BLOB NOT NULL,
    vector BLOB NOT NULL
);
CREATE INDEX chunks_by_document ON chunks (document_id, ordinal);
CREATE INDEX chunks_by_passage ON chunks (passage_hash);
CREATE TABLE tombstones (chunk_id INTEGER PRIMARY KEY);
CREATE TRIGGER bury_chunk AFTER DELETE ON chunks BEGIN
    INSERT OR IGNORE INTO tombstones VALUES (OLD.id);
END;
CREATE TABLE languages (language TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE caches (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    max_id INTEGER NOT NULL,
    count INTEGER NOT NULL,
    details TEXT NOT NULL DEFAULT '{}'
);
"""


# The kinds of caches beside the database, all of which can be built from it.
CACHES = ("vectors", "recent", "terms")


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
        connection.execute(SCHEMA).fetchall()
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
