"""The number of commits that an index has seen, noted outside of its database.

SQLite believes its log up to the first damaged frame, and forgets what came after without a word.
A log that was deleted, or an older copy of the database, goes unnoticed likewise. So the number of
commits in the database must not be lower than the number that is noted here.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from rag.errors import StoreError
from rag.index.disk import files, steps

NAME = "commits"
_SLOT = 64
_DIGITS = 20


def note(directory: Path, commits: int) -> None:
    """Note a commit durably, once SQLite has it and before it is acknowledged.

    Two slots take turns: while one is written, the other still holds the commit before. The first
    note fills both.
    """
    text = f"{commits:>{_DIGITS}}"
    record = f"{text} {zlib.crc32(text.encode()):08x}".ljust(_SLOT - 1) + "\n"
    path = directory / NAME
    if path.exists():
        steps.overwrite(path, commits % 2 * _SLOT, record.encode())
    else:
        steps.overwrite(path, 0, 2 * record.encode())


def read(directory: Path) -> int:
    """Return the number that was noted last; 0 if there is none, or it cannot be read."""
    try:
        data = files.read(directory / NAME, 2 * _SLOT)
    except OSError:
        return 0
    return max(_number(data[at : at + _SLOT]) for at in (0, _SLOT))


def is_whole(directory: Path) -> bool:
    """Return whether both slots can be read."""
    try:
        data = files.read(directory / NAME, 2 * _SLOT + 1)
    except OSError:
        return False
    return len(data) == 2 * _SLOT and all(_number(slot) for slot in (data[:_SLOT], data[_SLOT:]))


def check(directory: Path, commits: int, least: int) -> None:
    """Raise StoreError if a database holds fewer commits than were noted before it was opened.

    Raises:
        StoreError: if commits are missing.
    """
    if commits < least:
        raise StoreError(
            f"{directory}: {least - commits} of its {least} commits are lost, as when its log "
            "is damaged or an older index.sqlite was put back: bring back a copy, or run "
            f"`rag doctor --repair --index {directory}` to go on with what is there"
        )


def _number(slot: bytes) -> int:
    number, _, digest = slot.rstrip().rpartition(b" ")
    if len(digest) != 8 or len(number) != _DIGITS or not number.strip().isdigit():
        return 0
    return int(number) if f"{zlib.crc32(number):08x}".encode() == digest else 0
