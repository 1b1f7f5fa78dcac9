BEGIN TRANSACTION;
CREATE TABLE caches (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    max_id INTEGER NOT NULL,
    count INTEGER NOT NULL
);
INSERT INTO "caches" VALUES(2,'vectors','vectors-2.faiss','dec082d3759e4bb804efc459bed3310390020e52e43712b4131603281b2b38b0',6,6);
INSERT INTO "caches" VALUES(3,'terms','terms-3','1ce91b27db5a992dc4686f6270c04269b95e4e3f5141d364fb6ff5d309a8d4c4',5,5);
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
INSERT INTO "chunks" VALUES(1,'keep.md',0,33,0,'["Top","keep.md"]',1,1,X'B65875AF712D58F4F880F17289C5BBB4',X'23382EB9C72E9AB057AFFEAA18B885AB');
INSERT INTO "chunks" VALUES(2,'keep.md',34,59,1,'["Top","keep.md"]',1,2,X'E316C879A83FEB6D27860CC3B9A4FB2C',X'77B32B3BCB2B16AEDBACC3B18DB4BEAE');
INSERT INTO "chunks" VALUES(3,'keep.md',60,85,2,'["Top","keep.md"]',1,3,X'86A4A12BB4EFB041EFFBBAF0C31E2E41',X'893376AF7D373FAE12220B3A4334E6B3');
INSERT INTO "chunks" VALUES(4,'also.md',0,19,0,'["Top","also.md"]',1,1,X'76B9911DDFE53B3FDF828F9A9DE5E1CA',X'BFAC0433483A00AF53AE8136C1B593AF');
INSERT INTO "chunks" VALUES(5,'also.md',20,38,1,'["Top","also.md"]',1,2,X'B1B6ABD2464B5F3C405D44CBF06B524D',X'7733E8303126AB31FBB951340FB40EB7');
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
INSERT INTO "documents" VALUES('keep.md',1,'docs/keep.md','keep.md','text/markdown','keep.md',NULL,'{"language":"en"}','[[0,85,1]]','[]',0,'plain','The lighthouse was built in 1871.
Its lamp burns whale oil.
Visitors climb 210 steps.');
INSERT INTO "documents" VALUES('also.md',2,'docs/also.md','also.md','text/markdown','also.md',NULL,'{"language":"en"}','[[0,38,1]]','[]',0,'plain','A pump moves water.
The valve is shut.');
CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    complete INTEGER NOT NULL
);
INSERT INTO "files" VALUES(1,'/docs/keep.md','docs/keep.md',85,1,'keep.md',1);
INSERT INTO "files" VALUES(2,'/docs/also.md','docs/also.md',38,1,'also.md',1);
INSERT INTO "files" VALUES(4,'/docs/bad.pdf','docs/bad.pdf',3,1,'',0);
CREATE TABLE languages (language TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO "languages" VALUES('en');
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "manifest" VALUES('chunk_overlap','10');
INSERT INTO "manifest" VALUES('chunk_size','100');
INSERT INTO "manifest" VALUES('dim','8');
INSERT INTO "manifest" VALUES('embedder','embedder');
INSERT INTO "manifest" VALUES('fingerprint','weights');
INSERT INTO "manifest" VALUES('format','3');
INSERT INTO "manifest" VALUES('reading_settings','{}');
CREATE TABLE problems (
    file_id INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    kind TEXT NOT NULL,
    lasting INTEGER NOT NULL
);
INSERT INTO "problems" VALUES(1,'docs/keep.md/x','is no document','skipped',1);
INSERT INTO "problems" VALUES(4,'docs/bad.pdf','is damaged','failed',1);
CREATE TABLE roots (
    path TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    include TEXT NOT NULL,
    exclude TEXT NOT NULL,
    hidden INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "roots" VALUES('/docs','docs','["*.md"]','[]',0);
CREATE TABLE tombstones (chunk_id INTEGER PRIMARY KEY);
INSERT INTO "tombstones" VALUES(6);
CREATE INDEX files_by_content ON files (sha256);
CREATE INDEX problems_by_file ON problems (file_id);
CREATE INDEX documents_by_file ON documents (file_id);
CREATE INDEX chunks_by_document ON chunks (document_id, ordinal);
CREATE INDEX chunks_by_passage ON chunks (passage_hash);
CREATE TRIGGER bury_chunk AFTER DELETE ON chunks BEGIN
    INSERT OR IGNORE INTO tombstones VALUES (OLD.id);
END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('files',4);
INSERT INTO "sqlite_sequence" VALUES('chunks',6);
INSERT INTO "sqlite_sequence" VALUES('caches',3);
COMMIT;
