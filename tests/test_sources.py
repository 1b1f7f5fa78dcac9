from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st

from rag import Document, SourceError
from rag.sources import discover, read
from rag.sources.markdown import find_headings


def document(path: Path) -> Document:
    (file,), _ = discover([path])
    (found,) = read(file)
    assert_spans(found)
    return found


def assert_spans(found: Document) -> None:
    for spans in (found.headings, found.pages):
        assert [s.start for s in spans] == sorted(s.start for s in spans)
        assert all(0 <= s.start <= s.end <= len(found.text) for s in spans)


def written(tmp_path: Path, name: str, text: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def headings(found: Document) -> list[tuple[int, str, str]]:
    return [(h.level, h.title, found.text[h.start : h.end]) for h in found.headings]


def test_markdown_is_verbatim_with_its_headings(tmp_path: Path) -> None:
    text = (
        "---\ntitle: 'From the front'\n---\n# One `x`\ntext\n\n```\n# no heading\n```\n"
        "Two\n---\nmore\n\n### Three ###\n"
    )
    found = document(written(tmp_path, "a.md", text))
    assert found.text == text
    assert found.title == "From the front"
    assert found.verbatim
    assert headings(found) == [
        (1, "One x", "# One `x`"),
        (2, "Two", "Two\n---"),
        (3, "Three", "### Three ###"),
    ]


def test_rst_headings_by_nesting_and_unknown_directives(tmp_path: Path) -> None:
    text = (
        "====\nTop\n====\n\nSee :foo:`x`.\n\n.. automodule:: nothing\n\nSub\n---\n\na\n\n"
        "Deeper\n~~~~~~\n\nb\n\nSub\n---\n\nc\n\n.. include:: /etc/hostname\n"
    )
    found = document(written(tmp_path, "a.rst", text))
    assert found.text == text
    assert headings(found) == [
        (1, "Top", "====\nTop\n===="),
        (2, "Sub", "Sub\n---"),
        (3, "Deeper", "Deeper\n~~~~~~"),
        (2, "Sub", "Sub\n---"),
    ]
    assert found.headings[1].start < found.headings[3].start


def test_html_keeps_the_content_and_drops_the_frame(tmp_path: Path) -> None:
    page = (
        "<html lang='en'><head><title>T &amp; U</title><script>bad()</script></head><body>"
        "<nav>NAVIGATION</nav><main><header><h1>Head <b>one</b></h1></header><p>a  <i>b</i>\nc"
        "<br>d</p><ul><li>x</li><li><p>y</p></li></ul><table><tr><th>A</th><th>B</th></tr>"
        "<tr><td>1</td><td>2|3</td></tr></table><pre>k\n  l</pre><h2>Next</h2>tail<!-- note -->"
        "</main><footer>FOOTER</footer></body></html>"
    )
    found = document(written(tmp_path, "a.html", page))
    assert found.text == (
        "Head one\n\na b c\nd\n\n- x\n- y\n\n| A | B |\n| --- | --- |\n| 1 | 2\\|3 |\n\n"
        "k\n  l\n\nNext\n\ntail"
    )
    assert found.title == "T & U"
    assert headings(found) == [(1, "Head one", "Head one"), (2, "Next", "Next")]
    assert found.metadata == {"language": "en"}
    assert not found.verbatim


def test_html_nested_deeper_than_python_recurses(tmp_path: Path) -> None:
    page = "<div>" * 3000 + "deep" + "</div>" * 3000
    assert document(written(tmp_path, "a.html", page)).text == "deep"


def test_html_in_a_declared_encoding(tmp_path: Path) -> None:
    page = '<meta charset="iso-8859-1"><p>caf\xe9</p>'.encode("latin1")
    assert document(written(tmp_path, "a.html", page)).text == "café"


def test_notebook_cells_and_outputs(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {
            "cell_type": "code",
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "text": ["1\n"]},
                {"output_type": "execute_result", "data": {"text/plain": "\x1b[31mred\x1b[0m"}},
                {"output_type": "error", "ename": "ValueError", "evalue": "no"},
            ],
        },
        {"cell_type": "markdown", "source": "## After\nend"},
    ]
    found = document(written(tmp_path, "a.ipynb", json.dumps({"cells": cells, "nbformat": 4})))
    assert found.text == (
        "# Title\nwords\n\n```python\nprint(1)\n```\n\n```\n1\n```\n\n```\nred\n```\n\n"
        "```\nValueError: no\n```\n\n## After\nend"
    )
    assert headings(found) == [(1, "Title", "# Title"), (2, "After", "## After")]


def write_pdf(path: Path, *, text: bool = True, password: str = "") -> Path:
    pdf = FPDF()
    pdf.set_title("A paper")
    pdf.set_author("Somebody")
    for number in (1, 2):
        pdf.add_page()
        if text:
            pdf.set_font("helvetica", size=18)
            pdf.multi_cell(0, 10, f"Part {number}", new_x="LMARGIN", new_y="NEXT")
            pdf.set_font("helvetica", size=11)
            pdf.multi_cell(0, 6, f"Body of page {number}. " * 30)
    if password:
        pdf.set_encryption(owner_password="owner", user_password=password)
    pdf.output(str(path))
    return path


