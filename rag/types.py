"""What passes between the rooms, as frozen dataclasses.

Offsets count Unicode code points of `Document.text`, are half-open (`[start, end)`), and are
meant for Python slicing. Standard library only; NumPy is named in annotations alone.
"""

from __future__ import annotations

import bisect
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rag.errors import StoreError

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = [
    "Answer",
    "CheckedSentence",
    "Chunk",
    "Citation",
    "Compaction",
    "CopyReport",
    "Document",
    "DocumentEntry",
    "Evidence",
    "Examination",
    "Explanation",
    "FileOutcome",
    "Finding",
    "Heading",
    "Hit",
    "Hits",
    "IndexInfo",
    "IndexStatus",
    "IngestionReport",
    "Listing",
    "Message",
    "Page",
    "Place",
    "Problem",
    "Progress",
    "Prompt",
    "Quote",
    "Sentence",
    "Stage",
    "VectorSearch",
    "Verdict",
    "Verification",
    "Widened",
    "Work",
]


@dataclass(frozen=True, slots=True)
class Page:
    """Page `number` (from 1) of a paged document is `text[start:end]`.

    `label` is what the document itself calls the page, such as `iv`, where that is not its number.
    `words` says where the words of a scanned page stand on its picture; it is empty for others.
    """

    start: int
    end: int
    number: int
    label: str = ""
    words: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading's own line is `text[start:end]`; `level` counts from 1 (the highest)."""

    start: int
    end: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Document:
    """One readable text with its origin. Citations point into `text`, so `text` is stored.

    `id` is the hash of the source's identity, or the id that a corpus file gives. `source` is the
    path as the user gave it. `content_hash` is the SHA-256 of `text` and `title` in hexadecimal.
    `modified` is in seconds since the epoch. `verbatim` says that `text` is the file's own text
    line by line, so that line numbers mean the same in an editor. `markup` is how `text` is
    written: `plain`, `markdown`, `rst`, or the name of a programming language. `metadata` may hold
    `author`, `language` (ISO 639-1), and `created` and `modified` as ISO 8601.
    """

    id: str
    source: str
    text: str
    title: str
    media_type: str
    content_hash: str
    modified: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    pages: tuple[Page, ...] = ()
    headings: tuple[Heading, ...] = ()
    verbatim: bool = False
    markup: str = "plain"

    def page_at(self, offset: int) -> int | None:
        """Return the number of the page that holds `text[offset]`; None without pages."""
        at = bisect.bisect_right(self.pages, offset, key=lambda page: page.start) - 1
        return self.pages[at].number if at >= 0 else None

    def heading_at(self, offset: int) -> tuple[str, ...]:
        """Return the path of headings above `text[offset]`, outermost first."""
        path: list[Heading] = []
        for heading in self.headings:
            if heading.start > offset:
                break
            while path and path[-1].level >= heading.level:
                path.pop()
            path.append(heading)
        return tuple(heading.title for heading in path)

    def line_at(self, offset: int) -> int | None:
        """Return the line of `text[offset]` from 1; None where lines mean nothing to a reader."""
        return self.text.count("\n", 0, offset) + 1 if self.verbatim else None

    def section_at(self, offset: int) -> tuple[int, int]:
        """Return the span from the heading above `text[offset]` to the next one not below it."""
        above = None
        for heading in self.headings:
            if heading.start <= offset:
                above = heading
            elif above is None or heading.level <= above.level:
                return (above.start if above else 0), heading.start
        return (above.start if above else 0), len(self.text)


