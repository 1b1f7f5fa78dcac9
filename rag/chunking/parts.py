"""Split a block that is larger than a chunk into parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

from rag.chunking.blocks import Block, Kind, fill_gaps, strip_span
from rag.chunking.ruler import CHARACTERS_PER_TOKEN, Ruler, portion_end
from rag.text.sentences import split_sentences

# From the strongest boundary to the weakest: paragraph, line, sentence, word, character.
_PROSE_SEPARATORS = (r"\n[ \t]*\n\s*", r"\n", r"(?<=[.!?。！？])\s+", r"\s+", "")
_CODE_SEPARATORS = (r"\n[ \t]*\n\s*", r"\n", r"\s+", "")
_ROW_SEPARATORS = (r"(?<=\|)", r"\s+", "")

_PIECES: dict[Kind, Kind] = {"sentence": "words", "row": "cells"}

# Without other boundaries the splitter makes a list of all characters, so it is fed in portions.
_PORTION = 1 << 16


def split_block(block: Block, ruler: Ruler, size: int, language: str) -> list[Block]:
    """Split a block into smaller ones of at most about `size` tokens; only white space is lost.

    `language` is the language of its sentences.
    """
    if block.parts:
        return fill_gaps(ruler.text, block.start, block.end, block.parts)
    if block.kind in ("prose", "list", "item"):
        sentences = _find_sentences(ruler.text, block.start, block.end, language)
        return fill_gaps(ruler.text, block.start, block.end, sentences, between="sentence")
    if block.kind in ("words", "lines", "cells"):
        return _halves(block, ruler.text)
    return _split_by_langchain(block, ruler, size)


def _find_sentences(text: str, start: int, end: int, language: str) -> list[Block]:
    # sentencex takes time that grows with the square of its text, so it is fed in portions.
    sentences: list[Block] = []
    while start < end:
        stop = portion_end(text, start, end, _PORTION)
        spans = split_sentences(text[start:stop], language)
        found = [Block(start + first, start + last, "sentence") for first, last in spans]
        if stop < end and len(found) > 1:
            # The last sentence may continue, so it begins the next portion.
            stop = found.pop().start
        sentences += found
        start = stop
    return sentences


def _split_by_langchain(block: Block, ruler: Ruler, size: int) -> list[Block]:
    """Split a block without parts by langchain's recursive splitter."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    separators, keep = _separators(block)
    kind = _PIECES.get(block.kind, "lines")
    text = ruler.text
    pieces = []
    start = block.start
    while start < block.end:
        end = portion_end(text, start, block.end, _PORTION)
        # With separators kept and nothing stripped the pieces join to the text again, so their
        # spans are sums of lengths. (The library's own start index searches for the text.)
        splitter = RecursiveCharacterTextSplitter(
            separators=list(separators),
            is_separator_regex=True,
            keep_separator=keep,
            strip_whitespace=False,
            chunk_size=size,
            chunk_overlap=0,
            length_function=_length(ruler, size),
        )
        found = splitter.split_text(text[start:end])
        # A later version of the library, or a separator with groups, might lose characters.
        if "".join(found) != text[start:end]:
            raise AssertionError("the splitter's pieces do not join to the text")
        for piece in found:
            if span := strip_span(text, start, start + len(piece)):
                pieces.append(Block(*span, kind))
            start += len(piece)
    return pieces


def _length(ruler: Ruler, size: int) -> Callable[[str], int]:
    @cache
    def length(text: str) -> int:
        # A text that is far too long needs no tokenizer.
        least = -(-len(text) // CHARACTERS_PER_TOKEN)
        return least if least > size else ruler.count(text)

    return length


def _separators(block: Block) -> tuple[Sequence[str], Literal["start", "end"]]:
    if block.kind == "row":
        return _ROW_SEPARATORS, "end"
    if block.kind != "code":
        return _PROSE_SEPARATORS, "end"
    return _language_separators(block.language) or _CODE_SEPARATORS, "start"


@cache
def _language_separators(language: str) -> tuple[str, ...]:
    from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

    try:
        known = Language(language)
        return tuple(RecursiveCharacterTextSplitter.get_separators_for_language(known))
    except ValueError:
        return ()


def _halves(block: Block, text: str) -> list[Block]:
    middle = (block.start + block.end) // 2
    spans = (strip_span(text, block.start, middle), strip_span(text, middle, block.end))
    return [Block(*span, block.kind) for span in spans if span]
