"""Word documents, presentations, workbooks and tables, as the libraries that write them do."""

from __future__ import annotations

import csv
import datetime
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import openpyxl
import openpyxl.comments
import pptx
import pytest
from docx.opc.packuri import PackURI as DocumentURI
from docx.opc.part import Part as DocumentPart
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import given, settings
from hypothesis import strategies as st
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.opc.package import Part
from pptx.opc.packuri import PackURI
from pptx.oxml import parse_xml as slide_xml
from pptx.util import Inches
from reading import document, headings, problems, results

from rag import Document
from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.formats.numbers import format_number
from rag.sources.formats.package import check_package

RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

Edit = Callable[[str, bytes], bytes]


def repack(path: Path, edit: Edit, **added: bytes) -> Path:
    """The package at `path` with each of its parts edited, and others added."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: edit(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**parts, **added}.items():
            archive.writestr(name, data)
    return path


def replaced(name: str, old: bytes, new: bytes) -> Edit:
    def edit(part: str, data: bytes) -> bytes:
        if part != name:
            return data
        assert old in data
        return data.replace(old, new, 1)

    return edit


def refusal(path: Path, **limits: Any) -> str:
    with pytest.raises(SourceError) as error:
        results(path, **limits)
    assert error.value.kind == "failed"
    assert "\n" not in error.value.reason
    assert str(path) not in error.value.reason
    return error.value.reason


def page_texts(found: Document) -> list[tuple[int, str]]:
    return [(page.number, found.text[page.start : page.end]) for page in found.pages]


# Word


def word(path: Path, build: Callable[[Any], None]) -> Path:
    made = docx.Document()
    build(made)
    made.save(str(path))
    return path


def paragraph_xml(inner: str) -> Any:
    return parse_xml(f"<w:p {nsdecls('w', 'r')}>{inner}</w:p>")


def run(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def body_text(tmp_path: Path, *xml: str) -> str:
    def build(made: Any) -> None:
        for inner in xml:
            made.element.body.insert(-1, paragraph_xml(inner))

    return document(word(tmp_path / "a.docx", build)).text


def test_word_in_order(tmp_path: Path) -> None:
    def build(made: Any) -> None:
        made.add_heading("Manual", 0)
        made.add_paragraph("Before  all.")
        made.add_heading("Care", 1)
        made.add_paragraph("Wash cold", style="List Bullet")
        made.add_paragraph("Dry flat", style="List Bullet")
        made.add_heading("Parts", 2)
        table = made.add_table(rows=0, cols=2)
        for left, right in (("Part", "Weight"), ("Bolt | nut", "3 g")):
            cells = table.add_row().cells
            cells[0].text, cells[1].text = left, right
        made.add_paragraph("Unpack", style="List Number")
        made.add_paragraph("Assemble", style="List Number")
        made.sections[0].header.paragraphs[0].text = "Confidential"
        made.sections[0].footer.paragraphs[0].text = "Page 1"

    found = document(word(tmp_path / "a.docx", build))
    assert found.text == (
        "Confidential\n\nManual\n\nBefore all.\n\nCare\n\n- Wash cold\n- Dry flat\n\nParts\n\n"
        "| Part | Weight |\n| --- | --- |\n| Bolt \\| nut | 3 g |\n\n1. Unpack\n2. Assemble"
    )
    assert found.markup == "markdown"
    assert found.title == "Manual"
    assert headings(found) == [
        (1, "Manual", "Manual"),
        (1, "Care", "Care"),
        (2, "Parts", "Parts"),
    ]
    assert found.heading_at(found.text.index("3 g")) == ("Care", "Parts")


def test_word_properties(tmp_path: Path) -> None:
    def build(made: Any) -> None:
        made.add_paragraph("Inhalt")
        core = made.core_properties
        core.title, core.author, core.language = "Bericht", "Ada", "de-DE"
        core.subject, core.keywords = "Zahlen", "eins, zwei"
        core.created = datetime.datetime(2024, 1, 5, 13, 30, tzinfo=datetime.UTC)
        core.modified = datetime.datetime(2024, 2, 6, 8, 0, tzinfo=datetime.UTC)

    found = document(word(tmp_path / "a.docx", build))
    assert found.title == "Bericht"
    assert found.metadata == {
        "author": "Ada",
        "created": "2024-01-05T13:30:00Z",
        "modified": "2024-02-06T08:00:00Z",
        "subject": "Zahlen",
        "keywords": "eins, zwei",
        "language": "de",
    }


def test_word_without_properties_has_none_made_up(tmp_path: Path) -> None:
    path = word(tmp_path / "letter.docx", lambda made: made.add_paragraph("Dear Sir"))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    relation = re.search(rb'<Relationship [^>]*core-properties"[^>]*>', parts["_rels/.rels"])
    assert relation
    parts["_rels/.rels"] = parts["_rels/.rels"].replace(relation[0], b"")
    del parts["docProps/core.xml"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    found = document(path)
    assert (found.title, dict(found.metadata)) == ("letter", {})


@pytest.mark.parametrize(
    ("style", "level"),
    [
        ('<w:name w:val="heading 3"/>', 3),
        ('<w:name w:val="Überschrift 2"/>', 2),
        ('<w:name w:val="Titre 4"/>', 4),
        ('<w:name w:val="Chapter"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr>', 2),
        ('<w:name w:val="Mine"/><w:basedOn w:val="Heading5"/>', 5),
        (
            '<w:name w:val="Body"/><w:basedOn w:val="Heading5"/>'
            '<w:pPr><w:outlineLvl w:val="9"/></w:pPr>',
            None,
        ),
        ('<w:name w:val="Loop"/><w:basedOn w:val="x1"/>', None),
    ],
)
def test_word_headings_by_style(tmp_path: Path, style: str, level: int | None) -> None:
    def build(made: Any) -> None:
        made.styles.element.append(
            parse_xml(
                f'<w:style {nsdecls("w")} w:type="paragraph" w:styleId="x1">{style}</w:style>'
            )
        )
        made.element.body.insert(
            0, paragraph_xml(f'<w:pPr><w:pStyle w:val="x1"/></w:pPr>{run("Topic")}')
        )
        made.add_paragraph("Body")

    found = document(word(tmp_path / "a.docx", build))
    assert found.text == "Topic\n\nBody"
    assert headings(found) == ([(level, "Topic", "Topic")] if level else [])


def test_word_style_id_without_a_style(tmp_path: Path) -> None:
    def build(made: Any) -> None:
        for name in ("berschrift2", "Ttulo3"):
            made.element.body.insert(
                -1, paragraph_xml(f'<w:pPr><w:pStyle w:val="{name}"/></w:pPr>{run(name)}')
            )

    found = document(word(tmp_path / "a.docx", build))
    assert [(h.level, h.title) for h in found.headings] == [(2, "berschrift2"), (3, "Ttulo3")]


def test_word_changes_links_and_breaks(tmp_path: Path) -> None:
    assert (
        body_text(
            tmp_path,
            f"{run('Pay ')}<w:del>{run('ten')}<w:r><w:delText>old</w:delText></w:r></w:del>"
            f"<w:ins>{run('twelve')}</w:ins>{run(' days')}",
            f'{run("See ")}<w:hyperlink r:id="rId9">{run("the site")}</w:hyperlink>{run(".")}',
            "<w:r><w:t>one</w:t><w:br/><w:t>two</w:t><w:tab/><w:t>three</w:t></w:r>",
            f"<w:moveFrom>{run('gone')}</w:moveFrom><w:moveTo>{run('here')}</w:moveTo>",
            f"<w:sdt><w:sdtPr/><w:sdtContent>{run('controlled')}</w:sdtContent></w:sdt>",
            '<w:r><w:fldChar w:fldCharType="begin"/><w:instrText>PAGE</w:instrText></w:r>'
            + run("field"),
        )
        == "Pay twelve days\n\nSee the site.\n\none\ntwo three\n\nhere\n\ncontrolled\n\nfield"
    )


def test_word_text_box_once(tmp_path: Path) -> None:
    box = f"<w:txbxContent><w:p>{run('boxed')}</w:p><w:p>{run('twice')}</w:p></w:txbxContent>"
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    assert (
        body_text(
            tmp_path,
            f"{run('around')}<w:r><mc:AlternateContent {mc}>"
            f'<mc:Choice Requires="wps"><w:drawing>{box}</w:drawing></mc:Choice>'
            f"<mc:Fallback><w:pict>{box}</w:pict></mc:Fallback></mc:AlternateContent></w:r>",
            run("after"),
        )
        == "around\n\nboxed\n\ntwice\n\nafter"
    )


def test_word_block_content_control(tmp_path: Path) -> None:
    def build(made: Any) -> None:
        inner = f"<w:sdtContent><w:p>{run('inside')}</w:p></w:sdtContent>"
        made.element.body.insert(0, parse_xml(f"<w:sdt {nsdecls('w')}>{inner}</w:sdt>"))

    assert document(word(tmp_path / "a.docx", build)).text == "inside"


def test_word_notes(tmp_path: Path) -> None:
    def build(made: Any) -> None:
        made.element.body.insert(
            0,
            paragraph_xml(
                f'{run("Claim")}<w:r><w:footnoteReference w:id="2"/></w:r>{run(" made.")}'
            ),
        )
        made.add_paragraph("Next.")

    path = word(tmp_path / "a.docx", build)
    cited = f"<w:p>{run('Smith 1999, ')}</w:p><w:p>{run('p. 3')}</w:p>"
    note = f'<w:footnote w:id="2">{cited}</w:footnote>'
    separator = f'<w:footnote w:id="0" w:type="separator"><w:p>{run("----")}</w:p></w:footnote>'
    relation = (
        b'<Relationship Id="rId99" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        b'relationships/footnotes" Target="footnotes.xml"/></Relationships>'
    )
    repack(
        path,
        replaced("word/_rels/document.xml.rels", b"</Relationships>", relation),
        **{
            "word/footnotes.xml": (
                f"<w:footnotes {nsdecls('w')}>{separator}{note}</w:footnotes>".encode()
            )
        },
    )
    assert document(path).text == "Claim made.\n\n[Smith 1999, p. 3]\n\nNext."


def test_word_merged_and_nested_tables(tmp_path: Path) -> None:
    def build(made: Any) -> None:
        table = made.add_table(rows=3, cols=3)
        for row in range(3):
            for column in range(3):
                table.cell(row, column).text = f"{row}{column}"
        table.cell(0, 1).merge(table.cell(0, 2)).text = "wide"
        table.cell(1, 0).merge(table.cell(2, 0)).text = "tall"
        inner = table.cell(2, 2).add_table(rows=1, cols=2)
        inner.cell(0, 0).text, inner.cell(0, 1).text = "in", "ner"

    assert document(word(tmp_path / "a.docx", build)).text == (
        "| 00 | wide | wide |\n| --- | --- | --- |\n| tall | 11 | 12 |\n| tall | 21 | 22 in ner |"
    )


def test_word_headers_and_footers_stand_once_around_the_body(tmp_path: Path) -> None:
    def build(made: Any) -> None:
        made.add_paragraph("Body.")
        for _ in range(2):
            section = made.add_section()
            section.header.is_linked_to_previous = section.footer.is_linked_to_previous = False
            section.header.paragraphs[0].text = "Valid from 1 May 2024"
            section.footer.paragraphs[0].text = "Page 3 of 7"
        made.sections[0].footer.paragraphs[0].text = "Case 4711, Lund"

    found = document(word(tmp_path / "a.docx", build)).text
    assert found == "Valid from 1 May 2024\n\nBody.\n\nCase 4711, Lund"

    def build_empty(made: Any) -> None:
        made.sections[0].header.paragraphs[0].text = "Only here"

    assert document(word(tmp_path / "b.docx", build_empty)).text == "Only here"


def test_word_comments_stand_below_what_they_are_about(tmp_path: Path) -> None:
    def build(made: Any) -> None:
        about = made.add_paragraph("The rent is 900 euro.")
        made.add_comment(about.runs, text="Raised to 950 in May.", author="Ada")
        made.add_paragraph("Next.")

    assert document(word(tmp_path / "a.docx", build)).text == (
        "The rent is 900 euro.\n\n[Comment by Ada: Raised to 950 in May.]\n\nNext."
    )


def test_word_formulas_show_what_stands_above_and_below(tmp_path: Path) -> None:
    math = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'

    def sign(text: str) -> str:
        return f"<m:r><m:t>{text}</m:t></m:r>"

    fraction = (
        f"<m:f><m:num>{sign('s')}</m:num><m:den>{sign('t')}{sign('+1')}</m:den></m:f>"
        f"<m:sSup><m:e>{sign('x')}</m:e><m:sup>{sign('2')}</m:sup></m:sSup>"
    )
    found = body_text(tmp_path, f"{run('Speed: ')}<m:oMath {math}>{sign('v=')}{fraction}</m:oMath>")
    assert found == "Speed: v=s/(t+1)x^2"


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("text/html", b"<meta charset=latin1><p>Caf\xe9 is <b>open</b>.</p>", "Café is open."),
        ("text/plain", "Café is open.".encode(), "Café is open."),
        ("application/rtf", b"{\\rtf1 x}", None),
    ],
)
def test_word_takes_what_is_set_into_it_or_names_it(
    tmp_path: Path, kind: str, data: bytes, expected: str | None
) -> None:
    def build(made: Any) -> None:
        made.add_paragraph("Before.")
        part = DocumentPart(DocumentURI("/word/chunk1.bin"), kind, data, made.part.package)
        relation = made.part.relate_to(part, f"{RELATIONS}/aFChunk")
        chunk = f'<w:altChunk {nsdecls("w", "r")} r:id="{relation}"/>'
        made.element.body.insert(-1, parse_xml(chunk))
        made.add_paragraph("After.")

    path = word(tmp_path / "a.docx", build)
    assert document(path).text == "\n\n".join(filter(None, ("Before.", expected, "After.")))
    reasons = [problem.reason for problem in problems(path)]
    assert reasons == ([] if expected else [f"holds a part that is left out: {kind}"])


def test_word_charts_and_diagrams(tmp_path: Path) -> None:
    chart = (
        '<c:chartSpace xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart"><c:chart>'
        "<c:plotArea><c:barChart><c:ser><c:tx><c:v>Steel</c:v></c:tx><c:cat><c:strRef><c:strCache>"
        '<c:pt idx="0"><c:v>Oslo</c:v></c:pt></c:strCache></c:strRef></c:cat><c:val><c:numRef>'
        '<c:numCache><c:pt idx="0"><c:v>12</c:v></c:pt></c:numCache></c:numRef></c:val></c:ser>'
        "</c:barChart></c:plotArea></c:chart></c:chartSpace>"
    )

    def build(made: Any) -> None:
        made.add_paragraph("See below.")
        kind = "application/vnd.openxmlformats-officedocument.drawingml.chart+xml"
        part = DocumentPart(
            DocumentURI("/word/charts/chart1.xml"), kind, chart.encode(), made.part.package
        )
        relation = made.part.relate_to(part, f"{RELATIONS}/chart")
        namespace = "http://schemas.openxmlformats.org/drawingml/2006/chart"
        shown = f'<c:chart xmlns:c="{namespace}" r:id="{relation}"/>'
        made.element.body.insert(-1, paragraph_xml(f"<w:r><w:drawing>{shown}</w:drawing></w:r>"))

    assert document(word(tmp_path / "a.docx", build)).text == (
        "See below.\n\n|  | Steel |\n| --- | --- |\n| Oslo | 12 |"
    )


def test_word_frame_of_one_cell_is_no_table(tmp_path: Path) -> None:
    def build(made: Any) -> None:
        cell = made.add_table(rows=1, cols=1).cell(0, 0)
        cell.paragraphs[0].text = "Note"
        cell.paragraphs[0].style = made.styles["Heading 2"]
        cell.add_paragraph("Mind the gap.")

    found = document(word(tmp_path / "a.docx", build))
    assert found.text == "Note\n\nMind the gap."
    assert [h.title for h in found.headings] == ["Note"]


def test_word_lists_nest_and_restart(tmp_path: Path) -> None:
    levels = "".join(
        f'<w:lvl w:ilvl="{n}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/></w:lvl>'
        for n, kind in enumerate(("decimal", "lowerLetter", "bullet"))
    )
    restart = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride>'

    def build(made: Any) -> None:
        numbering = made.part.numbering_part.element
        abstract = f'<w:abstractNum {nsdecls("w")} w:abstractNumId="70">{levels}</w:abstractNum>'
        numbering.insert(0, parse_xml(abstract))
        for number, inner in ((70, ""), (71, restart)):
            numbering.append(
                parse_xml(
                    f'<w:num {nsdecls("w")} w:numId="{number}">'
                    f'<w:abstractNumId w:val="70"/>{inner}</w:num>'
                )
            )
        for number, level, text in (
            (70, 0, "a"),
            (70, 1, "b"),
            (70, 1, "c"),
            (70, 2, "d"),
            (70, 0, "e"),
            (70, 1, "f"),
            (71, 0, "g"),
            (0, 0, "h"),
        ):
            marks = f'<w:ilvl w:val="{level}"/><w:numId w:val="{number}"/>'
            made.element.body.insert(
                -1, paragraph_xml(f"<w:pPr><w:numPr>{marks}</w:numPr></w:pPr>{run(text)}")
            )

    assert document(word(tmp_path / "a.docx", build)).text == (
        "1. a\n    1. b\n    2. c\n        - d\n2. e\n    1. f\n5. g\n\nh"
    )


def test_word_with_macros(tmp_path: Path) -> None:
    path = word(tmp_path / "a.docm", lambda made: made.add_heading("Macro", 1))
    repack(
        path,
        replaced(
            "[Content_Types].xml",
            b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
            b"application/vnd.ms-word.document.macroEnabled.main+xml",
        ),
    )
    assert headings(document(path)) == [(1, "Macro", "Macro")]


# Presentations


def test_slides_in_reading_order(tmp_path: Path) -> None:
    made = pptx.Presentation()
    first = made.slides.add_slide(made.slide_layouts[1])
    first.shapes.title.text = "Plan\vA"
    frame = first.placeholders[1].text_frame
    frame.text = "Build"
    deeper = frame.add_paragraph()
    deeper.text, deeper.level = "Test", 1
    first.notes_slide.notes_text_frame.text = "Smile."
    made.slides.add_slide(made.slide_layouts[6])
    third = made.slides.add_slide(made.slide_layouts[6])
    for text, left, top in (("low", 1, 5), ("right", 5, 1.05), ("left", 1, 1.1)):
        box = third.shapes.add_textbox(Inches(left), Inches(top), Inches(2), Inches(1))
        box.text_frame.text = text
    group = third.shapes.add_group_shape()
    box = group.shapes.add_textbox(Inches(3), Inches(3), Inches(1), Inches(1))
    box.text_frame.text = "grouped"
    third._element.set("show", "0")
    made.core_properties.title = ""
    made.core_properties.author = "Ada"
    made.save(str(tmp_path / "a.pptx"))

    found = document(tmp_path / "a.pptx")
    assert page_texts(found) == [
        (1, "Plan A\n\n- Build\n    - Test\n\nNotes: Smile."),
        (2, ""),
        (3, "Slide 3\n\nleft\n\nright\n\ngrouped\n\nlow"),
    ]
    assert found.page_at(found.text.index("Slide 3")) == 3
    assert headings(found) == [(1, "Plan A", "Plan A"), (1, "Slide 3", "Slide 3")]
    assert found.title == "Plan A"
    assert found.markup == "markdown"
    assert found.metadata["author"] == "Ada"


def test_slides_tables_and_charts(tmp_path: Path) -> None:
    made = pptx.Presentation()
    slide = made.slides.add_slide(made.slide_layouts[5])
    slide.shapes.title.text = "Sales"
    size = (Inches(1), Inches(2), Inches(6), Inches(1))
    table = slide.shapes.add_table(2, 3, *size).table
    for row, texts in enumerate((("Region", "2023", ""), ("North", "4", "5"))):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    table.cell(0, 1).merge(table.cell(0, 2))
    data = CategoryChartData()
    data.categories = ["Tea", "Milk"]
    data.add_series("Cups", (1.5, 2))
    size = (Inches(1), Inches(4), Inches(6), Inches(3))
    chart = slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *size, data).chart
    chart.chart_title.text_frame.text = "Drinks"
    made.save(str(tmp_path / "a.pptx"))
    assert document(tmp_path / "a.pptx").text == (
        "Sales\n\n| Region | 2023 |  |\n| --- | --- | --- |\n| North | 4 | 5 |\n\n"
        "Drinks\n\n|  | Cups |\n| --- | --- |\n| Tea | 1.5 |\n| Milk | 2 |"
    )


def test_slides_alternatives_and_diagrams(tmp_path: Path) -> None:
    made = pptx.Presentation()
    slide = made.slides.add_slide(made.slide_layouts[6])
    tree = slide.shapes._spTree
    box = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(2), Inches(1))
    box.text_frame.text = "formula"
    mc = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    outer = slide_xml(
        f'<mc:AlternateContent xmlns:mc="{mc}"><mc:Choice Requires="a14"/>'
        "<mc:Fallback/></mc:AlternateContent>"
    )
    tree.append(outer)
    outer[0].append(box._element)
    a = "http://schemas.openxmlformats.org/drawingml/2006/main"
    dgm = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
    words = "".join(f"<a:p><a:r><a:t>{word}</a:t></a:r></a:p>" for word in ("Plan", "", "Do"))
    part = Part(
        PackURI("/ppt/diagrams/data1.xml"),
        "application/vnd.openxmlformats-officedocument.drawingml.diagramData+xml",
        slide.part.package,
        f'<dgm:dataModel xmlns:dgm="{dgm}" xmlns:a="{a}">{words}</dgm:dataModel>'.encode(),
    )
    relation = slide.part.relate_to(part, f"{RELATIONS}/diagramData")
    tree.append(
        slide_xml(
            f'<p:graphicFrame xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
            f' xmlns:a="{a}" xmlns:r="{RELATIONS}"><p:nvGraphicFramePr>'
            f'<p:cNvPr id="9" name="d"/><p:cNvGraphicFramePr/><p:nvPr/></p:nvGraphicFramePr>'
            f'<p:xfrm><a:off x="0" y="5000000"/><a:ext cx="1" cy="1"/></p:xfrm><a:graphic>'
            f'<a:graphicData uri="{dgm}"><dgm:relIds xmlns:dgm="{dgm}" r:dm="{relation}"/>'
            f"</a:graphicData></a:graphic></p:graphicFrame>"
        )
    )
    made.save(str(tmp_path / "a.pptx"))
    assert document(tmp_path / "a.pptx").text == "Slide 1\n\nformula\n\n- Plan\n- Do"


def test_slides_with_a_picture_as_title_and_strokes_of_a_pen(tmp_path: Path) -> None:
    made = pptx.Presentation()
    slide = made.slides.add_slide(made.slide_layouts[5])
    title = slide.shapes.title._element
    presentation = "http://schemas.openxmlformats.org/presentationml/2006/main"
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/main"
    title.addprevious(
        slide_xml(
            f'<p:pic xmlns:p="{presentation}" xmlns:a="{drawing}" xmlns:r="{RELATIONS}"><p:nvPicPr>'
            '<p:cNvPr id="2" name="t"/><p:cNvPicPr/><p:nvPr><p:ph type="title"/></p:nvPr>'
            '</p:nvPicPr><p:blipFill><a:blip r:embed=""/></p:blipFill><p:spPr/></p:pic>'
        )
    )
    title.getparent().remove(title)
    slide.shapes._spTree.append(
        slide_xml(f'<p:contentPart xmlns:p="{presentation}" xmlns:r="{RELATIONS}" r:id="rId9"/>')
    )
    box = slide.shapes.add_textbox(Inches(1), Inches(3), Inches(2), Inches(1))
    box.text_frame.text = "The pump needs oil."
    made.save(str(tmp_path / "a.pptx"))
    (found,) = results(tmp_path / "a.pptx")
    assert isinstance(found, Document)
    assert found.text == "Slide 1\n\nThe pump needs oil."


def test_slides_name_a_part_that_is_damaged_and_take_the_rest(tmp_path: Path) -> None:
    made = pptx.Presentation()
    for text in ("first", "second"):
        slide = made.slides.add_slide(made.slide_layouts[6])
        box = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(2), Inches(1))
        box.text_frame.text = text
    slide.shapes.add_table(1, 1, Inches(1), Inches(3), Inches(2), Inches(1))
    made.save(str(tmp_path / "a.pptx"))
    damaged = replaced("ppt/slides/slide2.xml", b"<a:tc>", b'<a:tc hMerge="maybe">')
    path = repack(tmp_path / "a.pptx", damaged)
    assert document(path).text == "Slide 1\n\nfirst\n\nSlide 2\n\nsecond"
    (named,) = problems(path)
    assert named.source == f"{path}/slide 2"
    assert named.reason == "holds a part that cannot be read: it is damaged, or of an unknown kind"


def test_slides_comments(tmp_path: Path) -> None:
    made = pptx.Presentation()
    slide = made.slides.add_slide(made.slide_layouts[5])
    slide.shapes.title.text = "Plan"
    main = "http://schemas.openxmlformats.org/presentationml/2006/main"
    older = f'<p:cmLst xmlns:p="{main}"><p:cm><p:text>Ask Bea.</p:text></p:cm></p:cmLst>'
    newer = (
        '<n:cmLst xmlns:n="urn:n" xmlns:a="urn:a"><n:cm><n:replyLst><n:reply><n:txBody><a:p><a:r>'
        "<a:t>Yes.</a:t></a:r></a:p></n:txBody></n:reply></n:replyLst><n:txBody><a:p><a:r>"
        "<a:t>Is it </a:t></a:r><a:r><a:t>true?</a:t></a:r></a:p></n:txBody></n:cm></n:cmLst>"
    )
    kinds = (RELATIONS, "http://schemas.microsoft.com/office/2018/10/relationships")
    for number, (kind, xml) in enumerate(zip(kinds, (older, newer), strict=True)):
        name = PackURI(f"/ppt/comments/comment{number}.xml")
        part = Part(name, "application/xml", slide.part.package, xml.encode())
        slide.part.relate_to(part, f"{kind}/comments")
    made.save(str(tmp_path / "a.pptx"))
    assert document(tmp_path / "a.pptx").text == (
        "Plan\n\n[Comment: Ask Bea.]\n\n[Comment: Is it true?]\n\n[Comment: Yes.]"
    )


def test_slides_first_empty(tmp_path: Path) -> None:
    made = pptx.Presentation()
    made.slides.add_slide(made.slide_layouts[6])
    made.slides.add_slide(made.slide_layouts[5]).shapes.title.text = "Late"
    made.save(str(tmp_path / "a.pptx"))
    found = document(tmp_path / "a.pptx")
    assert page_texts(found) == [(1, ""), (2, "Late")]
    assert found.page_at(0) == 2


# Workbooks


def workbook(path: Path, **sheets: list[list[object]]) -> Path:
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


def test_workbook_rows_name_their_columns(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "a.xlsx",
        Staff=[
            ["List of staff"],
            [],
            ["Name", "Born", "Weight", "Seen", "Active", None],
            ["Ada", datetime.date(1990, 5, 1), 60.0, datetime.datetime(2024, 1, 5, 13, 30), True],
            ["Bo\nb", None, 0.1 + 0.2, None, False, "extra"],
        ],
        Empty=[],
        Items=[["Bolt"], ["Nut"]],
    )
    found = document(path)
    assert found.text == (
        "Staff\n\nList of staff\nName | Born | Weight | Seen | Active\n"
        "Name: Ada | Born: 1990-05-01 | Weight: 60 | Seen: 2024-01-05T13:30:00 | Active: TRUE\n"
        "Name: Bo b | Weight: 0.3 | Active: FALSE | F: extra\n\nItems\n\nBolt\nNut"
    )
    assert headings(found) == [(1, "Staff", "Staff"), (1, "Items", "Items")]
    assert found.heading_at(found.text.index("Nut")) == ("Items",)
    assert (found.title, found.markup) == ("a", "plain")
    assert found.metadata["sheets"] == 3
    assert found.metadata["sheet_names"] == ["Staff", "Empty", "Items"]


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (0.125, "0.0%", "12.5%"),
        (0.125, "0%", "13%"),
        (1234.5, '#,##0.00 "EUR"', "1,234.50 EUR"),
        (1234.5, "[$€-407]#,##0.00", "€1,234.50"),
        (-5, '#,##0.00 "EUR";[Red](#,##0.00)', "(5.00)"),
        (-5, "0.0", "-5.0"),
        (7, "00000", "00007"),
        (1234567, "#,##0,", "1,235"),
        (0.5, "#.##", ".5"),
        (3, "0.0##", "3.0"),
        (2.345, r"0.0\ \m", "2.3 m"),
        (0, '0;-0;"none"', None),
        (0.5, "# ?/?", None),
        (1e5, "0.00E+00", None),
        (5, "yyyy-mm-dd", None),
        (5, "[>=10]0.0;0", None),
        (5, "General", None),
        (5, "0" * 300, None),
    ],
)
def test_numbers_are_shown_as_the_sheet_shows_them(
    value: float, code: str, shown: str | None
) -> None:
    assert format_number(value, code) == shown


@given(st.floats(-1e14, 1e14), st.text('0#?,.%;"-$ €[]\\_*xE/@', max_size=20))
def test_no_code_of_a_format_fails(value: float, code: str) -> None:
    shown = format_number(value, code)
    assert shown is None or "\n" not in shown


def test_workbook_shows_what_the_sheet_shows(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    sheet = made.active
    for row in (["Task", "Share", "Price", "Gross"], ["Paint", 0.125, 1234.5, "=C2*2"]):
        sheet.append(row)
    sheet["B2"].number_format, sheet["C2"].number_format = "0.0%", '#,##0.00 "EUR"'
    sheet["A2"].hyperlink = "https://example.org/paint"
    sheet["A2"].comment = openpyxl.comments.Comment("Ask Bea\nfirst.", "Ada")
    made.save(tmp_path / "a.xlsx")
    assert document(tmp_path / "a.xlsx").text == (
        "Sheet\n\nTask | Share | Price | Gross\n"
        "Task: Paint (https://example.org/paint) | Share: 12.5% | Price: 1,234.50 EUR | "
        "Gross: (=C2*2, not computed)\n\nComment on A2: Ask Bea first."
    )


def test_workbook_fills_merged_cells_into_the_rows_and_columns_that_they_span(
    tmp_path: Path,
) -> None:
    made = openpyxl.Workbook()
    sheet = made.active
    for row in (
        ["Sales of the year", None, None, None],
        ["Region", "City", "Steel", None],
        [None, None, "2022", "2023"],
        ["North", "Oslo", 10, 11],
        [None, "Bergen", 20, None],
        [None, "Bodo", 30, 31],
        ["South", "Lund", 40, 41],
    ):
        sheet.append(row)
    for span in ("A1:D1", "A2:A3", "B2:B3", "C2:D2", "A4:A6"):
        sheet.merge_cells(span)
    made.save(tmp_path / "a.xlsx")
    assert document(tmp_path / "a.xlsx").text.split("\n")[2:] == [
        "Sales of the year",
        "Region | City | Steel | Steel",
        "Region | City | 2022 | 2023",
        "Region: North | City: Oslo | Steel 2022: 10 | Steel 2023: 11",
        "Region: North | City: Bergen | Steel 2022: 20",
        "Region: North | City: Bodo | Steel 2022: 30 | Steel 2023: 31",
        "Region: South | City: Lund | Steel 2022: 40 | Steel 2023: 41",
    ]


def test_workbook_without_header_and_with_hidden_sheet(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    sheet = made.active
    sheet.title, sheet.sheet_state = "Secret", "hidden"
    made.create_sheet("Shown")["B2"] = "x"
    for row in ([1, 2.5, 1e20], [3, None, 4]):
        sheet.append(row)
    made.properties.creator, made.properties.title = "Ada", "Numbers"
    made.active = 1
    made.save(tmp_path / "a.xlsx")
    found = document(tmp_path / "a.xlsx")
    assert found.text == "Secret\n\nA: 1 | B: 2.5 | C: 1e+20\nA: 3 | C: 4\n\nShown\n\nx"
    assert (found.title, found.metadata["author"]) == ("Numbers", "Ada")


def with_other_sheet(path: Path, kind: str) -> Path:
    """A workbook that lists a sheet of another kind, such as one of macros, before its own."""
    relation = f'<Relationship Id="rId77" Type="{kind}" Target="macrosheets/sheet1.xml"/>'
    listed = f'<sheets><sheet name="Macro1" sheetId="9" xmlns:r="{RELATIONS}" r:id="rId77"/>'
    made = repack(
        workbook(path, Stock=[["Part", "Count"], ["Bolt", 7]]),
        replaced("xl/workbook.xml", b"<sheets>", listed.encode()),
    )
    end = "</Relationships>"
    return repack(
        made,
        replaced("xl/_rels/workbook.xml.rels", end.encode(), (relation + end).encode()),
        **{"xl/macrosheets/sheet1.xml": b"<macrosheet/>"},
    )


def test_workbook_names_a_sheet_of_macros_and_takes_the_others(tmp_path: Path) -> None:
    path = with_other_sheet(
        tmp_path / "a.xlsm", "http://schemas.microsoft.com/office/2006/relationships/xlMacrosheet"
    )
    assert document(path).text == "Stock\n\nPart | Count\nPart: Bolt | Count: 7"
    (named,) = problems(path)
    assert (named.source, named.kind) == (f"{path}/Macro1", "skipped")
    assert "macros" in named.reason


def test_workbook_names_a_sheet_that_is_damaged_and_takes_the_others(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Good=[["Part", "Count"], ["Bolt", 7]], Bad=[["Part"], [8]])
    repack(path, replaced("xl/worksheets/sheet2.xml", b"<v>8</v>", b"<v>8</w>"))
    assert document(path).text == "Good\n\nPart | Count\nPart: Bolt | Count: 7"
    (named,) = problems(path)
    assert named.source == f"{path}/Bad"
    assert named.reason == "is a sheet that cannot be read: it is damaged; the others are taken"


def test_workbook_over_years(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", T=[["Region", 2019, 2020], ["North", 5, 6]])
    assert document(path).text.endswith("Region: North | 2019: 5 | 2020: 6")


def test_workbook_gives_computed_values(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", T=[["Item", "Sum"], ["all", "=1+2"]])
    repack(path, lambda _, data: re.sub(rb"(<f>1\+2</f>)<v ?/?>(</v>)?", rb"\1<v>3</v>", data))
    assert document(path).text.endswith("Item: all | Sum: 3")


def test_workbook_with_a_stray_cell(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", T=[["near"]])
    repack(
        path,
        replaced(
            "xl/worksheets/sheet1.xml",
            b"</sheetData>",
            b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>',
        ),
    )
    assert "1,048,576 rows and 16,384 columns" in refusal(path)


def ods(path: Path, content: bytes, **parts: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr("content.xml", content)
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


TEXT_CELL = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
NUMBER_CELL = (
    '<table:table-cell office:value-type="float" office:value="134591">'
    "<text:p>134 591</text:p></table:table-cell>"
)
ROWS = (
    TEXT_CELL.format("City") + TEXT_CELL.format("People"),
    TEXT_CELL.format("Bern") + NUMBER_CELL,
)
ODS = (
    '<?xml version="1.0" encoding="UTF-8"?><office:document-content'
    ' xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
    ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
    ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">'
    '<office:body><office:spreadsheet><table:table table:name="Cities">'
    + "".join(f"<table:table-row>{cells}</table:table-row>" for cells in ROWS)
    + "</table:table></office:spreadsheet></office:body></office:document-content>"
).encode()
ODS_META = b"""<office:document-meta xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:meta="urn:oasis:names:tc:opendocument:xmlns:meta:1.0"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><office:meta><dc:title>Swiss</dc:title>
<meta:initial-creator>Ada</meta:initial-creator><dc:creator>Bob</dc:creator>
<dc:language>fr-CH</dc:language><meta:keyword>a</meta:keyword><meta:keyword>b</meta:keyword>
</office:meta></office:document-meta>"""


def test_workbook_of_opendocument(tmp_path: Path) -> None:
    # A macro library names its DTD, as LibreOffice writes it to this day.
    library = b'<?xml version="1.0"?><!DOCTYPE l PUBLIC "-//X//DTD//EN" "l.dtd"><l/>'
    path = ods(tmp_path / "a.ods", ODS, **{"meta.xml": ODS_META, "Basic/script-lc.xml": library})
    found = document(path)
    assert found.text == "Cities\n\nCity | People\nCity: Bern | People: 134591"
    assert found.title == "Swiss"
    assert {**found.metadata, "sheets": 1} == {
        "author": "Ada",
        "language": "fr",
        "keywords": "a, b",
        "sheets": 1,
        "sheet_names": ["Cities"],
    }


# Tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_table_by_each_delimiter(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    rows = [["Name", "Price"], ["Tea, black; hot", "1,50"], ["Milk", "2,25"]]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    found = document(path)
    assert found.text == (
        "Name | Price\nName: Tea, black; hot | Price: 1,50\nName: Milk | Price: 2,25"
    )
    assert (found.markup, found.media_type) == ("plain", "text/csv")


def test_table_of_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,5;2,5\n3,7;4,1\n")
    assert document(path).text == "A: 1,5 | B: 2,5\nA: 3,7 | B: 4,1"


def test_table_with_quoted_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('Id,Text\n1,"two\nlines, ""quoted"""\n')
    assert document(path).text == 'Id | Text\nId: 1 | Text: two lines, "quoted"'


