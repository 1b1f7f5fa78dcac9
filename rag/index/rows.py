"""Dataclasses of what the store holds, made of its rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from rag.errors import StoreError
from rag.index.caches import CacheRow
from rag.types import Chunk, Document, Heading, Page, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.types import Vectors

    Ids = NDArray[np.int64]

# A text that names no language is read as English.
UNKNOWN_LANGUAGE = "en"

# So many vectors are in memory at once while all of them are read.
_BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index was built with: vectors are comparable only if all of it is the same.

    `fingerprint` identifies the embedder's weights, `revision` the commit of a model of a hub; each
    is empty where it is not known.
    """

    embedder: str
    fingerprint: str
    dim: int
    chunk_size: int
    chunk_overlap: int
    revision: str = ""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as it was when it was read; `path` is absolute, `source` as the user wrote it."""

    path: str
    source: str
    size: int
    mtime_ns: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class FileState:
    """What the index knows of a file.

    `complete` says that all of the file is in the index, `problems` which parts could not be
    read. A file that cannot be read at all has no sha256, and a problem.
    """

    id: int
    record: FileRecord
    complete: bool
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredRoot:
    """A folder or file that the index follows, with the patterns of `rag index` for it."""

    path: str
    source: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    hidden: bool


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as it is stored, without its text; `vector` is little-endian float16."""

    document_id: str
    ordinal: int
    start: int
    end: int
    heading: tuple[str, ...]
    page: int | None
    line: int | None
    passage_hash: bytes
    vector: bytes = b""


def passage_hash(passage: str) -> bytes:
    """Hash a passage: chunks with the same hash were embedded from the same text."""
    return hashlib.blake2b(passage.encode(), digest_size=16).digest()


FILE_COLUMNS = "id, path, source, size, mtime_ns, sha256, complete"
DOCUMENT_COLUMNS = (
    "id, source, title, text, media_type, content_hash, modified, metadata, pages, headings, "
    "verbatim, markup"
)
SPAN_COLUMNS = 'id, document_id, start, "end", ordinal, heading, page, line'


def document(row: Sequence[Any]) -> Document:
    """Make a document of a row of DOCUMENT_COLUMNS."""
    fields: dict[str, Any] = dict(zip(DOCUMENT_COLUMNS.split(", "), row, strict=True))
    fields["metadata"] = json.loads(fields["metadata"])
    fields["pages"] = tuple(Page(*page) for page in json.loads(fields["pages"]))
    fields["headings"] = tuple(Heading(*heading) for heading in json.loads(fields["headings"]))
    fields["verbatim"] = bool(fields["verbatim"])
    return Document(**fields)


def chunk(row: Sequence[Any], text: str) -> Chunk:
    """Make a chunk of a row of SPAN_COLUMNS and the text of its document."""
    number, document_id, start, end, ordinal, heading, page, line = row
    headings = tuple(json.loads(heading))
    return Chunk(number, document_id, text[start:end], start, end, ordinal, headings, page, line)


def stored_chunk(chunk: Chunk, passage: str, vector: Vectors) -> StoredChunk:
    """Make what is stored of a chunk, the passage that was embedded for it, and its vector."""
    place = (chunk.document_id, chunk.ordinal, chunk.start, chunk.end, chunk.heading)
    halves = vector.astype("<f2").tobytes()
    return StoredChunk(*place, chunk.page, chunk.line, passage_hash(passage), halves)


def manifest(connection: apsw.Connection) -> Manifest | None:
    """Return what the index was built with; None before the first commit."""
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
    known = {key: kind(values[key]) for key, kind in kinds.items()}
    return Manifest(**known, revision=values.get("revision", ""))


class State:
    """One state of an index, held by a read transaction: what is written meanwhile is not seen."""

    def __init__(self, directory: Path, connection: apsw.Connection) -> None:
        self.directory = directory
        self._connection = connection

    @cached_property
    def manifest(self) -> Manifest:
        """What the index was built with.

        Raises:
            StoreError: if nothing was ever committed to it.
        """
        found = manifest(self._connection)
        if found is None:
            raise StoreError(
                f"{self.directory}: holds no index: build one with `rag index PATH...`"
            )
        return found


def note_languages(connection: apsw.Connection) -> None:
    """Write the languages (ISO 639-1) of the documents that there are now, and no others."""
    found = connection.execute("SELECT metadata FROM documents")
    present = sorted({language_of(json.loads(metadata)) for (metadata,) in found})
    connection.execute("DELETE FROM languages")
    connection.executemany("INSERT INTO languages VALUES (?)", [(each,) for each in present])


