"""The parts of a filter, and the fields that it can test."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rag.errors import FilterError

Operator = Literal[":", "~", "<", "<=", ">", ">="]
Kind = Literal["path", "type", "text", "metadata", "date", "page", "id"]


@dataclass(frozen=True, slots=True)
class Test:
    """A comparison of a field with values, of which one is enough."""

    field: str
    operator: Operator
    values: tuple[str, ...]

    def __str__(self) -> str:
        key = self.field.removeprefix(METADATA)
        name = self.field if _BARE_NAME.fullmatch(key) else f'{METADATA}"{key}"'
        return f"{name}{self.operator}{','.join(map(_quote, self.values))}"


@dataclass(frozen=True, slots=True)
class Not:
    """A filter that lets through what `part` does not."""

    part: Filter

    def __str__(self) -> str:
        return f"-{_bracket(self.part, And, Or)}"


@dataclass(frozen=True, slots=True)
class And:
    """A filter that lets through what passes all of `parts`, which are two or more."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " ".join(_bracket(part, And, Or) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """A filter that lets through what passes one of `parts`, which are two or more."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " OR ".join(_bracket(part, Or) for part in self.parts)


Filter: TypeAlias = And | Or | Not | Test


@dataclass(frozen=True, slots=True)
class Field:
    """The places where a field has its values.

    `keys` lead into the document's metadata; `columns` are attributes of the document, or of the
    chunk if `of_chunk`. Of several dates, the first that can be read counts.
    """

    kind: Kind
    columns: tuple[str, ...] = ()
    keys: tuple[tuple[str, ...], ...] = ()
    of_chunk: bool = False


FIELDS: Mapping[str, Field] = {
    "path": Field("path", ("source",)),
    "type": Field("type", ("source", "media_type")),
    "title": Field("text", ("title",)),
    "author": Field("text", keys=(("author",),)),
    "language": Field("text", keys=(("language",),)),
    "date": Field("date", ("modified",), (("created",), ("modified",))),
    "created": Field("date", keys=(("created",),)),
    "modified": Field("date", ("modified",), (("modified",),)),
    "heading": Field("text", ("heading",), of_chunk=True),
    "page": Field("page", ("page",), of_chunk=True),
    "id": Field("id", ("id",)),
}
# `after` includes the day itself and `before` does not, so that they share no document.
SHORTCUTS: Mapping[str, Operator] = {"after": ">=", "before": "<", "on": ":"}
METADATA = "meta."
_OPERATORS: Mapping[Kind, tuple[Operator, ...]] = {
    "path": (":", "~"),
    "type": (":",),
    "text": (":", "~"),
    "metadata": (":", "~", "<", "<=", ">", ">="),
    "date": (":", "<", "<=", ">", ">="),
    "page": (":", "<", "<=", ">", ">="),
    "id": (":",),
}
_BAD_KEY = re.compile(r'"|^\.|\.\.|\.$|^$')
_BARE_NAME = re.compile(r"[^\W_][\w.-]*")
_BARE_VALUE = re.compile(r"""[^\s(),"'][^\s(),]*""")


def field_of(name: str) -> Field:
    """Return the field of that name.

    Raises:
        FilterError: if there is none, naming the nearest one.
    """
    if name in FIELDS:
        return FIELDS[name]
    if not name.startswith(METADATA):
        known = [*FIELDS, *SHORTCUTS]
        near = difflib.get_close_matches(name.lower(), known, n=1)
        advice = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
        raise FilterError(
            f"unknown field `{shorten(name)}`: {advice} (a key of the metadata is written "
            f"`{METADATA}{shorten(name)}`)"
        )
    key = name.removeprefix(METADATA)
    if _BAD_KEY.search(key):
        raise FilterError(
            f"`{shorten(name)}` names no key of the metadata: write it as in `meta.doi`"
        )
    return Field("metadata", keys=(tuple(key.split(".")),))


def check_operator(name: str, operator: Operator) -> Kind:
    """Return the kind of a field, if `operator` can compare it.

    Raises:
        FilterError: if it cannot, or there is no such field.
    """
    kind = field_of(name).kind
    if operator not in _OPERATORS[kind]:
        known = " ".join(f"`{other}`" for other in _OPERATORS[kind])
        raise FilterError(f"`{name}` cannot be compared by `{operator}`, only by {known}")
    return kind


def shorten(text: str) -> str:
    """Return text on one line, cut to what a message has room for."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}..."


def _bracket(part: Filter, *kinds: type) -> str:
    return f"({part})" if isinstance(part, kinds) else str(part)


def _quote(value: str) -> str:
    return value if _BARE_VALUE.fullmatch(value) else '"' + value.replace('"', '""') + '"'