@pytest.mark.parametrize(
    ("encoding", "configured"),
    [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("utf-32", ""), ("cp1252", "cp1252")],
)
def test_table_encodings(tmp_path: Path, encoding: str, configured: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("Stadt,Fluß\nKöln,Rhein\n".encode(encoding))
    found = document(path, encoding=configured)
    assert found.text == "Stadt | Fluß\nStadt: Köln | Fluß: Rhein"


def test_table_of_unknown_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("a,b\nKöln,1\n".encode("cp1252"))
    assert "0xf6" in refusal(path)
    assert "sources.encoding" in refusal(path, encoding="ascii")
    path.write_bytes(b"a,b\n" * 2000 + b"x,\0\n")
    assert "NUL" in refusal(path)


def test_table_with_too_long_a_field(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    before = csv.field_size_limit()
    path.write_text('a,b\n1,"' + "never closed, " * 400_000)
    assert "field larger than field limit" in refusal(path)
    assert csv.field_size_limit() == before


def test_table_stops_at_the_limit_of_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("A rather long name of a column,Other\n" + "1,2\n" * 30_000)
    assert "sources.max_text_mb" in refusal(path, max_text_mb=1)
    assert document(path, max_text_mb=2).text.count("\n") == 30_000


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=5),
        max_size=30,
    ),
    st.sampled_from(",;\t|"),
)
def test_table_keeps_every_word(rows: list[list[str]], delimiter: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows)
        words = [word for row in rows for cell in row for word in re.findall(r"\w+", cell)]
        if not words:
            return
        text = document(path).text
    for word in words:
        assert word in text