@dataclass(frozen=True, slots=True)
class Place:
    """A span of a document, `document.text[start:end]`."""

    document: Document
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A file, or a file within a file, that was not indexed, and why.

    `kind` is `skipped` (it holds nothing to read) or `failed` (it could not be read). A `lasting`
    problem would recur: it is remembered until the file changes.
    """

    source: str
    reason: str
    kind: Literal["skipped", "failed"] = "failed"
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document as cut and stored: `document.text[start:end] == text`.

    `id` is given by the store (0 before that) and never used again. `ordinal` counts the chunks of
    one document from 0. `heading` is the path of headings above the chunk, outermost first. `page`
    and `line` count from 1; `line` is None where line numbers would mean nothing to a reader.
    """

    id: int
    document_id: str
    text: str
    start: int
    end: int
    ordinal: int
    heading: tuple[str, ...] = ()
    page: int | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """The rank (from 1) and score that one stage of retrieval gave a hit."""

    name: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Widened:
    """A chunk's text and what stands around it: `document.text[start:end] == text`."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage. Higher scores are better; `trace` explains the order.

    `matches` are the spans of `text` that the question matches, and `terms` the words of the chunk
    that it was found by, as the passage writes them, if the search was to be explained. `widened`
    is the text that is read in place of the chunk's, which lies in it. `duplicates` are the
    locations of passages that say the same and were left out for this one.
    """

    chunk: Chunk
    score: float
    rank: int
    source: str
    title: str
    trace: tuple[Stage, ...] = ()
    terms: tuple[str, ...] = ()
    widened: Widened | None = None
    duplicates: tuple[str, ...] = ()
    matches: tuple[tuple[int, int], ...] = ()

    @property
    def text(self) -> str:
        """The text that is read: the widened one, or the chunk's."""
        return self.widened.text if self.widened else self.chunk.text

    @property
    def start(self) -> int:
        """Where `text` begins in the document."""
        return self.widened.start if self.widened else self.chunk.start

    @property
    def end(self) -> int:
        """Where `text` ends in the document."""
        return self.widened.end if self.widened else self.chunk.end

    @property
    def location(self) -> str:
        """`path:page or line › heading`, as the command line shows it."""
        return location(self.source, self.chunk.page, self.chunk.line, self.chunk.heading)

    @property
    def cosine(self) -> float | None:
        """Its similarity to the question by vectors; None where words alone found it."""
        return next((stage.score for stage in self.trace if stage.name == "dense"), None)

    def _repr_html_(self) -> str:
        """Return the passage as HTML for a notebook, with the words that match marked."""
        return (
            f"<div><code>{html.escape(self.location)}</code> ({self.score:.3f})"
            f"<blockquote>{_mark_html(self.text, self.matches)}</blockquote></div>"
        )


