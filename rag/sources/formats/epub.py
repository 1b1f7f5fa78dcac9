"""Read EPUB books (W3C EPUB 3.3, OPF 2.0): the chapters in reading order, as one document."""

from __future__ import annotations

import posixpath
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from rag.config import SourcesConfig
from rag.errors import SourceError
from rag.sources.document import TextBuilder, draft
from rag.sources.formats.html import iso_date, language_code, render
from rag.sources.formats.html.elements import Element, words_of
from rag.sources.formats.package import check_package
from rag.types import Document

_CHAPTERS = frozenset(
    {"application/xhtml+xml", "application/x-dtbook+xml", "text/html", "text/x-oeb1-document"}
)


class _Item(NamedTuple):
    """A file that the book's manifest lists; `name` is its name in the package."""

    name: str
    media_type: str
    properties: str


def read(path: Path, source: str, config: SourcesConfig) -> Iterator[Document]:
    """Read a book as one document."""
    check_package(path, source, config)
    with zipfile.ZipFile(path) as archive:
        package_name = _find_package(archive, source)
        package = _parse_part(archive, package_name, source)
        items = _read_manifest(package, package_name)
        spine = [items.get(ref.get("idref", "")) for ref in package.iter("{*}itemref")]
        readable = [item for item in spine if item and item.media_type in _CHAPTERS]
        # The table of contents only repeats what is in the chapters.
        chapters = [item for item in readable if "nav" not in item.properties.split()]
        _check_readable(archive, chapters, source)
        titles = _read_titles(archive, items, source)
        builder = _join_chapters(archive, chapters, titles, source, config)
    metadata = _read_metadata(package)
    yield draft(
        source,
        builder.text,
        title=metadata.pop("title", "") or None,
        media_type="application/epub+zip",
        markup="markdown",
        metadata=metadata,
        headings=builder.headings,
    )


def _find_package(archive: zipfile.ZipFile, source: str) -> str:
    container = _parse_part(archive, "META-INF/container.xml", source)
    for root in container.iter("{*}rootfile"):
        if root.get("full-path"):
            return str(root.get("full-path"))
    raise SourceError(
        source, "is not an EPUB: its META-INF/container.xml names no package document"
    )


def _parse_part(
    archive: zipfile.ZipFile, name: str, source: str, *, recover: bool = False
) -> Element:
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, recover=recover
    )
    try:
        root = etree.fromstring(archive.read(name), parser)
    except KeyError:
        raise SourceError(source, f"is not an EPUB, or a damaged one: it has no {name!r}") from None
    except etree.XMLSyntaxError as error:
        raise SourceError(source, f"is damaged: {name!r} is not XML") from error
    return etree.Element("empty") if root is None else root


def _read_manifest(package: Element, package_name: str) -> dict[str, _Item]:
    found = {}
    for item in package.iter("{*}item"):
        name = _resolve(package_name, item.get("href", ""))
        kind = item.get("media-type", "").lower()
        found[str(item.get("id"))] = _Item(name, kind, item.get("properties", ""))
    return found


def _resolve(base: str, href: str) -> str:
    """Return the name within the package of the file that `base` links to by `href`."""
    path = unquote(href.partition("#")[0])
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), path))


def _check_readable(archive: zipfile.ZipFile, chapters: list[_Item], source: str) -> None:
    if not chapters:
        raise SourceError(source, "lists no chapters", kind="skipped")
    locked = set()
    if "META-INF/encryption.xml" in archive.NameToInfo:
        # In a book whose text is not protected, fonts may still be encrypted.
        encryption = _parse_part(archive, "META-INF/encryption.xml", source)
        locked = {_resolve("", c.get("URI", "")) for c in encryption.iter("{*}CipherReference")}
    for chapter in chapters:
        if chapter.name in locked:
            reason = "is encrypted (digital rights management): only a copy without it can be read"
            raise SourceError(source, reason)
        if chapter.name not in archive.NameToInfo:
            raise SourceError(source, f"is damaged: its chapter {chapter.name!r} is missing")


def _read_titles(
    archive: zipfile.ZipFile, items: dict[str, _Item], source: str
) -> dict[str, tuple[int, str]]:
    """Return each file's first title in the table of contents, with its depth there."""
    found: dict[str, tuple[int, str]] = {}
    for item in items.values():
        if item.name not in archive.NameToInfo:
            continue
        entries: Callable[[Element], Iterator[tuple[int, str, str]]]
        if "nav" in item.properties.split():
            entries = _nav_entries
        elif item.media_type == "application/x-dtbncx+xml":
            entries = _ncx_entries
        else:
            continue
        # A damaged table of contents must cost titles only, not the book.
        for depth, href, title in entries(_parse_part(archive, item.name, source, recover=True)):
            if title:
                found.setdefault(_resolve(item.name, href), (depth, title))
    return found


def _nav_entries(nav: Element) -> Iterator[tuple[int, str, str]]:
    for part in nav.iter("{*}nav"):
        if part.get("{http://www.idpf.org/2007/ops}type", "toc") != "toc":
            continue
        for link in part.iter("{*}a"):
            depth = sum(1 for _ in link.iterancestors("{*}ol"))
            yield max(depth, 1), link.get("href", ""), words_of(link)


def _ncx_entries(ncx: Element) -> Iterator[tuple[int, str, str]]:
    for point in ncx.iter("{*}navPoint"):
        content, label = point.find("{*}content"), point.find("{*}navLabel")
        if content is not None and label is not None:
            depth = 1 + sum(1 for _ in point.iterancestors("{*}navPoint"))
            yield depth, content.get("src", ""), words_of(label)


def _join_chapters(
    archive: zipfile.ZipFile,
    chapters: list[_Item],
    titles: dict[str, tuple[int, str]],
    source: str,
    config: SourcesConfig,
) -> TextBuilder:
    builder = TextBuilder()
    for chapter in chapters:
        try:
            text, found, _, _ = render(archive.read(chapter.name), source, config)
        except SourceError as error:
            reason = f"its chapter {chapter.name!r} {error.reason}"
            raise SourceError(source, reason) from error
        if not text:
            continue
        if not found and chapter.name in titles:
            level, title = titles[chapter.name]
            builder.add_heading(title, level)
        builder.add(text, headings=found)
    return builder


def _read_metadata(package: Element) -> dict[str, str]:
    """Return what the package document says in elements of Dublin Core."""
    values: defaultdict[str, list[str]] = defaultdict(list)
    for block in package.iter("{*}metadata"):
        for element in block.iter("{http://purl.org/dc/elements/1.1/}*"):
            name = element.tag.rpartition("}")[2]
            event = element.get("{http://www.idpf.org/2007/opf}event")
            if name == "date" and event in ("modification", "conversion"):
                name = "modified"
            if words := words_of(element):
                values[name].append(words)
        for element in block.iter("{*}meta"):
            if element.get("property") == "dcterms:modified" and (words := words_of(element)):
                values["modified"].append(words)
    first = defaultdict(str, {name: found[0] for name, found in values.items()})
    return {
        "title": first["title"],
        "author": ", ".join(values["creator"]),
        "language": language_code(first["language"]),
        "created": iso_date(first["date"]),
        "modified": iso_date(first["modified"]),
        "publisher": first["publisher"],
        "description": first["description"],
        "keywords": ", ".join(values["subject"]),
    }
