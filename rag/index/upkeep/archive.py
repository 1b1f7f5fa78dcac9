"""The file of an exported index: a ZIP archive whose members are not compressed.

The same contents give the same bytes on every machine, and no member is larger than the file. Rows
are sorted, and do not depend on the history of the index.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from rag.index import Contents, FileState, Manifest, StoredChunk, StoredRoot
from rag.index.upkeep import lines
from rag.types import Document, Progress, ProgressCallback

FORMAT = "checkable-rag export"
VERSION = 1
_MANIFEST = "manifest.json"
_MEMBERS = ("files.jsonl", "roots.jsonl", "documents.jsonl", "chunks.jsonl", "vectors.npy")
_NAMES = (*_MEMBERS, _MANIFEST)
# The oldest date that a ZIP archive can hold.
_DATE = (1980, 1, 1, 0, 0, 0)
_WRITE_BYTES = 1 << 20
_READ_BYTES = 1 << 20
_MOST_MANIFEST_BYTES = 1 << 20
_ROWS_BETWEEN_SIGNS = 1000
_HALF_INFINITE = 0x7C00

T = TypeVar("T")
L = TypeVar("L", bound=lines.Line)

_Natural = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
# No embedder reads more.
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2_000_000)]
# float16 leaves the length of a unit vector within a thousandth of 1.
_NORM_TOLERANCE = 0.01


class _Embedder(lines.Line, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    fingerprint: str
    revision: str
    dim: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]


class _Chunking(msgspec.Struct, frozen=True):
    size: _Tokens
    overlap: _Tokens


class _Counts(msgspec.Struct, frozen=True):
    files: _Natural
    roots: _Natural
    documents: _Natural
    chunks: _Natural


class _Member(lines.Line, frozen=True):
    bytes: lines.Integer
    sha256: str


class _About(lines.Line, frozen=True):
    """What the archive's manifest says of the index and of the other members."""

    format: str
    version: int
    embedder: _Embedder
    chunking: _Chunking
    reading_settings: str
    counts: _Counts
    members: dict[str, _Member]


