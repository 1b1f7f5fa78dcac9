"""Make a filter of what a user writes, or a program passes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
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
    check_operator,
    shorten,
)
from rag.query.filters.comparison import predicate

# SQLite has limits of its own on the depth and length of an expression, and on its values.
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
    """Make a filter of text, or of a mapping of fields to values that must all hold.

    `{"type": ["pdf", "docx"], "title~": "lease"}` is `type:pdf,docx title~lease`. An empty
    expression gives None.

    Raises:
        FilterError: naming the place, what was expected there, and the nearest known field.
    """
    if isinstance(expression, Mapping):
        return _from_mapping(expression)
    return _Parser(_replace_half_pairs(expression)).whole()


class _Parser:
    """A parser by recursive descent: `OR` binds least, then juxtaposition, then `NOT` and `-`."""

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
        key, name, written = self._expect(_TEST, self._complain_of_test).groups()
        with self._point_at(start):
            field, operator, negated = _resolve(name or METADATA + key, written)
        values = [self._value(field, operator)]
        while self._take(_COMMA):
            values.append(self._value(field, operator))
        test = Test(field, operator, tuple(values))
        return Not(test) if negated else test

    def _value(self, field: str, operator: Operator) -> str:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise self._error(f"more than {_MAX_VALUES:,} values")

        def complain() -> str:
            opened = _QUOTE.match(self._text, self._at)
            return "this quote is not closed" if opened else f"expected a value for `{field}`"

        start = self._at
        double, single, bare = self._expect(_VALUE, complain).groups()
        value = bare or (double or "").replace('""', '"') or single.replace("''", "'")
        with self._point_at(start):
            predicate(Test(field, operator, (value,)))
        return value

    def _complain_of_test(self) -> str:
        found = _WORD.match(self._text, self._at)
        if not found:
            return "expected a test such as `type:pdf`, not the end"
        word = found[0]
        if word.lower() in (*FIELDS, *SHORTCUTS):
            return f"expected `:` and a value after `{word}`"
        return (
            f"expected a test such as `type:pdf`, not `{shorten(word)}`; a value with spaces, "
            "commas or brackets stands in quotes"
        )

    def _take(self, token: re.Pattern[str]) -> re.Match[str] | None:
        found = token.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _expect(self, token: re.Pattern[str], complain: Callable[[], str]) -> re.Match[str]:
        found = self._take(token)
        if not found:
            raise self._error(complain())
        return found

    def _sees(self, *tokens: re.Pattern[str]) -> bool:
        return any(token.match(self._text, self._at) for token in tokens)

    @contextmanager
    def _point_at(self, start: int) -> Iterator[None]:
        try:
            yield
        except FilterError as error:
            self._at = start
            raise self._error(str(error)) from None

    def _error(self, what: str) -> FilterError:
        return FilterError(f"filter, column {self._at + 1}: {what}")


def _resolve(name: str, written: str) -> tuple[str, Operator, bool]:
    """Return field and operator of what stands before a value, and whether its test is negated."""
    lowered = name.lower()
    if lowered in SHORTCUTS:
        if written not in (":", "="):
            raise FilterError(f"`{lowered}` takes only `:`; comparisons are written `date>=2024`")
        return "date", SHORTCUTS[lowered], False
    is_key = lowered.startswith(METADATA)
    field = METADATA + name[len(METADATA) :] if is_key else lowered
    operator: Any = ":" if written in ("=", "!=") else written
    check_operator(field, operator)
    return field, operator, written == "!="


def _from_mapping(given: Mapping[str, Any]) -> Filter | None:
    if len(given) > _MAX_TESTS:
        raise FilterError(f"filter: more than {_MAX_TESTS} fields")
    parts = []
    for name, value in given.items():
        try:
            parts.append(_from_item(name, value))
        except FilterError as error:
            raise FilterError(f"filter, `{shorten(name)}`: {error}") from None
    return And(tuple(parts)) if len(parts) > 1 else parts[0] if parts else None


def _from_item(name: str, value: Any) -> Filter:
    bare_name, written, _ = _OPERATOR_AT_END.split(name, maxsplit=1)
    field, operator, negated = _resolve(bare_name, written or ":")
    items = value if isinstance(value, list | tuple) else [value]
    test = Test(field, operator, tuple(map(_write_value, items)))
    predicate(test)
    return Not(test) if negated else test


def _write_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int | float):
        return _replace_half_pairs(str(value))
    raise FilterError(f"expected text, a number or a date, not {shorten(repr(value))}")


def _replace_half_pairs(text: str) -> str:
    return _HALF_PAIR.sub("\ufffd", text)
