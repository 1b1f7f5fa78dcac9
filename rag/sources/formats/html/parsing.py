"""Decode HTML in the encoding that it declares, and parse it into a tree of elements."""

from __future__ import annotations

import codecs
import re

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.encodings import decode_labelled
from rag.sources.formats.html.elements import Element
from rag.sources.formats.text import decode

_DECLARED_CHARSET = re.compile(
    rb"<meta\b[^>]*\bcharset\s*=\s*[\"']?\s*([\w.:-]+)|\A\s*<\?xml[^>]*\bencoding=[\"']([\w.:-]+)",
    re.I,
)
_CHARSET_BYTES = 4096
# libxml2 would leave out what follows these tags, but browsers show it.
_REMOVED = re.compile(r"</(?:body|html)\s*>", re.I)
# Old pages never close these tags, so that each would be nested in the one before.
_UNMARKED = re.compile(r"</?font\b[^<>]*>|<a\b(?![^<>]*\bhref)[^<>]*>", re.I)
# libxml2 gives up a little later.
_MOST_NESTING = 2_000


def decode_markup(data: bytes, source: str, config: SourcesConfig) -> str:
    """Decode markup in the encoding it declares, or else as any text is decoded."""
    marked = data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = None if marked else decode_declared(data)
    # If the declaration is wrong, the text may still be UTF-8.
    return decode(data if text is None else text.encode("utf-8", "replace"), source, config)


def decode_declared(data: bytes) -> str | None:
    """Decode markup in the encoding that it declares; None if there is none, or it is wrong."""
    found = _DECLARED_CHARSET.search(data[:_CHARSET_BYTES])
    return decode_labelled(data, (found[1] or found[2]).decode("ascii")) if found else None


def parse(markup: str, source: str, config: SourcesConfig) -> Element | None:
    """Parse markup and return the root of its tree, without comments; None without elements."""
    from lxml import etree

    markup = _REMOVED.sub(" ", _UNMARKED.sub("", markup))
    parser = etree.HTMLParser(
        encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(markup.encode("utf-8", "replace"), parser)
    for error in parser.error_log.filter_from_fatals():
        if "depth" in error.message:
            raise nesting_error(source, config)
        raise SourceError(source, f"cannot be read as HTML: {error.message.strip()}")
    return root


def most_nesting(config: SourcesConfig) -> int:
    """Return how deep elements may be nested."""
    return min(config.max_nesting, _MOST_NESTING)


def nesting_error(source: str, config: SourcesConfig) -> SourceError:
    """Return the error for a page that nests elements too deeply."""
    return SourceError(
        source,
        f"nests elements more than {most_nesting(config):,} deep, which no page that people read "
        "does (`sources.max_nesting`)",
    )
