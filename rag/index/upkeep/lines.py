"""Rows of an index as lines of JSON, and back: no line is believed before it is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, fields
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from rag.errors import first_line
from rag.index import FileRecord, FileState, StoredChunk, StoredRoot, rows
from rag.types import Document, Heading, Problem

_HASH_BYTES = 16

Integer = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""A whole number that SQLite can store."""

Path = Annotated[str, msgspec.Meta(pattern=r"\A[^\0]+\Z")]
"""A path that the system can be asked for."""


class WrongError(Exception):
    """An error that says what is wrong with a file that is to be imported."""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object with exactly these fields, each of its type."""


L = TypeVar("L", bound=Line)


class ProblemLine(Line, frozen=True):
    """A problem of a file."""

    source: str
    reason: str
    kind: Literal["skipped", "failed"]
    lasting: bool


class FileLine(Line, frozen=True):
    """What the index knows of a file."""

    path: Path
    source: str
    size: Integer
    mtime_ns: Integer
    sha256: str
    complete: bool
    problems: list[ProblemLine]

    @classmethod
    def of(cls, state: FileState) -> FileLine:
        """Make the line of a file."""
        problems = [ProblemLine(*astuple(each)) for each in state.problems]
        return cls(**asdict(state.record), complete=state.complete, problems=problems)

    def item(self) -> FileState:
        """Make the file's state of its line."""
        return FileState(
            id=0,
            record=FileRecord(self.path, self.source, self.size, self.mtime_ns, self.sha256),
            complete=self.complete,
            problems=tuple(Problem(*msgspec.structs.astuple(each)) for each in self.problems),
        )


class RootLine(Line, frozen=True):
    """A folder or file that the index follows."""

    path: Path
    source: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    hidden: bool

    @classmethod
    def of(cls, root: StoredRoot) -> RootLine:
        """Make the line of a root."""
        return cls(*astuple(root))

    def item(self) -> StoredRoot:
        """Make the root of its line."""
        return StoredRoot(*msgspec.structs.astuple(self))


class DocumentLine(Line, frozen=True):
    """A document, with the path of its file."""

    id: str
    file: str
    source: str
    title: str
    media_type: str
    content_hash: str
    modified: float | None
    metadata: dict[str, Any]
    pages: list[tuple[int | str, ...]]
    headings: list[tuple[Integer, Integer, Integer, str]]
    verbatim: bool
    markup: str
    text: str

    @classmethod
    def of(cls, file: str, document: Document) -> DocumentLine:
        """Make the line of a document."""
        cells = {each.name: getattr(document, each.name) for each in fields(document)}
        cells["metadata"] = dict(document.metadata)
        cells["pages"] = [tuple(rows.cells_of(page)) for page in document.pages]
        cells["headings"] = [(h.start, h.end, h.level, h.title) for h in document.headings]
        return cls(file=file, **cells)

    def item(self) -> tuple[str, Document]:
        """Make the path of the file and the document of their line.

        Raises:
            WrongError: if its time is not finite, or a page or heading lies outside its text.
        """
        if self.modified is not None and not math.isfinite(self.modified):
            raise WrongError("`modified` is not a finite number")
        try:
            pages = tuple(map(rows.page_of, self.pages))
        except ValueError as error:
            raise WrongError("`pages` holds what is no page") from error
        spans = [(page.start, page.end) for page in pages]
        headings = [(start, end) for start, end, *_ in self.headings]
        for name, each in (("pages", spans), ("headings", headings)):
            if not all(0 <= start <= end <= len(self.text) for start, end in each):
                raise WrongError(f"`{name}` holds a span outside of the text")
        cells = msgspec.structs.asdict(self)
        cells["pages"] = pages
        cells["headings"] = tuple(Heading(*heading) for heading in self.headings)
        return cells.pop("file"), Document(**cells)


class ChunkLine(Line, frozen=True):
    """A chunk without its vector, which another member of the archive holds."""

    document: str
    ordinal: Integer
    start: Integer
    end: Integer
    heading: tuple[str, ...]
    page: Integer | None
    line: Integer | None
    passage: str

    @classmethod
    def of(cls, chunk: StoredChunk) -> ChunkLine:
        """Make the line of a chunk."""
        span = (chunk.ordinal, chunk.start, chunk.end)
        place = (chunk.heading, chunk.page, chunk.line)
        return cls(chunk.document_id, *span, *place, chunk.passage_hash.hex())

    def item(self) -> StoredChunk:
        """Make the chunk of its line.

        Raises:
            WrongError: if the hash of its passage is none.
        """
        try:
            digest = bytes.fromhex(self.passage)
        except ValueError:
            digest = b""
        if len(digest) != _HASH_BYTES:
            raise WrongError(f"`passage` is not {_HASH_BYTES} bytes in hexadecimal digits")
        span = (self.ordinal, self.start, self.end)
        return StoredChunk(self.document, *span, self.heading, self.page, self.line, digest)


def encode(line: Line) -> bytes:
    """Write a line as JSON, with a line feed at its end."""
    row = msgspec.to_builtins(line)
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def parse(data: bytes) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        WrongError: if the data is none.
    """
    try:
        row = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WrongError(f"is no JSON: {first_line(error)}") from None
    if not isinstance(row, dict):
        raise WrongError("is no JSON object")
    return row


def convert(row: Mapping[str, Any], kind: type[L]) -> L:
    """Check that an object has the fields of a kind of line, and make that line.

    Raises:
        WrongError: if a field is missing, unknown, of another type, out of range or no text.
    """
    try:
        line = msgspec.convert(row, kind)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `$.")
        said = said[0].lower() + said[1:]
        raise WrongError(f"`{place[:-1]}`: {said}" if place else said) from None
    for name, value in row.items():
        # JSON may hold halves of a character, which no text may.
        try:
            (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
        except (UnicodeEncodeError, RecursionError):
            raise WrongError(f"`{name}` holds what is no text") from None
    return line
