"""Start the daemon in the background, ask what it is doing, stop it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from rag.errors import DaemonError
from rag.serving.daemon.client import UnreachableError, open_connection, unreachable_if_broken
from rag.serving.daemon.messages import LONGEST_EVENT, State, receive
from rag.serving.daemon.socket_folder import SocketFolder

_STARTING_SECONDS = 60.0
# The daemon leaves ten seconds to the questions that it is working on.
_STOPPING_SECONDS = 15.0
_SECONDS_BETWEEN_LOOKS = 0.05


def read_state(folder: SocketFolder) -> State | None:
    """Ask the daemon what it is doing; None if there is no daemon."""
    try:
        with unreachable_if_broken(), open_connection(folder, "state") as connection:
            state: State = receive(connection, State, LONGEST_EVENT)
            return state
    except UnreachableError:
        return None


def stop_daemon(folder: SocketFolder) -> State | None:
    """End the daemon, which first finishes its answers; None if there is no daemon.

    Raises:
        DaemonError: if it does not end.
    """
    try:
        with open_connection(folder, "stop") as connection:
            state: State = receive(connection, State, LONGEST_EVENT)
            connection.settimeout(_STOPPING_SECONDS)
            # The system closes the connection when the process has ended.
            connection.recv(1)
            return state
    except TimeoutError:
        raise DaemonError(
            f"the daemon does not end: kill the process that holds {folder.lock}"
        ) from None
    except (UnreachableError, OSError):
        return None


def start_daemon(folder: SocketFolder, idle: float) -> tuple[State, bool]:
    """Start the daemon unless it runs; return its state, and whether this call started it.

    A daemon of another version or environment would refuse questions from here: it is ended first.

    Raises:
        DaemonError: if it does not start, with the reason.
    """
    folder.prepare()
    state = read_state(folder)
    if state is not None and not state.differing:
        return state, False
    if state is not None:
        stop_daemon(folder)
    process = _launch(folder, idle)
    end = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < end:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        state = read_state(folder)
        if state is not None:
            # If two were started at once, only one of them runs.
            return state, state.process == process.pid
        if process.poll() is not None:
            break
    # Another process may have started one first.
    state = read_state(folder)
    if state is not None:
        return state, False
    process.kill()
    raise DaemonError(f"the daemon did not start: {_last_line(folder.log)}")


def _launch(folder: SocketFolder, idle: float) -> subprocess.Popen[bytes]:
    with folder.log.open("wb") as log:
        return subprocess.Popen(
            # -P: Python must not import modules from the working directory.
            [
                *(sys.executable, "-P", "-c", "from rag.cli import main; main()"),
                *("daemon", "--foreground", "--idle", str(idle)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if Path(p).is_absolute()),
            },
            # Neither Ctrl-C nor the end of this terminal may end the daemon.
            start_new_session=True,
        )


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    full = [line for line in lines if line.strip()]
    return full[-1].removeprefix("rag: ") if full else "it gave no reason"
