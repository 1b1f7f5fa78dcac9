"""Nothing is fetched from where it must not be, nor without an end."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from servers import raw
from web import Site, serving
from working import assert_grows_linearly

from rag import SourceError
from rag.sources.addresses import git, web
from rag.sources.addresses.fetching import Fetcher, join, normalize
from rag.sources.addresses.public import is_private_or_public, is_public

# One of each range that IANA's registries of special addresses name, and of each way to write one
# within another.
PRIVATE = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.9.1", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.168.1.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("100.100.100.200", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0"),
    *("fec0::1", "ff02::1", "2001:db8::1", "3fff::1", "2001::1", "2001:10::1", "100::1", "5f00::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::ffff:7f00:1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:c0a8:101::1"),
    *("2001:0:7f00:1::", "4000::1", "localhost", "", "1.2.3", "0x7f000001"),
)  # fmt: skip
PUBLIC = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00::1",
          "::ffff:8.8.8.8", "64:ff9b::808:808")  # fmt: skip
NEVER = ("169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "100.100.100.200", "0.0.0.0",
         "168.63.129.16", "fd00:ec2::254", "224.0.0.1", "::", "64:ff9b::a9fe:a9fe")  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_none_that_everybody_may_reach(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_one(address: str) -> None:
    assert is_public(address)
    assert is_private_or_public(address)


@pytest.mark.parametrize("address", NEVER)
def test_what_hands_out_keys_is_never_fetched_from(address: str) -> None:
    assert not is_private_or_public(address)


def test_private_networks_are_fetched_from_if_they_are_allowed() -> None:
    assert all(map(is_private_or_public, ("10.0.0.1", "127.0.0.1", "::1", "fd12::1")))


class Names:
    """A resolver that gives each name the next of its answers, and the last one from then on."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        given = self.answers[host]
        return given.pop(0) if len(given) > 1 else given[0]


@pytest.fixture
def inner() -> Iterator[Site]:
    """A server that nobody may reach: it stands for a private one, at 127.0.0.2."""
    with serving(Site({"/": "keys", "/robots.txt": "keys"}), "127.0.0.2") as site:
        yield site


def fetcher(names: Names, **options: object) -> Fetcher:
    """Fetch as if 127.0.0.1, where a test can listen, were public, and 127.0.0.2 private."""
    return Fetcher(
        resolve=names,
        permits=lambda each: each == "127.0.0.1",
        delay=0,
        **options,  # type: ignore[arg-type]
    )


def get(fetching: Fetcher, address: str) -> bytes:
    with fetching.open(address) as answer:
        return answer.read()


def port_of(site: Site) -> str:
    return site.address.rpartition(":")[2]


def test_a_page_is_fetched_from_the_address_that_was_checked() -> None:
    with serving(Site({"/a": "words"})) as site:
        names = Names(page_test=[["127.0.0.1"]])
        assert get(fetcher(names), f"http://page.test:{port_of(site)}/a") == b"words"
    assert site.headers[0]["Host"] == f"page.test:{port_of(site)}"
    assert names.asked == ["page.test"]


def test_a_name_that_changes_its_address_is_looked_up_once_for_a_connection(inner: Site) -> None:
    port = int(port_of(inner))
    with serving(Site({"/": "words"}), port=port):
        # Checked as public, and private whenever anybody asks again.
        names = Names(page_test=[["127.0.0.1"], ["127.0.0.2"]])
        fetching = fetcher(names)
        assert get(fetching, f"http://page.test:{port}/") == b"words"
        fetching.close()
        with pytest.raises(SourceError, match=r"leads to 127\.0\.0\.2, which is no public address"):
            get(fetching, f"http://page.test:{port}/")
    assert not inner.asked


@pytest.mark.parametrize("found", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
def test_one_private_address_of_several_is_enough_to_refuse(inner: Site, found: list[str]) -> None:
    names = Names(page_test=[found])
    with pytest.raises(SourceError, match=r"no public address: pass --allow-private"):
        get(fetcher(names), f"http://page.test:{port_of(inner)}/")
    assert not inner.asked


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "017700000001",
     "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "localhost", "LOCALHOST.", "127.0.0.1."],
)  # fmt: skip
def test_no_way_to_write_this_machine_leads_to_it(host: str) -> None:
    refused = pytest.raises(SourceError, match=r"no public address|not found|is no address")
    with serving(Site({"/": "keys"})) as site, refused:
        get(Fetcher(delay=0), f"http://{host}:{port_of(site)}/")
    assert not site.asked


