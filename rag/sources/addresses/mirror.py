"""Copies of what was fetched from one address: a folder of the user's own cache.

Readers work on files, and a later run asks only for what has changed. An entry is a file
`HASH/NAME`, whose hash is that of its address; which there are, and of which version, stands in
`list.json`. The folder may be thrown away at any time: then everything is fetched again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rag.errors import SourceError

_LIST = "list.json"
_UNSAFE = re.compile(r"[^\w .()+,=@~-]")
_LONGEST_NAME = 120
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A copy: its address, the name of its file, and its version as the source tells versions.

    `last_modified` and `media_type` are what a web server says of it besides, and `base` is the
    address that answered in the end.
    """

    address: str
    name: str
    version: str = ""
    last_modified: str = ""
    media_type: str = ""
    base: str = ""


class Mirror:
    """The copies of what was fetched from one address; what no run confirms goes with `prune`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, Entry] = {entry.address: entry for entry in read_list(folder)}
        self._confirmed: set[str] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, address: str) -> Entry | None:
        """Return the copy of an address, if there is one whose file is there."""
        entry = self._entries.get(address)
        return entry if entry and self.path_of(entry).is_file() else None

    def path_of(self, entry: Entry) -> Path:
        """Return where a copy lies."""
        return path_of(self.folder, entry)

    def keep(self, address: str) -> None:
        """Confirm the copy of an address as it is."""
        if address in self._entries:
            self._confirmed.add(address)

    def keep_all(self, *, but: Collection[str] = ()) -> None:
        """Confirm all copies `but` some: what the source holds could not be learnt."""
        self._confirmed.update(self._entries)
        self._confirmed.difference_update(but)

    def take_back(self, address: str) -> None:
        """Confirm a copy no longer: it is no document, but a list of others."""
        self._confirmed.discard(address)

    def base_of(self, address: str) -> str:
        """Return the address that the links of a copy are relative to."""
        entry = self._entries.get(address)
        return (entry and entry.base) or address

    def put(self, entry: Entry, pieces: Iterable[bytes], *, modified: float | None = None) -> Entry:
        """Copy what comes in `pieces`; a file with the same bytes stays as it is.

        `modified` is when the source changed it, in seconds since 1970.

        Raises:
            OSError: if it cannot be written. Whatever `pieces` raises leaves the copy before.
        """
        before = self._entries.get(entry.address)
        entry = replace(entry, name=file_name(entry.name))
        path = self.path_of(entry)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=self.folder)
        try:
            digest = hashlib.sha256()
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
            if modified is not None:
                # The fraction of the second tells contents apart that claim the same time.
                fraction = int.from_bytes(digest.digest()[:8], "big") % _SECOND
                stamp = int(modified) * _SECOND + fraction
                os.utime(draft, ns=(stamp, stamp))
            if not _holds(path, digest.digest()):
                Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
        if before is not None and before.name != entry.name:
            self.path_of(before).unlink(missing_ok=True)
        self._entries[entry.address] = entry
        self._confirmed.add(entry.address)
        return entry

    def prune(self) -> None:
        """Remove the copies that were neither put nor confirmed."""
        for address in set(self._entries) - self._confirmed:
            shutil.rmtree(self.path_of(self._entries.pop(address)).parent, ignore_errors=True)

    def save(self) -> None:
        """Write the list of copies."""
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=self.folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump([asdict(entry) for entry in self._entries.values()], file)
        Path(draft).replace(self.folder / _LIST)


@contextmanager
def open_mirror(folder: Path, source: str) -> Iterator[Mirror]:
    """Open the mirror in a folder, which is made if need be, for one process at a time.

    Raises:
        SourceError: naming `source`, if it cannot be written, or another process fetches it.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            mirror = Mirror(folder)
            try:
                yield mirror
            finally:
                mirror.save()
    except Timeout as error:
        reason = "is being fetched by another process: wait for it, and run again"
        raise SourceError(source, reason, lasting=False) from error
    except OSError as error:
        reason = f"cannot be copied to {folder}: {error.strerror or error}"
        raise SourceError(source, reason, lasting=False) from error


def read_list(folder: Path) -> list[Entry]:
    """Return the copies in a folder, in the order of their addresses; none if there is no list."""
    try:
        listed = json.loads((folder / _LIST).read_text(encoding="utf-8"))
        found = [Entry(**fields) for fields in listed]
    except (OSError, ValueError, TypeError, RecursionError):
        return []
    return sorted(
        (entry for entry in found if all(isinstance(each, str) for each in asdict(entry).values())),
        key=lambda entry: entry.address,
    )


def path_of(folder: Path, entry: Entry) -> Path:
    """Return where in a mirror's folder a copy lies."""
    digest = hashlib.sha256(entry.address.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return folder / digest / file_name(entry.name)


def file_name(name: str) -> str:
    """Return a name that a file can have everywhere, with the same suffix."""
    plain = _UNSAFE.sub("_", name).strip(". ") or "page"
    stem, dot, suffix = plain.rpartition(".")
    if not dot:
        return plain[:_LONGEST_NAME]
    return f"{stem[: _LONGEST_NAME - len(suffix[:20])] or 'page'}.{suffix[:20]}"


def _holds(path: Path, digest: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() == digest
    except OSError:
        return False
