"""The folder with the daemon's socket: where it is, and who may reach it.

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
    """The folder of one daemon, which holds its socket, its lock and its log."""

    path: Path

    @property
    def socket(self) -> Path:
        """The socket that clients connect to."""
        return self.path / "socket"

    @property
    def lock(self) -> Path:
        """The file that the daemon locks as long as it lives."""
        return self.path / "lock"

    @property
    def log(self) -> Path:
        """The output of a daemon in the background."""
        return self.path / "log"

    @property
    def is_private(self) -> bool:
        """Whether the folder exists and nobody but this user can enter it."""
        try:
            state = self.path.lstat()
        except OSError:
            return False
        mine = state.st_uid == os.getuid() and not stat.S_IMODE(state.st_mode) & 0o077
        return mine and stat.S_ISDIR(state.st_mode) and self._open_parent() is None

    def _open_parent(self) -> Path | None:
        """Return the folder above in which somebody else could put another in place of this one."""
        real = Path(os.path.realpath(self.path))
        # Whoever owns the root folder is the system, also where users are mapped to others.
        trusted = {os.getuid(), 0, os.lstat("/").st_uid}
        for parent in (*self.path.absolute().parents, *real.parents):
            try:
                state = parent.lstat()
            except OSError:
                return parent
            shared = state.st_mode & 0o022 and not state.st_mode & stat.S_ISVTX
            if state.st_uid not in trusted or (shared and not stat.S_ISLNK(state.st_mode)):
                return parent
        return None

    def prepare(self) -> None:
        """Make the folder, for this user alone.

        Raises:
            DaemonError: if it cannot be made, or others can enter it.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DaemonError(
                f"{self.path}: cannot be made ({error.strerror}): set XDG_RUNTIME_DIR to a folder "
                "of your own"
            ) from error
        parent = self._open_parent()
        if parent is not None:
            raise DaemonError(
                f"{parent}: others could put another folder in place of {self.path.name}: take "
                "their right to write there, or set XDG_RUNTIME_DIR to a folder of your own"
            )
        if not self.is_private:
            raise DaemonError(
                f"{self.path}: belongs to another user, or is open to others: remove it, or set "
                "XDG_RUNTIME_DIR to a folder of your own"
            )


def find_socket_folder() -> SocketFolder:
    """Return where the daemon of this user and this cache of models is, or would be.

    Raises:
        DaemonError: if the system has no local sockets, or the path would be too long for one.
    """
    if not hasattr(os, "getuid"):
        raise DaemonError("a daemon needs Unix sockets, which Python lacks on this system")
    parents = _parents()
    # A user who sets another cache or another runtime folder has another daemon.
    cache = os.path.abspath(os.path.expanduser(os.environ.get("RAG_CACHE") or "~"))  # noqa: PTH100, PTH111
    name = f"{zlib.crc32(os.fsencode(f'{cache}:{parents[0]}')):08x}"
    for parent in parents:
        found = SocketFolder(parent / name)
        if len(os.fsencode(found.socket)) <= _LONGEST:
            return found
    raise DaemonError(
        f"{found.socket}: is too long for a socket: set XDG_RUNTIME_DIR to a shorter folder"
    )


def find_daemon() -> SocketFolder | None:
    """Return the folder of a daemon that seems to run, as far as files tell; None without one."""
    try:
        found = find_socket_folder()
    except DaemonError:
        return None
    return found if found.is_private and found.socket.exists() else None


def _parents() -> list[Path]:
    variable, users = os.environ.get("XDG_RUNTIME_DIR"), Path(f"/run/user/{os.getuid()}")
    temporary = Path(os.environ.get("TMPDIR") or "/tmp", f"rag-{os.getuid()}")  # noqa: S108
    # If the user's own folder exists, sessions with and without the variable agree on it.
    runtime = Path(variable) / "rag" if variable else users / "rag" if users.is_dir() else temporary
    return [runtime, temporary]


def is_same_user(connection: socket.socket) -> bool:
    """Ask the system whether the process at the other end is this user's.

    Where the system does not say, the folder's permissions alone keep others out.
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
