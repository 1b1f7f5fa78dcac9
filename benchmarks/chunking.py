"""Measure what size, overlap and headings of chunks do to retrieval, and how fast they are cut.

    python benchmarks/chunking.py DATASET... [--layout LAYOUT] [--sizes 100,200] [--overlaps 0,32]
        [--embedded none,headings,title] [--every N]
    python benchmarks/chunking.py --speed

DATASET is a folder with `queries.jsonl`, `qrels.tsv`, and either `corpus/` or `corpus.jsonl`.
What is judged is either documents, ranked by their best passages (`records`, each record a
document), or evidence: the answer in its paragraph, or a sentence, found when a passage holds all
of it. For that the records of one title are one Markdown document under that title (`articles`), or
twelve such articles are the sections of one document (`books`). Search is exact. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.chunking import chunk_document, embedded_texts, embedding_limit
from rag.config import EmbeddingConfig, SourcesConfig
from rag.embedding import load_embedder
from rag.protocols import Embedder
from rag.text.normalization import searchable
from rag.types import Chunk, Document, Heading

if TYPE_CHECKING:
    from rag.types import Vectors

ARTICLES_IN_BOOK = 12
TOKEN_BUDGET = 1000
DEEPEST = 200
WORDS = (
    "the server stores each transaction in a write-ahead log before it replies to clients "
    "replication streaming parameter max_connections checkpoint vacuum index query planner"
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What answers a question: a document, or any of some spans in it."""

    document_id: str
    gain: int
    spans: tuple[tuple[int, int], ...] = ()

    def is_in(self, chunk: Chunk) -> bool:
        """Whether a passage holds the evidence."""
        if chunk.document_id != self.document_id:
            return False
        held = (chunk.start <= start and end <= chunk.end for start, end in self.spans)
        return not self.spans or any(held)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its evidence."""

    text: str
    evidence: tuple[Evidence, ...]


@dataclass(slots=True)
class Vectorizer:
    """A cache of vectors, which embeds each text once."""

    embedder: Embedder
    known: dict[str, Vectors] = field(default_factory=dict)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, one row a text."""
        import numpy as np

        new = sorted({text for text in texts if text not in self.known}, key=len)
        for at in range(0, len(new), 64):
            part = new[at : at + 64]
            self.known.update(zip(part, self.embedder.embed_documents(part), strict=True))
        return np.array([self.known[text] for text in texts])


def main() -> None:
    """Measure every combination on every data set, or the speed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="*", type=Path, metavar="DATASET")
    parser.add_argument("--layout", choices=("records", "articles", "books"), default="records")
    parser.add_argument("--sizes", default="200")
    parser.add_argument("--overlaps", default="32")
    parser.add_argument("--embedded", default="headings")
    parser.add_argument("--every", type=int, default=1, help="every Nth question")
    parser.add_argument("--speed", action="store_true", help="measure the speed of cutting")
    arguments = parser.parse_args()
    embedder = load_embedder(EmbeddingConfig())
    if arguments.speed:
        print_speed(embedder)
    vectorize = Vectorizer(embedder)
    if arguments.datasets:
        print(
            "| data | layout | size | overlap | embedded | passages | nDCG@10 | MRR@10 | recall@5 "
            f"| recall@10 | recall in {TOKEN_BUDGET:,} tokens |"
        )
        print("| --- " * 11 + "|")
    for dataset in arguments.datasets:
        documents, questions = load(dataset, arguments.layout, arguments.every)
        for size in map(int, arguments.sizes.split(",")):
            for overlap in map(int, arguments.overlaps.split(",")):
                for embedded in arguments.embedded.split(","):
                    row = measure(documents, questions, vectorize, size, overlap, embedded)
                    start = [dataset.name, arguments.layout, str(size), str(overlap), embedded]
                    print("|", " | ".join([*start, *row]), "|", flush=True)


def measure(
    documents: Sequence[Document],
    questions: Sequence[Question],
    vectorize: Vectorizer,
    size: int,
    overlap: int,
    embedded: str,
) -> list[str]:
    """Return the number of passages and the metrics, as text."""
    import numpy as np

    embedder = vectorize.embedder
    limit = embedding_limit(embedder)
    chunks: list[Chunk] = []
    texts: list[str] = []
    for document in documents:
        cut = chunk_document(
            document, embedder.token_offsets, size=size, overlap=overlap, limit=limit
        )
        own = list(cut)
        chunks += own
        texts += texts_to_embed(document, own, embedded)
    lengths = [len(embedder.token_offsets(chunk.text)) for chunk in chunks]
    asked = vectorize([searchable(question.text) for question in questions])
    scores = asked @ vectorize(texts).T
    values = []
    for question, row in zip(questions, scores, strict=True):
        order = np.argsort(-row, kind="stable")[:DEEPEST]
        values.append(
            metrics(question, [chunks[at] for at in order], [lengths[at] for at in order])
        )
    means = np.mean(np.array(values), axis=0)
    return [str(len(chunks)), *("" if math.isnan(mean) else f"{mean:.3f}" for mean in means)]


def texts_to_embed(document: Document, chunks: Sequence[Chunk], embedded: str) -> list[str]:
    """Return the texts of passages alone, with headings, or with the document's title, too."""
    if embedded == "none":
        return [searchable(chunk.text) for chunk in chunks]
    texts = embedded_texts(document, chunks)
    if embedded == "headings":
        return texts
    return [
        text if chunk.start == 0 and document.headings else f"{document.title}\n\n{text}"
        for chunk, text in zip(chunks, texts, strict=True)
    ]


