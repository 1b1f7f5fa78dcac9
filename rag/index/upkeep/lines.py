"""What an index holds as lines of JSON, and back: nothing in a line is believed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from rag.errors import first_line
from rag.index import FileRecord, FileState, StoredChunk, StoredRoot
from rag.types import Document, Heading, Page, Problem

_HASH_BYTES = 16

Line = Mapping[str, Any]
Shape = Mapping[str, tuple[type, ...]]

_none = type(None)
FILE: Shape = {
    "path": (str,),
    "source": (str,),
    "size": (int,),
    "mtime_ns": (int,),
    "sha256": (str,),
    "complete": (bool,),
    "problems": (list,),
}
PROBLEM: Shape = {"source": (str,), "reason": (str,), "kind": (str,), "lasting": (bool,)}
ROOT: Shape = {
    "path": (str,),
    "source": (str,),
    "include": (list,),
    "exclude": (list,),
    "hidden": (bool,),
}
DOCUMENT: Shape = {
    "id": (str,),
    "file": (str,),
    "source": (str,),
    "title": (str,),
    "media_type": (str,),
    "content_hash": (str,),
    "modified": (int, float, _none),
    "metadata": (dict,),
    "pages": (list,),
    "headings": (list,),
    "verbatim": (bool,),
    "markup": (str,),
    "text": (str,),
}
CHUNK: Shape = {
    "document": (str,),
    "ordinal": (int,),
    "start": (int,),
    "end": (int,),
    "heading": (list,),
    "page": (int, _none),
    "line": (int, _none),
    "passage": (str,),
}


class WrongError(Exception):
    """What is wrong with a file that is to be imported."""


def _to_line(row: Line) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def file_line(state: FileState) -> bytes:
    """What is known of a file."""
    record = state.record
    return _to_line(
        {
            "path": record.path,
            "source": record.source,
            "size": record.size,
            "mtime_ns": record.mtime_ns,
            "sha256": record.sha256,
            "complete": state.complete,
            "problems": [
                {"source": p.source, "reason": p.reason, "kind": p.kind, "lasting": p.lasting}
                for p in state.problems
            ],
        }
    )


def root_line(root: StoredRoot) -> bytes:
    """A folder or file that the index keeps to."""
    return _to_line(
        {
            "path": root.path,
            "source": root.source,
            "include": root.include,
            "exclude": root.exclude,
            "hidden": root.hidden,
        }
    )


def document_line(file: str, document: Document) -> bytes:
    """A document, with the path of its file."""
    return _to_line(
        {
            "id": document.id,
            "file": file,
            "source": document.source,
            "title": document.title,
            "media_type": document.media_type,
            "content_hash": document.content_hash,
            "modified": document.modified,
            "metadata": document.metadata,
            "pages": [[page.start, page.end, page.number] for page in document.pages],
            "headings": [[h.start, h.end, h.level, h.title] for h in document.headings],
            "verbatim": document.verbatim,
            "markup": document.markup,
            "text": document.text,
        }
    )


def chunk_line(chunk: StoredChunk) -> bytes:
    """A chunk; its vector is elsewhere."""
    return _to_line(
        {
            "document": chunk.document_id,
            "ordinal": chunk.ordinal,
            "start": chunk.start,
            "end": chunk.end,
            "heading": chunk.heading,
            "page": chunk.page,
            "line": chunk.line,
            "passage": chunk.passage_hash.hex(),
        }
    )


def parsed(data: bytes, shape: Shape | None) -> Line:
    """The object of a line, with the fields of `shape` if given.

    Raises:
        WrongError: if it is none.
    """
    try:
        row = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WrongError(f"is no JSON: {first_line(error)}") from None
    if not isinstance(row, dict):
        raise WrongError("is no JSON object")
    return row if shape is None else shaped(row, shape)


def shaped(row: Any, shape: Shape) -> Line:
    """A row with exactly the fields of `shape`, each of a type that it may have.

    Raises:
        WrongError: if it is another.
    """
    if not isinstance(row, dict) or row.keys() != shape.keys():
        raise WrongError(f"has not the fields {', '.join(shape)}")
    for name, types in shape.items():
        value = row[name]
        # To Python, True is an int.
        if type(value) not in types:
            raise WrongError(f"`{name}` is of the wrong type")
        if isinstance(value, int):
            _check_integer(value, name)
        elif isinstance(value, float) and not math.isfinite(value):
            raise WrongError(f"`{name}` is not a number")
        else:
            _check_text(value, name)
    return row


def _check_integer(value: int, name: str) -> None:
    if not -(1 << 63) <= value < 1 << 63:
        raise WrongError(f"`{name}` is too large")


def _check_text(value: Any, name: str) -> None:
    """JSON may hold halves of a character, which no text may."""
    try:
        (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
    except (UnicodeEncodeError, RecursionError):
        raise WrongError(f"`{name}` holds what is no text") from None


def file_state(row: Line) -> FileState:
    """A row of `FILE`.

    Raises:
        WrongError: if it is none.
    """
    problems = [shaped(problem, PROBLEM) for problem in row["problems"]]
    return FileState(
        id=0,
        record=FileRecord(row["path"], row["source"], row["size"], row["mtime_ns"], row["sha256"]),
        complete=row["complete"],
        problems=tuple(
            Problem(p["source"], p["reason"], _kind(p["kind"]), p["lasting"]) for p in problems
        ),
    )


def _kind(value: str) -> Literal["skipped", "failed"]:
    if value == "skipped":
        return "skipped"
    if value == "failed":
        return "failed"
    raise WrongError(f"{value!r} is no kind of problem")


def root(row: Line) -> StoredRoot:
    """A row of `ROOT`.

    Raises:
        WrongError: if it is none.
    """
    return StoredRoot(
        row["path"],
        row["source"],
        _texts(row["include"], "include"),
        _texts(row["exclude"], "exclude"),
        row["hidden"],
    )


def _texts(values: list[Any], name: str) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise WrongError(f"`{name}` holds what is no text")
    return tuple(values)


def document(row: Line) -> tuple[str, Document]:
    """A row of `DOCUMENT`: the path of its file, and the document.

    Raises:
        WrongError: if it is none.
    """
    length = len(row["text"])
    modified = row["modified"]
    return row["file"], Document(
        id=row["id"],
        source=row["source"],
        text=row["text"],
        title=row["title"],
        media_type=row["media_type"],
        content_hash=row["content_hash"],
        modified=None if modified is None else float(modified),
        metadata=row["metadata"],
        pages=tuple(Page(*_numbers(page, 3, length, "pages")) for page in row["pages"]),
        headings=tuple(_heading(heading, length) for heading in row["headings"]),
        verbatim=row["verbatim"],
        markup=row["markup"],
    )


def _heading(value: Any, length: int) -> Heading:
    if not isinstance(value, list) or len(value) != 4 or not isinstance(value[3], str):
        raise WrongError("`headings` holds what is no heading")
    start, end, level = _numbers(value[:3], 3, length, "headings")
    return Heading(start, end, level, value[3])


def _numbers(value: Any, count: int, length: int, name: str) -> list[int]:
    """Whole numbers, the first two of which are a span of a text."""
    if (
        not isinstance(value, list)
        or len(value) != count
        or any(type(each) is not int for each in value)
    ):
        raise WrongError(f"`{name}` holds what is not {count} numbers")
    for each in value:
        _check_integer(each, name)
    if not 0 <= value[0] <= value[1] <= length:
        raise WrongError(f"`{name}` holds a span outside of the text")
    return value


def chunk(row: Line) -> StoredChunk:
    """A row of `CHUNK`, without a vector.

    Raises:
        WrongError: if it is none.
    """
    try:
        digest = bytes.fromhex(row["passage"])
    except ValueError:
        digest = b""
    if len(digest) != _HASH_BYTES:
        raise WrongError(f"`passage` is not {_HASH_BYTES} bytes in hexadecimal digits")
    return StoredChunk(
        row["document"],
        row["ordinal"],
        row["start"],
        row["end"],
        _texts(row["heading"], "heading"),
        row["page"],
        row["line"],
        digest,
    )
