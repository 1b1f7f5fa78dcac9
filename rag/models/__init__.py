"""A model's name -> its files -> what a library makes of them, on a device."""

from rag.models.cache import cache_dir
from rag.models.catalogue import CATALOGUE, CatalogueEntry, Kind, Speed
from rag.models.fetching import (
    LocalModel,
    Origin,
    is_pulled,
    locate,
    pull,
    resolve,
    without_progress_bars,
)
from rag.models.listing import ListedModel, Listing, list_models
from rag.models.naming import model_name
from rag.models.speeds import keep_speed, measured_speed
from rag.models.vectors import check_finite, unit
from rag.models.writers import answers_better

__all__ = [
    "CATALOGUE",
    "CatalogueEntry",
    "Kind",
    "ListedModel",
    "Listing",
    "LocalModel",
    "Origin",
    "Speed",
    "answers_better",
    "cache_dir",
    "check_finite",
    "is_pulled",
    "keep_speed",
    "list_models",
    "locate",
    "measured_speed",
    "model_name",
    "pull",
    "resolve",
    "unit",
    "without_progress_bars",
]
