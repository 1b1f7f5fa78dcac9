"""Parse lines of roff(7): requests, arguments, strings and escapes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from rag.parsing import read_whole

# Marks where no space may be, as after `\c` and mdoc's `Ns`. Decoded text holds no other NUL.
GLUE = "\0"
# Stands for a space that must not be collapsed, until the page is written.
HARD_SPACE = "\ue000"
# Matches the name of a request or macro, and what follows it.
CONTROL = re.compile(r"[.'][ \t]*((?:\\[^{}\"]|[^\s\\])*)[ \t]*(.*)")
_LONGEST_STRING = 1_000
_STRING = re.compile(r"\\\*(?:\[([^\]\s]*)[^\]]*\]|\((..)|(.))")
_ESCAPE = re.compile(
    r"""\\(?:
      (?P<form>[ABDHLNRSXZbhlovw])'(?P<operand>(?:\\.|[^'\\])*)'
    | \((?P<two>..)
    | \[(?P<long>[^\]]*)\]
    | s(?:[+-]?(?:\(..|\[[^\]]*\]|'[^']*'|[1-3]\d|\d))
    | n[+-]?(?:\[[^\]]*\]|\(..|.)
    | [FMOVYfgkm](?:\[[^\]]*\]|\(..|.)
    | (?P<one>.)
    )?""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)\\[\"#].*")
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\.|[^\s\\]|\\$)+)')
_ACCENTS = dict(
    zip("'`^:~,voa-", "\u0301\u0300\u0302\u0308\u0303\u0327\u030c\u030a\u0306\u0304", strict=True)
)
_SINGLE = {
    **{" ": HARD_SPACE, "~": HARD_SPACE, "0": HARD_SPACE, "t": "\t", "c": GLUE},
    **{"-": "-", "'": "'", "`": "`", "e": "\\", "\\": "\\", ".": ".", "_": "_", "@": "@"},
}
# The strings that groff defines itself.
STRINGS: Mapping[str, str] = {
    **{"R": "®", "Tm": "™", "lq": "“", "rq": "”", "Aq": "'", "<=": "≤", ">=": "≥", "Pi": "π"},
    **{"Lt": "<", "Gt": ">", "Am": "&", "Ba": "|", "Le": "≤", "Ge": "≥", "Ne": "≠", "Pm": "±"},
    **{"If": "∞", "Na": "NaN", "q": '"', "``": "“", "''": "”", ".T": "utf8", "S": ""},
}


def interpolate(line: str, strings: Mapping[str, str]) -> str:
    r"""Remove the comment of a line and insert its strings (`\*x`)."""
    if "\\" not in line:
        return line
    line = _COMMENT.sub(r"\1", line)
    return _STRING.sub(lambda at: strings.get(at[1] or at[2] or at[3] or "", ""), line)


def string_value(before: str, added: str, strings: Mapping[str, str]) -> str:
    """Return the string that `.ds` or `.as` define, cut short since strings may hold strings."""
    return (before + interpolate(added.removeprefix('"'), strings))[:_LONGEST_STRING]


def strip_escapes(text: str) -> str:
    """Remove fonts and sizes from a text and insert its special characters; see groff_char(7)."""
    return _ESCAPE.sub(_replace_escape, text) if "\\" in text else text


def _replace_escape(found: re.Match[str]) -> str:
    if found["form"]:
        operand = found["operand"]
        if found["form"] == "N":
            return (
                chr(code)
                if operand.isdecimal() and (code := read_whole(operand)) < 0x110000
                else ""
            )
        if found["form"] == "h":
            return HARD_SPACE
        return strip_escapes(operand.replace("\\", "")) if found["form"] in "Zbo" else ""
    name = found["two"] or found["long"]
    return _special_character(name) if name else _SINGLE.get(found["one"] or "", "")


@cache
def _named_characters() -> Mapping[str, str]:
    text = files("rag.sources.formats.manpage").joinpath("characters.txt").read_text("utf-8")
    return dict(line.split(" ") for line in text.splitlines())


def _special_character(name: str) -> str:
    if name in _named_characters():
        return _named_characters()[name]
    if re.fullmatch(r"u[0-9A-F]{4,6}(_[0-9A-F]{4,6})*", name):
        codes = [int(code, 16) for code in name[1:].split("_")]
        return "".join(chr(code) for code in codes if code < 0x110000)
    if name.startswith("char") and name[4:].isdecimal() and read_whole(name[4:]) < 256:
        return chr(int(name[4:]))
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    return ""


def arguments(rest: str) -> list[str]:
    r"""Split the arguments of a macro; an argument in quotes gets `\&` before it."""
    return [
        found[2] if found[2] is not None else "\\&" + found[1].replace('""', '"')
        for found in _ARGUMENT.finditer(rest)
    ]
