"""What a citation prints is found again, and shown with its words marked."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pypdfium2
import pytest
from conftest import RunMain
from fpdf import FPDF

from rag import RAG, Citation, Document, Heading, Page, StoreError
from rag.cli.places import remember_citations
from rag.cli.terminal import knows_links
from rag.config import SourcesConfig
from rag.protocols import Embedder
from rag.sources import draw_page
from rag.viewing.finding import find_place
from rag.viewing.links import link_to, view_on_the_web

TEXT = "Intro.\nAlpha has two protons.\n\nBeta is an electron.\nGamma is light."


def made(source: str, **facts: object) -> Document:
    at = TEXT.index("Beta")
    options: dict[str, object] = {
        "headings": (Heading(0, 6, 1, "Intro › all"), Heading(at, at + 4, 2, "Beta")),
        **facts,
    }
    return Document("id-" + source, source, TEXT, "Title", "text/plain", "", **options)  # type: ignore[arg-type]


PAGES = (Page(0, 30, 1), Page(30, 52, 2), Page(52, len(TEXT), 7))
DOCUMENTS = [
    made("docs/a.md", verbatim=True),
    made("docs/a.md:2", verbatim=True),
    made("b.pdf", pages=PAGES),
    made("c:p3 › d.txt"),
    made("mail.mbox#<x@y>"),
    made("https://h.test/a?x=1#y", pages=PAGES),
    made("one/same.md"),
    made("two/same.md"),
]


def find(name: str) -> list[Document]:
    """As the index finds documents."""
    exact = [each for each in DOCUMENTS if name in (each.id, each.source)]
    return exact or [each for each in DOCUMENTS if each.source.endswith("/" + name)]


@pytest.mark.parametrize(
    ("place", "source", "shown"),
    [
        ("docs/a.md", "docs/a.md", TEXT),
        ("a.md", "docs/a.md", TEXT),
        ("id-docs/a.md", "docs/a.md", TEXT),
        ("docs/a.md:1", "docs/a.md", "Intro."),
        # A name that ends like a place comes before the place.
        ("docs/a.md:2", "docs/a.md:2", TEXT),
        ("docs/a.md:2:4", "docs/a.md:2", "Beta is an electron."),
        ("docs/a.md:2:4 › Beta", "docs/a.md:2", "Beta is an electron."),
        ("docs/a.md#L2", "docs/a.md", "Alpha has two protons."),
        ("docs/a.md:5", "docs/a.md", "Gamma is light."),
        ("docs/a.md:7-12", "docs/a.md", "Alpha"),
        ("b.pdf:p2", "b.pdf", TEXT[30:52]),
        ("b.pdf#page=7", "b.pdf", TEXT[52:]),
        ("b.pdf:p2 › Beta", "b.pdf", TEXT[31:52]),
        ("[3] b.pdf:p1 › Gone", "b.pdf", TEXT[:30]),
        ("b.pdf › Beta", "b.pdf", TEXT[31:]),
        ("docs/a.md › Intro › all", "docs/a.md", TEXT),
        ("c:p3 › d.txt", "c:p3 › d.txt", TEXT),
        ("c:p3 › d.txt › Beta", "c:p3 › d.txt", TEXT[31:]),
        ("mail.mbox#<x@y> › Beta", "mail.mbox#<x@y>", TEXT[31:]),
        ("https://h.test/a?x=1#y:p2", "https://h.test/a?x=1#y", TEXT[30:52]),
        ("https://h.test/a?x=1#y › Beta", "https://h.test/a?x=1#y", TEXT[31:]),
    ],
)
def test_each_form_of_a_citation_is_found_again(place: str, source: str, shown: str) -> None:
    found = find_place(place, find)
    assert found.document.source == source
    assert found.document.text[found.start : found.end].strip() == shown.strip()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("docs/a.md:6", "has 5 lines, no 6"),
        ("docs/a.md:0", "has 5 lines, no 0"),
        ("b.pdf:p9", "has 3 pages, no 9"),
        ("b.pdf#page=0", "has 3 pages, no 0"),
        ("docs/a.md:p1", "docs/a.md: has no pages"),
        ("docs/a.md:5-900", "characters, no 5-900"),
        ("docs/a.md:9-9", "characters, no 9-9"),
        ("docs/a.md › Delta", "has no heading 'Delta'"),
        ("same.md:1", "may mean several documents: one/same.md, two/same.md"),
        ("nothing.md:3", "holds no document 'nothing.md:3'"),
        ("x" * 5000, "too long"),
        (" › " * 1000, "holds no document"),
        ("a.md:999999999999999", "no 999999999999999"),
    ],
)
def test_a_place_that_is_not_there_is_named(place: str, reason: str) -> None:
    with pytest.raises(StoreError, match=re.escape(reason)):
        find_place(place, find)


@pytest.fixture(scope="module")
def rag(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> RAG:
    folder = tmp_path_factory.mktemp("view")
    docs = folder / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Particles\n\nThe alpha <b>particle</b> has two protons.\n")
    pdf = FPDF()
    pdf.set_font("helvetica", size=14)
    for text in ("Nothing to see here.", "The beta particle is an electron of a nucleus."):
        pdf.add_page()
        pdf.text(60, 100, text)
    pdf.output(str(docs / "b.pdf"))
    rag = RAG(folder / "index", embedder=embedder, settings={"generation.model": "extractive"})
    rag.index(docs)
    return rag


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.models.cache_dir", lambda: tmp_path / "cache")
    monkeypatch.delenv("FORCE_HYPERLINK", raising=False)


def read(address: str) -> str:
    path = Path(address.removeprefix("file://").removesuffix("#here"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text(encoding="utf-8")


def test_text_is_shown_with_its_words_marked_and_runs_nothing(rag: RAG) -> None:
    page = read(rag.view(rag.locate("a.md:3")))
    marked = "The alpha &lt;b&gt;particle&lt;/b&gt; has two protons."
    assert f'<mark id="here">{marked}</mark>' in page
    assert "default-src 'none'" in page
    assert "<script" not in page


def boxes(page: str) -> list[dict[str, float]]:
    styles = re.findall(r'<i[^>]* style="([^"]*)"', page)
    return [
        {name: float(value) for name, value in re.findall(r"(\w+):([\d.]+)%", style)}
        for style in styles
    ]


def test_a_page_of_a_pdf_is_drawn_with_a_box_around_the_words(rag: RAG) -> None:
    found = rag.locate("b.pdf:p2")
    at = found.document.text.index("is an electron")
    place = rag.locate(f"b.pdf:{at}-{at + len('is an electron')}")
    page = read(rag.view(place))
    assert "data:image/png;base64," in page
    (box,) = boxes(page)
    # 60 mm and some of 210 mm from the left, on the line at 100 of 297 mm.
    assert 40 < box["left"] < 60
    assert 10 < box["width"] < 22
    assert 30 < box["top"] < box["top"] + box["height"] < 36


def test_a_file_that_changed_or_went_is_shown_as_the_text_that_was_indexed(
    embedder: Embedder, tmp_path: Path
) -> None:
    path = tmp_path / "c.pdf"
    for text in ("Gamma rays are light.", "Something else."):
        pdf = FPDF()
        pdf.add_page()
        pdf.set_font("helvetica", size=14)
        pdf.text(20, 20, text)
        pdf.output(str(path))
        if text.startswith("Gamma"):
            rag = RAG(tmp_path / "index", embedder=embedder)
            rag.index(path)
    page = read(rag.view(rag.locate("c.pdf:p1")))
    assert "the file may have changed since" in page
    assert "Gamma rays are light." in page
    path.write_bytes(b"%PDF-1.7 nothing")
    assert "cannot be shown" in read(rag.view(rag.locate("c.pdf:p1")))
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert "cannot be shown" in read(rag.view(rag.locate("c.pdf:p1")))


def test_words_across_lines_in_parts_and_on_a_turned_page_are_found(tmp_path: Path) -> None:
    path = tmp_path / "d.pdf"
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=12)
    pdf.text(20, 50, "The first line of what is quoted goes on")
    pdf.text(20, 57, "in a second line of the same paragraph.")
    pdf.output(str(path))
    quoted = "what is quoted goes on in a second line"
    drawn = draw_page(str(path), 1, quoted, SourcesConfig())
    assert len(drawn.boxes) == 2
    assert drawn.boxes[0][1] < drawn.boxes[1][1]
    parts = draw_page(
        str(path), 1, "The first line of what is quoted\nor nothing at all of it", SourcesConfig()
    )
    assert len(parts.boxes) == 1
    turned = pypdfium2.PdfDocument(str(path))
    turned[0].set_rotation(90)
    turned.save(str(tmp_path / "e.pdf"))
    turned.close()
    drawn = draw_page(str(tmp_path / "e.pdf"), 1, "in a second line", SourcesConfig())
    # What stood at the left, 57 of 297 mm from the top, stands at the top, so far from the right.
    left, top, right, bottom = drawn.boxes[0]
    assert 0.79 < left < right < 0.83
    assert 0.05 < top < 0.12 < bottom < 0.4


def citation(rag: RAG, number: int) -> Citation:
    document = rag.find("a.md")
    end = number + 10
    return Citation(
        document_id=document.id, source=document.source, page=None, line=None, heading=(),
        start=number, end=end, quote=document.text[number:end], number=number,
    )  # fmt: skip


def test_the_last_answers_citation_is_opened_by_its_number(
    rag: RAG, run_main: RunMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    # Here nothing was asked before.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    none = run_main("open", "1")
    assert (none.code, none.err) == (
        1,
        "rag: there is no last answer: ask first, or name a document\n",
    )
    index = ("--index", str(rag.path))
    run_main("search", "How many protons has an alpha particle?", *index)
    # It is opened from the index that it was found in, wherever the command runs.
    assert run_main("open", "1").code == 0
    assert "two protons" in re.findall(r"<mark.*?</mark>", read(opened[0]), re.S)[0]
    assert run_main("open", "9").err.startswith("rag: the last answer has no citation 9 (it has: 1")
    remember_citations(rag.path, [citation(rag, 4), citation(rag, 7)])
    assert run_main("open", "7", "--print").out == run_main("open", "2", "--print").out
    assert run_main("open", "3").code == 1
    shown = run_main("open", "a.md:3", "--print", *index)
    assert len(opened) == 1
    assert "<mark" in read(shown.out.strip())


def test_show_takes_what_a_citation_prints(rag: RAG, run_main: RunMain) -> None:
    index = ("--index", str(rag.path))
    printed = run_main("search", "How many protons has an alpha particle?", *index).out
    first = printed.splitlines()[0].rpartition("  (")[0]
    shown = run_main("show", first, *index)
    assert (shown.code, "▶" in shown.out) == (0, True)
    assert run_main("show", "b.pdf#page=2", "--json", *index).out.count('"passage"') == 1
    assert run_main("show", "b.pdf:p7", *index).err.endswith("has 2 pages, no 7\n")


def test_links_lead_where_the_source_is(tmp_path: Path) -> None:
    path = tmp_path / "ä b#c.pdf"
    path.write_text("x")
    assert link_to(str(path), 3).endswith("/%C3%A4%20b%23c.pdf#page=3")
    assert link_to(str(tmp_path / "gone.txt")) == ""
    assert link_to("a\0b") == ""
    assert link_to("https://h.test/a%20b?x=ä\x1b]8;;") == "https://h.test/a%20b?x=%C3%A4%1B]8;;"
    words = link_to("https://h.test/a", quoted="one-two, three & four")
    assert words == "https://h.test/a#:~:text=one%2Dtwo%2C%20three%20%26%20four"
    marked = link_to(
        "https://h.test/a",
        quoted="```\n## The `open` [call](x.html)\n\n- returns **a** file\n| b |",
    )
    assert marked == "https://h.test/a#:~:text=The%20open%20call,returns%20a%20file"
    assert link_to("https://h.test/a", quoted="``` \n") == "https://h.test/a"
    many = link_to("https://h.test/a", quoted=" ".join(map(str, range(30))))
    assert many.endswith("#:~:text=0%201%202%203%204,25%2026%2027%2028%2029")


def test_a_page_of_the_web_is_opened_where_it_was_named_and_nowhere_else(
    rag: RAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag.trust import remember_address

    place = find_place("https://h.test/a?x=1#y:p2", find)
    path = "https://h.test/a"
    assert view_on_the_web(place, path, rag.path) == ""
    remember_address(rag.path, "https://h.test", {})
    assert view_on_the_web(place, path, rag.path).endswith("#page=2")
    assert view_on_the_web(place, "https://h.test.evil/a", rag.path) == ""


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "6800"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4602"}, False),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, True),
        ({"TERM": "screen-256color", "VTE_VERSION": "6800"}, False),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "dumb", "FORCE_HYPERLINK": "1"}, True),
        ({"TERM": "xterm-kitty", "FORCE_HYPERLINK": "0"}, False),
    ],
)
def test_links_are_printed_where_the_terminal_knows_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], known: bool
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    for name in ("TERM_PROGRAM", "VTE_VERSION", "WT_SESSION", "KONSOLE_VERSION", "DOMTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert knows_links(Terminal()) is known  # type: ignore[arg-type]


def test_a_link_stands_around_a_location_and_never_in_a_pipe(
    rag: RAG, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("search", "alpha particle", "-k", "1", "--index", str(rag.path))
    assert "\x1b" not in run_main(*asked).out
    monkeypatch.setenv("FORCE_HYPERLINK", "1")
    assert re.search(r"\x1b\]8;;file:///\S+/a\.md\x1b\\[^\x1b]*a\.md:", run_main(*asked).out)
