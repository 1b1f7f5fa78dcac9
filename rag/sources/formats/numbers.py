"""Show numbers as a spreadsheet shows them, by its code of a format: `0.0%`, `#,##0.00 "EUR"`.

The codes are those of ECMA-376, part 1, section 18.8.31. Of times, fractions and exponents nothing
is shown here.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import NamedTuple

# Formats that a workbook names by their number alone (section 18.8.30).
BUILT_IN = {
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    9: "0%",
    10: "0.00%",
    37: "#,##0 ;(#,##0)",
    38: "#,##0 ;(#,##0)",
    39: "#,##0.00;(#,##0.00)",
    40: "#,##0.00;(#,##0.00)",
}
_LONGEST_CODE = 255
_MOST_DECIMALS = 30
_PIECE = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|\[\$(?P<currency>[^\]-]*)(?:-[^\]]*)?\]|\[[^\]]*\]'
    r"|_.|\*.|(?P<digits>[0#?][0#?,]*(?:\.[0#?]*)?,*|\.[0#?]+)|(?P<other>.)",
    re.S,
)
# Letters of times and dates, exponents, fractions, and the place of a text.
_UNSHOWN = re.compile(r"[ymdhsbegEG/@]", re.I)


def _parse(code: str) -> tuple[str, str, str] | None:
    """Return what stands before the digits of a section, the digits, and what stands after."""
    before, digits, after = "", "", ""
    for piece in _PIECE.finditer(code):
        # A section for values within bounds.
        if re.match(r"\[[<>=]", piece[0]):
            return None
        shown = piece["quoted"] or piece["escaped"] or piece["currency"] or ""
        if piece["digits"]:
            if digits:
                return None
            digits = piece["digits"]
            continue
        if piece["other"]:
            if _UNSHOWN.match(piece["other"]):
                return None
            shown = piece["other"]
        if digits:
            after += shown
        else:
            before += shown
    return (before, digits, after) if digits else None


def format_number(value: float, code: str) -> str | None:
    """Return a number as a sheet shows it, or None where the code is for something else.

    Args:
        value: the number.
        code: the format's code, with its sections for positive numbers, negative ones and zero.
    """
    shapes = _shapes(code)
    if abs(value) >= 1e15:
        return None
    negative = value < 0 and len(shapes) > 1
    shape = shapes[1 if negative else 2 if value == 0 and len(shapes) > 2 else 0]
    if shape is None:
        return None
    rounded = (Decimal(repr(float(value))) * shape.factor).quantize(shape.unit, ROUND_HALF_UP)
    head, _, tail = format(abs(rounded), shape.form).partition(".")
    head = "" if head == "0" and not shape.digits else head.zfill(shape.digits)
    tail = tail[: shape.decimals] + tail[shape.decimals :].rstrip("0")
    sign = "-" if rounded < 0 and not negative else ""
    shown = f"{sign}{shape.before}{head}{'.' if tail else ''}{tail}{shape.after}"
    return " ".join(shown.split())


class _Shape(NamedTuple):
    """How a section of a code shows a number: its least digits and decimals, and what is around."""

    before: str
    after: str
    factor: Decimal
    unit: Decimal
    form: str
    digits: int
    decimals: int


@lru_cache(maxsize=1024)
def _shapes(code: str) -> tuple[_Shape | None, ...]:
    if len(code) > _LONGEST_CODE:
        return (None,)
    return tuple(_to_shape(section) for section in _split(code))


def _to_shape(section: str) -> _Shape | None:
    parsed = _parse(section)
    if parsed is None:
        return None
    before, digits, after = parsed
    kept = digits.rstrip(",")
    whole, _, decimals = kept.partition(".")
    decimals = decimals[:_MOST_DECIMALS]
    factor = Decimal(100) ** (before + after).count("%") / Decimal(1000) ** (
        len(digits) - len(kept)
    )
    return _Shape(
        before,
        after,
        factor,
        Decimal(1).scaleb(-len(decimals)),
        ",f" if "," in whole else "f",
        whole.count("0"),
        len(decimals.rstrip("#?")),
    )


def _split(code: str) -> tuple[str, ...]:
    """Split a code into its sections, at the semicolons that no quotation marks enclose."""
    found = re.findall(r'(?:"[^"]*"|\\.|[^;"\\])+|(?<=;)(?=;)', code, re.S)
    return tuple(found) or ("",)
