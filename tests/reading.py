"""Read one file as indexing does, without the worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag import Document
from rag.config import SourcesConfig
from rag.sources import SourceFile, read_file
from rag.types import Problem


def results(path: Path, **settings: Any) -> list[Document | Problem]:
    status = path.stat()
    file = SourceFile(str(path.resolve()), str(path), status.st_size, status.st_mtime_ns)
    return list(read_file(file, SourcesConfig(**settings)))


def documents(path: Path, **settings: Any) -> list[Document]:
    found = [item for item in results(path, **settings) if isinstance(item, Document)]
    for item in found:
        assert_spans(item)
    return found


def document(path: Path, **settings: Any) -> Document:
    (found,) = documents(path, **settings)
    return found


def problems(path: Path, **settings: Any) -> list[Problem]:
    return [item for item in results(path, **settings) if isinstance(item, Problem)]


def assert_spans(found: Document) -> None:
    for spans in (found.headings, found.pages):
        assert [s.start for s in spans] == sorted(s.start for s in spans)
        assert all(0 <= s.start <= s.end <= len(found.text) for s in spans)
    for heading in found.headings:
        shown = found.text[heading.start : heading.end]
        assert all(word in shown for word in heading.title.split())


def headings(found: Document) -> list[tuple[int, str, str]]:
    return [(h.level, h.title, found.text[h.start : h.end]) for h in found.headings]