def reading_settings(connection: apsw.Connection) -> str:
    """Return the settings that the last run read files with; empty if there was none."""
    row = connection.execute("SELECT value FROM manifest WHERE key = 'reading_settings'").fetchone()
    return str(row[0]) if row else ""


def commits(connection: apsw.Connection) -> int:
    """Return how many commits the index has seen."""
    row = connection.execute("SELECT value FROM manifest WHERE key = 'commits'").fetchone()
    return int(row[0]) if row else 0


def cache_row(connection: apsw.Connection, kind: str) -> CacheRow | None:
    """Return the row that names the cache of a kind in `schema.CACHES`, if there is one."""
    row = connection.execute(
        "SELECT generation, name, sha256, max_id, count, details FROM caches WHERE kind = ?",
        (kind,),
    ).fetchone()
    if row is None:
        return None
    generation, name, sha256, max_id, count, details = row
    return CacheRow(generation, name, sha256, max_id, count, json.loads(details))


def languages(connection: apsw.Connection) -> tuple[str, ...]:
    """Return the languages (ISO 639-1) that documents are or were in."""
    found = connection.execute("SELECT language FROM languages ORDER BY language")
    return tuple(row[0] for row in found)


def language_of(metadata: Mapping[str, Any]) -> str:
    """Return the language (ISO 639-1) of a document with this metadata."""
    found = metadata.get("language")
    return found if found and isinstance(found, str) else UNKNOWN_LANGUAGE


def passages(
    connection: apsw.Connection, where: str, values: Sequence[int | str]
) -> Iterator[tuple[Chunk, str, str]]:
    """Yield chunks by id, each with its document's title and language."""
    spans = connection.execute(
        f"SELECT {SPAN_COLUMNS} FROM chunks WHERE {where} ORDER BY id", tuple(values)
    )
    # The chunks of a document follow one another, so that its long text is fetched once.
    for name, own in groupby(spans, key=itemgetter(1)):
        text, title, metadata = connection.execute(
            "SELECT text, title, metadata FROM documents WHERE id = ?", (name,)
        ).get
        language = language_of(json.loads(metadata))
        for span in own:
            yield chunk(span, text), title, language


def vector_blocks(
    connection: apsw.Connection, dim: int, where: str, values: Sequence[int]
) -> Iterator[tuple[Ids, Vectors]]:
    """Yield ids and float32 vectors of chunks by id, a few thousand at a time."""
    import numpy as np

    cursor = connection.execute(
        f"SELECT id, vector FROM chunks WHERE {where} ORDER BY id", tuple(values)
    )
    while rows := list(islice(cursor, _BLOCK_ROWS)):
        ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
        halves = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f2")
        yield ids, halves.reshape(len(rows), dim).astype(np.float32)


def chunk_ids(connection: apsw.Connection, after: int = 0) -> Ids:
    """Return the ids of all chunks above an id, in order."""
    # SQLite reads them from an index, which is far smaller than the table.
    where, values = ("WHERE id > ?", (after,)) if after else ("", ())
    return sorted_ids(
        connection.execute(f"SELECT group_concat(id) FROM chunks {where}", values).get
    )


def sorted_ids(joined: str | None) -> Ids:
    """Parse and sort the ids of a group_concat: one long text is fetched faster than many rows."""
    import numpy as np

    return np.sort(np.fromstring(joined or "", dtype=np.int64, sep=","))


def file_state(connection: apsw.Connection, row: Sequence[Any]) -> FileState:
    """Make a file's state of a row of FILE_COLUMNS and its problems."""
    problems = connection.execute(
        "SELECT source, reason, kind, lasting FROM problems WHERE file_id = ? ORDER BY rowid",
        (row[0],),
    )
    return FileState(
        id=row[0],
        record=FileRecord(*row[1:6]),
        complete=bool(row[6]),
        problems=tuple(Problem(p[0], p[1], p[2], bool(p[3])) for p in problems),
    )


def stored_roots(connection: apsw.Connection) -> list[StoredRoot]:
    """Return the folders and files that the index follows, by path."""
    return [
        StoredRoot(path, source, tuple(json.loads(only)), tuple(json.loads(but)), bool(hidden))
        for path, source, only, but, hidden in connection.execute(
            "SELECT path, source, include, exclude, hidden FROM roots ORDER BY path"
        )
    ]


def to_json(value: Any) -> str:
    """Write a value as the JSON of a column."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
