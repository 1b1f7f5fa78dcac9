"""Bytes of HTML -> text in the encoding that they declare -> a tree of elements."""

from __future__ import annotations

import codecs
import re

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.formats.html.elements import Element
from rag.sources.formats.text import decode

_DECLARED_CHARSET = re.compile(
    rb"<meta\b[^>]*\bcharset\s*=\s*[\"']?\s*([\w.:-]+)|\A\s*<\?xml[^>]*\bencoding=[\"']([\w.:-]+)",
    re.I,
)
_CHARSET_BYTES = 4096
# What browsers take the narrower name for (WHATWG Encoding Standard).
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_CHARSET = re.compile(
    r"ascii|utf-8|iso8859|cp\d|gb|hz$|big5|shift|euc_|koi8|mac-|iso2022|tis|johab"
)
# What follows these is content still, as browsers show it, but libxml2 would leave it out.
_REMOVED = re.compile(r"</(?:body|html)\s*>", re.I)
# Old pages leave these open, so that each would be nested in the one before.
_UNMARKED = re.compile(r"</?font\b[^<>]*>|<a\b(?![^<>]*\bhref)[^<>]*>", re.I)
# libxml2 stops a little later.
_MOST_NESTING = 2_000


def decode_markup(data: bytes, source: str, config: SourcesConfig) -> str:
    """The markup in the encoding it declares, or else as all text is decoded."""
    found = _DECLARED_CHARSET.search(data[:_CHARSET_BYTES])
    marked = data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if found and not marked:
        try:
            name = codecs.lookup((found[1] or found[2]).decode("ascii")).name
            # Python knows encodings that are none of the web's and costly to decode.
            if _CHARSET.match(name):
                data = data.decode(_WIDER.get(name, name)).encode()
        except (LookupError, UnicodeError):
            # It is not what it says; perhaps it is UTF-8.
            pass
    return decode(data, source, config)


def parse(markup: str, source: str, config: SourcesConfig) -> Element | None:
    """The root of the tree, without comments; nothing where there are no elements."""
    from lxml import etree

    markup = _REMOVED.sub(" ", _UNMARKED.sub("", markup))
    parser = etree.HTMLParser(
        encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(markup.encode("utf-8", "replace"), parser)
    for error in parser.error_log.filter_from_fatals():
        if "depth" in error.message:
            raise refuse_depth(source, config)
        raise SourceError(source, f"cannot be read as HTML: {error.message.strip()}")
    return root


def most_nesting(config: SourcesConfig) -> int:
    """How deep elements may be nested."""
    return min(config.max_nesting, _MOST_NESTING)


def refuse_depth(source: str, config: SourcesConfig) -> SourceError:
    """The refusal of a page that nests elements deeper."""
    return SourceError(
        source,
        f"nests elements more than {most_nesting(config):,} deep, which no page does that is "
        "written to be read (`sources.max_nesting`)",
    )
