"""Check office and EPUB files, which are ZIP packages of XML, before a parser sees them."""

from __future__ import annotations

import copy
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from rag.config import SourcesConfig
from rag.errors import SourceError

_PIECE = 1 << 20
# A part that unpacks to no more than this does no harm, however small it is packed.
_SMALL = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGED = "is damaged or was cut short: it is not a whole ZIP package"
_HTML_SUFFIXES = (".htm", ".html", ".xhtml")
_XML_STARTS = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0<", b"<\0")


def check_package(path: Path, source: str, config: SourcesConfig) -> None:
    """Refuse a package that is damaged, encrypted, a ZIP bomb, or that declares XML entities.

    Every part is unpacked once, piece by piece, since the sizes in a ZIP may lie and not every
    parser checks them. No content of Office Open XML (ECMA-376, part 2) or OpenDocument needs a
    DTD. EPUB, and the macros and formulas within OpenDocument, may name a public one, but not
    contain one. Pictures in SVG are not checked, since no reader parses them.

    Raises:
        SourceError: if one of these holds; it says which.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [part for part in archive.infolist() if not part.is_dir()]
            _check_sizes(parts, source, config)
            kind = _mimetype(archive)
            for part in parts:
                _check_part(archive, part, kind, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise SourceError(source, _DAMAGED) from error


def _check_sizes(parts: list[zipfile.ZipInfo], source: str, config: SourcesConfig) -> None:
    if len(parts) > config.max_members:
        raise SourceError(
            source,
            f"has {len(parts):,} parts, the limit is {config.max_members:,} "
            "(`sources.max_members`)",
        )
    total = sum(part.file_size for part in parts)
    if total > config.max_unpacked_mb << 20:
        raise SourceError(
            source,
            f"unpacks to {total / 2**20:,.0f} MB, the limit is {config.max_unpacked_mb:,} "
            "(`sources.max_unpacked_mb`)",
        )
    for part in parts:
        if part.flag_bits & 0x1:
            raise SourceError(source, "is encrypted: save a copy without the password")
        if part.compress_type not in _METHODS:
            raise SourceError(
                source,
                f"packs its part {part.filename!r} in a way that no office program does: "
                "save it again from the program that made it",
            )
        if part.file_size > max(_SMALL, part.compress_size * config.max_ratio):
            raise SourceError(
                source,
                f"unpacks its part {part.filename!r} to more than {config.max_ratio:,} times its "
                "size, the limit (`sources.max_ratio`)",
            )


def _mimetype(archive: zipfile.ZipFile) -> str:
    """Return the type that an OpenDocument or EPUB file declares; empty for Office Open XML."""
    if "mimetype" not in archive.NameToInfo:
        # Some books declare no type, but every book has the file that names its contents.
        return "application/epub+zip" if "META-INF/container.xml" in archive.NameToInfo else ""
    with archive.open("mimetype") as part:
        return part.read(200).decode("ascii", "replace").strip()


def _check_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo, kind: str, source: str) -> None:
    # `zipfile` stops at the size that a part claims. Asking for one byte more exposes a false one.
    unbound = copy.copy(part)
    unbound.file_size += 1
    size = 0
    with archive.open(unbound) as unpacked:
        while piece := unpacked.read(_PIECE):
            if not size:
                _check_prolog(piece, part.filename, kind, source)
            size += len(piece)
    if size != part.file_size:
        raise SourceError(source, _DAMAGED)


class _ContentBegins(Exception):
    """A signal that the root element was reached, after which no DTD can follow."""


def _check_prolog(piece: bytes, name: str, kind: str, source: str) -> None:
    """Refuse what the first megabyte of a part declares before its root element."""
    suffix = PurePosixPath(name.lower()).suffix
    if not piece.lstrip().startswith(_XML_STARTS) or suffix == ".svg":
        return
    epub = kind.startswith("application/epub")
    # OpenDocument keeps its content in the package's root, macros and formulas in folders.
    may_name_a_dtd = epub or (kind and "/" in name) or suffix in _HTML_SUFFIXES

    def doctype(_name: str, _system: str | None, _public: str | None, subset: int) -> None:
        if subset or not may_name_a_dtd:
            raise SourceError(
                source,
                f"declares a DTD in its part {name!r}, which no office program does: it may be "
                "an attack; save it again from the program that made it",
            )

    def content(*_: object) -> None:
        raise _ContentBegins

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = content
    try:
        parser.Parse(piece, False)
    except _ContentBegins:
        return
    except expat.ExpatError as error:
        if suffix in (".xml", ".rels") and not epub:
            raise SourceError(source, f"is damaged: its part {name!r} is not XML") from error
    else:
        if len(piece) == _PIECE:
            raise SourceError(source, f"is damaged: its part {name!r} does not begin as XML does")
