"""`rag show` and `rag open`: look at what a citation names, here or in a browser."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli import options, output
from rag.cli.opening import open_rag, read_config
from rag.cli.terminal import say
from rag.errors import StoreError

if TYPE_CHECKING:
    from rag.engine import RAG
    from rag.types import Citation, Hit, Place

_LONGEST = 16 << 20


@click.command("show")
@click.argument("place", metavar="PLACE")
@options.index_options
@options.json_option
def show_command(place: str, as_json: bool) -> None:
    """Print a document of the index, or one of its passages.

    PLACE is a document's id or path, or the end of its path; after it may stand a line (:12), a
    page (:p3 or #page=3), a heading, as a citation prints them, or :START-END, which counts
    characters as in the JSON that `search` and `ask` print.
    """
    found = open_rag().locate(place)
    whole = (found.start, found.end) == (0, len(found.document.text))
    bounds = None if whole else (found.start, found.end)
    if as_json:
        passage = {} if whole else {"passage": found.document.text[found.start : found.end]}
        output.print_json({**output.as_json(found.document), **passage})
    else:
        output.print_document(found.document, bounds)


@click.command("open")
@click.argument("place", metavar="N|PLACE")
@click.option("--print", "only_print", is_flag=True, help="Print the address, and open nothing.")
@options.index_options
def open_command(place: str, only_print: bool) -> None:
    """Show a source in the browser, with the words marked.

    N is the number of a citation of the last answer (where none has it, the Nth is meant), or
    of a passage of the last search; PLACE is as for `rag show`. A page of a PDF is shown as it
    looks, a page of the web where it stands, anything else as text.
    """
    if re.fullmatch("[0-9]{1,6}", place):
        rag, found = _find_cited(int(place))
    else:
        rag = open_rag()
        found = rag.locate(place)
    address = rag.view(found)
    if not only_print:
        import webbrowser

        if not webbrowser.open(address):
            say("no browser can be opened here; this is where it is:", err=True)
    say(address)


def remember_citations(index: Path, citations: Iterable[Citation]) -> None:
    """Note what an answer cites, by its numbers, for `rag open N`."""
    _remember(index, [(c.number, c.document_id, c.start, c.end, c.quote) for c in citations])


def remember_hits(index: Path, hits: Iterable[Hit]) -> None:
    """Note what a search found, by its ranks, for `rag open N`."""
    _remember(index, [(h.rank, h.chunk.document_id, h.start, h.end, h.text) for h in hits])


def _remember(index: Path, shown: Iterable[tuple[int, str, int, int, str]]) -> None:
    """Note where texts stand, and not the texts. Where nothing can be written, nothing is."""
    from rag.private import make_folder, open_for_owner

    places = [(*where, _digest(text)) for *where, text in shown]
    with suppress(OSError):
        file = _last_file()
        make_folder(file.parent)
        draft = file.with_suffix(".draft")
        with open(draft, "w", encoding="utf-8", opener=open_for_owner) as opened:
            json.dump({"index": str(index.absolute()), "places": places}, opened)
        draft.replace(file)


def _find_cited(number: int) -> tuple[RAG, Place]:
    from rag.engine import RAG
    from rag.types import Place

    index, places = _read_last()
    found = next((each for each in places if each[0] == number), None)
    if found is None and 0 < number <= len(places):
        # A citation has the number of its passage: the first one may be [5].
        found = places[number - 1]
    if found is None:
        known = ", ".join(str(each[0]) for each in places) or "none"
        raise StoreError(f"the last answer has no citation {number} (it has: {known})")
    _, document_id, start, end, digest = found
    rag = RAG(index, config=read_config())
    document = rag.document(document_id)
    if _digest(document.text[start:end]) != digest:
        raise StoreError(f"{document.source}: has changed since the last answer: ask again")
    return rag, Place(document, start, end)


def _read_last() -> tuple[str, Sequence[tuple[int, str, int, int, str]]]:
    try:
        with _last_file().open("rb") as opened:
            noted: dict[str, Any] = json.loads(opened.read(_LONGEST))
        places = [
            (int(number), str(document), max(0, int(start)), max(0, int(end)), str(digest))
            for number, document, start, end, digest in noted["places"]
        ]
        return str(noted["index"]), places
    except FileNotFoundError:
        raise StoreError("there is no last answer: ask first, or name a document") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{_last_file()}: is damaged: ask again") from error


def _last_file() -> Path:
    if sys.platform == "linux":
        # What platformdirs returns; it takes longer to import than a daemon to answer.
        home = os.environ.get("XDG_STATE_HOME", "").strip() or os.path.expanduser("~/.local/state")  # noqa: PTH111
        return Path(home, "rag", "last.json")
    import platformdirs

    return Path(platformdirs.user_state_dir("rag"), "last.json")


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
