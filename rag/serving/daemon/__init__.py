"""A process that keeps models and indexes loaded, and answers questions over a local socket.

`client` is a RAG that asks the daemon, `control` starts and stops it, and `server` is the daemon
itself, whose open RAGs `residents` keeps. Both sides share `socket_folder` (where the socket is,
and who may use it), `identity` (what must be the same on both sides), `paths` (settings with
absolute paths) and `messages`.

A name is imported when it is first used: a command that finds no daemon must not pay for one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.serving.daemon.client import DaemonRAG as DaemonRAG
    from rag.serving.daemon.control import read_state as read_state
    from rag.serving.daemon.control import start_daemon as start_daemon
    from rag.serving.daemon.control import stop_daemon as stop_daemon
    from rag.serving.daemon.messages import State as State
    from rag.serving.daemon.server import serve as serve
    from rag.serving.daemon.socket_folder import find_daemon as find_daemon
    from rag.serving.daemon.socket_folder import find_socket_folder as find_socket_folder

_MODULES = {
    "DaemonRAG": "client",
    "State": "messages",
    "find_daemon": "socket_folder",
    "find_socket_folder": "socket_folder",
    "read_state": "control",
    "serve": "server",
    "start_daemon": "control",
    "stop_daemon": "control",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
