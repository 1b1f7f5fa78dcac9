"""A single file behind gzip, bzip2 or xz."""

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
    """What was compressed, under the file's name without the last suffix."""
    name = path.stem + (".tar" if path.suffix.lower() in _TARS else "")
    with temporary_folder() as folder, temporary_file(name, folder) as inner:
        broken = unpack(path, inner, source, config)
        if broken:
            raise SourceError(source, broken)
        yield Member(name, inner, alone=True)


def unpack(path: Path, inner: Path, source: str, config: SourcesConfig) -> str:
    """Decompress `path` to `inner`; says how it breaks off, what came before that being kept.

    Raises:
        SourceError: if it is too much.
    """
    status = path.stat()
    stream = open_compressed(path)
    if stream is None:
        return "is not compressed, whatever its name says: rename it"
    broken = ""
    with stream, inner.open("wb") as target:
        try:
            UnpackBudget(config).copy(stream, target, status.st_size, source)
        except EOFError:
            broken = "breaks off in the middle: fetch or copy it anew"
        except DAMAGE as error:
            if not is_damage(error):
                raise
            broken = f"is damaged ({first_line(error)}): fetch or copy it anew"
    set_time(inner, status.st_mtime)
    return broken
