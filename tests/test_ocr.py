"""OCR: scanned pages and pictures are read by the engines that are installed, or named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from reading import document, problems, results

from rag import SourceError
from rag.config import SourcesConfig
from rag.index.rows import cells_of, pages_of, to_json
from rag.sources import SourceFile, draw_page, read_files, unpack_words
from rag.types import Document, Page, Place
from rag.viewing.pages import boxes_of

LEFT = """The crane at the north pier lifts
fifty-two tonnes. The hall is main-
tained every second year by the
port authority of the town."""
RIGHT = """Dogs are not allowed in the hall,
except assistance dogs. The gates
stay closed on Sundays. The rent
is paid in advance each month."""
ENGINES = [
    pytest.param(
        "tesseract",
        marks=pytest.mark.skipif(not shutil.which("tesseract"), reason="no program tesseract"),
    ),
    pytest.param(
        "rapidocr",
        marks=[
            pytest.mark.skipif(not find_spec("rapidocr"), reason="no package rapidocr"),
            pytest.mark.slow,
        ],
    ),
]
needs_tesseract = pytest.mark.skipif(not shutil.which("tesseract"), reason="no program tesseract")


def page(*columns: str) -> Image.Image:
    drawn = Image.new("L", (1600, 700), 255)
    draw = ImageDraw.Draw(drawn)
    for at, column in enumerate(columns):
        font = ImageFont.load_default(34)
        draw.multiline_text((90 + 760 * at, 90), column, font=font, fill=0, spacing=16)
    return drawn


def read_confined(path: Path, ocr: str) -> Document:
    status = path.stat()
    file = SourceFile(str(path.resolve()), path.name, status.st_size, status.st_mtime_ns)
    config = SourcesConfig(ocr=ocr, workers=1)  # type: ignore[arg-type]
    items = [result.item for result in read_files([(file, None)], config, [str(path.parent)])]
    (found,) = [item for item in items if isinstance(item, Document)]
    return found


@pytest.mark.parametrize("ocr", ENGINES)
def test_a_scan_is_read_in_a_confined_process(tmp_path: Path, ocr: str) -> None:
    page(LEFT, RIGHT).save(tmp_path / "scan.pdf", resolution=200)
    found = read_confined(tmp_path / "scan.pdf", ocr)
    words = " ".join(found.text.split())
    assert "The hall is maintained every second year" in words
    assert words.index("port authority") < words.index("Dogs are not allowed")
    assert found.metadata["ocr"] == ocr
    assert found.metadata["ocr_confidence"] > 0.8
    assert found.media_type == "application/pdf"


@needs_tesseract
@pytest.mark.parametrize("turn", [2, 90, 180, 270])
@pytest.mark.slow
def test_turned_and_skewed_pictures_are_put_right(tmp_path: Path, turn: int) -> None:
    page(LEFT).rotate(turn, expand=True, fillcolor=255).save(tmp_path / "a.png")
    found = document(tmp_path / "a.png")
    assert " ".join(found.text.split()).startswith("The crane at the north pier lifts")


@needs_tesseract
def test_words_have_boxes_where_they_were_drawn(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    page(LEFT, RIGHT).save(path)
    found = document(path)
    start = found.text.index("assistance dogs")
    place = Place(found, start, start + len("assistance dogs"))
    ((left, top, right, bottom),) = boxes_of(place)
    assert 0.5 < left < right < 1
    assert 0.18 < top < bottom < 0.30
    places = unpack_words(found.pages[0].words)
    assert [found.text[each.start : each.end] for each in places[:3]] == ["The", "crane", "at"]
    drawn = draw_page(str(path), 1, "assistance dogs", SourcesConfig(), boxes_of(place))
    assert drawn.png.startswith(b"\x89PNG")
    assert len(drawn.boxes) == 1


@needs_tesseract
@pytest.mark.parametrize("kind", ["jpg", "webp", "tiff"])
def test_pictures_are_read_with_all_their_pages(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    more = {"save_all": True, "append_images": [page(RIGHT)]} if kind == "tiff" else {}
    page(LEFT).save(path, **more)
    found = document(path)
    assert "north pier" in found.text
    assert len(found.pages) == (2 if kind == "tiff" else 1)
    assert ("assistance dogs" in found.text) == (kind == "tiff")
    assert found.media_type.startswith("image/")


def test_without_an_engine_pictures_are_named(tmp_path: Path) -> None:
    page(LEFT).save(tmp_path / "a.png")
    page(LEFT).save(tmp_path / "a.pdf")
    for name in ("a.png", "a.pdf"):
        with pytest.raises(SourceError, match="a picture without text: install") as refused:
            results(tmp_path / name, ocr="off")
        assert not refused.value.lasting


def test_pages_that_are_pictures_are_named_beside_those_with_text(tmp_path: Path) -> None:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    pdf.add_page()
    pdf.cell(text="The first page holds text.")
    pdf.add_page()
    pdf.image(page(LEFT), x=10, y=10, w=180)
    pdf.output(str(tmp_path / "a.pdf"))
    assert "first page" in document(tmp_path / "a.pdf", ocr="off").text
    (problem,) = problems(tmp_path / "a.pdf", ocr="off")
    assert problem.reason.startswith("page 2 is a picture without text: install")


@needs_tesseract
def test_damaged_pictures_and_those_without_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    page().save(path)
    with pytest.raises(SourceError, match="no text was found"):
        results(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(SourceError, match="is damaged"):
        results(path)


def test_damaged_places_of_words_mark_nothing() -> None:
    assert unpack_words("no places") == []


def test_no_engine_is_imported_before_it_is_needed() -> None:
    code = "import sys, rag, rag.sources; print({'rapidocr', 'cv2', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_pages_keep_the_labels_that_a_pdf_gives_them(tmp_path: Path) -> None:
    from fpdf import FPDF
    from fpdf.enums import PageLabelStyle

    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    pdf.add_page(label_style=PageLabelStyle.LOWER_ROMAN, label_start=4)
    pdf.cell(text="A foreword.")
    pdf.add_page(label_style=PageLabelStyle.NUMBER, label_start=1, label_prefix="A-")
    pdf.cell(text="A chapter.")
    pdf.output(str(tmp_path / "a.pdf"))
    found = document(tmp_path / "a.pdf")
    assert [page.label for page in found.pages] == ["iv", "A-1"]
    stored = to_json([cells_of(page) for page in found.pages])
    assert pages_of(stored) == found.pages
    # What was stored before pages had labels.
    assert pages_of("[[0, 5, 1]]") == (Page(0, 5, 1),)
    with pytest.raises(ValueError, match="pages"):
        pages_of('[[0, 5, 1, 7, ""]]')
