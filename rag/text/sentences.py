"""Split a text into its sentences."""

from __future__ import annotations

import re

# A heading, a blank line, a list item or a table row ends a sentence even without a full stop.
_BREAK = re.compile(
    r"(?m:^[ \t]*#{1,6}[ \t][^\n]*)(?P<heading>\n)"
    r"|\n[ \t]*\n"
    r"|\n(?=[ \t]*(?:(?:[-*+•]|\d{1,3}[.)]|#{1,6})\s|\|))"
)


def split_sentences(text: str, language: str = "en") -> list[tuple[int, int]]:
    """Spans of the sentences of `text`, in order, each without surrounding white space.

    Boundaries by sentencex, which knows the abbreviations of `language` (an ISO 639-1 code), and
    at paragraph breaks, list items and table rows besides.
    """
    import sentencex

    spans = []
    for block_start, block_end in _blocks(text):
        block = text[block_start:block_end]
        at = block_start
        for sentence in sentencex.segment(language, block):
            kept = sentence.strip()
            if kept:
                start = text.index(kept, at, block_end)
                at = start + len(kept)
                spans.append((start, at))
    return spans


def _blocks(text: str) -> list[tuple[int, int]]:
    cuts = [0]
    for match in _BREAK.finditer(text):
        group = "heading" if match["heading"] else 0
        cuts += [match.start(group), match.end(group)]
    cuts.append(len(text))
    return [(cuts[i], cuts[i + 1]) for i in range(0, len(cuts), 2) if cuts[i] < cuts[i + 1]]
