"""Pages, sitemaps, sites and repositories come into the index, and go as they go at the source."""

from __future__ import annotations

import re
import shutil
import socketserver
import subprocess
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import ROOT
from fpdf import FPDF
from web import DELAY, Page, Site, listening, serving

from rag import RAG, SourceError
from rag.cli.terminal import one_line
from rag.protocols import Embedder
from rag.sources.addresses.mirror import Entry, Mirror, file_name

ALPHA = "<html><title>Alpha</title><p>The alpha particle has two protons and two neutrons.</p>"
BETA = "<html><title>Beta</title><p>The beta particle is an electron that a nucleus sends out.</p>"
GAMMA = "<html><title>Gamma</title><p>Gamma rays are light of very short waves.</p>"


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what is fetched; models stay where they are."""
    monkeypatch.setattr("rag.sources.addresses._folder_of_copies", lambda: tmp_path / "copies")
    monkeypatch.setattr("rag.models.cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "copies"


@pytest.fixture
def rag(tmp_path: Path, embedder: Embedder, copies: Path) -> RAG:
    return RAG(tmp_path / "index", embedder=embedder, settings=DELAY)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as served:
        yield served


def links(*targets: str, title: str = "Contents") -> str:
    listed = "".join(f'<li><a class="x" href="{each}">see {each}</a>' for each in targets)
    return f"<html><title>{title}</title><p>What this manual of particles holds.</p>{listed}"


def sources_of(rag: RAG) -> set[str]:
    return {document.source for document in rag.documents()}


def again(rag: RAG, embedder: Embedder, **settings: object) -> RAG:
    return RAG(rag.path, embedder=embedder, settings={**DELAY, **settings})


def test_a_page_is_cited_by_its_address(rag: RAG, site: Site) -> None:
    site.pages["/alpha.html"] = ALPHA
    address = f"{site.address}/alpha.html"
    report = rag.index(address + "#two")
    assert report.added == (address,)
    hit = rag.search("How many protons has an alpha particle?")[0]
    assert (hit.source, hit.title) == (address, "Alpha")
    assert rag.find(address).text == rag.find("alpha.html").text


def test_what_has_not_changed_is_not_sent_again_and_what_is_gone_goes(rag: RAG, site: Site) -> None:
    site.pages["/alpha.html"] = ALPHA
    rag.index(f"{site.address}/alpha.html")
    assert rag.index().unchanged == 1
    assert site.sent == 1
    site.pages["/alpha.html"] = ALPHA.replace("two", "three")
    assert len(rag.index().updated) == 1
    assert rag.search("protons")[0].text.count("three") == 2
    site.pages["/alpha.html"] = (500, {}, b"")
    report = rag.index()
    assert [problem.reason for problem in report.failed] == ["the server answers 500"]
    assert report.documents == 1
    del site.pages["/alpha.html"]
    report = rag.index()
    assert (report.removed, report.documents) == ((f"{site.address}/alpha.html",), 0)
    assert "is gone: the server answers 404" in report.skipped[0].reason


def test_a_server_that_is_away_takes_nothing_along(rag: RAG) -> None:
    with serving(Site({"/a": ALPHA})) as site:
        rag.index(f"{site.address}/a")
    report = rag.index()
    assert report.documents == 1
    assert "cannot be fetched" in report.failed[0].reason
    assert rag.index(rebuild=True).documents == 1
    with pytest.raises(SourceError, match="cannot be fetched"):
        rag.index(f"{site.address}/b")


def test_copies_that_are_lost_are_fetched_again(rag: RAG, site: Site, copies: Path) -> None:
    site.pages["/a"] = ALPHA
    rag.index(f"{site.address}/a")
    shutil.rmtree(copies)
    report = rag.index()
    assert (report.unchanged, report.documents, report.embedded) == (1, 1, 0)
    shutil.rmtree(copies)
    site.pages["/a"] = (503, {"Retry-After": "3600"}, b"")
    assert rag.index().documents == 1


def test_a_site_is_followed_as_deep_as_it_was_named(rag: RAG, site: Site) -> None:
    outside = f"{site.address}/other/c.html"
    site.pages |= {
        "/docs/": links("a.html", "/docs/a.html#x", outside, "../up.html", "https://h.test/x"),
        "/docs/a.html": links("b/b.html", title="A") + ALPHA,
        "/docs/b/b.html": links("c.html", title="B") + BETA,
        "/docs/b/c.html": GAMMA,
        "/other/c.html": GAMMA,
        "/up.html": GAMMA,
    }
    rag.index(f"{site.address}/docs/")
    assert sources_of(rag) == {f"{site.address}/docs/"}
    again(rag, rag.embedder, **{"fetching.depth": 2}).index(f"{site.address}/docs/")
    pages = {f"{site.address}/docs/{each}" for each in ("", "a.html", "b/b.html")}
    assert sources_of(rag) == pages
    # How far it reaches is remembered: the index is not cut back to one page.
    assert rag.index().unchanged == 3
    assert sources_of(rag) == pages
    site.pages["/docs/a.html"] = ALPHA
    assert rag.index().removed == (f"{site.address}/docs/b/b.html",)
    assert not {"/up.html", "/other/c.html"} & set(site.asked)


def test_a_page_that_cannot_be_read_takes_along_nothing_that_it_leads_to(
    rag: RAG, site: Site, embedder: Embedder
) -> None:
    site.pages |= {
        "/d/": links("hub.html", "old.html"),
        "/d/hub.html": links("a.html"),
        "/d/a.html": ALPHA,
        "/d/old.html": BETA,
    }
    deep = again(rag, embedder, **{"fetching.depth": 3})
    assert deep.index(f"{site.address}/d/").documents == 4
    site.pages["/d/hub.html"] = (502, {}, b"")
    del site.pages["/d/old.html"]
    report = rag.index()
    assert [problem.source for problem in report.failed] == [f"{site.address}/d/hub.html"]
    assert report.removed == (f"{site.address}/d/old.html",)
    assert f"{site.address}/d/a.html" in sources_of(rag)
    # A link that leads on to what is not taken is not taken either.
    site.pages["/d/hub.html"] = (302, {"Location": "/other/b.html"}, b"")
    site.pages["/other/b.html"] = BETA
    rag.index()
    assert sources_of(rag) == {f"{site.address}/d/"}
    assert "/other/b.html" not in site.asked


def test_pages_are_counted_patterns_hold_and_pictures_are_left(
    rag: RAG, site: Site, embedder: Embedder
) -> None:
    site.pages |= {f"/{n}.html": ALPHA.replace("two", str(n)) for n in range(9)}
    site.pages["/pic"] = (200, {"Content-Type": "image/png"}, b"\x89PNG")
    site.pages["/"] = links("pic", *(f"{n}.html" for n in range(9)))
    few = again(rag, embedder, **{"fetching.depth": 1, "fetching.pages": 4})
    report = few.index(site.address)
    assert report.documents == 4
    assert "--pages" in report.skipped[0].reason
    some = again(rag, embedder, **{"fetching.depth": 1, "sources.exclude": ("[1-9].html",)})
    assert some.index(site.address).documents == 2


def test_a_sitemap_stands_for_the_pages_of_its_server(rag: RAG, site: Site) -> None:
    site.pages |= {
        "/sitemap.xml": "<?xml version='1.0'?>\n<sitemapindex><sitemap><loc>\n"
        f"{site.address}/one.xml </loc></sitemap></sitemapindex>",
        "/one.xml": f"<?xml version='1.0'?><urlset><url><loc>{site.address}/a?x=1&amp;y=2</loc>"
        f"</url><url><loc><![CDATA[{site.address}/b]]></loc></url>"
        "<url><loc>http://127.0.0.2:1/c</loc></url></urlset>",
        "/a?x=1&y=2": ALPHA,
        "/b": BETA,
    }
    rag.index(f"{site.address}/sitemap.xml")
    assert sources_of(rag) == {f"{site.address}/a?x=1&y=2", f"{site.address}/b"}
    del site.pages["/b"]
    assert rag.index().documents == 1
    site.pages["/one.xml"] = (500, {}, b"")
    # Nobody can tell now what it lists.
    report = rag.index()
    assert (report.documents, len(report.failed)) == (1, 1)


@pytest.mark.parametrize(
    ("rules", "taken"),
    [
        ("User-agent: *\nDisallow: /private/", {"/", "/open.html"}),
        ("User-agent: *\nDisallow: /*.html$\nAllow: /open.html", {"/", "/open.html"}),
        ("User-agent: checkable-rag\nDisallow: /open\n\nUser-agent: *\nDisallow: /",
         {"/", "/private/a.html"}),
        ((503, {}, b""), None),
        ((404, {}, b""), {"/", "/open.html", "/private/a.html"}),
    ],
)  # fmt: skip
def test_robots_txt_is_followed(
    rag: RAG, site: Site, embedder: Embedder, rules: str | Page, taken: set[str] | None
) -> None:
    site.pages |= {
        "/robots.txt": (200, {}, rules.encode()) if isinstance(rules, str) else rules,
        "/": links("open.html", "private/a.html"),
        "/open.html": ALPHA,
        "/private/a.html": BETA,
    }
    crawling = again(rag, embedder, **{"fetching.depth": 1})
    if taken is None:
        with pytest.raises(SourceError, match=r"robots\.txt cannot be read"):
            crawling.index(site.address)
        return
    report = crawling.index(site.address)
    assert sources_of(rag) == {site.address + each for each in taken}
    forbidden = {problem.source for problem in report.skipped}
    assert forbidden == {
        site.address + each for each in {"/", "/open.html", "/private/a.html"} - taken
    }


def test_a_redirect_is_followed_and_a_page_keeps_the_name_that_it_was_given(
    rag: RAG, site: Site, embedder: Embedder
) -> None:
    site.pages |= {
        "/docs": (301, {"Location": "/v2/docs/"}, b""),
        "/v2/docs/": links("a.html", "old.html"),
        "/v2/docs/a.html": ALPHA,
        "/v2/docs/old.html": (302, {"Location": "a.html"}, b""),
        "/loop": (302, {"Location": "/loop"}, b""),
    }
    again(rag, embedder, **{"fetching.depth": 1}).index(f"{site.address}/docs")
    assert sources_of(rag) == {f"{site.address}/docs", f"{site.address}/v2/docs/a.html"}
    with pytest.raises(SourceError, match="leads on more than 5 times"):
        rag.index(f"{site.address}/loop")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_leads_to_a_private_server(
    tmp_path: Path, embedder: Embedder, copies: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(
        "rag.sources.addresses.public.is_public", lambda address: address == "127.0.0.1"
    )
    with serving(Site({"/": "keys"}), "127.0.0.2") as inner, serving(Site()) as site:
        site.pages["/"] = (status, {"Location": f"{inner.address}/"}, b"")
        rag = RAG(tmp_path / "i", embedder=embedder, settings={"fetching.delay": 0})
        with pytest.raises(SourceError, match=r"leads to 127\.0\.0\.2, which is no public address"):
            rag.index(f"{site.address}/")
        site.pages["/"] = links(f"{inner.address}/", "/away", "http://169.254.169.254/latest/")
        site.pages["/away"] = (status, {"Location": f"{inner.address}/"}, b"")
        deep = RAG(rag.path, embedder=embedder, settings={"fetching.delay": 0, "fetching.depth": 3})
        assert deep.index(f"{site.address}/").documents == 1
        site.pages["/robots.txt"] = (status, {"Location": f"{inner.address}/"}, b"")
        assert "no public address" in deep.index().failed[0].reason
    assert not inner.asked


def test_this_machine_is_asked_only_if_that_is_allowed(
    tmp_path: Path, embedder: Embedder, copies: Path, site: Site
) -> None:
    site.pages["/"] = ALPHA
    rag = RAG(tmp_path / "i", embedder=embedder)
    with pytest.raises(SourceError, match="no public address: pass --allow-private"):
        rag.index(f"{site.address}/")
    assert not site.asked


def test_a_received_index_has_nothing_fetched(
    rag: RAG, site: Site, embedder: Embedder, tmp_path: Path
) -> None:
    site.pages["/"] = ALPHA
    rag.index(f"{site.address}/")
    asked = len(site.asked)
    shutil.copytree(rag.path, tmp_path / "received")
    received = RAG(tmp_path / "received", embedder=embedder, settings=DELAY)
    report = received.index()
    assert "nobody named it for this index here" in report.failed[0].reason
    assert (report.documents, len(site.asked)) == (1, asked)
    received.status()
    exported = tmp_path / "exported.jsonl"
    rag.export_to(exported)
    imported = RAG(tmp_path / "imported", embedder=embedder, settings=DELAY)
    imported.import_from(exported)
    with pytest.raises(SourceError, match="it followed http"):
        imported.index()
    assert len(site.asked) == asked
    received.index(f"{site.address}/")
    assert received.index().unchanged == 1


def test_an_address_that_is_removed_is_fetched_no_more(rag: RAG, site: Site, copies: Path) -> None:
    site.pages["/a"] = ALPHA
    rag.index(f"{site.address}/a")
    assert rag.remove(f"{site.address}/a") == (f"{site.address}/a",)
    assert not any(copies.iterdir())
    assert not rag.status(str(rag.path.parent)).unchanged
    with pytest.raises(SourceError, match="follows no folder yet"):
        rag.index()


def test_status_asks_nobody(rag: RAG, site: Site) -> None:
    site.pages["/a"] = ALPHA
    rag.index(f"{site.address}/a")
    asked = len(site.asked)
    status = rag.status()
    assert (status.unchanged, status.roots, len(site.asked)) == (1, (f"{site.address}/a",), asked)


def test_folders_and_addresses_stand_side_by_side(rag: RAG, site: Site, tmp_path: Path) -> None:
    site.pages["/a"] = ALPHA
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "b.txt").write_text("The beta particle is an electron.")
    rag.index([folder, f"{site.address}/a"])
    (folder / "b.txt").unlink()
    report = rag.index()
    assert report.removed == (str(folder / "b.txt"),)
    assert sources_of(rag) == {f"{site.address}/a"}


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("text/html; charset=iso-8859-1", "<p>caf\xe9 \x93quoted\x94</p>".encode("latin-1"),
         "café “quoted”"),
        ("text/html; charset=shift_jis", "<meta charset=utf-8><p>犬が走る</p>".encode("shift_jis"),
         "犬が走る"),
        ('text/plain; charset="koi8-r"', "собака бежит".encode("koi8-r"), "собака бежит"),
        ("text/html; charset=rot13", b"<p>plain words</p>", "plain words"),
        ("text/markdown", b"# Head\n\nplain words", "plain words"),
    ],
)  # fmt: skip
def test_the_servers_charset_counts(
    rag: RAG, site: Site, kind: str, body: bytes, words: str
) -> None:
    site.pages["/a"] = (200, {"Content-Type": kind}, body)
    rag.index(f"{site.address}/a")
    assert words in next(iter(rag.documents())).text


def test_a_busy_server_is_asked_once_more(rag: RAG, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(
        "rag.sources.addresses.fetching.Fetcher.pause", lambda _, seconds: waited.append(seconds)
    )
    answers: list[Page] = [(429, {"Retry-After": "7"}, b""), (200, {}, ALPHA.encode())]

    def reply(path: str, _: Mapping[str, str]) -> Page:
        return (404, {}, b"") if path == "/robots.txt" else answers.pop(0)

    with listening(reply) as address:
        assert rag.index(f"{address}/").documents == 1
    assert waited == [7.0]


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/key", "file:///etc/passwd", "https://u:p@h.test/", "git+ssh://h/x", "https://"],
)
def test_what_nothing_can_fetch_is_refused_in_one_line(rag: RAG, address: str) -> None:
    with pytest.raises(SourceError) as caught:
        rag.index(address)
    assert one_line(str(caught.value)) == str(caught.value)
    assert not rag.exists()


def test_a_hostile_list_of_copies_names_no_other_file(tmp_path: Path) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", "..", ".", "", "a\0b", "a/../../b", "\\x"):
        assert "/" not in file_name(name)
        assert file_name(name) not in ("", ".", "..")
    mirror = Mirror(tmp_path)
    entry = Entry("https://h/x", "../../../etc/passwd")
    assert mirror.path_of(entry).resolve().is_relative_to(tmp_path)


class Repository:
    """A repository that git's own program serves over HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "-b", "main")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        run = subprocess.run(
            [str(shutil.which("git")), *identity, *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )
        return run.stdout.decode().strip()

    def commit(self, **files: str | None) -> None:
        for name, text in files.items():
            path = self.folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.unlink() if text is None else path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", "change")
        self.git("update-server-info")

    def reply(self, path: str, headers: Mapping[str, str]) -> Page:
        place = self.folder / ".git" / path.partition("?")[0].removeprefix("/x.git/")
        return (200, {}, place.read_bytes()) if place.is_file() else (404, {}, b"")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Repository(tmp_path / "repository")


