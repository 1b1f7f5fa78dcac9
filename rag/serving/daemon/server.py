"""The daemon itself: a thread for each question, until nobody has asked for a while."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import socketserver
import sys
import threading
import time
import traceback
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout

import rag
from rag.answering.stopping import StoppedError
from rag.errors import DaemonError, RagError
from rag.serving.daemon import messages
from rag.serving.daemon.identity import find_differences, identity
from rag.serving.daemon.messages import LONGEST_REQUEST, encode, receive
from rag.serving.daemon.socket_folder import SocketFolder, is_same_user
from rag.serving.operations import Failure, ProgressEvent, Result, perform
from rag.serving.residents import Residents, listener

if TYPE_CHECKING:
    from rag.types import Progress

# A client sends its whole request at once, and reads the events as they come.
_CLIENT_SECONDS = 60.0
# How long a daemon that ends waits for the questions that it is working on.
_ENDING_SECONDS = 10.0
# Another daemon that is ending is about to release the lock.
_LOCK_SECONDS = 1.0
_SECONDS_BETWEEN_LOOKS = 0.5
# The log of a daemon that runs for months has an end.
_MOST_LOGGED = 100
_LONGEST_LOGGED = 8192
# What a process has too little of when it cannot take a connection; it may get some back.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_SECONDS = 0.5


def serve(folder: SocketFolder, idle: float) -> None:
    """Answer questions until nobody has asked for `idle` seconds, or a signal or client says stop.

    Raises:
        DaemonError: if another daemon runs there, or the socket cannot be made.
    """
    folder.prepare()
    lock = FileLock(folder.lock)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise DaemonError("a daemon is running already: `rag daemon stop` ends it") from None
    # A model's name must not be mistaken for a folder in somebody's working directory.
    os.chdir(folder.path)
    with lock:
        try:
            server = _Server(folder, idle)
        except OSError as error:
            raise DaemonError(f"{folder.socket}: cannot be made: {error.strerror}") from error
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.end())
        try:
            server.serve_forever(_SECONDS_BETWEEN_LOOKS)
        finally:
            # Not earlier: once the socket is gone, the next daemon may start.
            folder.socket.unlink(missing_ok=True)
            server.server_close()
        server.wait(_ENDING_SECONDS)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A server that counts its connections, and ends when nobody has asked for a while."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, folder: SocketFolder, idle: float) -> None:
        self._identity = identity()
        self._idle = idle
        self._began = self._asked = time.monotonic()
        self._questions = 0
        self._connections = 0
        self._logged = 0
        self._lock = threading.Condition()
        self._ending = threading.Event()
        self._residents = Residents()
        # The socket of a dead daemon may be there: whoever holds the lock replaces it.
        new = folder.path / "socket.new"
        new.unlink(missing_ok=True)
        super().__init__(str(new), _Handler)
        new.chmod(0o600)
        new.replace(folder.socket)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                # The connection stays to be taken: without a pause, the loop would try at once.
                self._ending.wait(_EXHAUSTED_SECONDS)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error that nobody foresaw: as many as a log has room for."""
        with self._lock:
            self._logged += 1
            number = self._logged
        if number <= _MOST_LOGGED:
            last = " The log ends here." if number == _MOST_LOGGED else ""
            shown = ascii(traceback.format_exc())[1:-1].replace("\\n", "\n")
            sys.stderr.write(f"{shown[-_LONGEST_LOGGED:]}{last}\n")
            sys.stderr.flush()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return is_same_user(request)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections -= 1
                self._lock.notify_all()

    def shutdown_request(self, request: Any) -> None:
        # Not `shutdown`: whoever waits for the end of this process learns of it from the system.
        self.close_request(request)

    def service_actions(self) -> None:
        with self._lock:
            waiting = not self._connections and time.monotonic() - self._asked >= self._idle
        if waiting:
            self.end()

    def end(self) -> None:
        """Take no more questions."""
        if not self._ending.is_set():
            self._ending.set()
            # `shutdown` waits for the loop, which may have called this method.
            threading.Thread(target=self.shutdown, daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Wait until all questions are answered, for so many seconds at most."""
        with self._lock:
            self._lock.wait_for(lambda: not self._connections, seconds)

    def converse(self, connection: socket.socket) -> None:
        """Read a client's greeting, and do what the client wants."""
        connection.settimeout(_CLIENT_SECONDS)
        greeting: messages.Greeting = receive(connection, messages.Greeting, LONGEST_REQUEST)
        differs = find_differences(self._identity, greeting.facts)
        if greeting.wants != "answer":
            connection.sendall(encode(self._describe(differs)))
            if greeting.wants == "stop":
                # A copy stays open until the process ends, which the client waits for.
                os.dup(connection.fileno())
                self.end()
        elif differs or self._ending.is_set():
            connection.sendall(encode(messages.Refusal(differs)))
        else:
            request: messages.Request = receive(connection, messages.Request, LONGEST_REQUEST)
            with self._lock:
                self._questions += 1
            connection.sendall(encode(messages.Acceptance()))
            try:
                _answer(connection, request, self._residents)
            finally:
                with self._lock:
                    self._asked = time.monotonic()

    def _describe(self, differs: tuple[str, ...]) -> messages.State:
        import psutil

        return messages.State(
            process=os.getpid(),
            version=rag.__version__,
            up=time.monotonic() - self._began,
            idle=self._idle,
            questions=self._questions,
            indexes=tuple(sorted({str(each.path) for each in self._residents.all()})),
            memory=psutil.Process().memory_info().rss,
            differing=differs,
        )


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = cast(_Server, self.server)
        # A client may go in the middle of its answer.
        with suppress(ConnectionError, TimeoutError, StoppedError):
            server.converse(self.request)


def _answer(connection: socket.socket, request: messages.Request, residents: Residents) -> None:
    def send_progress(progress: Progress) -> None:
        connection.sendall(encode(ProgressEvent(progress)))

    listener.set(send_progress)
    gone = partial(_has_hung_up, connection)
    try:
        found = residents.rag(request.config)
        value = perform(found, request.operation, lambda e: connection.sendall(encode(e)), gone)
        last = encode(Result.of(value))
    except RagError as error:
        last = encode(Failure.of(error))
    connection.sendall(last)


def _has_hung_up(connection: socket.socket) -> bool:
    """Whether the client has gone: it sends nothing after its request, so any event means that."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