class Hits(list[Hit]):
    """Hits, best first: a list that shows itself in a notebook."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return the passages as HTML for a notebook."""
        return _html_list("", self)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A search: its hits, and how it came to them.

    `words` are the stems that were looked for, `related` further ones from the best passages with
    their weights (a word of the question weighs 1), and `wordings` the question in other words.
    `loosened` says that no passage holds the quoted phrases, so that they counted as words.
    `read_as` is the question without its typing errors, as it was searched for; empty where there
    are none. `filter_matched` is False where no document passes the filter. `timings` are in
    milliseconds by stage; the `trace` of a hit has its place in each stage.
    """

    question: str
    hits: tuple[Hit, ...]
    words: tuple[str, ...] = ()
    related: Mapping[str, float] = field(default_factory=dict)
    wordings: tuple[str, ...] = ()
    loosened: bool = False
    timings: Mapping[str, float] = field(default_factory=dict)
    read_as: str = ""
    filter_matched: bool = True

    def _repr_html_(self) -> str:
        """Return the passages as HTML for a notebook, with the words that match marked."""
        return _html_list(self.question, self.hits)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation with a model; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages that a generator reads. Passage `[i]` in the text is `hits[i - 1]`.

    `tokens` is the length of `messages` in the generator's own tokens; `left_out` are the hits
    that did not fit into its budget, best first. `schema` is the JSON schema that the text has to
    follow, if any.
    """

    question: str
    messages: tuple[Message, ...]
    hits: tuple[Hit, ...]
    tokens: int
    left_out: tuple[Hit, ...] = ()
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quoted span: `quote == document.text[start:end]`, checked when `of` makes it."""

    document_id: str
    source: str
    page: int | None
    line: int | None
    heading: tuple[str, ...]
    start: int
    end: int
    quote: str

    @property
    def location(self) -> str:
        """`path:page or line › heading`, as the command line shows it."""
        return location(self.source, self.page, self.line, self.heading)

    @classmethod
    def of(cls, hit: Hit, start: int, end: int, document: Document, **own: Any) -> Self:
        """Quote `hit.text[start:end]`; `own` are the fields that a kind of quote has besides.

        Raises:
            StoreError: if the document does not hold the same at its place.
        """
        quote, at = hit.text[start:end], hit.start + start
        if quote != document.text[at : hit.start + end]:
            raise StoreError(
                f"{hit.source}: its passage at {hit.start}-{hit.end} is not what the stored "
                "document holds there: index it again with `rag index --rebuild`"
            )
        return cls(
            document_id=document.id,
            source=document.source,
            page=document.page_at(at),
            line=document.line_at(at),
            heading=document.heading_at(at),
            start=at,
            end=hit.start + end,
            quote=quote,
            **own,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation(Quote):
    """A quote that supports an answer.

    `number` is the one shown in the answer's text, and the passage's number in the prompt.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """`answer.text[start:end] == text`, with its support in the passages (0 to 1).

    `flagged` are its names, numbers and dates that no passage holds.
    """

    text: str
    start: int
    end: int
    support: float
    citations: tuple[int, ...] = ()
    flagged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a question, with the citations that support it.

    `unsupported` are the sentences that no passage supports. `abstained` says that the documents
    hold no answer. `interrupted` is None, or why the generator stopped before its end: `text` is
    then the part that had arrived. `timings` are in milliseconds.

    `way` is how the text came about. `answerability` is the probability, before anything was
    written, that the passages hold an answer: below the threshold of the settings the answer
    abstains. `confidence` is that times the support of what was written. `data` is the text as
    JSON, where a schema was given. `spans` are the parts of `text` that answer, `[start:end]` in
    code points, where it quotes more than those.

    `read_as` is the question without its typing errors, as it was searched for and answered; empty
    where there are none. `filter_matched` is False where no document passes the filter: then
    nothing was read, and `text` says so. `missing` says what the passages lack, where the answer
    abstains.
    """

    question: str
    text: str
    citations: tuple[Citation, ...]
    sentences: tuple[Sentence, ...]
    unsupported: tuple[Sentence, ...]
    abstained: bool
    prompt: Prompt
    model: str
    timings: Mapping[str, float] = field(default_factory=dict)
    interrupted: str | None = None
    way: Literal["generate", "extract", "none"] = "generate"
    answerability: float = 1.0
    confidence: float = 1.0
    data: Any = None
    spans: tuple[tuple[int, int], ...] = ()
    read_as: str = ""
    filter_matched: bool = True
    missing: str = ""

    def __str__(self) -> str:
        """Return the text, and below it the sources that its marks name, a line each."""
        sources = [f"[{c.number}] {c.location}" for c in self.citations]
        return "\n".join([self.text, *([""] if sources else []), *sources])

    @property
    def brief(self) -> str:
        """The parts of `text` that answer, joined by commas; `text` itself if none are marked."""
        return ", ".join(self.text[start:end] for start, end in self.spans) or self.text

    def _repr_html_(self) -> str:
        """Return the answer and its sources as HTML for a notebook; every text is escaped."""
        body = _mark_html(self.text, self.spans)
        if self.missing:
            body += f"<p>{html.escape(self.missing)}</p>"
        if self.interrupted:
            body += f"<p><b>interrupted:</b> {html.escape(self.interrupted)}</p>"
        rows = "".join(
            f"<li value='{c.number}'><code>{html.escape(c.location)}</code>"
            f"<blockquote>{html.escape(c.quote)}</blockquote></li>"
            for c in self.citations
        )
        sources = f"<ol>{rows}</ol>" if rows else ""
        return f"<div><p><b>{html.escape(self.question)}</b></p><p>{body}</p>{sources}</div>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence(Quote):
    """A quote that speaks for or against a claim, and how strongly (0 to 1)."""

    relation: Literal["for", "against"]
    score: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the documents support a claim, refute it, or do not say enough.

    `score` is the probability of `label`, `probabilities` those of all three. `evidence`, for and
    against, begins with the strongest. `judge` names the model or method that decided.
    `timings` are in milliseconds. `filter_matched` is False where no document passes the filter, so
    that none was read.
    """

    claim: str
    label: Literal["supported", "refuted", "not enough information"]
    score: float
    probabilities: Mapping[str, float]
    evidence: tuple[Evidence, ...]
    judge: str
    timings: Mapping[str, float] = field(default_factory=dict)
    filter_matched: bool = True

    def _repr_html_(self) -> str:
        """Return the verdict and its evidence as HTML for a notebook; every text is escaped."""
        rows = "".join(
            f"<li>{each.relation} ({each.score:.2f}) <code>{html.escape(each.location)}</code>"
            f"<blockquote>{html.escape(each.quote)}</blockquote></li>"
            for each in self.evidence
        )
        return (
            f"<div><p><b>{html.escape(self.claim)}</b></p><p>{self.label} ({self.score:.2f}, by "
            f"{html.escape(self.judge)})</p>{f'<ul>{rows}</ul>' if rows else ''}</div>"
        )


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """A sentence of a text, `text[start:end]`, with what the documents say of it.

    `verdict` is None for a sentence that claims nothing: a question, a greeting, a heading.
    """

    text: str
    start: int
    end: int
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Verification:
    """A text, each of whose sentences was checked against the documents; see `CheckedSentence`."""

    text: str
    sentences: tuple[CheckedSentence, ...]


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """What a list of documents says of one; the fields are those of `Document`.

    `characters` is the length of its text in code points, and `passages` how many it is cut into.
    """

    id: str
    source: str
    title: str
    media_type: str
    content_hash: str
    characters: int
    passages: int
    modified: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """Documents by source, some of `total`."""

    documents: tuple[DocumentEntry, ...]
    total: int


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """The outcome for one file, or a file within a file; `seconds` is how long reading took."""

    source: str
    outcome: Literal["added", "updated", "unchanged", "removed", "skipped", "failed"]
    reason: str = ""
    passages: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Work:
    """How far indexing is: counts so far, since it began `seconds` ago.

    `files_total` and `bytes_total` are None until all folders are listed. `slowest` is the
    file that took longest to read, with its seconds.
    """

    files: int = 0
    files_total: int | None = None
    bytes: int = 0
    bytes_total: int | None = None
    passages: int = 0
    embedded: int = 0
    tokens: int = 0
    seconds: float = 0.0
    slowest: tuple[str, float] = ("", 0.0)


