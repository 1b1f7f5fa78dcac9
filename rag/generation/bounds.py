"""Hold a server to an end: so many bytes of an event and an answer, and so many seconds in all.

httpx bounds the wait for the next bytes and the size of the headers. A server that sends a little
now and then, or a line without an end, would be waited for, or stored, for ever.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_EVENT = 1 << 20
"""Bytes of one event of a stream: a piece of an answer takes some hundred."""

_LONGEST_BODY = 16 << 20
_MOST_BYTES_A_TOKEN = 4096
_SECONDS = re.compile("[0-9]{1,9}")
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class EndlessError(httpx.TransportError):
    """A server sends more, or takes longer, than an answer may."""


class BoundedClient(httpx.Client):
    """A client for answers of at most `max_tokens` tokens, each of which takes `seconds` at most.

    Anything longer raises EndlessError, or breaks the connection; then `timed_out` is true.
    """

    def __init__(
        self, *, max_tokens: int, seconds: float, headers: Mapping[str, str], **options: Any
    ) -> None:
        # The size of what is compressed is not known.
        plain = {**headers, "Accept-Encoding": "identity"}
        super().__init__(headers=plain, event_hooks={"response": [self._bound]}, **options)
        self.seconds = seconds
        self.timed_out = False
        self._most = _LONGEST_BODY + max_tokens * _MOST_BYTES_A_TOKEN
        self._socket: socket.socket | None = None
        self._timer: threading.Timer | None = None

    def build_request(self, *arguments: Any, **options: Any) -> httpx.Request:
        extensions = {**(options.pop("extensions", None) or {}), "trace": self._trace}
        return super().build_request(*arguments, extensions=extensions, **options)

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        self._stop_timer()
        self._timer = threading.Timer(self.seconds, self._break)
        self._timer.daemon = True
        self._timer.start()
        return super().send(request, **options)

    def __exit__(self, *raised: Any) -> None:
        self._stop_timer()
        super().__exit__(*raised)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _bound(self, response: httpx.Response) -> None:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise EndlessError("sent a compressed answer, which nobody asked for")
        stream = response.stream
        if isinstance(stream, httpx.SyncByteStream):
            streams = "text/event-stream" in response.headers.get("Content-Type", "")
            longest = LONGEST_EVENT if streams else self._most
            response.stream = _BoundedStream(stream, self._most, longest)

    def _trace(self, event: str, facts: Mapping[str, Any]) -> None:
        """Note the connection that was made: httpx tells it to nobody else."""
        made = facts.get("return_value")
        if made is not None and hasattr(made, "get_extra_info"):
            found = made.get_extra_info("socket")
            self._socket = found if isinstance(found, socket.socket) else self._socket

    def _break(self) -> None:
        self.timed_out = True
        if self._socket is not None:
            # Unlike `close`, this wakes the thread that waits for bytes. It may be broken already.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _BoundedStream(httpx.SyncByteStream):
    """A stream of bytes that fails once it is too long, or an event of it."""

    def __init__(self, stream: httpx.SyncByteStream, most: int, longest_event: int) -> None:
        self._stream = stream
        self._most = most
        self._longest = longest_event

    def __iter__(self) -> Iterator[bytes]:
        taken = of_event = 0
        tail = b""
        for piece in self._stream:
            taken += len(piece)
            seen = tail + piece
            ends = [at + len(end) for end in _EVENT_ENDS if (at := seen.rfind(end)) >= 0]
            of_event = len(seen) - max(ends) if ends else of_event + len(piece)
            tail = seen[-3:]
            if taken > self._most or of_event > self._longest:
                limit = self._most if taken > self._most else self._longest
                raise EndlessError(f"sent more than {limit:,} bytes without an end")
            yield piece

    def close(self) -> None:
        self._stream.close()


def read_retry_after(header: str) -> float | None:
    """Return the seconds that a `Retry-After` asks to wait, 0 for a time that is past.

    None if it is neither a number of seconds nor a date (RFC 9110, section 10.2.3).
    """
    header = header.strip()
    if _SECONDS.fullmatch(header):
        return float(header)
    try:
        when = parsedate_to_datetime(header)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
