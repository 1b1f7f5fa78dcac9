"""Plain text, and the decoding that all text formats share."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from rag.errors import SourceError
from rag.sources.identity import file_document
from rag.types import Document

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read(path: Path, source: str) -> Iterator[Document]:
    """A text file as one document, verbatim."""
    text = decode(path.read_bytes(), source)
    yield file_document(path, source, text, title="", media_type="text/plain", verbatim=True)


def line_starts(text: str) -> list[int]:
    r"""Where each line begins, and where one after the last would; `\n` alone ends a line."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts


def decode(data: bytes, source: str) -> str:
    r"""The text of a file: UTF-8, or what its byte order mark says; line ends become `\n`.

    Raises:
        SourceError: if the bytes are not text in that encoding.
    """
    mark, encoding = next(
        ((mark, encoding) for mark, encoding in _MARKS if data.startswith(mark)), (b"", "utf-8")
    )
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        at = error.start + len(mark)
        raise SourceError(
            source,
            f"is not valid {encoding.upper()} (byte 0x{data[at]:02x} at offset {at}): "
            "convert it, for instance with `iconv -f latin1 -t utf-8`",
        ) from error
    if "\0" in text:
        raise SourceError(source, "holds NUL characters: it is binary, or not the text it claims")
    return text.replace("\r\n", "\n").replace("\r", "\n")
