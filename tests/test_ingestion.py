from __future__ import annotations

import os
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rag import RAG, SourceError, StoreError
from rag.index import Index
from rag.protocols import Embedder
from rag.types import IngestionReport, Progress


class Counting:
    """The real embedder, counting the texts that it embeds."""

    def __init__(self, embedder: Embedder, name: str | None = None) -> None:
        self._embedder = embedder
        self.name = name or embedder.name
        self.fingerprint = embedder.fingerprint if name is None else "other"
        self.dim = embedder.dim
        self.max_tokens = embedder.max_tokens
        self.special_tokens = embedder.special_tokens
        self.token_offsets = embedder.token_offsets
        self.embed_query = embedder.embed_query
        self.texts: list[str] = []
        self.fail = False

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        if self.fail:
            raise KeyboardInterrupt
        self.texts += texts
        return self._embedder.embed_documents(texts)


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
        ("odd.xyz", b"\x00\x01\x02\x03", "is not a document"),
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
        ((source, message),) = [(problem.source, problem.reason) for problem in report.failed]
        assert source.startswith(str(bad))
    assert reason in message
    assert "\n" not in message
    assert state(rag) == before


def test_bad_files_cost_no_good_ones(rag: RAG, docs: Path) -> None:
    (docs / "broken.pdf").write_bytes(b"junk")
    (docs / "empty.txt").write_bytes(b"")
    (docs / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    report = rag.index(docs)
    assert len(report.added) == 2
    assert [Path(problem.source).name for problem in report.failed] == ["broken.pdf"]
    assert {Path(problem.source).name for problem in report.skipped} == {"empty.txt", "picture.png"}


def test_a_file_that_breaks_keeps_what_was_known_of_it(rag: RAG, docs: Path) -> None:
    rag.index(docs)
    before = state(rag)
    (docs / "b.txt").write_bytes(b"\xff\xfe\xfd")
    report = rag.index(docs)
    assert report.failed
    assert state(rag) == before
    (docs / "b.txt").write_text("The beta particle is a positron.\n")
    mended = rag.index(docs)
    assert mended.added + mended.updated == (str(docs / "b.txt"),)
    assert state(rag) != before


def test_what_failed_is_remembered_until_it_changes(
    rag: RAG, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 junk")
    first = rag.index(docs)
    read: list[str] = []
    monkeypatch.setattr("rag.ingestion.pipeline.read_files", _noting(read))
    again = rag.index(docs)
    assert again.failed == first.failed
    assert not read
    assert rag.index(docs, retry=True).failed == first.failed
    assert read == [str(docs / "broken.pdf")]
    (docs / "broken.pdf").unlink()
    assert not rag.index(docs).failed
    assert not rag.status().failed


def test_what_was_wrong_within_a_file_is_read_again_with_other_limits(
    rag: RAG, docs: Path, tmp_path: Path, counting: Counting
) -> None:
    with zipfile.ZipFile(docs / "c.zip", "w") as archive:
        archive.writestr("good.txt", "Neutrinos hardly interact.")
        archive.writestr("long.txt", "x" * 200)
    strict = RAG(tmp_path / "index", embedder=counting, settings={"sources.max_word": 100})
    assert len(strict.index(docs).failed) == 1
    assert len(strict.index(docs).failed) == 1
    assert len(strict.index(docs, retry=True).failed) == 1
    report = rag.index(docs)
    assert not report.failed
    assert report.updated == (str(docs / "c.zip"),)
    assert rag.find("long.txt").text == "x" * 200


def test_an_id_is_taken_over_when_its_owner_is_gone(rag: RAG, docs: Path) -> None:
    for name in "cd":
        (docs / f"{name}.jsonl").write_text(f'{{"_id": "x", "text": "The text of {name}."}}\n')
    first = rag.index(docs)
    assert ["belongs to" in problem.reason for problem in first.failed] == [True]
    again = rag.index(docs)
    assert (len(again.failed), again.updated, again.unchanged) == (1, (), 4)
    status = rag.status()
    assert (len(status.failed), status.changed, status.unchanged) == (1, (), 4)
    owner = Path(rag.document("x").source.removesuffix("#x"))
    owner.unlink()
    rag.index(docs)
    assert rag.document("x").source != f"{owner}#x"
    assert not rag.index(docs).failed


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_that_cannot_be_entered_loses_nothing_whatever_the_working_directory(
    rag: RAG, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    (docs / "inner").mkdir()
    (docs / "inner" / "c.txt").write_text("Neutrinos hardly interact.")
    (tmp_path / "link").symlink_to(docs)
    monkeypatch.chdir(tmp_path)
    rag.index("link" if linked else "docs")
    scandir = os.scandir

    def refused(path):  # type: ignore[no-untyped-def]
        if Path(path).name == "inner":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refused)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    status = rag.status()
    assert ([problem.reason for problem in status.failed], status.gone) == (
        ["cannot be read: Permission denied"],
        (),
    )
    assert rag.index().removed == ()
    assert rag.find("c.txt")


def test_what_failed_is_read_again_with_other_limits(
    rag: RAG, docs: Path, counting: Counting
) -> None:
    (docs / "old.txt").write_bytes("caf\xe9 au lait".encode("latin-1"))
    assert rag.index(docs).failed
    other = RAG(rag.path, embedder=counting, settings={"sources.encoding": "latin-1"})
    report = other.index()
    assert (report.failed, report.documents) == ((), 3)
    assert "café" in other.find("old.txt").text


def _noting(read: list[str]):  # type: ignore[no-untyped-def]
    from rag.sources import read_files

    def noting(jobs, config, within):  # type: ignore[no-untyped-def]
        def noted():  # type: ignore[no-untyped-def]
            for file, sha256 in jobs:
                read.append(file.source)
                yield file, sha256

        return read_files(noted(), config, within)

    return noting


def test_a_rename_embeds_nothing_and_is_told(rag: RAG, docs: Path, counting: Counting) -> None:
    rag.index(docs)
    embedded = len(counting.texts)
    (docs / "b.txt").rename(docs / "new name.txt")
    report = rag.index(docs)
    assert report.renamed == ((str(docs / "b.txt"), str(docs / "new name.txt")),)
    assert (report.embedded, report.documents) == (0, 2)
    assert len(counting.texts) == embedded
    assert "new name.txt" in rag.search("beta particle", 1)[0].source


def test_a_renamed_corpus_takes_its_ids_along(rag: RAG, docs: Path, counting: Counting) -> None:
    (docs / "c.jsonl").write_text('{"_id": "x", "text": "Neutrinos hardly interact."}\n')
    rag.index(docs)
    embedded = len(counting.texts)
    (docs / "c.jsonl").rename(docs / "d.jsonl")
    report = rag.index(docs)
    assert not report.failed
    assert len(counting.texts) == embedded
    assert rag.document("x").source == f"{docs / 'd.jsonl'}#x"


def test_a_changed_line_embeds_only_its_passage(
    rag: RAG, tmp_path: Path, counting: Counting
) -> None:
    sections = [f"## Part {n}\n\nThe {n}th part speaks of matter number {n}.\n" for n in range(9)]
    path = tmp_path / "long.md"
    path.write_text("# Book\n\n" + "\n".join(sections))
    assert rag.index(path).embedded == 9
    sections[4] += "One more line.\n"
    path.write_text("# Book\n\n" + "\n".join(sections))
    assert rag.index(path).embedded == 1
    assert "One more line." in counting.texts[-1]


def test_boilerplate_of_a_thousand_files_costs_one_embedding(
    rag: RAG, tmp_path: Path, counting: Counting
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    licence = "## Licence\n\nEverybody may copy this, and nobody may complain.\n"
    for n in range(1000):
        (folder / f"{n}.md").write_text(f"# Page {n}\n\n## Text\n\nAbout {n % 3}.\n\n{licence}")
    report = rag.index(folder)
    assert report.documents == 1000
    holding = [text for text in counting.texts if "nobody may complain" in text]
    assert len(holding) == 1
    assert report.embedded == len(counting.texts) == len(set(counting.texts))


def test_without_paths_all_that_was_given_is_brought_up_to_date(
    rag: RAG, docs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("Gamma rays are photons.")
    with pytest.raises(SourceError, match="follows no folder yet"):
        rag.index()
    rag.index(docs)
    rag.index(other)
    (docs / "a.md").unlink()
    other.write_text("Gamma rays are light.")
    report = rag.index()
    assert report.removed == (str(docs / "a.md"),)
    assert report.updated == (str(other),)
    assert report.documents == 2


def test_a_folder_that_is_not_there_loses_nothing(rag: RAG, docs: Path, tmp_path: Path) -> None:
    rag.index(docs)
    docs.rename(tmp_path / "unmounted")
    report = rag.index()
    assert [problem.reason.split(":")[0] for problem in report.failed] == ["is not there now"]
    assert report.documents == 2
    (tmp_path / "unmounted").rename(docs)
    assert not rag.index().failed


def test_add_removes_nothing_and_remove_takes_out(rag: RAG, docs: Path) -> None:
    rag.index(docs)
    (docs / "a.md").unlink()
    (docs / "c.txt").write_text("Muons are heavy.")
    report = rag.add(docs)
    assert (report.removed, len(report.added), report.documents) == ((), 1, 3)
    with pytest.raises(SourceError, match="holds nothing of it"):
        rag.remove([docs / "b.txt", docs / "none.txt"])
    assert rag.remove(docs / "b.txt") == (str(docs / "b.txt"),)
    assert len(list(rag.documents())) == 2
    assert len(rag.remove(docs)) == 2
    assert not list(rag.documents())
    with pytest.raises(SourceError, match="follows no folder"):
        rag.index()


def test_a_file_named_by_itself_stays_when_its_folder_leaves_it_out(
    rag: RAG, docs: Path, counting: Counting
) -> None:
    (docs / ".ragignore").write_text("b.txt\n")
    rag.index(docs / "b.txt")
    assert rag.index(docs).documents == 2
    picky = RAG(rag.path, embedder=counting, settings={"sources.exclude": ("*.md",)})
    assert picky.index(docs).removed == (str(docs / "a.md"),)
    # The patterns are kept with the folder.
    assert rag.index().added == ()


def test_status_names_what_an_index_run_would_do(rag: RAG, docs: Path) -> None:
    (docs / "bad.pdf").write_bytes(b"%PDF- no")
    rag.index(docs)
    (docs / "a.md").write_text("changed")
    (docs / "b.txt").unlink()
    (docs / "c.txt").write_text("new")
    before = state(rag)
    status = rag.status()
    names = {
        kind: [Path(source).name for source in getattr(status, kind)]
        for kind in ("new", "changed", "gone")
    }
    assert names == {"new": ["c.txt"], "changed": ["a.md"], "gone": ["b.txt"]}
    assert [Path(problem.source).name for problem in status.failed] == ["bad.pdf"]
    assert status.roots == (str(docs),)
    assert state(rag) == before
    rag.index()
    after = rag.status()
    assert (after.new, after.changed, after.gone, after.unchanged) == ((), (), (), 2)


@pytest.mark.slow
def test_an_unchanged_tree_of_ten_thousand_files_reads_and_embeds_nothing(
    rag: RAG, tmp_path: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(10_000):
        folder = tmp_path / "tree" / str(n % 100)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n}.txt").write_text(f"Number {n % 10}.")
    assert rag.index(tmp_path / "tree").embedded == 10
    read: list[str] = []
    monkeypatch.setattr("rag.ingestion.pipeline.read_files", _noting(read))
    report = rag.index()
    assert (report.unchanged, report.embedded, read) == (10_000, 0, [])


def test_watching_follows_a_folder_from_nothing_on(
    rag: RAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("watchfiles")
    folder = tmp_path / "watched"
    folder.mkdir()
    monkeypatch.chdir(folder)
    rag.index(".", allow_empty=True)
    reports = rag.watch()
    assert next(reports).documents == 0
    # The first file of all is a bad one: that ends nothing.
    (folder / "bad.pdf").write_bytes(b"%PDF- no")
    assert [problem.source for problem in next(reports).failed] == ["bad.pdf"]
    (folder / "a").write_text("A file that has the name of a folder.")
    assert next(reports).added == ("a",)
    (folder / "a").unlink()
    (folder / "a" / "inner").mkdir(parents=True)
    (folder / "a" / "inner" / "b.md").write_text("# New\nA file in that folder.")
    seen = next(reports)
    while seen.documents != 1 or not seen.added:
        seen = next(reports)
    assert [document.source for document in rag.documents()] == ["a/inner/b.md"]
    reports.close()  # type: ignore[attr-defined]


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
    assert other.info().embedder == "another-model"


def test_other_sizes_are_refused_until_a_rebuild(rag: RAG, docs: Path, counting: Counting) -> None:
    rag.index(docs)
    settings = {"chunking.size": 50, "chunking.overlap": 5}
    other = RAG(rag.path, embedder=counting, settings=settings)
    with pytest.raises(StoreError, match="cut to 200 tokens with 32 overlap"):
        other.index(docs)
    assert other.search("alpha")
    other.index(docs, rebuild=True)
    assert other.info().chunk_size == 50


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


@pytest.mark.parametrize(("seconds", "fits"), [(0.0, range(512, 1501)), (1.0, range(64, 65))])
def test_what_is_embedded_at_once_grows_while_that_takes_no_time(
    tmp_path: Path,
    counting: Counting,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    fits: range,
) -> None:
    sizes: list[int] = []
    clock = [0.0]

    def embed(texts: Sequence[str]) -> np.ndarray:
        sizes.append(len(texts))
        clock[0] += seconds
        return np.eye(counting.dim, dtype=np.float32)[np.arange(len(texts)) % counting.dim]

    monkeypatch.setattr(counting, "embed_documents", embed)
    monkeypatch.setattr("rag.ingestion.batch.time.perf_counter", lambda: clock[0])
    words = "\n\n".join(f"This is paragraph number {at}, of no length." for at in range(1500))
    (tmp_path / "long.txt").write_text(words, encoding="utf-8")
    settings = {"chunking.size": 12, "chunking.overlap": 0}
    rag = RAG(tmp_path / "index", embedder=counting, settings=settings)
    report = rag.index(tmp_path / "long.txt")
    assert sum(sizes) == report.embedded >= 1500
    assert sizes[0] <= 64
    assert max(sizes) in fits


def test_a_long_run_brings_the_cache_of_vectors_along(
    tmp_path: Path, docs: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Counting):
        def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
            self.fail = bool(self.texts)
            return super().embed_documents(texts)

    for n in range(100):
        (docs / f"{n}.txt").write_text(f"Particle number {n}.")
    monkeypatch.setattr("rag.ingestion.pipeline._PASSAGES_WITHOUT_CACHE", 10)
    settings = {"ingestion.commit_passages": 10}
    rag = RAG(tmp_path / "index", embedder=Failing(embedder), settings=settings)
    with pytest.raises(KeyboardInterrupt):
        rag.index(docs)
    # The end of the run, where it is done at the latest, was not reached.
    assert rag.info().search.vectors == rag.info().chunks > 10


def test_progress_tells_files_and_what_became_of_them(rag: RAG, docs: Path) -> None:
    (docs / "bad.pdf").write_bytes(b"%PDF- no")
    seen: list[Progress] = []
    rag.index(docs, progress=seen.append)
    assert {sign.stage for sign in seen} == {"index"}
    done = [sign for sign in seen if sign.outcome]
    assert [sign.done for sign in done] == [1, 2, 3]
    told = {Path(s.outcome.source).name: s.outcome for s in done if s.outcome}
    assert {name: outcome.outcome for name, outcome in told.items()} == {
        "a.md": "added",
        "b.txt": "added",
        "bad.pdf": "failed",
    }
    assert "cannot be read" in told["bad.pdf"].reason
    assert told["a.md"].passages == 1
    work = done[-1].work
    assert work is not None
    assert (work.files, work.files_total, work.passages, work.embedded) == (3, 3, 2, 2)
    assert work.tokens > 10


def test_watching_waits_for_another_writer(
    rag: RAG, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = threading.Event()

    def wait(_: float) -> None:
        waits.set()
        time.sleep(0.01)

    monkeypatch.setattr("rag.ingestion.folders.time", SimpleNamespace(sleep=wait))
    rag.index(docs)
    stop = threading.Event()
    reports = rag.watch(stop=stop)
    assert next(reports).unchanged == 2
    seen: list[IngestionReport] = []
    follower = threading.Thread(target=lambda: seen.append(next(reports)))
    with Index(rag.path).write():
        (docs / "c.txt").write_text("Muons are heavy.")
        follower.start()
        assert waits.wait(120)
        assert not seen
    follower.join(120)
    assert seen[0].added == (str(docs / "c.txt"),)
    stop.set()
