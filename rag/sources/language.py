"""The language that a text is written in, where the file does not say."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_SAMPLE = 2_000
_LEAST_LETTERS = 40
_LEAST_CONFIDENCE = 0.9


def detect_language(text: str) -> str | None:
    """The ISO 639-1 code of the language of a text; None where it is short or hard to tell.

    By py3langid: character n-grams and naive Bayes (Lui & Baldwin, ACL 2012).
    """
    sample = text[:_SAMPLE]
    if sum(character.isalpha() for character in sample) < _LEAST_LETTERS:
        return None
    language, confidence = _identifier().classify(sample)
    return str(language) if confidence >= _LEAST_CONFIDENCE else None


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
