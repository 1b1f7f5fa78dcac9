"""`path:docs/** after:2024-01-01 type:pdf title~"lease"` -> Filter, and what a filter means."""

from rag.filters.algebra import And, Filter, Not, Or, Test
from rag.filters.comparison import matches
from rag.filters.parsing import parse_filter

__all__ = ["And", "Filter", "Not", "Or", "Test", "matches", "parse_filter"]
