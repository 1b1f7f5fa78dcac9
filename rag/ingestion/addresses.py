"""Fetch what the addresses of an index stand for, if the user named them for it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from rag import sources
from rag.config import Config
from rag.errors import SourceError
from rag.index import Index
from rag.ingestion.tally import Tally
from rag.sources import Reach, Root
from rag.trust import forget_address, named_addresses, remember_address
from rag.types import Problem


def update(
    index: Index, config: Config, roots: Sequence[Root], tally: Tally, *, named: bool
) -> dict[str, Problem]:
    """Fetch what is at the addresses among `roots`; return the problems of whole ones, by path.

    Args:
        named: the user names the roots in this run; otherwise the index does, which may have come
            from somebody else. Then only what was named on this machine before is fetched.

    Raises:
        SourceError: if one that is named cannot be fetched, and never was.
        ConfigError: if what the user named cannot be remembered.
    """
    missed = {}
    for root in roots:
        if not root.mirror:
            continue
        try:
            reach = _chosen(config) if named else _remembered(index, root)
            if named:
                remember_address(index.directory, root.path, asdict(reach))
            takes = partial(sources.takes, root)
            for problem in sources.fetch(
                root.path, root.mirror, reach, config.sources, takes, tally.show
            ):
                tally.note(problem)
        except SourceError as error:
            if named and not any(sources.discover([root])):
                raise
            missed[root.path] = Problem(root.source, error.reason, error.kind, lasting=False)
    return missed


def forget(index: Index, path: str) -> None:
    """Remove what was fetched from an address, which the user names no more."""
    if sources.is_address(path):
        forget_address(index.directory, path)
        shutil.rmtree(sources.mirror_of(index.directory, path), ignore_errors=True)


def _chosen(config: Config) -> Reach:
    chosen = config.fetching
    return Reach(chosen.depth, chosen.pages, chosen.allow_private, chosen.seconds, chosen.delay)


def _remembered(index: Index, root: Root) -> Reach:
    known: dict[str, Any] | None = named_addresses(index.directory).get(root.path)
    if known is None:
        raise SourceError(
            root.source,
            f"was not fetched: nobody named it for this index here. Run `rag index {root.source}` "
            "if you want it",
            lasting=False,
        )
    try:
        return Reach(**known)
    except TypeError as error:
        raise SourceError(root.source, "has to be named again: `rag index ADDRESS`") from error