def test_a_repository_is_taken_at_a_revision(
    rag: RAG, repository: Repository, tmp_path: Path
) -> None:
    repository.commit(docs__a_md="# Alpha\nThe alpha particle has two protons.", b_md="# Beta\nE.")
    repository.git("tag", "v1")
    (repository.folder / "c.md").symlink_to("/etc/passwd")
    (repository.folder / ".gitattributes").write_text("*.md filter=evil\n")
    repository.commit(docs__a_md="# Alpha\nIt has three protons.", b_md=None)
    with listening(repository.reply) as address:
        rag.index(f"git+{address}/x.git@v1")
        place = f"git+{address}/x.git"
        assert sources_of(rag) == {f"{place}@v1/docs/a.md", f"{place}@v1/b.md"}
        rag.index(place)
        assert "two" in rag.find(f"{place}@v1/docs/a.md").text
        assert sources_of(rag) - {f"{place}@v1/docs/a.md", f"{place}@v1/b.md"} == {
            f"{place}/docs/a.md"
        }
        repository.commit(docs__a_md="# Alpha\nIt has four protons.", d_md="# Delta\nMore.")
        report = rag.index()
        assert (report.updated, report.added) == ((f"{place}/docs/a.md",), (f"{place}/d.md",))
        with pytest.raises(SourceError, match="cannot be fetched by git"):
            rag.index(f"{place}@no-such-branch")


