"""Split a text into its sentences."""

from __future__ import annotations

import re

# A heading, a blank line, a list item or a table row ends a sentence even without a full stop.
_BREAK = re.compile(
    r"(?m:^[ \t]*#{1,6}[ \t][^\n]*)(?P<heading>\n)"
    r"|\n[ \t]*\n"
    r"|\n(?=[ \t]*(?:(?:[-*+•]|\d{1,3}[.)]|#{1,6})\s|\|))"
)
# sentencex 1.0.32 panics where white space of several bytes parts an initial from its full stop.
_WIDE_SPACE = re.compile(r"(\w\s*)[^\S\x00-\x7f](?=\.)")


def split_sentences(text: str, language: str = "en") -> list[tuple[int, int]]:
    """Return the spans of the sentences of `text` in order, without the white space around them.

    sentencex finds the boundaries; it knows the abbreviations of `language`, an ISO 639-1 code.
    Paragraph breaks, list items and table rows end a sentence, too.
    """
    import sentencex

    spans = []
    for block_start, block_end in _blocks(text):
        block = text[block_start:block_end]
        if not block.isascii():
            block = _WIDE_SPACE.sub(r"\1 ", block)
        for found in sentencex.get_sentence_boundaries(language, block):
            sentence = found["text"].lstrip()
            if sentence:
                start = block_start + found["end_index"] - len(sentence)
                spans.append((start, start + len(sentence.rstrip())))
    return spans


def _blocks(text: str) -> list[tuple[int, int]]:
    """Return the spans between the places that end a sentence whatever its words are."""
    cuts = [0]
    for match in _BREAK.finditer(text):
        group = "heading" if match["heading"] else 0
        cuts += [match.start(group), match.end(group)]
    cuts.append(len(text))
    return [(cuts[i], cuts[i + 1]) for i in range(0, len(cuts), 2) if cuts[i] < cuts[i + 1]]
