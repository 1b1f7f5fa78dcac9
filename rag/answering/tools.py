"""What an answer is made with, handed in by whoever wires the rooms together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rag.answering.prompt import Example, Templates
    from rag.answering.reader.reading import Reading
    from rag.config import AnsweringConfig
    from rag.protocols import Embedder, EntailmentModel, LanguageModel
    from rag.types import Document, Hit

Find = Callable[[], "list[Hit]"]
"""Finds the passages of one question."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question: as it was `asked`, how it is read, and what finds its passages.

    `question` is searched for and answered: what was asked, without typing errors. `passes` tells
    whether any document passes the filter of the search.
    """

    asked: str
    question: str
    find: Find
    passes: Callable[[], bool]


class Reader(Protocol):
    """A model that finds the spans of passages that answer."""

    @property
    def name(self) -> str: ...

    def read(self, question: str, passages: Sequence[str], most: int = 10) -> Reading:
        """Return the best spans of all passages, and how probably they hold an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """The models and settings of answers. Models are callables: each loads when first needed.

    `writes` says whether the generator writes answers, rather than passages being quoted;
    `exists`, whether there is an index; `examples` gives those to show with a question;
    `document` gives the document of an id, to check quotes against.
    """

    settings: AnsweringConfig
    writes: bool
    exists: Callable[[], bool]
    embedder: Callable[[], Embedder]
    generator: Callable[[], LanguageModel]
    entailment: Callable[[], EntailmentModel | None]
    reader: Callable[[], Reader | None]
    templates: Callable[[], Templates]
    examples: Callable[[str], Sequence[Example]]
    document: Callable[[str], Document]
