"""Check the pages of a database, and put right a page in which one bit has flipped.

SQLite's checksum VFS stores two sums of 32 bits in the last eight bytes of a page. They run over
its words, two at a time: `a += word[i] + b; b += word[i + 1] + a`. Both are linear, so the flip of
one bit changes them by an amount that tells which bit it was, unless it was a higher one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint32]

# A higher bit of a word changes fewer bits of the sums: many flips would explain the change, and
# several flips together could be taken for one.
_SURE_BIT = 16


def find_damaged(data: bytes, page_size: int) -> list[int]:
    """Return which pages (from 0) of a block do not agree with their checksums."""
    import numpy as np

    pages = _words(data, page_size)
    return [int(at) for at in np.flatnonzero((_sums(pages) != pages[:, -2:]).any(axis=1))]


def put_right(page: bytes) -> bytes | None:
    """Restore a page in which one bit has flipped; None if it cannot be told which."""
    import numpy as np

    words = _words(page, len(page)).copy()
    computed, stored = _sums(words)[0], words[0, -2:].copy()
    change = computed - stored
    # The flips, as word and bit, that explain the sums, which are the last two words.
    found: list[tuple[int, int]] = []
    for bit in range(32):
        amount = np.uint32(1 << bit)
        rising = (_weights(len(page)) * amount == change).all(axis=1)
        falling = (_weights(len(page)) * amount == stored - computed).all(axis=1)
        is_set = words[0, :-2] & amount != 0
        found += [(int(at), bit) for at in np.flatnonzero(np.where(is_set, rising, falling))]
    difference = computed ^ stored
    if np.bitwise_count(difference).sum() == 1:
        at = int(np.flatnonzero(difference)[0])
        found.append((words.shape[1] - 2 + at, int(difference[at]).bit_length() - 1))
    if len(found) != 1 or found[0][1] > _SURE_BIT:
        return None
    words[0, found[0][0]] ^= np.uint32(1 << found[0][1])
    return words.tobytes()


def seal(page: bytes) -> bytes:
    """Return a page with the checksum of what it holds."""
    words = _words(page, len(page)).copy()
    words[0, -2:] = _sums(words)[0]
    return words.tobytes()


def _words(data: bytes, page_size: int) -> Words:
    import numpy as np

    return np.frombuffer(data, dtype="<u4").astype(np.uint32).reshape(-1, page_size // 4)


def _sums(pages: Words) -> Words:
    import numpy as np

    columns = np.ascontiguousarray(pages.T)
    first = np.zeros(len(pages), dtype=np.uint32)
    second = np.zeros(len(pages), dtype=np.uint32)
    for at in range(0, len(columns) - 2, 2):
        first += columns[at] + second
        second += columns[at + 1] + first
    return np.stack([first, second], axis=1)


@cache
def _weights(page_size: int) -> Words:
    """Return by how much the two sums grow when a word of a page grows by 1, for each word."""
    import numpy as np

    count = page_size // 4 - 2
    weights = np.zeros((count, 2), dtype=np.uint32)
    mask = 0xFFFFFFFF
    even, odd = (1, 1), (0, 1)
    for at in range(count - 2, -1, -2):
        weights[at], weights[at + 1] = even, odd
        even, odd = (((a + b) & mask, (a + 2 * b) & mask) for a, b in (even, odd))
    return weights
