"""The tables of the store, and opening connections to them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from rag.errors import StoreError

FORMAT = 3
DATABASE = "index.sqlite"

# A file's row is complete once all of it is in: what an interrupted run left is read again. A
# file that cannot be read has a row too, with its problem. `passage_hash` is that of what was
# embedded for a chunk. A chunk's text is a slice of its document's text and is not stored twice.
# Chunk ids are AUTOINCREMENT, so that an id in an old FAISS file can never mean another chunk, and
# so are generations of caches. A document's text is its last column: what comes after long text
# is slow to reach. Tombstones are what the vectors' cache still holds of chunks that are gone.
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
    count INTEGER NOT NULL
);
"""


def connect(directory: Path, *, create: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions are begun and ended by name.

    Raises:
        StoreError: if there is no index, or it is not one of ours, or of a newer format.
    """
    path = directory / DATABASE
    if not create and not path.is_file():
        raise StoreError(f"{directory}: holds no index: build one with `rag index PATH...`")
    try:
        if create:
            directory.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if create:
            _create_tables(connection)
        row = connection.execute("SELECT value FROM manifest WHERE key = 'format'").fetchone()
    except (sqlite3.DatabaseError, OSError) as error:
        raise StoreError(f"{path}: cannot be opened as an index: {error}") from error
    if row is None or int(row[0]) != FORMAT:
        raise StoreError(
            f"{directory}: has index format {row[0] if row else 'unknown'}, this version reads "
            f"format {FORMAT}: delete the folder and run `rag index` again"
        )
    return connection


def _create_tables(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # Taken before the look, so that two first writers cannot both create the tables.
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'manifest'").fetchone():
        for statement in _statements(SCHEMA):
            connection.execute(statement)
        connection.execute("INSERT INTO manifest VALUES ('format', ?)", (str(FORMAT),))
    connection.execute("COMMIT")


def _statements(script: str) -> list[str]:
    statements = []
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