def test_pdf_pages_headings_and_metadata(tmp_path: Path) -> None:
    found = document(write_pdf(tmp_path / "a.pdf"))
    assert found.title == "A paper"
    assert found.metadata["author"] == "Somebody"
    assert [page.number for page in found.pages] == [1, 2]
    for page in found.pages:
        assert f"Body of page {page.number}." in found.text[page.start : page.end]
        assert f"Body of page {3 - page.number}." not in found.text[page.start : page.end]
    assert headings(found) == [(1, "Part 1", "Part 1"), (1, "Part 2", "Part 2")]


def test_corpus_lines_stream_as_documents(tmp_path: Path) -> None:
    rows = [{"_id": "x1", "title": "T", "text": "one", "year": 1999}, {"_id": 2, "text": "two"}]
    path = written(tmp_path, "c.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n\n")
    (file,), _ = discover([path])
    first, second = read(file)
    assert (first.id, first.title, first.text, first.metadata) == ("x1", "T", "one", {"year": 1999})
    assert first.source == f"{path}#x1"
    assert (second.id, second.title) == ("2", "2")


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")],
)
def test_byte_order_marks_and_line_ends(tmp_path: Path, mark: bytes, encoding: str) -> None:
    path = written(tmp_path, "a.txt", mark + "né\r\nb\rc".encode(encoding))
    assert document(path).text == "né\nb\nc"


BAD = {
    "broken.pdf": (b"%PDF-1.4 junk", "damaged, or is no PDF"),
    "latin.md": ("h\xe9".encode("latin1"), "byte 0xe9 at offset 1"),
    "nul.txt": (b"a\0b", "NUL"),
    "empty.txt": (b"", "is empty"),
    "blank.md": (b"\n \n", "holds no text"),
    "a.ipynb": (b"[]", "no list of cells"),
    "old.ipynb": (b'{"worksheets": []}', "nbconvert"),
    "dup.jsonl": (b'{"_id":"1","text":"a"}\n{"_id":"1","text":"b"}', "line 2 has the `_id` '1'"),
    "row.jsonl": (b'{"_id":"1","text":"a"}\nnope', "line 2 is not JSON"),
    "latin.html": ("<p>h\xe9".encode("latin1"), "names no other encoding"),
    "odd.xyz": (b"x", "unknown format '.xyz'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    path = written(tmp_path, name, content)
    with pytest.raises(SourceError) as caught:
        for file in discover([path])[0]:
            list(read(file))
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pdfs_without_text_and_with_a_password(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="scanned pages"):
        document(write_pdf(tmp_path / "blank.pdf", text=False))
    with pytest.raises(SourceError, match="is encrypted"):
        document(write_pdf(tmp_path / "locked.pdf", password="secret"))


def test_discovery_takes_what_is_there_and_names_the_rest(tmp_path: Path) -> None:
    outside = written(tmp_path, "outside.txt", "out")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for name in ("b.txt", "a.md", "sub/c.rst", ".hidden/d.txt", ".e.txt", "f.bin"):
        written(root, name, "text")
    written(root, "empty.txt", "")
    (root / "loop").symlink_to(root)
    (root / "link.txt").symlink_to(outside)
    (root / "within.txt").symlink_to(root / "b.txt")
    os.mkfifo(root / "pipe.txt")
    files, skipped = discover([root, root / "a.md"])
    assert [file.path.name for file in files] == ["a.md", "b.txt", "c.rst"]
    assert {Path(source).name: reason.split(";")[0] for source, reason in skipped} == {
        "empty.txt": "is empty",
        "f.bin": "unknown format '.bin'",
        "link.txt": "is a link out of the folder",
        "pipe.txt": "is not a regular file",
    }


def test_a_name_that_is_not_utf8_is_named_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("text")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("text")
    files, skipped = discover([tmp_path])
    assert [file.path.name for file in files] == ["good.txt"]
    ((source, reason),) = skipped
    assert "not valid UTF-8" in reason
    source.encode()


def test_sources_are_as_the_user_gave_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    written(tmp_path, "docs/a.md", "x")
    monkeypatch.chdir(tmp_path)
    (file,), _ = discover(["docs"])
    assert file.source == "docs/a.md"
    assert file.path == tmp_path.resolve() / "docs" / "a.md"


LINES = st.lists(
    st.sampled_from(
        ["# A", "## B c", "text", "", "```", "---", "- x", "> # q", "    # code", "\u2028"]
    ),
    max_size=15,
)


@given(lines=LINES)
def test_heading_spans_hold_their_titles(lines: list[str]) -> None:
    text = "\n".join(lines)
    last = 0
    for heading in find_headings(text):
        assert last <= heading.start < heading.end <= len(text)
        assert all(word in text[heading.start : heading.end] for word in heading.title.split())
        last = heading.end
