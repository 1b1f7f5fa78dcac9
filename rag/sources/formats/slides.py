"""Read presentations slide by slide, in reading order, with tables, charts and speaker notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import TextBuilder, is_fault
from rag.sources.formats.drawings import diagram_relation, render_chart, render_diagram
from rag.sources.formats.office import document_of, markdown_table, one_line
from rag.sources.formats.package import check_package
from rag.types import Document, Page, Problem

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_BULLETS = tuple(f"{_A}{name}" for name in ("buChar", "buAutoNum", "buBlip"))
# In English Metric Units: shapes whose tops differ by less than a fifth of an inch share a row.
_BESIDE = 914_400 // 5


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document | Problem]:
    """Read a presentation as one document, a page a slide; an untitled slide is `Slide N`.

    A shape or slide that cannot be read is named, and the rest is taken.
    """
    from pptx.package import Package

    check_package(path, source, config)
    try:
        part: Any = Package.open(str(path)).main_document_part
        slides = part.presentation.slides
    except (KeyError, ValueError, AttributeError) as error:
        raise SourceError(
            source, "holds no presentation that can be read: it is damaged, or of an unknown kind"
        ) from error
    builder = TextBuilder()
    pages, problems = [], []
    for number in range(1, len(slides) + 1):
        start = end = builder.length
        faults: list[Exception] = []
        title, found = "", list[str]()
        with _keep_fault(faults):
            title, found = _render_slide(slides[number - 1], faults)
        if faults:
            reason = "holds a part that cannot be read: it is damaged, or of an unknown kind"
            problems.append(Problem(f"{source}/slide {number}", reason))
        if title or found:
            start = builder.add_heading(title or f"Slide {number}", 1)
            for block in found:
                builder.add(block)
            end = builder.length
        pages.append(Page(start, end, number))
    yield document_of(path, source, builder, _MEDIA_TYPE, pages=pages)
    yield from problems


@contextmanager
def _keep_fault(faults: list[Exception]) -> Iterator[None]:
    """Add a parser's fault to others, and go on after the block."""
    try:
        yield
    except Exception as error:
        if not is_fault(error):
            raise
        faults.append(error)


def _render_slide(slide: Any, faults: list[Exception]) -> tuple[str, list[str]]:
    """Return a slide's title, and the blocks of text below it."""
    _choose_alternatives(slide.shapes._spTree)
    title = slide.shapes.title
    # A picture may stand in the title's place.
    titled = title is not None and title.has_text_frame
    blocks: list[str] = []
    for shape in _in_reading_order(slide.shapes):
        if not titled or shape._element is not title._element:
            with _keep_fault(faults):
                blocks += _render_shape(shape)
    with _keep_fault(faults):
        if spoken := _render_notes(slide):
            blocks.append(f"Notes: {spoken}")
    with _keep_fault(faults):
        blocks += _render_comments(slide)
    return one_line(title.text_frame.text) if titled else "", blocks


def _render_notes(slide: Any) -> str:
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    return _render_frame(notes, listed=False) if notes is not None else ""


def _render_comments(slide: Any) -> Iterator[str]:
    """Render the comments on a slide, of the older kind and of the newer."""
    from pptx.oxml import parse_xml

    for relation in slide.part.rels.values():
        if relation.is_external or not relation.reltype.endswith("/comments"):
            continue
        for comment in parse_xml(relation.target_part.blob).iter("{*}cm", "{*}reply"):
            words = comment.findtext("{*}text") or " ".join(
                node.text or "" for node in comment.iterfind("{*}txBody//{*}t")
            )
            if words := one_line(words):
                yield f"[Comment: {words}]"


def _choose_alternatives(tree: Any) -> None:
    """Replace alternative contents by the first of them, since the library sees none of them.

    Strokes of a pen go: they hold no text, and the library fails over them.
    """
    for node in list(tree.iter(f"{_MC}AlternateContent")):
        parent = node.getparent()
        for chosen in list(node[0]) if len(node) else ():
            node.addprevious(chosen)
        parent.remove(node)
    for node in list(tree.iter("{*}contentPart")):
        node.getparent().remove(node)


def _in_reading_order(shapes: Iterable[Any]) -> Iterator[Any]:
    """Yield shapes in rows from top to bottom, each from left to right; groups are entered."""
    row: list[Any] = []
    for shape in sorted(shapes, key=_top):
        if row and _top(shape) > _top(row[0]) + _BESIDE:
            yield from _enter_row(row)
            row = []
        row.append(shape)
    yield from _enter_row(row)


def _top(shape: Any) -> int:
    return _place(shape)[0]


def _left(shape: Any) -> int:
    return _place(shape)[1]


def _place(shape: Any) -> tuple[int, int]:
    """Return how far a shape is from the top and from the left; 0 where this is damaged."""
    try:
        return shape.top or 0, shape.left or 0
    # The library may raise anything; it costs the order alone.
    except Exception:  # noqa: BLE001
        return 0, 0


def _enter_row(shapes: list[Any]) -> Iterator[Any]:
    for shape in sorted(shapes, key=_left):
        if hasattr(shape, "shapes"):
            yield from _in_reading_order(shape.shapes)
        else:
            yield shape


def _render_shape(shape: Any) -> Iterator[str]:
    from pptx.enum.shapes import PP_PLACEHOLDER as KIND

    listed = False
    if shape.is_placeholder:
        kind = shape.placeholder_format.type
        if kind in (KIND.DATE, KIND.FOOTER, KIND.HEADER, KIND.SLIDE_NUMBER):
            return
        listed = kind in (KIND.BODY, KIND.OBJECT, KIND.VERTICAL_BODY, KIND.VERTICAL_OBJECT)
    if shape.has_text_frame:
        text = _render_frame(shape.text_frame, listed=listed)
    elif getattr(shape, "has_table", False):
        text = markdown_table(
            [
                ["" if cell.is_spanned else cell.text_frame.text for cell in row.cells]
                for row in shape.table.rows
            ]
        )
    elif getattr(shape, "has_chart", False):
        text = render_chart(shape.chart.part._element)
    else:
        text = _render_diagram(shape)
    if text:
        yield text


def _render_frame(frame: Any, *, listed: bool) -> str:
    """Render the paragraphs of a text frame, a line each, with dashes before list items."""
    paragraphs = [(p, one_line(p.text)) for p in frame.paragraphs if p.text.strip()]
    lines = []
    for paragraph, text in paragraphs:
        settings = paragraph._p.pPr
        own = settings is not None and any(settings.find(name) is not None for name in _BULLETS)
        none = settings is not None and settings.find(f"{_A}buNone") is not None
        inherited = paragraph.level > 0 or (listed and len(paragraphs) > 1)
        dash = "    " * paragraph.level + "- " if own or (inherited and not none) else ""
        lines.append(dash + text)
    return "\n".join(lines)


def _render_diagram(shape: Any) -> str:
    from pptx.oxml import parse_xml

    relation = diagram_relation(shape._element)
    if relation not in shape.part.rels:
        return ""
    return render_diagram(parse_xml(shape.part.related_part(relation).blob))
