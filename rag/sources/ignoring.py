"""Match paths against patterns as in `.gitignore`, by gitignore(5) and git's `wildmatch.c`.

Git asks every ignore file about one entry, and does not enter a folder that is ignored. pathspec
(up to 1.1.1) asks about an entry and its parents at once, which gives another answer where a folder
is taken again: `!keep` in a folder below one with `*.log` takes `keep/a.log` as well. That is its
issue #129, whose fix (#132) is merged and not released yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}
_SET = re.compile(r"\[([!^]?)(\]?(?:\[:[^\]]*:\]|\\.|[^\]\\])*)\]", re.S)
_PIECE = re.compile(rf"\*+|\?|{_SET.pattern}|\\.|[^\\\[]", re.S)
_SET_MEMBER = re.compile(r"\[:([^\]]*):\]|(\\.|.)(?:-(\\.|.))?", re.S)
_TRIMMED = re.compile(r"((?:\\.|[^\\])*?) *", re.S)
_NEVER = r"(?!)"


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns of an ignore file; the last one that matches a path decides.

    `expression` holds them in reverse order, each as a group. `meanings` says for each group
    whether what it matches is ignored (True) or taken again (False).
    """

    expression: re.Pattern[str]
    meanings: tuple[bool, ...]

    def decide(self, path: str) -> bool | None:
        """Return whether `path` itself is ignored, or None if no pattern matches it.

        The path is relative to the folder of the patterns; a folder's path ends with a slash.
        """
        match = self.expression.fullmatch(path)
        return self.meanings[match.lastindex - 1] if match and match.lastindex else None


def parse_ignore_file(text: str) -> Patterns | None:
    """Compile the text of an ignore file; return None if it holds no patterns."""
    return compile_patterns(tuple(text.replace("\r\n", "\n").split("\n")))


@lru_cache(maxsize=256)
def compile_patterns(lines: Sequence[str]) -> Patterns | None:
    """Compile lines of patterns; return None if none of them is a pattern."""
    found = [parsed for line in lines for parsed in _parse_line(line)][::-1]
    if not found:
        return None
    expression = "|".join(f"({regex})" for regex, _ in found)
    return Patterns(re.compile(expression, re.S), tuple(meaning for _, meaning in found))


def _parse_line(line: str) -> Iterator[tuple[str, bool]]:
    if line.startswith("#"):
        return
    trimmed = _TRIMMED.fullmatch(line)
    pattern = trimmed[1] if trimmed else line
    ignored = not pattern.startswith("!")
    pattern = pattern if ignored else pattern[1:]
    if pattern.strip("/"):
        yield _to_regex(pattern), ignored


def _to_regex(pattern: str) -> str:
    end = "/" if pattern.endswith("/") else "/?"
    pattern = pattern.removesuffix("/")
    if "/" not in pattern:
        pattern = f"**/{pattern}"
    *folders, name = pattern.removeprefix("/").split("/")
    parts = [""]
    for folder in folders:
        if not _is_double_star(folder):
            parts[-1] += f"{_segment_to_regex(folder)}/"
        elif parts[-1] or len(parts) == 1:
            parts.append("")
    parts[-1] += ".+" if _is_double_star(name) else _segment_to_regex(name)
    return _join_at_stars(parts, "(?:[^/]+/)*") + end


def _is_double_star(segment: str) -> bool:
    return len(segment) > 1 and not segment.strip("*")


def _segment_to_regex(segment: str) -> str:
    if segment == "*":
        return "[^/]+"
    parts = [""]
    at = 0
    while at < len(segment):
        piece = _PIECE.match(segment, at)
        if piece is None:
            return _NEVER
        at = piece.end()
        if piece[0].startswith("*"):
            parts.append("")
        elif piece[0] == "?":
            parts[-1] += "[^/]"
        elif piece[2] is not None:
            parts[-1] += _set_to_regex(piece[2], negated=bool(piece[1]))
        else:
            parts[-1] += re.escape(piece[0][-1])
    return _join_at_stars(parts, "[^/]*")


def _join_at_stars(parts: Sequence[str], star: str) -> str:
    # Where a part first fits, it leaves the most room for the parts after it, so it need not be
    # tried elsewhere: the atomic groups keep hostile patterns from taking for ever.
    first, *others = parts
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>{star}?{part})" for part in middle) + star + last


def _set_to_regex(body: str, *, negated: bool) -> str:
    members = ""
    for member in _SET_MEMBER.finditer(body):
        name, low, high = member.groups()
        if name is not None:
            if name not in _CLASSES:
                return _NEVER
            members += _CLASSES[name]
        elif high is None or high[-1] < low[-1]:
            members += re.escape(low[-1])
        else:
            members += f"{re.escape(low[-1])}-{re.escape(high[-1])}"
    if not members:
        return "[^/]" if negated else _NEVER
    return f"[^/{members}]" if negated else f"(?!/)[{members}]"
