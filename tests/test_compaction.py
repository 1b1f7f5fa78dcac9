"""What is removed is gone: after a compaction no byte of it is left in the index folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from rag import RAG, StoreError
from rag.index import FileRecord, Index, Manifest
from rag.protocols import Embedder
from rag.query import parse_question
from rag.text.terms import analyse
from rag.types import Chunk, Document

DIM = 16
SECRET = (
    "Zygomorphic Quillfeather owes 7318264.55 to Bartholomew Wexcombe; the ledger of the "
    "Xanthic Consortium says nothing of it. "
)


def put(index: Index, texts: dict[str, str], generator: np.random.Generator) -> np.ndarray:
    """Documents in one commit; returns the vectors of the first."""
    kept = []
    with index.write() as writer:
        writer.set_manifest(Manifest("embedder", "weights", DIM, 100, 0))
        for name, text in texts.items():
            pieces = [text[at : at + 120] for at in range(0, len(text), 120)]
            vectors = generator.normal(size=(len(pieces), DIM)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            kept.append(vectors)
            chunks = [
                Chunk(0, name, piece, 120 * n, 120 * n + len(piece), n, (f"About {name}",), None, 1)
                for n, piece in enumerate(pieces)
            ]
            document = Document(
                name,
                f"{name}.md",
                text,
                f"Title of {name}",
                "text/plain",
                str(hash(text)),
                metadata={"owner": f"owner-of-{name}"},
            )
            file = FileRecord(f"/docs/{name}.md", f"{name}.md", len(text), 1, f"sha-{name}")
            file_id = writer.begin_file(file)
            writer.put_document(file_id, document, chunks, pieces, vectors)
            writer.end_file(file_id, file, [])
        writer.commit()
        writer.refresh_cache()
    return kept[0]


def plain(*numbers: int) -> dict[str, str]:
    return {f"plain{n}": f"Plain words of page {n}. " * 40 for n in numbers}


def terms_held(folder: Path) -> int:
    """How many chunks the files of the terms' cache hold, those marked as deleted among them."""
    (generation,) = folder.glob("terms-*")
    segments = json.loads((generation / "meta.json").read_text())["segments"]
    return sum(segment["max_doc"] for segment in segments)


def remove(index: Index, name: str) -> None:
    with index.write() as writer:
        for file_id, _ in list(writer.files_below(f"/docs/{name}.md")):
            writer.remove_file(file_id)
        writer.commit()
        writer.refresh_cache()


def remains(folder: Path, traces: list[bytes]) -> list[tuple[str, bytes]]:
    return [
        (str(path.relative_to(folder)), trace)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for trace in traces
        if trace in path.read_bytes()
    ]


def traces_of(name: str, text: str, vectors: np.ndarray) -> list[bytes]:
    """Words, stems, names and vectors, as any file might hold them."""
    found = {word.encode() for word in re.findall(r"\w{6,}", text)}
    found |= {stem.encode() for stem in analyse(text, "en").words if len(stem) >= 6}
    found |= {text[at : at + 12].encode() for at in range(0, len(text) - 12, 7)}
    found |= {f"Title of {name}".encode(), f"owner-of-{name}".encode(), f"sha-{name}".encode()}
    found |= {f"/docs/{name}.md".encode()}
    for vector in vectors:
        half = vector.astype("<f2").tobytes()
        found |= {half[:16], vector.tobytes()[:16]}
    return sorted(found)


@pytest.mark.parametrize("order", ["first", "middle", "last", "replaced"])
def test_no_byte_of_what_was_removed_is_left(tmp_path: Path, order: str) -> None:
    generator = np.random.default_rng(3)
    index = Index(tmp_path)
    if order != "first":
        put(index, plain(1, 2, 3), generator)
    vectors = put(index, {"secret": SECRET * 60, **plain(4)}, generator)
    if order != "last":
        put(index, plain(5, 6, 7), generator)
    traces = traces_of("secret", SECRET * 60, vectors)
    assert len({trace for _, trace in remains(tmp_path, traces)}) > 20
    if order == "replaced":
        # Of the text that was there before nothing may be left either.
        put(index, {"secret": "Nothing to see. " * 20}, generator)
        names = (b"Title of", b"owner-of", b"sha-", b"/docs/")
        traces = [trace for trace in traces if not trace.startswith(names)]
    else:
        remove(index, "secret")
    before = index.counts()
    assert index.compact()
    assert remains(tmp_path, traces) == []
    # Words are kept in ways that no look at bytes would find.
    assert terms_held(tmp_path) == before["chunks"]
    assert index.counts() == before
    with index.snapshot() as snapshot:
        assert snapshot.matching(parse_question("Quillfeather Consortium"), 10) == []
        assert len(snapshot.nearest(vectors[0], 1000)) == before["chunks"]
    index = Index(tmp_path)
    put(index, plain(8, 9), generator)
    assert index.counts()["documents"] == before["documents"] + 2


def test_a_reader_that_stays_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.index.disk.database._BUSY_MS", 200)
    generator = np.random.default_rng(4)
    index = Index(tmp_path)
    vectors = put(index, {"secret": SECRET * 60, **plain(1)}, generator)
    remove(index, "secret")
    with index.snapshot() as snapshot:
        count = len(snapshot.nearest(vectors[0], 1000))
        assert not index.compact()
        assert len(snapshot.nearest(vectors[0], 1000)) == count
    assert index.compact()
    assert remains(tmp_path, traces_of("secret", SECRET * 60, vectors)) == []


def test_through_the_library(tmp_path: Path, embedder: Embedder) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "secret.md").write_text(f"# The matter of Quillfeather\n\n{SECRET * 20}")
    (folder / "plain.md").write_text("# Plain\n\nPlain words.\n")
    rag = RAG(tmp_path / "index", embedder=embedder)
    rag.index(folder)
    (folder / "secret.md").unlink()
    rag.index(folder)
    done = rag.compact()
    assert done.cleared
    assert done.after < done.before
    traces = [b"Quillfeather", b"quillfeath", b"7318264", b"Wexcombe", b"wexcomb", b"secret.md"]
    assert remains(tmp_path / "index", traces) == []
    assert rag.search("plain words", 1)[0].source.endswith("plain.md")


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(tmp_path)
    put(index, {"secret": SECRET * 60, **plain(1)}, np.random.default_rng(5))
    remove(index, "secret")
    (before,) = tmp_path.glob("vectors-*.faiss")

    def held(when: str, step: str, path: Path) -> None:
        if (when, step, path) == ("before", "remove", before):
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("rag.index.disk.steps.fault", held)
    with pytest.raises(StoreError, match=f"{before.name}: cannot be removed"):
        index.compact()
    monkeypatch.undo()
    assert index.compact()
    assert not before.exists()
