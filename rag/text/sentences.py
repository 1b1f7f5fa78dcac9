"""text -> spans of its sentences, and the words that carry their meaning."""

from __future__ import annotations

import re

# A heading, a blank line, a list item or a table row ends a sentence even without a full stop.
_BREAK = re.compile(
    r"(?m:^[ \t]*#{1,6}[ \t][^\n]*)(?P<heading>\n)"
    r"|\n[ \t]*\n"
    r"|\n(?=[ \t]*(?:(?:[-*+•]|\d{1,3}[.)]|#{1,6})\s|\|))"
)

_WORD = re.compile(r"\w+(?:[.,'’-]\w+)*")
_STOP_WORDS = frozenset(
    """
    a about after all also an and any are as at be because been but by can could did do does for
    from had has have he her him his how i if in into is it its many may me more most much my no not
    of on or other our over s she should so some such than that the their them then there these they
    this those to up was we were what when where which who whom whose why will with would you your
    """.split()  # noqa: SIM905
)
_ENDINGS = ("'s", "’s", "ing", "ed", "es", "s")


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


def content_words(text: str) -> frozenset[str]:
    """The words of `text` in lower case without stop words and common English endings.

    Numbers are kept whole, with their points and commas.
    """
    words = _WORD.findall(text.casefold())
    return frozenset(stem(word) for word in words if word not in _STOP_WORDS)


def stem(word: str) -> str:
    """`word`, in lower case, without a common English ending."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word[0].isdigit():
            return word[: -len(ending)]
    return word
