"""A model's name -> its files -> what a library makes of them, on a device."""

from rag.models.catalogue import CATALOGUE, CatalogueEntry, Kind
from rag.models.fetching import (
    LocalModel,
    Origin,
    cache_dir,
    is_pulled,
    pull,
    resolve,
    without_progress_bars,
)
from rag.models.vectors import check_finite, unit

__all__ = [
    "CATALOGUE",
    "CatalogueEntry",
    "Kind",
    "LocalModel",
    "Origin",
    "cache_dir",
    "check_finite",
    "is_pulled",
    "pull",
    "resolve",
    "unit",
    "without_progress_bars",
]