# Hostile and damaged files


def made_package(path: Path) -> tuple[Path, str]:
    """A sound package of the kind that the path's suffix asks for, and its main part."""
    if path.suffix == ".docx":
        return word(path, lambda made: made.add_paragraph("fine")), "word/document.xml"
    if path.suffix == ".pptx":
        made = pptx.Presentation()
        made.slides.add_slide(made.slide_layouts[5]).shapes.title.text = "fine"
        made.save(str(path))
        return path, "ppt/slides/slide1.xml"
    if path.suffix == ".ods":
        return ods(path, ODS), "content.xml"
    return workbook(path, T=[["fine"]]), "xl/worksheets/sheet1.xml"


KINDS = pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx", ".ods"])


@KINDS
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_dtd_is_refused(tmp_path: Path, suffix: str, encoding: str) -> None:
    path, main = made_package(tmp_path / f"a{suffix}")
    assert document(path)
    bomb = f'<?xml version="1.0" encoding="{encoding}"?><!-- x --><!DOCTYPE x [<!ENTITY a "aaa">]>'

    def edit(name: str, data: bytes) -> bytes:
        if name != main:
            return data
        content = re.sub(r"^\s*<\?xml.*?\?>", "", data.decode())
        return (bomb + content).encode(encoding)

    assert f"DTD in its part '{main}'" in refusal(repack(path, edit))


