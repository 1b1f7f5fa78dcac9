"""Read mailboxes in mbox format, one message at a time, however large the file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rag.config import SourcesConfig
from rag.errors import SourceError, first_line
from rag.sources.document import Member
from rag.sources.formats import mail
from rag.types import Document, Problem

# The line `From sender date` before a message. A line of a body that begins with `From` has no time
# and year.
_START = re.compile(rb"From .*\d\d:\d\d.*\d{4}")
_LONGEST_START = 500
_LONGEST_PIECE = 1 << 16


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document | Member | Problem]:
    """Yield each message as a document under its Message-ID, with its attachments.

    The standard library's `mailbox` opens the file for writing, and lists all of it before it
    returns the first message. Here only one message is in memory at a time.
    """
    modified = path.stat().st_mtime
    seen: set[bytes] = set()
    with path.open("rb") as file:
        for number, data in enumerate(_split_messages(file, source, config), start=1):
            if data is None:
                yield Problem(
                    f"{source}#{number}",
                    f"message {number} is larger than {config.max_file_mb:,} MB "
                    "(`sources.max_file_mb`)",
                )
                continue
            try:
                yield from _read_message(data, source, config, seen, modified)
            except (OSError, MemoryError):
                raise
            # A parser may raise anything on a damaged message, which must cost no other message.
            except Exception as error:  # noqa: BLE001
                reason = error.reason if isinstance(error, SourceError) else first_line(error)
                yield Problem(f"{source}#{number}", f"message {number} cannot be read: {reason}")


def _read_message(
    data: bytes, source: str, config: SourcesConfig, seen: set[bytes], modified: float
) -> Iterator[Document | Member | Problem]:
    message = mail.parse_message(data)
    digest = hashlib.sha256(data).hexdigest()[:16]
    key = mail.read_message_id(message) or digest
    if _is_repeated(digest, seen):
        yield Problem(f"{source}#{key}", "is a copy of an earlier message", "skipped")
        return
    if key != digest and _is_repeated(key, seen):
        key = f"{key}-{digest}"
    yield mail.message_to_document(message, source, config, key=key)
    yield from mail.unpack_attachments(message, source, config, modified=modified, key=key)


def _is_repeated(key: str, seen: set[bytes]) -> bool:
    short = hashlib.sha256(key.encode()).digest()[:12]
    known = short in seen
    seen.add(short)
    return known


def _split_messages(file: BinaryIO, source: str, config: SourcesConfig) -> Iterator[bytes | None]:
    """Yield the bytes of each message, or None for a message that is too large."""
    most = config.max_file_mb << 20
    message: bytearray | None = None
    too_large, after_blank, line_start = False, True, True
    while piece := file.readline(_LONGEST_PIECE):
        if line_start and after_blank and _START.match(piece[:_LONGEST_START]):
            if message is not None:
                yield None if too_large else bytes(message)
            message, too_large = bytearray(), False
        elif message is None:
            if piece.strip():
                raise SourceError(
                    source, "is not a mailbox: it does not begin with a line `From sender date`"
                )
        elif len(message) + len(piece) > most:
            too_large = True
            message.clear()
        elif not too_large:
            message += piece
        after_blank = line_start and piece in (b"\n", b"\r\n")
        line_start = piece.endswith(b"\n")
    if message is not None:
        yield None if too_large else bytes(message)
