"""Read one file into its documents and those of the files within it, and name each problem."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from rag.config import SourcesConfig
from rag.errors import ConfigError, SourceError, first_line
from rag.plugins import plugins
from rag.sources.detection import STREAMED, detect
from rag.sources.discovery import SourceFile
from rag.sources.document import Member, is_fault, problem_of
from rag.sources.ignoring import Patterns, compile_patterns
from rag.sources.language import detect_language
from rag.types import Document, Problem

ReadFormat = Callable[[Path, str, SourcesConfig], Iterable[Document | Member | Problem]]

# SQLite ends text at a NUL, and half of a surrogate pair cannot be encoded in UTF-8. Each is
# replaced by one code point, so that spans keep their meaning.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Input:
    """A file to read: its path, what it is called, and the identity that ids are made from."""

    path: Path
    source: str
    name: str
    identity: str
    depth: int = 0


def read_file(
    file: SourceFile, config: SourcesConfig, path: Path | None = None
) -> Iterator[Document | Problem]:
    """Yield the documents of a file in order, and the problems of the files within it.

    `path` leads to the file where it was opened already (None: its own path).

    Raises:
        SourceError: if something is wrong with the file as a whole.
    """
    yield from _read(_input_of(file, path), config)


def check_file(file: SourceFile, config: SourcesConfig, path: Path | None = None) -> None:
    """Raise SourceError unless the beginning and the size of a file are those of a document.

    Raises:
        SourceError: if the file is not a document, or is larger than its format may be.
    """
    _detect_format(_input_of(file, path), config)


def _input_of(file: SourceFile, path: Path | None) -> Input:
    return Input(path or Path(file.place), file.source, Path(file.place).name, file.path)


def _read(file: Input, config: SourcesConfig) -> Iterator[Document | Problem]:
    source = file.source
    kind = Path(file.name).suffix.lstrip(".").upper() or "a document"
    format_name, count = "", 0
    config = _with_encoding(source, config)
    try:
        modified = file.path.stat().st_mtime
        format_name = _detect_format(file, config)
        for item in _load_reader(format_name)(file.path, source, config):
            for result in _finish_item(item, file, modified, config):
                count += 1
                yield result
    except (SourceError, ConfigError):
        raise
    except MemoryError:
        raise SourceError(
            source,
            f"needs more than the {config.memory_mb} MB that reading it may take "
            "(`sources.memory_mb`)",
        ) from None
    except RecursionError:
        raise SourceError(source, "is nested too deeply to be read") from None
    except ModuleNotFoundError as error:
        raise SourceError(
            source,
            f"cannot be read as {kind}: the package that holds `{error.name}` is not installed",
            lasting=False,
        ) from error
    except OSError as error:
        reason = f"cannot be read: {error.strerror or first_line(error)}"
        raise SourceError(source, reason, lasting=False) from error
    # A parser may raise anything on a damaged file, which must cost this file and no other.
    except BaseException as error:
        if not is_fault(error):
            raise
        # Who wrote a reader is helped by its words; those of a parser help nobody.
        reason = (
            first_line(error)[:200]
            if format_name in plugins("rag.readers")
            else "it is damaged, or holds what its reader does not know; try to open it in the "
            "program that made it, and to save it again"
        )
        raise SourceError(source, f"cannot be read as {kind}: {reason}") from error
    if not count:
        raise SourceError(source, "holds no text", kind="skipped")


def _matches(patterns: Patterns, path: str) -> bool:
    """Say whether patterns match a path, or what is left of it below one of its folders."""
    parts = path.split("/")
    return any(patterns.decide("/".join(parts[at:])) for at in range(len(parts)))


def _with_encoding(source: str, config: SourcesConfig) -> SourcesConfig:
    """Return the settings with the encoding that `sources.encodings` names for a file."""
    path = source.replace("\\", "/").strip("/")
    for line in reversed(config.encodings):
        pattern, _, encoding = line.rpartition("=")
        patterns = compile_patterns((pattern.strip(),))
        if patterns is not None and _matches(patterns, path):
            return replace(config, encoding=encoding.strip())
    return config


def _finish_item(
    item: Document | Member | Problem, file: Input, modified: float, config: SourcesConfig
) -> Iterator[Document | Problem]:
    if isinstance(item, Problem):
        yield item
    elif isinstance(item, Member):
        yield from _read_member(item, file, config)
    else:
        try:
            yield from finish_document(item, file, modified, config)
        except SourceError as error:
            # A bad document of several in a file, such as a message of a mailbox, costs no other.
            if item.source == file.source:
                raise
            yield problem_of(error, item.source)


def _read_member(
    member: Member, outer: Input, config: SourcesConfig
) -> Iterator[Document | Problem]:
    below = "" if member.alone else f"/{member.name}"
    source, identity = outer.source + below, outer.identity + below
    inner = Input(member.path, source, member.name, identity, outer.depth + 1)
    if inner.depth > config.max_depth:
        reason = f"lies more than {config.max_depth} archives deep (`sources.max_depth`)"
        raise SourceError(source, reason)
    try:
        yield from _read(inner, config)
    except SourceError as error:
        if member.alone:
            raise
        yield problem_of(error)


def _load_reader(name: str) -> ReadFormat:
    installed = plugins("rag.readers").get(name)
    if installed is not None:
        plugin = installed.load()
        return lambda path, source, _: plugin(path, source)
    read_format: ReadFormat = import_module(f"rag.sources.formats.{name}").read
    return read_format


def _detect_format(file: Input, config: SourcesConfig) -> str:
    size = file.path.stat().st_size
    if not size:
        raise SourceError(file.source, "is empty", kind="skipped")
    format_name = detect(file.path, file.name, file.source)
    key = "max_container_mb" if format_name in STREAMED else "max_file_mb"
    most: int = getattr(config, key)
    if size > most << 20:
        raise SourceError(
            file.source, f"has {size / 2**20:,.0f} MB, the limit is {most:,} (`sources.{key}`)"
        )
    return format_name


def finish_document(
    document: Document, file: Input, modified: float, config: SourcesConfig
) -> Iterator[Document]:
    """Yield a document with its identity, hash and times, unless it holds no text.

    Raises:
        SourceError: if its text is longer than a text may be, or no text but data.
    """
    source = file.source
    text = _UNSTORABLE.sub("\ufffd", document.text)
    if not text.strip():
        return
    if len(text) > config.max_text_mb << 20:
        raise SourceError(
            source,
            f"holds {len(text) / 2**20:,.0f} million characters of text, the limit is "
            f"{config.max_text_mb} (`sources.max_text_mb`)",
        )
    word = re.search(r"[!-~]{%d}" % config.max_word, text)  # noqa: UP031
    if word:
        raise SourceError(
            source,
            f"holds more than {config.max_word:,} characters without a space: this is data, not "
            "text (`sources.max_word`)",
        )
    title = _UNSTORABLE.sub("\ufffd", document.title) or Path(file.name).stem
    metadata = {
        key: _UNSTORABLE.sub("\ufffd", value) if isinstance(value, str) else value
        for key, value in document.metadata.items()
    }
    if "language" not in metadata and document.markup in ("plain", "markdown", "rst"):
        language = detect_language(text)
        if language:
            metadata["language"] = language
    key = document.source.removeprefix(source)
    yield replace(
        document,
        id=document.id or hashlib.sha256((file.identity + key).encode()).hexdigest()[:32],
        text=text,
        title=title,
        content_hash=content_hash(document, title, text),
        modified=document.modified or modified,
        metadata=metadata,
    )


def content_hash(document: Document, title: str, text: str) -> str:
    """Return the SHA-256 of everything that chunks and citations are made from."""
    headings = [(h.start, h.end, h.level, h.title) for h in document.headings]
    pages = [
        (page.start, page.end, page.number, *([page.label] if page.label else []))
        for page in document.pages
    ]
    joined = f"{title}\0{text}\0{document.markup}\0{headings}\0{pages}"
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
