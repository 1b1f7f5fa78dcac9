"""Processes that are killed at random moments: a short run of `benchmarks/survival.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import working


@pytest.mark.nightly
@pytest.mark.slow
def test_nothing_acknowledged_is_lost_by_kills(tmp_path: Path) -> None:
    with working("kill-writers", tmp_path, "30") as process:
        assert process.end() == 0, process.errors
    total = json.loads(process.lines[-1])
    assert total["kills"] >= 30
    # As many as that while the operation was under way.
    assert total["middle"] > 10
    assert (total["lost"], total["torn"], total["wrong"]) == (0, 0, 0)
