"""path, directory -> Iterator[Document]; a registry of readers by the file name's suffix.

A format's library is imported when the first such file is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from rag.errors import SourceError, first_line
from rag.sources.discovery import SourceFile, discover_files
from rag.types import Document, Reader

__all__ = ["SourceFile", "discover", "known_suffixes", "read"]

_MODULE_OF = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".rst": "rst",
    ".html": "web",
    ".htm": "web",
    ".ipynb": "notebook",
    ".pdf": "pdf",
    ".jsonl": "corpus",
}


def known_suffixes() -> tuple[str, ...]:
    """Suffixes of the formats that can be read, installed readers of others included."""
    extra = {f".{entry.name}" for entry in entry_points(group="rag.readers")}
    return tuple(sorted({*_MODULE_OF, *extra}))


def discover(
    paths: Sequence[str | Path],
) -> tuple[list[SourceFile], list[tuple[str, str]]]:
    """The files to read, sorted and each once, and (source, reason) for those passed over.

    Hidden files are left out; links are not followed out of the given folder.

    Raises:
        SourceError: if a path does not exist, or a single given file is of no known format.
    """
    return discover_files(paths, known_suffixes())


def read(file: SourceFile) -> Iterator[Document]:
    """The documents of one file, in order.

    Raises:
        SourceError: whatever is wrong with the file.
    """
    if file.size == 0:
        raise SourceError(file.source, "is empty")
    count = 0
    try:
        for document in _reader(file.path.suffix.lower())(file.path, file.source):
            if document.text.strip():
                count += 1
                yield document
    except SourceError:
        raise
    except MemoryError:
        raise SourceError(file.source, "needs more memory to be read than there is") from None
    except OSError as error:
        raise SourceError(file.source, f"cannot be read: {error.strerror or error}") from error
    # A parser may raise anything on a damaged file; it must cost this file and no other.
    except Exception as error:
        kind = file.path.suffix.lstrip(".").upper()
        reason = first_line(error)[:200]
        raise SourceError(file.source, f"cannot be read as {kind}: {reason}") from error
    if not count:
        raise SourceError(file.source, "holds no text")


def _reader(suffix: str) -> Reader:
    if suffix in _MODULE_OF:
        reader: Reader = import_module(f"rag.sources.{_MODULE_OF[suffix]}").read
        return reader
    for entry in entry_points(group="rag.readers", name=suffix.lstrip(".")):
        loaded: Reader = entry.load()
        return loaded
    raise SourceError(suffix, "no reader for this format")
