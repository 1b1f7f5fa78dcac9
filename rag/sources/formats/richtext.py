"""Read Rich Text Format as plain text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rag.config import SourcesConfig
from rag.sources.document import draft
from rag.types import Document


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a file of Rich Text Format as one document, without pictures and objects."""
    from striprtf.striprtf import rtf_to_text

    del config
    # Other characters are written as escapes.
    text = rtf_to_text(path.read_bytes().decode("latin-1"), errors="replace")
    lines = [line.strip(" \t\0") for line in text.replace("\r\n", "\n").split("\n")]
    yield draft(source, "\n".join(lines).strip("\n"), media_type="application/rtf")
