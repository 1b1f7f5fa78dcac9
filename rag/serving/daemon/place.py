"""Where the daemon of a cache of models is found, and who may reach it.

The folder has mode 0700, the socket 0600, and each side asks the system who the other one is.
"""

from __future__ import annotations

import os
import stat
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import DaemonError

if TYPE_CHECKING:
    import socket

# What `sockaddr_un` has room for on macOS, less the closing zero; Linux has four bytes more.
_LONGEST = 103


@dataclass(frozen=True, slots=True)
class SocketFolder:
    """The folder of one daemon, with its socket, the lock that it holds, and its log."""

    folder: Path

    @property
    def socket(self) -> Path:
        """What clients connect to."""
        return self.folder / "socket"

    @property
    def lock(self) -> Path:
        """Held by the daemon as long as it lives."""
        return self.folder / "lock"

    @property
    def log(self) -> Path:
        """What a daemon in the background has to say."""
        return self.folder / "log"


def place() -> SocketFolder:
    """Where the daemon of this user and this cache of models is, or would be.

    Raises:
        DaemonError: if the system has no local sockets, or the path would be too long for one.
    """
    if not hasattr(os, "getuid"):
        raise DaemonError("a daemon takes Unix sockets, which this system's Python does not have")
    parents = _parents()
    # Whoever keeps apart what is fetched, or sets another folder, has a daemon of its own.
    cache = os.path.abspath(os.path.expanduser(os.environ.get("RAG_CACHE") or "~"))  # noqa: PTH100, PTH111
    name = f"{zlib.crc32(os.fsencode(f'{cache}:{parents[0]}')):08x}"
    for parent in parents:
        found = SocketFolder(parent / name)
        if len(os.fsencode(found.socket)) <= _LONGEST:
            return found
    raise DaemonError(
        f"{found.socket}: is too long for a socket: set XDG_RUNTIME_DIR to a shorter folder"
    )


def running() -> SocketFolder | None:
    """Where a daemon runs, as far as that can be seen from outside."""
    try:
        found = place()
    except DaemonError:
        return None
    return found if is_private(found) and found.socket.exists() else None


def _parents() -> list[Path]:
    given, users = os.environ.get("XDG_RUNTIME_DIR"), Path(f"/run/user/{os.getuid()}")
    temporary = Path(os.environ.get("TMPDIR") or "/tmp", f"rag-{os.getuid()}")  # noqa: S108
    # Where the user's own folder is to be had, sessions with and without the variable agree.
    runtime = Path(given) / "rag" if given else users / "rag" if users.is_dir() else temporary
    return [runtime, temporary]


def prepare(found: SocketFolder) -> None:
    """Make the folder, for this user alone.

    Raises:
        DaemonError: if it cannot be made, or others can get into it.
    """
    try:
        found.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found.folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DaemonError(
            f"{found.folder}: cannot be made ({error.strerror}): set XDG_RUNTIME_DIR to a folder "
            "of your own"
        ) from error
    if not is_private(found):
        raise DaemonError(
            f"{found.folder}: belongs to another user, or is open to others: remove it, or set "
            "XDG_RUNTIME_DIR to a folder of your own"
        )


def is_private(found: SocketFolder) -> bool:
    """Whether the folder is there, and this user's alone."""
    try:
        state = found.folder.lstat()
    except OSError:
        return False
    mine = state.st_uid == os.getuid() and not stat.S_IMODE(state.st_mode) & 0o077
    return mine and stat.S_ISDIR(state.st_mode)


def is_same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's, as the system says.

    Where it does not say, the folder's permissions alone keep others out.
    """
    import socket
    import struct

    if sys.platform == "darwin":
        # struct xucred { u_int version; uid_t uid; short ngroups; gid_t groups[16]; }
        credentials = connection.getsockopt(0, 1, 76)
        return bool(struct.unpack_from("II", credentials)[1] == os.getuid())
    if hasattr(socket, "SO_PEERCRED"):
        # struct ucred { pid_t pid; uid_t uid; gid_t gid; }
        size = struct.calcsize("iII")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return bool(struct.unpack("iII", credentials)[1] == os.getuid())
    return True
