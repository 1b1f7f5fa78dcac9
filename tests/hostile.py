"""Make files that are broken, wrong or out to do harm, each with the reason to be named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fpdf import FPDF

ZEROS = bytes(50_000_000)
SKIPPED = "skipped"
FAILED = "failed"

# The kind and a pattern of the reason, by a pattern of the name of a file or of one within it.
Expected = dict[str, tuple[str, str]]
# The content of a file by its name, with the kind and a pattern of the reason.
Files = dict[str, tuple[bytes, str, str]]

_LAUGHS = ["".join(f"&lol{n - 1};" for _ in range(10)) for n in range(1, 10)]
BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol0 "lol">'
    + "".join(f'<!ENTITY lol{n} "{laugh}">' for n, laugh in enumerate(_LAUGHS, start=1))
    + "]><document>&lol9;</document>"
)
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]><d>&x;</d>'


def good_files(folder: Path) -> set[str]:
    """Make files with nothing wrong but their names, and return the names."""
    names = {
        "plain.txt",
        "with space.txt",
        " leading.txt",
        "-rf.txt",
        "new\nline.txt",
        "quote'\".txt",
        "[bold]markup.txt",
        "%s%n.txt",
        "$(reboot).txt",
        "日本語.txt",
        "emoji 😀.txt",
        "\u202egnp.txt",
        "combining e\u0301.txt",
        "ALL.TXT",
        "no suffix",
        "two.dots.txt",
        "x" * 240 + ".txt",
        "code.py",
        "entities.xml",
        "include.rst",
        "quotes.md",
        "brackets.md",
        "really a pdf.txt",
        "bidi.txt",
    }
    for name in names:
        (folder / name).write_text(f"A good file with good text, number {len(name)}.\n")
    (folder / "code.py").write_text("raise SystemExit('code of a document was run')\n")
    (folder / "entities.xml").write_text(BILLION_LAUGHS)
    (folder / "include.rst").write_text("Top\n===\n\n.. include:: /etc/passwd\n\n.. raw:: html\n")
    (folder / "quotes.md").write_text(">" * 3_000 + " deep\n")
    (folder / "brackets.md").write_text("[" * 50_000 + "a" + "](" * 1_000)
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=12)
    pdf.cell(text="Good text of a PDF under a wrong name.")
    pdf.output(str(folder / "really a pdf.txt"))
    (folder / "bidi.txt").write_text("Pay \u202e001\u202c euro, zero\u200bwidth, half \ufffd.")
    return names


def hostile_files(folder: Path) -> Expected:
    """Make all other files, and return what is expected of each."""
    expected: Expected = {}
    for files in (_pdfs(), _texts(), _compressed(), _packages(), _structures(), _readers()):
        for name, (data, kind, reason) in files.items():
            (folder / name).write_bytes(data)
            # A problem of a line is named with its number.
            expected[f"{name}(:[0-9]+)?" if name.endswith(".jsonl") else name] = (kind, reason)
    for make in (_holes, _archives, _mails, _nodes):
        expected.update(make(folder))
    return expected


def _pdf(text: str | None, password: str = "") -> bytes:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=12)
    if text is None:
        pdf.rect(20, 20, 100, 100, style="F")
    else:
        pdf.cell(text=text)
    if password:
        pdf.set_encryption(owner_password="owner", user_password=password)
    return bytes(pdf.output())


def _pdfs() -> Files:
    whole = _pdf("Text that nobody will see.")
    locked = "is encrypted: save a copy without the password"
    page = b"<html><body><p>A page.</p></body></html>"
    unreadable = "cannot be read as PDF"
    return {
        "garbage.pdf": (b"%PDF-1.7\n" + bytes(range(256)) * 8, FAILED, unreadable),
        "cut.pdf": (whole[: len(whole) // 3], FAILED, f"{unreadable}|holds no text"),
        "locked.pdf": (_pdf("A secret.", "secret"), FAILED, locked),
        "scanned.pdf": (_pdf(None), FAILED, "scanned|picture without text|holds no text"),
        "page.pdf": (page, FAILED, unreadable),
    }


def _texts() -> Files:
    bad_utf8 = {
        "latin1.txt": b"caf\xe9 au lait",
        "cut.txt": "half a ü".encode()[:-1],
        "overlong.txt": b"a \xc0\xaf b",
        "surrogate.txt": b"a \xed\xa0\x80 b",
        "continuation.txt": b"a \x80 b",
        "beyond.txt": b"a \xf4\x90\x80\x80 b",
        "five.txt": b"a \xf8\x88\x80\x80\x80 b",
        "ff.txt": b"a \xff b",
        "latin1.md": b"# caf\xe9",
        "latin1.csv": b"name,city\ncaf\xe9,x\n",
    }
    png = b"\x89PNG\r\n\x1a\n" + bytes(64)
    noise = bytes((n * 7919) % 256 for n in range(4096))
    binary = "is not a document"
    return {
        **{n: (data, FAILED, "is not valid UTF-8 \\(byte 0x") for n, data in bad_utf8.items()},
        "utf16.txt": (b"\xff\xfea", FAILED, "is not valid UTF-16"),
        "empty.txt": (b"", SKIPPED, "is empty"),
        "blank.txt": (b" \n\t\n ", SKIPPED, "holds no text"),
        "nul.txt": (b"before\0after", FAILED, "NUL characters"),
        "late nul.txt": (b"x y " * 4_000 + b"\0", FAILED, "NUL characters"),
        "line.txt": (b"x" * 10_000_000, FAILED, "without a space: this is data"),
        "picture.md": (png, SKIPPED, f"{binary}.*(PNG|Portable Network)|picture"),
        "program": (b"\x7fELF\x02\x01\x01" + bytes(64), SKIPPED, f"{binary}.*ELF"),
        "music.mp3": (b"ID3\x03\x00" + bytes(range(256)), SKIPPED, binary),
        "noise.bin": (noise, SKIPPED, binary),
    }


def _holes(folder: Path) -> Expected:
    for name, head in (("sparse.txt", b"Text, and then a hole.\n" * 200), ("hole.txt", b"")):
        with (folder / name).open("wb") as file:
            file.write(head)
            file.truncate(3 << 30)
    Path(os.fsdecode(os.fsencode(folder) + b"/n\xe4me.txt")).write_text("text")
    return {
        "sparse.txt": (FAILED, "has 3,072 MB, the limit is 256 \\(`sources.max_file_mb`\\)"),
        "hole.txt": (SKIPPED, "is not a document: zero bytes"),
        "n.{4,6}me.txt": (FAILED, "a name that is not valid UTF-8"),
    }


def _zip(members: dict[str, bytes], **infos: Callable[[zipfile.ZipInfo], None]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name in infos:
                infos[name](info)
            archive.writestr(info, content)
    return data.getvalue()


def _tar(*members: tarfile.TarInfo) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for info in members:
            archive.addfile(info, io.BytesIO(b"text of a member") if info.isreg() else None)
    return data.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 16 if kind == tarfile.REGTYPE else 0
    return info


def _archives(folder: Path) -> Expected:
    inner = _zip({"a.txt": b"at the bottom"})
    for _ in range(8):
        inner = _zip({"inner.zip": inner})

    def as_link(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    def as_encrypted(data: bytes) -> bytes:
        # The flag alone, in the local and in the central header.
        marked = bytearray(data)
        for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            marked[data.index(magic) + at] |= 1
        return bytes(marked)

    whole = _zip({"a.txt": b"first", "b.txt": b"second"})
    broken = bytearray(_zip({"c.txt": bytes(range(32, 127)) * 50}))
    broken[60] ^= 0xFF
    slipped = ("../../slipped.txt", "/slipped.txt", "C:\\slipped.txt")
    bad = [
        _member("../slipped.txt"),
        _member("null", tarfile.CHRTYPE),
        _member("pipe", tarfile.FIFOTYPE),
        _member("soft", tarfile.SYMTYPE, "/etc/passwd"),
        _member("hard", tarfile.LNKTYPE, "/etc/passwd"),
        _member("fine.txt"),
    ]
    for name, data in {
        "bomb.zip": _zip({"zeros.txt": ZEROS, "fine.txt": b"a fine member"}),
        "deep.zip": inner,
        "slip.zip": _zip(dict.fromkeys(slipped, b"out")),
        "link.zip": _zip({"passwd": b"/etc/passwd"}, passwd=as_link),
        "locked.zip": as_encrypted(_zip({"a.txt": b"a secret"})),
        "cut.zip": whole[: len(whole) - 30],
        "flipped.zip": bytes(broken),
        "nothing.zip": _zip({}),
        "bad.tar.gz": _tar(*bad),
    }.items():
        (folder / name).write_bytes(data)
    return {
        "bomb.zip/zeros.txt": (FAILED, "sources.max_ratio"),
        "deep.zip(/inner.zip)+.*": (FAILED, "archives deep|sources.max_depth"),
        "slip.zip.*slipped.txt": (FAILED, "out of the archive|outside|absolute|leads out|\\.\\."),
        "link.zip/passwd": ("skipped|failed", "link"),
        "locked.zip/a.txt": (FAILED, "is encrypted"),
        "cut.zip": (FAILED, "cannot be read|broken|damaged|cut"),
        "flipped.zip(/c.txt)?": (FAILED, "damaged|broken|cannot be read|CRC|invalid"),
        "nothing.zip": (SKIPPED, "holds no text|is empty|holds nothing"),
        "bad.tar.gz/../slipped.txt|bad.tar.gz.*slipped.txt": (FAILED, "."),
        "bad.tar.gz/null": ("skipped|failed", "device|not a regular"),
        "bad.tar.gz/pipe": ("skipped|failed", "FIFO|pipe|not a regular|device"),
        "bad.tar.gz/soft": ("skipped|failed", "link"),
        "bad.tar.gz/hard": ("skipped|failed", "link"),
    }


def _compressed() -> Files:
    many = _tar(*[_member(f"{n}.txt") for n in range(50)])
    noise = gzip.compress(os.urandom(10_000).hex().encode())
    return {
        "cut.tar.gz": (many[:200], FAILED, "."),
        "bomb.txt.gz": (gzip.compress(ZEROS), FAILED, "sources.max_ratio"),
        "bomb.txt.bz2": (bz2.compress(ZEROS), FAILED, "sources.max_ratio"),
        "cut.txt.gz": (noise[:5_000], FAILED, "."),
        "bad.txt.xz": (lzma.compress(b"text" * 100)[:-20] + bytes(20), FAILED, "."),
    }


def _packages() -> Files:
    def word(document: bytes) -> bytes:
        return _zip({"[Content_Types].xml": b"<Types/>", "word/document.xml": document})

    laughs = BILLION_LAUGHS.encode()
    sheets = b"application/vnd.oasis.opendocument.spreadsheet"
    book = b"application/epub+zip"
    container = (
        b'<?xml version="1.0"?><!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
        b"<container>&x;</container>"
    )
    outside = _zip({"mimetype": book, "META-INF/container.xml": container})
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    broken = (FAILED, "cannot be read|broken|damaged|is not|holds no")
    refused = (FAILED, "DOCTYPE|DTD|entit|ENTITY")
    return {
        "laughs.docx": (word(laughs), *refused),
        "external.docx": (word(EXTERNAL.encode()), *refused),
        "bomb.docx": (word(b"<a>" + bytes(60_000_000)), FAILED, "sources.max_ratio"),
        "no parts.docx": (_zip({"a.txt": b"text"}), *broken),
        "text.docx": (b"This is plain text and no DOCX.", *broken),
        "broken.docx": (word(b"<w:document"), *broken),
        "broken.pptx": (_zip({"ppt/presentation.xml": b"<p"}), *broken),
        "broken.xlsx": (_zip({"xl/workbook.xml": b"<w"}), *broken),
        "laughs.xlsx": (_zip({"xl/workbook.xml": laughs}), *refused),
        "text.xlsx": (b"no workbook", *broken),
        "laughs.ods": (_zip({"mimetype": sheets, "content.xml": laughs}), *refused),
        "locked.docx": (old, FAILED, "is encrypted"),
        "old.doc": (old, FAILED, "old Office format"),
        "external.epub": (outside, *refused),
        "nothing.epub": (_zip({"mimetype": book}), FAILED, "."),
    }


def _structures() -> Files:
    depth = 5_000
    html = b"<div>" * depth + b"at the bottom" + b"</div>" * depth
    script = b"<html><script>alert(1)</script><body></body></html>"
    json = b"[" * depth + b'"bottom"' + b"]" * depth
    line = b'{"_id": "1", "text": ' + b"[" * depth + b"]" * depth + b"}\n"
    bad = b'{"_id": "1", "text": "a good line"}\nno line at all\n'
    twice = b'{"_id": "t", "text": "a"}\n{"_id": "t", "text": "b"}\n'
    return {
        "deep.html": (html, FAILED, "nest"),
        "deep.json": (json, FAILED, "nest"),
        "deep.jsonl": (line, FAILED, "nest|JSON"),
        "open.json": (b'{"text": "never closed', FAILED, "JSON"),
        "bad.jsonl": (bad, FAILED, "line 2"),
        "twice.jsonl": (twice, FAILED, "line 2 has the id 't' of an earlier one"),
        "broken.ipynb": (b'{"cells": [', FAILED, "not JSON"),
        "list.ipynb": (b"[]", FAILED, "no list of cells"),
        "old.ipynb": (b'{"worksheets": []}', FAILED, "no list of cells"),
        "script.html": (script, SKIPPED, "holds no text"),
        "field.csv": (b'name,text\na,"' + b"x" * 3_000_000 + b'"\n', FAILED, "."),
    }


def _mails(folder: Path) -> Expected:
    (folder / "nothing.mbox").write_bytes(b"This is no mailbox.\n")
    (folder / "evil.eml").write_bytes(
        b"From: a@b\r\nSubject: attached\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="X"\r\n\r\n'
        b"--X\r\nContent-Type: text/plain\r\n\r\n"
        b"See the attached file.\r\n--X\r\nContent-Type: application/octet-stream\r\n"
        b'Content-Disposition: attachment; filename="../../slipped.bin"\r\n\r\n'
        b"\x00\x01\x02\x03\r\n--X--\r\n",
    )
    return {
        "nothing.mbox": ("skipped|failed", "."),
        "evil.eml/.*slipped.bin": ("skipped|failed", "not a document"),
    }


def _readers() -> Files:
    reasons = {
        "a.hang": "took more than .* s to read \\(`sources.seconds`\\)",
        "a.crash": "crashed \\(SIGSEGV\\)",
        "a.leave": "exit code 7",
        "a.explode": "`sources.memory_mb`",
        # A reader that is confined cannot even do that.
        "a.vanish": "No such file|Permission denied",
        "a.change": "changed while it was being read|Permission denied",
        "a.odd": "cannot be read as ODD: a message$",
    }
    return {name: (b"text", FAILED, reason) for name, reason in reasons.items()}


def _nodes(folder: Path) -> Expected:
    expected: Expected = {
        "pipe.txt": (SKIPPED, "is not a regular file"),
        "socket.txt": (SKIPPED, "is not a regular file"),
        "dangling.txt": ("skipped|failed", "link|No such file"),
        "out.txt": (SKIPPED, "is a link out of the folder"),
        "out": (SKIPPED, "is a link out of the folder"),
    }
    os.mkfifo(folder / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as made, suppress(OSError):
        here = Path.cwd()
        # The path of a socket has a hundred characters at the most.
        os.chdir(folder)
        try:
            made.bind("socket.txt")
        finally:
            os.chdir(here)
    if not (folder / "socket.txt").exists():
        del expected["socket.txt"]
    (folder / "dangling.txt").symlink_to(folder / "not there")
    (folder / "out.txt").symlink_to("/etc/passwd")
    (folder / "out").symlink_to("/etc")
    (folder / "loop").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "again.txt").symlink_to(folder / "plain.txt")
    with suppress(PermissionError):
        os.mknod(folder / "zero.txt", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        expected["zero.txt"] = (SKIPPED, "is not a regular file")
    if os.geteuid() != 0:
        (folder / "unreadable.txt").write_bytes(b"text")
        (folder / "unreadable.txt").chmod(0)
        expected["unreadable.txt"] = (FAILED, "Permission denied")
    return expected
