"""Fetch a page, the pages that a sitemap lists, or a site to some depth, into a mirror.

What `robots.txt` forbids is not asked for (RFC 9309), and a copy that the server says is current
(RFC 9110, section 13) is not sent again. A page that is gone, or forbidden now, leaves the mirror;
one that cannot be reached at the moment stays.
"""

from __future__ import annotations

import codecs
import email.utils
import html
import mimetypes
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from posixpath import basename, dirname
from types import TracebackType
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

import httpx

from rag.errors import SourceError
from rag.sources.addresses.fetching import AGENT, Fetcher, Response, join, origin
from rag.sources.addresses.mirror import Entry, Mirror
from rag.sources.encodings import find_codec
from rag.types import Problem

if TYPE_CHECKING:
    from protego import Protego

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410})
_BUSY = frozenset({429, 503})
# RFC 9309, section 2.5: at least 500 KiB are read.
_LONGEST_ROBOTS = 512 << 10
_LONGEST_RETRY = 30.0
# The protocol of sitemaps allows 50 MB and 50,000 addresses.
_LONGEST_SITEMAP = 50 << 20
_MOST_SITEMAPS = 100
_SITEMAP = re.compile(rb"<(?:\w{1,30}:)?(urlset|sitemapindex)[\s>]")
_LOCATION = re.compile(
    rb"<(?:\w{1,30}:)?loc\s*+>\s*+(?:<!\[CDATA\[\s*+)?([^<\]\s]{1,4096}+)\s*+(?:\]\]>\s*+)?</"
)
# Links are looked for in the bytes, with nothing that could be led astray or take long.
_LINK = re.compile(
    rb"<(a|area|base)\s(?:[^<>]{0,2000}?\s)?href\s*+=\s*+"
    rb"(?:\"([^\"<>]{1,4096})\"|'([^'<>]{1,4096})'|([^\s\"'<>]{1,4096}))",
    re.I,
)
_MOST_LINKS = 20_000
_MOST_WAITING = 100_000
_HTML = frozenset({"text/html", "application/xhtml+xml"})
# What a link to such a thing leads to holds no text.
_NO_DOCUMENT = re.compile(
    r"(?:image|audio|video|font)/|text/(?:css|javascript)|application/(?:javascript|octet-stream|"
    r"wasm|zip|gzip|x-tar|x-7z-compressed|java-archive|x-debian-package|rss\+xml|atom\+xml)"
)
_SUFFIXES = {"text/html": ".html", "application/xhtml+xml": ".html", "text/plain": ".txt"}


@dataclass(frozen=True, slots=True)
class _Visit:
    """What became of an address: fresh or kept in the mirror under `address`, gone, or neither."""

    outcome: Literal["fresh", "kept", "gone", "forbidden", "elsewhere", "nothing"]
    address: str
    status: int = 0


def gather(
    address: str,
    mirror: Mirror,
    fetcher: Fetcher,
    *,
    depth: int,
    pages: int,
    takes: Callable[[str], bool],
    show: Callable[[str], None],
) -> Iterator[Problem]:
    """Bring the mirror of an address up to date, and yield what could not be fetched.

    A sitemap stands for the pages that it lists; with a `depth`, links are followed so far, to
    pages of the same server in the folder of the first one or below it.

    Args:
        pages: at most so many pages are taken.
        takes: whether patterns of the user's let a page in, by its path on the server.

    Raises:
        SourceError: if the address itself cannot be fetched.
    """
    walk = _Walk(mirror, fetcher, show)
    first = walk.visit(address)
    if first.outcome in ("gone", "forbidden"):
        yield _problem_of(first)
        return
    start = mirror.base_of(address)
    listed = _read_start(mirror, address)
    is_sitemap = _SITEMAP.search(listed[:4096]) is not None
    found = _Frontier(start, "/" if is_sitemap else _folder_of(start), takes)
    if is_sitemap:
        # A page that is listed is taken, and no link of it is followed.
        found.add(walk.read_sitemap(start, listed), depth)
    elif depth:
        found.seen.add(address)
        found.add(_links_of(mirror, address), 1)
    taken = 0 if is_sitemap else 1
    gone = {address} if is_sitemap else set()
    problems = list(walk.problems)
    while found.waiting:
        link, level = found.waiting.popleft()
        if taken >= pages:
            reason = f"has more than the {pages:,} pages that are taken (`--pages`)"
            yield Problem(address, reason, "skipped", lasting=False)
            break
        try:
            visit = walk.visit(link, found)
        except SourceError as error:
            problems.append(Problem(link, error.reason, lasting=False))
            continue
        if visit.outcome in ("gone", "forbidden"):
            gone.add(link)
            yield _problem_of(visit)
        elif visit.outcome in ("fresh", "kept"):
            taken += 1
            if level < depth:
                found.add(_links_of(mirror, visit.address), level + 1)
    if problems:
        # What a page leads to is not gone because the page cannot be read now.
        mirror.keep_all(but=gone)
    elif is_sitemap:
        mirror.take_back(address)
    yield from problems


