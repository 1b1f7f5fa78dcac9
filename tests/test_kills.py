"""Processes that are killed at random moments: a short run of the benchmark."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "survival.py"


def test_nothing_acknowledged_is_lost_by_kills(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "30", "--seed", "7", "--folder", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    (total,) = (line for line in ran.stdout.splitlines() if line.startswith("| all "))
    kills, middle, _, *bad = (int(cell) for cell in total.strip("|").split("|")[1:])
    assert kills == 30
    # Most of them while the operation was under way.
    assert middle > 10
    assert bad == [0, 0, 0]
