from __future__ import annotations

import bz2
import gzip
import io
import lzma
import mailbox
import sys
import tarfile
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from working import cpu_seconds

from rag import SourceError
from rag.plugins import plugins
from rag.sources import known_suffixes
from rag.sources.detection import detect, language_of


def zipped(*names: str, mimetype: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        if mimetype:
            archive.writestr("mimetype", mimetype)
        for name in names:
            archive.writestr(name, "text")
    return buffer.getvalue()


def tarred(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("a.md"))
    return buffer.getvalue()


def message() -> bytes:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "a@example.org", "b@example.org", "On words"
    made.set_content("Some words.\n")
    return made.as_bytes()


def boxed(tmp_path: Path) -> bytes:
    box = mailbox.mbox(tmp_path / "box")
    box.add(message())
    box.close()
    return (tmp_path / "box").read_bytes()


PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0" * 50
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504
MAN = b'\'\\" t\n.\\" A comment\n\n.TH LS 1 2024-01-01\n.SH NAME\nls \\- list\n'
HTML = b"<!-- saved -->\n<!-- again -->\n<!DOCTYPE html>\n<html><p>words"

# name, content -> format
KNOWN: dict[str, tuple[str, bytes, str]] = {
    "right suffix": ("a.md", b"# Title\n", "markdown"),
    "capital suffix": ("A.PDF", PDF, "pdf"),
    "dots in the name": ("v1.2 of a.b.rst", b"Title\n=====\n", "rst"),
    "PDF called text": ("a.txt", PDF, "pdf"),
    "PDF without suffix": ("paper", PDF, "pdf"),
    "text called PDF": ("a.pdf", b"words", "pdf"),
    "ZIP called PDF": ("a.pdf", zipped("a.md"), "archive"),
    "empty ZIP": ("a.zip", zipped(), "archive"),
    "broken ZIP": ("a.zip", zipped("a.md")[:40], "archive"),
    "broken ZIP called markdown": ("a.md", zipped("a.md")[:40], "archive"),
    "broken Word file": ("a.docx", zipped("word/document.xml")[:40], "word"),
    "Word file called ZIP": ("a.zip", zipped("word/document.xml"), "word"),
    "Word file without suffix": ("a", zipped("word/document.xml"), "word"),
    "slides": ("a.bin", zipped("ppt/presentation.xml"), "slides"),
    "workbook": ("a.docx", zipped("xl/workbook.xml"), "workbook"),
    "binary workbook": ("a.xlsb", zipped("xl/workbook.bin"), "workbook"),
    "EPUB": ("a.zip", zipped("a.html", mimetype="application/epub+zip"), "epub"),
    "ODS": ("a", zipped(mimetype="application/vnd.oasis.opendocument.spreadsheet"), "workbook"),
    "other ZIP called Word": ("a.docx", zipped("a.md"), "word"),
    "text called Word": ("a.docx", b"words", "word"),
    "old workbook": ("a.xls", OLE, "workbook"),
    "tar": ("a.tar", tarred("w"), "archive"),
    "tar called text": ("a.txt", tarred("w"), "archive"),
    "tar.gz": ("a.tar.gz", tarred("w:gz"), "archive"),
    "tar.gz called gz": ("a.gz", tarred("w:gz"), "archive"),
    "tar.bz2": ("a.bz2", tarred("w:bz2"), "archive"),
    "tar.xz": ("a.xz", tarred("w:xz"), "archive"),
    "gz": ("a.md.gz", gzip.compress(b"words"), "compressed"),
    "gz without suffix": ("a", gzip.compress(b"words"), "compressed"),
    "bz2": ("a.md.bz2", bz2.compress(b"words"), "compressed"),
    "xz": ("a.md.xz", lzma.compress(b"words"), "compressed"),
    "broken gz": ("a.gz", gzip.compress(b"words")[:10] + b"\xff" * 20, "compressed"),
    "text that begins like bz2": ("notes", b"BZh is how a bz2 file begins\n", "text"),
    "HTML without suffix": ("page", HTML, "html"),
    "HTML after a mark": ("page", b"\xef\xbb\xbf<html>", "html"),
    "XHTML called XML": ("a.xml", b'<?xml version="1.0"?>\n<html xmlns="x">', "html"),
    "HTML called old Word": ("a.doc", b"<html xmlns:o='urn:x'>", "html"),
    "HTML called text": ("a.txt", HTML, "text"),
    "JSON without suffix": ("data", b' {"a": [1]}\n', "json"),
    "JSON list without suffix": ("data", b'[\n  {"a": 1}]', "json"),
    "JSON lines without suffix": ("data", b'{"a": 1}\n{"a": 2}\n', "records"),
    "JSON lines": ("a.jsonl", b'{"a": 1}\n', "records"),
    "references": ("REFERENCES", b"[1] Smith, J. (1999)\n[2] Jones\n", "text"),
    "log": ("messages", b"[2024-01-01 12:00] started\n", "text"),
    "wiki link": ("page", b"[[Start]] leads on\n", "text"),
    "C block": ("snippet", b"{ int a; }\n", "text"),
    "settings": ("a.ini", b"[section]\nkey = value\n", "text"),
    "settings without suffix": ("config", b"[section]\nkey = value\n", "text"),
    "YAML like a message": ("a.yaml", b"name: x\nfrom: y\n", "text"),
    "message": ("a.eml", message(), "mail"),
    "message without suffix": ("1234", message(), "mail"),
    "message with \\r\\n": ("1234", message().replace(b"\n", b"\r\n"), "mail"),
    "colons": ("notes", b"Name: x\nPlace: y\n\nwords\n", "text"),
    "manual page": ("ls.1", MAN, "manpage"),
    "manual page of a library": ("printf.3p", b".Dd May 1\n.Dt PRINTF 3\n", "manpage"),
    "manual page without suffix": ("ls", MAN, "manpage"),
    "second part": ("words.1", b"What was in the first part goes on.\n", "text"),
    "shebang": ("tool", b"#!/usr/bin/env python3\nprint()\n", "code"),
    "unknown shebang": ("tool", b"#!/usr/bin/awk -f\n", "text"),
    "code": ("a.PY", b"x = 1\n", "code"),
    "minified": ("a.min.js", b"!function(e){" * 400, "code"),
    "style": ("a.css", b"a:b\n", "text"),
    "TOML": ("a.toml", b"[a]\nb = 1\n", "text"),
    "XML": ("a.xml", b"<?xml version='1.0'?><a/>", "text"),
    "SVG": ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text"),
    "README": ("README", b"Read me.\n", "text"),
    "LICENSE": ("LICENSE", b"                 Apache License\n", "text"),
    "Makefile": ("Makefile", b"all:\n\techo\n", "text"),
    "hidden": (".profile", b"export A=b\n", "text"),
    "UTF-16": ("a", "words".encode("utf-16"), "text"),
    "UTF-16 called markdown": ("a.md", "words".encode("utf-16"), "markdown"),
    "UTF-32": ("a.txt", "words".encode("utf-32"), "text"),
    "Latin-1": ("a", "caf\xe9 ".encode("latin-1") * 9, "text"),
    "colours of a terminal": ("a", b"\x1b[31mred\x1b[0m\n", "text"),
    "NUL in text": ("a.txt", b"a\0b", "text"),
    "empty": ("a.md", b"", "markdown"),
    "empty without suffix": ("a", b"", "text"),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known_formats(tmp_path: Path, case: str) -> None:
    name, content, expected = KNOWN[case]
    path = tmp_path / "file"
    path.write_bytes(content)
    assert detect(path, name, name) == expected


def test_mailboxes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(boxed(tmp_path))
    assert detect(path, "inbox", "inbox") == "mailbox"
    assert detect(path, "inbox.mbox", "inbox.mbox") == "mailbox"


# name, content, reason, kind
REFUSED: dict[str, tuple[str, bytes, str, str]] = {
    "image": ("a.gif", b"GIF89a" + b"\0" * 60, "is not a document: Graphics", "skipped"),
    "program": ("a", b"\x7fELF\x02\x01\x01" + b"\0" * 60, "ELF executable", "skipped"),
    "old Word file": ("a.doc", OLE, "old Office format: save it as .docx", "failed"),
    "old slides": ("a.ppt", OLE, "old Office format: save it as", "failed"),
    "another of that container": ("Thumbs.db", OLE, "not a document that can be read", "skipped"),
    "Word file with a password": ("a.docx", OLE, "is encrypted", "failed"),
    "OpenDocument drawing": (
        "a.odg",
        zipped(mimetype="application/vnd.oasis.opendocument.graphics"),
        "is an OpenDocument drawing, chart or database: export it as PDF",
        "failed",
    ),
    "Pages": (
        "a.pages",
        zipped("Index/Document.iwa", "Metadata/BuildVersionHistory.plist"),
        "is a document of Apple Pages: export it",
        "failed",
    ),
    "Keynote": ("a.key", zipped("Index.zip"), "of Apple Keynote", "failed"),
    "Outlook": ("a.msg", OLE, "is a message of Outlook: save it as .eml", "failed"),
    "PostScript": ("a.ps", b"%!PS-Adobe-3.0\n", "PostScript", "failed"),
    "random": ("a", bytes(range(256)) * 4, "is not a document: binary data", "skipped"),
    "random with suffix": ("a.dat", bytes(range(256)) * 4, "binary data (.dat)", "skipped"),
    "control codes": ("a", b"\x01\x02\x03words" * 9, "is not a document", "skipped"),
}


@pytest.mark.parametrize("name", ["a.png", "a.md", "a.html", "a"])
def test_pictures_are_known_by_what_they_hold(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01" + b"\0" * 40
    for content in (PNG, jpeg, b"II*\0" + b"\0" * 9, b"RIFF\0\0\0\0WEBPVP8 "):
        path.write_bytes(content)
        assert detect(path, name, name) == "picture"


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_no_text_is_named(tmp_path: Path, case: str) -> None:
    name, content, reason, kind = REFUSED[case]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        detect(path, name, f"folder/{name}")
    assert reason in caught.value.reason
    assert (caught.value.source, caught.value.kind) == (f"folder/{name}", kind)


@pytest.mark.parametrize(
    "content",
    [
        b"<!--a-->" * 500,
        b"\n" * 4096 + b"x",
        b"A: b\r\n" + b" c\r\n" * 1000,
        b"A: b\r\n" * 700,
        b'.\\" a\n' * 700,
        b"From a 1999\n" * 400,
        b'{"' + b'\\"' * 2000,
        b"[" * 4096,
        b"{}" * 2000 + b"\n" * 90,
        b"#!" + b"a/" * 2000,
        b" " * 4096,
    ],
    ids=range(11),
)
def test_hostile_heads_take_no_time(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.1"
    path.write_bytes(content)
    # It takes milliseconds; patterns that go back over what they matched would take hours.
    assert cpu_seconds(lambda path: detect(path, path.name, "a"), path) < 10


@given(
    content=st.binary(max_size=600), name=st.sampled_from(["a", "a.md", "a.docx", "a.1", "a.gz"])
)
def test_any_bytes_are_a_format_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        assert detect(path, name, name)
    except SourceError as error:
        assert "\n" not in str(error)


PRINTABLE = st.characters(exclude_categories=["C", "Z"], include_characters=" ")


@given(text=st.text(PRINTABLE, max_size=600))
def test_text_is_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_text(text, encoding="utf-8")
    assert detect(path, "a", "a") in ("text", "json")


@pytest.mark.parametrize(
    ("name", "head", "language"),
    [
        ("a.py", b"", "python"),
        ("A.HPP", b"", "cpp"),
        ("a", b"#!/bin/sh\n", "shell"),
        ("a", b"#!/usr/bin/env -S node --x\n", "js"),
        ("a", b"#! /usr/local/bin/ruby2.7 -w\n", "ruby"),
        ("a", b"#!/usr/bin/python3.11\n", "python"),
        ("a", b"#!/opt/xbash\n", None),
        ("a", b"python\n", None),
    ],
)
def test_programming_languages(name: str, head: bytes, language: str | None) -> None:
    assert language_of(name, head) == language


def test_readers_of_other_packages_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ".odd" not in known_suffixes()
    info = tmp_path / "odd_reader-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-reader\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rag.readers]\nodd = odd_reader:read\n")
    path = tmp_path / "file"
    path.write_bytes(PDF)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert plugins("rag.readers")["odd"].value == "odd_reader:read"
    assert ".odd" in known_suffixes()
    assert detect(path, "a.ODD", "a.ODD") == "odd"
    assert detect(path, "odd", "odd") == "pdf"
    monkeypatch.undo()
    assert "odd" not in plugins("rag.readers")
