"""Compare the fields of documents with a filter's values, as `rag.index.filtering` does by SQL."""

from __future__ import annotations

import math
import re
import unicodedata
from calendar import isleap, monthrange
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, TypeAlias

from rag.errors import FilterError
from rag.query.filters.algebra import (
    And,
    Filter,
    Kind,
    Not,
    Operator,
    Or,
    Test,
    check_operator,
    field_of,
    shorten,
)
from rag.types import Chunk, Document

_Scalar: TypeAlias = str | int | float
_Check: TypeAlias = Callable[[_Scalar], bool]
# From the first number up to, but without, the second.
Bounds: TypeAlias = tuple[float, float]

_PAGES = re.compile(r"([0-9]{1,9})(?:\.\.([0-9]{1,9}))?")
_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})([T ].+)?)?)?")
_DAY = 86_400
_SUFFIX = re.compile(r"\.(\w+)(?=#|$)")
_OFFICE = "application/vnd.openxmlformats-officedocument"
# Names of types besides the media type, its last part, and the suffix of the path.
_TYPE_NAMES: Mapping[str, tuple[str, ...]] = {
    "text/plain": ("text", "txt"),
    "text/markdown": ("md",),
    "text/html": ("htm",),
    "text/troff": ("man",),
    "text/tab-separated-values": ("tsv",),
    "message/rfc822": ("mail", "email", "eml"),
    "application/x-ipynb+json": ("notebook",),
    f"{_OFFICE}.wordprocessingml.document": ("word", "docx"),
    f"{_OFFICE}.presentationml.presentation": ("slides", "pptx"),
    f"{_OFFICE}.spreadsheetml.sheet": ("workbook", "xlsx"),
    "application/vnd.ms-excel": ("workbook", "xls"),
    "application/vnd.ms-excel.sheet.macroEnabled.12": ("workbook", "xlsm"),
    "application/vnd.ms-excel.sheet.binary.macroEnabled.12": ("workbook", "xlsb"),
    "application/vnd.oasis.opendocument.spreadsheet": ("workbook", "ods"),
}


def matches(filter: Filter, document: Document, *, chunk: Chunk | None = None) -> bool:  # noqa: A002
    """Return whether a document passes, or a chunk of it.

    A test is false where its field is missing or holds nothing comparable, as pages and headings
    are without a chunk.
    """
    if isinstance(filter, And):
        return all(matches(part, document, chunk=chunk) for part in filter.parts)
    if isinstance(filter, Or):
        return any(matches(part, document, chunk=chunk) for part in filter.parts)
    if isinstance(filter, Not):
        return not matches(filter.part, document, chunk=chunk)
    field = field_of(filter.field)
    if field.kind == "page":
        passes = predicate(filter)
        return chunk is not None and any(map(passes, _pages_of(document, chunk)))
    owner = chunk if field.of_chunk else document
    stated = [value_at(document.metadata, key) for key in field.keys]
    return predicate(filter)(*stated, *(getattr(owner, name, None) for name in field.columns))


def _pages_of(document: Document, chunk: Chunk) -> list[int | None]:
    """Return the page that a chunk begins on, and all that its characters are on."""
    touched = [
        page.number for page in document.pages if page.start < chunk.end and chunk.start < page.end
    ]
    return [chunk.page, *touched]


def value_at(metadata: Any, key: tuple[str, ...]) -> Any:
    """Return what metadata holds at the end of a path of keys; None if nothing."""
    for name in key:
        if not isinstance(metadata, Mapping):
            return None
        metadata = metadata.get(name)
    return metadata


@lru_cache(maxsize=1024)
def predicate(test: Test) -> Callable[..., bool]:
    """Return a function that decides a test from the values at the field's keys and in its columns.

    Raises:
        FilterError: if there is no such field, or it cannot be compared by the operator or value.
    """
    kind = check_operator(test.field, test.operator)
    if not test.values or not all(test.values):
        raise FilterError(f"expected a value for `{test.field}`")
    return _PREDICATES[kind](test)


