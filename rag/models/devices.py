"""What this machine offers to whoever computes: cores, a GPU, and the precision that suits it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from rag.errors import ConfigError, first_line


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


_PATIENCE = 1e-4
_guard = threading.Lock()
_computing = 0
_patience_before = 0.0


def chosen_device(asked: str, setting: str = "device") -> str:
    """The device itself, or for `auto` CUDA, MPS or the CPU: the first that there is.

    Raises:
        ConfigError: if there is no such device, naming the `setting`.
    """
    import torch

    if asked == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{setting} {asked}: {first_line(error)}") from error
    return asked


def precision(device: str) -> Any:
    """bfloat16 (or float16 where the GPU lacks it) on CUDA, float16 on MPS, float32 on a CPU."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device == "mps" else torch.float32


@contextmanager
def computing() -> Iterator[None]:
    """While torch computes: other threads hand the interpreter over after 0.1 ms, and not 5.

    Torch gives it up and takes it again with each of the hundreds of operations of a model. Beside
    one thread that runs Python all the time (reading, cutting), a small model is 14 times as fast
    so. The setting is the process's: it is what it was when nobody computes any more.
    """
    global _computing, _patience_before  # noqa: PLW0603
    with _guard:
        _computing += 1
        if _computing == 1:
            _patience_before = sys.getswitchinterval()
            sys.setswitchinterval(min(_PATIENCE, _patience_before))
    try:
        yield
    finally:
        with _guard:
            _computing -= 1
            if not _computing:
                sys.setswitchinterval(_patience_before)
