"""Synthetic documents and indexes of them, which several tests share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from rag.index import CacheSettings, FileRecord, Index, Manifest, Writer
from rag.query import parse_question
from rag.types import Chunk, Document

Documents = list[tuple[Document, list[Chunk], np.ndarray]]

# --- Documents of lines, with random vectors of few dimensions

DIM = 8
MANIFEST = Manifest("embedder", "weights", DIM, 100, 10)


def unit(generator: np.random.Generator, count: int, dim: int = DIM) -> np.ndarray:
    vectors = generator.normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def record(name: str) -> FileRecord:
    return FileRecord(f"/{name}", name, 1, 1, "hash")


def cut(name: str, lines: Sequence[str], heading: tuple[str, ...] = ()) -> tuple[str, list[Chunk]]:
    """A text of lines, and a chunk for each; below a heading they are on page 1."""
    chunks, at = [], 0
    for number, line in enumerate(lines):
        place = (1, number + 1) if heading else (None, None)
        chunks.append(Chunk(0, name, line, at, at + len(line), number, heading, *place))
        at += len(line) + 1
    return "\n".join(lines), chunks


def rows(name: str, vectors: np.ndarray) -> Documents:
    lines = [f"{name} passage {i}" for i in range(len(vectors))]
    text, chunks = cut(name, lines, ("Top", name))
    document = Document(name, name, text, name, "text/plain", f"{len(vectors)}{vectors.sum()}")
    return [(document, chunks, vectors)]


def put(writer: Writer, file: FileRecord, documents: Documents) -> None:
    file_id = writer.begin_file(file)
    for document, chunks, vectors in documents:
        passages = [chunk.text for chunk in chunks]
        writer.put_document(file_id, document, chunks, passages, vectors)
    writer.end_file(file_id, file, [])


def remove(writer: Writer, name: str) -> None:
    for file_id, _ in list(writer.files_below(f"/{name}")):
        writer.remove_file(file_id)


@contextmanager
def writing(index: Index, manifest: Manifest = MANIFEST, *, refresh: bool) -> Iterator[Writer]:
    """A writer that commits at the end."""
    with index.write(wait=600) as writer:
        writer.set_manifest(manifest)
        yield writer
        writer.commit()
        if refresh:
            writer.refresh_cache()


def write(index: Index, files: dict[str, np.ndarray], without: tuple[str, ...] = ()) -> None:
    with writing(index, refresh=True) as writer:
        for name in without:
            remove(writer, name)
        for name, vectors in files.items():
            put(writer, record(name), rows(name, vectors))


def nearest(files: dict[str, np.ndarray], query: np.ndarray, k: int) -> list[tuple[str, float]]:
    """Brute force over what is stored: vectors at float16."""
    scored = [
        (f"{name} passage {i}", float(vector.astype(np.float16).astype(np.float32) @ query))
        for name, vectors in files.items()
        for i, vector in enumerate(vectors)
    ]
    return sorted(scored, key=lambda pair: -pair[1])[:k]


def found(index: Index, query: np.ndarray, k: int) -> list[tuple[str, float]]:
    with index.snapshot() as snapshot:
        scored = snapshot.nearest(query, k)
        passages = snapshot.passages([each for each, _ in scored])
    return [(passages[each].chunk.text, score) for each, score in scored]


def assert_same(ours: list[tuple[str, float]], theirs: list[tuple[str, float]]) -> None:
    assert [text for text, _ in ours] == [text for text, _ in theirs]
    assert np.allclose([s for _, s in ours], [s for _, s in theirs], atol=1e-6)


# --- Versions: each commit replaces all files, so that what a look sees tells which it was

SIZES = {"a": 40, "b": 80}
# Every other version has a file more.
MORE = {"c": 20}


def put_version(writer: Writer, version: int) -> None:
    for name, size in SIZES.items():
        put(writer, record(name), _versioned(name, version, size))
    for name, size in MORE.items():
        if version % 2:
            remove(writer, name)
        else:
            put(writer, record(name), _versioned(name, version, size))


def _versioned(name: str, version: int, size: int) -> Documents:
    lines = [f"{name} version {version} passage {at}" for at in range(size)]
    text, chunks = cut(name, lines)
    document = Document(name, name, text, name, "text/plain", f"{name} {version}")
    return [(document, chunks, np.stack([_vector_of(line) for line in lines]))]


@lru_cache(10_000)
def _vector_of(text: str) -> np.ndarray:
    numbers = [int(word) if word.isdigit() else ord(word[0]) for word in text.split()]
    return unit(np.random.default_rng(numbers), 1)[0]


def look(index: Index) -> int:
    """All that can be seen of one state; returns its version, or raises AssertionError."""
    query = np.eye(1, DIM, dtype=np.float32)[0]
    with index.snapshot() as snapshot:
        by_vector = dict(snapshot.nearest(query, 1000))
        by_word = dict(snapshot.matching(parse_question("passage"), 1000))
        passages = snapshot.passages(list(by_vector))
        again = dict(snapshot.nearest(query, 1000))
        vectors = snapshot.vectors(list(by_vector))
        documents = snapshot.documents(["a", "b", "c"])
    (version,) = {int(each.chunk.text.split()[2]) for each in passages.values()}
    sizes = SIZES if version % 2 else SIZES | MORE
    wanted = [
        f"{name} version {version} passage {at}"
        for name, size in sizes.items()
        for at in range(size)
    ]
    assert sorted(each.chunk.text for each in passages.values()) == sorted(wanted)
    assert by_vector.keys() == by_word.keys() == again.keys() == passages.keys()
    assert documents.keys() == sizes.keys()
    assert {each.content_hash.split()[1] for each in documents.values()} == {str(version)}
    for (number, score), vector in zip(by_vector.items(), vectors, strict=True):
        text = passages[number].chunk.text
        assert np.abs(vector - _vector_of(text)).max() < 1e-3
        assert abs(score - vector[0]) < 1e-5
    return version


def overlap(index: Index, stop: Path, begun: Any = None) -> None:
    """Begin each look before the one before has ended, until there is a file `stop`."""
    first = ExitStack()
    first.enter_context(index.snapshot())
    if begun is not None:
        begun()
    while not stop.exists():
        second = ExitStack()
        second.enter_context(index.snapshot())
        sleep(0.005)
        first.close()
        first = second
    first.close()


# --- Pairs of files: what a commit holds follows from its number


def pair(at: int) -> dict[str, np.ndarray]:
    """The files that commit `at` holds."""
    return {name: unit(np.random.default_rng(at + ord(name)), at % 40 + 1) for name in "ab"}


# --- Many vectors, in clusters, and small bounds, so that a few hundred are many

WIDE = 32
WIDE_MANIFEST = Manifest("embedder", "weights", WIDE, 100, 10)
SMALL = CacheSettings(least_rows=60, flat_rows=100, stale_rows=10, recent_rows=60, scanned_rows=20)
SMALL_SQ8 = replace(SMALL, kind="ivf-sq8")


def clustered(seed: int, count: int, clusters: int = 60) -> np.ndarray:
    """Of unit length, and halves, so that what is stored is what was given."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(clusters, WIDE))
    drawn = centres[random.integers(clusters, size=count)] + 0.5 * random.normal(size=(count, WIDE))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.astype(np.float16).astype(np.float32)


def put_clustered(writer: Writer, name: str, given: np.ndarray) -> None:
    text, chunks = cut(name, [f"{name}-{at}" for at in range(len(given))])
    document = Document(name, name, text, name, "text/plain", f"{given.sum()}")
    put(writer, record(name), [(document, chunks, given)])
