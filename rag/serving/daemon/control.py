"""Start the daemon in the background, ask what it is doing, stop it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from rag import private
from rag.config import FILE_VARIABLE
from rag.errors import DaemonError
from rag.processes import full_environment, start_python
from rag.serving.daemon.client import UnreachableError, open_connection, unreachable_if_broken
from rag.serving.daemon.identity import absolute_path
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
    environment = full_environment()
    # It starts elsewhere. Settings come with each question; a file of them is not read again.
    environment.pop(FILE_VARIABLE, None)
    if environment.get("RAG_CACHE"):
        environment["RAG_CACHE"] = absolute_path(environment["RAG_CACHE"])
    with open(folder.log, "wb", opener=private.open_for_owner) as log:
        return start_python(
            *("-c", "from rag.cli import main; main()"),
            *("daemon", "--foreground", "--idle", str(idle)),
            folder=folder.path,
            environment=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
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
