"""Search as a user sees it: dense search is what the model gives, and the stages do as they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CORPUS, ROOT, XQUAD, read_qrels, read_queries
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import RAG, ConfigError, Embedder, Hit, QuestionError, Stage
from rag.chunking import embedded_texts
from rag.generation import from_callable
from rag.models import resolve
from rag.query.filters import matches, parse_filter
from rag.types import Chunk


def configured(rag: RAG, **given_settings: Any) -> RAG:
    """The same index and models, other settings of retrieval."""
    return RAG(
        rag.path,
        embedder=rag.embedder,
        settings={f"retrieval.{key}": value for key, value in given_settings.items()},
    )


def plain_search(rag: RAG, questions: list[str], k: int) -> list[list[Chunk]]:
    """Sentence-transformers and an exact search over the same passages, none of our code."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(resolve("all-minilm-l6-v2", kind="embedder").location, device="cpu")
    chunks, texts = [], []
    for document in rag.documents():
        own = rag._index.chunks(document.id)
        chunks += own
        texts += embedded_texts(document, own)
    passages = model.encode(texts, normalize_embeddings=True)
    scores = model.encode(questions, normalize_embeddings=True) @ passages.T
    return [[chunks[i] for i in np.argsort(-row, kind="stable")[:k]] for row in scores]


def recall(found: list[set[str]], judged: list[set[str]]) -> float:
    return float(np.mean([len(f & j) / len(j) for f, j in zip(found, judged, strict=True)]))


def assert_recall_is_the_models(
    rag: RAG, judged: dict[str, set[str]], texts: dict[str, str], name_of: dict[str, str]
) -> float:
    rag = configured(rag, mode="dense", expansion=(), collapse=0)
    ids = [query for query in texts if query in judged]
    ours = [{name_of[hit.chunk.document_id] for hit in rag.search(texts[q], 10)} for q in ids]
    plain = [
        {name_of[chunk.document_id] for chunk in row}
        for row in plain_search(rag, [texts[q] for q in ids], 10)
    ]
    gold = [judged[q] for q in ids]
    assert recall(ours, gold) == pytest.approx(recall(plain, gold), abs=1e-9)
    same = np.mean([len(a & b) / len(a | b) for a, b in zip(ours, plain, strict=True)])
    # Computed in 8 bits, the ninth and tenth of ten may be others.
    assert same > 0.94
    return recall(ours, gold)


@pytest.mark.slow
def test_recall_on_the_sample_corpus_is_the_models(sample: RAG) -> None:
    texts = {q["_id"]: q["text"] for q in read_queries(ROOT / "data" / "queries.jsonl")}
    names = {
        document.id: document.source.removeprefix(f"{CORPUS}/") for document in sample.documents()
    }
    judged = read_qrels(ROOT / "data" / "qrels.tsv")
    assert assert_recall_is_the_models(sample, judged, texts, names) > 0.9


@pytest.mark.slow
def test_recall_on_xquad_is_the_models(xquad: RAG) -> None:
    texts = {q["_id"]: q["text"] for q in read_queries(XQUAD / "queries.jsonl")}
    names = {document.id: document.id for document in xquad.documents()}
    found = assert_recall_is_the_models(xquad, read_qrels(XQUAD / "qrels.tsv"), texts, names)
    assert found == pytest.approx(1.0, abs=0.01)


def test_what_was_embedded_of_a_passage_finds_it_first(sample: RAG) -> None:
    dense = configured(sample, mode="dense", expansion=())
    for document in list(sample.documents())[:5]:
        chunk = sample._index.chunks(document.id)[0]
        (text,) = embedded_texts(document, [chunk])
        hit = dense.search(text, 1)[0]
        assert hit.chunk == chunk
        assert hit.score == pytest.approx(1.0, abs=2e-3)


