"""Say by which address a terminal or a browser opens a source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag.types import Place

_WEB = re.compile("https?://", re.I)
# What an address may hold as it is (RFC 3986); `%` stays, since it is encoded already.
_PLAIN = "%:/?#[]@!$&'()*+,;=~"
_WORDS_AT_AN_END = 5
_FEWEST_WORDS = 3
# What stored text writes of Markdown, and a page does not show.
_MARKUP = re.compile(r"^\s*(?:[#>|*+-]+|\d+\.)\s+|[`*|]+")
_LINK = re.compile(r"!?\[([^\]\n]{0,300})\]\([^)\n]{0,2000}\)")


def link_to(source: str, page: int | None = None, quoted: str = "") -> str:
    """Return the address of a source, at a page or some words of it; empty if nothing opens it.

    That is the address that was indexed, or that of the file if it is there. Words are given as a
    text fragment, which browsers scroll to and mark (WICG, Scroll to Text Fragment).
    """
    if _WEB.match(source):
        from urllib.parse import quote

        address = quote(source, safe=_PLAIN)
        if page:
            return f"{address}#page={page}"
        return f"{address}{_text_fragment(quoted)}"
    try:
        path = Path(source).absolute()
        address = path.as_uri() if path.is_file() else ""
    except (OSError, ValueError):
        return ""
    return f"{address}#page={page}" if address and page else address


def view_on_the_web(place: Place, path: str, index: Path) -> str:
    """Return the address of a place on a page of the web; empty if it is none.

    Only what the user named for the index counts: an index from elsewhere may name any address,
    and to open one in a browser is to ask its server.

    Raises:
        ConfigError: if it cannot be told what the user named.
    """
    # Not at import: `rag --help` needs none of it.
    from rag.trust import named_addresses

    source = place.document.source
    if not _WEB.match(source):
        return ""
    named = named_addresses(index)
    if not any(path == each or path.startswith(each.rstrip("/") + "/") for each in named):
        return ""
    text = place.document.text
    whole = (place.start, place.end) == (0, len(text))
    page = place.document.page_at(place.start)
    return link_to(source, page, "" if whole else text[place.start : place.end])


def _text_fragment(quoted: str) -> str:
    from urllib.parse import quote

    # A browser looks for each end within one block of the page, which shows no markup.
    lines = [_MARKUP.sub("", _LINK.sub(r"\1", line)).split() for line in quoted.splitlines()]
    lines = [words for words in lines if len(words) >= _FEWEST_WORDS] or [
        [each for words in lines for each in words]
    ]
    first, last = lines[0], lines[-1]
    if not first:
        return ""
    parts = [first]
    if len(lines) > 1 or len(first) > 2 * _WORDS_AT_AN_END:
        parts = [first[:_WORDS_AT_AN_END], last[-_WORDS_AT_AN_END:]]
    # Its own signs are `-`, `,` and `&`.
    shown = [quote(" ".join(each), safe="").replace("-", "%2D") for each in parts]
    return f"#:~:text={','.join(shown)}"
