"""Detect the language of a text whose file does not say it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_SAMPLE = 2_000
_LEAST_LETTERS = 40
_LEAST_CONFIDENCE = 0.9


def detect_language(text: str) -> str | None:
    """Return the ISO 639-1 code of a text's language; None if it is too short or uncertain.

    py3langid decides by character n-grams and naive Bayes (Lui & Baldwin, ACL 2012).
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