class RowCounter:
    """Counts the rows that pass, of all kinds together, and reports progress."""

    def __init__(self, stage: str, total: int, progress: ProgressCallback) -> None:
        self._stage, self._total, self._progress = stage, total, progress
        self._done = 0

    def __call__(self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            yield item
            self._done += 1
            if self._done % _ROWS_BETWEEN_SIGNS == 0 or self._done == self._total:
                self._progress(Progress(self._stage, self._done, self._total, "rows"))


class Archive:
    """An exported file that is open for reading; use it as a context.

    Nothing in it is believed: each method raises `WrongError` for what an export would not hold,
    and zipfile raises its own errors.
    """

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        self._infos = self._zip.infolist()
        if [info.filename for info in self._infos] != list(_NAMES):
            raise lines.WrongError("it is not an export of this program")
        if any(info.compress_type != zipfile.ZIP_STORED for info in self._infos):
            raise lines.WrongError("its members are compressed, those of an export are not")
        length = path.stat().st_size
        if sum(info.file_size for info in self._infos) > length:
            raise lines.WrongError("its members are larger than the file")
        about = self._about()
        self._members = about.members
        for info in self._infos[:-1]:
            if self._members[info.filename].bytes != info.file_size:
                raise lines.WrongError(f"{info.filename} has not the length that {_MANIFEST} says")
        self.manifest = Manifest(
            embedder=about.embedder.name,
            fingerprint=about.embedder.fingerprint,
            dim=about.embedder.dim,
            chunk_size=about.chunking.size,
            chunk_overlap=about.chunking.overlap,
            revision=about.embedder.revision,
        )
        self.reading_settings = about.reading_settings
        self.counts: dict[str, int] = msgspec.structs.asdict(about.counts)
        count = self.counts["chunks"]
        length = len(_header(count, self.manifest.dim)) + 2 * count * self.manifest.dim
        if self._members["vectors.npy"].bytes != length:
            raise lines.WrongError(f"vectors.npy does not hold {count:,} vectors")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @property
    def rows(self) -> int:
        """How many rows `contents` yields."""
        return sum(self.counts.values())

    def contents(
        self, counter: RowCounter
    ) -> Iterator[FileState | StoredRoot | tuple[str, Document, list[StoredChunk]]]:
        """Yield files, then roots, then documents, each with the path of its file and its chunks.

        Checksums come at the end of each member: use nothing of it unless the end is reached.
        """
        paths = set()
        with closing(self._lines("files.jsonl", lines.FileLine, lines.FileLine.item)) as states:
            for state in counter(
                _check_order("files.jsonl", states, lambda each: each.record.path)
            ):
                paths.add(state.record.path)
                yield state
        with closing(self._lines("roots.jsonl", lines.RootLine, lines.RootLine.item)) as roots:
            yield from counter(_check_order("roots.jsonl", roots, lambda each: each.path))
        with (
            closing(
                self._lines("documents.jsonl", lines.DocumentLine, lines.DocumentLine.item)
            ) as documents,
            closing(self._lines("chunks.jsonl", lines.ChunkLine, lines.ChunkLine.item)) as found,
            closing(self._vectors()) as vectors,
        ):
            joined = (replace(chunk, vector=next(vectors)) for chunk in counter(found))
            groups = groupby(joined, key=attrgetter("document_id"))
            owner, group = next(groups, (None, iter(())))
            for file, document in counter(
                _check_order("documents.jsonl", documents, lambda each: each[1].id)
            ):
                if file not in paths:
                    raise lines.WrongError(f"documents.jsonl: {document.id!r} is of no known file")
                chunks: list[StoredChunk] = []
                if owner == document.id:
                    chunks = _check_chunks(document, group)
                    owner, group = next(groups, (None, iter(())))
                yield file, document, chunks
            if owner is not None:
                raise lines.WrongError(
                    f"chunks.jsonl: {owner!r} is no document, or not in its place"
                )
            # The end of the vectors is where their hash is checked.
            next(vectors, None)

    def _about(self) -> _About:
        info = self._infos[-1]
        if info.file_size > _MOST_MANIFEST_BYTES:
            raise lines.WrongError(f"{_MANIFEST} is too large")
        row = lines.parse(self._zip.read(info))
        if row.get("format") != FORMAT:
            raise lines.WrongError("it is not an export of this program")
        version = row.get("version")
        if isinstance(version, int) and version != VERSION:
            raise lines.WrongError(
                f"it has version {version}, this program reads {VERSION}: use a newer one"
            )
        try:
            about = lines.convert(row, _About)
        except lines.WrongError as error:
            raise lines.WrongError(f"{_MANIFEST}: {error}") from None
        if list(about.members) != list(_MEMBERS):
            raise lines.WrongError(f"{_MANIFEST}: names other members")
        return about

    def _lines(self, name: str, kind: type[L], item: Callable[[L], T]) -> Generator[T, None, None]:
        """Yield the rows of a member, and check its hash at the end."""
        digest = hashlib.sha256()
        number, count = 0, self.counts[name.partition(".")[0]]
        with self._open(name) as member:
            for number, data in enumerate(member, start=1):
                if number > count:
                    break
                digest.update(data)
                try:
                    yield item(lines.convert(lines.parse(data), kind))
                except lines.WrongError as error:
                    raise lines.WrongError(f"{name}, line {number}: {error}") from None
        if number != count:
            raise lines.WrongError(f"{name}: has not the {count:,} lines that {_MANIFEST} says")
        self._check_digest(name, digest.hexdigest())

    def _vectors(self) -> Generator[bytes, None, None]:
        import numpy as np

        name, dim = "vectors.npy", self.manifest.dim
        expected = _header(self.counts["chunks"], dim)
        digest = hashlib.sha256(expected)
        at_once = max(1, _WRITE_BYTES // (2 * dim))
        with self._open(name) as member:
            if member.read(len(expected)) != expected:
                raise lines.WrongError(f"{name}: is not float16 of the shape that {_MANIFEST} says")
            left = self.counts["chunks"]
            while left:
                wanted = 2 * dim * min(left, at_once)
                data = member.read(wanted)
                if len(data) != wanted:
                    raise lines.WrongError(f"{name}: ends too early")
                digest.update(data)
                halves = np.frombuffer(data, dtype="<u2").reshape(-1, dim)
                if ((halves & _HALF_INFINITE) == _HALF_INFINITE).any():
                    raise lines.WrongError(f"{name}: holds what is not a number")
                lengths = np.linalg.norm(halves.view("<f2").astype(np.float32), axis=1)
                if not (np.abs(lengths - 1) <= _NORM_TOLERANCE).all():
                    raise lines.WrongError(f"{name}: holds a vector of another length than 1")
                left -= len(halves)
                for row in halves:
                    yield row.tobytes()
        self._check_digest(name, digest.hexdigest())

    def _open(self, name: str) -> io.BufferedReader:
        # By its place in the list: the name of a member is never used as a path.
        member = self._zip.open(self._infos[_NAMES.index(name)])
        return io.BufferedReader(member, _READ_BYTES)  # type: ignore[arg-type]

    def _check_digest(self, name: str, found: str) -> None:
        if found != self._members[name].sha256:
            raise lines.WrongError(f"{name}: has not the sha256 that {_MANIFEST} says")


class _Sink:
    """A stream that zipfile writes to without going back."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def write(self, data: bytes) -> int:
        self._write(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing, as nothing is held back."""


def write(write_piece: Callable[[bytes], object], contents: Contents, counter: RowCounter) -> None:
    """Write one state of an index, piece by piece."""
    manifest, counts = contents.manifest, contents.counts
    pieces: dict[str, Iterable[bytes]] = {
        "files.jsonl": _encode(map(lines.FileLine.of, counter(contents.files()))),
        "roots.jsonl": _encode(map(lines.RootLine.of, counter(contents.roots()))),
        "documents.jsonl": _encode(
            lines.DocumentLine.of(*each) for each in counter(contents.documents())
        ),
        "chunks.jsonl": _encode(map(lines.ChunkLine.of, counter(contents.chunks()))),
        "vectors.npy": chain(
            [_header(counts["chunks"], manifest.dim)], counter(contents.vectors())
        ),
    }
    with zipfile.ZipFile(_Sink(write_piece), "w") as archive:  # type: ignore[call-overload]
        members = {name: _add(archive, name, pieces[name]) for name in _MEMBERS}
        about = _About(
            FORMAT,
            VERSION,
            _Embedder(manifest.embedder, manifest.fingerprint, manifest.revision, manifest.dim),
            _Chunking(manifest.chunk_size, manifest.chunk_overlap),
            contents.reading_settings,
            _Counts(**counts),
            members,
        )
        text = json.dumps(msgspec.to_builtins(about), ensure_ascii=False, indent=2) + "\n"
        _add(archive, _MANIFEST, [text.encode()])


def _encode(items: Iterable[lines.Line]) -> Iterator[bytes]:
    return map(lines.encode, items)


def _add(archive: zipfile.ZipFile, name: str, pieces: Iterable[bytes]) -> _Member:
    """Add a member, piece by piece; returns its length and hash."""
    info = zipfile.ZipInfo(name, _DATE)
    # On any machine it says the same: an ordinary file, made on Unix.
    info.create_system, info.external_attr = 3, 0o100644 << 16
    digest, length, buffer = hashlib.sha256(), 0, bytearray()
    with archive.open(info, "w", force_zip64=True) as member:
        for piece in pieces:
            buffer += piece
            digest.update(piece)
            length += len(piece)
            if len(buffer) >= _WRITE_BYTES:
                member.write(buffer)
                buffer.clear()
        member.write(buffer)
    return _Member(length, digest.hexdigest())


def _header(count: int, dim: int) -> bytes:
    """Make the header of an .npy file of float16 `[count, dim]`, the same for any NumPy."""
    text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({count}, {dim}), }}"
    # The data begins at a multiple of 64 bytes.
    length = -(-(len(text) + 11) // 64) * 64 - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + f"{text:<{length - 1}}\n".encode()


def _check_order(name: str, items: Iterable[T], key: Callable[[T], str]) -> Iterator[T]:
    """Yield items whose keys rise: two rows with one key would be one in the index."""
    last: str | None = None
    for item in items:
        if last is not None and key(item) <= last:
            raise lines.WrongError(f"{name}: is not sorted, or holds one twice")
        last = key(item)
        yield item


def _check_chunks(document: Document, chunks: Iterable[StoredChunk]) -> list[StoredChunk]:
    found = list(chunks)
    last = -1
    for chunk in found:
        if not 0 <= chunk.start < chunk.end <= len(document.text):
            raise lines.WrongError(
                f"chunks.jsonl: {document.id!r} has no text from {chunk.start} to {chunk.end}"
            )
        if chunk.ordinal <= last:
            raise lines.WrongError(f"chunks.jsonl: the chunks of {document.id!r} are not in order")
        last = chunk.ordinal
    return found