def metrics(question: Question, ranked: Sequence[Chunk], lengths: Sequence[int]) -> list[float]:
    """Return nDCG@10 (NaN for evidence), MRR@10, recall@5, recall@10, recall in the budget."""
    whole = not question.evidence[0].spans
    units = first_of_each_document(ranked) if whole else ranked
    left = TOKEN_BUDGET
    read = []
    for chunk, length in zip(ranked, lengths, strict=True):
        if length > left:
            break
        left -= length
        read.append(chunk)
    return [
        ndcg(question, units[:10]) if whole else math.nan,
        reciprocal_rank(question, units[:10]),
        recall(question, units[:5]),
        recall(question, units[:10]),
        recall(question, read),
    ]


def reciprocal_rank(question: Question, ranked: Sequence[Chunk]) -> float:
    """Return 1 / the rank of the first passage that holds evidence, or 0."""
    for rank, chunk in enumerate(ranked, start=1):
        if any(evidence.is_in(chunk) for evidence in question.evidence):
            return 1 / rank
    return 0.0


def recall(question: Question, chunks: Sequence[Chunk]) -> float:
    """Return the share of the evidence that the passages hold."""
    found = [any(evidence.is_in(chunk) for chunk in chunks) for evidence in question.evidence]
    return sum(found) / len(found)


def ndcg(question: Question, ranked: Sequence[Chunk]) -> float:
    """Return nDCG with gains of 2^gain - 1 (Burges et al., ICML 2005)."""
    gains = {evidence.document_id: 2**evidence.gain - 1 for evidence in question.evidence}
    best = sorted(gains.values(), reverse=True)[:10]
    got = [gains.get(chunk.document_id, 0) for chunk in ranked]
    return discounted(got) / discounted(best)


def discounted(gains: Sequence[int]) -> float:
    """Return the sum of gains, each divided by the logarithm of its rank."""
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))


def first_of_each_document(ranked: Sequence[Chunk]) -> list[Chunk]:
    """Keep the best passage of each document."""
    best: dict[str, Chunk] = {}
    for chunk in ranked:
        best.setdefault(chunk.document_id, chunk)
    return list(best.values())


