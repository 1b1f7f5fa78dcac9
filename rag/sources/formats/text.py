"""Read plain text, and decode the bytes of all text formats."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.config import SourcesConfig
from rag.errors import ConfigError, SourceError
from rag.sources.document import draft
from rag.sources.encodings import find_wide_encoding
from rag.types import Document

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HEAD = 4096
# A picture or other data that is written into the text: what says so is left of it.
_DATA = re.compile(
    r"(\bdata:[\w.+-]{1,80}/[\w.+-]{1,80}(?:;[\w.+-]{1,80}=[^;,\s]{1,80}){0,4};base64,)"
    r"[A-Za-z0-9+/=_%\\-]{64,}"
)
SAY_ENCODING = (
    'say what it is with `sources.encodings` (such as `["*.csv = windows-1252"]`), or for all '
    "files with `sources.encoding`"
)


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a text file as one document, as it is."""
    text = decode(path.read_bytes(), source, config)
    yield draft(source, text, media_type="text/plain", verbatim=True)


def line_starts(text: str) -> list[int]:
    r"""Return where each line begins, and where a line after the last would; only `\n` ends one."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts


def fence_code(code: str, language: str) -> str:
    """Return a fenced block of code as Markdown; an empty string for blank code."""
    if not code.strip():
        return ""
    # The fence must be longer than any fence within the code.
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def decode(data: bytes, source: str, config: SourcesConfig) -> str:
    r"""Decode the text of a file; line ends become `\n`, and pictures within it are cut out.

    The encoding is the one of the byte order mark, else UTF-8 or UTF-16, else `config.encoding`.

    Raises:
        SourceError: if the bytes are not text in that encoding.
    """
    mark, encoding = next(
        ((mark, encoding) for mark, encoding in _MARKS if data.startswith(mark)),
        (b"", find_wide_encoding(data[:_HEAD]) or "utf-8"),
    )
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if mark or not config.encoding:
            at = error.start + len(mark)
            raise SourceError(
                source,
                f"is not valid {encoding.upper()} (byte 0x{data[at]:02x} at offset {at}): "
                f"convert it to UTF-8, or {SAY_ENCODING}",
            ) from error
        with naming_encoding(config.encoding, source):
            text = data.decode(config.encoding)
    if "\0" in text:
        raise SourceError(source, "holds NUL characters: it is binary, or in another encoding")
    return _DATA.sub(r"\1", text.replace("\r\n", "\n").replace("\r", "\n"))


@contextmanager
def naming_encoding(encoding: str, source: str) -> Iterator[None]:
    """Turn errors of decoding in the configured encoding into errors that name it."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SourceError(
            source, f"is neither valid UTF-8 nor valid {encoding} (`sources.encoding`)"
        ) from error
    except LookupError as error:
        raise ConfigError(
            f"`sources.encoding` or `sources.encodings`: there is no encoding {encoding!r}"
        ) from error
