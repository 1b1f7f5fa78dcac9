"""Measure how good retrieval is by its stages, and how fast.

    python benchmarks/retrieval.py quality DATASET... [--configurations dense,hybrid] [--every N]
    python benchmarks/retrieval.py speed DATASET... [--passages 100000]
    python benchmarks/retrieval.py engines DATASET... [--passages 1000000]

DATASET is a folder in BEIR's layout. `quality` prints a table of metrics, with the two-sided
p-value of a paired randomisation test on nDCG@10 against the first configuration, and the
milliseconds of a search. `speed` makes an index of passages from random sentences of the data
sets, with vectors near real ones, and times warm searches one after another. `engines` compares
BM25 in SQLite's FTS5 with the index of terms over the same passages. All print Markdown tables.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from rag import RAG, Chunk, Document, Embedder
from rag.evaluation import (
    Dataset,
    Report,
    compare,
    evaluate,
    index_corpus,
    load_dataset,
)
from rag.index import FileRecord, Index, terms
from rag.query import LexicalQuery, parse_question
from rag.text.sentences import split_sentences

CONFIGURATIONS = ("dense", "lexical", "rrf", "hybrid", "hybrid+rm3", "hybrid+rocchio", "current")
SENTENCES = 6
QUESTIONS = 200


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("quality", "speed", "engines"))
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--configurations", default=",".join(CONFIGURATIONS))
    parser.add_argument("--every", type=int, default=1, help="take every Nth question")
    parser.add_argument(
        "--indexes", type=Path, default=Path("indexes"), help="the folder of the indexes"
    )
    parser.add_argument("--passages", type=int, default=100_000)
    arguments = parser.parse_args()
    if arguments.what == "quality":
        names = arguments.configurations.split(",")
        print_quality(arguments.datasets, names, arguments.every, arguments.indexes)
    elif arguments.what == "speed":
        print("| search | passages | questions | median ms | 95th percentile ms |")
        print("| --- " * 5 + "|")
        print_speed(arguments.datasets, arguments.passages, arguments.indexes)
    else:
        print("| engine | passages | questions | median ms | 95th percentile ms |")
        print("| --- " * 5 + "|")
        print_engines(arguments.datasets, arguments.passages, arguments.indexes)


def print_quality(folders: Sequence[Path], names: Sequence[str], every: int, indexes: Path) -> None:
    """Print a row of metrics for each data set and configuration."""
    print("| data | configuration | nDCG@10 | p | recall@10 | of relevance 2+ | MRR@10 | ms |")
    print("| --- " * 8 + "|")
    embedder = RAG(indexes).embedder
    for folder in folders:
        dataset = take_every(load_dataset(folder), every)
        rag = open_index(folder, indexes, embedder)
        rag.search("Loads the model before the time is taken.")
        reports: list[Report] = []
        for name in names:
            report = evaluate(rag, dataset, name)
            reports.append(report)
            shown = [f"{report.metrics[metric]:.3f}" for metric in ("nDCG@10", "recall@10")]
            shown += [strict_recall(report), f"{report.metrics['MRR@10']:.3f}"]
            shown.insert(1, p_value(reports[0], report) if len(reports) > 1 else "")
            milliseconds = f"{report.timings['median']:.0f}"
            print("|", " | ".join([folder.name, name, *shown, milliseconds]), "|", flush=True)


def open_index(folder: Path, indexes: Path, embedder: Embedder | None = None) -> RAG:
    """Return the index of a data set, brought up to date."""
    rag = RAG(indexes / f"benchmark-{folder.name}", embedder=embedder)
    index_corpus(rag, load_dataset(folder))
    return rag


def p_value(first: Report, other: Report) -> str:
    """Return the p-value of the difference in nDCG@10."""
    found = compare([first, other]).differences
    return next(f"{each.p:.4f}" for each in found if each.metric == "nDCG@10")


def strict_recall(report: Report) -> str:
    """Return recall@10 of documents with a relevance of 2 or more, where relevance has degrees."""
    shares = []
    for row in report.rows:
        wanted = {name for name, gain in row.relevant.items() if gain >= 2}
        found = {each.name for each in row.ranking[:10]}
        if wanted:
            shares.append(len(wanted & found) / len(wanted))
    return f"{fmean(shares):.3f}" if shares else ""


def take_every(dataset: Dataset, every: int) -> Dataset:
    """Return the data set with every Nth of its questions that have relevant documents."""
    chosen = set(list(dataset.relevant)[::every])
    return replace(dataset, questions={k: v for k, v in dataset.questions.items() if k in chosen})


def print_speed(folders: Sequence[Path], passages: int, indexes: Path) -> None:
    """Print what a warm search takes by stages, over passages made of random sentences."""
    questions = sample_questions(folders)
    with tempfile.TemporaryDirectory() as folder:
        embedder = RAG(folder).embedder
        make_index(Index(Path(folder)), embedder, folders, passages, indexes)
        # The garbage collector should not look through what making the index left behind.
        gc.collect()
        gc.freeze()
        for settings in (
            {"retrieval.mode": "dense", "retrieval.expansion": ()},
            {"retrieval.mode": "lexical", "retrieval.expansion": ()},
            {"retrieval.expansion": ()},
            {},
        ):
            rag = RAG(folder, embedder=embedder, settings=settings)
            for question in questions[:10]:
                rag.search(question)
            times = [time_call(partial(rag.search, question))[1] for question in questions]
            name = " ".join(f"{key}={value}" for key, value in settings.items()) or "default"
            print_times(name, passages, times)
        explained = [rag.explain(question) for question in questions]
        for stage in explained[0].timings:
            each = [found.timings.get(stage, 0.0) / 1000 for found in explained]
            print_times(f"default: {stage}", passages, each)


def make_index(
    index: Index, embedder: Embedder, folders: Sequence[Path], passages: int, indexes: Path
) -> None:
    """Fill an index with documents of ten passages each, with vectors near real ones."""
    with open_index(folders[0], indexes)._index.snapshot() as snapshot:
        held = snapshot.manifest
        ids = [each for each, _ in snapshot.nearest(np.ones(held.dim, np.float32), 2000)]
        real = snapshot.vectors(ids)
    noise = np.random.default_rng(0)
    texts = make_passages(folders, passages, indexes)
    with index.write() as writer:
        writer.set_manifest(held)
        for at in range(0, passages, 10):
            record = FileRecord(f"/{at}", f"{at}.txt", 1, 1, str(at))
            own = list(islice(texts, 10))
            starts = [0, *accumulate(len(text) + 1 for text in own)]
            chunks = [
                Chunk(0, str(at), text, start, start + len(text), ordinal)
                for ordinal, (text, start) in enumerate(zip(own, starts, strict=False))
            ]
            vectors = real[noise.integers(len(real), size=len(own))]
            vectors = vectors + noise.normal(scale=0.03, size=vectors.shape).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            document = Document(
                str(at), record.source, "\n".join(own), record.source, "text/plain", str(at)
            )
            file_id = writer.begin_file(record)
            writer.put_document(file_id, document, chunks, own, vectors)
            writer.end_file(file_id, record, [])
        writer.commit()
        writer.refresh_cache()


def print_engines(folders: Sequence[Path], passages: int, indexes: Path) -> None:
    """Print what BM25 takes in two engines over the same passages."""
    asked = [parse_question(question) for question in sample_questions(folders)]
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder, "fts5.sqlite"))
        database.execute("CREATE VIRTUAL TABLE passages USING fts5 (words, content = '')")

        def into_both() -> Iterator[terms.Entry]:
            texts = make_passages(folders, passages, indexes)
            for at, text in enumerate(texts, start=1):
                each = terms.entry(Chunk(at, "", text, 0, len(text), 0), "", "en")
                database.execute(
                    "INSERT INTO passages (rowid, words) VALUES (?, ?)", (at, each.words)
                )
                yield each

        opened = terms.in_memory(into_both())
        database.execute("INSERT INTO passages (passages) VALUES ('optimize')")

        def by_fts5(query: LexicalQuery) -> list[Any]:
            either = " OR ".join(f'"{stem}"' for stems in query.words for stem in stems)
            return database.execute(
                "SELECT rowid FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT 100",
                (either,),
            ).fetchall()

        def by_terms(query: LexicalQuery) -> list[Any]:
            return opened.search(query, 100)

        for name, search in (("SQLite FTS5", by_fts5), ("terms", by_terms)):
            for query in asked[:5]:
                search(query)
            times = [time_call(partial(search, query))[1] for query in asked]
            print_times(name, passages, times)


def print_times(what: str, passages: int, seconds: Sequence[float]) -> None:
    """Print a row of the table of times."""
    middle, late = np.percentile(np.array(seconds) * 1000, (50, 95))
    print(f"| {what} | {passages:,} | {len(seconds)} | {middle:.1f} | {late:.1f} |", flush=True)


def time_call(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call, and the seconds that it takes."""
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


def sample_questions(folders: Sequence[Path]) -> list[str]:
    """Return questions of all data sets, shuffled."""
    found = [text for folder in folders for text in load_dataset(folder).questions.values()]
    return [found[at] for at in np.random.default_rng(0).permutation(len(found))[:QUESTIONS]]


def make_passages(folders: Sequence[Path], count: int, indexes: Path) -> Iterator[str]:
    """Yield passages of a few sentences from anywhere in the data sets."""
    sentences = [
        document.text[start:end]
        for folder in folders
        for document in open_index(folder, indexes).documents()
        for start, end in split_sentences(document.text)
    ]
    draw = np.random.default_rng(1)
    for _ in range(count):
        yield " ".join(sentences[at] for at in draw.integers(len(sentences), size=SENTENCES))


if __name__ == "__main__":
    main()
