"""Write a page for the browser that shows a place with its words marked.

The page holds text, and pictures that were drawn in a confined process: nothing of a document is
run, or fetched, when it is opened.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from rag.config import SourcesConfig
from rag.errors import SourceError, StoreError
from rag.private import make_folder, open_for_owner
from rag.sources import DrawnPage, draw_page, find_copy, is_address, unpack_words
from rag.types import Document, Page, Place

# So much is shown on either side of what is marked.
_CHARACTERS_AROUND = 100_000
_SECONDS_KEPT = 86_400.0
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.2rem; overflow-wrap: anywhere }
pre { font: inherit; white-space: pre-wrap; overflow-wrap: anywhere }
pre.code { font-family: ui-monospace, monospace }
mark { background: #ffd54a; color: #000; scroll-margin-top: 30vh }
.sheet { position: relative; box-shadow: 0 0 6px #888 }
.sheet img { width: 100%; display: block }
.sheet i { position: absolute; background: #ffd54a; mix-blend-mode: multiply; scroll-margin: 30vh }
"""


def view(place: Place, path: str, folder: Path, config: SourcesConfig) -> str:
    """Write a page that shows a place, and return its address.

    A page of a PDF, or a picture, is drawn as it is, if the file at `path` (empty: it may not be
    read) is still there and holds the words; anything else is shown as the text that is stored.
    Pages in `folder` that are older than a day are removed.

    Raises:
        StoreError: if the page cannot be written.
    """
    document = place.document
    number = document.page_at(place.start)
    drawn = None
    note = ""
    if can_be_drawn(document) and number is not None and not path:
        note = "The page itself is not shown: you did not name its folder for this index here."
    elif can_be_drawn(document) and number is not None:
        text = document.text[place.start : place.end]
        try:
            drawn = draw_page(path, number, text, config, boxes_of(place))
        except SourceError as error:
            note = f"The page itself cannot be shown: the file {error.reason}."
        else:
            if not drawn.boxes:
                note = "The words are not found on this page: the file may have changed since."
    where = f"{document.source}, page {number}" if number is not None else document.source
    body = [f"<h1>{html.escape(where)}</h1>"]
    if document.heading_at(place.start):
        body.append(f"<p>{html.escape(' › '.join(document.heading_at(place.start)))}</p>")
    if note:
        body.append(f"<p><em>{html.escape(note)}</em></p>")
    if drawn is not None:
        body.append(_sheet(drawn))
    if drawn is None or not drawn.boxes:
        body.append(_text(place))
    page = (
        '<!doctype html><html><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{html.escape(where)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>"
    ).encode("utf-8", "replace")
    name = hashlib.sha256(page).hexdigest()[:32] + ".html"
    try:
        make_folder(folder)
        _remove_old(folder)
        with open(folder / name, "wb", opener=open_for_owner) as file:
            file.write(page)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return f"{(folder / name).absolute().as_uri()}#here"


def can_be_drawn(document: Document) -> bool:
    """Say whether a document's pages can be shown as they are."""
    return document.media_type == "application/pdf" or document.media_type.startswith("image/")


def boxes_of(place: Place) -> list[tuple[float, float, float, float]]:
    """Return where the words of a place stand on its scanned page, a box for a run of words."""
    found: list[tuple[float, float, float, float]] = []
    page = next((each for each in place.document.pages if _is_on(place.start, each)), None)
    if page is None or not page.words:
        return found
    for word in unpack_words(page.words):
        if page.start + word.end <= place.start or page.start + word.start >= place.end:
            continue
        left, top, right, bottom = word.box
        last = found[-1] if found else None
        if last and min(last[3], bottom) - max(last[1], top) > 0.5 * (bottom - top) > 0:
            found[-1] = (
                min(last[0], left), min(last[1], top), max(last[2], right), max(last[3], bottom),
            )  # fmt: skip
        else:
            found.append(word.box)
    return found


def _is_on(offset: int, page: Page) -> bool:
    return page.start <= offset < page.end


def find_file(path: str, source: str, index: Path, roots: Iterable[Root]) -> str:
    """Return the file that a document came from: what was fetched of it, if it has an address."""
    if not is_address(source):
        return path
    return find_copy(index, [root.path for root in roots], source) or path


class Root(Protocol):
    """A folder, file or address that an index follows."""

    @property
    def path(self) -> str: ...


def _text(place: Place) -> str:
    text, start, end = place.document.text, place.start, place.end
    if (start, end) == (0, len(text)):
        start = end = 0
    first, last = max(0, start - _CHARACTERS_AROUND), min(len(text), end + _CHARACTERS_AROUND)
    shown = [html.escape(part) for part in (text[first:start], text[start:end], text[end:last])]
    before, after = "…\n" if first else "", "\n…" if last < len(text) else ""
    kind = ' class="code"' if place.document.verbatim else ""
    # A browser drops the first line break in it.
    return (
        f'<pre{kind}>\n{before}{shown[0]}<mark id="here">{shown[1]}</mark>{shown[2]}{after}</pre>'
    )


def _sheet(drawn: DrawnPage) -> str:
    boxes = []
    for at, (left, top, right, bottom) in enumerate(drawn.boxes):
        place = f"left:{left:.3%};top:{top:.3%};width:{right - left:.3%};height:{bottom - top:.3%}"
        boxes.append(f'<i{"" if at else " id=here"} style="{place}"></i>')
    data = base64.b64encode(drawn.png).decode()
    picture = f'<img alt="" src="data:image/png;base64,{data}">'
    return f'<div class="sheet">{picture}{"".join(boxes)}</div>'


def _remove_old(folder: Path) -> None:
    with os.scandir(folder) as listing:
        for entry in listing:
            if entry.name.endswith(".html") and not entry.is_dir(follow_symlinks=False):
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if age > _SECONDS_KEPT:
                    Path(entry.path).unlink(missing_ok=True)
