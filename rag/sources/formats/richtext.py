"""Read Rich Text Format as plain text, with its notes, comments, headers and footers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft
from rag.types import Document

# Groups that the library leaves out, and what is put around each to have it shown at its place.
_ASIDE = re.compile(
    r"\{\s*(?:\\\*\s*)?\\(footnote|annotation|header[lrf]?|footer[lrf]?)(?![a-z])-?\d* ?"
)
_AROUND = {"footnote": (" [", "]"), "annotation": (" [Comment: ", "]")}
_ON_A_LINE = ("\\par ", "\\par ")
_BRACE = re.compile(r"\\[\\{}]|[{}]")


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a file of Rich Text Format as one document, without pictures and objects."""
    from striprtf.striprtf import rtf_to_text

    del config
    data = path.read_bytes()
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{\\rtf"):
        raise SourceError(
            source, "is no Rich Text, which begins with `{\\rtf`: save it again as RTF"
        )
    # Other characters are written as escapes.
    code = show_asides(data.decode("latin-1"))
    text = rtf_to_text(code, errors="replace").replace("\r\n", "\n")
    # A character beyond the first 65,536 is written as two halves.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    lines = [
        line.strip(" \t\0") for line in re.sub(r" (\[|\[Comment: )\s+", r" \1", text).split("\n")
    ]
    yield draft(source, "\n".join(lines).strip("\n"), media_type="application/rtf")


def show_asides(code: str) -> str:
    """Make footnotes and comments text in brackets, and headers and footers lines of their own."""
    asides = {aside.start(): aside for aside in _ASIDE.finditer(code)}
    parts: list[str] = []
    ends: list[str] = []
    at = 0
    for brace in _BRACE.finditer(code):
        if brace[0] == "{":
            aside = asides.get(brace.start())
            before, after = _AROUND.get(aside[1], _ON_A_LINE) if aside else ("", "")
            ends.append(after)
            if aside:
                parts += [code[at : aside.start()], "{", before]
                at = aside.end()
        elif brace[0] == "}" and ends and (after := ends.pop()):
            parts += [code[at : brace.start()], after]
            at = brace.start()
    return "".join([*parts, code[at:]])
