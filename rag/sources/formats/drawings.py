"""Render the charts and diagrams of office files, which are kept in parts of their own."""

from __future__ import annotations

from typing import Any

from rag.sources.formats.office import markdown_table, one_line

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"


def render_chart(root: Any) -> str:
    """Render a chart's title, and its series as a table over the categories."""
    title = one_line(
        " ".join(node.text or "" for node in root.iterfind(f"{_C}chart/{_C}title//{_A}t"))
    )
    series = list(root.iter(f"{_C}ser"))
    categories: dict[str, str] = {}
    columns: list[tuple[str, dict[str, str]]] = []
    for one in series:
        categories = categories or _points(one, "cat") or _points(one, "xVal")
        name = " ".join(node.text or "" for node in one.iterfind(f"{_C}tx//{_C}v"))
        columns.append((name, _points(one, "val") or _points(one, "yVal")))
    rows = [["", *(name for name, _ in columns)]]
    for at in categories or (columns[0][1] if columns else {}):
        rows.append([categories.get(at, at), *(values.get(at, "") for _, values in columns)])
    return "\n\n".join(filter(None, [title, markdown_table(rows)]))


def _points(series: Any, name: str) -> dict[str, str]:
    """Return the values of the cells that a chart was drawn from, by their index."""
    return {
        point.get("idx"): point.findtext(f"{_C}v", "")
        for point in series.iterfind(f"{_C}{name}//{_C}pt")
    }


def diagram_relation(element: Any) -> str:
    """Return the id of the relation to a diagram's words (SmartArt); empty if there is none."""
    ids = next(element.iter(f"{_DIAGRAM}relIds"), None)
    return ids.get(f"{_R}dm", "") if ids is not None else ""


def chart_relation(element: Any) -> str:
    """Return the id of the relation to a chart; empty if there is none."""
    chart = next(element.iter(f"{_C}chart"), None)
    return chart.get(f"{_R}id", "") if chart is not None else ""


def render_diagram(root: Any) -> str:
    """Render the words of a diagram, an item a line."""
    lines = (
        one_line("".join(node.text or "" for node in paragraph.iter(f"{_A}t")))
        for paragraph in root.iter(f"{_A}p")
    )
    return "\n".join(f"- {line}" for line in lines if line)