def test_hits_are_ranked_and_explained(sample: RAG) -> None:
    question = "How does low-rank adaptation work?"
    hits = sample.search(question, 7)
    assert [hit.rank for hit in hits] == list(range(1, 8))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    found = sample.explain(question, 7)
    assert [replace(hit, terms=(), matches=()) for hit in found.hits] == hits
    assert {"low", "rank", "adapt"} <= set(found.words)
    assert {"embed", "dense", "lexical", "fusion"} <= found.timings.keys()
    assert hits[0].trace[-1].score == hits[0].score
    assert "adaptation" in {term.lower() for term in found.hits[0].terms}


@pytest.mark.parametrize("mode", ["dense", "lexical"])
def test_one_side_alone_gives_its_own_scores(sample: RAG, mode: str) -> None:
    for hit in configured(sample, mode=mode, expansion=()).search("low-rank adaptation", 5):
        assert hit.trace == (Stage(mode, hit.rank, hit.score),)


def test_hybrid_search_knows_both_scores_of_every_hit(sample: RAG) -> None:
    question = "What does PagedAttention do?"
    dense = {
        h.chunk.id: h.score
        for h in configured(sample, mode="dense", expansion=()).search(question, 72)
    }
    lexical = {
        h.chunk.id: h.score
        for h in configured(sample, mode="lexical", expansion=()).search(question, 72)
    }
    for hit in configured(sample, candidates=2, expansion=()).search(question, 4):
        stages = {stage.name: stage.score for stage in hit.trace}
        assert stages["dense"] == pytest.approx(dense[hit.chunk.id], abs=1e-5)
        assert stages.get("lexical", 0) == pytest.approx(lexical.get(hit.chunk.id, 0), rel=1e-4)


class Mute:
    """An embedder that must not be asked: a search by words alone needs no model."""

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self.fingerprint = embedder.fingerprint


def test_lexical_search_loads_no_model(sample: RAG) -> None:
    rag = RAG(
        sample.path,
        embedder=Mute(sample.embedder),  # type: ignore[arg-type]
        settings={"retrieval.mode": "lexical"},
    )
    assert rag.search("PagedAttention", 1)[0].source.endswith("serving.txt")
    assert rag.search("why PagedAttention? " * 400, 1)


def test_quoted_phrases_and_exclusions_hold_for_every_mode(sample: RAG) -> None:
    for mode in ("dense", "lexical", "hybrid"):
        rag = configured(sample, mode=mode)
        hits = rag.search('"key-value cache" memory', 20)
        assert hits
        assert all("key-value cache" in " ".join(hit.chunk.text.split()) for hit in hits)
        some = rag.search("cache memory", 40)
        others = rag.search("cache memory -blocks", 40)
        assert any("blocks" in hit.chunk.text for hit in some)
        assert others
        assert not any("blocks" in hit.chunk.text for hit in others)


def test_a_phrase_that_no_passage_holds_is_looked_for_by_its_words(sample: RAG) -> None:
    found = sample.explain('Who said that "attention saves blocks" in memory?')
    assert found.loosened
    assert [replace(hit, terms=(), matches=()) for hit in found.hits] == sample.search(
        "Who said that attention saves blocks in memory?"
    )
    # Who asks for nothing else wants to know that it is not there.
    alone = sample.explain('"attention saves blocks"')
    assert not alone.hits
    assert not alone.loosened


FILTERS = (
    "type:pdf",
    "path:inference/**",
    "path:*.md -path:training",
    'title~"attention" OR title~"lora"',
    "page:2",
    "language:de",
    "heading~outliers",
)


@settings(max_examples=25)
@given(
    expression=st.sampled_from(FILTERS),
    mode=st.sampled_from(["dense", "lexical", "hybrid"]),
    question=st.sampled_from(["How is memory saved?", "the cache of keys and values", "rank"]),
)
def test_a_filter_leaves_exactly_what_passes(
    sample: RAG, expression: str, mode: str, question: str
) -> None:
    rag = configured(sample, mode=mode, candidates=100, collapse=0, expansion=())
    wanted = parse_filter(expression)
    assert wanted is not None
    documents = {document.id: document for document in sample.documents()}
    everything = rag.search(question, 100)
    expected = [
        hit.chunk.id
        for hit in everything
        if matches(wanted, documents[hit.chunk.document_id], chunk=hit.chunk)
    ]
    found = [hit.chunk.id for hit in rag.search(question, 100, expression)]
    assert sorted(found) == sorted(expected)
    if mode == "dense":
        assert found == expected


