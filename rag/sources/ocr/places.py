"""Keep where the words of a page stand on its picture, in few characters."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

Box = tuple[float, float, float, float]
_ONE = struct.Struct("<IHHHHH")
_FULL = 65_535
_MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class WordPlace:
    """A word is `text[start:end]` of its page; `box` is (left, top, right, bottom) in shares."""

    start: int
    end: int
    box: Box


def pack_words(words: Iterable[WordPlace]) -> str:
    """Return words as text for `unpack_words`; empty for none."""
    data = b"".join(
        _ONE.pack(
            word.start,
            min(_FULL, word.end - word.start),
            *(round(min(1.0, max(0.0, side)) * _FULL) for side in word.box),
        )
        for word in words
    )
    return base64.b85encode(zlib.compress(data, 9)).decode() if data else ""


def unpack_words(packed: str) -> list[WordPlace]:
    """Return the words that were packed; none if they are damaged, since they only mark words."""
    try:
        unpacked = zlib.decompressobj().decompress(base64.b85decode(packed), _MOST_BYTES)
        rows = list(_ONE.iter_unpack(unpacked[: len(unpacked) // _ONE.size * _ONE.size]))
    except (ValueError, binascii.Error, zlib.error, struct.error):
        return []
    return [
        WordPlace(
            start,
            start + length,
            (left / _FULL, top / _FULL, right / _FULL, bottom / _FULL),
        )
        for start, length, left, top, right, bottom in rows
    ]
