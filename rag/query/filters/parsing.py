"""A filter from what a user writes, or from what a program gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

from rag.errors import FilterError
from rag.query.filters.algebra import (
    FIELDS,
    METADATA,
    SHORTCUTS,
    And,
    Filter,
    Not,
    Operator,
    Or,
    Test,
    comparable,
    shown,
)
from rag.query.filters.comparison import predicate

# SQLite, too, reads no expression of any depth and length, and binds no number of values.
_MAX_DEPTH = 16
_MAX_TESTS = 250
_MAX_VALUES = 10_000


def _token(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"{pattern}\s*", re.I)


_WORD_ENDS = r"(?![\w.-]|\s*[:~=<>!])"
_OR = _token(f"OR{_WORD_ENDS}")
_AND = _token(f"AND{_WORD_ENDS}")
_NOT = _token(f"(?:NOT{_WORD_ENDS}|-)")
_OPEN = _token(r"\(")
_CLOSE = _token(r"\)")
_COMMA = _token(",")
_SPACE = _token("")
_END = re.compile(r"\Z")
_TEST = _token(r'(?:meta\."([^"]*)"|([^\W_][\w.-]*))\s*(!=|<=|>=|[:~=<>])')
_VALUE = _token(r"""(?:"((?:[^"]|"")+)"|'((?:[^']|'')+)'|([^\s(),"'][^\s(),]*))""")
_OPERATOR_AT_END = re.compile(r"\s*(!=|<=|>=|[:~=<>]|)\Z")
_QUOTE = re.compile(r"""(["'])(?!\1)""")
_WORD = re.compile(r"[^\s()]+|.")
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def parse_filter(expression: str | Mapping[str, Any]) -> Filter | None:
    """A filter from text, or from a mapping of fields to values that must all hold.

    `{"type": ["pdf", "docx"], "title~": "lease"}` is `type:pdf,docx title~lease`. None comes of an
    empty expression.

    Raises:
        FilterError: naming the place, what was expected there, and the nearest known field.
    """
    if isinstance(expression, Mapping):
        return _from_mapping(expression)
    return _Parser(_storable(expression)).whole()


class _Parser:
    """Recursive descent: `OR` binds least, then juxtaposition, then `NOT` and `-`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._tests = 0
        self._values = 0
        self._take(_SPACE)

    def whole(self) -> Filter | None:
        if self._sees(_END):
            return None
        found = self._either()
        if not self._sees(_END):
            raise self._error("`)` closes nothing")
        return found

    def _either(self) -> Filter:
        parts = [self._all()]
        while self._take(_OR):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Filter:
        parts = [self._term()]
        while self._take(_AND) or not self._sees(_OR, _CLOSE, _END):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _term(self) -> Filter:
        if self._depth == _MAX_DEPTH:
            raise self._error(f"nested more than {_MAX_DEPTH} deep")
        self._depth += 1
        if self._take(_NOT):
            found: Filter = Not(self._term())
        elif opening := self._take(_OPEN):
            found = self._either()
            if not self._take(_CLOSE):
                raise self._error(f"expected `)` for the `(` in column {opening.start() + 1}")
        else:
            found = self._test()
        self._depth -= 1
        return found

    def _test(self) -> Filter:
        self._tests += 1
        if self._tests > _MAX_TESTS:
            raise self._error(f"more than {_MAX_TESTS} tests; a list is one, as in `type:pdf,docx`")
        start = self._at
        found = self._take(_TEST)
        if not found:
            raise self._error(self._instead())
        key, name, written = found.groups()
        with self._placed(start):
            field, operator, negated = _resolved(name or METADATA + key, written)
        values = [self._value(field, operator)]
        while self._take(_COMMA):
            values.append(self._value(field, operator))
        test = Test(field, operator, tuple(values))
        return Not(test) if negated else test

    def _value(self, field: str, operator: Operator) -> str:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise self._error(f"more than {_MAX_VALUES:,} values")
        start = self._at
        found = self._take(_VALUE)
        if not found:
            opened = _QUOTE.match(self._text, self._at)
            raise self._error(
                "this quote is not closed" if opened else f"expected a value for `{field}`"
            )
        double, single, bare = found.groups()
        value = bare or (double or "").replace('""', '"') or single.replace("''", "'")
        with self._placed(start):
            predicate(Test(field, operator, (value,)))
        return value

    def _instead(self) -> str:
        found = _WORD.match(self._text, self._at)
        if not found:
            return "expected a test such as `type:pdf`, not the end"
        word = found[0]
        if word.lower() in (*FIELDS, *SHORTCUTS):
            return f"expected `:` and a value after `{word}`"
        return (
            f"expected a test such as `type:pdf`, not `{shown(word)}`; a value with spaces, commas "
            "or brackets stands in quotes"
        )

    def _take(self, token: re.Pattern[str]) -> re.Match[str] | None:
        found = token.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _sees(self, *tokens: re.Pattern[str]) -> bool:
        return any(token.match(self._text, self._at) for token in tokens)

    @contextmanager
    def _placed(self, start: int) -> Iterator[None]:
        try:
            yield
        except FilterError as error:
            self._at = start
            raise self._error(str(error)) from None

    def _error(self, what: str) -> FilterError:
        return FilterError(f"filter, column {self._at + 1}: {what}")


def _resolved(name: str, written: str) -> tuple[str, Operator, bool]:
    """Field and operator of what stands before a value, and whether its test is negated."""
    lowered = name.lower()
    if lowered in SHORTCUTS:
        if written not in (":", "="):
            raise FilterError(f"`{lowered}` takes only `:`; comparisons are written `date>=2024`")
        return "date", SHORTCUTS[lowered], False
    is_key = lowered.startswith(METADATA)
    field = METADATA + name[len(METADATA) :] if is_key else lowered
    operator: Any = ":" if written in ("=", "!=") else written
    comparable(field, operator)
    return field, operator, written == "!="


def _from_mapping(given: Mapping[str, Any]) -> Filter | None:
    if len(given) > _MAX_TESTS:
        raise FilterError(f"filter: more than {_MAX_TESTS} fields")
    parts = []
    for name, value in given.items():
        try:
            parts.append(_from_item(name, value))
        except FilterError as error:
            raise FilterError(f"filter, `{shown(name)}`: {error}") from None
    return And(tuple(parts)) if len(parts) > 1 else parts[0] if parts else None


def _from_item(name: str, value: Any) -> Filter:
    bare_name, written, _ = _OPERATOR_AT_END.split(name, maxsplit=1)
    field, operator, negated = _resolved(bare_name, written or ":")
    items = value if isinstance(value, list | tuple) else [value]
    test = Test(field, operator, tuple(map(_as_written, items)))
    predicate(test)
    return Not(test) if negated else test


def _as_written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int | float):
        return _storable(str(value))
    raise FilterError(f"expected text, a number or a date, not {shown(repr(value))}")


def _storable(text: str) -> str:
    return _HALF_PAIR.sub("\ufffd", text)
