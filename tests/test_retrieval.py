"""Dense search is what the model gives: compared with sentence-transformers and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import CORPUS, ROOT, XQUAD, read_qrels, read_queries

from rag import RAG, QuestionError
from rag.models import resolve
from rag.types import Chunk


def plain_search(rag: RAG, questions: list[str], k: int) -> list[list[Chunk]]:
    """Sentence-transformers and an exact search over the same chunks, none of our code."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(resolve("all-minilm-l6-v2", kind="embedder").location, device="cpu")
    chunks = [c for document in rag.documents() for c in rag._index.chunks(document.id)]
    passages = model.encode([c.text for c in chunks], normalize_embeddings=True)
    scores = model.encode(questions, normalize_embeddings=True) @ passages.T
    return [[chunks[i] for i in np.argsort(-row, kind="stable")[:k]] for row in scores]


def recall(found: list[set[str]], judged: list[set[str]]) -> float:
    return float(np.mean([len(f & j) / len(j) for f, j in zip(found, judged, strict=True)]))


def assert_recall_is_the_models(
    rag: RAG, judged: dict[str, set[str]], texts: dict[str, str], name_of: dict[str, str]
) -> float:
    ids = [query for query in texts if query in judged]
    ours = [{name_of[hit.chunk.document_id] for hit in rag.search(texts[q], 10)} for q in ids]
    plain = [
        {name_of[chunk.document_id] for chunk in row}
        for row in plain_search(rag, [texts[q] for q in ids], 10)
    ]
    gold = [judged[q] for q in ids]
    assert recall(ours, gold) == pytest.approx(recall(plain, gold), abs=1e-9)
    same = np.mean([a == b for a, b in zip(ours, plain, strict=True)])
    # Vectors are kept as float16, which may turn a tie.
    assert same > 0.98
    return recall(ours, gold)


def test_recall_on_the_sample_corpus_is_the_models(sample: RAG) -> None:
    texts = {q["_id"]: q["text"] for q in read_queries(ROOT / "data" / "queries.jsonl")}
    names = {
        document.id: document.source.removeprefix(f"{CORPUS}/") for document in sample.documents()
    }
    judged = read_qrels(ROOT / "data" / "qrels.tsv")
    assert assert_recall_is_the_models(sample, judged, texts, names) > 0.9


def test_recall_on_xquad_is_the_models(xquad: RAG) -> None:
    texts = {q["_id"]: q["text"] for q in read_queries(XQUAD / "queries.jsonl")}
    names = {document.id: document.id for document in xquad.documents()}
    assert assert_recall_is_the_models(xquad, read_qrels(XQUAD / "qrels.tsv"), texts, names) > 0.9


def test_a_passages_own_text_finds_it_first(sample: RAG) -> None:
    for document in list(sample.documents())[:5]:
        chunk = sample._index.chunks(document.id)[0]
        hit = sample.search(chunk.text, 1)[0]
        assert hit.chunk == chunk
        assert hit.score == pytest.approx(1.0, abs=2e-3)


def test_hits_are_ranked_and_explained(sample: RAG) -> None:
    hits = sample.search("How does low-rank adaptation work?", 7)
    assert [hit.rank for hit in hits] == list(range(1, 8))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert [(s.name, s.rank, s.score) for s in hit.trace] == [("dense", hit.rank, hit.score)]


@pytest.mark.parametrize(
    ("question", "message"), [("", "empty"), (" \n", "empty"), ("why " * 400, "shorten it")]
)
def test_questions_that_cannot_be_asked(sample: RAG, question: str, message: str) -> None:
    with pytest.raises(QuestionError, match=message):
        sample.search(question)


def test_k_must_be_positive(sample: RAG) -> None:
    with pytest.raises(QuestionError, match="at least 1"):
        sample.search("why?", 0)