def test_environment_and_proxies_do_not_matter(
    inner: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, inner.address)
    with serving(Site({"/": "words"})) as site:
        names = Names(page_test=[["127.0.0.1"]])
        assert get(fetcher(names), f"http://page.test:{port_of(site)}/") == b"words"
    assert not inner.asked


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "ftp://h/a", "https://", "https:///a", "http://user:word@h/", "http://u@h",
     "http://h:99999/", "https://[::1", "gopher://h/", "https://" + "a" * 5000, "http://\ud800/"],
)  # fmt: skip
def test_what_is_no_address_of_a_page_is_refused_in_one_line(address: str) -> None:
    with pytest.raises(SourceError) as caught:
        normalize(address)
    assert "\n" not in str(caught.value)
    assert "word@" not in str(caught.value)


def test_links_lead_to_pages_or_nowhere() -> None:
    assert join("https://h/a/b?x=1#y", "../c#z") == "https://h/c"
    assert join("https://h/a/", "//other/x") == "https://other/x"
    for link in ("file:///etc/passwd", "javascript:alert(1)", "mailto:a@b", "http://[", "data:,x"):
        assert join("https://h/", link) is None


def test_a_body_without_an_end_is_cut_off() -> None:
    def flood(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(1 << 16))

    with raw(flood) as address, pytest.raises(SourceError, match=r"more than 1 MB"):
        get(Fetcher(private=True, most_bytes=1 << 20), address)


@pytest.mark.parametrize(
    "part",
    [b"<loc>" + b" " * 60, b"<loc> x" + b" " * 40 + b"]", b"<loc>" + b"x" * 50, b"<a " + b" " * 40,
     b"<a href" + b" " * 40, b"<a x href=", b"<a:" + b"w" * 40, b" href='"],
)  # fmt: skip
@pytest.mark.parametrize("repeated", ["all", "end"])
def test_links_are_found_in_time_that_grows_with_the_page(part: bytes, repeated: str) -> None:
    def search(data: bytes) -> None:
        web._LINK.findall(data)
        web._LOCATION.findall(data)
        web._SITEMAP.search(data)

    def page(times: int) -> bytes:
        return part * times if repeated == "all" else part + part[-1:] * (50 * times)

    assert_grows_linearly(search, page(400), page(3200), 8)


def test_all_that_is_fetched_has_an_end() -> None:
    with serving(Site({"/": "w" * 700})) as site:
        fetching = Fetcher(private=True, delay=0, most_in_all=1000)
        get(fetching, site.address)
        for _ in range(2):
            with pytest.raises(SourceError, match="max_container_mb"):
                get(fetching, site.address)
    assert site.sent == 2


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_trickles_is_left(head: bytes) -> None:
    def trickle(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head or b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            connection.sendall(b"a")
            time.sleep(0.02)

    with raw(trickle) as address, pytest.raises(SourceError, match=r"took more than 0.3 s"):
        get(Fetcher(private=True, seconds=0.3), address)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "cannot be fetched"),
        (b"\x16\x03\x01", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nabc", "compressed"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 40_000, "cannot be fetched"),
    ],
)
def test_what_is_no_answer_is_named(answer: bytes, reason: str) -> None:
    def converse(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer)

    with raw(converse) as address, pytest.raises(SourceError, match=reason):
        get(Fetcher(private=True), address)


def test_requests_to_one_server_keep_their_distance() -> None:
    waited: list[float] = []
    with serving(Site({"/": "words"})) as site:
        fetching = Fetcher(private=True, delay=5, wait=waited.append)
        for _ in range(3):
            get(fetching, site.address + "/")
    assert len(waited) == 2
    assert all(seconds > 4 for seconds in waited)


@pytest.mark.parametrize(
    "address",
    ["git+file:///srv/x", "git+https://h/x@--upload-pack=touch", "git+https://u:p@h/x.git",
     "git+https://h/x@a..b", "git+https://h/x?y", "git+https://h/x@a b"],
)  # fmt: skip
def test_what_is_no_address_of_a_repository_is_refused(address: str) -> None:
    with pytest.raises(SourceError):
        git.normalize_git(address)


def test_git_is_asked_of_no_private_server(inner: Site, tmp_path: Path) -> None:
    names = Names(page_test=[["127.0.0.2"]])
    with pytest.raises(SourceError, match="no public address"):
        git._Git("git", tmp_path, "x", fetcher(names), f"http://page.test:{port_of(inner)}/x.git")
    assert not inner.asked
