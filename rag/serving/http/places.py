"""Passages, quotes and documents as replies show them, each with an address that opens it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from rag.serving.http.exchange import as_json
from rag.types import Answer, Hit, Quote


def address_of(request: Request, collection: str, document_id: str, start: int, end: int) -> str:
    """Return the address of the page that shows a span of a document (RFC 5147)."""
    base = str(request.base_url).rstrip("/")
    return f"{base}/d/{quote(collection)}/{quote(document_id, safe='')}#char={start},{end}"


def show_quote(request: Request, collection: str, quoted: Quote) -> dict[str, Any]:
    """Return a quote with its place; offsets count code points of the document, half open."""
    url = address_of(request, collection, quoted.document_id, quoted.start, quoted.end)
    return {**as_json(quoted), "location": quoted.location, "url": url}


def show_hit(request: Request, collection: str, hit: Hit) -> dict[str, Any]:
    """Return a passage with its place, score and how it came to its rank."""
    chunk = hit.chunk
    return {
        "document_id": chunk.document_id,
        "source": hit.source,
        "title": hit.title,
        "location": hit.location,
        "page": chunk.page,
        "line": chunk.line,
        "heading": list(chunk.heading),
        "start": hit.start,
        "end": hit.end,
        "text": hit.text,
        "score": hit.score,
        "rank": hit.rank,
        "matches": [list(span) for span in hit.matches],
        "terms": list(hit.terms),
        "duplicates": list(hit.duplicates),
        "trace": [{"stage": s.name, "rank": s.rank, "score": s.score} for s in hit.trace],
        "url": address_of(request, collection, chunk.document_id, hit.start, hit.end),
    }


def show_answer(request: Request, collection: str, answer: Answer) -> dict[str, Any]:
    """Return an answer with its citations, sentences and passages."""
    return {
        "question": answer.question,
        "text": answer.text,
        "brief": answer.brief,
        "abstained": answer.abstained,
        "missing": answer.missing,
        "way": answer.way,
        "model": answer.model,
        "answerability": answer.answerability,
        "confidence": answer.confidence,
        "read_as": answer.read_as,
        "filter_matched": answer.filter_matched,
        "interrupted": answer.interrupted,
        "data": answer.data,
        "spans": [list(span) for span in answer.spans],
        "sentences": as_json(answer.sentences),
        "citations": [show_quote(request, collection, each) for each in answer.citations],
        "passages": [show_hit(request, collection, hit) for hit in answer.prompt.hits],
        "timings": as_json(answer.timings),
    }