def test_git_connects_to_the_address_that_was_checked(
    rag: RAG, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No system knows the name: git has nothing but what it is told.
    looked_up: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if host == "page.test" else []

    monkeypatch.setattr("rag.sources.addresses.public.resolve_host", resolve)
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=14)
    pdf.text(20, 20, "The alpha particle has two protons.")
    (repository.folder / "a.pdf").write_bytes(bytes(pdf.output()))
    repository.commit(b_md="# Beta\nIt is an electron.")
    with listening(repository.reply) as address:
        place = f"git+http://page.test:{address.rpartition(':')[2]}/x.git"
        rag.index(place)
    assert sources_of(rag) == {f"{place}/a.pdf", f"{place}/b.md"}
    assert looked_up == ["page.test"]
    # The page of a PDF is drawn from the copy.
    shown = rag.view(rag.locate(f"{place}/a.pdf:p1"))
    page = Path(shown.removeprefix("file://").removesuffix("#here")).read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "<i id=here" in page


def test_git_follows_no_redirect_and_no_alternates(
    rag: RAG, repository: Repository, tmp_path: Path
) -> None:
    repository.commit(a_md="# Alpha\nIt has two protons.")
    with serving(Site(), "127.0.0.2") as inner:

        def lead_away(path: str, headers: Mapping[str, str]) -> Page:
            return 302, {"Location": inner.address + path}, b""

        def lend(path: str, headers: Mapping[str, str]) -> Page:
            if path.endswith("http-alternates"):
                return 200, {}, f"{inner.address}/objects/\n".encode()
            return (404, {}, b"") if "/objects/" in path else repository.reply(path, headers)

        for reply in (lead_away, lend):
            with listening(reply) as address, pytest.raises(SourceError, match="by git"):
                rag.index(f"git+{address}/x.git")
    assert not inner.asked


