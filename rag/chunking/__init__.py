"""Cut documents into chunks, sized in the embedder's own tokens, with exact spans."""

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

# Headings and chunk together may have this many more tokens than both by themselves, since a
# tokenizer may put a mark where they meet.
_SEAM_TOKENS = 4


def chunk_size(config: ChunkingConfig, embedder: Embedder) -> int:
    """Return how many tokens a chunk may hold, special tokens not counted.

    Raises:
        ConfigError: if the embedder reads fewer, or the overlap is not smaller.
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
            f"`chunking.overlap` ({config.overlap}) must be smaller than a chunk ({size} tokens)"
        )
    return size


def embedding_limit(embedder: Embedder) -> int:
    """Return how many tokens the embedder reads of one text, special tokens not counted."""
    return embedder.max_tokens - embedder.special_tokens


def chunk_document(
    document: Document, token_offsets: TokenOffsets, *, size: int, overlap: int, limit: int
) -> Iterator[Chunk]:
    """Cut a document into chunks of at most `size` tokens.

    The document is first cut into sections (a heading without text of its own joins the next
    section). Within a section, blocks fill up a chunk: paragraphs, lists, tables, code. A block
    that fits into a chunk stays whole; a larger one is cut between sentences, items, rows or
    definitions. Every chunk but a section's first begins up to `overlap` tokens before the end of
    the chunk before it, at a sentence, item, row or line. Chunks come in order, have `id` 0 and no
    surrounding white space, and leave out no other character of the document.

    With the headings that `embedded_texts` puts before it, no chunk has more than `limit` tokens.
    A single character is never cut, however many tokens it takes.
    """
    text = document.text
    ruler = Ruler(text, token_offsets)
    outline, ahead = Outline(document), Outline(document)
    language = str(document.metadata.get("language") or "en")
    # Lines are counted on from chunk to chunk: counting from the top each time would be quadratic.
    line, counted, ordinal = 1, 0, 0

    def whole(start: int, end: int) -> bool:
        """Whether the chunk, tokenized by itself, is short enough."""
        chunk = text[start:end]
        tokens = len(token_offsets(chunk))
        above = prefix(outline.titles_above(start))
        embedded = searchable(chunk)
        added = ruler.tokens_of(above) + _SEAM_TOKENS if above else 0
        fits = embedded == chunk and tokens + added <= limit
        return tokens <= size and (fits or len(token_offsets(above + embedded)) <= limit)

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
    """Return the text that is embedded for each chunk: the headings above it, then its own text.

    The headings are those that the chunk does not hold itself. The document's title is not among
    them, so that the same chunk under the same headings is the same text in a thousand files.
    They take at most `PREFIX_BYTES`, innermost first. The whole text is made `searchable`.
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
