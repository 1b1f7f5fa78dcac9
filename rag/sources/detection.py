"""Detect a file's format by its first bytes, else by its name, else by what its text looks like."""

from __future__ import annotations

import codecs
import re
import tomllib
import zipfile
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from rag.errors import SourceError
from rag.plugins import plugins
from rag.sources.unpacking import DAMAGE, open_compressed

_HEAD_BYTES = 4096


# Formats that are read piece by piece, so that their files may be large.
STREAMED = frozenset({"records", "mailbox", "archive", "compressed", "table"})

# Formats that are not plain text. Their readers know best what is wrong with such a file.
_BINARY = frozenset(
    {
        *("pdf", "word", "slides", "workbook", "opendocument", "richtext", "epub"),
        *("archive", "compressed", "mail", "mailbox", "picture"),
    }
)

_MAGIC = (
    (b"%PDF-", "pdf"),
    (b"{\\rtf", "richtext"),
    (b"\x1f\x8b", "compressed"),
    *((b"BZh%d1AY&SY" % level, "compressed") for level in range(1, 10)),
    (b"\xfd7zXZ\x00", "compressed"),
    (b"\x89PNG\r\n\x1a\n", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"II*\x00", "picture"),
    (b"MM\x00*", "picture"),
)
# Formats that are written as text but are of no use as text.
_ENCODED_TEXT = ((b"%!PS", "is PostScript: convert it to PDF"),)
# Control codes that text does not hold; the excepted ones occur in logs of terminals.
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\b"))
_OPEN_DOCUMENTS = tuple(
    b"application/vnd.oasis.opendocument." + kind for kind in (b"text", b"presentation")
)
_IWORK = {".pages": "Pages", ".numbers": "Numbers", ".key": "Keynote"}
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_SECTION_SUFFIX = re.compile(r"\.[1-9][a-z]{0,6}$")
_MAN_MACRO = re.compile(rb"\A(?:[.']\\\"[^\n]*\n|\s)*+\.(?:TH|Dd)[ \t]")
_ROFF = re.compile(rb"\A(?:\s|[.'][ \t]*\n)*(?:\\\"|[.'](?:\\[\"#]|[ \t]*[A-Za-z]{1,3}\b))")
_HTML = re.compile(
    rb"\A\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*+<(?:!doctype\s+html|html)\b", re.I | re.S
)
_MAILBOX = re.compile(rb"\AFrom [^\n]+\d{4}[^\n]{0,40}\n[A-Za-z][A-Za-z0-9-]*:", re.M)
_MAIL = re.compile(rb"\A(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\n(?:[ \t][^\n]*\n)*){2,}")
_MAIL_FIELDS = re.compile(rb"^(?:from|received|message-id|return-path):", re.I | re.M)
# A list must hold an object or a string: plain text, too, may begin with `[1]` or `[[`.
_JSON = re.compile(rb'\A(?:\{\s*"(?:[^"\\]|\\.)*"\s*:|\[\s*(?:\{|"(?:[^"\\]|\\.)*"\s*[],]))', re.S)
_JSON_LINES = re.compile(rb"\A\{[^\n]*\}\s*\n\s*\{")
_SHEBANG = re.compile(rb"\A#!\s*\S*?/?(?:env\s+(?:-S\s+)?)?([a-z]+)[\d.]*\s")


@cache
def _names_of(kind: str) -> Mapping[str, str]:
    """Return what each suffix or interpreter stands for; `kind` is a table of `suffixes.toml`."""
    tables = tomllib.loads((files("rag.sources") / "suffixes.toml").read_text(encoding="utf-8"))
    return {word: name for name, words in tables[kind].items() for word in words.split()}


def known_suffixes() -> tuple[str, ...]:
    """Return the suffixes that stand for a format, those of installed readers included."""
    installed = (f".{name}" for name in plugins("rag.readers"))
    return tuple(sorted({*_names_of("formats"), *_names_of("languages"), *installed}))


def detect(path: Path, name: str, source: str) -> str:
    """Return the format of the file at `path`, which is called `name`.

    It is the name of an entry point of the group `rag.readers` if one has the file's suffix, else
    the name of a module of `rag.sources.formats` (`code` for source code).

    Raises:
        SourceError: of kind `skipped`, if the file holds no text; it says what the file is.
    """
    suffix = Path(name).suffix.lower()
    if suffix.removeprefix(".") in plugins("rag.readers"):
        return suffix.removeprefix(".")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    by_magic = _detect_by_magic(path, head, suffix, source)
    if by_magic:
        return by_magic
    code = "code" if suffix in _names_of("languages") else None
    by_name = _names_of("formats").get(suffix, code)
    if by_name in _BINARY or _is_text(head):
        return by_name or _detect_by_content(name, head)
    description = _describe(head, suffix)
    if by_name and not description:
        # A file that claims to be text goes to its reader, which says what is wrong with it.
        return by_name
    unknown = f"binary data ({suffix})" if suffix else "binary data"
    raise SourceError(source, f"is not a document: {description or unknown}", kind="skipped")