def page_bounds(operator: Operator, value: str) -> Bounds:
    """Return the pages that a comparison with a page, or a range of pages, lets through.

    Raises:
        FilterError: if the value is neither.
    """
    pages = _PAGES.fullmatch(value)
    if not pages:
        raise FilterError(f"`{shorten(value)}` is no page: expected a number such as 3, or 3..7")
    return _bounds(operator, int(pages[1]), int(pages[2] or pages[1]) + 1)


def _path_predicate(test: Test) -> Callable[..., bool]:
    if test.operator == "~":
        return _scalar_predicate(_text_check, test)
    patterns = [re.compile(_path_regex(_fold(value)), re.S) for value in test.values]

    def passes(source: str) -> bool:
        path = _fold(source).replace("\\", "/").lstrip("/")
        return any(pattern.fullmatch(path) for pattern in patterns)

    return passes


def _type_predicate(test: Test) -> Callable[..., bool]:
    checks = [_equals(value.removeprefix(".")) for value in test.values]

    @lru_cache(maxsize=1024)
    def is_named(*names: str) -> bool:
        return any(check(name) for check in checks for name in names)

    return lambda source, media_type: is_named(*_names_of(media_type), *_SUFFIX.findall(source))


def _scalar_predicate(
    check_of: Callable[[Operator, str], _Check], test: Test
) -> Callable[..., bool]:
    checks = [check_of(test.operator, value) for value in test.values]
    return lambda value: any(check(scalar) for scalar in _scalars(value) for check in checks)


def _date_predicate(test: Test) -> Callable[..., bool]:
    checks = []
    for value in test.values:
        check = _date_check(test.operator, value)
        if check is None:
            raise FilterError(
                f"`{shorten(value)}` is no date: expected one such as 2024, 2024-05, 2024-05-17 or "
                "2024-05-17T10:30, or two of them as in 2023..2024-05"
            )
        checks.append(check)
    has_file_time = bool(field_of(test.field).columns)

    def passes(*values: Any) -> bool:
        start = _first_date(values[:-1] if has_file_time else values)
        if start is None and has_file_time:
            start = _read_time(values[-1])
        return start is not None and any(check(start) for check in checks)

    return passes


def _page_predicate(test: Test) -> Callable[..., bool]:
    bounds = [page_bounds(test.operator, value) for value in test.values]
    return lambda page: page is not None and any(low <= page < high for low, high in bounds)


def _scalars(value: Any) -> Iterator[_Scalar]:
    """Yield what can be compared: the items of a list one by one, nothing of an object or null."""
    if isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, str | int | float):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _scalars(item)
    elif value is not None and not isinstance(value, Mapping):
        # The index stores it as text, too.
        yield str(value)


def _fold(text: str) -> str:
    """Return text without case, accents and compatibility forms."""
    if text.isascii():
        return text.lower()
    # Marks of lower classes are no accents: they make other letters in kana, Indic and Semitic.
    marks = unicodedata.normalize("NFKD", text)
    return "".join(mark for mark in marks if unicodedata.combining(mark) < 200).casefold()


def _text_check(operator: Operator, value: str) -> _Check:
    if operator == ":":
        return _equals(value)
    part = _fold(value)
    return lambda scalar: part in _fold(str(scalar))


def _equals(value: str) -> _Check:
    text = _fold(value)
    if "*" not in text and "?" not in text:
        return lambda scalar: _fold(str(scalar)) == text
    pattern = re.compile(_wildcards(text, "."), re.S)
    return lambda scalar: pattern.fullmatch(_fold(str(scalar))) is not None


def _metadata_check(operator: Operator, value: str) -> _Check:
    if operator == "~":
        return _text_check(operator, value)
    equals = _text_check(operator, value) if operator == ":" else None
    in_numbers, in_dates = _number_check(operator, value), _date_check(operator, value)
    if not (equals or in_numbers or in_dates):
        raise FilterError(f"`{shorten(value)}` is no number or date, which `{operator}` compares")

    def passes(scalar: _Scalar) -> bool:
        if equals and equals(scalar):
            return True
        number = _read_number(scalar)
        if in_numbers and number is not None:
            return in_numbers(number)
        span = _read_date(scalar) if in_dates else None
        return bool(in_dates and span and in_dates(span[0]))

    return passes


