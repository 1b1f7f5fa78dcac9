"""Document -> Iterator[Chunk]: passages sized in the embedder's own tokens, with exact spans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from rag.chunking.blocks import find_blocks
from rag.chunking.outline import Outline
from rag.chunking.packing import Packer
from rag.chunking.ruler import Ruler, TokenOffsets
from rag.config import ChunkingConfig
from rag.errors import ConfigError
from rag.protocols import Embedder
from rag.text.normalization import prefix, searchable
from rag.types import Chunk, Document

# What the tokens of a heading path and of a passage may add up to beyond their sum: a tokenizer
# may put a mark at the seam.
_SEAM_TOKENS = 4


def chunk_size(config: ChunkingConfig, embedder: Embedder) -> int:
    """Tokens that one passage may hold, special tokens not counted.

    Raises:
        ConfigError: if the embedder does not read that many.
    """
    most = embedding_limit(embedder)
    if config.size > most:
        raise ConfigError(
            f"`chunking.size` is {config.size} tokens, but {embedder.name} reads at most {most}: "
            "lower it, or set 0 for the most that the model reads"
        )
    size = config.size or most
    if config.overlap >= size:
        raise ConfigError(
            f"`chunking.overlap` ({config.overlap}) must be smaller than a passage ({size} tokens)"
        )
    return size


def embedding_limit(embedder: Embedder) -> int:
    """Tokens that the embedder reads of one text, special tokens not counted."""
    return embedder.max_tokens - embedder.special_tokens


def chunk_document(
    document: Document, token_offsets: TokenOffsets, *, size: int, overlap: int, limit: int
) -> Iterator[Chunk]:
    """Cut a document into passages of at most `size` tokens.

    Sections are cut apart first (a heading without text of its own joins the next section). Within
    one, blocks fill up a passage: paragraphs, lists, tables, code. A block that fits into a passage
    is kept whole, a larger one is cut between sentences, items, rows or definitions. Every passage
    but a section's first begins up to `overlap` tokens before the end of the one before it, at a
    sentence, item, row or line. Passages come in order, carry `id` 0, hold no surrounding white
    space and leave out no other character of the document.

    With the headings that `embedded_texts` puts before it, no passage has more than `limit` tokens.
    A single character is never cut, whatever it takes.
    """
    text = document.text
    ruler = Ruler(text, token_offsets)
    outline, ahead = Outline(document), Outline(document)
    language = str(document.metadata.get("language") or "en")
    # Counted on from passage to passage: from the top each time, a long file would take its square.
    line, counted, ordinal = 1, 0, 0

    def whole(start: int, end: int) -> bool:
        """Whether the passage, tokenized by itself, is as short as it must be."""
        passage = text[start:end]
        tokens = len(token_offsets(passage))
        above = prefix(outline.titles_above(start))
        embedded = searchable(passage)
        added = ruler.tokens_of(above) + _SEAM_TOKENS if above else 0
        if embedded != passage or tokens + added > limit:
            return tokens <= size and len(token_offsets(above + embedded)) <= limit
        return tokens <= size

    for start, end in _sections(document):
        above = prefix(ahead.titles_above(max(start, end - 1)))
        room = max(1, min(size, limit - ruler.tokens_of(above)))
        packer = Packer(ruler, whole, room, overlap, language)
        for first, last in packer.pack(find_blocks(text, start, end, document.markup)):
            line += text.count("\n", counted, first) if first > counted else 0
            line -= text.count("\n", first, counted) if first < counted else 0
            counted = first
            yield Chunk(
                id=0,
                document_id=document.id,
                text=text[first:last],
                start=first,
                end=last,
                ordinal=ordinal,
                heading=outline.path(first),
                page=document.page_at(first),
                line=line if document.verbatim else None,
            )
            ordinal += 1


def embedded_texts(document: Document, chunks: Iterable[Chunk]) -> list[str]:
    """What is embedded for each chunk of a document: the headings above it, then its text.

    Headings are those that the passage does not hold itself, without the document's title: the
    same passage under the same headings is the same text in a thousand files. They take at most
    `PREFIX_BYTES`, innermost first. All of it is made `searchable`.
    """
    outline = Outline(document)
    return [prefix(outline.titles_above(c.start)) + searchable(c.text) for c in chunks]


def _sections(document: Document) -> list[tuple[int, int]]:
    cuts = [0]
    headings = document.headings
    for above, heading in zip([None, *headings], headings, strict=False):
        bare = above is not None and not document.text[above.end : heading.start].strip()
        if not bare and heading.start > cuts[-1]:
            cuts.append(heading.start)
    cuts.append(len(document.text))
    return list(pairwise(cuts))
