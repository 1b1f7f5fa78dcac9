"""What this machine offers to whoever computes."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path


@cache
def usable_cores() -> int:
    """The physical cores that this process may use.

    Two threads on the two halves of one core take turns at its arithmetic units.
    """
    import psutil

    usable = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    physical = psutil.cpu_count(logical=False) or usable
    return max(1, min(usable, physical))


@cache
def has_cuda() -> bool:
    """Whether torch can use a GPU of NVIDIA's. Without a driver of theirs, torch is not loaded."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return False
    if sys.platform == "win32":
        driver = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll")
    else:
        driver = Path("/dev/nvidiactl")
    # The second is how Linux under Windows sees the GPU.
    if not driver.exists() and not Path("/dev/dxg").exists():
        return False
    import torch

    return bool(torch.cuda.is_available())
