"""The resident process: a thread for each question, until nobody has asked for a while."""

from __future__ import annotations

import os
import select
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout

import rag
from rag.answering.stream import AnswerStream, Means
from rag.errors import DaemonError, RagError
from rag.serving.daemon.identity import differing, identity
from rag.serving.daemon.messages import (
    LONGEST_REQUEST,
    Accepted,
    Ask,
    Check,
    Explain,
    Opening,
    Piece,
    Refused,
    Request,
    State,
    Told,
    done,
    encode,
    failed,
    receive,
)
from rag.serving.daemon.place import SocketFolder, is_same_user, prepare
from rag.serving.daemon.residents import Resident, Residents, listener

if TYPE_CHECKING:
    from rag.protocols import LanguageModel
    from rag.types import Answer, Message, Progress, Prompt

# A client says all that it has to say at once, and reads what it asked for.
_CLIENT_SECONDS = 60.0
# What is left to questions when the daemon is to end.
_ENDING_SECONDS = 10.0
# A daemon that was told to end is about to let go of the lock.
_LOCK_SECONDS = 1.0
_SECONDS_BETWEEN_LOOKS = 0.5


def serve(place: SocketFolder, idle: float) -> None:
    """Answer questions until nobody has asked for `idle` seconds, or a signal or client says stop.

    Raises:
        DaemonError: if another daemon is at work there, or the socket cannot be made.
    """
    prepare(place)
    lock = FileLock(place.lock)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise DaemonError("a daemon is running already: `rag daemon stop` ends it") from None
    # Names of models are not to be taken for what lies in somebody's working directory.
    os.chdir(place.folder)
    with lock:
        try:
            server = _Server(place, idle)
        except OSError as error:
            raise DaemonError(f"{place.socket}: cannot be made: {error.strerror}") from error
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.end())
        try:
            server.serve_forever(_SECONDS_BETWEEN_LOOKS)
        finally:
            # Only now: whoever finds the socket gone may start the next one.
            place.socket.unlink(missing_ok=True)
            server.server_close()
        server.wait(_ENDING_SECONDS)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Accepts connections, counts them, and knows when it was asked last."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, place: SocketFolder, idle: float) -> None:
        self._identity = identity()
        self._idle = idle
        self._began = self._asked = time.monotonic()
        self._questions = 0
        self._connections = 0
        self._lock = threading.Condition()
        self._ending = threading.Event()
        self._residents = Residents()
        # One of a dead daemon may lie there: whoever holds the lock takes its place.
        new = place.folder / "socket.new"
        new.unlink(missing_ok=True)
        super().__init__(str(new), _Conversation)
        new.chmod(0o600)
        new.replace(place.socket)

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
        # Not `shutdown`: who waits for the end of this process is told by the system.
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
            # It waits for the loop, which this may have been called from.
            threading.Thread(target=self.shutdown, daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Until all questions are answered, for so many seconds at most."""
        with self._lock:
            self._lock.wait_for(lambda: not self._connections, seconds)

    def converse(self, connection: socket.socket) -> None:
        """Do what a client wants."""
        connection.settimeout(_CLIENT_SECONDS)
        opening: Opening = receive(connection, Opening, LONGEST_REQUEST)
        differs = differing(self._identity, opening.facts)
        if opening.wants != "answer":
            connection.sendall(encode(self._state(differs)))
            if opening.wants == "stop":
                # Open until the process ends, which the client waits for.
                os.dup(connection.fileno())
                self.end()
        elif differs or self._ending.is_set():
            connection.sendall(encode(Refused(differs)))
        else:
            request: Request = receive(connection, Request, LONGEST_REQUEST)
            with self._lock:
                self._questions += 1
            connection.sendall(encode(Accepted()))
            try:
                _answer(connection, request, self._residents)
            finally:
                with self._lock:
                    self._asked = time.monotonic()

    def _state(self, differs: tuple[str, ...]) -> State:
        import psutil

        return State(
            process=os.getpid(),
            version=rag.__version__,
            up=time.monotonic() - self._began,
            idle=self._idle,
            questions=self._questions,
            indexes=tuple(sorted({str(each.path) for each in self._residents.kept()})),
            memory=psutil.Process().memory_info().rss,
            differing=differs,
        )


class _Conversation(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = cast(_Server, self.server)
        # A client that goes in the middle is no news.
        with suppress(ConnectionError, TimeoutError, _HungUpError):
            server.converse(self.request)


def _answer(connection: socket.socket, request: Request, residents: Residents) -> None:
    def tell(progress: Progress) -> None:
        connection.sendall(encode(Told(progress)))

    listener.set(tell)
    asked = request.asked
    try:
        found = residents.rag(request.config)
        if isinstance(asked, Explain):
            result: Any = found.explain(asked.question, asked.k, asked.where)
        elif isinstance(asked, Check):
            result = found.check(asked.claim, asked.k, asked.where, by_generator=asked.by_generator)
        else:
            result = _written(connection, found, residents, asked)
        said = encode(done(result))
    except RagError as error:
        said = encode(failed(error))
    connection.sendall(said)


def _written(
    connection: socket.socket, found: Resident, residents: Residents, asked: Ask
) -> Answer:
    means = _Means(found, residents, lambda: _hung_up(connection))
    stream = AnswerStream(
        cast(Means, means), asked.question, asked.k, asked.where, schema=asked.schema
    )
    for piece in stream:
        connection.sendall(encode(Piece(piece)))
    return stream.answer


class _Means:
    """A RAG as the means of one answer, whose generator stops when nobody waits for it."""

    def __init__(self, found: Resident, residents: Residents, gone: Callable[[], bool]) -> None:
        self._found = found
        self._residents = residents
        self._gone = gone

    @property
    def generator(self) -> LanguageModel:
        with self._residents.lock:
            return _Stopping(self._found.generator, self._gone)

    def __getattr__(self, name: str) -> Any:
        with self._residents.lock if name in ("reader", "entailment") else nullcontext():
            return getattr(self._found, name)


class _Stopping:
    """A generator that looks after each piece whether anybody still waits for the next."""

    def __init__(self, generator: LanguageModel, gone: Callable[[], bool]) -> None:
        self._generator = generator
        self._gone = gone

    @property
    def name(self) -> str:
        # A server tells the name of its model when it is asked.
        return self._generator.name

    @property
    def context_tokens(self) -> int:
        return self._generator.context_tokens

    @property
    def max_tokens(self) -> int:
        return self._generator.max_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return self._generator.count_tokens(messages)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        pieces = self._generator.stream(prompt)
        try:
            for piece in pieces:
                if self._gone():
                    raise _HungUpError
                yield piece
        finally:
            if isinstance(pieces, Generator):
                pieces.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)


class _HungUpError(Exception):
    """Nobody waits for the answer any more."""


def _hung_up(connection: socket.socket) -> bool:
    """Whether the client has gone; it says nothing after its question."""
    looks = select.poll()
    looks.register(connection, select.POLLIN)
    return bool(looks.poll(0))
