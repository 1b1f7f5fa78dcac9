"""Texts that are in no file: added, found, replaced, kept by runs of indexing, removed."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import RunMain

from rag import RAG, ConfigError, EmbeddingError, Message, SourceError, StoreError
from rag.protocols import Embedder

FERRET = "The ferret sleeps for fourteen hours a day and hunts at dusk."
HERON = "The heron stands still in shallow water until a fish comes near."


@pytest.fixture
def rag(tmp_path: Path, embedder: Embedder) -> RAG:
    return RAG(tmp_path / "index", embedder=embedder, settings={"generation.model": "extractive"})


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "otter.md").write_text("# Otter\n\nThe otter cracks shells with a stone.\n")
    return folder


def test_a_text_is_found_answered_and_cited_at_its_place(rag: RAG) -> None:
    ids = rag.add_texts([FERRET, HERON], ids=["a", "b"], metadata=[{"n": 0, "tags": ["x"]}, {}])
    assert ids == ("a", "b")
    hit = rag.search("How long does the ferret sleep?", k=1)[0]
    assert (hit.source, hit.chunk.document_id, hit.text) == ("text:a", "a", FERRET)
    document = rag.document("a")
    assert document.metadata["n"] == 0
    assert document.metadata["tags"] == ["x"]
    answer = rag.ask("How long does the ferret sleep?")
    (citation,) = answer.citations
    assert document.text[citation.start : citation.end] == citation.quote
    assert citation.location == "text:a:1"
    place = rag.locate(citation.location)
    assert (place.document.id, place.start, place.end) == ("a", 0, len(FERRET))
    assert rag.view(place).startswith("file:")
    found = rag.search("heron", where={"meta.n": 0})
    assert [hit.source for hit in found] == ["text:a"]


def test_a_text_takes_the_place_of_the_one_of_its_id(rag: RAG) -> None:
    rag.add_texts([FERRET, HERON], ids=["a", "b"])
    rag.add_texts([HERON + " It waits."], ids=["a"], titles=["Heron"], metadata=[{"v": 2}])
    assert rag.info().documents == 2
    document = rag.document("a")
    assert (document.text, document.title) == (HERON + " It waits.", "Heron")
    assert not [h for h in rag.search("ferret sleeps", k=5) if "ferret" in h.text]


def test_new_metadata_alone_embed_nothing(rag: RAG) -> None:
    rag.add_texts([FERRET], ids=["a"], metadata=[{"v": 1}])
    embedded = []
    rag.add_texts(
        [FERRET],
        ids=["a"],
        metadata=[{"v": 2}],
        progress=lambda event: embedded.append(event.work.embedded if event.work else 0),
    )
    assert embedded
    assert not any(embedded)
    assert rag.document("a").metadata["v"] == 2


def test_without_ids_the_same_text_is_one_document(rag: RAG) -> None:
    first, second, third = rag.add_texts([FERRET, FERRET, HERON])
    assert first == second != third
    assert rag.add_texts([FERRET]) == (first,)
    assert rag.info().documents == 2
    assert rag.add_texts([FERRET], titles=["Ferret"]) != (first,)


def test_texts_stay_when_folders_are_indexed_and_are_counted(
    rag: RAG, docs: Path, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    rag.add_texts([FERRET, HERON], ids=["a", "b"])
    assert rag.status().texts == 2
    assert rag.status().roots == ()
    rag.index(docs)
    (docs / "otter.md").unlink()
    (docs / "badger.md").write_text("The badger digs its sett in a slope.\n")
    report = rag.index()
    assert len(report.removed) == 1
    assert report.documents == 3
    status = rag.status()
    assert (status.texts, status.gone, status.left_out, status.unchanged) == (2, (), (), 1)
    shown = run_main("status", "--index", rag.path).out
    assert "texts:    2 that were added without a file" in shown
    assert json.loads(run_main("status", "--index", rag.path, "--json").out)["texts"] == 2
    assert rag.search("ferret", k=1)[0].source == "text:a"


def test_a_rebuild_takes_texts_over(rag: RAG, docs: Path, embedder: Embedder) -> None:
    rag.add_texts([FERRET, HERON], ids=["a", "b"], titles=["Ferret", ""], metadata=[{"n": 1}, {}])
    before = rag.document("a")
    rag.index(docs)
    other = RAG(rag.path, embedder=embedder, settings={"chunking.size": 64})
    with pytest.raises(StoreError, match="rebuild"):
        other.add_texts(["The newt sheds its skin."])
    other.index(rebuild=True)
    assert other.info().chunk_size == 64
    assert other.document("a") == before
    assert {hit.source for hit in other.search("ferret or heron", k=5)} >= {"text:a", "text:b"}


def test_an_index_of_texts_alone_can_be_rebuilt(rag: RAG, embedder: Embedder) -> None:
    rag.add_texts([FERRET], ids=["a"])
    with pytest.raises(SourceError, match="follows no folder yet"):
        rag.index()
    other = RAG(rag.path, embedder=embedder, settings={"chunking.size": 64})
    report = other.index(rebuild=True)
    assert (report.added, report.documents) == (("text:a",), 1)


def test_texts_are_removed_by_id_or_as_they_are_cited(
    rag: RAG, docs: Path, run_main: RunMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rag.add_texts([FERRET, HERON, "The newt sheds its skin."], ids=["a", "a/b", "c"])
    rag.index(docs)
    assert rag.remove_texts(["a", "none", "a"]) == ("a",)
    assert [d.id for d in rag.documents(["c", "a", "a/b"])] == ["c", "a/b"]
    assert rag.remove("text:c") == ("text:c",)
    assert run_main("remove", "--index", rag.path, "text:a/b").out == "1 file removed\n"
    assert rag.info().documents == 1
    with pytest.raises(SourceError, match="holds nothing of it"):
        rag.remove("text:a/b")
    # A file of that name is a file where the index holds no such text.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text:c").write_text("The newt is a file here.\n")
    rag.add("text:c")
    assert len(rag.remove("text:c")) == 1


def test_an_id_belongs_to_a_file_or_to_a_text(rag: RAG, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"_id": "7", "text": "The newt sheds its skin."}) + "\n")
    rag.index(corpus)
    with pytest.raises(StoreError, match=r"text:7: this is the id .*corpus\.jsonl: take another"):
        rag.add_texts([HERON, FERRET], ids=["8", "7"])
    assert rag.info().documents == 1
    with pytest.raises(StoreError, match="remove the file instead"):
        rag.remove_texts(["7"])
    rag.add_texts([FERRET], ids=["9"])
    corpus.write_text(json.dumps({"_id": "9", "text": "The newt sheds its skin."}) + "\n")
    report = rag.index()
    assert "belongs to text:9 already" in report.failed[0].reason
    assert rag.document("9").text == FERRET


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"texts": "one text"}, "takes a list"),
        ({"texts": ["a", "b"], "ids": ["1"]}, "2 texts, and for `ids` 1"),
        ({"texts": ["a"], "titles": "title"}, "for `titles` one text"),
        ({"texts": ["a"], "ids": ["//x"]}, "is no id"),
        ({"texts": ["a"], "ids": ["a\nb"]}, "is no id"),
        ({"texts": ["a", "b"], "ids": ["1", "1"]}, "text:1: is given twice"),
        ({"texts": [" \n"], "ids": ["1"]}, "text:1: holds no text"),
        ({"texts": [3]}, "must be text, not int"),
        ({"texts": ["a"], "metadata": [{("t",): 1}]}, "no JSON"),
        ({"texts": ["x" * 5_000_000]}, "without a space"),
    ],
)
def test_what_cannot_be_added_is_named_and_nothing_is(rag: RAG, given: dict, message: str) -> None:
    with pytest.raises((ConfigError, SourceError), match=message):
        rag.add_texts(**given)
    assert not rag.exists()


def test_adding_nothing_makes_no_index(rag: RAG) -> None:
    assert rag.add_texts([]) == ()
    assert not rag.path.exists()
    with pytest.raises(StoreError):
        rag.remove_texts(["a"])
    assert not rag.path.exists()


def test_what_the_store_cannot_hold_is_replaced_one_by_one(rag: RAG) -> None:
    rag.add_texts(["A\0B \ud800 newt\r\nsheds"], ids=["a"], metadata=[{"x": float("nan")}])
    document = rag.document("a")
    assert document.text == "A\ufffdB \ufffd newt\nsheds"
    assert document.metadata["x"] == "NaN"


def test_texts_travel_in_exports_and_backups(rag: RAG, tmp_path: Path, embedder: Embedder) -> None:
    rag.add_texts([FERRET], ids=["a"], metadata=[{"n": 1}])
    rag.export_to(tmp_path / "all.zip")
    other = RAG(tmp_path / "other", embedder=embedder)
    other.import_from(tmp_path / "all.zip")
    assert other.document("a") == rag.document("a")
    assert other.status().texts == 1
    assert other.doctor().well
    rag.backup(tmp_path / "backup")
    copy = RAG(tmp_path / "backup", embedder=embedder)
    assert copy.remove_texts(["a"]) == ("a",)
    assert rag.status().texts == 1


def test_adding_a_text_does_not_hide_that_files_are_to_be_read_otherwise(
    rag: RAG, tmp_path: Path, embedder: Embedder
) -> None:
    long = tmp_path / "long.txt"
    long.write_text("newt" * 2_000)
    (tmp_path / "good.txt").write_text("The newt sheds its skin.\n")
    settings = {"sources.max_word": 1_000}
    strict = RAG(rag.path, embedder=embedder, settings=settings)
    assert len(strict.index([long, tmp_path / "good.txt"]).failed) == 1
    rag.add_texts([FERRET])
    assert not rag.index().failed


def test_a_talk_is_answered_asynchronously_too(rag: RAG) -> None:
    rag.add_texts([FERRET, HERON])
    talk = [
        Message("user", "How long does the ferret sleep?"),
        Message("assistant", "For fourteen hours."),
        Message("user", "When does it hunt?"),
    ]

    async def ask() -> tuple[str, str]:
        stream = rag.areply(talk)
        pieces = [piece async for piece in stream]
        return "".join(pieces), (await stream.answer()).text

    pieces, text = asyncio.run(ask())
    assert pieces == text == rag.reply(talk).answer.text
    assert "dusk" in text


def test_a_rebuild_that_fails_keeps_the_texts(
    rag: RAG, docs: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rag.add_texts([FERRET, HERON], ids=["a", "b"])
    rag.index(docs)
    other = RAG(rag.path, embedder=embedder, settings={"chunking.size": 64})

    def fail(texts: list[str]) -> None:
        raise EmbeddingError("the embedder is gone")

    with monkeypatch.context() as patch:
        patch.setattr(embedder, "embed_documents", fail)
        with pytest.raises(EmbeddingError):
            other.index(rebuild=True)
    assert [document.id for document in rag.documents(["a", "b"])] == ["a", "b"]
    assert rag.search("ferret", k=1)[0].source == "text:a"
    assert rag.doctor().well


def test_writers_side_by_side_lose_nothing(rag: RAG, embedder: Embedder) -> None:
    waiting = RAG(rag.path, embedder=embedder, settings={"index.wait": 60})
    with ThreadPoolExecutor(4) as pool:
        given = [pool.submit(waiting.add_texts, [f"{HERON} {n}"], ids=[f"{n}"]) for n in range(12)]
        assert [each.result() for each in given] == [(f"{n}",) for n in range(12)]
    assert waiting.status().texts == 12
