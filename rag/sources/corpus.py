"""Corpora as JSON lines in BEIR's layout: `_id`, `title`, `text` a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag.errors import SourceError
from rag.sources.identity import content_hash
from rag.types import Document


def read(path: Path, source: str) -> Iterator[Document]:
    """Each line as a document under its own `_id`; keys beyond the three become metadata.

    Thakur et al., BEIR (NeurIPS 2021, datasets and benchmarks).
    """
    seen: dict[str, int] = {}
    modified = path.stat().st_mtime
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _row(line, number, source)
            first = seen.setdefault(row["_id"], number)
            if first != number:
                raise SourceError(
                    source, f"line {number} has the `_id` {row['_id']!r} of line {first}"
                )
            title = row.get("title")
            title = title if isinstance(title, str) and title.strip() else row["_id"]
            extra = {key: row[key] for key in row.keys() - {"_id", "title", "text"}}
            yield Document(
                id=row["_id"],
                source=f"{source}#{row['_id']}",
                text=row["text"],
                title=title,
                media_type="application/jsonl",
                content_hash=content_hash(title, row["text"]),
                modified=modified,
                metadata=extra,
            )


def _row(line: bytes, number: int, source: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise SourceError(source, f"line {number} is not valid UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise SourceError(source, f"line {number} is not JSON: {error}") from error
    if not isinstance(row, dict) or not {"_id", "text"} <= row.keys():
        raise SourceError(source, f"line {number} is no object with `_id` and `text`")
    if isinstance(row["_id"], int):
        row["_id"] = str(row["_id"])
    if not isinstance(row["_id"], str) or not row["_id"] or not isinstance(row["text"], str):
        raise SourceError(source, f"line {number}: `_id` and `text` must be text")
    return row
