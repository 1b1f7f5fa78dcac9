-- A file's row is `complete` once all of it is in; a file that an interrupted run left incomplete
-- is read again. A file that cannot be read has a row too, with its problem. `passage_hash` is the
-- hash of what was embedded for a chunk. A chunk's text is a slice of its document's text and is not
-- stored twice. Chunk ids are AUTOINCREMENT, so that an id in an old FAISS file can never mean
-- another chunk; so are the generations of caches. A document's text is its last column, since
-- SQLite is slow to reach what comes after a long text. Tombstones are ids of removed chunks that
-- caches of vectors may still hold. The manifest counts commits, which `disk.commits` counts too.
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
