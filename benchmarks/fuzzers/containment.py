"""Keep what is fuzzed within its folder: an input may make a command remove what it names.

An audit hook sees each change to the disk that Python makes, and each connection and process. What
would leave the folder is noted, and stopped.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_CHANGES = {"os.remove", "os.rmdir", "shutil.rmtree", "os.rename", "os.mkdir", "os.truncate"}
_CHANGES |= {"os.link", "os.symlink", "os.chmod", "os.chown"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_DEVICES = ("/dev/null", "/dev/tty", "/proc/")

escapes: list[str] = []
"""What the input at hand tried to change outside of the folder."""


class EscapeError(BaseException):
    """Something outside of the folder was about to be changed; no handler must swallow this."""


def contain(folder: Path, *, processes: bool = False) -> None:
    """Let this process change nothing outside of a folder from now on, and call no other machine.

    With `processes` it may start processes.
    """
    inside = os.path.realpath(folder)

    def is_inside(path: Any) -> bool:
        if isinstance(path, int):
            return True
        name = os.path.realpath(os.fsdecode(path))
        return name == inside or name.startswith((f"{inside}/", *_DEVICES))

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event in _CHANGES:
            # Of a name below an open folder, the folder was looked at before.
            if isinstance(details[-1], int) and details[-1] >= 0 and event != "os.mkdir":
                return
            paths = details[:2] if event in {"os.rename", "os.link"} else details[:1]
        elif event == "open" and _is_writing(details):
            paths = details[:1]
        elif event == "socket.connect":
            address = details[1]
            local = not isinstance(address, tuple) or str(address[0]).startswith(("127.", "::1"))
            if local:
                return
            raise OSError(101, "Network is unreachable")
        elif event == "socket.getaddrinfo" and details[0] not in ("127.0.0.1", "localhost", None):
            raise OSError(101, "Network is unreachable")
        elif event == "subprocess.Popen" and not processes:
            raise OSError(1, "Operation not permitted")
        else:
            return
        for path in paths:
            if not is_inside(path):
                escapes.append(f"{event} {os.fsdecode(path)}")
                raise EscapeError(escapes[-1])

    sys.addaudithook(hook)


def _is_writing(details: tuple[Any, ...]) -> bool:
    _, mode, flags = details
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return isinstance(flags, int) and bool(flags & _WRITING)
