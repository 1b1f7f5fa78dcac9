"""An index, or a run, and a dataset -> Report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import fmean
from typing import Any

from rag.config import MOST_PASSAGES, Config, check_argument
from rag.engine import RAG
from rag.errors import ConfigError, QuestionError, SourceError
from rag.evaluation.configurations import CURRENT, WAYS, apply_configuration
from rag.evaluation.dataset import Dataset
from rag.evaluation.matching import MatchedQrels, match_qrels, name_document
from rag.evaluation.metrics import METRICS, ranx_metrics, score
from rag.evaluation.report import RankedDocument, Report, Row
from rag.types import Hit, IndexInfo, Progress, ProgressCallback, no_progress

DEPTH = 100
_WRITTEN = {"multi-query", "hyde"}


def evaluate(
    rag: RAG,
    dataset: Dataset,
    configuration: str = CURRENT,
    *,
    depth: int = DEPTH,
    progress: ProgressCallback = no_progress,
) -> Report:
    """Search for every question that documents are relevant to, and measure the rankings.

    Qrels judge documents: each one's best passage decides its rank. `configuration` is a name for
    `apply_configuration`; `depth` is how many documents are ranked.

    Raises:
        ConfigError: if the configuration cannot be used, or ranx is not installed.
        SourceError: if the index holds none of the relevant documents, or a name is ambiguous.
        QuestionError: if a question cannot be searched for.
        StoreError: if there is no index, or it was built with another embedder.
    """
    if configuration.partition("+")[0] in WAYS:
        raise ConfigError(f"{configuration}: is a way to answer: measure answers (--answers)")
    # Raise before the searches, which would be made for nothing.
    depth = check_argument("depth", depth)
    ranx_metrics()
    config = apply_configuration(rag.config, configuration)
    # Qrels judge copies like other documents: no document may be hidden behind its copy.
    config = replace(config, retrieval=replace(config.retrieval, collapse=0.0, context="passage"))
    writes = _WRITTEN & set(config.retrieval.expansion) or config.retrieval.rerank == "likelihood"
    searched = share_models(rag, config, generator=bool(writes))
    matched = match_qrels(dataset, rag.documents())
    run: dict[str, list[RankedDocument]] = {}
    milliseconds: dict[str, float] = {}
    for question, hits, taken in _search_each(searched, dataset, list(matched.qrels), depth):
        run[question] = [_as_ranked_document(hit, matched, dataset) for hit in hits]
        milliseconds[question] = taken
        done = Progress(f"measuring {configuration}", len(run), len(matched.qrels), "questions")
        progress(done)
    return _make_report(
        dataset,
        configuration,
        matched.qrels,
        run,
        milliseconds,
        missing=matched.missing,
        depth=depth,
        settings=flatten(config),
        embedder=searched.embedder.name,
        fingerprint=searched.embedder.fingerprint,
        index=index_facts(searched.info()),
        timings=median_and_p95(list(milliseconds.values())),
    )


def evaluate_run(
    dataset: Dataset, run: Mapping[str, Sequence[tuple[str, float]]], name: str
) -> Report:
    """Measure rankings from elsewhere, such as those of `read_run`; no index is needed.

    Raises:
        ConfigError: if ranx is not installed.
        SourceError: if the run ranks nothing for any question of the dataset.
    """
    qrels = dataset.relevant
    if not qrels.keys() & run.keys():
        raise SourceError(name, f"ranks nothing for any question of {dataset.path}")
    ranked = {
        question: [RankedDocument(document, value, 0) for document, value in run[question]]
        for question in qrels
        if question in run
    }
    depth = max(len(documents) for documents in ranked.values())
    return _make_report(dataset, name, qrels, ranked, {}, missing=(), depth=depth)


def _make_report(
    dataset: Dataset,
    configuration: str,
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Sequence[RankedDocument]],
    milliseconds: Mapping[str, float],
    **facts: Any,
) -> Report:
    scores = score(qrels, {question: [each.name for each in run[question]] for question in run})
    rows = tuple(
        Row(
            id=question,
            question=dataset.questions[question],
            relevant=gains,
            ranking=tuple(
                replace(each, gain=gains.get(each.name, 0)) for each in run.get(question, ())
            ),
            metrics=scores[question],
            milliseconds=milliseconds.get(question, 0.0),
        )
        for question, gains in qrels.items()
    )
    return Report(
        configuration=configuration,
        dataset=str(dataset.path),
        metrics={metric: fmean(row.metrics[metric] for row in rows) for metric in METRICS},
        rows=rows,
        unanswerable=dataset.unanswerable,
        version=version("checkable-rag"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    )


def _search_each(
    rag: RAG, dataset: Dataset, questions: Sequence[str], depth: int
) -> Iterator[tuple[str, list[Hit], float]]:
    """Yield for each question the best hit of each of the best documents, and the milliseconds."""
    counts = rag.info()
    passages = min(counts.chunks, MOST_PASSAGES)
    guess = min(passages, -(-depth * counts.chunks // counts.documents))
    for number, question in enumerate(questions):
        try:
            if number == 0:
                # The first search also loads models: search twice, and time the second.
                rag.search(dataset.questions[question], guess)
            hits, taken = _search_documents(
                rag, dataset.questions[question], depth, guess, passages
            )
        except QuestionError as error:
            raise QuestionError(f"{dataset.path}: {question}: {error}") from error
        yield question, hits, taken


def _search_documents(
    rag: RAG, question: str, documents: int, passages: int, all_passages: int
) -> tuple[list[Hit], float]:
    """Search for so many documents: twice as many passages each time, until they hold enough."""
    before = -1
    while True:
        started = time.perf_counter()
        hits = rag.search(question, passages)
        milliseconds = (time.perf_counter() - started) * 1000
        best: dict[str, Hit] = {}
        for hit in hits:
            best.setdefault(hit.chunk.document_id, hit)
        # A retriever may return fewer passages than it is asked for.
        if len(best) >= documents or passages >= all_passages or len(hits) == before:
            return list(best.values())[:documents], milliseconds
        before = len(hits)
        passages = min(2 * passages, all_passages)


def _as_ranked_document(hit: Hit, matched: MatchedQrels, dataset: Dataset) -> RankedDocument:
    document = hit.chunk.document_id
    name = matched.names.get(document) or name_document(document, hit.source, dataset.corpus)
    return RankedDocument(name, hit.score, 0, hit.location)


def share_models(rag: RAG, config: Config, *, generator: bool) -> RAG:
    """Open the index under other settings, with the models of `rag` where the settings agree.

    The generator, which is slow to load, is shared only if `generator` is true.
    """
    if config == rag.config:
        return rag
    same = config.generation == rag.config.generation
    return RAG(
        rag.path,
        config=config,
        embedder=rag.embedder,
        generator=rag.generator if generator and same else None,
    )


def flatten(config: Config) -> dict[str, Any]:
    """Return all settings by `section.key`, as JSON holds them."""
    return {
        f"{section}.{key}": list(value) if isinstance(value, tuple) else value
        for section, values in asdict(config).items()
        for key, value in values.items()
    }


def median_and_p95(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95th percentile."""
    import numpy as np

    median, p95 = np.percentile(milliseconds, (50, 95))
    return {"median": float(median), "p95": float(p95)}


def index_facts(info: IndexInfo) -> dict[str, Any]:
    """Return the path and the sizes of an index, which a report holds."""
    return {name: getattr(info, name) for name in ("path", "files", "documents", "chunks")}
