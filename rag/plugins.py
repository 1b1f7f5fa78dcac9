"""Look up what other packages add: entry points by group and name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Group = Literal["rag.embedders", "rag.generators", "rag.rerankers", "rag.readers", "rag.sources"]


def plugin(group: Group, name: str) -> Any:
    """Load what an installed package offers under `name`; return None if none does."""
    entry = plugins(group).get(name)
    return None if entry is None else entry.load()


def plugins(group: Group) -> Mapping[str, EntryPoint]:
    """Return the entry points of `group` by name, without loading them."""
    return _plugins_on(group, tuple(sys.path))


@lru_cache(maxsize=16)
def _plugins_on(group: Group, _: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    # The result is cached: looking through all installed packages takes a while.
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=group)}
