"""EPUB: chapters in reading order, titles from the table of contents, books that are refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from reading import document, headings

from rag import SourceError

CONTAINER = (
    '<?xml version="1.0"?><container version="1.0" '
    'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
    'full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles>'
    "</container>"
)
METADATA = (
    "<dc:title>The Heron</dc:title><dc:creator>A. Wader</dc:creator><dc:creator>B. Stork"
    "</dc:creator><dc:language>en-GB</dc:language><dc:date>2021-03-04</dc:date>"
    "<dc:publisher>Reed Press</dc:publisher><dc:subject>Birds</dc:subject>"
    '<meta property="dcterms:modified">2022-01-02T03:04:05Z</meta>'
)
CHAPTERS = {
    "cover.xhtml": '<div><img src="c.jpg" alt=""/></div>',
    "text/one two.xhtml": '<h1>One</h1><p>First<a id="p1"/> part&#160;&amp; more.</p><h2>Sub</h2>x',
    "text/three.xhtml": "<p>No heading here.</p>",
    "text/four.xhtml": "<h1>Four</h1><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td>"
    "</tr></table>",
}
NAV = (
    '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml" '
    'xmlns:epub="http://www.idpf.org/2007/ops"><body><nav epub:type="landmarks"><ol><li>'
    '<a href="text/three.xhtml">Start</a></li></ol></nav><nav epub:type="toc"><ol><li>'
    '<a href="text/one%20two.xhtml">One</a><ol><li><a href="text/three.xhtml#top">Three  &amp; a'
    "</a></li></ol></li></ol></nav></body></html>"
)
NCX = (
    '<?xml version="1.0"?><!DOCTYPE ncx PUBLIC "-//NISO//DTD ncx 2005-1//EN" '
    '"http://www.daisy.org/z3986/2005/ncx-2005-1.dtd"><ncx '
    'xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>Three</text>'
    '</navLabel><content src="text/three.xhtml"/></navPoint></navMap></ncx>'
)


def chapter(body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html '
        'xmlns="http://www.w3.org/1999/xhtml"><head><title/><style/></head>'
        f"<body>{body}</body></html>"
    )


def book(path: Path, *, more: dict[str, str] | None = None, without: str = "") -> Path:
    """Spine in the reverse of the manifest's order but for the cover."""
    more = more or {}
    manifest = "".join(
        f'<item id="c{number}" href="{name.replace(" ", "%20")}" '
        'media-type="application/xhtml+xml"/>'
        for number, name in reversed(list(enumerate(CHAPTERS)))
    )
    if "nav.xhtml" in more:
        manifest += (
            '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        )
    if "toc.ncx" in more:
        manifest += '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
    spine = "".join(f'<itemref idref="c{number}"/>' for number in range(len(CHAPTERS)))
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{METADATA}</metadata>'
        f'<manifest>{manifest}</manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    parts = {"META-INF/container.xml": CONTAINER, "OEBPS/book.opf": package}
    parts |= {f"OEBPS/{name}": chapter(body) for name, body in CHAPTERS.items()}
    parts |= {name if "/" in name else f"OEBPS/{name}": part for name, part in more.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, part in parts.items():
            if name != without:
                archive.writestr(name, part)
    return path


def test_a_book_is_one_document(tmp_path: Path) -> None:
    found = document(book(tmp_path / "a.epub", more={"nav.xhtml": NAV}))
    assert found.text == (
        "One\n\nFirst part & more.\n\nSub\n\nx\n\nThree & a\n\nNo heading here.\n\nFour\n\n"
        "| a | b |\n| --- | --- |\n| 1 | 2 |"
    )
    assert headings(found) == [
        (1, "One", "One"),
        (2, "Sub", "Sub"),
        (2, "Three & a", "Three & a"),
        (1, "Four", "Four"),
    ]
    assert found.heading_at(found.text.index("No heading")) == ("One", "Three & a")
    assert (found.title, found.media_type, found.markup) == (
        "The Heron",
        "application/epub+zip",
        "markdown",
    )
    assert found.metadata == {
        "author": "A. Wader, B. Stork",
        "language": "en",
        "created": "2021-03-04",
        "modified": "2022-01-02T03:04:05Z",
        "publisher": "Reed Press",
        "keywords": "Birds",
    }


def test_titles_of_the_older_table_of_contents(tmp_path: Path) -> None:
    found = document(book(tmp_path / "a.epub", more={"toc.ncx": NCX}))
    assert "\n\nThree\n\nNo heading here." in found.text
    assert (1, "Three", "Three") in headings(found)


def test_a_flaw_in_the_table_of_contents_costs_titles_only(tmp_path: Path) -> None:
    flawed = NCX.replace("</navMap></ncx>", "<navPoint>")
    assert "No heading here." in document(book(tmp_path / "a.epub", more={"toc.ncx": flawed})).text


def encryption(uri: str) -> dict[str, str]:
    return {
        "META-INF/encryption.xml": (
            '<?xml version="1.0"?><encryption '
            'xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
            'xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData><enc:CipherData>'
            f'<enc:CipherReference URI="{uri}"/></enc:CipherData></enc:EncryptedData></encryption>'
        )
    }


def test_scrambled_fonts_do_not_matter_and_locked_chapters_are_named(tmp_path: Path) -> None:
    fonts = book(tmp_path / "fonts.epub", more=encryption("OEBPS/fonts/a.otf"))
    assert "First part" in document(fonts).text
    locked = book(tmp_path / "locked.epub", more=encryption("OEBPS/text/one%20two.xhtml"))
    with pytest.raises(SourceError, match="is encrypted"):
        document(locked)


BROKEN = {
    "META-INF/container.xml": "it has no 'META-INF/container.xml'",
    "OEBPS/book.opf": "it has no 'OEBPS/book.opf'",
    "OEBPS/text/three.xhtml": "its chapter 'OEBPS/text/three.xhtml' is missing",
}


@pytest.mark.parametrize("without", BROKEN)
def test_what_is_missing_is_named_in_one_line(tmp_path: Path, without: str) -> None:
    with pytest.raises(SourceError) as caught:
        document(book(tmp_path / "a.epub", without=without))
    assert BROKEN[without] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_chapters_and_packages(tmp_path: Path) -> None:
    deep = chapter("<div>" * 1_500)
    with pytest.raises(SourceError, match=r"chapter 'OEBPS/text/three.xhtml' nests .*max_nesting"):
        document(book(tmp_path / "a.epub", more={"OEBPS/text/three.xhtml": deep}))
    for damaged in ("<package><metadata>", "<package>\0</package>"):
        with pytest.raises(SourceError, match=r"book\.opf' is not XML$"):
            document(book(tmp_path / "b.epub", more={"book.opf": damaged}))
    with pytest.raises(SourceError, match="lists no chapters"):
        document(book(tmp_path / "c.epub", more={"book.opf": "<package/>"}))
    whole = book(tmp_path / "d.epub").read_bytes()
    (tmp_path / "d.epub").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="is damaged"):
        document(tmp_path / "d.epub")


def test_entities_are_not_resolved(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET")
    bomb = (
        f'<!DOCTYPE package [<!ENTITY leak SYSTEM "file://{tmp_path}/secret.txt">]>'
        "<package><metadata>&leak;</metadata></package>"
    )
    with pytest.raises(SourceError, match="attack"):
        document(book(tmp_path / "a.epub", more={"book.opf": bomb}))