class _Frontier:
    """The pages that were found and not visited yet: of one server, in one folder."""

    def __init__(self, start: str, folder: str, takes: Callable[[str], bool]) -> None:
        self.seen = {start}
        self.waiting: deque[tuple[str, int]] = deque()
        self._server = origin(start)
        self._folder = folder
        self._takes = takes

    def wants(self, address: str) -> bool:
        """Return whether a page is one of those to take."""
        inside = origin(address) == self._server and _is_in(address, self._folder)
        return inside and self._takes(_path_of(address))

    def add(self, links: Iterable[str], level: int) -> None:
        """Take in links to pages that are so deep, each page once."""
        for link in links:
            if len(self.waiting) >= _MOST_WAITING:
                return
            if link not in self.seen and self.wants(link):
                self.seen.add(link)
                self.waiting.append((link, level))


class _Walk:
    """The visits of one run, with the rules of each server."""

    def __init__(self, mirror: Mirror, fetcher: Fetcher, show: Callable[[str], None]) -> None:
        self.problems: list[Problem] = []
        self._mirror = mirror
        self._fetcher = fetcher
        self._show = show
        self._rules: dict[tuple[str, str, int], Protego | None] = {}

    def visit(self, address: str, found: _Frontier | None = None) -> _Visit:
        """Bring the copy of an address up to date.

        One that was named keeps its address through redirects. One that was `found` has the address
        that it leads to, and is left if that was found, too, or is none of those to take.

        Raises:
            SourceError: if it cannot be fetched.
        """
        at = address
        known = self._mirror.find(address)
        for _ in range(_MOST_REDIRECTS + 1):
            if not self._may_fetch(at):
                return _Visit("forbidden", address)
            self._show(at)
            with self._open(at, known) as answer:
                if answer.status in _REDIRECTS:
                    at = self._next(answer)
                    if found is not None:
                        if at in found.seen or not found.wants(at):
                            return _Visit("elsewhere", address)
                        found.seen.add(at)
                        known = self._mirror.find(at)
                    continue
                name = at if found is not None else address
                if answer.status == 304 and known is not None:
                    self._mirror.keep(name)
                    return _Visit("kept", name)
                if answer.status in _GONE:
                    return _Visit("gone", address, answer.status)
                if answer.status != 200:
                    raise SourceError(address, f"the server answers {answer.status}", lasting=False)
                if found is not None and _NO_DOCUMENT.match(_media_type(answer)):
                    return _Visit("nothing", name)
                self._put(name, answer)
                return _Visit("fresh", name)
        raise SourceError(address, f"leads on more than {_MOST_REDIRECTS} times", lasting=False)

    def read_sitemap(self, address: str, data: bytes) -> Iterator[str]:
        """Yield the addresses that a sitemap lists, and those that it names."""
        waiting = deque([(address, data)])
        read = {address}
        while waiting:
            place, data = waiting.popleft()
            head = _SITEMAP.search(data[:4096])
            found = (join(place, html.unescape(each.decode("utf-8", "replace")))
                     for each in _LOCATION.findall(data))  # fmt: skip
            links = [link for link in found if link and origin(link) == origin(address)]
            if head is None or head[1] == b"urlset":
                yield from links
                continue
            for link in links:
                if link in read or len(read) >= _MOST_SITEMAPS:
                    continue
                read.add(link)
                try:
                    waiting.append((link, self._read_whole(link)))
                except SourceError as error:
                    self.problems.append(Problem(link, error.reason, lasting=False))

    def _read_whole(self, address: str) -> bytes:
        if not self._may_fetch(address):
            raise SourceError(address, "robots.txt forbids to fetch it")
        with self._open(address, None) as answer:
            if answer.status != 200:
                raise SourceError(address, f"the server answers {answer.status}")
            return _unpack(_take(answer.pieces, _LONGEST_SITEMAP))

    def _open(self, address: str, known: Entry | None) -> _Opened:
        asked = {}
        if known is not None and known.version:
            asked["If-None-Match"] = known.version
        if known is not None and known.last_modified:
            asked["If-Modified-Since"] = known.last_modified
        rules = self._rules.get(origin(address))
        own = rules.crawl_delay(AGENT) if rules is not None else None
        return _Opened(self._fetcher, address, asked, float(own or 0))

    def _next(self, answer: Response) -> str:
        target = join(answer.address, answer.headers.get("location", ""))
        if target is None or not answer.headers.get("location"):
            raise SourceError(answer.address, "leads on to nowhere", lasting=False)
        if origin(answer.address)[0] == "https" and origin(target)[0] != "https":
            raise SourceError(
                answer.address,
                f"leads on to {target}, which anybody on the way may change: name that address "
                "if you trust it",
                lasting=False,
            )
        return target

    def _may_fetch(self, address: str) -> bool:
        server = origin(address)
        if server not in self._rules:
            self._rules[server] = self._read_rules(address)
        rules = self._rules[server]
        return rules is None or bool(rules.can_fetch(address, AGENT))

    def _read_rules(self, address: str) -> Protego | None:
        """Return the rules of a server; None if it has none.

        Raises:
            SourceError: if they cannot be reached, when nothing may be fetched (section 2.3.1.4).
        """
        from protego import Protego

        at = str(httpx.URL(address).join("/robots.txt"))
        for _ in range(_MOST_REDIRECTS + 1):
            with self._open(at, None) as answer:
                if answer.status in _REDIRECTS:
                    at = self._next(answer)
                    continue
                if answer.status >= 500 or answer.status in _BUSY:
                    reason = f"its robots.txt cannot be read: the server answers {answer.status}"
                    raise SourceError(address, reason, lasting=False)
                if answer.status != 200:
                    return None
                text = _take(answer.pieces, _LONGEST_ROBOTS, cut=True).decode("utf-8", "replace")
                return Protego.parse(text.removeprefix("\ufeff"))
        return None

    def _put(self, address: str, answer: Response) -> None:
        kind = _media_type(answer)
        entry = Entry(
            address,
            _name_of(address, kind),
            version=answer.headers.get("etag", ""),
            last_modified=answer.headers.get("last-modified", ""),
            media_type=kind,
            base=answer.address,
        )
        pieces: Iterable[bytes] = answer.pieces
        charset = _charset(answer)
        if charset and kind in (*_HTML, "text/plain"):
            # What the server says counts more than what the page says: a byte order mark does too.
            body = answer.read()
            text = body.decode(charset, "replace").removeprefix("\ufeff")
            pieces = [codecs.BOM_UTF8, text.encode("utf-8", "replace")]
        self._mirror.put(entry, pieces, modified=_date(entry.last_modified))


