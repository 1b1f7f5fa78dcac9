"""txtai: Embeddings with vectors, words and content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages import Passage, Search, run
from txtai import Embeddings


def index(passages: Sequence[Passage], store: Path, model: str) -> None:
    """Embed and save."""
    embeddings = Embeddings(path=model, hybrid=True, content=True)
    embeddings.index((each.name, each.text, None) for each in passages)
    embeddings.save(str(store))


def open_store(store: Path, model: str, mode: str) -> Search:
    """The saved index; it names the model that it was made with."""
    embeddings = Embeddings()
    embeddings.load(str(store))
    weights = 1.0 if mode == "dense" else None

    def search(question: str, k: int) -> list[Passage]:
        hits = embeddings.search(question, k, weights=weights)
        return [Passage(hit["id"], hit["text"]) for hit in hits]

    return search


if __name__ == "__main__":
    run(index, open_store)
