"""The side of a command: a RAG whose questions are answered by the daemon, if it can and will."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from rag.errors import DaemonError, QuestionError
from rag.serving.daemon.identity import identity
from rag.serving.daemon.messages import (
    LONGEST_EVENT,
    UNSPEAKABLE,
    Accepted,
    Ask,
    Check,
    Done,
    Event,
    Explain,
    Failed,
    Opening,
    Piece,
    Request,
    State,
    Told,
    decode,
    encode,
    error_of,
    receive,
)
from rag.serving.daemon.naming import named
from rag.serving.daemon.place import SocketFolder, is_private, is_same_user

if TYPE_CHECKING:
    from pathlib import Path

    from rag.answering.stream import AnswerStream
    from rag.config import Config
    from rag.engine import RAG
    from rag.types import (
        Answer,
        Explanation,
        IngestionReport,
        ProgressCallback,
        Verdict,
    )

T = TypeVar("T")

# What the daemon leaves to questions that it is at, and some more.
_STOPPING_SECONDS = 15.0
# A daemon that does not even greet is stopped or swamped: the command is faster by itself.
_GREETING_SECONDS = 5.0


class UnreachableError(Exception):
    """There is no daemon, it is not like this process, or it has gone."""


class DaemonRAG:
    """The questions of a RAG, answered by the daemon at `place`.

    Whatever it does not answer is answered by `local`, a RAG of this process, which is made when
    it is needed.
    """

    def __init__(
        self,
        config: Config,
        place: SocketFolder,
        local: Callable[[], RAG],
        progress: ProgressCallback | None = None,
    ) -> None:
        self._config = config
        self._place = place
        self._progress = progress
        self._make_local = local
        self._made: RAG | None = None

    def index(self, paths: Sequence[str | Path]) -> IngestionReport:
        """As `RAG.index`: by this process, which then answers too."""
        return self._local().index(paths)

    def explain(
        self, question: str, k: int | None = None, where: str | Mapping[str, Any] = ""
    ) -> Explanation:
        """As `RAG.explain`."""
        from rag.types import Explanation

        asked = Explain(question, k, _plain(where))
        found = self._result(asked, Explanation)
        return self._local().explain(question, k, where) if found is None else found

    def check(
        self,
        claim: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        by_generator: bool = False,
    ) -> Verdict:
        """As `RAG.check`."""
        from rag.types import Verdict

        asked = Check(claim, k, _plain(where), by_generator)
        found = self._result(asked, Verdict)
        if found is None:
            return self._local().check(claim, k, where, by_generator=by_generator)
        return found

    def stream(
        self,
        question: str,
        k: int | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> DaemonStream:
        """As `RAG.stream`."""
        asked = Ask(question, k, _plain(where), None if schema is None else dict(schema))
        return DaemonStream(
            self._events(asked), lambda: self._local().stream(question, k, where, schema=schema)
        )

    def _result(self, asked: Explain | Check, kind: type[T]) -> T | None:
        """What the daemon found; None if this process is to find it."""
        with suppress(UnreachableError):
            for event in self._events(asked):
                if isinstance(event, Done):
                    with _unreachable_if_broken():
                        return decode(event.result, kind)
        return None

    def _events(self, asked: Explain | Ask | Check) -> Iterator[Piece | Done]:
        """What the daemon says to a question.

        Raises:
            UnreachableError: if this process is to answer.
            RagError: what the daemon raised.
        """
        if self._made is not None:
            raise UnreachableError
        with _unreachable_if_broken():
            settings = named(self._config)
            said = encode(Request(settings.config, asked))
            connection = _opened(self._place, "answer", said)
        begun = False
        with connection:
            while True:
                with _unreachable_if_broken():
                    event: Event = receive(connection, Event, LONGEST_EVENT)
                if isinstance(event, Accepted):
                    connection.settimeout(None)
                elif isinstance(event, Told):
                    if self._progress is not None:
                        self._progress(event.progress)
                elif isinstance(event, Failed):
                    if settings.by_model and not begun:
                        raise UnreachableError
                    raise error_of(event, settings.as_given)
                elif isinstance(event, Piece):
                    begun = True
                    yield event
                elif isinstance(event, Done):
                    yield event
                    return
                else:
                    raise UnreachableError

    def _local(self) -> RAG:
        if self._made is None:
            self._made = self._make_local()
        return self._made


class DaemonStream:
    """As `AnswerStream`: iterate for the text, then read `.answer`."""

    def __init__(self, events: Iterator[Piece | Done], local: Callable[[], AnswerStream]) -> None:
        self._events = events
        self._local = local
        self._answer: Answer | None = None
        self._pieces = self._written()

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    @property
    def answer(self) -> Answer:
        """The answer with its citations; what is left of the stream is read first."""
        for _ in self._pieces:
            pass
        if self._answer is None:
            raise QuestionError("the stream was closed before its end, or failed: ask again")
        return self._answer

    def _written(self) -> Iterator[str]:
        from rag.types import Answer

        begun = False
        try:
            for event in self._events:
                if isinstance(event, Piece):
                    begun = True
                    yield event.text
                else:
                    with _unreachable_if_broken():
                        self._answer = decode(event.result, Answer)
        except UnreachableError:
            if begun:
                raise DaemonError(
                    "the daemon ended in the middle of the answer: ask again"
                ) from None
            stream = self._local()
            yield from stream
            self._answer = stream.answer


def daemon_state(place: SocketFolder) -> State | None:
    """What the daemon says of itself; None if there is none."""
    try:
        with _unreachable_if_broken(), _opened(place, "state") as connection:
            state: State = receive(connection, State, LONGEST_EVENT)
            return state
    except UnreachableError:
        return None


def stop_daemon(place: SocketFolder) -> State | None:
    """End the daemon, which finishes what it is at; None if there is none.

    Raises:
        DaemonError: if it does not end.
    """
    try:
        with _opened(place, "stop") as connection:
            state: State = receive(connection, State, LONGEST_EVENT)
            connection.settimeout(_STOPPING_SECONDS)
            # The system closes it when the process has ended.
            connection.recv(1)
            return state
    except TimeoutError:
        raise DaemonError(
            f"the daemon does not end: kill the process that holds {place.lock}"
        ) from None
    except (UnreachableError, OSError):
        return None


def _opened(place: SocketFolder, wants: Any, said: bytes = b"") -> socket.socket:
    """A connection on which the opening was said, and more.

    Raises:
        UnreachableError: if no daemon of this user listens there.
        OSError: if it went meanwhile.
    """
    if not is_private(place):
        raise UnreachableError
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_GREETING_SECONDS)
        connection.connect(str(place.socket))
        if not is_same_user(connection):
            raise UnreachableError
        connection.sendall(encode(Opening(identity(), wants)) + said)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _unreachable_if_broken() -> Iterator[None]:
    try:
        yield
    except (OSError, *UNSPEAKABLE) as error:
        raise UnreachableError from error


def _plain(where: str | Mapping[str, Any]) -> str | dict[str, Any]:
    return where if isinstance(where, str) else dict(where)
