"""PDF: reading order, paragraphs, headings, running lines, tables, and files that are refused."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import pytest
from fpdf import FPDF
from fpdf.enums import AccessPermission
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pypdfium2 import PdfDocument
from reading import document, headings

from rag import SourceError

WORDS = """
retrieval passage system model index vector query document ranking evaluation corpus sentence answer
question embedding of a in to and is that measure the we show with by for
"""


def prose(seed: int, count: int) -> str:
    words = WORDS.split()
    chosen = [words[crc32(f"{seed} {at}".encode()) % len(words)] for at in range(count)]
    return " ".join(chosen).capitalize() + "."


Item = TypeVar("Item")


def shuffled(items: list[Item]) -> list[Item]:
    return sorted(items, key=lambda item: crc32(str(item).encode()))


def new_pdf(size: float = 11) -> FPDF:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=size)
    return pdf


def saved(pdf: FPDF, path: Path) -> Path:
    pdf.output(str(path))
    return path


def paragraph(pdf: FPDF, text: str, *, after: float = 4) -> None:
    pdf.multi_cell(0, 5, text, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(after)


def heading(pdf: FPDF, text: str, size: float = 16, style: str = "") -> None:
    pdf.set_font("helvetica", style, size)
    pdf.multi_cell(0, 8, text, new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("helvetica", "", 11)


def words_in(text: str) -> list[str]:
    return text.replace(" | ", " ").split()


def column_lines(pdf: FPDF, text: str, width: float) -> list[str]:
    lines = pdf.multi_cell(width, 5, text, dry_run=True, output="LINES")
    assert isinstance(lines, list)
    return [str(line) for line in lines]


Order = Callable[[list[tuple[float, float, str]]], list[tuple[float, float, str]]]
ORDERS: dict[str, Order] = {
    "by column": lambda lines: lines,
    "by row": lambda lines: sorted(lines, key=lambda line: (line[1], line[0])),
    "shuffled": shuffled,
    "backwards": lambda lines: lines[::-1],
}


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("order", ORDERS)
def test_columns_are_read_one_after_another(tmp_path: Path, order: str, columns: int) -> None:
    pdf = new_pdf(10)
    gutter = 6.0
    width = (190 - gutter * (columns - 1)) / columns
    texts = [prose(seed, 170) for seed in range(columns)]
    title, abstract = "A Title over All Columns", prose(9, 60)
    placed = [
        (10.0, 40 + 5.0 * row, line) for row, line in enumerate(column_lines(pdf, abstract, 190))
    ]
    for at, text in enumerate(texts):
        # Columns of which the lines stand at heights of their own.
        placed += [
            (10 + at * (width + gutter), 70 + 5.0 * row + at, line)
            for row, line in enumerate(column_lines(pdf, text, width))
        ]
    for x, y, line in ORDERS[order](placed):
        pdf.set_xy(x, y)
        pdf.cell(w=0, h=5, text=line)
    pdf.set_font("helvetica", size=18)
    pdf.set_xy(10, 15)
    pdf.cell(w=190, h=10, text=title, align="C")
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text.startswith(f"{title}\n\n")
    assert found.text.split() == " ".join([title, abstract, *texts]).split()
    assert found.title == title


def test_shuffled_boxes_between_lines_over_both_columns(tmp_path: Path) -> None:
    pdf = new_pdf(10)
    pdf.set_auto_page_break(False)
    boxes = [(x, y) for y0 in (15, 157) for x in (10, 108) for y in (y0, y0 + 63)]
    texts = [prose(seed, 85) for seed in range(len(boxes))]
    drawn = list(zip(boxes, texts, strict=True))
    for (x, y), text in shuffled(drawn):
        pdf.set_xy(x, y)
        pdf.multi_cell(92, 5, text)
    pdf.set_xy(10, 147)
    pdf.cell(w=190, h=5, text="Figure 1: a caption that runs over both of the columns of this page")
    found = document(saved(pdf, tmp_path / "a.pdf"))
    parts = [*texts[:4], "Figure 1: a caption that runs over both of the columns of this page"]
    assert found.text.split() == " ".join([*parts, *texts[4:]]).split()


def test_a_short_second_column_on_the_last_page(tmp_path: Path) -> None:
    pdf = new_pdf(10)
    left, right = prose(1, 300), prose(2, 30)
    for x, text in ((10, left), (108, right)):
        pdf.set_xy(x, 20)
        pdf.multi_cell(92, 5, text)
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text.split() == f"{left} {right}".split()


def test_rows_of_a_table_stay_together(tmp_path: Path) -> None:
    pdf = new_pdf()
    rows = [
        ("Model", "Parameters", "Recall", "Licence"),
        ("all-MiniLM-L6-v2", "22 million", "0.871", "Apache-2.0"),
        ("bge-base-en", "109 million", "0.902", "MIT"),
        ("gte-large", "335 million", "0.911", "MIT"),
    ]
    paragraph(pdf, prose(1, 60))
    with pdf.table() as table:
        for cells in rows:
            row = table.row()
            for cell in cells:
                row.cell(cell)
    pdf.ln(6)
    paragraph(pdf, prose(2, 60))
    found = document(saved(pdf, tmp_path / "a.pdf"))
    for cells in rows:
        assert " | ".join(cells) in found.text.splitlines()
    assert words_in(found.text) == words_in(
        " ".join([prose(1, 60), *(word for row in rows for word in row), prose(2, 60)])
    )


@pytest.mark.parametrize("order", [list, shuffled])
def test_a_table_without_rules_is_read_across(tmp_path: Path, order: Callable[[Any], Any]) -> None:
    pdf = new_pdf()
    cells = [(10 + 60 * x, 20 + 6 * y, f"r{y}c{x}") for y in range(20) for x in range(3)]
    for x, y, text in order(cells):
        pdf.set_xy(x, y)
        pdf.cell(text=text)
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text.split("\n") == [f"r{y}c0 | r{y}c1 | r{y}c2" for y in range(20)]


def test_an_empty_cell_stays_an_empty_cell(tmp_path: Path) -> None:
    """Without it `Oslo | 12 | 3` said that the zinc is copper."""
    rows = [
        ["Depot", "Steel", "Copper", "Zinc"],
        ["Oslo", "12", "", "3"],
        ["", "31", "9", ""],
        ["Tromso", "7", "2", "8"],
    ]
    pdf = new_pdf()
    paragraph(pdf, prose(1, 30))
    for y, row in enumerate(rows):
        for x, text in enumerate(row):
            pdf.text(10 + 40 * x, 60 + 6 * y, text)
    lines = document(saved(pdf, tmp_path / "a.pdf")).text.splitlines()
    assert [line.strip() for line in lines[-4:]] == [
        "Depot | Steel | Copper | Zinc",
        "Oslo | 12 |  | 3",
        "| 31 | 9 |",
        "Tromso | 7 | 2 | 8",
    ]


def test_lines_whose_cells_stand_below_no_others_are_no_columns(tmp_path: Path) -> None:
    pdf = new_pdf()
    for y, row in enumerate([[(10, "one"), (60, "two")], [(30, "a"), (90, "b"), (140, "c")]] * 2):
        for x, text in row:
            pdf.text(x, 60 + 6 * y, text)
    text = document(saved(pdf, tmp_path / "a.pdf")).text
    assert "one | two" in text
    assert "a | b | c" in text


@pytest.mark.parametrize("space", [22, 25, 40])
def test_cells_of_several_lines_are_not_taken_for_columns(tmp_path: Path, space: int) -> None:
    pdf = new_pdf(10)
    cells = [prose(number, 25) for number in range(10)]
    for number, cell in enumerate(cells):
        pdf.set_xy(10 + 98 * (number % 2), 20 + space * (number // 2))
        pdf.multi_cell(90, 5, cell)
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text.split() == " ".join(cells).split()


def test_indented_lines_and_lists_of_one_column(tmp_path: Path) -> None:
    pdf = new_pdf()
    lines = [
        (10, "Steps to take before the index can be searched by anybody at all:"),
        (20, "1. Install the package"),
        (30, "a. with pip"),
        (30, "b. from source"),
        (20, "2. Index a folder"),
        (60, "rag index docs"),
        (10, "The rest of this page goes on as before with a line of full length."),
    ]
    for at, (x, text) in enumerate(lines):
        pdf.set_xy(x, 20 + 5 * at)
        pdf.cell(text=text)
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text == "\n".join(text for _, text in lines)


def test_paragraphs_by_white_and_hyphens_at_line_ends(tmp_path: Path) -> None:
    pdf = new_pdf()
    paragraph(pdf, "The retrie-\nval of passages and the state-of-the-\nart of New-\nYork.")
    paragraph(pdf, "A second para-\ngraph\nhere.")
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text == (
        "The retrieval of passages and the state-of-the-\nart of New-\nYork.\n\n"
        "A second paragraph\nhere."
    )


def test_a_word_parted_between_two_columns(tmp_path: Path) -> None:
    pdf = new_pdf(10)
    left, right = prose(1, 150)[:-1] + " embed-", "ding " + prose(2, 150)
    for x, text in ((10, left), (108, right)):
        pdf.set_xy(x, 20)
        pdf.multi_cell(92, 5, text)
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text.split() == f"{left[:-1]}{right}".split()


def write_sections(path: Path, *, outline: bool = False) -> Path:
    pdf = new_pdf()
    for number in (1, 2):
        if number > 1:
            pdf.add_page()
        if outline:
            pdf.start_section(f"Results {number}")
        paragraph(pdf, f"Results {number} come below. {prose(number, 50)}")
        heading(pdf, f"{number} Results {number}", 18)
        paragraph(pdf, prose(number, 120))
        if outline:
            pdf.start_section("Limits", level=1)
        heading(pdf, "Limits", 14)
        paragraph(pdf, prose(number + 5, 60))
        heading(pdf, "In bold letters", 11, "B")
        paragraph(pdf, prose(number + 7, 60))
    return saved(pdf, path)


def test_headings_by_size_and_below_them_by_weight(tmp_path: Path) -> None:
    found = document(write_sections(tmp_path / "a.pdf"))
    assert headings(found) == [
        (level, title, title)
        for number in (1, 2)
        for level, title in (
            (1, f"{number} Results {number}"),
            (2, "Limits"),
            (3, "In bold letters"),
        )
    ]
    assert found.title == "1 Results 1"


def test_headings_by_the_outline_on_lines_of_their_own(tmp_path: Path) -> None:
    found = document(write_sections(tmp_path / "a.pdf", outline=True))
    assert headings(found) == [
        (1, "Results 1", "1 Results 1"),
        (2, "Limits", "Limits"),
        (1, "Results 2", "2 Results 2"),
        (2, "Limits", "Limits"),
    ]


def test_bold_within_a_paragraph_or_a_table_is_no_heading(tmp_path: Path) -> None:
    pdf = new_pdf()
    for number in range(4):
        pdf.set_font("helvetica", "B", 11)
        pdf.write(5, "Warning ")
        pdf.set_font("helvetica", "", 11)
        pdf.write(5, prose(number, 60))
        pdf.ln(10)
    with pdf.table() as table:  # its first row is bold
        for cells in (("Name", "Number"), ("one", "1"), ("two", "2")):
            row = table.row()
            for cell in cells:
                row.cell(cell)
    assert document(saved(pdf, tmp_path / "a.pdf")).headings == ()


class Running(FPDF):
    """With a header and a footer on each page."""

    def header(self) -> None:
        self.set_font("helvetica", size=9)
        self.cell(0, 6, "Annual report of the society")
        self.ln(12)

    def footer(self) -> None:
        self.set_y(-15)
        self.set_font("helvetica", size=9)
        self.cell(0, 6, f"Page {self.page_no()} of 9", align="C")


@pytest.mark.parametrize(("count", "kept"), [(2, True), (4, False)])
def test_running_lines_are_dropped_from_three_pages_on(
    tmp_path: Path, count: int, kept: bool
) -> None:
    pdf = Running()
    for number in range(count):
        pdf.add_page()
        pdf.set_font("helvetica", size=11)
        paragraph(pdf, f"Chapter {number + 1}")
        paragraph(pdf, prose(number, 80))
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text.count("Annual report") == (count if kept else 0)
    assert len(re.findall(r"Page \d of 9", found.text)) == (count if kept else 0)
    for number, page in enumerate(found.pages):
        text = found.text[page.start : page.end]
        assert text.count(f"Chapter {number + 1}\n\n") == 1
        assert prose(number, 80).split()[-1] in text


def test_pages_of_one_line_each_keep_it(tmp_path: Path) -> None:
    pdf = FPDF()
    for number in range(1, 6):
        pdf.add_page()
        pdf.set_font("helvetica", size=11)
        pdf.cell(text=f"Page {number}")
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text == "\n\n".join(f"Page {number}" for number in range(1, 6))


def test_text_turned_against_the_page_comes_last(tmp_path: Path) -> None:
    pdf = new_pdf()
    with pdf.rotation(90, 8, 150):
        pdf.set_xy(8, 150)
        pdf.cell(text="a stamp along the margin")
    pdf.set_xy(20, 20)
    pdf.multi_cell(0, 5, prose(1, 100))
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.text.split() == f"{prose(1, 100)} a stamp along the margin".split()
    assert found.text.endswith("\n\na stamp along the margin")


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_page_turned_as_a_whole_reads_as_ever(tmp_path: Path, quarters: int) -> None:
    pdf = new_pdf()
    with pdf.rotation(90 * quarters, 105, 148):
        pdf.set_xy(20, 80)
        pdf.multi_cell(150, 5, prose(1, 150))
        pdf.set_xy(20, 190)
        pdf.cell(text="left")
        pdf.set_xy(120, 190)
        pdf.cell(text="right")
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert words_in(found.text) == f"{prose(1, 150)} left right".split()
    assert found.text.endswith("\n\nleft | right")


def test_metadata(tmp_path: Path) -> None:
    pdf = new_pdf()
    pdf.cell(text="Text.")
    pdf.set_title("A paper")
    pdf.set_author("Somebody")
    pdf.set_subject("Passages")
    pdf.set_keywords("one, two")
    pdf.set_lang("de-CH")
    pdf.set_creation_date(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    path = saved(pdf, tmp_path / "a.pdf")
    data = path.read_bytes()
    date = b"/CreationDate (D:20260102030405Z)"
    assert date in data
    # Of one length, so that no offset within the file changes.
    path.write_bytes(data.replace(date, b"/ModDate(D:20260102030405+01'00')"))
    found = document(path)
    assert found.title == "A paper"
    described = {"author": "Somebody", "subject": "Passages", "keywords": "one, two"}
    modified = "2026-01-02T03:04:05+01:00"
    assert found.metadata == {**described, "modified": modified, "language": "de"}


def scanned(pdf: FPDF) -> None:
    picture = BytesIO()
    Image.new("L", (40, 40), 128).save(picture, "PNG")
    pdf.image(picture, x=10, y=10, w=100)


def test_some_pages_without_text_are_counted(tmp_path: Path) -> None:
    pdf = new_pdf()
    pdf.cell(text="The first page.")
    for _ in range(2):
        pdf.add_page()
        scanned(pdf)
    pdf.add_page()
    pdf.cell(text="The last page.")
    found = document(saved(pdf, tmp_path / "a.pdf"))
    assert found.metadata["pages_without_text"] == 2
    assert [found.text[page.start : page.end] for page in found.pages] == [
        "The first page.",
        "",
        "",
        "The last page.",
    ]


def test_only_what_needs_a_password_is_refused(tmp_path: Path) -> None:
    for user in ("", "secret"):
        pdf = new_pdf()
        pdf.cell(text="Behind a lock.")
        pdf.set_encryption(
            owner_password="owner",
            user_password=user or None,
            permissions=AccessPermission.none(),
        )
        path = saved(pdf, tmp_path / f"{user}.pdf")
        if user:
            with pytest.raises(SourceError, match="is encrypted"):
                document(path)
        else:
            assert document(path).text == "Behind a lock."


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    pdf = new_pdf()
    scanned(pdf)
    with pytest.raises(SourceError, match="page 1 is a picture without text: install"):
        document(saved(pdf, tmp_path / "scan.pdf"), ocr="off")
    pages = FPDF()
    pages.set_font("helvetica", size=11)
    for number in range(3):
        pages.add_page()
        paragraph(pages, prose(number, 300))
    whole = saved(pages, tmp_path / "whole.pdf").read_bytes()
    broken = tmp_path / "broken.pdf"
    for content in (whole[: len(whole) // 2], b"%PDF-1.7\njunk \x00\xff" * 50, b"%PDF-"):
        broken.write_bytes(content)
        with pytest.raises(SourceError, match="damaged"):
            document(broken)
    with pytest.raises(SourceError, match=r"has 3 pages, the limit is 2 \(`sources\.max_pages`\)"):
        document(tmp_path / "whole.pdf", max_pages=2)
    assert len(document(tmp_path / "whole.pdf", max_pages=3).pages) == 3


def letters_seen(path: Path) -> list[str]:
    with closing(PdfDocument(path)) as pdf:
        texts = [page.get_textpage().get_text_range() for page in pdf]
    return sorted(letter for text in texts for letter in text if letter.isalnum())


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.text("abcXYZ -.19é", min_size=1, max_size=30),
                st.integers(0, 180),
                st.integers(0, 280),
                st.sampled_from([6, 11, 11, 11, 24]),
                st.sampled_from([0, 0, 0, 90, 30]),
            ),
            max_size=8,
        ),
        min_size=1,
        max_size=2,
    )
)
def test_no_letter_is_lost_wherever_it_stands(
    pages: list[list[tuple[str, int, int, int, int]]],
) -> None:
    pdf = FPDF()
    pdf.set_auto_page_break(False)
    for page in [*pages, [("End", 90, 150, 11, 0)]]:
        pdf.add_page()
        for at, (text, x, y, size, angle) in enumerate(page):
            pdf.set_font("helvetica", "B" if at % 2 else "", size)
            with pdf.rotation(angle, x, y):
                pdf.set_xy(x, y)
                pdf.cell(text=text)
    with tempfile.TemporaryDirectory() as folder:
        path = saved(pdf, Path(folder) / "a.pdf")
        found = document(path)
        seen = letters_seen(path)
    assert sorted(filter(str.isalnum, found.text)) == seen
    assert [page.number for page in found.pages] == list(range(1, len(pages) + 2))
    for one, other in pairwise(found.pages):
        assert found.text[one.end : other.start] == "\n\n"
    assert found.text[found.pages[-1].start :] == "End"
    for line in found.headings:
        assert found.text[line.start : line.end].split() == line.title.split()


FORM = b"""%PDF-1.7
1 0 obj <</Type /Catalog /Pages 2 0 R /AcroForm <</Fields [4 0 R 5 0 R 6 0 R 7 0 R 8 0 R]>>>> endobj
2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 300 300]
 /Annots [4 0 R 5 0 R 6 0 R 7 0 R 8 0 R 9 0 R 10 0 R 11 0 R]>> endobj
