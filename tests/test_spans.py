"""In every format: passages are slices of the stored text, and nothing of the content is lost."""

from __future__ import annotations

import csv
import gzip
import html
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import documents

from rag.chunking import chunk_document, embedded_texts, embedding_limit
from rag.protocols import Embedder
from rag.types import Document

# Whole words of Latin, Greek, Cyrillic, Han and beyond the basic plane; nothing that is markup.
WORD = st.text(
    st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäößéñ"),
    min_size=1,
    max_size=9,
)
WIDE = st.sampled_from(["λόγος", "слово", "言葉", "𝒳𝓎", "naïve", "Größe", "0", "3.14", "x1"])
SENTENCE = st.lists(st.one_of(WORD, WIDE), min_size=1, max_size=12).map(" ".join)


@dataclass(frozen=True)
class Section:
    title: str
    paragraphs: list[str]

    @property
    def texts(self) -> list[str]:
        return [self.title, *self.paragraphs]


SECTIONS = st.lists(
    st.builds(Section, SENTENCE, st.lists(SENTENCE, min_size=1, max_size=4)), min_size=1, max_size=4
)

Writer = Callable[[Path, Sequence[Section]], None]


def markdown(sections: Sequence[Section]) -> str:
    return "\n\n".join(
        "\n\n".join([f"## {section.title}", *section.paragraphs]) for section in sections
    )


def as_markdown(path: Path, sections: Sequence[Section]) -> None:
    path.write_text(markdown(sections))


def as_text(path: Path, sections: Sequence[Section]) -> None:
    path.write_text("\n\n".join("\n".join([s.title, *s.paragraphs]) for s in sections))


def as_rst(path: Path, sections: Sequence[Section]) -> None:
    parts = [f"{s.title}\n{'=' * 200}\n\n" + "\n\n".join(s.paragraphs) for s in sections]
    path.write_text("\n\n".join(parts))


def as_html(path: Path, sections: Sequence[Section]) -> None:
    path.write_text(page(sections))


def page(sections: Sequence[Section]) -> str:
    body = "".join(
        f"<h2>{html.escape(s.title)}</h2>"
        + "".join(f"<p>{html.escape(p)}</p>" for p in s.paragraphs)
        for s in sections
    )
    return f"<!DOCTYPE html><html><head><meta charset='utf-8'></head><body>{body}</body></html>"


def as_notebook(path: Path, sections: Sequence[Section]) -> None:
    cells = []
    for section in sections:
        cells.append({"cell_type": "markdown", "source": f"## {section.title}"})
        cells += [
            {
                "cell_type": "code",
                "source": paragraph,
                "outputs": [{"output_type": "stream", "text": [paragraph]}],
            }
            for paragraph in section.paragraphs
        ]
    path.write_text(json.dumps({"cells": cells, "nbformat": 4}))


def as_word(path: Path, sections: Sequence[Section]) -> None:
    document = docx.Document()
    for section in sections:
        document.add_heading(section.title, 1)
        for paragraph in section.paragraphs:
            document.add_paragraph(paragraph)
        table = document.add_table(1, 2)
        table.cell(0, 0).text, table.cell(0, 1).text = section.title, section.paragraphs[-1]
    document.save(str(path))


def as_slides(path: Path, sections: Sequence[Section]) -> None:
    deck = pptx.Presentation()
    for section in sections:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = section.title
        slide.placeholders[1].text = "\n".join(section.paragraphs)
        slide.notes_slide.notes_text_frame.text = section.paragraphs[0]
    deck.save(str(path))


def as_workbook(path: Path, sections: Sequence[Section]) -> None:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, section in enumerate(sections):
        sheet = book.create_sheet(f"Sheet {number}")
        sheet.append(["Name", "Text"])
        for paragraph in section.paragraphs:
            sheet.append([section.title, paragraph])
    book.save(path)


def as_opendocument(path: Path, sections: Sequence[Section]) -> None:
    prefix = "urn:oasis:names:tc:opendocument:xmlns"
    body = "".join(
        f'<text:h text:outline-level="1">{html.escape(s.title)}</text:h>'
        + "".join(f"<text:p>{html.escape(p)}</text:p>" for p in s.paragraphs)
        for s in sections
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{prefix}:office:1.0" '
            f'xmlns:text="{prefix}:text:1.0"><office:body><office:text>{body}</office:text>'
            "</office:body></office:document-content>",
        )


def as_rich_text(path: Path, sections: Sequence[Section]) -> None:
    def escape(text: str) -> str:
        units = text.encode("utf-16-le")
        codes = (
            int.from_bytes(units[at : at + 2], "little", signed=True)
            for at in range(0, len(units), 2)
        )
        return "".join(f"\\u{code}?" for code in codes)

    lines = [line for s in sections for line in (s.title, *s.paragraphs)]
    body = "".join(f"{escape(line)}\\par\\par " for line in lines)
    path.write_bytes(f"{{\\rtf1\\ansi {body}}}".encode("ascii"))


def as_csv(path: Path, sections: Sequence[Section]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Name", "Text"])
        rows.writerows([s.title, p] for s in sections for p in s.paragraphs)


def as_epub(path: Path, sections: Sequence[Section]) -> None:
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/>'
            "</rootfiles></container>",
        )
        items = "".join(
            f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>'
            for n in range(len(sections))
        )
        spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(sections)))
        book.writestr(
            "book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata/>'
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
        )
        for n, section in enumerate(sections):
            book.writestr(f"c{n}.xhtml", page([section]))


