"""Read Jupyter notebooks: the cells in order, with their outputs as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import TextBuilder, draft
from rag.sources.formats.markdown import find_headings
from rag.sources.formats.text import decode, fence_code
from rag.types import Document

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a notebook as one document: Markdown cells as they are, code and outputs in fences."""
    try:
        notebook = json.loads(decode(path.read_bytes(), source, config))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        reason = f"cannot be read as a notebook: it is not JSON, see {where}"
        raise SourceError(source, reason) from error
    cells = _find_cells(notebook)
    if cells is None:
        raise SourceError(source, "cannot be read as a notebook: it has no list of cells")
    language = _language(notebook.get("metadata"))
    builder = TextBuilder()
    for cell in cells:
        for text, is_markdown in _render_cell(cell, language):
            builder.add(text, headings=find_headings(text) if is_markdown else ())
    yield draft(
        source,
        builder.text,
        media_type="application/x-ipynb+json",
        markup="markdown",
        metadata={"programming_language": language},
        headings=builder.headings,
    )


def _find_cells(notebook: Any) -> list[Any] | None:
    """Return the cells of a notebook, in worksheets up to format 3; None if it has none."""
    if not isinstance(notebook, dict):
        return None
    sheets = notebook.get("worksheets")
    holders = [notebook, *(sheets if isinstance(sheets, list) else [])]
    found = [each["cells"] for each in holders if isinstance(each, dict) and "cells" in each]
    lists = [cells for cells in found if isinstance(cells, list)]
    return [cell for cells in lists for cell in cells] if lists else None


def _render_cell(cell: Any, language: str) -> Iterator[tuple[str, bool]]:
    if not isinstance(cell, dict):
        return
    # Code is `input` up to format 3, which has cells for headings, too.
    text = _join_lines(cell.get("source", cell.get("input"))).strip("\n")
    kind = cell.get("cell_type")
    level = cell.get("level")
    if kind == "heading" and isinstance(level, int) and text.strip():
        yield f"{'#' * min(max(level, 1), 6)} {' '.join(text.split())}", True
    elif text.strip():
        yield (text, True) if kind == "markdown" else (fence_code(text, language), False)
    outputs = cell.get("outputs") if kind == "code" else None
    for output in outputs if isinstance(outputs, list) else []:
        shown = _render_output(output).strip("\n")
        if shown.strip():
            yield fence_code(shown, ""), False


def _render_output(output: Any) -> str:
    if not isinstance(output, dict):
        return ""
    if output.get("output_type") in ("error", "pyerr"):
        return f"{output.get('ename', 'error')}: {output.get('evalue', '')}"
    data = output.get("data")
    plain = data.get("text/plain") if isinstance(data, dict) else output.get("text")
    return _ANSI.sub("", _join_lines(plain))


def _join_lines(lines: Any) -> str:
    if isinstance(lines, list):
        return "".join(str(line) for line in lines)
    return str(lines) if isinstance(lines, str) else ""


def _language(metadata: Any) -> str:
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    return name if isinstance(name, str) and name.isalnum() else "python"
