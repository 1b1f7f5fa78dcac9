"""What the tools return: passages, answers and verdicts with exact places."""

from __future__ import annotations

from dataclasses import dataclass

from rag.types import Answer, Document, DocumentEntry, Hit, Quote, Verdict


@dataclass(frozen=True)
class PassageResult:
    """A passage: `text` stands at `start` to `end` of the document, in code points."""

    document_id: str
    source: str
    location: str
    title: str
    page: int | None
    line: int | None
    start: int
    end: int
    text: str
    score: float

    @classmethod
    def of(cls, hit: Hit) -> PassageResult:
        """Make it of a hit."""
        chunk = hit.chunk
        return cls(
            chunk.document_id,
            hit.source,
            hit.location,
            hit.title,
            chunk.page,
            chunk.line,
            hit.start,
            hit.end,
            hit.text,
            hit.score,
        )


@dataclass(frozen=True)
class SearchResults:
    """Passages, best first; `filter_matched` is false where no document passes the filter."""

    passages: list[PassageResult]
    filter_matched: bool


@dataclass(frozen=True)
class QuoteResult:
    """Words of a document, `quote`, at `start` to `end` of it, in code points."""

    number: int
    document_id: str
    source: str
    location: str
    page: int | None
    line: int | None
    start: int
    end: int
    quote: str

    @classmethod
    def of(cls, quoted: Quote, number: int) -> QuoteResult:
        """Make it of a quote."""
        return cls(
            number,
            quoted.document_id,
            quoted.source,
            quoted.location,
            quoted.page,
            quoted.line,
            quoted.start,
            quoted.end,
            quoted.quote,
        )


@dataclass(frozen=True)
class AnswerResult:
    """An answer whose marks `[n]` name its citations; `abstained` where the documents hold none."""

    text: str
    abstained: bool
    missing: str
    confidence: float
    unsupported: list[str]
    interrupted: str | None
    citations: list[QuoteResult]

    @classmethod
    def of(cls, answer: Answer) -> AnswerResult:
        """Make it of an answer."""
        return cls(
            answer.text,
            answer.abstained,
            answer.missing,
            answer.confidence,
            [sentence.text for sentence in answer.unsupported],
            answer.interrupted,
            [QuoteResult.of(each, each.number) for each in answer.citations],
        )


@dataclass(frozen=True)
class EvidenceResult:
    """Words that speak `for` or `against` a claim."""

    relation: str
    score: float
    quote: QuoteResult


@dataclass(frozen=True)
class VerdictResult:
    """Whether the documents support a claim: `supported`, `refuted`, `not enough information`."""

    claim: str
    label: str
    score: float
    evidence: list[EvidenceResult]

    @classmethod
    def of(cls, verdict: Verdict) -> VerdictResult:
        """Make it of a verdict."""
        evidence = [
            EvidenceResult(each.relation, each.score, QuoteResult.of(each, at))
            for at, each in enumerate(verdict.evidence, start=1)
        ]
        return cls(verdict.claim, verdict.label, verdict.score, evidence)


@dataclass(frozen=True)
class TextResult:
    """A part of a document: `text` stands at `start` to `end` of its `characters`."""

    document_id: str
    source: str
    title: str
    characters: int
    start: int
    end: int
    text: str

    @classmethod
    def of(cls, document: Document, start: int, end: int) -> TextResult:
        """Make it of a document."""
        return cls(
            document.id,
            document.source,
            document.title,
            len(document.text),
            start,
            end,
            document.text[start:end],
        )


@dataclass(frozen=True)
class EntryResult:
    """A document in a list."""

    document_id: str
    source: str
    title: str
    media_type: str
    characters: int

    @classmethod
    def of(cls, entry: DocumentEntry) -> EntryResult:
        """Make it of an entry."""
        return cls(entry.id, entry.source, entry.title, entry.media_type, entry.characters)


@dataclass(frozen=True)
class ListResult:
    """Some of `total` documents, by source."""

    documents: list[EntryResult]
    total: int


@dataclass(frozen=True)
class MatchResult:
    """A line that matches a pattern; the match stands at `start` to `end` of the document."""

    document_id: str
    source: str
    line: int
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class MatchesResult:
    """Lines that match; `complete` is false where there are more."""

    matches: list[MatchResult]
    complete: bool


@dataclass(frozen=True)
class CollectionsResult:
    """The names of the collections that can be asked."""

    collections: list[str]


@dataclass(frozen=True)
class JobResult:
    """What was begun or done."""

    state: str
    detail: str
