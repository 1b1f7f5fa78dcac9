"""Fetch from a server, over connections to addresses that were checked, within limits.

httpcore hands each connection to a backend, which looks the name up, checks every address found,
and connects to one of them by its number: between the check and the connection nothing is looked
up again, so that a name whose address changes leads nowhere. Proxies, cookies, passwords and
redirects are left out on purpose: a proxy would look names up itself.
"""

from __future__ import annotations

import re
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from rag.errors import SourceError, first_line, without_passwords
from rag.sources.addresses import public

AGENT = "checkable-rag"
_LONGEST_ADDRESS = 4096
_HOST = re.compile(r"[a-z0-9_][a-z0-9._-]{0,252}")
_SECONDS_TO_CONNECT = 10.0
# A server that asks for more patience is asked again by the next run.
_LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class Response:
    """What a server answers: names of `headers` are in lower case, and `pieces` can be read once.

    `pieces` raises SourceError if the body is too long, takes too long or breaks off.
    """

    address: str
    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.pieces)


class Fetcher:
    """Fetches one thing after the other, each within `seconds` and `most_bytes`.

    All of them together have `most_in_all` bytes.

    Args:
        private: allow private addresses too, such as those of a company's own network.
        delay: the least seconds between two requests to one server.
        resolve: looks hosts up.
        permits: decides on each address found (None: `public.is_public`, or what is private too).
        wait: sleeps for so many seconds.
    """

    def __init__(
        self,
        *,
        private: bool = False,
        seconds: float = 30.0,
        delay: float = 1.0,
        most_bytes: int = 256 << 20,
        most_in_all: int = 8192 << 20,
        resolve: public.Resolve | None = None,
        permits: Callable[[str], bool] | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.seconds = seconds
        self.delay = delay
        self.most_bytes = most_bytes
        self.most_in_all = most_in_all
        self._fetched = 0
        self._private = private
        self._resolve = resolve or public.resolve_host
        self._permits = permits or (public.is_private_or_public if private else public.is_public)
        self._wait = wait
        self._next_at: dict[str, float] = defaultdict(float)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            network_backend=_CheckedBackend(self),
            max_connections=2,
            keepalive_expiry=10.0,
            retries=0,
        )
        self.deadline = float("inf")

    def pause(self, seconds: float) -> None:
        """Wait for so many seconds."""
        self._wait(seconds)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def addresses_of(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, each of which was checked.

        Raises:
            SourceError: if there are none, or one of them may not be fetched from.
        """
        try:
            found = list(self._resolve(host, port))
        except (OSError, UnicodeError) as error:
            reason = f"its server is not found: {getattr(error, 'strerror', None) or error}"
            raise SourceError(host, reason, lasting=False) from error
        if not found:
            raise SourceError(host, "its server is not found", lasting=False)
        for address in found:
            if not self._permits(address):
                cure = "" if self._private else ": pass --allow-private if you mean it"
                raise SourceError(
                    host, f"leads to {address}, which is no public address{cure}", lasting=False
                )
        return found

    @contextmanager
    def open(
        self, address: str, headers: Mapping[str, str] | None = None, *, delay: float = 0.0
    ) -> Iterator[Response]:
        """Ask for an address; a redirect is returned as it is.

        `delay` is what the server itself asks to wait between two requests, in seconds.

        Raises:
            SourceError: naming the address, if there is no answer, or a limit is reached.
        """
        address = normalize(address)
        self._check_all(address)
        url = httpx.URL(address)
        self._pause(url.host, max(delay, self.delay))
        self.deadline = time.monotonic() + self.seconds
        asked = {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": AGENT,
            "Accept": "*/*",
            # What a compressed answer grows to is not known beforehand.
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self.seconds)
        try:
            with self._pool.stream(
                "GET", address, headers=list(asked.items()), extensions={"timeout": timeouts}
            ) as answer:
                found = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in answer.headers
                }
                if found.get("content-encoding", "identity").strip().lower() not in (
                    "",
                    "identity",
                ):
                    raise SourceError(
                        address, "is sent compressed, which nobody asked for", lasting=False
                    )
                pieces = self._bound(address, answer.iter_stream())
                yield Response(address, answer.status, found, pieces)
        except SourceError as error:
            # The check of a host knows nothing of the address that led there.
            raise SourceError(address, error.reason, kind=error.kind, lasting=False) from error
        except httpcore.TimeoutException as error:
            reason = f"took more than {self.seconds:g} s (`fetching.seconds`)"
            raise SourceError(address, reason, lasting=False) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            reason = f"cannot be fetched: {without_passwords(first_line(error))}"
            raise SourceError(address, reason, lasting=False) from error

    def _bound(self, address: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        taken = 0
        for piece in pieces:
            taken += len(piece)
            self._fetched += len(piece)
            self._check_all(address)
            if taken > self.most_bytes:
                raise SourceError(
                    address,
                    f"has more than {self.most_bytes >> 20:,} MB (`sources.max_file_mb`)",
                    lasting=False,
                )
            yield piece

    def _check_all(self, address: str) -> None:
        if self._fetched > self.most_in_all:
            most = self.most_in_all >> 20
            reason = f"was left, as all before it has {most:,} MB (`sources.max_container_mb`)"
            raise SourceError(address, reason, lasting=False)

    def _pause(self, host: str, delay: float) -> None:
        now = time.monotonic()
        due = self._next_at[host]
        if due > now:
            self._wait(min(due - now, _LONGEST_PAUSE))
        self._next_at[host] = max(now, due) + min(delay, _LONGEST_PAUSE)


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to the very addresses that were checked, and to nothing else."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._fetcher.addresses_of(host.strip("[]"), port)
        failure: Exception | None = None
        for address in addresses:
            left = self._fetcher.deadline - time.monotonic()
            if left <= 0:
                break
            try:
                stream = self._plain.connect_tcp(
                    address, port, min(left, _SECONDS_TO_CONNECT), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _TimedStream(stream, self._fetcher)
        raise failure or httpcore.ConnectTimeout("no address answered in time")

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise httpcore.ConnectError("no socket of this machine is fetched from")

    def sleep(self, seconds: float) -> None:
        self._plain.sleep(seconds)


class _TimedStream(httpcore.NetworkStream):
    """A connection that ends with the fetcher's deadline, however little comes at a time."""

    def __init__(self, stream: httpcore.NetworkStream, fetcher: Fetcher) -> None:
        self._stream = stream
        self._fetcher = fetcher

    def _left(self, error: type[httpcore.TimeoutException]) -> float:
        left = self._fetcher.deadline - time.monotonic()
        if left <= 0:
            raise error("the time is up")
        return left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = self._left(httpcore.ConnectTimeout)
        return _TimedStream(
            self._stream.start_tls(ssl_context, server_hostname, left), self._fetcher
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def normalize(address: str) -> str:
    """Return an address of the web as requests and citations write it, without a fragment.

    Raises:
        SourceError: if it is none, or holds a password.
    """
    shown = without_passwords(address)[:200]
    try:
        url = httpx.URL(address)
        url = url.copy_with(fragment=None, path=url.path or "/")
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise SourceError(shown, f"is no address: {first_line(error)}") from error
    host = url.raw_host.decode("ascii")
    known = url.scheme in ("http", "https") and (_HOST.fullmatch(host) or ":" in host)
    if not known or not 0 < (url.port or 1) < 1 << 16 or len(str(url)) > _LONGEST_ADDRESS:
        raise SourceError(shown, "is no address of a page: it begins with https:// and a host")
    if url.userinfo:
        raise SourceError(
            shown, "holds a user or a password, which would stand in every citation: leave it out"
        )
    return str(url)


def join(base: str, link: str) -> str | None:
    """Return the address that a link on the page at `base` leads to; None if it leads nowhere."""
    try:
        return normalize(str(httpx.URL(base).join(link.strip())))
    except (SourceError, httpx.InvalidURL, ValueError, TypeError):
        return None


def origin(address: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an address."""
    url = httpx.URL(address)
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