class _Opened:
    """An answer for the length of a block; a server that is busy is asked once more."""

    def __init__(
        self, fetcher: Fetcher, address: str, headers: dict[str, str], delay: float
    ) -> None:
        self._ask = partial(fetcher.open, address, headers, delay=delay)
        self._pause = fetcher.pause
        self._held: AbstractContextManager[Response]

    def __enter__(self) -> Response:
        self._held = self._ask()
        answer = self._held.__enter__()
        if answer.status in _BUSY:
            asked = answer.headers.get("retry-after", "")
            seconds = float(asked) if re.fullmatch("[0-9]{1,4}", asked) else float("inf")
            if seconds <= _LONGEST_RETRY:
                self._held.__exit__(None, None, None)
                self._pause(seconds)
                self._held = self._ask()
                answer = self._held.__enter__()
        return answer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, trace)


def _problem_of(visit: _Visit) -> Problem:
    reason = "robots.txt forbids to fetch it"
    if visit.outcome == "gone":
        reason = f"is gone: the server answers {visit.status}"
    return Problem(visit.address, reason, "skipped", lasting=False)


def _read_start(mirror: Mirror, address: str) -> bytes:
    entry = mirror.find(address)
    if entry is None:
        return b""
    with mirror.path_of(entry).open("rb") as file:
        head = file.read(4096)
        # Only a sitemap and a page with links are looked into.
        if not (_SITEMAP.search(head) or head.startswith(b"\x1f\x8b")):
            return head
        return _unpack(head + file.read(_LONGEST_SITEMAP))