def _number_check(operator: Operator, value: str) -> Callable[[float], bool] | None:
    first, last = map(_read_number, _ends(value))
    if first is None or last is None:
        return None
    low, high = _bounds(operator, first, math.nextafter(last, math.inf))
    return lambda number: low <= number < high


def _date_check(operator: Operator, value: str) -> Callable[[datetime], bool] | None:
    first, last = map(_read_date, _ends(value))
    if not first or not last:
        return None
    zoned = any(start.tzinfo for start, _ in (first, last))
    low, high = _bounds(operator, _seconds(first[0], zoned), _seconds(last[0], zoned) + last[1])
    return lambda start: low <= _seconds(start, zoned) < high


def _ends(value: str) -> tuple[str, str]:
    first, dots, last = value.partition("..")
    return first, last if dots else first


def _bounds(operator: Operator, start: float, end: float) -> Bounds:
    return {
        ":": (start, end),
        "<": (-math.inf, start),
        "<=": (-math.inf, end),
        ">": (end, math.inf),
        ">=": (start, math.inf),
    }[operator]


def _read_number(scalar: _Scalar) -> float | None:
    if isinstance(scalar, str):
        return float(scalar) if _NUMBER.fullmatch(scalar) else None
    return scalar


def _read_date(scalar: _Scalar) -> tuple[datetime, int] | None:
    """Return the beginning of a year, month, day or second, and how many seconds it lasts."""
    found = _DATE.fullmatch(str(scalar).strip())
    if not found:
        return None
    year, month, day, clock = found.groups()
    try:
        start = datetime.fromisoformat(f"{year}-{month or '01'}-{day or '01'}{clock or ''}")
    except ValueError:
        return None
    days = 1 if day else monthrange(start.year, start.month)[1] if month else 365
    leap_day = not month and isleap(start.year)
    return start, 1 if clock else (days + leap_day) * _DAY


def _first_date(values: Sequence[Any]) -> datetime | None:
    spans = (_read_date(scalar) for value in values for scalar in _scalars(value))
    return next((span[0] for span in spans if span), None)


def _read_time(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _seconds(date: datetime, zoned: bool) -> float:
    """Return the seconds since the epoch of what the clock showed, or of the moment if `zoned`."""
    return (date if zoned and date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


@lru_cache(maxsize=1024)
def _names_of(media_type: str) -> tuple[str, ...]:
    short = media_type.rpartition("/")[2].removeprefix("x-").partition("+")[0]
    return media_type, short, *_TYPE_NAMES.get(media_type, ())


def _path_regex(pattern: str) -> str:
    pattern = pattern.replace("\\", "/")
    anchored = pattern.startswith(("/", "./"))
    within = pattern.endswith("/")
    segments = [segment for segment in pattern.split("/") if segment not in ("", ".")]
    while segments and segments[-1] == "**":
        segments.pop()
        within = True
    if not segments:
        return ".*"
    *folders, name = segments if anchored else ["**", *segments]
    parts = [""]
    for folder in folders:
        if folder == "**":
            parts.append("")
        else:
            parts[-1] += f"{_wildcards(folder, '[^/]')}/"
    parts[-1] += _wildcards(name, "[^/]")
    # A document within a file has a path such as `letters.zip/first.md` or `inbox.mbox#first`.
    return _with_stars(parts, "(?:[^/]+/)*") + ("[/#].+" if within else "(?:[/#].*)?")


def _wildcards(pattern: str, character: str) -> str:
    parts = [re.escape(part).replace(r"\?", character) for part in re.split(r"\*+", pattern)]
    return _with_stars(parts, f"{character}*")


def _with_stars(parts: Sequence[str], star: str) -> str:
    # The first place where a part fits leaves the most room for those after it, so it need not be
    # tried elsewhere. Without the atomic groups, hostile patterns would take for ever.
    first, *others = parts
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>{star}?{part})" for part in middle) + star + last


_PREDICATES: Mapping[Kind, Callable[[Test], Callable[..., bool]]] = {
    "path": _path_predicate,
    "type": _type_predicate,
    "text": partial(_scalar_predicate, _text_check),
    "metadata": partial(_scalar_predicate, _metadata_check),
    "date": _date_predicate,
    "page": _page_predicate,
    "id": lambda test: frozenset(test.values).__contains__,
}
