"""The protocols that a replacement of a part of the system must follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rag.errors import IncompleteError, RetractedError
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
    "Source",
    "SourceItem",
    "TokenEmbedder",
]


@runtime_checkable
class Embedder(Protocol):
    """Turns text into vectors of length 1.

    `fingerprint` names the exact weights. One text may hold `max_tokens` tokens, `special_tokens`
    of them added by the model. `token_offsets` gives the code-point span of each token of a text,
    special tokens left out; chunking measures by it.
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
        """Embed passages: float32 `[len(texts), dim]`, each row of length 1."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """Embed a question: float32 `[dim]`, of length 1."""
        ...


@runtime_checkable
class TokenEmbedder(Protocol):
    """An embedder that also gives the vectors of single tokens, special tokens left out."""

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """Embed the tokens of each text: float32 `[tokens, dim]`, each row of length 1."""
        ...


@runtime_checkable
class Retriever(Protocol):
    """Finds passages, best first.

    `where` is a condition on documents, as a filter expression or a mapping; empty for none.
    """

    def search(self, question: str, k: int, where: str | Mapping[str, Any] = "") -> list[Hit]: ...


@runtime_checkable
class Reranker(Protocol):
    """Reorders passages by reading them together with the question.

    `name` is the stage in a hit's trace.
    """

    @property
    def name(self) -> str: ...

    def rerank(self, question: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        """Return the `k` best, best first, with new scores and one more stage in each trace."""
        ...


@runtime_checkable
class EntailmentModel(Protocol):
    """Judges whether a hypothesis follows from a premise (natural language inference)."""

    @property
    def name(self) -> str: ...

    def entail(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """Return a row of probabilities for each (premise, hypothesis): float32 `[len(pairs), 3]`.

        The columns are entailment, neutral and contradiction; each row sums to 1.
        """
        ...


@runtime_checkable
class Loadable(Protocol):
    """An embedder or a generator that can be loaded before it is used, from another thread."""

    def load(self) -> None:
        """Load the model unless that is done; wait if another thread is loading it."""
        ...


@runtime_checkable
class LikelihoodModel(Protocol):
    """A generator that can say how likely a text is after another."""

    def log_likelihood(self, context: str, text: str) -> float:
        """Return the mean log probability (to base e) of a token of `text` after `context`."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """Writes text for a prompt, piece by piece.

    `context_tokens` is the most that prompt and answer may take together; `max_tokens` is the most
    that the model may write.
    """

    @property
    def name(self) -> str: ...

    @property
    def context_tokens(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count the tokens of `messages` as this model reads them, its template included."""
        ...

    def stream(self, prompt: Prompt) -> Iterator[str]:
        """Yield pieces of the answer as they are written.

        Raises:
            GenerationError: if the model cannot be reached, gives no answer or stops in the middle;
                the pieces before that stay valid.
            IncompleteError: if the model ended before its answer did, at its limit of tokens.
            RetractedError: if the pieces so far turn out to be thoughts, and no answer. Asked once
                more, the model knows better.
        """
        ...


class FileReader(Protocol):
    """Reads one file into documents; raises `SourceError` if it cannot."""

    def __call__(self, path: Path, source: str) -> Iterable[Document]: ...


@dataclass(frozen=True, slots=True)
class SourceItem:
    """A thing at an address that becomes a file: a message, an object of a bucket.

    `address` begins with the address that was named, is told apart from all others there, and is
    what citations name. `name` is a file's name, whose suffix says the format. `version` changes
    when the contents change (empty: it is read again each time). `read` returns the contents in
    pieces, and is only called if they are needed. `modified` is in seconds since 1970.
    """

    address: str
    name: str
    version: str
    read: Callable[[], Iterator[bytes]]
    modified: float | None = None


class Source(Protocol):
    """Lists what an address stands for; raises `SourceError` if it cannot.

    What it does not list any more is removed from the index, so it lists all or raises.
    """

    def __call__(self, address: str) -> Iterable[SourceItem]: ...


class Chunker(Protocol):
    """Splits a document into chunks."""

    def __call__(self, document: Document) -> Iterable[Chunk]: ...


def generate_text(
    question: str,
    messages: Sequence[Message],
    generator: LanguageModel,
    *,
    hits: Sequence[Hit] = (),
    stop: Callable[[str], bool] = lambda text: False,
) -> str:
    """Have a generator write one short text, without whitespace before it.

    It is stopped when `stop` says that the text so far is enough: a small model may find no end. If
    it was cut at its limit, the text so far is returned.
    """
    prompt = Prompt(question, tuple(messages), tuple(hits), generator.count_tokens(messages))
    try:
        return _read_text(prompt, generator, stop)
    except RetractedError:
        return _read_text(prompt, generator, stop)


def _read_text(prompt: Prompt, generator: LanguageModel, stop: Callable[[str], bool]) -> str:
    text = ""
    with suppress(IncompleteError):
        for piece in generator.stream(prompt):
            text = (text + piece).lstrip()
            if stop(text):
                break
    return text
