"""Documents of every format: through the reader processes as users' files go, and within one."""

from __future__ import annotations

import gzip
import io
import queue
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from fuzzers import made, mutation
from fuzzers.attempts import FINE, MOST_SECONDS, REFUSED, Target, WrongError

if TYPE_CHECKING:
    from rag.sources import SourceFile
    from rag.types import Document, Heading, Page

# ruff: noqa: E501
_TEXT = {
    "md": "# Head\n\n[a](b) *c*\n\n- one\n  - two\n\n```py\nx = 1\n```\n\n| a | b |\n|--|--|\n| 1 | 2 |\n",
    "rst": "Head\n====\n\n.. note:: a\n\n+---+---+\n| a | b |\n+---+---+\n\n* one\n* two\n",
    "txt": "Line one.\nLine two: ünïcode.\n\n  indented\n\f page two\n",
    "html": "<!doctype html><html lang=en><head><title>T</title><meta charset=utf-8></head><body>"
    "<main><h1>H</h1><p>a<b>b</b></p><table><tr><th>k<td rowspan=2 colspan=3>v</table><ul><li>x"
    "</ul><pre>code</pre></main><script>1</script></body></html>",
    "xml": '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x "y">]><d a="b">&x;<e>t</e></d>',
    "csv": 'id,name\n1,"a, b"\n2,"c ""d"""\n',
    "tsv": "id\tname\n1\ta\n",
    "json": '{"title": "t", "text": "some text", "n": [1, 2.5, null, {"deep": [true]}]}',
    "jsonl": '{"id": "a", "text": "one"}\n{"id": "b", "title": "x", "text": "two"}\n',
    "ipynb": '{"cells": [{"cell_type": "markdown", "source": ["# T\\n", "x"]}, {"cell_type": "code",'
    ' "source": "1+1", "outputs": [{"output_type": "stream", "text": ["2"]}]}], "metadata": {},'
    ' "nbformat": 4, "nbformat_minor": 5}',
    "py": '"""Doc."""\n\nclass A:\n    """Of A."""\n\n    def f(self) -> int:\n        return 1\n',
    "c": "/* c */\nint main(void) { return 0; }\n",
    "1": '.TH A 1 "2024" "x" "y"\n.SH NAME\na \\- does \\fBb\\fR\n.TP\n.B \\-x\nopt\n.nf\ncode\n.fi\n',
    "8": ".Dd May 1, 2024\n.Dt A 8\n.Os\n.Sh NAME\n.Nm a\n.Nd does b\n.Bl -tag -width x\n.It Fl x\nopt\n.El\n",
    "mbox": "From a@b Thu Jan  1 00:00:00 1970\nFrom: a@b\nSubject: s\n\nbody\n\nFrom c@d Thu Jan  1 "
    "00:00:00 1970\nFrom: c@d\nSubject: =?utf-8?q?=C3=A9?=\n\n>From x\n",
    "srt": "1\n00:00:01,000 --> 00:00:02,000\nHello\n",
    "yaml": "a: &x [1, 2]\nb: *x\n",
    "toml": 'a = 1\n[b]\nc = "d"\n',
}  # fmt: skip


