"""Which generators were measured to answer better than a quotation, and how well."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from rag.models.naming import model_name


@dataclass(frozen=True, slots=True)
class Figure:
    """How many of `of` answers were right on the questions that `data` describes.

    `extract` is how many the extract got right of the same, if that was measured.
    """

    data: str
    right: int
    of: int
    extract: int | None = None


@dataclass(frozen=True, slots=True)
class Writer:
    """What was measured of a generator, and whether `auto` lets it write."""

    writes: bool
    figures: tuple[Figure, ...]

    @property
    def right(self) -> float:
        """The share of right answers on all data together."""
        return sum(each.right for each in self.figures) / sum(each.of for each in self.figures)


@cache
def measured_writers() -> dict[str, Writer]:
    """Return what was measured of each generator, by the name by which it is known."""
    table = Path(__file__).with_name("writers.toml").read_bytes()
    return msgspec.toml.decode(table, type=dict[str, Writer])


def answers_better(spec: str, trusted: Collection[str] = ()) -> bool:
    """Tell whether a generator was measured to answer better than a quotation.

    `spec` gives it as `resolve` takes it. `trusted` are generators that the user measured: as they
    are given, or by the name by which they are known.
    """
    name = model_name(spec)
    if not {spec, name}.isdisjoint({*trusted, *map(model_name, trusted)}):
        return True
    found = measured_writers().get(name)
    return found is not None and found.writes
