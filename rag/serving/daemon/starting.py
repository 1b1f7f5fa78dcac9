"""Starting the daemon in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from rag.errors import DaemonError
from rag.serving.daemon.client import daemon_state, stop_daemon
from rag.serving.daemon.messages import State
from rag.serving.daemon.place import SocketFolder, prepare

_STARTING_SECONDS = 60.0
_SECONDS_BETWEEN_LOOKS = 0.05


def start_daemon(place: SocketFolder, idle: float) -> tuple[State, bool]:
    """The state of the daemon at `place`, and whether it was started for that.

    One of another version or environment, which would refuse what is asked from here, is ended
    first.

    Raises:
        DaemonError: if it does not start, saying why.
    """
    prepare(place)
    state = daemon_state(place)
    if state is not None and not state.differing:
        return state, False
    if state is not None:
        stop_daemon(place)
    process = _started(place, idle)
    end = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < end:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        state = daemon_state(place)
        if state is not None:
            # Two that were started at once are one.
            return state, state.process == process.pid
        if process.poll() is not None:
            break
    # Another one may have been first.
    state = daemon_state(place)
    if state is not None:
        return state, False
    process.kill()
    raise DaemonError(f"the daemon did not start: {_last_line(place.log)}")


def _started(place: SocketFolder, idle: float) -> subprocess.Popen[bytes]:
    with place.log.open("wb") as log:
        return subprocess.Popen(
            # -P: what lies in the working directory is not to be imported.
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
            # A Ctrl-C or the end of this terminal is not meant for it.
            start_new_session=True,
        )


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    said = [line for line in lines if line.strip()]
    return said[-1].removeprefix("rag: ") if said else "it gave no reason"
