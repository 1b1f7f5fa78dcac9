"""Fetch what an address stands for into files that readers read: pages, sites, repositories.

An address is `https://...`, `git+https://...@revision`, or of a scheme that an installed package
brings (entry points of the group `rag.sources`). What a run fetched lies in a mirror, a folder in
the user's cache, from which `discover` takes it; the address stays what citations name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import SourceError, first_line, without_passwords
from rag.plugins import plugin
from rag.sources.addresses.mirror import Entry, Mirror, open_mirror, path_of, read_list
from rag.types import Problem

if TYPE_CHECKING:
    from rag.config import SourcesConfig
    from rag.protocols import Source

__all__ = ["Reach", "fetch", "find_copy", "is_address", "mirror_of", "normalize_address"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,40})://")
_WEB = ("http", "https")
_GIT = ("git+http", "git+https")


@dataclass(frozen=True, slots=True)
class Reach:
    """How far an address reaches: links deep, pages in all, and into private networks or not.

    `seconds` is the most for one page, `delay` the least between two requests to a server.
    """

    depth: int = 0
    pages: int = 500
    private: bool = False
    seconds: float = 30.0
    delay: float = 1.0


def is_address(path: str | Path) -> bool:
    """Return whether the user named an address, and not a path."""
    return isinstance(path, str) and _SCHEME.match(path) is not None


def normalize_address(address: str) -> str:
    """Return an address as it is stored and shown.

    Raises:
        SourceError: if nothing can fetch it.
    """
    scheme = _scheme_of(address)
    shown = without_passwords(address)
    if any(not each.isprintable() or each.isspace() for each in address.strip()):
        raise SourceError(shown, "is no address: it holds white space or a control character")
    if scheme in _WEB:
        from rag.sources.addresses.fetching import normalize

        return normalize(address.strip())
    if scheme in _GIT:
        from rag.sources.addresses.git import normalize_git

        return normalize_git(address.strip())
    _load_source(scheme, shown)
    if shown != address:
        raise SourceError(shown, "holds a password, which would stand in every citation")
    return address.strip().rstrip("/")


def mirror_of(index: Path, address: str) -> str:
    """Return the folder for what an index has fetched from an address."""
    key = f"{index.resolve()}\n{address}"
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return str(_folder_of_copies().resolve() / name)


def find_copy(index: Path, roots: Iterable[str], address: str) -> str:
    """Return where the copy of what was fetched from an address lies; empty if there is none.

    `roots` are what the index follows.
    """
    for root in filter(is_address, roots):
        folder = Path(mirror_of(index, root))
        for entry in read_list(folder):
            if entry.address == address:
                return str(path_of(folder, entry))
    return ""


def _folder_of_copies() -> Path:
    from rag.models import cache_dir

    return cache_dir() / "fetched"


def fetch(
    address: str,
    folder: str,
    reach: Reach,
    config: SourcesConfig,
    takes: Callable[[str], bool],
    show: Callable[[str], None],
) -> Iterator[Problem]:
    """Bring the mirror in `folder` to the state of an address, and yield what was not fetched.

    What is gone at the source is gone from the mirror afterwards. `takes` says whether the user's
    patterns let a thing in, by its path there; `show` is told of each request.

    Raises:
        SourceError: if the address as a whole cannot be fetched; the mirror stays as it is.
    """
    with open_mirror(Path(folder), address) as mirror:
        yield from _gather(address, mirror, reach, config, takes, show)
        mirror.prune()


def _gather(
    address: str,
    mirror: Mirror,
    reach: Reach,
    config: SourcesConfig,
    takes: Callable[[str], bool],
    show: Callable[[str], None],
) -> Iterator[Problem]:
    scheme = _scheme_of(address)
    if scheme not in (*_WEB, *_GIT):
        yield from _gather_items(_load_source(scheme, address), address, mirror, config, show)
        return
    from rag.sources.addresses import git, web
    from rag.sources.addresses.fetching import Fetcher

    most = config.max_file_mb << 20
    fetcher = Fetcher(
        private=reach.private,
        seconds=reach.seconds,
        delay=reach.delay,
        most_bytes=most,
        most_in_all=config.max_container_mb << 20,
    )
    try:
        if scheme in _GIT:
            most_bytes = config.max_container_mb << 20
            yield from git.gather(
                *(address, mirror, fetcher),
                takes=takes, most_file=most, most_bytes=most_bytes, show=show,
            )  # fmt: skip
        else:
            yield from web.gather(
                *(address, mirror, fetcher),
                depth=reach.depth, pages=reach.pages, takes=takes, show=show,
            )  # fmt: skip
    finally:
        fetcher.close()


def _gather_items(
    source: Source,
    address: str,
    mirror: Mirror,
    config: SourcesConfig,
    show: Callable[[str], None],
) -> Iterator[Problem]:
    """Bring a mirror to the state of a source that an installed package reads."""
    most, left = config.max_file_mb << 20, config.max_container_mb << 20
    try:
        for item in source(address):
            show(item.address)
            if left < 0:
                reason = f"has more than {config.max_container_mb:,} MB"
                raise SourceError(address, f"{reason} (`sources.max_container_mb`)", lasting=False)
            known = mirror.find(item.address)
            if known is not None and item.version and known.version == item.version:
                mirror.keep(item.address)
                continue
            entry = Entry(item.address, item.name, version=item.version)
            try:
                copy = mirror.put(entry, _bound(item.read(), most), modified=item.modified)
                left -= mirror.path_of(copy).stat().st_size
            except SourceError as error:
                mirror.keep(item.address)
                yield Problem(item.address, error.reason, error.kind, lasting=False)
    except SourceError:
        raise
    except Exception as error:
        # Whatever a package of others raises must cost this address and no other.
        reason = f"cannot be fetched: {first_line(error)[:200]}"
        raise SourceError(address, reason, lasting=False) from error


def _bound(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    taken = 0
    for piece in pieces:
        taken += len(piece)
        if taken > most:
            raise SourceError("", f"has more than {most >> 20:,} MB (`sources.max_file_mb`)")
        yield piece


def _scheme_of(address: str) -> str:
    found = _SCHEME.match(address.strip())
    return found[1].lower() if found else ""


def _load_source(scheme: str, shown: str) -> Source:
    source: Source | None = plugin("rag.sources", scheme)
    if source is None:
        raise SourceError(
            shown,
            f"nothing installed reads addresses that begin with {scheme}:// (what can: https://, "
            "git+https://, and packages with an entry point of the group `rag.sources`)",
        )
    return source
