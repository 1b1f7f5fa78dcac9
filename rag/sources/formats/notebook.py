"""Jupyter notebooks: cells in order, outputs as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft, title_of
from rag.sources.formats.markdown import find_headings
from rag.sources.formats.text import decode
from rag.types import Document, Heading

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """A notebook as one document: Markdown cells as they are, code and outputs in fences."""
    try:
        notebook = json.loads(decode(path.read_bytes(), source, config))
    except json.JSONDecodeError as error:
        raise SourceError(source, f"cannot be read as a notebook: not JSON ({error})") from error
    if isinstance(notebook, dict) and "worksheets" in notebook:
        raise SourceError(
            source, "is of an old notebook format: run `jupyter nbconvert --to notebook` on it"
        )
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise SourceError(source, "cannot be read as a notebook: it has no list of cells")
    language = _language(notebook.get("metadata"))
    parts: list[str] = []
    headings: list[Heading] = []
    length = 0
    for cell in notebook["cells"]:
        for text, is_markdown in _cell_texts(cell, language):
            if is_markdown:
                headings += [
                    Heading(h.start + length, h.end + length, h.level, h.title)
                    for h in find_headings(text)
                ]
            parts.append(text)
            length += len(text) + 2
    found = tuple(headings)
    yield draft(
        source,
        "\n\n".join(parts),
        title=title_of(found),
        media_type="application/x-ipynb+json",
        markup="markdown",
        metadata={"programming_language": language},
        headings=found,
    )


def _cell_texts(cell: Any, language: str) -> Iterator[tuple[str, bool]]:
    if not isinstance(cell, dict):
        return
    text = _joined(cell.get("source")).strip("\n")
    kind = cell.get("cell_type")
    if text.strip():
        yield (text, True) if kind == "markdown" else (_fenced(text, language), False)
    outputs = cell.get("outputs") if kind == "code" else None
    for output in outputs if isinstance(outputs, list) else []:
        shown = _output_text(output).strip("\n")
        if shown.strip():
            yield _fenced(shown, ""), False


def _output_text(output: Any) -> str:
    if not isinstance(output, dict):
        return ""
    if output.get("output_type") == "error":
        return f"{output.get('ename', 'error')}: {output.get('evalue', '')}"
    data = output.get("data")
    plain = data.get("text/plain") if isinstance(data, dict) else output.get("text")
    return _ANSI.sub("", _joined(plain))


def _joined(lines: Any) -> str:
    if isinstance(lines, list):
        return "".join(str(line) for line in lines)
    return str(lines) if isinstance(lines, str) else ""


def _fenced(text: str, language: str) -> str:
    # Longer than any fence inside.
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _language(metadata: Any) -> str:
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    return name if isinstance(name, str) and name.isalnum() else "python"
