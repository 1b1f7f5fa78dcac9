"""What man(7) and mdoc(7) have in common: roff's escapes, and the page that is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from textwrap import dedent

from rag.types import Heading

# Stands where no space may be, as after `\c` and mdoc's `Ns`; text that was decoded holds no NUL.
GLUE = "\0"

_HARD_SPACE = "\ue000"
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
_NAMES = {
    **dict(zip(("aq", "dq", "lq", "rq", "oq", "cq", "Bq", "bq"), "'\"“”‘’„‚", strict=True)),
    **dict(zip(("em", "en", "hy", "mi", "pl", "mu", "di", "+-"), "—–-−+×÷±", strict=True)),
    **dict(zip(("bu", "ci", "sq", "lz", "sc", "dg", "dd", "ps"), "•○□◊§†‡¶", strict=True)),
    **dict(zip(("co", "rg", "tm", "de", "ct", "Po", "Ye", "Eu"), "©®™°¢£¥€", strict=True)),
    **dict(zip(("ha", "ti", "ga", "aa", "rs", "sl", "ul", "at"), "^~`´\\/_@", strict=True)),
    **dict(zip(("bv", "ba", "br", "or", "sh", "Do", "lB", "rB"), "|||||$[]", strict=True)),
    **dict(zip(("lC", "rC", "la", "ra", "Fo", "Fc", "fo", "fc"), "{}⟨⟩«»‹›", strict=True)),
    **dict(zip(("<=", ">=", "!=", "==", "~~", "=~", "if", "sr"), "≤≥≠≡≈≅∞√", strict=True)),
    **dict(zip(("->", "<-", "ua", "da", "<>", "rA", "lA", "hA"), "→←↑↓↔⇒⇐⇔", strict=True)),
    **dict(zip(("12", "14", "34", "S1", "S2", "S3", "mc", "no"), "½¼¾¹²³µ¬", strict=True)),
    **dict(zip(("*a", "*b", "*g", "*d", "*e", "*l", "*m", "*p"), "αβγδελμπ", strict=True)),
    **dict(zip(("*s", "*t", "*W", "*D", "ss", "ae", "AE", "oe"), "στΩΔßæÆœ", strict=True)),
    **dict(zip(("o/", "O/", "-D", "Tp", "/l", "/L", "r!", "r?"), "øØÐþłŁ¡¿", strict=True)),
    **dict(zip(("**", "ts", "fm", "sd", "mo", "nm", "es", "te"), "*ς′″∈∉∅∃", strict=True)),
    **{"tmu": "×", "tdi": "÷", "t+-": "±", "integral": "∫", "sum": "∑", "u2026": "…"},
}
_ACCENTS = dict(
    zip("'`^:~,voa-", "\u0301\u0300\u0302\u0308\u0303\u0327\u030c\u030a\u0306\u0304", strict=True)
)
_SINGLE = {
    **{" ": _HARD_SPACE, "~": _HARD_SPACE, "0": _HARD_SPACE, "t": "\t", "c": GLUE},
    **{"-": "-", "'": "'", "`": "`", "e": "\\", "\\": "\\", ".": ".", "_": "_", "@": "@"},
}
# groff's own strings.
STRINGS: Mapping[str, str] = {
    **{"R": "®", "Tm": "™", "lq": "“", "rq": "”", "Aq": "'", "<=": "≤", ">=": "≥", "Pi": "π"},
    **{"Lt": "<", "Gt": ">", "Am": "&", "Ba": "|", "Le": "≤", "Ge": "≥", "Ne": "≠", "Pm": "±"},
    **{"If": "∞", "Na": "NaN", "q": '"', "``": "“", "''": "”", ".T": "utf8", "S": ""},
}


def interpolated(line: str, strings: Mapping[str, str]) -> str:
    r"""A line with its comment gone and its strings (`\*x`) put in."""
    if "\\" not in line:
        return line
    line = _COMMENT.sub(r"\1", line)
    return _STRING.sub(lambda at: strings.get(at[1] or at[2] or at[3] or "", ""), line)


def string_value(before: str, added: str, strings: Mapping[str, str]) -> str:
    """What `.ds` or `.as` define; kept short, for strings may be made of strings."""
    return (before + interpolated(added.removeprefix('"'), strings))[:_LONGEST_STRING]


def plain(text: str) -> str:
    """Text without fonts and sizes, special characters as themselves; see groff_char(7)."""
    return _ESCAPE.sub(_escaped, text) if "\\" in text else text


def _escaped(found: re.Match[str]) -> str:
    if found["form"]:
        operand = found["operand"]
        if found["form"] == "N":
            return chr(int(operand)) if operand.isdigit() and int(operand) < 0x110000 else ""
        if found["form"] == "h":
            return _HARD_SPACE
        return plain(operand.replace("\\", "")) if found["form"] in "Zbo" else ""
    name = found["two"] or found["long"]
    return _special(name) if name else _SINGLE.get(found["one"] or "", "")


def _special(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    if re.fullmatch(r"u[0-9A-F]{4,6}(_[0-9A-F]{4,6})*", name):
        codes = [int(code, 16) for code in name[1:].split("_")]
        return "".join(chr(code) for code in codes if code < 0x110000)
    if name.startswith("char") and name[4:].isdigit() and int(name[4:]) < 256:
        return chr(int(name[4:]))
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    return ""


def arguments(rest: str) -> list[str]:
    r"""The arguments of a macro as they stand; one in quotes begins with `\&`."""
    return [
        found[2] if found[2] is not None else "\\&" + found[1].replace('""', '"')
        for found in _ARGUMENT.finditer(rest)
    ]


class Page:
    """The text of a page as it grows: paragraphs filled, examples in fences, headings noted."""

    def __init__(self) -> None:
        self.headings: list[Heading] = []
        self._parts: list[str] = []
        self._length = 0
        self._line: list[str] = []
        self._literal: list[str] | None = None
        self._gap = "\n\n"
        self._lead = ""

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def is_literal(self) -> bool:
        return self._literal is not None

    def add(self, text: str) -> None:
        """One line of input: part of a paragraph, or a line of an example."""
        if self._literal is not None:
            self._literal.append(text)
        elif text.strip():
            self._line.append(text)

    def paragraph(self) -> None:
        """End the paragraph, or leave a line free in an example."""
        if self._literal is not None:
            self._literal.append("")
            return
        self.line_break()
        self._gap, self._lead = "\n\n", ""

    def line_break(self) -> None:
        """Go on in the next line."""
        line, self._line = " ".join(self._line), []
        line = re.sub(rf"\s*{GLUE}[\s{GLUE}]*", "", re.sub(r"[ \t\n]+", " ", line))
        line = line.replace(_HARD_SPACE, " ").strip()
        if line and line != "•":
            if line.startswith("• "):
                line = f"- {line[2:].lstrip()}"
            self._emit(self._lead + line)
            self._gap = "\n"

    def item(self, tag: str, *, more: bool = False) -> None:
        """Begin an item of a list; without a tag, its text stands beside the dash."""
        self.literal(False)
        self.paragraph()
        if more:
            self._gap = "\n"
        self._lead = "- "
        if tag.strip():
            self.add(tag)
            self.line_break()
            self._lead = "  "

    def literal(self, on: bool) -> None:
        """Begin or end an example, in which lines stay as they are."""
        if on == self.is_literal:
            return
        if on:
            self.line_break()
            self._literal = []
            return
        lines, self._literal = self._literal or [], None
        text = re.sub(rf"{GLUE}\n?", "", "\n".join(lines)).expandtabs()
        text = dedent(text).strip("\n")
        if text.strip():
            fence = "```"
            while fence in text:
                fence += "`"
            self.block(f"{fence}\n{text}\n{fence}")

    def block(self, text: str) -> None:
        """Text that stands as it is."""
        self.literal(False)
        self.paragraph()
        self._emit(text)

    def heading(self, title: str, level: int) -> None:
        """A heading alone on its line."""
        title = " ".join(title.replace(GLUE, "").replace(_HARD_SPACE, " ").split())
        if title:
            self.block(title)
            self.headings.append(Heading(self._length - len(title), self._length, level, title))

    def _emit(self, text: str) -> None:
        text = (self._gap if self._parts else "") + text.replace(_HARD_SPACE, " ")
        self._parts.append(text)
        self._length += len(text)
        self._gap, self._lead = "\n\n", "" if self._lead == "- " else self._lead