class Mail(socketserver.StreamRequestHandler):
    """As much of IMAP as the page's source speaks."""

    messages: ClassVar[dict[str, str]] = {}
    fetched: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.wfile.write(b"* OK\r\n")
        for line in self.rfile:
            tag, command, *words = line.decode().split()
            number = words[1] if words[1:] else ""
            if command == "CAPABILITY":
                self.wfile.write(b"* CAPABILITY IMAP4rev1\r\n")
            elif command == "EXAMINE":
                self.wfile.write(b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n")
            elif words[:1] == ["SEARCH"]:
                self.wfile.write(f"* SEARCH {' '.join(self.messages)}\r\n".encode())
            elif words[:1] == ["FETCH"]:
                self.fetched.append(number)
                body = self.messages[number].encode()
                head = f"* 1 FETCH (UID {number} BODY[] {{{len(body)}}}\r\n"
                self.wfile.write(head.encode() + body + b")\r\n")
            self.wfile.write(f"{tag} OK done\r\n".encode())


def test_the_source_of_the_page_reads_mail(
    rag: RAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "addresses.md").read_text(encoding="utf-8")
    (module,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (toml,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    folder = tmp_path / "installed"
    info = folder / "rag_imap-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "rag_imap.py").write_text(module)
    points = tomllib.loads(toml)["project"]["entry-points"]["rag.sources"]
    lines = [f"{name} = {at}" for name, at in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[rag.sources]", *lines, ""]))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rag-imap\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(folder))
    for name, value in {"IMAP_PLAIN": "1", "IMAP_USER": "a", "IMAP_PASSWORD": "b"}.items():
        monkeypatch.setenv(name, value)
    one = "From: a@b.test\nTo: c@d.test\nSubject: Alpha\n\nThe alpha particle has two protons.\n"
    Mail.messages |= {"1": one, "2": one.replace("alpha", "beta").replace("Alpha", "Beta")}
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        place = f"imap://127.0.0.1:{server.server_address[1]}/INBOX"
        rag.index(place)
        assert sources_of(rag) == {f"{place}/1", f"{place}/2"}
        assert rag.find(f"{place}/2").title == "Beta"
        del Mail.messages["1"]
        assert rag.index().removed == (f"{place}/1",)
        server.shutdown()
    assert Mail.fetched == ["1", "2"]
    assert "cannot be read: " in rag.index().failed[0].reason
    assert sources_of(rag) == {f"{place}/2"}
