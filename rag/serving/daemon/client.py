"""A RAG for commands, whose questions the daemon answers if it can and will."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rag.answering.stream import AnswerStream
from rag.errors import DaemonError
from rag.serving.daemon import messages
from rag.serving.daemon.identity import identity
from rag.serving.daemon.messages import LONGEST_EVENT, encode, receive
from rag.serving.daemon.socket_folder import SocketFolder, is_same_user
from rag.serving.operations import (
    Ask,
    Check,
    Explain,
    Failure,
    ProgressEvent,
    Result,
    TextPiece,
)
from rag.serving.paths import make_paths_absolute

if TYPE_CHECKING:
    from rag.config import Config
    from rag.engine import RAG
    from rag.types import Answer, Explanation, IngestionReport, ProgressCallback, Verdict

T = TypeVar("T")

# A daemon that does not reply within this time is stopped or overloaded: the command is faster by
# itself.
_GREETING_SECONDS = 5.0


class UnreachableError(Exception):
    """There is no daemon, it is not like this process, or it has gone."""


class DaemonRAG:
    """A RAG that passes its questions to the daemon in `folder`.

    `make_local` makes a RAG of this process, once the daemon does not answer a question.
    """

    def __init__(
        self,
        config: Config,
        folder: SocketFolder,
        make_local: Callable[[], RAG],
        progress: ProgressCallback | None = None,
    ) -> None:
        self._config = config
        self._folder = folder
        self._progress = progress
        self._make_local = make_local
        self._local: RAG | None = None

    @property
    def path(self) -> Path:
        """The index folder."""
        return Path(self._config.index.path)

    def index(self, paths: Sequence[str | Path]) -> IngestionReport:
        """Index as `RAG.index` does, by this process, which then answers too."""
        return self._open_local().index(paths)

    def explain(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Explanation:
        """Explain as `RAG.explain` does."""
        from rag.types import Explanation

        found = self._request(Explain(question, k, _as_data(where)), Explanation)
        return self._open_local().explain(question, k, where) if found is None else found

    def check(
        self,
        claim: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        by_generator: bool = False,
    ) -> Verdict:
        """Check as `RAG.check` does."""
        from rag.types import Verdict

        found = self._request(Check(claim, k, _as_data(where), by_generator), Verdict)
        if found is None:
            return self._open_local().check(claim, k, where, by_generator=by_generator)
        return found

    def stream(
        self,
        question: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> AnswerStream:
        """Answer as `RAG.stream` does."""
        operation = Ask(question, k, _as_data(where), None if schema is None else dict(schema))

        def ask_here() -> AnswerStream:
            return self._open_local().stream(question, k, where, schema=schema)

        return AnswerStream(_relay(self._receive_events(operation), ask_here), question)

    def _request(self, operation: Explain | Check, kind: type[T]) -> T | None:
        """Return the daemon's result; None if this process has to do the operation."""
        with suppress(UnreachableError):
            for event in self._receive_events(operation):
                if isinstance(event, Result):
                    with unreachable_if_broken():
                        return event.decode(kind)
        return None

    def _receive_events(self, operation: Explain | Ask | Check) -> Iterator[TextPiece | Result]:
        """Send a request, and yield what the daemon sends back.

        Raises:
            UnreachableError: if this process has to do the operation.
            RagError: as the daemon raised it.
        """
        if self._local is not None:
            raise UnreachableError
        with unreachable_if_broken():
            request = messages.Request(make_paths_absolute(self._config), operation)
            connection = open_connection(self._folder, "answer", encode(request))
        with connection:
            while True:
                with unreachable_if_broken():
                    event: messages.Event = receive(connection, messages.Event, LONGEST_EVENT)
                if isinstance(event, messages.Acceptance):
                    connection.settimeout(None)
                elif isinstance(event, ProgressEvent):
                    if self._progress is not None:
                        self._progress(event.progress)
                elif isinstance(event, Failure):
                    raise event.error()
                elif isinstance(event, TextPiece):
                    yield event
                elif isinstance(event, Result):
                    yield event
                    return
                else:
                    raise UnreachableError

    def _open_local(self) -> RAG:
        if self._local is None:
            self._local = self._make_local()
        return self._local


def _relay(
    events: Iterator[TextPiece | Result], ask_here: Callable[[], AnswerStream]
) -> Generator[str, None, Answer]:
    """Yield the pieces that the daemon sends and return its answer, or those of this process."""
    from rag.types import Answer

    begun = False
    try:
        for event in events:
            if isinstance(event, Result):
                with unreachable_if_broken():
                    return event.decode(Answer)
            begun = True
            yield event.text
        raise UnreachableError
    except UnreachableError:
        if begun:
            raise DaemonError("the daemon ended in the middle of the answer: ask again") from None
    stream = ask_here()
    yield from stream
    return stream.answer


def open_connection(
    folder: SocketFolder, wants: Literal["answer", "state", "stop"], request: bytes = b""
) -> socket.socket:
    """Connect to the daemon, and send a greeting and an encoded request.

    Raises:
        UnreachableError: if no daemon of this user listens there.
        OSError: if it went meanwhile.
    """
    if not folder.is_private:
        raise UnreachableError
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_GREETING_SECONDS)
        connection.connect(str(folder.socket))
        if not is_same_user(connection):
            raise UnreachableError
        connection.sendall(encode(messages.Greeting(identity(), wants)) + request)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def unreachable_if_broken() -> Iterator[None]:
    """Raise UnreachableError where a connection breaks, or a message cannot be encoded."""
    try:
        yield
    except (OSError, *messages.ENCODING_ERRORS) as error:
        raise UnreachableError from error


def _as_data(where: str | Mapping[str, Any]) -> str | dict[str, Any]:
    return where if isinstance(where, str) else dict(where)
