"""What this machine offers for computing: cores, a GPU, and the precision that suits it."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from rag.errors import ConfigError, first_line

_SWITCH_SECONDS = 1e-4
_CGROUP = Path("/sys/fs/cgroup")


@cache
def usable_cores() -> int:
    """Count the physical cores that this process may use.

    Two threads on the two halves of one core take turns at its arithmetic units.
    """
    import psutil

    usable = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    physical = psutil.cpu_count(logical=False) or usable
    return max(1, min(usable, physical))


def available_memory() -> int:
    """Return how many bytes of memory this process may still take, without swapping.

    A container may have less than the machine.
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # No limit is the word `max`, or no file.
        most = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        free = min(free, max(0, most - used))
    return free


@cache
def has_cuda() -> bool:
    """Tell whether torch can use an NVIDIA GPU; torch is imported only if there is a driver."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return False
    if sys.platform == "win32":
        driver = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll")
    else:
        driver = Path("/dev/nvidiactl")
    # Linux under Windows sees the GPU as /dev/dxg.
    if not driver.exists() and not Path("/dev/dxg").exists():
        return False
    import torch

    return bool(torch.cuda.is_available())


def choose_device(name: str, setting: str = "device") -> str:
    """Return `name`, or for `auto` the first that there is of CUDA, MPS and the CPU.

    Raises:
        ConfigError: if there is no such device; the message names the `setting`.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{setting} {name}: {first_line(error)}") from error
    return name


def precision_for(device: str) -> Any:
    """Return bfloat16 (or float16 where the GPU lacks it) for CUDA, float16 for MPS, else float32.

    The result is a dtype of torch.
    """
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device == "mps" else torch.float32


class _ShortSwitchInterval:
    """A context in which other threads hand the interpreter over after 0.1 ms, and not 5.

    Torch releases the interpreter and takes it again with each of a model's hundreds of operations.
    Beside one thread that always runs Python (reading, cutting), a small model is 14 times as fast
    with the shorter interval. The interval belongs to the whole process: it is set back when the
    last of the threads that compute has left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = 0
        self._interval_before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                self._interval_before = sys.getswitchinterval()
                sys.setswitchinterval(min(_SWITCH_SECONDS, self._interval_before))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._entered -= 1
            if not self._entered:
                sys.setswitchinterval(self._interval_before)


short_switch_interval = _ShortSwitchInterval()
"""The context to run torch's computations in: `with short_switch_interval:`."""
