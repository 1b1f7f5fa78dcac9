"""Files that callers send: taken in whole, under a name that leads nowhere else."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from rag import private
from rag.errors import SourceError
from rag.serving.http.access import Refused
from rag.serving.http.collections import Collection, Collections

_LONGEST_NAME = 180
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|\ud800-\udfff]+")
# So much of the disk stays free.
_SPARE_BYTES = 64 << 20


def folder_of(collections: Collections, collection: Collection) -> Path:
    """Return the folder that keeps a collection's uploads."""
    return collections.state / "files" / collection.name


def name_of(source: str) -> str:
    """Return what is shown of a source to those who may not know the server's folders."""
    return source if "://" in source else Path(source).name


def check_name(name: str) -> str:
    """Return the name of a file as it is kept.

    Raises:
        Refused: if nothing is left of it.
    """
    kept = _UNFIT.sub("_", name).strip(" .")
    while len(kept.encode()) > _LONGEST_NAME:
        stem, dot, suffix = kept.rpartition(".")
        kept = f"{stem[:-1]}{dot}{suffix}" if len(stem) > 1 else kept[:-1]
    if not kept.strip("_"):
        raise Refused(400, "the file has no name")
    return kept


async def take(request: Request, folder: Path, name: str, most: int) -> Path:
    """Write the body of a request as a file of `folder`, which is there once it is whole.

    Raises:
        Refused: if it is longer than `most` bytes, or the client went before its end.
        SourceError: if it cannot be written.
    """
    name = check_name(name)
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > most:
        raise Refused(413, f"a file has {most >> 20:,} MB at most")
    try:
        private.make_folder(folder)
        if shutil.disk_usage(folder).free - most // 16 < _SPARE_BYTES:
            raise Refused(507, "the server's disk is full")
        temporary = folder / f".{secrets.token_hex(12)}.part"
        try:
            length = 0
            with open(temporary, "xb", opener=private.open_for_owner) as opened:
                async for part in request.stream():
                    length += len(part)
                    if length > most:
                        raise Refused(413, f"a file has {most >> 20:,} MB at most")
                    opened.write(part)
                opened.flush()
                os.fsync(opened.fileno())
            if not length:
                raise Refused(400, "the file is empty")
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)
    except ClientDisconnect:
        raise Refused(400, "the file did not arrive whole") from None
    except OSError as error:
        raise SourceError(name, f"cannot be kept: {error.strerror}") from error
    return folder / name
