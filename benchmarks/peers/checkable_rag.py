"""This project, for the stages that its command line has no command for: `warm` and `rank`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages import Passage, Search, run

from rag import RAG


def index(passages: Sequence[Passage], store: Path, model: str) -> None:
    """Nothing: `rag index` is what is measured.

    Raises:
        SystemExit: always.
    """
    raise SystemExit("`rag index` makes the index")


def open_store(store: Path, model: str, mode: str) -> Search:
    """The index, with nothing changed but the mode."""
    rag = RAG(store, settings={"retrieval.mode": mode, "embedding.model": model})

    def search(question: str, k: int) -> list[Passage]:
        hits = rag.search(question, k)
        return [Passage(f"{Path(hit.source).stem}#{hit.chunk.ordinal}", hit.text) for hit in hits]

    return search


if __name__ == "__main__":
    run(index, open_store)