@dataclass(frozen=True, slots=True)
class Progress:
    """An event of a long job: `done` of `total` (None: not known) `unit`s of `stage`.

    Indexing adds how far its `work` is, and the `outcome` for the file `item` when it is done.
    """

    stage: str
    done: int
    total: int | None
    unit: str
    item: str = ""
    work: Work | None = None
    outcome: FileOutcome | None = None


@dataclass(frozen=True, slots=True)
class IngestionReport:
    """The result of one run of indexing; sources as the user named them, problems with reasons.

    `renamed` are pairs of a removed and an added source with the same bytes. `documents` and
    `chunks` are what the index holds now. `embedded` counts the passages that were embedded in
    this run, `tokens` their tokens. `timings` are in milliseconds by stage; reading is done
    beside the other stages, and counted over all its processes.
    """

    added: tuple[str, ...]
    updated: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    skipped: tuple[Problem, ...]
    failed: tuple[Problem, ...]
    documents: int
    chunks: int
    embedded: int
    tokens: int = 0
    renamed: tuple[tuple[str, str], ...] = ()
    slowest: tuple[str, float] = ("", 0.0)
    timings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VectorSearch:
    """The `kind` of the index of vectors, and how well it searches.

    A search looks into `probed` of its `lists`, or holds so many candidates in its graph, and
    compares `depth` times as many as are wanted exactly. `recall_at_10`, `recall_at_100`
    and the median time in `milliseconds` were measured when it was built, with passages of the
    index as queries, against an exact search. Before that, and where nothing is approximate, all
    are 0 and recall is 1.
    """

    kind: str
    vectors: int
    lists: int
    probed: int
    depth: int
    recall_at_10: float
    recall_at_100: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index holds, what it was built with, and its size on disk in bytes.

    `files` counts those that gave documents, and texts. `embedder` names the model and
    `fingerprint` its weights, `revision` the commit of a hub's model; `chunk_size` and
    `chunk_overlap` are in tokens. All of them, and `search`, are None before anything was indexed.
    """

    path: str
    files: int
    documents: int
    chunks: int
    bytes: int
    embedder: str | None
    revision: str | None
    fingerprint: str | None
    dim: int | None
    chunk_size: int | None
    chunk_overlap: int | None
    search: VectorSearch | None


@dataclass(frozen=True, slots=True)
class Compaction:
    """The size of an index before and after removed documents were purged, in bytes.

    `cleared` is False if a reader that was at work meanwhile still holds a part of the old index.
    """

    before: int
    after: int
    cleared: bool


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The contents of an export, an import or a backup at `path`; sizes in bytes.

    `waiting` are the folders that an imported index does not follow until each is named to index.
    """

    path: str
    files: int
    documents: int
    chunks: int
    bytes: int
    seconds: float
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check of an index, about `file`.

    A `note` needs no action; `mended` was a problem before.
    """

    check: str
    status: Literal["ok", "note", "mended", "problem"]
    text: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """The results of all checks of an index; `well` says that no problem remains.

    After a repair `lost` names the sources of documents that could not be kept, which the next
    `rag index` reads again where they still exist, and `kept` the folder with what was damaged.
    """

    path: str
    well: bool
    findings: tuple[Finding, ...]
    lost: tuple[str, ...] = ()
    kept: str = ""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How an index differs from its folders, by source.

    `roots` are the folders and files that were indexed; `failed` and `skipped` are remembered from
    then. Files `left_out` are indexed and still there, but patterns or ignore files leave them out
    today. The next run of indexing removes them, and those that are `gone`. `texts` counts what was
    added as texts, which no run removes.
    """

    roots: tuple[str, ...]
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    unchanged: int
    failed: tuple[Problem, ...]
    skipped: tuple[Problem, ...]
    left_out: tuple[str, ...] = ()
    texts: int = 0