def message(sections: Sequence[Section]) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "a@example.org", sections[0].title
    mail["Message-ID"] = "<1@example.org>"
    mail.set_content("\n\n".join("\n".join([s.title, *s.paragraphs]) for s in sections))
    return mail


def as_mail(path: Path, sections: Sequence[Section]) -> None:
    path.write_bytes(bytes(message(sections)))


def as_mailbox(path: Path, sections: Sequence[Section]) -> None:
    body = bytes(message(sections)).replace(b"\nFrom ", b"\n>From ")
    path.write_bytes(b"From a@example.org Mon Jan  5 10:00:00 2026\n" + body + b"\n")


def as_json(path: Path, sections: Sequence[Section]) -> None:
    path.write_text(json.dumps({s.title + str(n): s.paragraphs for n, s in enumerate(sections)}))


def as_lines(path: Path, sections: Sequence[Section]) -> None:
    rows = [
        {"_id": f"d{n}", "title": s.title, "text": "\n".join([s.title, *s.paragraphs])}
        for n, s in enumerate(sections)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))


def as_manual(path: Path, sections: Sequence[Section]) -> None:
    lines = [".TH NAME 1"]
    for section in sections:
        lines.append(f".SH {section.title}")
        for paragraph in section.paragraphs:
            lines += [".PP", "\\&" + paragraph]
    path.write_text("\n".join(lines))


def as_code(path: Path, sections: Sequence[Section]) -> None:
    parts = []
    for number, section in enumerate(sections):
        comments = "\n".join(f"    # {p}" for p in section.paragraphs)
        parts.append(f"def f{number}():\n    # {section.title}\n{comments}\n    return {number}\n")
    path.write_text("\n\n".join(parts))


def as_pdf(path: Path, sections: Sequence[Section]) -> None:
    pdf = FPDF()
    for section in sections:
        pdf.add_page()
        pdf.set_font("helvetica", size=18)
        pdf.multi_cell(0, 10, latin(section.title), new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("helvetica", size=11)
        for paragraph in section.paragraphs:
            pdf.multi_cell(0, 6, latin(paragraph), new_x="LMARGIN", new_y="NEXT")
    pdf.output(str(path))


def as_archive(path: Path, sections: Sequence[Section]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number, section in enumerate(sections):
            archive.writestr(f"in/{number}.md", markdown([section]))


def as_compressed(path: Path, sections: Sequence[Section]) -> None:
    path.write_bytes(gzip.compress(markdown(sections).encode()))


def latin(text: str) -> str:
    """The standard fonts of PDF know Latin-1 and no more."""
    return text.encode("latin-1", "ignore").decode("latin-1").strip() or "x"


FORMATS: dict[str, Writer] = {
    "a.md": as_markdown,
    "a.txt": as_text,
    "a.rst": as_rst,
    "a.html": as_html,
    "a.ipynb": as_notebook,
    "a.docx": as_word,
    "a.pptx": as_slides,
    "a.xlsx": as_workbook,
    "a.odt": as_opendocument,
    "a.rtf": as_rich_text,
    "a.csv": as_csv,
    "a.epub": as_epub,
    "a.eml": as_mail,
    "a.mbox": as_mailbox,
    "a.json": as_json,
    "a.jsonl": as_lines,
    "a.1": as_manual,
    "a.py": as_code,
    "a.pdf": as_pdf,
    "a.zip": as_archive,
    "a.md.gz": as_compressed,
}


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sections=SECTIONS, size=st.integers(12, 60))
def test_passages_are_slices_and_nothing_is_lost(
    name: str, embedder: Embedder, tmp_path: Path, sections: list[Section], size: int
) -> None:
    path = tmp_path / name
    FORMATS[name](path, sections)
    found = documents(path)
    assert found
    limit = embedding_limit(embedder)
    passages: list[str] = []
    for document in found:
        chunks = list(
            chunk_document(
                document, embedder.token_offsets, size=size, overlap=size // 6, limit=limit
            )
        )
        passages += [chunk.text for chunk in chunks]
        assert chunks
        assert_pages(document)
        for chunk, embedded in zip(chunks, embedded_texts(document, chunks), strict=True):
            assert document.text[chunk.start : chunk.end] == chunk.text == chunk.text.strip()
            assert len(embedder.token_offsets(chunk.text)) <= size
            assert len(embedder.token_offsets(embedded)) <= limit
            above, below = document.section_at(chunk.start)
            assert above <= chunk.start < below
    said = "\n".join(passages)
    shown = latin if name == "a.pdf" else str
    words = {word for section in sections for text in section.texts for word in shown(text).split()}
    # A word may be cut between two passages, and joined over a line's end.
    joined = "".join(document.text for document in found).replace("\n", "")
    assert all(word in said or word in joined for word in words)


def assert_pages(document: Document) -> None:
    for page, after in zip(document.pages, document.pages[1:], strict=False):
        assert page.end <= after.start
        assert page.number < after.number


def test_every_reader_is_among_these() -> None:
    """A new format has to keep the law too."""
    from rag.sources import detection

    tried = {Path(name).suffix for name in FORMATS}
    known = detection._names_of("formats")
    # What a picture says, no writer here knows: `test_ocr.py` draws it.
    formats = {known.get(suffix) for suffix in tried} | {"code", "manpage", "picture"}
    assert set(known.values()) <= formats