def test_a_filter_may_come_as_a_mapping(sample: RAG) -> None:
    hits = sample.search("attention", 50, where={"type": "pdf"})
    assert hits == sample.search("attention", 50, where="type:pdf")
    assert {Path(hit.source).suffix for hit in hits} == {".pdf"}
    with pytest.raises(QuestionError, match=r"did you mean .?title"):
        sample.search("attention", where="titel:x")


@pytest.fixture
def folder(tmp_path: Path, embedder: Embedder) -> RAG:
    """A small folder of our own, with copies and several languages."""
    docs = tmp_path / "docs"
    docs.mkdir()
    licence = "Permission is granted to use this software for any purpose, free of charge. " * 3
    for name in "abc":
        (docs / f"{name}.txt").write_text(licence)
    (docs / "haus.txt").write_text(
        "Die alten Häuser der Stadt wurden im Jahr 1900 gebaut, und ihre Dächer sind rot. "
        "Wer sie sehen will, geht am besten zu Fuß durch die engen Straßen."
    )
    (docs / "zh.txt").write_text(
        "深度学习是机器学习的一个分支,它使用多层神经网络。北京是中国的首都。"
    )
    (docs / "manual.md").write_text(
        "# Manual\n\n## Limits\n\nThe server takes 100 connections by default. "
        "Set max_connections to change that.\n\n## Errors\n\nCode E-1234 means a full disk.\n"
    )
    rag = RAG(tmp_path / "index", embedder=embedder)
    rag.index(docs)
    return rag


def test_copies_show_once(folder: RAG) -> None:
    (hit, *others) = folder.search("Is the use of the software free of charge?", 6)
    assert sorted(Path(place.split(":")[0]).name for place in (hit.location, *hit.duplicates)) == [
        "a.txt",
        "b.txt",
        "c.txt",
    ]
    assert not any("Permission" in other.chunk.text for other in others)
    hits = configured(folder, collapse=0).search("use of the software free of charge", 6)
    assert len([hit for hit in hits if "Permission" in hit.chunk.text]) == 3


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Haus", "haus.txt"),
        ("alte Strasse", "haus.txt"),
        ("神经网络", "zh.txt"),
        ("max_connections", "manual.md"),
        ("max connections", "manual.md"),
        ("E-1234", "manual.md"),
    ],
)
def test_words_are_found_in_any_language_and_identifiers_whole_and_in_parts(
    folder: RAG, question: str, name: str
) -> None:
    for mode in ("lexical", "hybrid"):
        found = configured(folder, mode=mode).search(question, 1)
        assert [Path(hit.source).name for hit in found] == [name]


def test_what_is_added_and_removed_is_found_at_once(folder: RAG, tmp_path: Path) -> None:
    lexical = configured(folder, mode="lexical")
    assert not lexical.search("zebra")
    new = tmp_path / "docs" / "zebra.txt"
    new.write_text("A zebra has stripes.")
    folder.index()
    assert lexical.search("zebras")[0].source.endswith("zebra.txt")
    new.unlink()
    folder.index()
    assert not lexical.search("zebra")


def test_context_is_read_around_the_passage(sample: RAG) -> None:
    for context in ("window", "section"):
        hits = configured(sample, context=context).search("outlier features in quantization", 5)
        assert any(hit.text != hit.chunk.text for hit in hits)
        for hit in hits:
            document = sample.document(hit.chunk.document_id)
            assert document.text[hit.start : hit.end] == hit.text
            assert hit.start <= hit.chunk.start < hit.chunk.end <= hit.end
        spans = sorted((hit.chunk.document_id, hit.start, hit.end) for hit in hits)
        for one, other in pairwise(spans):
            assert one[0] != other[0] or one[2] <= other[1]


