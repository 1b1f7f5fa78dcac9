"""Dataclasses of what the store holds, made of its rows.

SQLite keeps a value of any type in any column, and an index may come from somebody else. So each
row is checked where it is read, by the functions of this module and no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import apsw
import msgspec

from rag.errors import StoreError
from rag.index import caches
from rag.index.caches import CacheRow
from rag.index.disk.database import WrongValueError
from rag.index.vectors.kinds import Shape
from rag.types import Chunk, Document, DocumentEntry, Heading, Page, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.types import Vectors

    Ids = NDArray[np.int64]

# What a program added as a text has this before its id, where a file has its absolute path.
_PREFIX = "text:"
# An address may begin with the same letters.
_NO_TEXT = "text://"
IS_TEXT = f"path >= '{_PREFIX}' AND path < 'text;' AND substr(path, 1, 7) <> '{_NO_TEXT}'"

# Each number can be counted on from, and added to another, and is still one of SQLite's.
MOST = 1 << 53
_Natural = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
_Id = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
_Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]
_Path = Annotated[str, msgspec.Meta(pattern=r"\A[^\0]+\Z")]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Strings = tuple[str, ...]


class Cells:
    """The types of the cells of a row. What checks them is made at the first use, and kept."""

    def __init__(self, *types: Any) -> None:
        self._types = types

    def check(self, row: object) -> tuple[Any, ...]:
        """Return the cells of a row.

        Raises:
            msgspec.ValidationError: if one is of another type, out of range, missing or too many.
        """
        return msgspec.structs.astuple(msgspec.convert(row, self._struct))

    @cached_property
    def _struct(self) -> Any:
        fields = [(f"cell_{at}", each) for at, each in enumerate(self._types)]
        return msgspec.defstruct("Row", fields, array_like=True, forbid_unknown_fields=True)


TEXT = Cells(str)
_FILE = Cells(_Id, _Path, str, int, int, str, _Flag)
_PROBLEM = Cells(str, str, Literal["skipped", "failed"], _Flag)
_ROOT = Cells(_Path, str, str, str, _Flag)
_DOCUMENT = Cells(str, str, str, str, str, str, float | None, str, str, str, _Flag, str)
_TITLED = Cells(str, str, str)
_PLACE = (str, _Natural | None, _Natural | None)
_SPAN = Cells(_Id, str, _Natural, _Natural, _Natural, *_PLACE)
_CHUNK = Cells(_Id, str, _Natural, _Natural, _Natural, *_PLACE, bytes, bytes)
_STORED_CHUNK = Cells(str, _Natural, _Natural, _Natural, *_PLACE, bytes)
_CACHE = Cells(_Id, str, _Sha256, _Natural, _Natural, str)
# A page has its label and the places of its words only where there are some.
_PAGES = list[tuple[int | str, ...]]
_HEADINGS = list[tuple[_Natural, _Natural, _Natural, str]]
_HASH_BYTES = 16
# The key in the manifest for the roots of an imported index.
WAITING_KEY = "waiting_roots"
_MOST_DIMENSIONS = 1 << 16
# The first and the last second that a calendar has: the years 1 and 9999.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799

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
CARRIED_COLUMNS = 'document_id, ordinal, start, "end", heading, page, line, passage_hash'


def check_cells(row: object, kind: Cells, table: str) -> Any:
    """Return the cells of a row of a table, if each is of its type and within its range.

    Raises:
        WrongValueError: if one is not.
    """
    try:
        return kind.check(row)
    except msgspec.ValidationError as error:
        raise _wrong(table, str(error)) from None


def from_json(text: object, kind: Any, table: str) -> Any:
    """Read the JSON of a cell, which has to be of a type.

    Raises:
        WrongValueError: if it is none.
    """
    if not isinstance(text, str):
        raise _wrong(table, "JSON that is no text")
    try:
        return _decoder(kind).decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _wrong(table, str(error)) from None


@cache
def _decoder(kind: Any) -> Any:
    return msgspec.json.Decoder(kind)


def pages_of(text: object) -> tuple[Page, ...]:
    """Read the pages of a document.

    Raises:
        WrongValueError: if they are no list of pages.
    """
    return tuple(page_of(cells) for cells in from_json(text, _PAGES, "documents"))


def page_of(cells: Sequence[int | str]) -> Page:
    """Make a page of its cells: two offsets and a number, and two texts if it has them.

    Raises:
        WrongValueError: if they are none.
    """
    numbers, texts = cells[:3], cells[3:]
    if (
        len(numbers) == 3
        and len(texts) in (0, 2)
        and all(isinstance(each, int) and 0 <= each <= MOST for each in numbers)
        and all(isinstance(each, str) for each in texts)
    ):
        return Page(*cells)  # type: ignore[arg-type]
    raise _wrong("documents", "pages that are none")


def cells_of(page: Page) -> list[int | str]:
    """Return the cells that a page is stored as."""
    numbers: list[int | str] = [page.start, page.end, page.number]
    return [*numbers, page.label, page.words] if page.label or page.words else numbers


def metadata_of(text: object) -> dict[str, Any]:
    """Read the metadata of a document.

    Raises:
        WrongValueError: if they are no JSON object.
    """
    try:
        found: dict[str, Any] = from_json(text, dict[str, Any], "documents")
        return found
    except WrongValueError:
        # A document of a corpus may have brought a number that JSON does not know, as NaN.
        if not isinstance(text, str) or ("NaN" not in text and "Infinity" not in text):
            raise
        try:
            found = json.loads(text)
            json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise _wrong("documents", "metadata that are no JSON") from None
        if not isinstance(found, dict):
            raise
        return found


def heading_of(text: object) -> tuple[str, ...]:
    """Read the path of headings above a chunk.

    Raises:
        WrongValueError: if it is no list of texts.
    """
    found: tuple[str, ...] = from_json(text, _Strings, "chunks")
    return found


def _wrong(table: str, said: str) -> WrongValueError:
    said = said[:1].lower() + said[1:]
    return WrongValueError(f"its table {table} holds what no index does: {said}")


def document(row: Sequence[Any]) -> Document:
    """Make a document of a row of DOCUMENT_COLUMNS.

    Raises:
        WrongValueError: if a cell is of another type, or out of range.
    """
    cells = check_cells(row, _DOCUMENT, "documents")
    fields: dict[str, Any] = dict(zip(DOCUMENT_COLUMNS.split(", "), cells, strict=True))
    fields["metadata"] = metadata_of(fields["metadata"])
    fields["pages"] = pages_of(fields["pages"])
    headings = from_json(fields["headings"], _HEADINGS, "documents")
    fields["headings"] = tuple(Heading(*heading) for heading in headings)
    fields["verbatim"] = bool(fields["verbatim"])
    modified = fields["modified"]
    if modified is not None and not _FIRST_SECOND <= modified <= _LAST_SECOND:
        # A file system may keep such a time, but no calendar has it.
        fields["modified"] = None
    return Document(**fields)


def document_entry(row: Sequence[Any]) -> DocumentEntry:
    """Make an entry of a row of two counts, of characters and passages, and DOCUMENT_COLUMNS.

    Raises:
        WrongValueError: as `document`.
    """
    characters, passages, *cells = row
    read = document(cells)
    return DocumentEntry(
        id=read.id,
        source=read.source,
        title=read.title,
        media_type=read.media_type,
        content_hash=read.content_hash,
        characters=count_of(characters),
        passages=count_of(passages),
        modified=read.modified,
        metadata=read.metadata,
    )


def count_of(cell: object) -> int:
    """Return a count.

    Raises:
        WrongValueError: if it is none, as that of a text that is no text.
    """
    if type(cell) is not int or cell < 0:
        raise _wrong("documents", f"{cell!r:.40} where a count belongs")
    return cell


def chunk(row: Sequence[Any], text: str) -> Chunk:
    """Make a chunk of a row of SPAN_COLUMNS and the text of its document.

    Raises:
        WrongValueError: if a cell is of another type, or out of range.
    """
    number, name, start, end, ordinal, heading, page, line = check_cells(row, _SPAN, "chunks")
    if not start <= end <= len(text):
        raise _wrong("chunks", f"a passage from {start} to {end} of {len(text)} characters")
    above = heading_of(heading)
    return Chunk(number, name, text[start:end], start, end, ordinal, above, page, line)


def carried_chunk(row: Sequence[Any]) -> StoredChunk:
    """Make what is stored of a chunk, without its vector, of a row of CARRIED_COLUMNS.

    Raises:
        WrongValueError: if a cell is of another type, or out of range.
    """
    name, ordinal, start, end, heading, page, line, digest = check_cells(
        row, _STORED_CHUNK, "chunks"
    )
    if len(digest) != _HASH_BYTES:
        raise _wrong("chunks", f"a hash of {len(digest)} bytes")
    return StoredChunk(name, ordinal, start, end, heading_of(heading), page, line, digest)


def check_chunk(row: Sequence[Any]) -> None:
    """Raise WrongValueError unless the cells of SPAN_COLUMNS, hash and vector are a chunk's.

    Raises:
        WrongValueError: if a cell is of another type, or out of range.
    """
    *_, heading, _, _, digest, _ = check_cells(row, _CHUNK, "chunks")
    heading_of(heading)
    if len(digest) != _HASH_BYTES:
        raise _wrong("chunks", f"a hash of {len(digest)} bytes")


def vectors_of(blobs: Sequence[object], dim: int) -> Vectors:
    """Read stored vectors, as float32 `[len(blobs), dim]`.

    Raises:
        WrongValueError: if one has another length.
    """
    import numpy as np

    length = 2 * dim
    if not all(type(blob) is bytes and len(blob) == length for blob in blobs):
        raise _wrong("chunks", f"a vector that is not of dimension {dim}")
    halves = np.frombuffer(b"".join(blobs), dtype="<f2")  # type: ignore[arg-type]
    return halves.reshape(len(blobs), dim).astype(np.float32)


def stored_chunk(chunk: Chunk, passage: str, vector: Vectors) -> StoredChunk:
    """Make what is stored of a chunk, the passage that was embedded for it, and its vector."""
    place = (chunk.document_id, chunk.ordinal, chunk.start, chunk.end, chunk.heading)
    halves = vector.astype("<f2").tobytes()
    return StoredChunk(*place, chunk.page, chunk.line, passage_hash(passage), halves)


def manifest(connection: apsw.Connection) -> Manifest | None:
    """Return what the index was built with; None before the first commit.

    Raises:
        WrongValueError: if it says what no index was built with.
    """
    values: Mapping[str, str] = dict(connection.execute("SELECT key, value FROM manifest"))
    if not {"embedder", "fingerprint", "dim", "chunk_size", "chunk_overlap"} <= values.keys():
        return None
    embedder, fingerprint, revision = (
        check_cells([values.get(key, "")], TEXT, "manifest")[0]
        for key in ("embedder", "fingerprint", "revision")
    )
    if not embedder:
        raise _wrong("manifest", "no name of an embedder")
    return Manifest(
        embedder,
        fingerprint,
        dim=number(values["dim"], "manifest", 1, _MOST_DIMENSIONS),
        chunk_size=number(values["chunk_size"], "manifest"),
        chunk_overlap=number(values["chunk_overlap"], "manifest"),
        revision=revision,
    )


def number(value: object, table: str, least: int = 0, most: int = MOST) -> int:
    """Read a whole number that is stored as such, or as its decimal digits.

    Raises:
        WrongValueError: if it is none, or out of range.
    """
    text = str(value) if type(value) is int else value
    digits = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20
    if not digits or not least <= int(str(text)) <= most:
        raise _wrong(table, f"a number that is none from {least} to {most}")
    return int(str(text))


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
    present = sorted({language_of(metadata_of(metadata)) for (metadata,) in found})
    connection.execute("DELETE FROM languages")
    connection.executemany("INSERT INTO languages VALUES (?)", [(each,) for each in present])


def reading_settings(connection: apsw.Connection) -> str:
    """Return the settings that the last run read files with; empty if there was none."""
    row = connection.execute("SELECT value FROM manifest WHERE key = 'reading_settings'").fetchone()
    return check_cells(row, TEXT, "manifest")[0] if row else ""


def commits(connection: apsw.Connection) -> int:
    """Return how many commits the index has seen."""
    row = connection.execute("SELECT value FROM manifest WHERE key = 'commits'").fetchone()
    return number(row[0], "manifest") if row else 0


def next_generation(connection: apsw.Connection) -> int:
    """Return the number of the cache that is written next; none is used twice.

    Raises:
        WrongValueError: if the one before is no number.
    """
    select = "SELECT seq FROM sqlite_sequence WHERE name = 'caches'"
    return number(connection.execute(select).get or 0, "sqlite_sequence", most=MOST - 2) + 1


def cache_row(connection: apsw.Connection, kind: str) -> CacheRow | None:
    """Return the row that names the cache of a kind in `caches.KINDS`.

    None if there is none, or one that no writer has written: then the cache is built anew. What a
    row names is read, linked and deleted, so that its name has to be the only one that it can be.
    """
    try:
        return read_cache_row(connection, kind)
    except (WrongValueError, UnicodeDecodeError):
        return None


def read_cache_row(connection: apsw.Connection, kind: str) -> CacheRow | None:
    """Return the row that names the cache of a kind, if there is one.

    Raises:
        WrongValueError: if no writer has written it.
    """
    row = connection.execute(
        "SELECT generation, name, sha256, max_id, count, details FROM caches WHERE kind = ?",
        (kind,),
    ).fetchone()
    if row is None:
        return None
    generation, name, sha256, max_id, count, details = check_cells(row, _CACHE, "caches")
    if name != caches.name_of(kind, generation):
        raise _wrong("caches", f"another name than {caches.name_of(kind, generation)}")
    described = from_json(details, dict[str, Any], "caches")
    from_json(details, Shape, "caches")
    return CacheRow(generation, name, sha256, max_id, count, described)


def languages(connection: apsw.Connection) -> tuple[str, ...]:
    """Return the languages (ISO 639-1) that documents are or were in."""
    found = connection.execute("SELECT language FROM languages ORDER BY language")
    return tuple(check_cells(row, TEXT, "languages")[0] for row in found)


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
        found = connection.execute(
            "SELECT text, title, metadata FROM documents WHERE id = ?", (name,)
        ).fetchone()
        if found is None:
            raise _wrong("chunks", "a passage of no document")
        text, title, metadata = check_cells(found, _TITLED, "documents")
        language = language_of(metadata_of(metadata))
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
        yield ids, vectors_of([row[1] for row in rows], dim)


def chunk_ids(connection: apsw.Connection, after: int = 0) -> Ids:
    """Return the ids of all chunks above an id, in order."""
    # SQLite reads them from an index, which is far smaller than the table.
    where, values = ("WHERE id > ?", (after,)) if after else ("", ())
    return sorted_ids(
        connection.execute(f"SELECT group_concat(id) FROM chunks {where}", values).get
    )


def sorted_ids(joined: str | None) -> Ids:
    """Parse and sort the ids of a group_concat: one long text is fetched faster than many rows.

    Raises:
        WrongValueError: if one is not above 0.
    """
    import numpy as np

    ids = np.sort(np.fromstring(joined or "", dtype=np.int64, sep=","))
    if len(ids) and not 0 < ids[0] <= ids[-1] <= MOST:
        raise _wrong("chunks", f"ids from {ids[0]} to {ids[-1]}")
    return ids


def text_path(document_id: str) -> str:
    """Return what a document that was added as a text has for the path of its file."""
    return _PREFIX + document_id


def is_text(path: str) -> bool:
    """Return whether a document was added as a text, by the path of its file."""
    return path.startswith(_PREFIX) and not path.startswith(_NO_TEXT)


def path_of(connection: apsw.Connection, document_id: str) -> str:
    """Return the path, or the address, of the file that a document came from; empty if none."""
    row = connection.execute(
        "SELECT path FROM files WHERE id = (SELECT file_id FROM documents WHERE id = ?)",
        (document_id,),
    ).fetchone()
    return str(row[0]) if row else ""


def file_state(connection: apsw.Connection, row: Sequence[Any]) -> FileState:
    """Make a file's state of a row of FILE_COLUMNS and its problems.

    Raises:
        WrongValueError: if a cell is of another type, or out of range.
    """
    number, record, complete = file_record(row)
    problems = connection.execute(
        "SELECT source, reason, kind, lasting FROM problems WHERE file_id = ? ORDER BY rowid",
        (number,),
    )
    return FileState(
        id=number,
        record=record,
        complete=complete,
        problems=tuple(problem(each) for each in problems),
    )


def file_record(row: Sequence[Any]) -> tuple[int, FileRecord, bool]:
    """Make a file's id and record of a row of FILE_COLUMNS, and whether all of it is in.

    Raises:
        WrongValueError: if a cell is of another type, or out of range.
    """
    number, *cells, complete = check_cells(row, _FILE, "files")
    return number, FileRecord(*cells), bool(complete)


def stored_roots(connection: apsw.Connection) -> list[StoredRoot]:
    """Return the folders and files that the index follows, by path.

    Raises:
        WrongValueError: if a cell is of another type, or out of range.
    """
    found = []
    for row in connection.execute(
        "SELECT path, source, include, exclude, hidden FROM roots ORDER BY path"
    ):
        found.append(stored_root(row))
    return found


def waiting_roots(connection: apsw.Connection) -> list[StoredRoot]:
    """Return the folders and files that an imported index followed where it was made, by path.

    Whoever exported it chose them. They are not followed here before the user names them.

    Raises:
        WrongValueError: if they are noted in another form.
    """
    noted = connection.execute("SELECT value FROM manifest WHERE key = ?", (WAITING_KEY,)).get
    if noted is None:
        return []
    cells = from_json(noted, list[tuple[_Path, str, _Strings, _Strings, bool]], "manifest")
    return [StoredRoot(*each) for each in cells]


def stored_root(row: Sequence[Any]) -> StoredRoot:
    """Make a root of the cells of its row.

    Raises:
        WrongValueError: if a cell is of another type, or out of range.
    """
    path, source, include, exclude, hidden = check_cells(row, _ROOT, "roots")
    only, but = (from_json(each, _Strings, "roots") for each in (include, exclude))
    return StoredRoot(path, source, only, but, bool(hidden))


def problem(row: Sequence[Any]) -> Problem:
    """Make a problem of its source, reason, kind, and whether it lasts.

    Raises:
        WrongValueError: if a cell is of another type, or out of range.
    """
    source, reason, kind, lasting = check_cells(row, _PROBLEM, "problems")
    return Problem(source, reason, kind, bool(lasting))


def to_json(value: Any) -> str:
    """Write a value as the JSON of a column."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