def _documents() -> Iterator[tuple[str, bytes]]:
    for suffix, text in _TEXT.items():
        yield suffix, text.encode()
    for encoding in ("utf-16", "utf-16-le", "shift_jis", "latin-1"):
        yield "txt", "Text é 日本 in words.".encode(encoding, "replace")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@b", "c@d", "Grüße"
    message.set_content("Plain body")
    message.add_alternative("<p>HTML body</p>", subtype="html")
    message.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="t.csv")
    yield "eml", message.as_bytes()
    yield from _office()
    with suppress(ImportError):
        from fpdf import FPDF

        pdf = FPDF()
        for page in range(2):
            pdf.add_page()
            pdf.set_font("helvetica", size=12)
            pdf.cell(text=f"Text of page {page}")
            pdf.start_section(f"Section {page}")
        yield "pdf", bytes(pdf.output())
    yield (
        "epub",
        _zip(
            {
                "mimetype": b"application/epub+zip",
                "META-INF/container.xml": b'<container xmlns="urn:oasis:names:tc:opendocument:xmlns:'
                b'container"><rootfiles><rootfile full-path="c.opf" media-type="application/oebps-'
                b'package+xml"/></rootfiles></container>',
                "c.opf": b'<package xmlns="http://www.idpf.org/2007/opf"><metadata><dc:title xmlns:dc='
                b'"http://purl.org/dc/elements/1.1/">T</dc:title></metadata><manifest><item id="a" '
                b'href="a.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref='
                b'"a"/></spine></package>',
                "a.xhtml": b'<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>H</h1><p>x</p></body>'
                b"</html>",
            }
        ),
    )
    yield "zip", _zip({"a.txt": b"text a", "d/b.md": b"# B\n\ntext", "c.csv": b"a,b\n1,2\n"})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"a.txt": b"text a", "b/c.md": b"# C"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    yield "tar.gz", buffer.getvalue()
    yield "txt.gz", gzip.compress(b"text in gzip")


def _office() -> Iterator[tuple[str, bytes]]:
    from docx import Document as Word
    from pptx import Presentation

    buffer = io.BytesIO()
    word = Word()
    word.add_heading("Head", 1)
    word.add_paragraph("A paragraph", style="List Bullet")
    table = word.add_table(2, 2)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "cell"
    word.save(buffer)
    yield "docx", buffer.getvalue()
    buffer = io.BytesIO()
    slides = Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[1])
    slide.shapes.title.text = "Title"
    slide.placeholders[1].text = "Point"
    slide.notes_slide.notes_text_frame.text = "note"
    slides.save(buffer)
    yield "pptx", buffer.getvalue()
    with suppress(ImportError):
        from openpyxl import Workbook

        buffer = io.BytesIO()
        book = Workbook()
        sheet = book.active
        sheet.append(["a", "b"])
        sheet.append([1, "=A2+1"])
        book.save(buffer)
        yield "xlsx", buffer.getvalue()


class _Files(Target):
    """An input is the ending of a file's name, a line break, and the file."""

    plain = True

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        made.set_environment(folder)
        self._pool: tuple[bytes, ...] = ()
        (folder / "docs").mkdir(exist_ok=True)

    def seeds(self) -> Iterator[bytes]:
        for suffix, data in _documents():
            yield f"{suffix}\n".encode() + data

    def mutate(self, data: bytes, random: Random) -> bytes:
        if not self._pool:
            self._pool = tuple(self.seeds())
        ending, _, content = data.partition(b"\n")
        if random.random() < 0.02:
            # A file under the name of another format.
            ending = random.choice(self._pool).partition(b"\n")[0]
        return ending + b"\n" + _change_file(content, random, self._pool)

    def _write(self, data: bytes) -> SourceFile:
        from rag.sources import SourceFile

        ending, _, content = data.partition(b"\n")
        name = "".join(
            each for each in ending.decode("latin-1")[:12] if each.isalnum() or each == "."
        )
        path = self.folder / "docs" / f"given.{name or 'txt'}"
        path.write_bytes(content)
        status = path.stat()
        return SourceFile(str(path), str(path), status.st_size, status.st_mtime_ns)


