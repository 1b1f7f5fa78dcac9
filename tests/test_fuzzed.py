"""Inputs that fuzzing found once: each ends in an answer or in one line now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOUND = Path(__file__).parent / "fuzzed"
SCRIPT = Path(__file__).parent.parent / "benchmarks" / "fuzzing.py"


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(each.name for each in FOUND.iterdir()))
def test_what_was_found_once_is_mended(target: str) -> None:
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--replay", str(FOUND), "--target", target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "nothing went wrong\n", ran.stdout + ran.stderr
    assert ran.returncode == 0


def test_a_fault_is_told(tmp_path: Path) -> None:
    """The harness notices what contradicts the documents: here, that a text is not its span."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from fuzzers.attempts import WrongError, check_spans
    finally:
        sys.path.remove(str(SCRIPT.parent))
    place = {"document_id": "a", "start": 0, "end": 3}
    check_spans([{"quote": "abc", **place}], {"a": "abcdef"})
    for wrong in ({"quote": "abd", **place}, {"text": "bcd", **place}):
        with pytest.raises(WrongError):
            check_spans({"hits": [wrong]}, {"a": "abcdef"})
    with pytest.raises(WrongError):
        check_spans({"quote": "abc", **place}, {})