def _links_of(mirror: Mirror, address: str) -> Iterator[str]:
    entry = mirror.find(address)
    if entry is None or entry.media_type not in _HTML:
        return
    base = mirror.base_of(address)
    with mirror.path_of(entry).open("rb") as file:
        data = file.read(_LONGEST_SITEMAP)
    for count, (tag, *values) in enumerate(_LINK.findall(data)):
        if count >= _MOST_LINKS:
            return
        link = join(base, html.unescape(b"".join(values).decode("utf-8", "replace")))
        if link is None:
            continue
        if tag.lower() == b"base":
            base = link
        else:
            yield link


def _take(pieces: Iterable[bytes], most: int, *, cut: bool = False) -> bytes:
    data = b""
    for piece in pieces:
        data += piece
        if len(data) > most:
            if not cut:
                raise SourceError("", f"has more than {most >> 20} MB")
            break
    return data[:most]


def _unpack(data: bytes) -> bytes:
    """Return a sitemap, unpacked if it is compressed, up to the most that one may hold."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return zlib.decompressobj(wbits=31).decompress(data, _LONGEST_SITEMAP)
    except zlib.error:
        return b""


def _media_type(answer: Response) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _charset(answer: Response) -> str:
    """Return the codec of the charset that the server names; empty if Python knows none."""
    found = re.search(
        r"charset\s*=\s*[\"']?([\w.:-]{1,40})", answer.headers.get("content-type", ""), re.I
    )
    return find_codec(found[1]) if found else ""


def _date(header: str) -> float | None:
    try:
        seconds = email.utils.parsedate_to_datetime(header).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return seconds if 0 < seconds < 1 << 33 else None


def _name_of(address: str, kind: str) -> str:
    """Return a file name for a page, whose suffix says what the server says that it is."""
    url = httpx.URL(address)
    path = url.path.rstrip("/")
    name = unquote(basename(path)) or url.host
    suffix = _SUFFIXES.get(kind) or mimetypes.guess_extension(kind) or ""
    own = mimetypes.guess_type(name)[0] if path else None
    # A suffix that names the same is the page's own: `.htm`, `.md`.
    plain = kind in ("", "text/plain", "application/octet-stream")
    return name if own and (own == kind or plain) else name + suffix


def _folder_of(address: str) -> str:
    url = httpx.URL(address)
    folder = url.path if url.path.endswith("/") else dirname(url.path)
    return folder.rstrip("/") + "/"


def _is_in(address: str, folder: str) -> bool:
    return httpx.URL(address).path.startswith(folder)


def _path_of(address: str) -> str:
    url = httpx.URL(address)
    return unquote(url.path).lstrip("/") + (f"?{url.query.decode()}" if url.query else "")
