"""A span of a passage -> its quote, which the document has to hold."""

from __future__ import annotations

from rag.errors import StoreError
from rag.types import Document, Hit


def checked_quote(hit: Hit, start: int, end: int, document: Document) -> str:
    """`hit.text[start:end]`, if the stored document holds the same at its place.

    Raises:
        StoreError: if it does not.
    """
    quote = document.text[hit.start + start : hit.start + end]
    if quote != hit.text[start:end]:
        raise StoreError(
            f"{hit.source}: its passage at {hit.start}-{hit.end} is not what the stored "
            "document holds there: index it again with `rag index --rebuild`"
        )
    return quote