def _detect_by_magic(path: Path, head: bytes, suffix: str, source: str) -> str | None:
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _detect_in_zip(path, suffix, source)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return "archive" if name == "compressed" and _holds_tar(path) else name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "picture"
    if head[257:262] == b"ustar":
        return "archive"
    for magic, reason in _ENCODED_TEXT:
        if head.startswith(magic):
            raise SourceError(source, reason)
    if head.startswith(_OLD_OFFICE) and suffix == ".msg":
        raise SourceError(source, "is a message of Outlook: save it as .eml")
    if head.startswith(_OLD_OFFICE) and suffix != ".xls":
        # An Open XML file with a password is wrapped in a file of the old kind.
        if _names_of("formats").get(suffix) in ("word", "slides", "workbook"):
            raise SourceError(source, "is encrypted: save a copy without the password")
        raise SourceError(
            source,
            "is in an old Office format: save it as .docx, .pptx or .xlsx"
            if suffix in (".doc", ".ppt", ".dot", ".pps")
            else f"is not a document that can be read: {_describe(head, suffix)}",
            kind="failed" if suffix in (".doc", ".ppt") else "skipped",
        )
    return None


def _detect_in_zip(path: Path, suffix: str, source: str) -> str:
    mime, names = b"", dict[str, zipfile.ZipInfo]()
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.NameToInfo
            for part, name in (
                ("word/document.xml", "word"),
                ("ppt/presentation.xml", "slides"),
                ("xl/workbook.xml", "workbook"),
                ("xl/workbook.bin", "workbook"),
            ):
                if part in names:
                    return name
            if "mimetype" in names:
                with archive.open("mimetype") as file:
                    mime = file.read(200)
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError, ValueError, zlib.error):
        # The reader that the suffix asks for will say that the archive is broken.
        mime = b""
    if mime.startswith(b"application/epub+zip"):
        return "epub"
    if mime.startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
        return "workbook"
    if mime.startswith(_OPEN_DOCUMENTS):
        return "opendocument"
    if mime.startswith(b"application/vnd.oasis.opendocument"):
        raise SourceError(source, "is an OpenDocument drawing, chart or database: export it as PDF")
    if suffix in _IWORK and any(name.startswith("Index") for name in names):
        raise SourceError(
            source, f"is a document of Apple {_IWORK[suffix]}: export it as PDF or an Office file"
        )
    # A file that claims to be a document goes to its reader, which says that it is not.
    claimed = _names_of("formats").get(suffix, "archive")
    return claimed if claimed in ("word", "slides", "workbook", "epub") else "archive"


def _holds_tar(path: Path) -> bool:
    compressed = open_compressed(path)
    if compressed is None:
        return False
    try:
        with compressed as file:
            return file.read(262)[257:] == b"ustar"
    except (*DAMAGE, ValueError):
        return False


def _detect_by_content(name: str, head: bytes) -> str:
    head = head.removeprefix(codecs.BOM_UTF8)
    if _HTML.search(head):
        return "html"
    # A manual page may begin with more comments and definitions than `head` holds.
    if _MAN_MACRO.search(head) or (_SECTION_SUFFIX.search(name) and _ROFF.search(head)):
        return "manpage"
    if _MAILBOX.search(head):
        return "mailbox"
    if _MAIL.search(head) and _MAIL_FIELDS.search(head):
        return "mail"
    if _JSON.search(head.lstrip()):
        return "records" if _JSON_LINES.search(head.lstrip()) else "json"
    return "code" if language_of("", head) else "text"


def language_of(name: str, head: bytes) -> str | None:
    """Return the programming language of a source file by its suffix, else by its first line."""
    by_name = _names_of("languages").get(Path(name).suffix.lower())
    shebang = None if by_name else _SHEBANG.match(head)
    return _names_of("interpreters").get(shebang[1].decode()) if shebang else by_name


def _is_text(head: bytes) -> bool:
    if head.startswith(_WIDE_MARKS):
        return True
    if b"\0" in head:
        return False
    # Text in another encoding may hold a few such bytes; other data holds many.
    control = len(head) - len(head.translate(None, _CONTROL))
    return control * 20 <= len(head)


def _describe(head: bytes, suffix: str) -> str:
    if not head.strip(b"\0"):
        return "zero bytes"
    import puremagic

    try:
        matches = puremagic.magic_string(head, suffix)
    except (puremagic.PureError, ValueError):
        return ""
    # A lower confidence means that fewer than three bytes, or only the suffix, matched.
    return next((match.name for match in matches if match.confidence >= 0.3 and match.name), "")