4 0 obj <</Type /Annot /Subtype /Widget /FT /Tx /T (name) /TU (Full name) /V (Ilse
Brandt) /Rect [0 0 9 9]>> endobj
5 0 obj <</Type /Annot /Subtype /Widget /FT /Ch /T (country) /V (Norway) /Opt [(Norway) (Iran)]
 /Rect [0 0 9 9]>> endobj
6 0 obj <</Type /Annot /Subtype /Widget /FT /Btn /T (paid) /V /Yes /AS /Yes /Rect [0 0 9 9]
 /AP <</N <</Yes 12 0 R /Off 12 0 R>>>>>> endobj
7 0 obj <</Type /Annot /Subtype /Widget /FT /Btn /T (late) /V /Off /AS /Off /Rect [0 0 9 9]
 /AP <</N <</Yes 12 0 R /Off 12 0 R>>>>>> endobj
8 0 obj <</Type /Annot /Subtype /Widget /FT /Tx /T (empty) /Rect [0 0 9 9]>> endobj
9 0 obj <</Type /Annot /Subtype /Text /Contents (Agreed on 850 euro.) /T (Ada)
 /Rect [0 0 9 9]>> endobj
10 0 obj <</Type /Annot /Subtype /FreeText /Contents (Valid until May.) /Rect [0 0 9 9]>> endobj
11 0 obj <</Type /Annot /Subtype /Popup /Contents (Agreed on 850 euro.)
 /Rect [0 0 9 9]>> endobj
12 0 obj <</Type /XObject /Subtype /Form /BBox [0 0 9 9] /Length 0>> stream
endstream endobj
trailer <</Root 1 0 R>>
%%EOF"""


def test_fields_that_are_filled_in_and_notes_are_taken(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(FORM)
    found = document(tmp_path / "a.pdf")
    assert found.text.split("\n\n") == [
        "Field Full name: Ilse Brandt",
        "Field country: Norway",
        "Field paid: Yes",
        "[Note by Ada: Agreed on 850 euro.]",
        "Valid until May.",
    ]
    assert [page.number for page in found.pages] == [1]
    assert found.headings == ()


def test_notes_stand_at_the_end_of_their_page(tmp_path: Path) -> None:
    pdf = new_pdf()
    paragraph(pdf, "The rent is 900 euro.")
    pdf.text_annotation(20, 20, "Raised in May.")
    pdf.add_page()
    paragraph(pdf, "The deposit is 100 euro.")
    found = document(saved(pdf, tmp_path / "a.pdf"))
    texts = [found.text[page.start : page.end].strip() for page in found.pages]
    assert texts == ["The rent is 900 euro.\n\n[Note: Raised in May.]", "The deposit is 100 euro."]
