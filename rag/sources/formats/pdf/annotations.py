"""Read what is written into a page of a PDF beside its text: values of form fields, notes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

from rag.sources.formats.office import one_line

_MOST = 10_000
_LONGEST = 1 << 20
_UNCHECKED = ("", "off")


def read_annotations(pdf: Any, page: Any) -> Iterator[str]:
    """Yield `Field NAME: VALUE` for each filled field of a page, and its notes in brackets.

    Names are those that a field shows to people, where it has one. A button shows what it stands
    for, if it is chosen. `pdf` has its forms opened, if there are any.
    """
    from pypdfium2 import raw

    for number in range(min(raw.FPDFPage_GetAnnotCount(page), _MOST)):
        annotation = raw.FPDFPage_GetAnnot(page, number)
        if not annotation:
            continue
        try:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind == raw.FPDF_ANNOT_WIDGET:
                if pdf.formenv is not None:
                    yield from _read_field(raw, pdf.formenv, annotation)
            elif kind not in (raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_LINK):
                text = _read(raw.FPDFAnnot_GetStringValue, annotation, b"Contents")
                author = _read(raw.FPDFAnnot_GetStringValue, annotation, b"T")
                if kind == raw.FPDF_ANNOT_FREETEXT and text:
                    yield text
                elif text:
                    yield f"[Note{f' by {author}' if author else ''}: {text}]"
        finally:
            raw.FPDFPage_CloseAnnot(annotation)


def _read_field(raw: Any, form: Any, annotation: Any) -> Iterator[str]:
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in (raw.FPDF_FORMFIELD_PUSHBUTTON, raw.FPDF_FORMFIELD_SIGNATURE):
        return
    name = _read(raw.FPDFAnnot_GetFormFieldAlternateName, form, annotation)
    name = name or _read(raw.FPDFAnnot_GetFormFieldName, form, annotation)
    value = _read(raw.FPDFAnnot_GetFormFieldValue, form, annotation)
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        chosen = raw.FPDFAnnot_IsChecked(form, annotation) and value.lower() not in _UNCHECKED
        value = value if chosen else ""
    if value:
        yield f"Field {name}: {value}" if name else f"Field: {value}"


def _read(function: Callable[..., int], *arguments: Any) -> str:
    """Return the text that a function of PDFium's writes into a buffer, on one line."""
    length = function(*arguments, None, 0)
    if not 2 < length < _LONGEST:
        return ""
    buffer = ctypes.create_string_buffer(length)
    function(*arguments, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), length)
    return one_line(buffer.raw[: length - 2].decode("utf-16-le", "replace"))
