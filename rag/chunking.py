"""Document -> Iterator[Chunk]: passages sized in the embedder's own tokens, with exact spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from rag.config import ChunkingConfig
from rag.errors import ConfigError
from rag.types import Chunk, Document, Embedder

TokenOffsets = Callable[[str], Sequence[tuple[int, int]]]

# From the strongest boundary to the weakest: paragraph, line, sentence, word, character.
_SEPARATORS = [r"\n[ \t]*\n\s*", r"\n", r"(?<=[.!?。！？])\s+", r"\s+", ""]

# WordPiece reads a word of any length as one unknown token; a passage is still to be readable.
_CHARACTERS_PER_TOKEN = 16


def chunk_size(config: ChunkingConfig, embedder: Embedder) -> int:
    """Tokens that one passage may hold, special tokens not counted.

    Raises:
        ConfigError: if the embedder does not read that many.
    """
    most = embedder.max_tokens - embedder.special_tokens
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


def chunk_document(
    document: Document, token_offsets: TokenOffsets, *, size: int, overlap: int
) -> Iterator[Chunk]:
    """Cut a document into passages of at most `size` tokens.

    Sections are cut apart first (a heading without text of its own joins the next section), then
    langchain's recursive splitter cuts each at the strongest boundary that fits. Every passage
    but a section's first begins up to `overlap` tokens before the end of the one before it.
    Passages come in order, carry `id` 0, hold no surrounding white space and leave out no other
    character of the document.
    """
    cut = _splitter(token_offsets, size - overlap)
    ordinal = 0
    # Counted on from passage to passage: from the top each time, a long file would take its square.
    line, counted = 1, 0
    for section_start, section_end in _sections(document):
        section = document.text[section_start:section_end]
        pieces = _piece_spans(section, cut, token_offsets, size - overlap)
        for index, (piece_start, piece_end) in enumerate(pieces):
            start = piece_start
            if index and overlap:
                before = (pieces[index - 1][0], piece_start)
                start = _overlap_start(section, before, piece_end, token_offsets, size, overlap)
            span = _strip(section, start, piece_end)
            if span is None:
                continue
            start, end = section_start + span[0], section_start + span[1]
            line += document.text.count("\n", counted, start) if start > counted else 0
            line -= document.text.count("\n", start, counted) if start < counted else 0
            counted = start
            yield Chunk(
                id=0,
                document_id=document.id,
                text=document.text[start:end],
                start=start,
                end=end,
                ordinal=ordinal,
                heading=document.heading_at(start),
                page=document.page_at(start),
                line=line if document.verbatim else None,
            )
            ordinal += 1


def _splitter(token_offsets: TokenOffsets, size: int) -> Callable[[str], list[str]]:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    def length(text: str) -> int:
        return max(len(token_offsets(text)), -(-len(text) // _CHARACTERS_PER_TOKEN))

    # With separators kept and nothing stripped the pieces join to the text again, so their spans
    # are sums of lengths. (The library's own start index searches for the text, and overlap in
    # tokens misleads that search.)
    return RecursiveCharacterTextSplitter(
        separators=_SEPARATORS,
        is_separator_regex=True,
        keep_separator="end",
        strip_whitespace=False,
        chunk_size=size,
        chunk_overlap=0,
        length_function=length,
    ).split_text


def _piece_spans(
    section: str, cut: Callable[[str], list[str]], token_offsets: TokenOffsets, size: int
) -> list[tuple[int, int]]:
    spans = []
    at = 0
    for piece in cut(section):
        if section[at : at + len(piece)] != piece:
            raise AssertionError("the splitter's pieces do not join to the text")
        spans += _fit(section, at, at + len(piece), token_offsets, size)
        at += len(piece)
    if section[at:].strip():
        raise AssertionError("the splitter left text out")
    return spans


def _fit(
    section: str, start: int, end: int, token_offsets: TokenOffsets, size: int
) -> list[tuple[int, int]]:
    """The span, or its parts when it holds more than `size` tokens after all.

    A cut can change how a tokenizer reads what is left, so each part is measured again.
    """
    offsets = token_offsets(section[start:end])
    if len(offsets) <= size or end - start < 2:
        return [(start, end)]
    cut = start + min(max(offsets[size][0], 1), end - start - 1)
    return _fit(section, start, cut, token_offsets, size) + _fit(
        section, cut, end, token_offsets, size
    )


def _overlap_start(
    section: str,
    previous: tuple[int, int],
    end: int,
    token_offsets: TokenOffsets,
    size: int,
    overlap: int,
) -> int:
    """Where a passage up to `end` starts that takes in `overlap` tokens of the previous piece."""
    least, start = previous
    before = token_offsets(section[least:start])
    candidates = [least + offset for offset, _ in before[-overlap:]]
    # Best at the start of a sentence, else of a word.
    candidates.sort(key=lambda at: not _opens_sentence(section, at))
    for at in candidates:
        in_word = at and section[at - 1].isalnum() and section[at].isalnum()
        if not in_word and len(token_offsets(section[at:end])) <= size:
            return at
    return start


def _opens_sentence(text: str, at: int) -> bool:
    before = text[max(0, at - 8) : at]
    kept = before.rstrip()
    return kept[-1:] in ".!?。！？" if len(kept) < len(before) else not kept


def _sections(document: Document) -> list[tuple[int, int]]:
    cuts = [0]
    headings = document.headings
    for above, heading in zip([None, *headings], headings, strict=False):
        bare = above is not None and not document.text[above.end : heading.start].strip()
        if not bare and heading.start > cuts[-1]:
            cuts.append(heading.start)
    cuts.append(len(document.text))
    return list(pairwise(cuts))


def _strip(text: str, start: int, end: int) -> tuple[int, int] | None:
    body = text[start:end]
    kept = body.strip()
    if not kept:
        return None
    start += len(body) - len(body.lstrip())
    return start, start + len(kept)