def load(dataset: Path, layout: str, every: int) -> tuple[list[Document], list[Question]]:
    """Return the documents of a data set in a layout, and every Nth of its judged questions.

    Where N is not 1, only articles (records of one title) stay that were judged for one of them.
    """
    judged: dict[str, list[tuple[str, int]]] = {}
    for line in (dataset / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        asked_id, record_id, score = line.split("\t")
        judged.setdefault(asked_id, []).append((record_id, int(score)))
    queries = [query for query in lines_of(dataset / "queries.jsonl") if query["_id"] in judged]
    queries = queries[::every]
    if (dataset / "corpus").is_dir():
        files = list(files_of(dataset / "corpus"))
        return files, [
            Question(q["text"], tuple(Evidence(*judgement) for judgement in judged[q["_id"]]))
            for q in queries
        ]
    records = lines_of(dataset / "corpus.jsonl")
    if every > 1:
        asked = {record for query in queries for record, _ in judged[query["_id"]]}
        titles = {record["title"] for record in records if record["_id"] in asked}
        records = [record for record in records if record["title"] in titles]
    if layout == "records":
        documents = [plain(r["_id"], r["text"], title=r["title"]) for r in records]
        places = {document.id: (document.id, 0) for document in documents}
    else:
        documents, places = compiled(records, layout)
    texts = {document.id: document.text for document in documents}
    lengths = {record["_id"]: len(record["text"]) for record in records}
    questions = []
    for query in queries:
        evidence = []
        for name, gain in judged[query["_id"]]:
            document_id, start = places[name]
            spans: list[tuple[int, int]] = []
            if layout != "records":
                end = start + lengths[name]
                answers = query.get("answers", [])
                spans = [s for a in answers for s in found(texts[document_id], a, start, end)]
                spans = spans or [(start, end)]
            evidence.append(Evidence(document_id, gain, tuple(spans)))
        questions.append(Question(query["text"], tuple(evidence)))
    return documents, questions


def found(text: str, answer: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Return where the answer occurs in `text[start:end]`."""
    at = text.find(answer, start, end)
    while at >= 0:
        yield at, at + len(answer)
        at = text.find(answer, at + 1, end)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files_of(corpus: Path) -> Iterator[Document]:
    """Return each file of a folder as a document, by its path there."""
    from rag.sources import SourceFile, read_file

    for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
        name = path.relative_to(corpus).as_posix()
        status = path.stat()
        file = SourceFile(str(path), name, status.st_size, status.st_mtime_ns)
        for item in read_file(file, SourcesConfig()):
            if isinstance(item, Document):
                yield replace(item, id=name)


def compiled(
    records: Sequence[dict[str, Any]], layout: str
) -> tuple[list[Document], dict[str, tuple[str, int]]]:
    """Join the records of each title, and return where each record is then."""
    order = {title: at for at, title in enumerate(dict.fromkeys(r["title"] for r in records))}

    def place(record: dict[str, Any]) -> tuple[int, int]:
        number = record["_id"].rpartition(":")[2]
        return order[record["title"]], int(number) if number.isdigit() else 0

    articles = [
        (title, list(group))
        for title, group in groupby(sorted(records, key=place), key=lambda r: str(r["title"]))
    ]
    documents: list[Document] = []
    places: dict[str, tuple[str, int]] = {}
    in_one = ARTICLES_IN_BOOK if layout == "books" else 1
    remaining = iter(articles)
    while part := list(islice(remaining, in_one)):
        name = f"Part {len(documents) + 1}" if layout == "books" else part[0][0]
        text, headings = "", []
        if layout == "books":
            headings.append(Heading(0, len(name) + 2, 1, name))
            text = f"# {name}\n\n"
        for title, group in part:
            level = 2 if layout == "books" else 1
            line = f"{'#' * level} {title}"
            headings.append(Heading(len(text), len(text) + len(line), level, title))
            text += line
            for record in group:
                # XQuAD has whole paragraphs, Climate-FEVER sentences of one running text.
                text += " " if ":" in record["_id"] and not text.endswith(line) else "\n\n"
                places[record["_id"]] = (name, len(text))
                text += record["text"]
            text += "\n\n"
        documents.append(plain(name, text, title=name, headings=tuple(headings), markup="markdown"))
    return documents, places


def plain(name: str, text: str, **fields: Any) -> Document:
    """Make a document that was not read from a file."""
    return Document(name, name, text, media_type="text/plain", content_hash="", **fields)


def print_speed(embedder: Embedder) -> None:
    """Print a table of megabytes a second for generated Markdown and for one long line."""
    from rag.sources.formats.markdown import find_headings

    embedder.token_offsets("")
    manual = "".join(islice(sections(), 1300))
    line = " ".join("".join(islice(sections(), 6500)).split())
    print("| text | size | passages | MB/s |")
    print("| --- | --- | --- | --- |")
    outlined = replace(
        plain("manual", manual, title=""), headings=find_headings(manual), markup="markdown"
    )
    for name, document in (("Markdown", outlined), ("one line", plain("line", line, title=""))):
        started = time.perf_counter()
        cut = chunk_document(
            document,
            embedder.token_offsets,
            size=200,
            overlap=32,
            limit=embedding_limit(embedder),
        )
        count = sum(1 for _ in cut)
        megabytes = len(document.text) / 1e6
        rate = megabytes / (time.perf_counter() - started)
        print(f"| {name} | {megabytes:.1f} MB | {count} | {rate:.2f} |", flush=True)


def sections() -> Iterator[str]:
    """Generate sections of a manual, with paragraphs, lists, code and tables."""
    chance = random.Random(1)  # noqa: S311
    words = WORDS.split()

    def sentence() -> str:
        return " ".join(chance.choices(words, k=chance.randint(6, 25))).capitalize() + "."

    def several(most: int, between: str) -> str:
        return between.join(sentence() for _ in range(chance.randint(1, most)))

    for number in range(10**9):
        yield f"{'#' * chance.choice([2, 3, 3, 4])} Section {number}\n\n"
        yield several(9, " ") + "\n\n" + several(9, " ") + "\n\n"
        yield "- " + several(12, "\n- ") + "\n\n"
        yield "```sql\n" + several(20, "\n") + "\n```\n\n"
        yield "| name | meaning |\n| --- | --- |\n| x | " + several(20, " |\n| y | ") + " |\n\n"


if __name__ == "__main__":
    main()
