"""Quote text in a prompt, so that nothing in it can pass for the prompt's own marks.

Only the prompt holds these forms. The hits keep their text, which citations point into.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.answering.telling import find_withheld
from rag.text.normalization import searchable

WITHHELD = "[…]"

_LINE_END = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
# Control characters, and the tag block, which is invisible and which some models read as letters.
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufe00-\ufe0f\U000e0000-\U000e007f]+")
# The tokens with which chat templates separate turns. llama.cpp and others read them as such
# anywhere in a message. Any <|name|> and <name_of_it> may be a token of some model.
_CONTROL = re.compile(
    r"<(?P<angle>\|[^<>\n]{0,64}\||/?(?:s|bos|eos|pad|unk|sep|cls|mask|think|filename|reponame|image"
    r"|unused\d{1,5}|[a-z]{1,20}(?:[_▁][a-z0-9]{1,20}){1,6}))>"
    r"|\[(?P<square>/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]{1,20}|THINK|IMG|CLS|SEP|PAD"
    r"|UNK|[gs]?MASK))\]"
    r"|<<(?P<double>/?SYS)>>",
    re.IGNORECASE,
)
_FENCE = re.compile(r"<(?=\s{0,9}/?\s{0,9}passage)", re.IGNORECASE)
_NUMBER = re.compile(r"^([^\S\n]*)\[([^\S\n]*\d+[^\S\n]*)\]", re.MULTILINE)


def neutralize(text: str) -> str:
    """Change control tokens, fences, and passage numbers at the beginning of a line.

    They stay readable: `‹|im_end|›`, `(INST)`, `‹/passage>`, `(3)`. Invisible characters go.
    """
    text = _UNSEEN.sub("", searchable(_LINE_END.sub("\n", text)))
    text = _CONTROL.sub(_change_brackets, text)
    return _NUMBER.sub(r"\1(\2)", _FENCE.sub("‹", text))


def quote(text: str, withheld: Sequence[tuple[int, int]] | None = None) -> str:
    """Neutralize a passage's text, and put `[…]` in place of what is withheld from a generator.

    `withheld` are the spans of `find_withheld`, if they are known.
    """
    parts, at = [], 0
    for start, end in find_withheld(text) if withheld is None else withheld:
        parts += [neutralize(text[at:start]), WITHHELD]
        at = end
    return "".join([*parts, neutralize(text[at:])]).strip()


def quote_line(text: str) -> str:
    """Quote a title, heading or file name on one line."""
    return " ".join(quote(text).split())


def _change_brackets(match: re.Match[str]) -> str:
    if match["square"]:
        return f"({match['square']})"
    return f"‹{match['angle'] or match['double']}›"
