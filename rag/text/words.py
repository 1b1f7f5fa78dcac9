"""The words of prose, and those of them that carry meaning.

The index has terms of its own: `rag.text.terms`.
"""

from __future__ import annotations

import re

from rag.text.languages.english import ENDINGS, PROSE_STOP_WORDS


def _join(letter: str, joints: str) -> str:
    return rf"{letter}+(?:[{joints}]{letter}+)*"


WORD = re.compile(_join(r"\w", ".,'’-"))
# Names, numbers, times (10:30) and dates; an underscore parts two.
FACT = re.compile(_join(r"[^\W_]", ".,:'’-"))
# A word with its fraction or percentage (1/2, 5%), or a mark of punctuation.
TOKEN = re.compile(_join(r"[^\W_]", ".,:'’/-") + r"%?|[^\w\s]")


def content_words(text: str) -> frozenset[str]:
    """Return the words of `text` in lower case without stop words and common English endings.

    Numbers are kept whole, with their points and commas.
    """
    words = WORD.findall(text.casefold())
    return frozenset(stem(word) for word in words if word not in PROSE_STOP_WORDS)


def stem(word: str) -> str:
    """Return `word`, in lower case, without a common English ending."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word[0].isdigit():
            return word[: -len(ending)]
    return word