def test_a_dtd_without_entities_is_refused(tmp_path: Path) -> None:
    path, main = made_package(tmp_path / "a.docx")
    with zipfile.ZipFile(path) as archive:
        start = archive.read(main).index(b"<w:document")
    repack(
        path,
        lambda name, data: (
            data[:start] + b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + data[start:]
            if name == main
            else data
        ),
    )
    assert "DTD" in refusal(path)


@pytest.mark.parametrize("marker", ["mimetype", "META-INF/container.xml"])
def test_books_may_name_a_public_dtd_but_not_bring_entities(tmp_path: Path, marker: str) -> None:
    public = b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "xhtml11.dtd"%s><html/>'
    for subset, sound in ((b"", True), (b' [<!ENTITY a "b">]', False)):
        path = tmp_path / "a.epub"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(marker, "application/epub+zip")
            archive.writestr("text.xhtml", public % subset)
            archive.writestr("broken.xhtml", "<p>one<br>two")
        if sound:
            check_package(path, "a.epub", SourcesConfig())
        else:
            with pytest.raises(SourceError, match=r"DTD in its part 'text\.xhtml'"):
                check_package(path, "a.epub", SourcesConfig())


def test_a_part_under_a_password_is_refused(tmp_path: Path) -> None:
    path, _ = made_package(tmp_path / "a.docx")
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    assert refusal(path) == "is encrypted: save a copy without the password"


