"""Bind the words of scanned pages to the text that was composed of their lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rag.sources.formats.pdf.scans import ReadPage
from rag.sources.formats.pdf.text import PlacedLine
from rag.sources.ocr import WordPlace, pack_words
from rag.types import Page

# Below this a reader is told that a page was hard to read.
LOW_CONFIDENCE = 0.8


def place_words(
    text: str,
    pages: Sequence[Page],
    lines: Sequence[PlacedLine],
    scanned: Mapping[int, ReadPage],
) -> tuple[Page, ...]:
    """Return pages with the places of their words, for those that were `scanned`, by number."""
    placed = []
    for page in pages:
        if (found := scanned.get(page.number)) is not None:
            inside = [line for line in lines if page.start <= line.start < page.end]
            words = pack_words(_words_on(text, page, inside, found))
            placed.append(replace(page, words=words))
        else:
            placed.append(page)
    return tuple(placed)


def _words_on(
    text: str, page: Page, lines: Sequence[PlacedLine], found: ReadPage
) -> list[WordPlace]:
    words = []
    for line in lines:
        begin = line.start
        for piece in line.pieces:
            for at in range(piece.at, piece.until + 1):
                word = found.words[at].text
                start = text.find(word, begin, line.end)
                if start < 0:
                    # Its hyphen went when it was joined with the next line's first word.
                    word = word.removesuffix("-")
                    start = text.find(word, begin, line.end)
                if start < 0 or not word:
                    continue
                begin = start + len(word)
                box = found.boxes[at]
                words.append(WordPlace(start - page.start, begin - page.start, box))
    return words


def summarize(engine: str, scanned: Mapping[int, ReadPage]) -> dict[str, Any]:
    """Return what the metadata of a document tell of its scanned pages."""
    read = {number: page for number, page in scanned.items() if page.words}
    if not read:
        return {}
    weights = {number: sum(len(word.text) for word in page.words) for number, page in read.items()}
    total = sum(page.confidence * weights[number] for number, page in read.items())
    low = [number for number, page in read.items() if page.confidence < LOW_CONFIDENCE]
    return {
        "ocr": engine,
        "ocr_confidence": round(total / sum(weights.values()), 3),
        "ocr_pages": len(read),
        "ocr_pages_of_low_confidence": ", ".join(map(str, low)),
    }
