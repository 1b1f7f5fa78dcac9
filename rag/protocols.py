"""What a user may swap: the shape that each replaceable part of the system must have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rag.types import Chunk, Document, Hit, Message, Prompt

if TYPE_CHECKING:
    from rag.types import Vectors

__all__ = [
    "Chunker",
    "Embedder",
    "EntailmentModel",
    "FileReader",
    "LanguageModel",
    "LikelihoodModel",
    "Loadable",
    "Reranker",
    "Retriever",
    "TokenEmbedder",
]


@runtime_checkable
class Embedder(Protocol):
    """Turns text into unit-length vectors.

    `fingerprint` names the exact weights, `max_tokens` is what one text may hold, special tokens
    included. `token_offsets` gives the code-point span of each token of a text, without special
    tokens; chunking sizes by it.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    @property
    def special_tokens(self) -> int: ...

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]: ...

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32 `[len(texts), dim]`, each row of length 1."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """float32 `[dim]`, of length 1."""
        ...


@runtime_checkable
class TokenEmbedder(Protocol):
    """An embedder that gives the vectors of single tokens too, special tokens not among them."""

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """For each text float32 `[tokens, dim]`, each row of length 1."""
        ...


@runtime_checkable
class Retriever(Protocol):
    """Finds passages, best first.

    `where` is what documents must be like: a filter expression or the same as a mapping; empty
    for all.
    """

    def search(self, question: str, k: int, where: str | Mapping[str, Any] = "") -> list[Hit]: ...


@runtime_checkable
class Reranker(Protocol):
    """Orders passages anew by reading them together with the question.

    `name` is the stage in a hit's trace.
    """

    @property
    def name(self) -> str: ...

    def rerank(self, question: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        """The `k` best, best first, scored and ranked anew, each trace longer by one stage."""
        ...


@runtime_checkable
class EntailmentModel(Protocol):
    """Natural language inference: whether a hypothesis follows from a premise."""

    @property
    def name(self) -> str: ...

    def entail(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """For each (premise, hypothesis) a row of probabilities: float32 `[len(pairs), 3]`.

        Of entailment, neutral and contradiction, in this order; each row sums to 1.
        """
        ...


@runtime_checkable
class Loadable(Protocol):
    """An embedder or a generator that can be loaded before it is used, from another thread."""

    def load(self) -> None:
        """Load what it takes, if that is not done; wait if another thread is at it."""
        ...


@runtime_checkable
class LikelihoodModel(Protocol):
    """A generator that can say how likely a text is after another."""

    def log_likelihood(self, context: str, text: str) -> float:
        """The mean log probability (natural logarithm) of a token of `text` after `context`."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """Writes text for a prompt, piece by piece.

    `context_tokens` is what the model holds, prompt and answer together; `max_tokens` is what it
    may write.
    """

    @property
    def name(self) -> str: ...

    @property
    def context_tokens(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The length of `messages` as this model reads them, its template included."""
        ...

    def stream(self, prompt: Prompt) -> Iterator[str]:
        """Pieces of the answer as they are written.

        Raises:
            GenerationError: when the model cannot be reached or stops in the middle; the pieces
                that were already given stay valid.
        """
        ...


class FileReader(Protocol):
    """Reads one file into documents. Raises `SourceError` where it cannot."""

    def __call__(self, path: Path, source: str) -> Iterable[Document]: ...


class Chunker(Protocol):
    """Cuts a document into passages."""

    def __call__(self, document: Document) -> Iterable[Chunk]: ...


def write_text(
    question: str, messages: Sequence[Message], generator: LanguageModel, lines: int = 0
) -> str:
    """What the generator writes, or its first `lines`: a small model may not find an end."""
    prompt = Prompt(question, tuple(messages), (), generator.count_tokens(messages))
    text = ""
    for piece in generator.stream(prompt):
        text = (text + piece).lstrip()
        if lines and text.count("\n") >= lines:
            break
    return text
