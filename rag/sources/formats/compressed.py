"""Read a single file that is compressed with gzip, bzip2 or xz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rag.config import SourcesConfig
from rag.errors import SourceError, first_line
from rag.sources.document import Member
from rag.sources.unpacking import (
    DAMAGE,
    UnpackBudget,
    is_damage,
    open_compressed,
    set_time,
    temporary_file,
    temporary_folder,
)

_TARS = frozenset({".tgz", ".tbz2", ".txz"})


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Member]:
    """Yield the decompressed file, under the file's name without its last suffix."""
    name = path.stem + (".tar" if path.suffix.lower() in _TARS else "")
    with temporary_folder() as folder, temporary_file(name, folder) as inner:
        broken = unpack(path, inner, source, config)
        if broken:
            raise SourceError(source, broken)
        yield Member(name, inner, alone=True)


def unpack(path: Path, inner: Path, source: str, config: SourcesConfig) -> str:
    """Decompress `path` to `inner`, and return how the data is damaged, or an empty string.

    What comes before the damage is kept in `inner`.

    Raises:
        SourceError: if the data is larger than the settings allow.
    """
    status = path.stat()
    stream = open_compressed(path)
    if stream is None:
        return "is not compressed, although its name says so: rename it"
    broken = ""
    with stream, inner.open("wb") as target:
        try:
            UnpackBudget(config).copy(stream, target, status.st_size, source)
        except EOFError:
            broken = "breaks off in the middle: fetch or copy it again"
        except DAMAGE as error:
            if not is_damage(error):
                raise
            broken = f"is damaged ({first_line(error)}): fetch or copy it again"
    set_time(inner, status.st_mtime)
    return broken
