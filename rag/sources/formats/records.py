"""Read JSON lines, one document a line, in BEIR's layout or the one that the settings describe."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import draft
from rag.sources.formats.text import decode
from rag.sources.unpacking import escape_unprintable
from rag.types import Document, Problem

_TEXT_FIELDS = ("text", "body", "content", "abstract")
_TITLE_FIELDS = ("title", "name", "subject", "headline")
_ID_FIELDS = ("_id", "id", "uuid")
_LONGEST_NUMBER = 1_000
_MOST_BAD_BEFORE_A_GOOD = 1_000
# Deeper metadata is turned into lines of text, because the store recurses.
_DEEPEST_METADATA = 8
_HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Item:
    """One record of a file: its label (`line 3`), and its value or the reason why it has none."""

    label: str
    number: int
    value: Any = None
    reason: str = ""


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document | Problem]:
    """Yield a document for each line, with the fields other than text, title and id as metadata.

    Lines in the layout of BEIR (Thakur et al., NeurIPS 2021, datasets and benchmarks) keep their
    `_id` as the document's id. A line without a field for text is rendered as a whole.
    """
    with path.open("rb") as file:
        yield from documents_of(
            _read_lines(file, source, config), source, config, "application/jsonl"
        )


def documents_of(
    items: Iterable[Item], source: str, config: SourcesConfig, media_type: str
) -> Iterator[Document | Problem]:
    """Yield the documents of records; a bad record is named and costs no other.

    Raises:
        SourceError: if no record is good.
    """
    # Only hashes are kept, since there may be millions of records.
    seen: set[int] = set()
    held: list[Problem] | None = []
    for item in items:
        try:
            document = record_to_document(item, source, config, media_type)
            if hash(document.source) in seen:
                key = document.source.removeprefix(f"{source}#")
                same = "is the same as" if key == _digest(item.value) else f"has the id {key!r} of"
                raise SourceError(source, f"{item.label} {same} an earlier one")
            seen.add(hash(document.source))
        except (SourceError, RecursionError) as error:
            if isinstance(error, RecursionError):
                error = SourceError(source, f"{item.label} is nested too deeply")
            problem = Problem(f"{source}:{item.number}", error.reason, error.kind)
            if held is None:
                yield problem
                continue
            held.append(problem)
            if len(held) == _MOST_BAD_BEFORE_A_GOOD:
                break
        else:
            # Bad records are held back until a good one shows that not the whole file is bad.
            yield from held or ()
            held = None
            yield document
    if held:
        raise SourceError(source, held[0].reason, kind=held[0].kind)


def record_to_document(item: Item, source: str, config: SourcesConfig, media_type: str) -> Document:
    """Make a document of a record.

    Raises:
        SourceError: if the record cannot be a document; it names the record's label.
    """
    record = item.value
    if item.reason:
        raise SourceError(source, f"{item.label} {item.reason}")
    used = [field.strip() for field in config.json_text.split(",") if field.strip()]
    texts = [text for field in used for text in _texts(record, field)]
    if used and not texts:
        raise SourceError(
            source, f"{item.label} has no text in `{config.json_text}` (`sources.json_text`)"
        )
    if not used:
        used = text_fields(record)
        texts = [record[field] for field in used] or [render_value(record)]
    rendered_whole = not used
    title_field, title = _first(record, [config.json_title] if config.json_title else _TITLE_FIELDS)
    id_field, identifier = _first(record, [config.json_id] if config.json_id else _ID_FIELDS)
    text = "\n\n".join(texts)
    if not text.strip() and title:
        text = title
    if not text.strip():
        raise SourceError(source, f"{item.label} holds no text", kind="skipped")
    rest = {} if rendered_whole else record
    for field in (*used, title_field, id_field):
        rest = _without(rest, field.split("."))
    document = draft(
        source,
        text,
        title=title or identifier,
        key=escape_unprintable(identifier) or _digest(record),
        media_type=media_type,
        metadata={
            name: value if depth_of(value) <= _DEEPEST_METADATA else render_value(value)
            for name, value in rest.items()
        },
    )
    beir = id_field == "_id" and used == ["text"] and not config.json_text
    return replace(document, id=escape_unprintable(identifier)) if beir else document


def text_fields(record: Any) -> list[str]:
    """Return the field of an object that holds its text by its name, in a list; or no field."""
    if not isinstance(record, dict):
        return []
    found = [name for name in _TEXT_FIELDS if isinstance(record.get(name), str)]
    # This is the first of them that is not blank, else the first.
    return sorted(found, key=lambda name: not record[name].strip())[:1]


def parse(text: str) -> Any:
    """Parse JSON into Python values in which every string can be stored.

    Raises:
        ValueError: if it is not JSON, or is nested deeper than Python recurses.
    """
    try:
        value = json.loads(
            text, parse_int=_integer, parse_float=_float, parse_constant=lambda name: name
        )
        if "\\ud" in text or "\\uD" in text:
            value = json.loads(
                _HALF_PAIR.sub("\ufffd", json.dumps(value, ensure_ascii=False)), parse_int=_integer
            )
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: see line {error.lineno}, column {error.colno}") from None
    return value


def depth_of(value: Any) -> int:
    """Count how many objects and lists are nested within one another."""
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        deepest += 1
        level = [
            inner for item in level for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return deepest


def render_value(value: Any) -> str:
    """Render any JSON value as lines `path.to.field: value`; list items are numbered from 0."""
    lines = []
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        path, item = stack.pop()
        prefix = f"{path}." if path else ""
        if isinstance(item, dict) and item:
            stack.extend((f"{prefix}{name}", inner) for name, inner in reversed(item.items()))
        elif isinstance(item, list) and any(isinstance(inner, dict | list) for inner in item):
            numbered = reversed(list(enumerate(item)))
            stack.extend((f"{prefix}{number}", inner) for number, inner in numbered)
        else:
            shown = ", ".join(map(_to_text, item)) if isinstance(item, list) else _to_text(item)
            lines.append(f"{path}: {shown}" if path else shown)
    return "\n".join(lines)


def _read_lines(file: BinaryIO, source: str, config: SourcesConfig) -> Iterator[Item]:
    longest = config.max_text_mb << 20
    number = 0
    while line := file.readline(longest):
        number += 1
        label = f"line {number}"
        if len(line) == longest and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(longest)
            reason = f"is longer than {config.max_text_mb} MB (`sources.max_text_mb`)"
            yield Item(label, number, reason=reason)
        elif line.strip():
            try:
                value = parse(decode(line, source, config))
            except SourceError as error:
                yield Item(label, number, reason=error.reason)
            except ValueError as error:
                yield Item(label, number, reason=str(error))
            else:
                yield Item(label, number, value, nesting_reason(value, config))


def nesting_reason(value: Any, config: SourcesConfig) -> str:
    """Return why a value is nested too deeply, or an empty string."""
    if depth_of(value) <= config.max_nesting:
        return ""
    return f"is nested more than {config.max_nesting:,} deep (`sources.max_nesting`)"


def _texts(value: Any, field: str) -> list[str]:
    """Return the texts found at a dotted path, in every item of lists on the way."""
    if isinstance(value, list):
        return [text for item in value for text in _texts(item, field)]
    if not field:
        return [] if value is None or isinstance(value, dict) else [_to_text(value)]
    if not isinstance(value, dict):
        return []
    if field in value:
        return _texts(value[field], "")
    name, _, rest = field.partition(".")
    return _texts(value.get(name), rest) if rest else []


def _first(record: Any, fields: Iterable[str]) -> tuple[str, str]:
    for field in fields:
        texts = _texts(record, field)
        if len(texts) == 1 and texts[0].strip():
            return field, texts[0]
    return "", ""


def _without(record: Any, path: list[str]) -> Any:
    whole = ".".join(path)
    if not isinstance(record, dict):
        return record
    if whole in record:
        return {name: value for name, value in record.items() if name != whole}
    if path[0] not in record or len(path) == 1:
        return record
    return {**record, path[0]: _without(record[path[0]], path[1:])}


def _digest(record: Any) -> str:
    canonical = json.dumps(record, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) < _LONGEST_NUMBER else digits


def _float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits
