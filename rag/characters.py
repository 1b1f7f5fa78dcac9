"""Lone surrogates: what Python makes of bytes that are no text, and no library takes for text."""

from __future__ import annotations


def replace_surrogates(text: str) -> str:
    """Return a text with a replacement character for each lone surrogate, and pairs joined.

    They come with bytes of a command line or a file's name that are no UTF-8, and with JSON.
    """
    if not any("\ud800" <= each <= "\udfff" for each in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
