"""Detect a file's format by its first bytes, else by its name, else by what its text looks like."""

from __future__ import annotations

import codecs
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from rag.errors import SourceError
from rag.plugins import plugins
from rag.sources.unpacking import DAMAGE, open_compressed

_HEAD_BYTES = 4096


def _by_suffix(suffixes: Mapping[str, str]) -> dict[str, str]:
    """Turn names with the suffixes that stand for each into suffixes with their names."""
    return {suffix: name for name, listed in suffixes.items() for suffix in listed.split()}


# The suffixes that stand for a format, which is a module of `rag.sources.formats`.
_SUFFIXES = _by_suffix(
    {
        "markdown": ".md .markdown .mdx",
        # The first lines of settings and styles may look like the head of a message.
        "text": ".txt .text .log .yaml .yml .toml .ini .cfg .conf .properties .css",
        "rst": ".rst",
        "html": ".html .htm .xhtml",
        "notebook": ".ipynb",
        "pdf": ".pdf",
        "word": ".docx .docm",
        "slides": ".pptx .pptm",
        "workbook": ".xlsx .xlsm .xlsb .xls .ods",
        "table": ".csv .tsv",
        "epub": ".epub",
        "mail": ".eml",
        "mailbox": ".mbox",
        "json": ".json",
        "records": ".jsonl .ndjson",
        "manpage": ".man .mdoc .roff",
        "archive": ".zip .tar .tgz .tbz2 .txz",
        "compressed": ".gz .bz2 .xz",
    }
)

# The suffixes that stand for a programming language, by the splitter's name for it.
LANGUAGES = _by_suffix(
    {
        "python": ".py .pyi",
        "js": ".js .mjs .cjs .jsx",
        "ts": ".ts .tsx",
        "java": ".java",
        "kotlin": ".kt .kts",
        "scala": ".scala",
        "go": ".go",
        "rust": ".rs",
        "c": ".c .h",
        "cpp": ".cc .cpp .cxx .hh .hpp",
        "csharp": ".cs",
        "ruby": ".rb",
        "php": ".php",
        "swift": ".swift",
        "lua": ".lua",
        "perl": ".pl .pm",
        "haskell": ".hs",
        "elixir": ".ex .exs",
        "r": ".r",
        "sol": ".sol",
        "proto": ".proto",
        "powershell": ".ps1",
        "shell": ".sh .bash .zsh",
        "sql": ".sql",
        "latex": ".tex",
    }
)

_SHEBANGS = {
    "python": ".py",
    "node": ".js",
    "ruby": ".rb",
    "perl": ".pl",
    "lua": ".lua",
    "php": ".php",
    "bash": ".sh",
    "sh": ".sh",
    "zsh": ".sh",
}

# Formats that are read piece by piece, so that their files may be large.
STREAMED = frozenset({"records", "mailbox", "archive", "compressed", "table"})

# Formats that are not plain text. Their readers know best what is wrong with such a file.
_BINARY = frozenset(
    {"pdf", "word", "slides", "workbook", "epub", "archive", "compressed", "mail", "mailbox"}
)

_MAGIC = (
    (b"%PDF-", "pdf"),
    (b"\x1f\x8b", "compressed"),
    *((b"BZh%d1AY&SY" % level, "compressed") for level in range(1, 10)),
    (b"\xfd7zXZ\x00", "compressed"),
)
# Formats that are written as text but are of no use as text.
_ENCODED_TEXT = (
    (b"{\\rtf", "is in Rich Text Format: save it as .docx"),
    (b"%!PS", "is PostScript: convert it to PDF"),
)
# Control codes that text does not hold; the excepted ones occur in logs of terminals.
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\b"))
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


def known_suffixes() -> tuple[str, ...]:
    """Return the suffixes that stand for a format, those of installed readers included."""
    return tuple(sorted({*_SUFFIXES, *LANGUAGES, *(f".{name}" for name in plugins("rag.readers"))}))


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
    by_name = _detect_by_name(name, suffix)
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
    if head[257:262] == b"ustar":
        return "archive"
    for magic, reason in _ENCODED_TEXT:
        if head.startswith(magic):
            raise SourceError(source, reason)
    if head.startswith(_OLD_OFFICE) and suffix != ".xls":
        # An Open XML file with a password is wrapped in a file of the old kind.
        if _SUFFIXES.get(suffix) in ("word", "slides", "workbook"):
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
            mime = b""
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
    if mime.startswith(b"application/vnd.oasis.opendocument"):
        raise SourceError(
            source, "is an OpenDocument file but no spreadsheet: save it as .docx or .pptx"
        )
    # A file that claims to be a document goes to its reader, which says that it is not.
    claimed = _SUFFIXES.get(suffix, "archive")
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


def _detect_by_name(name: str, suffix: str) -> str | None:
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    return "code" if suffix in LANGUAGES else None


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
    suffix = Path(name).suffix.lower()
    if suffix in LANGUAGES:
        return LANGUAGES[suffix]
    shebang = _SHEBANG.match(head)
    return LANGUAGES.get(_SHEBANGS.get(shebang[1].decode(), "")) if shebang else None


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
