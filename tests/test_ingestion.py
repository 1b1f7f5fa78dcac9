from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rag import RAG, SourceError, StoreError
from rag.types import Embedder, Progress


class Counting:
    """The real embedder, counting the texts that it embeds."""

    def __init__(self, embedder: Embedder, name: str | None = None) -> None:
        self._embedder = embedder
        self.name = name or embedder.name
        self.fingerprint = embedder.fingerprint if name is None else "other"
        self.texts: list[str] = []
        self.fail = False

    @property
    def dim(self) -> int:
        return self._embedder.dim

    @property
    def max_tokens(self) -> int:
        return self._embedder.max_tokens

    @property
    def special_tokens(self) -> int:
        return self._embedder.special_tokens

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return self._embedder.token_offsets(text)

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        if self.fail:
            raise KeyboardInterrupt
        self.texts += texts
        return self._embedder.embed_documents(texts)

    def embed_query(self, text: str) -> np.ndarray:
        return self._embedder.embed_query(text)


@pytest.fixture
def counting(embedder: Embedder) -> Counting:
    return Counting(embedder)


@pytest.fixture
def rag(tmp_path: Path, counting: Counting) -> RAG:
    return RAG(tmp_path / "index", embedder=counting)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Alpha\nThe alpha particle has two protons.\n")
    (folder / "b.txt").write_text("The beta particle is an electron.\n")
    return folder


def state(rag: RAG) -> list[tuple[str, str]]:
    return [(document.id, document.text) for document in rag.documents()]


def test_an_unchanged_folder_embeds_nothing(rag: RAG, docs: Path, counting: Counting) -> None:
    first = rag.index(docs)
    assert (len(first.added), first.embedded, first.chunks) == (2, 2, 2)
    again = rag.index(docs)
    assert (again.unchanged, again.embedded) == (2, 0)
    os.utime(docs / "a.md")
    touched = rag.index(docs)
    assert (touched.unchanged, touched.embedded, touched.updated) == (2, 0, ())
    assert len(counting.texts) == 2


def test_a_changed_file_replaces_its_chunks(rag: RAG, docs: Path, counting: Counting) -> None:
    rag.index(docs)
    (docs / "a.md").write_text("# Alpha\nIt is a helium nucleus.\n")
    report = rag.index(docs)
    assert report.updated == (str(docs / "a.md"),)
    assert (report.chunks, report.embedded, report.unchanged) == (2, 1, 1)
    texts = [hit.chunk.text for hit in rag.search("alpha particle", 9)]
    assert not any("two protons" in text for text in texts)
    assert any("helium" in text for text in texts)


def test_known_passages_are_not_embedded_again(rag: RAG, docs: Path, counting: Counting) -> None:
    rag.index(docs)
    (docs / "copy.txt").write_text((docs / "b.txt").read_text())
    (docs / "a.md").write_text("# Alpha\nThe alpha particle has two protons.\n\n# New\nA lamp.\n")
    report = rag.index(docs)
    assert report.embedded == 1
    assert counting.texts[-1] == "# New\nA lamp."
    assert report.chunks == 4


