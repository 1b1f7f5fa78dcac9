"""Change bytes, text, JSON and numbers a little, in the ways that break parsers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

NUMBERS = (
    *(0, 1, -1, 2, 7, 255, 256, 65_535, 1 << 16, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 40),
    *((1 << 53) + 1, (1 << 63) - 1, -(1 << 63), 1 << 64, 10**30, 3_000_000_000, -3),
)
FLOATS = (0.0, -0.0, 0.5, -1.5, 1e-320, 1e38, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "", " ", "\0", "\n", "\r\n", "\x1b[31mred\x1b]0;title\x07", "\u202eabc", "\ufeff", "\ud800",
    "é", "e\u0301", "日本語", "😀", "²", "٣", "İ", "ß", "..", "../x", "a/../../x", "/dev/zero",
    "%s%n", "{{ 7 * 7 }}", "${HOME}", "<script>", "' OR 1=1 --", "a" * 5000, "[" * 3000,
    "(" * 400, "\\", '"', "'", "`", ":", "-", "*", "**/" * 60, "[!a-", "null", "true", "NaN",
    "1e999", "0x10", "1_000", "9" * 4400, "2024-02-30", "0000-00-00", "99999-01-01", "inf",
)  # fmt: skip
BYTES = (
    *(b"", b"\0", b"\xff", b"\xff\xfe", b"\x80", b"\xed\xa0\x80", b"\xc0\xaf", b"\0" * 64),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x1b[2J", b"\r\n\r\n"),
)

# Longer lists and larger members are not made longer, so that no input doubles for ever.
_LONG = 200


def change_bytes(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """Flip, cut, repeat or put in a few bytes, one to four times over."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(changed) + 1)
        length = min(random.choice((1, 1, 2, 4, 8, 64, 1024)), len(changed) - at)
        match random.randrange(8):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << random.randrange(8)
            case 1:
                changed[at : at + length] = random.randbytes(length)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * random.choice((1, 2, 8, 100))
            case 4:
                changed[at:at] = random.choice(BYTES)
            case 5:
                changed[at:at] = random.choice(TEXTS).encode("utf-8", "surrogatepass")
            case 6:
                number = str(random.choice((*NUMBERS, *FLOATS))).encode()
                changed[at : at + length] = number
            case _ if others:
                other = random.choice(others)
                start = random.randrange(len(other) + 1)
                changed[at : at + length] = other[start : start + random.choice((4, 64, 4096))]
    return bytes(changed[: 4 << 20])


def change_text(text: str, random: Random) -> str:
    """Change a text; it may hold lone surrogates then."""
    data = change_bytes(text.encode("utf-8", "surrogatepass"), random)
    return data.decode("utf-8", random.choice(("replace", "ignore", "surrogateescape")))


def change_value(value: Any, random: Random) -> Any:  # noqa: PLR0911
    """Change a value of JSON: another value, another type, or a change deep within it."""
    roll = random.random()
    if isinstance(value, dict) and value and roll < 0.8:
        key = random.choice(list(value))
        changed = {**value, key: change_value(value[key], random)}
        if roll < 0.1:
            del changed[key]
        elif roll < 0.2:
            changed[random.choice(TEXTS)] = value[key]
        return changed
    if isinstance(value, list) and value and roll < 0.8:
        at = random.randrange(len(value))
        if roll < 0.1:
            return value[:at] + value[at + 1 :]
        if roll < 0.2 and len(value) < _LONG:
            return value[:at] + [value[at]] * random.choice((2, 50)) + value[at:]
        return [*value[:at], change_value(value[at], random), *value[at + 1 :]]
    if isinstance(value, str) and roll < 0.7:
        return change_text(value, random) if roll < 0.4 else random.choice(TEXTS)
    if isinstance(value, int | float) and roll < 0.7:
        return random.choice((*NUMBERS, *FLOATS, value + 1, value - 1, -value))
    nested: list[Any] = []
    for _ in range(random.choice((1, 1, 60))):
        nested = [nested]
    strange: tuple[Any, ...] = (
        None,
        True,
        False,
        [],
        {},
        [None],
        {"": []},
        nested,
        *NUMBERS,
        *FLOATS,
        *TEXTS,
    )
    return random.choice(strange)


def to_json(value: Any) -> bytes:
    """Write a value; whole numbers and surrogates stay as they are."""
    return json.dumps(value).encode()


def smaller_bytes(data: bytes) -> Iterator[bytes]:
    """Yield data without a part of it, large parts first."""
    part = len(data) // 2
    while part:
        for at in range(0, len(data), part):
            yield data[:at] + data[at + part :]
        part //= 2


def smaller_list(data: bytes) -> Iterator[bytes]:
    """Yield a list of JSON without one of its items."""
    items = json.loads(data)
    for at in range(len(items) if len(items) > 1 else 0):
        yield to_json(items[:at] + items[at + 1 :])