# Every part says this, word for word, when the passages hold no answer: prompts ask for it, and
# refusals are recognised by it.
NO_ANSWER = "The documents do not say."
# What an answer says where no document passes the filter, so that none was read.
NO_MATCH = "No document matches the filter."

ProgressCallback = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Ignore a progress event."""


def _html_list(title: str, hits: Sequence[Hit]) -> str:
    """Return hits as an HTML list; every text is escaped."""
    rows = "".join(f"<li value='{hit.rank}'>{hit._repr_html_()}</li>" for hit in hits)
    head = f"<p><b>{html.escape(title)}</b></p>" if title else ""
    return f"<div>{head}{f'<ol>{rows}</ol>' if rows else '<p>nothing was found</p>'}</div>"


def _mark_html(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return a text as HTML with `<mark>` around spans of it, which do not overlap."""
    pieces: list[str] = []
    at = 0
    for start, end in sorted(spans):
        marked = f"<mark>{html.escape(text[start:end])}</mark>"
        pieces += [html.escape(text[at:start]), marked]
        at = end
    return "".join([*pieces, html.escape(text[at:])]).replace("\n", "<br>")


def location(source: str, page: int | None, line: int | None, heading: Sequence[str]) -> str:
    """Return `path:page or line › heading`, where a reader finds a passage."""
    place = f"{source}:p{page}" if page else f"{source}:{line}" if line else source
    return " › ".join([place, *heading[-1:]])