def test_feedback_scores_the_candidates_again(sample: RAG) -> None:
    question = "What saves memory when models are served?"
    found = configured(sample, expansion=("rm3", "rocchio")).explain(question, 5)
    assert found.related
    assert all(weight > 0 for weight in found.related.values())
    names = [stage.name for stage in found.hits[0].trace]
    assert names[:3] == ["dense", "lexical", "fusion"]
    assert names[-1] == "feedback"
    assert {"rm3", "rocchio"} <= set(names)
    assert found.hits[0].score == found.hits[0].trace[-1].score


def test_other_wordings_and_made_up_answers_are_searched_with(sample: RAG) -> None:
    asked: list[str] = []

    def write(prompt: Any) -> list[str]:
        asked.append(prompt.messages[-1].content)
        return ["1. Which cache keeps keys and values of PagedAttention?\n"]

    rag = RAG(
        sample.path,
        embedder=sample.embedder,
        generator=from_callable("scripted", write),
        settings={"retrieval.expansion": ("multi-query", "hyde")},
    )
    found = rag.explain("Which cache keeps keys?", 5)
    assert found.wordings == ("Which cache keeps keys and values of PagedAttention?",)
    assert len(asked) == 2
    assert {"multi-query", "hyde"} <= found.timings.keys()
    assert found.hits[0].trace[-1].name == "multi-query"


class Backwards:
    """A reranker whose order is known."""

    name = "backwards"

    def rerank(self, question: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        turned = list(reversed(hits))[:k]
        return [
            replace(hit, rank=rank, score=-rank, trace=(*hit.trace, Stage(self.name, rank, -rank)))
            for rank, hit in enumerate(turned, start=1)
        ]


def test_a_reranker_has_the_last_word(sample: RAG) -> None:
    given_settings = {"retrieval.rerank_depth": 10, "retrieval.collapse": 0}
    rag = RAG(sample.path, embedder=sample.embedder, reranker=Backwards(), settings=given_settings)
    before = configured(sample, collapse=0).search("attention", 15)
    after = rag.search("attention", 3)
    assert [hit.chunk.id for hit in after] == [hit.chunk.id for hit in reversed(before)][:3]
    assert [hit.rank for hit in after] == [1, 2, 3]
    assert after[0].trace[-1].name == "backwards"


def test_variety_leaves_out_what_says_nearly_the_same(sample: RAG) -> None:
    question = "Why is attention slow for long texts?"
    plain = configured(sample).search(question, 5)
    varied = configured(sample, diversity=0.8).search(question, 5)
    assert varied[0].chunk == plain[0].chunk
    assert [hit.rank for hit in varied] == [1, 2, 3, 4, 5]

    def nearness(hits: list[Hit]) -> float:
        vectors = sample.embedder.embed_documents([hit.chunk.text for hit in hits])
        return float((vectors @ vectors.T).sum())

    assert nearness(varied) < nearness(plain)


def test_a_retriever_of_ones_own_explains_itself_or_says_that_it_cannot(sample: RAG) -> None:
    class Fixed:
        def search(self, question: str, k: int, where: object = "") -> list[Hit]:
            return []

    rag = RAG(sample.path, retriever=Fixed())
    assert rag.search("anything") == []
    with pytest.raises(ConfigError, match="Fixed: has no `explain`"):
        rag.explain("anything")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mode", "hybird", "did you mean `hybrid`"),
        ("fusion", "sum", "one of convex, rrf"),
        ("expansion", ("rm4",), "did you mean `rm3`"),
        ("context", "page", "one of passage, window, section"),
        ("dense_weight", 1.5, "must be a number from 0 to 1, not 1.5"),
        ("candidates", 0, "must be a whole number from 1 to 100000, not 0"),
    ],
)
def test_settings_that_cannot_be_used_are_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RAG(settings={f"retrieval.{key}": value})


@pytest.mark.parametrize(
    ("question", "message"), [("", "empty"), (" \n", "empty"), ("why " * 400, "shorten it")]
)
def test_questions_that_cannot_be_asked(sample: RAG, question: str, message: str) -> None:
    with pytest.raises(QuestionError, match=message):
        sample.search(question)


def test_k_must_be_positive(sample: RAG) -> None:
    with pytest.raises(QuestionError, match="must be a whole number from 1 to 10000, not 0"):
        sample.search("why?", 0)
