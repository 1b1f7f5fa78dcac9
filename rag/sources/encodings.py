"""Decode bytes by the label that a document names its encoding by, as browsers do.

What labels mean is the WHATWG's Encoding Standard, section 4.2: "latin1" is Windows-1252, for
instance, since that is what those who write "latin1" use.
"""

from __future__ import annotations

import codecs
import re

# Wider codecs for Python's codecs of the names that labels have.
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso2022_jp": "iso2022_jp_ext",
}
# Labels that the web knows, and Python does not.
_LABELS = {
    "x-sjis": "cp932",
    "x-gbk": "gb18030",
    "x-euc-jp": "euc_jp",
    "x-big5": "big5hkscs",
    "unicode-1-1-utf-8": "utf-8",
    "x-cp1250": "cp1250",
    "x-cp1251": "cp1251",
    "x-cp1252": "cp1252",
    "x-mac-cyrillic": "mac-cyrillic",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "iso-8859-8-i": "iso8859-8",
    "utf8mb4": "utf-8",
}
# Python knows further codecs, which are no encodings of text, or slow on data that is none.
_TEXT = re.compile(
    r"ascii|utf-(?:7|8|16|32)|iso8859|cp\d|gb|hz$|big5|shift|euc_|koi8|mac-|iso2022|tis|johab"
)
# In these a byte is a character, so that what is valid UTF-8 beyond ASCII is UTF-8.
_SINGLE = re.compile(r"ascii|iso8859|cp125|cp874|koi8|mac-")
# Fewer characters of one byte may stand in binary data by chance.
_LEAST_WIDE = 4


def find_codec(label: str) -> str:
    """Return Python's codec for what browsers read under a label; empty if there is none."""
    label = label.strip().strip("\"'").lower()
    try:
        name = codecs.lookup(_LABELS.get(label, label)).name
    except (LookupError, ValueError):
        return ""
    return _WIDER.get(name, name) if _TEXT.match(name) else ""


def decode_labelled(data: bytes, label: str) -> str | None:
    """Decode data by its label; None if there is no such encoding, or the bytes do not fit it.

    UTF-8 under a label of one byte a character is read as UTF-8: by chance nothing is valid.
    """
    codec = find_codec(label)
    if not codec:
        return None
    if _SINGLE.match(codec) and not data.isascii():
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            pass
    # Of the five bytes that Windows-1252 leaves open browsers make control characters.
    errors = "replace" if codec == "cp1252" else "strict"
    try:
        return data.decode(codec, errors)
    except (UnicodeError, ValueError):
        return None


def decode_roughly(data: bytes, label: str) -> str:
    """Decode data by its label or as UTF-8, whichever leaves less as U+FFFD."""
    tried = [data.decode(codec, "replace") for codec in (find_codec(label), "utf-8") if codec]
    return min(tried, key=lambda text: text.count("\ufffd"))


def find_wide_encoding(head: bytes) -> str:
    """Tell whether data without a mark is UTF-16, by its first bytes, and in which order of bytes.

    Text of one byte a character holds no NUL; in UTF-16 every space and line break has one. Read in
    the wrong order, these are characters that hardly any text holds.
    """
    head = head[: len(head) // 2 * 2]
    if head.count(0) < _LEAST_WIDE:
        return ""
    for codec, other_half in (("utf-16-le", head[::2]), ("utf-16-be", head[1::2])):
        if 0 in other_half:
            continue
        try:
            # A character of two units may be cut at the end.
            text = codecs.getincrementaldecoder(codec)().decode(head)
        except UnicodeDecodeError:
            continue
        shown = sum(each.isprintable() or each in "\t\n\r\f" for each in text)
        if shown >= 0.99 * len(text):
            return codec
    return ""
