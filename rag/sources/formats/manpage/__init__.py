"""Read manual pages in man(7) and mdoc(7), rendered as far as reading them requires."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import TextBuilder, draft
from rag.sources.formats.manpage.roff import Roff
from rag.sources.formats.text import decode
from rag.types import Document

_CODING = re.compile(rb"-\*-.*?coding:\s*([\w.-]+)")
_DESCRIPTION = re.compile(r"\s+[-–—]+\s+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a manual page as one document; a page that only names another page is skipped."""
    roff = Roff(_decode(path.read_bytes(), source, config))
    roff.run()
    builder, mdoc = roff.page.builder, roff.mdoc
    if not builder.text.strip() and roff.alias:
        raise SourceError(
            source, f"is only another name of the page {roff.alias!r}", kind="skipped"
        )
    name, section, date = [*(mdoc.title or roff.man.title), "", "", ""][:3]
    own_name, description = mdoc.name, mdoc.description
    if not description:
        own_name, description = _describe(builder)
    # By custom the title gives the name in capitals, and the description gives it as it is.
    name = own_name if own_name.lower() == name.lower() else name
    shown = f"{name}({section})" if name and section else name
    date = mdoc.date or date
    yield draft(
        source,
        builder.text,
        title=" — ".join(part for part in (shown, description) if part),
        media_type="text/troff",
        markup="markdown",
        metadata={"section": section, "modified": date if _DATE.fullmatch(date) else ""},
        headings=builder.headings,
    )


def _describe(builder: TextBuilder) -> tuple[str, str]:
    """Return the name and the description in the first section, which are `name - description`."""
    if not builder.headings:
        return "", ""
    first, *others = builder.headings
    end = others[0].start if others else None
    paragraph = builder.text[first.end : end].strip().partition("\n\n")[0]
    names, *described = _DESCRIPTION.split(paragraph, maxsplit=1)
    return (names.partition(",")[0].strip(), described[0]) if described else ("", "")


def _decode(data: bytes, source: str, config: SourcesConfig) -> str:
    try:
        return decode(data, source, config)
    except SourceError:
        # roff itself takes a page that declares nothing for Latin-1.
        coding = _CODING.search(data[:1000])
        try:
            text = data.decode(coding[1].decode() if coding else "latin-1")
        except (LookupError, UnicodeDecodeError):
            text = data.decode("latin-1")
        if "\0" in text:
            raise
        return text