def test_files_that_are_gone_go_with_their_chunks(rag: RAG, docs: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text("Gamma rays are photons.")
    rag.index([docs, elsewhere])
    (docs / "b.txt").unlink()
    report = rag.index(docs)
    assert report.removed == (str(docs / "b.txt"),)
    assert {Path(d.source).name for d in rag.documents()} == {"a.md", "elsewhere.txt"}


def test_lines_of_a_corpus_keep_their_ids_and_change_singly(
    rag: RAG, tmp_path: Path, counting: Counting
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    line = '{{"_id": "{}", "title": "T{}", "text": "{}"}}\n'
    corpus.write_text("".join(line.format(i, i, f"Text of number {i}.") for i in "abc"))
    rag.index(corpus)
    assert [document.id for document in rag.documents()] == ["a", "b", "c"]
    assert rag.document("b").source == f"{corpus}#b"
    corpus.write_text(
        "".join(line.format(i, i, f"Text of number {i}{'!' * (i == 'b')}") for i in "bc")
    )
    report = rag.index(corpus)
    assert counting.texts[3:] == ["Text of number b!", "Text of number c"]
    assert report.documents == 2


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.md", b"", "is empty"),
        ("broken.pdf", b"%PDF-1.7 broken", "cannot be read as PDF"),
        ("latin.txt", "caf\xe9".encode("latin1"), "is not valid UTF-8"),
        ("blank.txt", b" \n ", "holds no text"),
        ("notes.ipynb", b"{", "not JSON"),
        ("rows.jsonl", b'{"_id": "1"}\n', "line 1 is no object with `_id` and `text`"),
        ("odd.xyz", b"?", "unknown format"),
        ("title.jsonl", b'{"_id": "1", "title": "\\ud800", "text": "a"}\n', "U+D800"),
        ("half.jsonl", b'{"_id": "1", "text": "a\\ud800b"}\n', "half a character pair"),
    ],
)
def test_a_bad_file_is_named_and_leaves_the_index_as_it_was(
    rag: RAG, docs: Path, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    rag.index(docs)
    before = state(rag)
    bad = tmp_path / name
    bad.write_bytes(content)
    try:
        report = rag.index(bad)
    except SourceError as error:
        message = str(error)
    else:
        ((source, message),) = report.failed
        assert source.startswith(str(bad))
    assert reason in message
    assert "\n" not in message
    assert state(rag) == before


def test_bad_files_cost_no_good_ones(rag: RAG, docs: Path) -> None:
    (docs / "broken.pdf").write_bytes(b"junk")
    (docs / "empty.txt").write_bytes(b"")
    report = rag.index(docs)
    assert len(report.added) == 2
    assert [Path(source).name for source, _ in report.failed] == ["broken.pdf"]
    assert [(Path(source).name, reason) for source, reason in report.skipped] == [
        ("empty.txt", "is empty")
    ]


def test_a_file_that_breaks_keeps_what_was_known_of_it(rag: RAG, docs: Path) -> None:
    rag.index(docs)
    before = state(rag)
    (docs / "b.txt").write_bytes(b"\xff\xfe\xfd")
    report = rag.index(docs)
    assert report.failed
    assert state(rag) == before


def test_a_missing_path_and_nothing_but_bad_files(rag: RAG, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none: no such file or folder"):
        rag.index(tmp_path / "none")
    (tmp_path / "bad.pdf").write_bytes(b"junk")
    with pytest.raises(SourceError, match=r"bad\.pdf"):
        rag.index(tmp_path / "bad.pdf")
    assert not rag.exists()


def test_another_embedder_is_refused_naming_both_and_the_cure(
    rag: RAG, docs: Path, embedder: Embedder
) -> None:
    rag.index(docs)
    before = state(rag)
    other = RAG(rag.path, embedder=Counting(embedder, "another-model"))
    for use in (lambda: other.index(docs), lambda: other.search("alpha")):
        with pytest.raises(StoreError) as caught:
            use()
        for part in ("all-minilm-l6-v2", "another-model", "--rebuild", "--embedder"):
            assert part in str(caught.value)
    assert state(rag) == before
    report = other.index(docs, rebuild=True)
    assert (len(report.added), report.embedded) == (2, 2)
    assert other.search("alpha")
    assert other.info()["embedder"] == "another-model"


def test_other_sizes_are_refused_until_a_rebuild(rag: RAG, docs: Path, counting: Counting) -> None:
    rag.index(docs)
    settings = {"chunking.size": 50, "chunking.overlap": 5}
    other = RAG(rag.path, embedder=counting, settings=settings)
    with pytest.raises(StoreError, match="cut to 200 tokens with 32 overlap"):
        other.index(docs)
    assert other.search("alpha")
    other.index(docs, rebuild=True)
    assert other.info()["chunk_size"] == 50


@pytest.mark.parametrize("rebuild", [False, True])
def test_an_interruption_leaves_a_usable_index(
    rag: RAG, docs: Path, counting: Counting, rebuild: bool
) -> None:
    rag.index(docs)
    before = state(rag)
    (docs / "c.txt").write_text("Neutrinos hardly interact.")
    (docs / "a.md").write_text("changed")
    counting.fail = True
    with pytest.raises(KeyboardInterrupt):
        rag.index(docs, rebuild=rebuild)
    assert state(rag) == before
    assert rag.search("alpha")
    counting.fail = False
    assert rag.index(docs).documents == 3


def test_progress_tells_files_and_passages(rag: RAG, docs: Path) -> None:
    seen: list[Progress] = []
    rag.index(docs, progress=seen.append)
    files = [sign for sign in seen if sign.stage == "index"]
    assert [(sign.done, sign.total) for sign in files] == [(1, 2), (2, 2)]
    assert [sign.done for sign in seen if sign.stage == "embed"] == [2]