@KINDS
def test_a_bomb_is_refused(tmp_path: Path, suffix: str) -> None:
    path, _ = made_package(tmp_path / f"a{suffix}")
    repack(path, lambda _, data: data, **{"media/blank.bin": bytes(3 << 20)})
    assert "sources.max_ratio" in refusal(path)
    assert "sources.max_unpacked_mb" in refusal(path, max_unpacked_mb=2)
    assert document(path, max_ratio=2000)


@KINDS
def test_a_part_that_lies_about_its_size_is_refused(tmp_path: Path, suffix: str) -> None:
    path, _ = made_package(tmp_path / f"a{suffix}")
    repack(path, lambda _, data: data, **{"media/blank.bin": bytes(3 << 20)})
    data = path.read_bytes()
    told, claimed = (3 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    assert data.count(told) == 2
    path.write_bytes(data.replace(told, claimed))
    assert "damaged" in refusal(path)


@KINDS
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path, _ = made_package(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "damaged" in refusal(path)


@KINDS
def test_a_part_that_is_no_xml_is_refused(tmp_path: Path, suffix: str) -> None:
    path, main = made_package(tmp_path / f"a{suffix}")
    repack(path, lambda name, data: b"<" + data[: len(data) // 2] if name == main else data)
    assert "not XML" in refusal(path)


@pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx", ".xlsm"])
def test_a_password_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    assert refusal(path) == "is encrypted: save a copy without the password"


def test_an_old_workbook_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    assert refusal(path).startswith("cannot be read as XLS: it is damaged")


@pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx"])
def test_another_zip_under_the_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert refusal(path)
    assert not path.with_name("notes.txt").exists()


def test_a_workbook_without_values_is_skipped(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Empty=[])
    with pytest.raises(SourceError) as error:
        problems(path)
    assert error.value.kind == "skipped"


# OpenDocument and Rich Text


def opendocument(path: Path, kind: str, body: str, header: str = "") -> Path:
    names = " ".join(
        f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for prefix, name in (
            ("office", "office"), ("style", "style"), ("text", "text"), ("table", "table"),
            ("draw", "drawing"), ("presentation", "presentation"),
        )
    )  # fmt: skip
    names += ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
    margins = f"<style:master-page><style:header>{header}</style:header></style:master-page>"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        archive.writestr(
            "content.xml",
            f"<office:document-content {names}><office:body><office:{kind}>{body}</office:{kind}>"
            "</office:body></office:document-content>",
        )
        archive.writestr(
            "styles.xml",
            f"<office:document-styles {names}><office:master-styles>{margins}"
            "</office:master-styles></office:document-styles>",
        )
    return path


def test_texts_of_opendocument(tmp_path: Path) -> None:
    body = (
        "<text:tracked-changes><text:p>gone</text:p></text:tracked-changes>"
        '<text:h text:outline-level="1">Lease</text:h>'
        "<text:p>The rent is<text:s text:c='3'/>900<text:tab/>euro<text:note><text:note-citation>1"
        "</text:note-citation><text:note-body><text:p>Since May.</text:p></text:note-body>"
        "</text:note> a month<office:annotation><dc:creator>Ada</dc:creator><text:p>Raise it."
        "</text:p></office:annotation>.</text:p>"
        "<text:list><text:list-item><text:p>One</text:p><text:list><text:list-item><text:p>Inner"
        "</text:p></text:list-item></text:list></text:list-item></text:list>"
        "<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>Region"
        "</text:p></table:table-cell><table:table-cell><text:p>City</text:p></table:table-cell>"
        "</table:table-row></table:table-header-rows>"
        '<table:table-row><table:table-cell table:number-rows-spanned="2"><text:p>North</text:p>'
        "</table:table-cell><table:table-cell><text:p>Oslo</text:p></table:table-cell>"
        "</table:table-row><table:table-row><table:covered-table-cell/><table:table-cell><text:p>"
        "Bodo</text:p></table:table-cell></table:table-row></table:table>"
        "<text:p><draw:frame><draw:text-box><text:p>In a box.</text:p></draw:text-box></draw:frame>"
        "</text:p>"
    )
    header = "<text:p>Case 4711</text:p>"
    found = document(opendocument(tmp_path / "a.odt", "text", body, header))
    assert found.text == (
        "Case 4711\n\nLease\n\nThe rent is 900 euro a month.\n\n[Since May.]\n\n"
        "[Comment by Ada: Raise it.]\n\n- One\n    - Inner\n\n"
        "| Region | City |\n| --- | --- |\n| North | Oslo |\n| North | Bodo |\n\nIn a box."
    )
    assert headings(found) == [(1, "Lease", "Lease")]


def test_presentations_of_opendocument(tmp_path: Path) -> None:
    def frame(kind: str, text: str) -> str:
        inner = f"<draw:text-box><text:p>{text}</text:p></draw:text-box>"
        return f'<draw:frame presentation:class="{kind}">{inner}</draw:frame>'

    slide = (
        f"<draw:page>{frame('title', 'Budget')}{frame('outline', 'Travel: 1,200 euro')}"
        f"{frame('page-number', '7')}<presentation:notes>{frame('notes', 'Ask Bea.')}"
        f"{frame('page-number', '7')}</presentation:notes></draw:page>"
    )
    found = document(opendocument(tmp_path / "a.odp", "presentation", slide + "<draw:page/>"))
    assert found.text == "Budget\n\nTravel: 1,200 euro\n\nNotes: Ask Bea.\n\nSlide 2"
    assert [page.number for page in found.pages] == [1, 2]


def test_rich_text(tmp_path: Path) -> None:
    path = tmp_path / "a.doc"
    path.write_bytes(
        rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}{\info{\title T}}"
        rb"The rent is \'80 900 in M\'fcnchen.\par\par Next {\b bold} \u8211? line.\par}"
    )
    assert document(path).text == "The rent is € 900 in München.\n\nNext bold – line."


def test_rich_text_notes_comments_and_headers(tmp_path: Path) -> None:
    path = tmp_path / "a.rtf"
    path.write_bytes(
        rb"{\rtf1\ansi {\fonttbl{\f0 Arial;}}{\header \pard Case 4711\par}{\footerf\pard Lund\par}"
        rb"\pard The rent is 900 euro.\chftn{\footnote \pard\plain {\super\chftn }See clause 4.}"
        rb" It is due monthly.{\*\atnid AB}{\*\annotation \pard {\*\atnref 1}Raised to 950.}\par"
        rb" Braces \{footnote\} stay.\par}"
    )
    assert [line for line in document(path).text.split("\n") if line] == [
        "Case 4711",
        "Lund",
        "The rent is 900 euro. [See clause 4.] It is due monthly. [Comment: Raised to 950.]",
        "Braces {footnote} stay.",
    ]


@pytest.mark.parametrize("code", ["{\\footnote " * 20_000, "}" * 20_000, "{\\*\\header"])
def test_rich_text_of_groups_without_an_end(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.rtf").write_text("{\\rtf1 text" + code, encoding="ascii")
    assert document(tmp_path / "a.rtf").text.startswith("text")


def test_a_piece_of_rich_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.rtf").write_bytes(rb"{\pard A caption:\par}{\trowd {12\cell}\row}")
    assert refusal(tmp_path / "a.rtf").startswith("is no Rich Text, which begins with `{\\rtf`")
