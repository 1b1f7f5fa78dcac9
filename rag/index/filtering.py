"""Turn a filter into the ids of the chunks that pass it, by SQL."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import apsw

from rag.errors import FilterError
from rag.index import rows
from rag.index.disk.database import WrongValueError
from rag.query.filters import (
    And,
    Field,
    Filter,
    Not,
    Test,
    field_of,
    page_bounds,
    predicate,
    value_at,
)
from rag.types import Listing

if TYPE_CHECKING:
    from rag.index.rows import Ids

# SQLite cannot replace a function while a statement runs: each function gets a name of its own.
_numbers = itertools.count()
# SQLite refuses the deep expressions that longer lists would make.
_MOST_VALUES = 100
# A passage is of the page that it begins on, and of all others that its characters are on.
_ON_PAGES = (
    "(coalesce(page >= ? AND page < ?, 0) "
    'OR coalesce(start < passing.flag_{until} AND "end" > passing.flag_{since}, 0))'
)


@dataclass(frozen=True, slots=True)
class _Condition:
    """An SQL expression that is 0 or 1, never NULL, with the values bound to it."""

    sql: str
    values: tuple[Any, ...] = ()


def chunk_ids(connection: apsw.Connection, filter: Filter) -> Ids:  # noqa: A002
    """Return the ids, ascending, of all chunks for which `rag.query.filters.matches` is true.

    A test of documents is decided once for each document: by SQL, or by a Python function where
    SQL has no operator for it (globs, accents, dates).
    """
    parts = filter.parts if isinstance(filter, And) else (filter,)
    flags: list[_Condition] = []
    document = _join("AND", [_condition(connection, p) for p in parts if not _reads_chunks(p)])
    chunk = _join("AND", [_condition(connection, p, flags) for p in parts if _reads_chunks(p)])
    columns = "".join(f", {flag.sql} AS flag_{at}" for at, flag in enumerate(flags))
    found = connection.execute(
        f"WITH passing AS MATERIALIZED (SELECT id{columns} FROM documents WHERE {document.sql}) "
        "SELECT group_concat(chunks.id) FROM passing "
        f"CROSS JOIN chunks ON chunks.document_id = passing.id WHERE {chunk.sql}",
        [value for condition in (*flags, document, chunk) for value in condition.values],
    ).get
    return rows.sorted_ids(found)


def document_entries(
    connection: apsw.Connection,
    filter: Filter | None,  # noqa: A002
    limit: int,
    offset: int,
) -> Listing:
    """Return documents that pass a filter, by source, from number `offset` on, and their count.

    Raises:
        FilterError: if the filter asks for pages or headings, which passages have.
    """
    if filter is not None and _reads_chunks(filter):
        raise FilterError(
            "`page` and `heading` select passages: filter a list of documents by their own fields"
        )
    passing = _Condition("1") if filter is None else _condition(connection, filter)
    total = connection.execute(
        f"SELECT count(*) FROM documents WHERE {passing.sql}", passing.values
    ).get
    # The text is left empty: a list of many documents would be the whole index.
    columns = rows.DOCUMENT_COLUMNS.replace(" text,", " '' AS text,")
    found = connection.execute(
        f"SELECT length(text), (SELECT count(*) FROM chunks WHERE document_id = documents.id), "
        f"{columns} FROM documents WHERE {passing.sql} ORDER BY source, id LIMIT ? OFFSET ?",
        (*passing.values, limit, offset),
    )
    return Listing(tuple(rows.document_entry(row) for row in found), rows.count_of(total))


def _reads_chunks(part: Filter) -> bool:
    if isinstance(part, Test):
        return field_of(part.field).of_chunk
    return any(map(_reads_chunks, [part.part] if isinstance(part, Not) else part.parts))


def _condition(
    connection: apsw.Connection, part: Filter, flags: list[_Condition] | None = None
) -> _Condition:
    """Make the condition of a filter on documents, or, with `flags`, of one on chunks.

    What a filter on chunks asks of documents becomes a flag, a column of the passing documents.
    """
    if flags is not None and not _reads_chunks(part):
        flags.append(_condition(connection, part))
        return _Condition(f"passing.flag_{len(flags) - 1}")
    if isinstance(part, Test):
        if flags is not None and field_of(part.field).kind == "page":
            return _page_test(connection, part, flags)
        return _test(connection, part)
    if isinstance(part, Not):
        negated = _condition(connection, part.part, flags)
        return _Condition(f"NOT {negated.sql}", negated.values)
    word = "AND" if isinstance(part, And) else "OR"
    return _join(word, [_condition(connection, inner, flags) for inner in part.parts])


def _join(word: str, conditions: Sequence[_Condition]) -> _Condition:
    if not conditions:
        return _Condition("1")
    sql = f" {word} ".join(condition.sql for condition in conditions)
    return _Condition(f"({sql})", tuple(v for condition in conditions for v in condition.values))


def _page_test(connection: apsw.Connection, test: Test, flags: list[_Condition]) -> _Condition:
    """Make the condition of a test of pages; where they begin and end is asked once a document."""
    bounds = [page_bounds(test.operator, value) for value in test.values]
    if len(bounds) > _MOST_VALUES:
        name = f"passes_{next(_numbers)}"
        passes = predicate(test)

        def passes_pages(text: Any, page: Any, start: Any, end: Any) -> bool:
            touched = (number for low, high, number in _pages(text) if low < end and start < high)
            return passes(page) or any(map(passes, touched))

        function: Callable[..., bool] = passes_pages
        connection.create_scalar_function(name, function, 4, deterministic=True)
        flags.append(_Condition("pages"))
        return _Condition(f'{name}(passing.flag_{len(flags) - 1}, page, start, "end")')
    edges = [f"{edge}_{next(_numbers)}" for edge in ("since", "until")]
    finders: tuple[Callable[..., int | None], ...] = (_find_start, _find_end)
    for name, find in zip(edges, finders, strict=True):
        connection.create_scalar_function(name, find, 3, deterministic=True)
    conditions = []
    for pair in bounds:
        known = [at for at, flag in enumerate(flags) if flag.values == pair]
        if not known:
            known = [len(flags)]
            flags += [_Condition(f"{name}(pages, ?, ?)", pair) for name in edges]
        since = known[0]
        conditions.append(_Condition(_ON_PAGES.format(since=since, until=since + 1), pair))
    return _join("OR", conditions)


def _find_start(text: Any, low: Any, high: Any) -> int | None:
    """Return where the first page within bounds begins."""
    return min((start for start, _, number in _pages(text) if low <= number < high), default=None)


def _find_end(text: Any, low: Any, high: Any) -> int | None:
    """Return where the last page within bounds ends."""
    return max((end for _, end, number in _pages(text) if low <= number < high), default=None)


@lru_cache(maxsize=256)
def _pages(text: str) -> tuple[tuple[int, int, int], ...]:
    return tuple((page.start, page.end, page.number) for page in rows.pages_of(text))


def _test(connection: apsw.Connection, test: Test) -> _Condition:
    field = field_of(test.field)
    few = len(test.values) <= _MOST_VALUES
    if few and field.kind == "id":
        return _Condition(f"id IN ({','.join('?' * len(test.values))})", test.values)
    name = f"passes_{next(_numbers)}"
    connection.create_scalar_function(
        name, _guard(_function(field, predicate(test)), field), -1, deterministic=True
    )
    columns = ", ".join(field.columns)
    if not field.keys:
        return _Condition(f"{name}({columns})")
    if field.columns:
        return _Condition(f"{name}(metadata, {columns})")
    # Metadata that does not hold the key, as JSON writes it, need not be parsed.
    key = json.dumps(field.keys[0][-1], ensure_ascii=False)
    return _Condition(f"(instr(metadata, ?) AND {name}(metadata))", (key,))


def _guard(passes: Callable[..., bool], field: Field) -> Callable[..., bool]:
    """Say what is wrong where a column holds another type than the field is of."""

    def check(*columns: Any) -> bool:
        try:
            return passes(*columns)
        except (TypeError, AttributeError, OverflowError, RecursionError):
            raise WrongValueError(f"it holds a {field.kind} of another type") from None

    return check


def _function(field: Field, passes: Callable[..., bool]) -> Callable[..., bool]:
    if field.columns == ("heading",):
        # All chunks of a section have the same heading.
        return lru_cache(maxsize=4096)(lambda heading: passes(rows.heading_of(heading)))
    if not field.keys:
        return passes

    def passes_metadata(text: str, *columns: Any) -> bool:
        metadata = rows.metadata_of(text)
        return passes(*(value_at(metadata, key) for key in field.keys), *columns)

    return passes_metadata
