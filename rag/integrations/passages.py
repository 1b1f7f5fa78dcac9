"""What every framework takes of a passage: an id, a text, a score, and metadata with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag.engine import RAG
from rag.errors import QuestionError, RagError
from rag.types import Answer, Citation, Document, Hit

Where = str | Mapping[str, Any]

# A filter has at most so many values.
_MOST_IDS = 10_000
_PASSAGE_ID = re.compile(r"(.+):([0-9]{1,15})-([0-9]{1,15})", re.S)


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that was found: `document.text[start:end]`, in code points.

    `id` is the document's id with the span, which `RAG.locate` finds. `whole` says that it is all
    of a text that a program added. `metadata` are those of the document, and the place.
    """

    id: str
    text: str
    score: float
    metadata: Mapping[str, Any]
    document: Document
    start: int
    end: int
    whole: bool


def find_passages(rag: RAG, question: str, k: int | None, where: Where) -> list[Passage]:
    """Return the best passages for a question, best first."""
    return describe_hits(rag, rag.search(question, k, where))


def describe_hits(rag: RAG, hits: Sequence[Hit]) -> list[Passage]:
    """Return hits as passages; one whose document was removed meanwhile is left out."""
    ids = dict.fromkeys(hit.chunk.document_id for hit in hits)
    documents = {document.id: document for document in rag.documents(ids)}
    return [
        describe(documents[hit.chunk.document_id], hit.start, hit.end, hit.score)
        for hit in hits
        if hit.chunk.document_id in documents
    ]


def describe(document: Document, start: int, end: int, score: float) -> Passage:
    """Return `document.text[start:end]` as a passage with its place."""
    text = document.text[start:end]
    whole = is_text(document) and text.strip() == document.text.strip()
    metadata = dict(document.metadata) | place_of(document, start, end) | {"score": score}
    # Who adds texts often names where they are from, which tells more than `text:ID`.
    if is_text(document) and "source" in document.metadata:
        metadata["source"] = document.metadata["source"]
    name = f"{document.id}:{start}-{end}"
    return Passage(name, text, score, metadata, document, start, end, whole)


def place_of(document: Document, start: int, end: int) -> dict[str, Any]:
    """Return where `document.text[start:end]` is; what the document does not have is left out."""
    place = {
        "source": document.source,
        "title": document.title,
        "page": document.page_at(start),
        "line": document.line_at(start),
        "heading": " › ".join(document.heading_at(start)),
        "start": start,
        "end": end,
        "document_id": document.id,
    }
    return {name: value for name, value in place.items() if value not in (None, "")}


def is_text(document: Document) -> bool:
    """Return whether a program added a document, which is in no file then."""
    return document.source == f"text:{document.id}"


def find_documents(rag: RAG, ids: Iterable[str]) -> list[Document | Passage]:
    """Return what has these ids, in order: documents, or passages by the ids that searches give."""
    if not rag.exists():
        return []
    wanted = list(ids)
    spans = {name: match for name in wanted if (match := _PASSAGE_ID.fullmatch(name))}
    names = dict.fromkeys([*wanted, *(match[1] for match in spans.values())])
    documents = {document.id: document for document in rag.documents(names)}
    found: list[Document | Passage] = []
    for name in wanted:
        if name in documents:
            found.append(documents[name])
        elif name in spans and spans[name][1] in documents:
            document, start, end = documents[spans[name][1]], *map(int, spans[name].groups()[1:])
            if start < end <= len(document.text):
                found.append(describe(document, start, end, 1.0))
    return found


def remove_texts(rag: RAG, ids: Iterable[str] | None) -> None:
    """Remove texts by their ids, or all of them; an id that nothing has is passed over.

    Raises:
        StoreError: if an id is that of a document from a file; nothing is removed then.
        RagError: if an id is that of a passage of a document.
    """
    if not rag.exists():
        return
    if ids is None:
        names = [document.id for document in rag.documents() if is_text(document)]
    else:
        names = list(ids)
        for found in find_documents(rag, names):
            if isinstance(found, Passage):
                raise RagError(f"{found.id}: is a passage: remove the whole, {found.document.id}")
    rag.remove_texts(names)


def select(rag: RAG, passes: Callable[[Document], bool], where: str = "") -> str | None:
    """Return a filter for the documents for which `passes` is true; None if there are none.

    `where` is a filter that they have to pass besides. Every document is looked at.

    Raises:
        QuestionError: if there are too many of them to be named, and too many others.
    """
    taken: list[str] = []
    others: list[str] = []
    for document in rag.documents() if rag.exists() else ():
        (taken if passes(document) else others).append(document.id)
    if not taken:
        return None
    fewer, sign = (others, "-") if len(others) < len(taken) else (taken, "")
    if len(fewer) > _MOST_IDS:
        raise QuestionError(
            f"the filters choose {len(taken):,} of {len(taken) + len(others):,} documents, too "
            "many to be named: use `where`, the index's own filter"
        )
    names = ",".join('"' + name.replace('"', '""') + '"' for name in fewer)
    return " ".join([*([f"({where})"] if where else []), *([f"{sign}id:{names}"] if fewer else [])])


def cite(rag: RAG, answer: Answer) -> list[dict[str, Any]]:
    """Return what each sentence of an answer rests on, with the places in both.

    `answer.text[start_index:end_index]` is the sentence, and `quote` the document's
    `text[document_start:document_end]`, in code points.
    """
    by_number: dict[int, list[Citation]] = {}
    for citation in answer.citations:
        by_number.setdefault(citation.number, []).append(citation)
    ids = dict.fromkeys(citation.document_id for citation in answer.citations)
    titles = {document.id: document.title for document in rag.documents(ids)} if ids else {}
    return [
        {
            "number": number,
            "start_index": sentence.start,
            "end_index": sentence.end,
            "support": sentence.support,
            "quote": citation.quote,
            "document_id": citation.document_id,
            "document_start": citation.start,
            "document_end": citation.end,
            "source": citation.source,
            "title": titles.get(citation.document_id) or citation.source,
            "location": citation.location,
            **({"page": citation.page} if citation.page is not None else {}),
            **({"line": citation.line} if citation.line is not None else {}),
            **({"heading": " › ".join(citation.heading)} if citation.heading else {}),
        }
        for sentence in answer.sentences
        for number in sentence.citations
        for citation in by_number.get(number, ())
    ]


def judge(answer: Answer) -> dict[str, Any]:
    """Return what is known of an answer besides its text: whether and how well it is borne out."""
    return {
        "model": answer.model,
        "way": answer.way,
        "abstained": answer.abstained,
        "answerability": answer.answerability,
        "confidence": answer.confidence,
        "unsupported": [sentence.text for sentence in answer.unsupported],
        "interrupted": answer.interrupted,
        "missing": answer.missing,
        "read_as": answer.read_as,
        "filter_matched": answer.filter_matched,
    }