class ReaderProcesses(_Files):
    """Files, read in processes of their own as `rag index` reads them."""

    name = "formats"
    plain = False
    starts_processes = True

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        self._jobs: queue.Queue[SourceFile] = queue.Queue()
        self._results: queue.Queue[Any] = queue.Queue()
        self._blank = self._write(b"blank.txt\nblank")
        threading.Thread(target=self._read, daemon=True).start()

    def run(self, data: bytes) -> str:
        file = self._write(data)
        # The pool takes a file before it is asked for the results of the one before.
        for each in (file, self._blank):
            self._jobs.put(each)
        outcome = REFUSED
        while True:
            result = self._results.get()
            if isinstance(result, BaseException):
                raise result
            if result.file != file:
                continue
            if hasattr(result.item, "text"):
                check_document(result.item)
                outcome = FINE
            reason = getattr(result.item, "reason", "")
            if "\n" in reason or "Traceback" in reason:
                raise WrongError(f"a reason that is not a line: {reason!r}")
            if "sources.seconds" in reason:
                raise WrongError(f"a reader took more than {MOST_SECONDS:g} s")
            if reason.startswith("its reader"):
                raise WrongError(f"{Path(file.path).suffix}: {reason}")
            if result.last:
                return outcome

    def _read(self) -> None:
        from rag.config import SourcesConfig
        from rag.sources import read_files

        config = SourcesConfig(workers=1, seconds=MOST_SECONDS - 1)
        try:
            for result in read_files(self._take_jobs(), config):
                self._results.put(result)
        except BaseException as error:  # noqa: BLE001 - `run` raises it.
            self._results.put(error)

    def _take_jobs(self) -> Iterator[tuple[SourceFile, None]]:
        while True:
            yield self._jobs.get(), None


class Parsers(_Files):
    """The same readers within this process, so that coverage leads to what no file has reached."""

    name = "parsers"

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        from rag.config import EmbeddingConfig
        from rag.embedding import load_embedder

        self._embedder = load_embedder(EmbeddingConfig(model=str(folder / "embedder")))

    def run(self, data: bytes) -> str:
        from rag.chunking import chunk_document
        from rag.config import SourcesConfig
        from rag.errors import SourceError
        from rag.sources import read_file
        from rag.types import Problem

        outcome = REFUSED
        try:
            for item in read_file(self._write(data), SourcesConfig(memory_mb=1024)):
                if isinstance(item, Problem):
                    continue
                check_document(item)
                for chunk in chunk_document(
                    item, self._embedder.token_offsets, size=40, overlap=8, limit=200
                ):
                    if item.text[chunk.start : chunk.end] != chunk.text or not chunk.text.strip():
                        raise WrongError(f"a chunk is not its span: {chunk.start}-{chunk.end}")
                outcome = FINE
        except SourceError as error:
            if "\n" in error.reason:
                raise WrongError(f"a reason that is not a line: {error.reason!r}") from None
        return outcome


def check_document(document: Document) -> None:
    """Hold what a reader says of its text against the text.

    Raises:
        WrongError: if a page or a heading lies outside of it, or it cannot be stored.
    """
    length = len(document.text)
    places: tuple[Page | Heading, ...] = (*document.pages, *document.headings)
    for place in places:
        if not 0 <= place.start <= place.end <= length:
            raise WrongError(f"{place!r} lies outside of {length} characters")
    try:
        document.text.encode()
        document.title.encode()
    except UnicodeError:
        raise WrongError("a text that is not Unicode") from None


def _change_file(data: bytes, random: Random, pool: tuple[bytes, ...]) -> bytes:
    """Change a file; in one that is packed, mostly what is packed."""
    if random.random() < 0.75:
        with suppress(Exception):
            if data.startswith(b"PK"):
                return _change_zip(data, random, pool)
            if data.startswith(b"\x1f\x8b"):
                return gzip.compress(mutation.change_bytes(gzip.decompress(data), random, pool), 1)
    return mutation.change_bytes(data, random, pool)


def _change_zip(data: bytes, random: Random, pool: tuple[bytes, ...]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(list(members))
    match random.randrange(10):
        case 0:
            del members[name]
        case 1:
            members[random.choice(mutation.TEXTS) or "x"] = members[name]
        case _:
            members[name] = mutation.change_bytes(members[name], random, pool)
    return _zip(members)


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
