"""The index as a folder: documents, chunks and vectors in, nearest chunks out."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import StoreError
from rag.index import snapshot
from rag.index.lock import writing
from rag.index.schema import DATABASE, connect
from rag.types import Chunk, Document, Embedder, Heading, Hit, Page, Stage

if TYPE_CHECKING:
    from rag.types import Vectors

# Up to here a search reads the newer rows and passes over the dead ones in a few milliseconds;
# beyond it a commit writes a new FAISS file.
_STALE_ROWS = 256
_STALE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Manifest:
    """With what an index was built: all of it must be the same for vectors to be comparable."""

    embedder: str
    fingerprint: str
    dim: int
    chunk_size: int
    chunk_overlap: int


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What was known of a file when it was indexed. `path` is absolute, `source` as given."""

    path: str
    source: str
    size: int
    mtime_ns: int
    sha256: str


class Index:
    """An index folder. Reading is safe from any thread and process; writing goes through `write`.

    Raises:
        StoreError: from every method, if the folder holds no index or a damaged one.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._cached: tuple[str, Any] | None = None

    def exists(self) -> bool:
        """Whether an index was ever committed here."""
        if not (self.directory / DATABASE).is_file():
            return False
        return self.manifest() is not None

    def manifest(self) -> Manifest | None:
        """With what the index was built; None before the first commit."""
        with self._reading() as connection:
            return _manifest(connection)

    def counts(self) -> dict[str, int]:
        """Numbers of `files`, `documents` and `chunks`."""
        with self._reading() as connection:
            return {
                table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("files", "documents", "chunks")
            }

    def document(self, document_id: str) -> Document | None:
        """A stored document, or None."""
        with self._reading() as connection:
            row = connection.execute(
                f"SELECT {_DOCUMENT_COLUMNS} FROM documents WHERE id = ?", (document_id,)
            ).fetchone()
        return _document(row) if row else None

    def documents(self) -> Iterator[Document]:
        """All documents by source, one consistent state of the index."""
        with self._reading() as connection:
            for row in connection.execute(
                f"SELECT {_DOCUMENT_COLUMNS} FROM documents ORDER BY source, id"
            ):
                yield _document(row)

    def chunks(self, document_id: str) -> list[Chunk]:
        """The chunks of one document in order."""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT {_CHUNK_COLUMNS} FROM chunks JOIN documents ON documents.id = document_id "
                "WHERE document_id = ? ORDER BY ordinal",
                (document_id,),
            ).fetchall()
        return [_chunk(row) for row in rows]

    def search(self, query: Vectors, k: int) -> list[Hit]:
        """The `k` chunks with the highest inner product with `query` (float32 `[dim]`).

        Exact; equal scores in the order of chunk ids.
        """
        with self._reading() as connection:
            scored = self._nearest(connection, query, k)
            rows = {
                row[0]: row
                for row in connection.execute(
                    f"SELECT {_CHUNK_COLUMNS}, source, title FROM chunks "
                    "JOIN documents ON documents.id = document_id "
                    f"WHERE chunks.id IN ({','.join('?' * len(scored))})",
                    [chunk_id for chunk_id, _ in scored],
                )
            }
        return [
            Hit(
                chunk=_chunk(rows[chunk_id][:-2]),
                score=score,
                rank=rank,
                source=rows[chunk_id][-2],
                title=rows[chunk_id][-1],
                trace=(Stage("dense", rank, score),),
            )
            for rank, (chunk_id, score) in enumerate(scored, start=1)
        ]

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """The one writer of this index; what it did not commit is undone at the end.

        Raises:
            StoreError: if another writer is at work, or the disk is full or read-only.
        """
        with writing(self.directory), closing(connect(self.directory, create=True)) as connection:
            try:
                yield Writer(connection, self.directory)
            except (sqlite3.Error, OSError) as error:
                raise StoreError(
                    f"{self.directory}: cannot be written: {error}; what was committed before "
                    "is unharmed"
                ) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with closing(connect(self.directory)) as connection:
            try:
                connection.execute("BEGIN")
                yield connection
            except sqlite3.Error as error:
                raise StoreError(
                    f"{self.directory / DATABASE}: cannot be read: {error}: "
                    "delete the folder and index again, or bring back a copy"
                ) from error

    def _nearest(
        self, connection: sqlite3.Connection, query: Vectors, k: int
    ) -> list[tuple[int, float]]:
        import numpy as np

        manifest = _manifest(connection)
        if manifest is None:
            raise StoreError(
                f"{self.directory}: holds no index: build one with `rag index PATH...`"
            )
        if query.shape != (manifest.dim,):
            raise StoreError(
                f"{self.directory}: holds vectors of dimension {manifest.dim} "
                f"({manifest.embedder}), the question's has {query.shape[-1]}"
            )
        row = _snapshot_row(connection)
        found: list[tuple[int, float]] = []
        newer_than = 0
        if row is not None:
            buried = np.array(
                connection.execute("SELECT chunk_id FROM tombstones").fetchall(), dtype=np.int64
            ).reshape(-1)
            found = snapshot.search(self._faiss(connection, row, manifest.dim), query, k, buried)
            newer_than = row.max_id
        ids, vectors = _vectors(connection, manifest.dim, "id > ?", (newer_than,))
        if len(ids):
            scores = vectors @ query
            best = np.argsort(-scores, kind="stable")[:k]
            found += [(int(ids[at]), float(scores[at])) for at in best]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]

    def _faiss(self, connection: sqlite3.Connection, row: snapshot.SnapshotRow, dim: int) -> Any:
        with self._lock:
            if self._cached is None or self._cached[0] != row.sha256:
                loaded = snapshot.load(self.directory, row)
                if loaded is None:
                    # The truth is at hand: a lost or damaged cache costs time, nothing else.
                    loaded = snapshot.build(*_vectors(connection, dim, "id <= ?", (row.max_id,)))
                self._cached = (row.sha256, loaded)
            return self._cached[1]


class Writer:
    """Changes to an index, visible to readers at `commit` and not before."""

    def __init__(self, connection: sqlite3.Connection, directory: Path) -> None:
        self._connection = connection
        self._directory = directory

    def manifest(self) -> Manifest | None:
        """With what the index was built; None if it is new."""
        return _manifest(self._connection)

    def files(self) -> dict[str, FileRecord]:
        """Every indexed file by its absolute path, as changed so far."""
        rows = self._connection.execute("SELECT path, source, size, mtime_ns, sha256 FROM files")
        return {row[0]: FileRecord(*row) for row in rows}

    def set_manifest(self, manifest: Manifest) -> None:
        """Say with what this index is built."""
        self._begin()
        self._connection.executemany(
            "INSERT OR REPLACE INTO manifest VALUES (?, ?)",
            [(key, str(value)) for key, value in asdict(manifest).items()],
        )

    def clear(self) -> None:
        """Forget with what the index was built, every file, and the pointer to the FAISS cache."""
        self._begin()
        self._connection.execute("DELETE FROM manifest WHERE key != 'format'")
        self._connection.execute("DELETE FROM files")
        self._connection.execute("DELETE FROM snapshot")
        self._connection.execute("DELETE FROM tombstones")

    def put_file(
        self,
        record: FileRecord,
        documents: Sequence[tuple[Document, Sequence[Chunk], Vectors]],
    ) -> None:
        """Put a file's documents in place of all that was known of it.

        Vectors are float32 `[len(chunks), dim]`, kept as float16. A document whose id and content
        are unchanged keeps its chunks and their ids.

        Raises:
            StoreError: if a document's id belongs to another file already.
        """
        self._begin()
        self._connection.execute("SAVEPOINT file")
        try:
            file_id = self._put_record(record)
            given = {document.id for document, _, _ in documents}
            known = self._connection.execute(
                "SELECT id FROM documents WHERE file_id = ?", (file_id,)
            ).fetchall()
            self._connection.executemany(
                "DELETE FROM documents WHERE id = ?", [old for old in known if old[0] not in given]
            )
            for document, chunks, vectors in documents:
                self._put_document(file_id, document, chunks, vectors)
        except BaseException:
            self._connection.execute("ROLLBACK TO file")
            raise
        finally:
            self._connection.execute("RELEASE file")

    def keep_file(self, record: FileRecord) -> None:
        """Note the new time or name of a file whose content is unchanged."""
        self._begin()
        self._put_record(record)

    def remove_file(self, path: str) -> None:
        """Take out a file with its documents and chunks."""
        self._begin()
        self._connection.execute("DELETE FROM files WHERE path = ?", (path,))

    def content_hashes(self, path: str) -> dict[str, str]:
        """The content hash of each document of a file, by document id."""
        return dict(
            self._connection.execute(
                "SELECT documents.id, content_hash FROM documents JOIN files "
                "ON files.id = file_id WHERE path = ?",
                (path,),
            ).fetchall()
        )

    def known_vectors(self, passages: Sequence[str]) -> dict[str, Vectors]:
        """float32 `[dim]` for each passage that some chunk holds already."""
        import numpy as np

        by_hash = {passage_hash(passage): passage for passage in passages}
        hashes = list(by_hash)
        found = {}
        for at in range(0, len(hashes), 500):
            part = hashes[at : at + 500]
            rows = self._connection.execute(
                "SELECT passage_hash, vector FROM chunks "
                f"WHERE passage_hash IN ({','.join('?' * len(part))})",
                part,
            )
            for digest, blob in rows:
                found[by_hash[digest]] = np.frombuffer(blob, dtype="<f2").astype(np.float32)
        return found

    def commit(self) -> None:
        """Make everything since the last commit durable and visible."""
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def refresh_cache(self) -> None:
        """Write a new FAISS cache if the last one has fallen behind, or is damaged or missing."""
        manifest = self.manifest()
        if manifest is None:
            return
        row = _snapshot_row(self._connection)
        newest = self._connection.execute("SELECT coalesce(max(id), 0) FROM chunks").fetchone()[0]
        if row is not None:
            newer, buried = self._connection.execute(
                "SELECT (SELECT count(*) FROM chunks WHERE id > ?), "
                "(SELECT count(*) FROM tombstones)",
                (row.max_id,),
            ).fetchone()
            fresh = newer + buried <= max(_STALE_ROWS, _STALE_SHARE * row.count)
            if fresh and snapshot.load(self._directory, row) is not None:
                return
        generation = row.generation + 1 if row else self._next_generation()
        ids, vectors = _vectors(self._connection, manifest.dim, "id <= ?", (newest,))
        name, sha256 = snapshot.write(self._directory, generation, snapshot.build(ids, vectors))
        self._begin()
        self._connection.execute("DELETE FROM snapshot")
        self._connection.execute(
            "INSERT INTO snapshot VALUES (?, ?, ?, ?, ?)",
            (generation, name, sha256, newest, len(ids)),
        )
        self._connection.execute("DELETE FROM tombstones WHERE chunk_id <= ?", (newest,))
        self.commit()
        snapshot.remove_others(self._directory, keep=name)

    def _next_generation(self) -> int:
        # After `clear` no row tells the last one, but its file may still be there for readers.
        taken = [
            int(path.stem.removeprefix("vectors-"))
            for path in self._directory.glob("vectors-*.faiss")
            if path.stem.removeprefix("vectors-").isdigit()
        ]
        return max(taken, default=0) + 1

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    def _put_record(self, record: FileRecord) -> int:
        self._connection.execute(
            "INSERT INTO files (path, source, size, mtime_ns, sha256) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (path) DO UPDATE SET source = excluded.source, size = excluded.size, "
            "mtime_ns = excluded.mtime_ns, sha256 = excluded.sha256",
            (record.path, record.source, record.size, record.mtime_ns, record.sha256),
        )
        row = self._connection.execute("SELECT id FROM files WHERE path = ?", (record.path,))
        return int(row.fetchone()[0])

    def _put_document(
        self, file_id: int, document: Document, chunks: Sequence[Chunk], vectors: Vectors
    ) -> None:
        taken = self._connection.execute(
            "SELECT file_id, source, content_hash FROM documents WHERE id = ?", (document.id,)
        ).fetchone()
        if taken and taken[0] != file_id:
            raise StoreError(
                f"{document.source}: its document id {document.id!r} belongs to {taken[1]} "
                "already: index the two into different folders with --index"
            )
        if taken and taken[2] == document.content_hash:
            self._connection.execute(
                "UPDATE documents SET source = ?, modified = ?, metadata = ? WHERE id = ?",
                (document.source, document.modified, _json(dict(document.metadata)), document.id),
            )
            return
        self._connection.execute("DELETE FROM documents WHERE id = ?", (document.id,))
        self._connection.execute(
            f"INSERT INTO documents (file_id, {_DOCUMENT_COLUMNS}) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                file_id,
                document.id,
                document.source,
                document.title,
                document.text,
                document.media_type,
                document.content_hash,
                document.modified,
                _json(dict(document.metadata)),
                _json([[p.start, p.end, p.number] for p in document.pages]),
                _json([[h.start, h.end, h.level, h.title] for h in document.headings]),
                int(document.verbatim),
            ),
        )
        self._connection.executemany(
            'INSERT INTO chunks (document_id, start, "end", ordinal, heading, page, line, '
            "passage_hash, vector) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    chunk.document_id,
                    chunk.start,
                    chunk.end,
                    chunk.ordinal,
                    _json(list(chunk.heading)),
                    chunk.page,
                    chunk.line,
                    passage_hash(chunk.text),
                    vector.astype("<f2").tobytes(),
                )
                for chunk, vector in zip(chunks, vectors, strict=True)
            ],
        )


def check_embedder(manifest: Manifest, embedder: Embedder, directory: Path) -> None:
    """Refuse an embedder whose vectors cannot be compared with those of the index.

    Raises:
        StoreError: naming both embedders and the cure.
    """
    same = manifest.embedder == embedder.name and (
        not manifest.fingerprint
        or not embedder.fingerprint
        or manifest.fingerprint == embedder.fingerprint
    )
    if same:
        return
    theirs, ours = manifest.embedder, embedder.name
    if theirs == ours:
        theirs += f" with weights {manifest.fingerprint}"
        ours += f" with weights {embedder.fingerprint}"
    raise StoreError(
        f"{directory}: holds vectors of {theirs}, the embedder is {ours}: run "
        f"`rag index --rebuild PATH...`, or pass `--embedder {manifest.embedder}`"
    )


def passage_hash(passage: str) -> bytes:
    """What tells whether two chunks hold the same passage."""
    return hashlib.blake2b(passage.encode(), digest_size=16).digest()


_DOCUMENT_COLUMNS = (
    "id, source, title, text, media_type, content_hash, modified, metadata, pages, headings, "
    "verbatim"
)
_CHUNK_COLUMNS = 'chunks.id, document_id, text, start, "end", ordinal, heading, page, line'


def _document(row: Sequence[Any]) -> Document:
    return Document(
        id=row[0],
        source=row[1],
        title=row[2],
        text=row[3],
        media_type=row[4],
        content_hash=row[5],
        modified=row[6],
        metadata=json.loads(row[7]),
        pages=tuple(Page(*page) for page in json.loads(row[8])),
        headings=tuple(Heading(*heading) for heading in json.loads(row[9])),
        verbatim=bool(row[10]),
    )


def _chunk(row: Sequence[Any]) -> Chunk:
    return Chunk(
        id=row[0],
        document_id=row[1],
        text=row[2][row[3] : row[4]],
        start=row[3],
        end=row[4],
        ordinal=row[5],
        heading=tuple(json.loads(row[6])),
        page=row[7],
        line=row[8],
    )


def _manifest(connection: sqlite3.Connection) -> Manifest | None:
    values: Mapping[str, str] = dict(connection.execute("SELECT key, value FROM manifest"))
    kinds: dict[str, Callable[[str], Any]] = {
        "embedder": str,
        "fingerprint": str,
        "dim": int,
        "chunk_size": int,
        "chunk_overlap": int,
    }
    if not kinds.keys() <= values.keys():
        return None
    return Manifest(**{key: kind(values[key]) for key, kind in kinds.items()})


def _snapshot_row(connection: sqlite3.Connection) -> snapshot.SnapshotRow | None:
    row = connection.execute(
        "SELECT generation, file, sha256, max_id, count FROM snapshot"
    ).fetchone()
    return snapshot.SnapshotRow(*row) if row else None


def _vectors(
    connection: sqlite3.Connection, dim: int, where: str, values: Sequence[int]
) -> tuple[Any, Vectors]:
    import numpy as np

    rows = connection.execute(
        f"SELECT id, vector FROM chunks WHERE {where} ORDER BY id", tuple(values)
    ).fetchall()
    ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    joined = b"".join(row[1] for row in rows)
    halves = np.frombuffer(joined, dtype="<f2").reshape(len(rows), dim)
    return ids, halves.astype(np.float32)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
