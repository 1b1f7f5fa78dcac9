"""Text of documents and people as data: nothing in it can pass for the prompt's own marks.

Only the prompt sees these forms. The hits keep their text, which citations point into.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.answering.injection import orders
from rag.text.normalization import searchable

WITHHELD = "[…]"

_LINE_END = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
# Control characters, and the tag block, which shows nowhere and which some models read as letters.
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufe00-\ufe0f\U000e0000-\U000e007f]+")
# The tokens by which chat templates tell turns apart. llama.cpp and others read them as such
# wherever they stand in a message. Any <|name|> and <name_of_it> may be one of some model.
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


def inert(text: str) -> str:
    """`text` without control tokens, fences and passage numbers at the beginning of a line.

    They stay readable: `‹|im_end|›`, `(INST)`, `‹/passage>`, `(3)`. What is invisible goes.
    """
    text = _UNSEEN.sub("", searchable(_LINE_END.sub("\n", text)))
    text = _CONTROL.sub(_in_other_brackets, text)
    return _NUMBER.sub(r"\1(\2)", _FENCE.sub("‹", text))


def quoted(text: str, instructions: Sequence[tuple[int, int]] | None = None) -> str:
    """A passage's text, inert and with `[…]` in place of what gives orders to a model.

    `instructions` are the spans of these orders, if they are known.
    """
    kept, at = [], 0
    for start, end in orders(text) if instructions is None else instructions:
        kept += [inert(text[at:start]), WITHHELD]
        at = end
    return "".join([*kept, inert(text[at:])]).strip()


def quoted_line(text: str) -> str:
    """A title, heading or file name on one line, as `quoted`."""
    return " ".join(quoted(text).split())


def _in_other_brackets(match: re.Match[str]) -> str:
    if match["square"]:
        return f"({match['square']})"
    return f"‹{match['angle'] or match['double']}›"
