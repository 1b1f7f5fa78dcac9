"""Parse filters such as `path:docs/** after:2024-01-01 title~"lease"`, and apply them."""

from rag.query.filters.algebra import And, Field, Filter, Not, Or, Test, field_of
from rag.query.filters.comparison import matches, page_bounds, predicate, value_at
from rag.query.filters.parsing import parse_filter

__all__ = [
    "And",
    "Field",
    "Filter",
    "Not",
    "Or",
    "Test",
    "field_of",
    "matches",
    "page_bounds",
    "parse_filter",
    "predicate",
    "value_at",
]
