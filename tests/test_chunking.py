from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import ConfigError
from rag.chunking import chunk_document, chunk_size
from rag.config import ChunkingConfig
from rag.types import Chunk, Document, Embedder, Heading, Page


def document(text: str, **fields: object) -> Document:
    return Document("d", "d.md", text, "D", "text/markdown", "hash", **fields)


def cut(embedder: Embedder, text: str, size: int, overlap: int, **fields: object) -> list[Chunk]:
    return list(
        chunk_document(document(text, **fields), embedder.token_offsets, size=size, overlap=overlap)
    )


WORDS = st.sampled_from(
    [
        "the",
        "model",
        "retrieval.",
        "Überraschung",
        "naïve",
        "日本語",
        "😀",
        "x" * 40,
        "a.b",
        "\n",
        "\n\n",
        "- item",
        "antidisestablishmentarianism",
        "3.14",
        "don't",
        "е́",
        "| a | b |",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    text=st.one_of(st.lists(WORDS, max_size=120).map(" ".join), st.text(max_size=300)),
    size=st.integers(8, 60),
    share=st.integers(0, 7),
)
def test_span_law_size_and_cover(embedder: Embedder, text: str, size: int, share: int) -> None:
    overlap = size * share // 8
    chunks = cut(embedder, text, size, overlap)
    covered: set[int] = set()
    for ordinal, chunk in enumerate(chunks):
        assert text[chunk.start : chunk.end] == chunk.text == chunk.text.strip() != ""
        assert chunk.ordinal == ordinal
        assert len(embedder.token_offsets(chunk.text)) <= size
        covered |= set(range(chunk.start, chunk.end))
    assert [c.start for c in chunks] == sorted(c.start for c in chunks)
    assert all(character.isspace() for at, character in enumerate(text) if at not in covered)


def test_no_chunk_is_longer_than_the_model_reads(embedder: Embedder) -> None:
    text = "\n\n".join(f"Paragraph {i} says a thing about tokenization. " * 30 for i in range(5))
    size = chunk_size(ChunkingConfig(0, 32), embedder)
    for chunk in cut(embedder, text, size, 32):
        tokens = len(embedder.token_offsets(chunk.text)) + embedder.special_tokens
        assert tokens <= embedder.max_tokens == 256


def test_chunks_overlap_at_a_sentence_within_a_section(embedder: Embedder) -> None:
    sentences = [f"Sentence number {i} speaks of retrieval and ranking." for i in range(40)]
    first, second, *_ = cut(embedder, " ".join(sentences), 60, 15)
    assert first.start < second.start < first.end
    assert second.text.startswith("Sentence number")


def test_headings_pages_and_lines(embedder: Embedder) -> None:
    text = "# One\nalpha\n## Two\nbeta\n## Three\ngamma\n# Four\n"
    at = text.index
    headings = (
        Heading(0, 5, 1, "One"),
        Heading(at("## Two"), at("## Two") + 6, 2, "Two"),
        Heading(at("## Three"), at("## Three") + 8, 2, "Three"),
        Heading(at("# Four"), at("# Four") + 6, 1, "Four"),
    )
    pages = (Page(0, at("## Three"), 1), Page(at("## Three"), len(text), 2))
    chunks = cut(embedder, text, 100, 0, headings=headings, pages=pages, verbatim=True)
    assert [c.heading for c in chunks] == [("One",), ("One", "Two"), ("One", "Three"), ("Four",)]
    assert [c.page for c in chunks] == [1, 1, 2, 2]
    assert [c.line for c in chunks] == [1, 3, 5, 7]


def test_a_heading_without_text_joins_its_first_subsection(embedder: Embedder) -> None:
    text = "# Top\n\n## Sub\nbody"
    headings = (Heading(0, 5, 1, "Top"), Heading(7, 13, 2, "Sub"))
    assert [c.text for c in cut(embedder, text, 50, 0, headings=headings)] == [text]


def test_sizes_that_cannot_be(embedder: Embedder) -> None:
    with pytest.raises(ConfigError, match="reads at most 254"):
        chunk_size(ChunkingConfig(300, 10), embedder)
    with pytest.raises(ConfigError, match="must be smaller"):
        chunk_size(ChunkingConfig(0, 254), embedder)
