"""An embedder -> a static one, fitted to the passages of an index, with the loss of quality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rag.chunking import embedded_texts
from rag.config import Config, check_argument
from rag.embedding import load_embedder
from rag.engine import RAG
from rag.errors import StoreError
from rag.evaluation import (
    Dataset,
    cache_folder,
    evaluate_run,
    index_corpus,
    load_dataset,
    match_qrels,
)
from rag.index import Index, check_embedder
from rag.protocols import Embedder
from rag.types import Chunk, Document, Progress, ProgressCallback, no_progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.types import Vectors

    Ids = NDArray[np.int64]

PASSAGES = 10_000
"""How many passages a static model is fitted to by default."""

DIMENSIONS = 256
"""How many dimensions a static model has by default."""

# How many passages of the index serve as queries if there are no questions.
_QUERIES = 256
# How many passages a question finds; each document is ranked by its best one.
_DEPTH = 1000
_PASSAGES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Loss:
    """A comparison of a static model with its teacher, over `queries`.

    With questions, `teacher` and `student` are each one's nDCG@10 in a dense search. Without,
    passages of the index that the model was not fitted to serve as queries, and `at_10` and
    `at_100` are the shares of the teacher's nearest passages that are among as many of the
    student's.
    """

    queries: int
    passages: int
    teacher: float = 0.0
    student: float = 0.0
    at_10: float = 0.0
    at_100: float = 0.0


@dataclass(frozen=True, slots=True)
class Distillation:
    """A static model at `path`, fitted to so many `passages`; its `loss` if it was measured."""

    path: str
    teacher: str
    dim: int
    tokens: int
    bytes: int
    passages: int
    loss: Loss | None


def distil(
    directory: str | Path,
    config: Config,
    *,
    dim: int = DIMENSIONS,
    passages: int = PASSAGES,
    data: str | Path | None = None,
    progress: ProgressCallback = no_progress,
) -> Distillation:
    """Make a static model from the embedder that `config` names, in a directory of its own.

    It is fitted to passages of the index at `config.index.path`, which the same embedder must have
    built, or to the documents of `data`, if that evaluation set has some. Without an index it is
    made from the embedder alone. Its loss of quality is measured with the questions of `data`, or
    else with passages of the index.

    Args:
        directory: a new one, or that of an earlier static model, which is replaced.
        config: names the embedder and the index.
        dim: dimensions; 0 for as many as the embedder has.
        passages: how many to fit it to, drawn at random; 0 for none.
        data: an evaluation set, as `load_dataset` takes it.
        progress: called to report progress.

    Raises:
        ConfigError: if the embedder has fewer dimensions.
        ModelError: if the embedder cannot be loaded, or the directory cannot be written.
        StoreError: if the index was built with another embedder.
        SourceError: if `data` cannot be read.
    """
    from rag.training.static import fit, read_tokens, write_static

    dim, passages = check_argument("dim", dim), check_argument("passages", passages)
    dataset = load_dataset(data) if data is not None else None
    teacher = load_embedder(config.embedding, progress)
    index = _open_index(config, teacher, dataset, progress)
    sample = _draw_sample(index, passages, questions=dataset is not None) if index else _NOTHING
    table = read_tokens(config.embedding, progress)
    if sample.texts:
        table = fit(table, sample.texts, sample.vectors)
    student = write_static(table, Path(directory), dim)
    loss = None
    if index is not None:
        corpus = _Corpus(index, student, sample.total, progress)
        if dataset is not None:
            loss = _loss_by_questions(corpus, dataset, teacher)
        elif sample.queries:
            loss = _loss_by_passages(corpus, sample)
    path = Path(directory).resolve()
    return Distillation(
        path=str(path),
        teacher=teacher.name,
        dim=student.dim,
        tokens=len(table.vectors),
        bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        passages=len(sample.texts),
        loss=loss,
    )


class _Sample(NamedTuple):
    """Passages to fit to, with the teacher's vectors; others as queries.

    `queries` are numbers of passages among the index's `total`.
    """

    texts: Sequence[str]
    vectors: Vectors
    queries: Sequence[int]
    query_texts: Sequence[str]
    query_vectors: Vectors
    total: int


@dataclass(frozen=True, slots=True)
class _Corpus:
    """An index whose passages are compared by the vectors of two models."""

    index: Index
    student: Embedder
    passages: int
    progress: ProgressCallback


_NOTHING = _Sample((), (), (), (), (), 0)  # type: ignore[arg-type]


def _open_index(
    config: Config, teacher: Embedder, dataset: Dataset | None, progress: ProgressCallback
) -> Index | None:
    place = Path(config.index.path)
    if dataset is not None and dataset.corpus is not None:
        place = cache_folder(dataset, config)
        index_corpus(RAG(place, config=config, embedder=teacher), dataset, progress)
    index = Index(place)
    if not index.exists():
        if dataset is not None:
            raise StoreError(f"{place}: no index, and {dataset.path} brings no documents: "
                             "name an index with --index")  # fmt: skip
        return None
    with index.contents() as contents:
        check_embedder(contents.manifest, teacher, place)
    return index


def _passages(index: Index) -> Iterator[tuple[Document, list[str], Vectors]]:
    """Yield each document with the texts that were embedded for its passages, and the vectors."""
    import numpy as np

    with index.contents() as contents:
        vectors = contents.vectors()
        documents = (document for _, document in contents.documents())
        chunks = groupby(contents.chunks(), key=lambda chunk: chunk.document_id)
        for name, group in chunks:
            # Documents and groups come in the same order; a document without passages has no group.
            document = next(each for each in documents if each.id == name)
            pieces = [
                Chunk(0, name, document.text[each.start : each.end], each.start, each.end, number)
                for number, each in enumerate(group)
            ]
            rows = [np.frombuffer(next(vectors), dtype="<f2") for _ in pieces]
            yield document, embedded_texts(document, pieces), np.array(rows, dtype=np.float32)


def _draw_sample(index: Index, most: int, *, questions: bool) -> _Sample:
    """Draw passages to fit to and, without questions, others as queries."""
    import numpy as np

    with index.contents() as contents:
        count = contents.counts["chunks"]
    order = np.random.default_rng(0).permutation(count)
    as_query = set() if questions else set(order[: min(_QUERIES, count // 10)].tolist())
    to_fit = set(order[len(as_query) : len(as_query) + most].tolist())
    passages = (zip(texts, rows, strict=True) for _, texts, rows in _passages(index))
    fitted: dict[int, tuple[str, Vectors]] = {}
    asked: dict[int, tuple[str, Vectors]] = {}
    for at, passage in enumerate(chain.from_iterable(passages)):
        if at in to_fit:
            fitted[at] = passage
        elif at in as_query:
            asked[at] = passage
    (texts, vectors), (query_texts, query_vectors) = (
        ([text for text, _ in drawn.values()], np.array([row for _, row in drawn.values()]))
        for drawn in (fitted, asked)
    )
    return _Sample(texts, vectors, list(asked), query_texts, query_vectors, count)


def _loss_by_questions(corpus: _Corpus, dataset: Dataset, teacher: Embedder) -> Loss:
    import numpy as np

    with corpus.index.contents() as contents:
        matched = match_qrels(dataset, (document for _, document in contents.documents()))
    questions = list(matched.qrels)
    texts = [dataset.questions[each] for each in questions]
    queries = (
        np.array([teacher.embed_query(text) for text in texts]),
        np.array([corpus.student.embed_query(text) for text in texts]),
    )
    names: list[str] = []
    for document, passages, _ in _passages(corpus.index):
        names += [matched.names.get(document.id, document.id)] * len(passages)
    scores = []
    for ids, similarities in _find_nearest(corpus, queries, _DEPTH):
        run = {
            question: _rank_documents(names, numbers, values)
            for question, numbers, values in zip(questions, ids, similarities, strict=True)
        }
        scores.append(evaluate_run(dataset, run, "dense").metrics["nDCG@10"])
    return Loss(len(questions), len(names), teacher=scores[0], student=scores[1])


def _rank_documents(names: Sequence[str], ids: Ids, values: Vectors) -> list[tuple[str, float]]:
    """List the documents of ranked passages, best first, each with its best passage's cosine."""
    best: dict[str, float] = {}
    for each, value in zip(ids.tolist(), values.tolist(), strict=True):
        best.setdefault(names[each], value)
    return list(best.items())


def _loss_by_passages(corpus: _Corpus, sample: _Sample) -> Loss:
    queries = sample.query_vectors, corpus.student.embed_documents(sample.query_texts)
    (theirs, _), (ours, _) = _find_nearest(corpus, queries, 101)
    at_10, at_100 = (_share_in_common(sample.queries, theirs, ours, k) for k in (10, 100))
    return Loss(len(sample.queries), sample.total, at_10=at_10, at_100=at_100)


def _share_in_common(queries: Sequence[int], theirs: Ids, ours: Ids, k: int) -> float:
    """Return the share of the `k` nearest that are the same, the passage itself left out."""
    common = total = 0
    for own, first, second in zip(queries, theirs.tolist(), ours.tolist(), strict=True):
        nearest = [each for each in first if each != own][:k]
        common += len(set(nearest).intersection([each for each in second if each != own][:k]))
        total += len(nearest)
    return common / total


def _find_nearest(
    corpus: _Corpus, queries: tuple[Vectors, Vectors], k: int
) -> list[tuple[Ids, Vectors]]:
    """Return the numbers and cosines of the `k` nearest passages, for the teacher and the student.

    `queries` are the teacher's vectors and the student's, which are compared with each one's own
    vectors of passages.
    """
    import numpy as np

    best = [
        (np.zeros((len(each), 0), dtype=np.int64), np.zeros((len(each), 0), dtype=np.float32))
        for each in queries
    ]
    done = 0
    for texts, rows in _blocks(corpus.index):
        # Rounded as an index stores them, so that near ties fall as in a search.
        students = corpus.student.embed_documents(texts).astype("<f2").astype(np.float32)
        for which, passages in enumerate((rows, students)):
            ids, values = best[which]
            new = np.broadcast_to(np.arange(done, done + len(texts)), (len(ids), len(texts)))
            ids = np.concatenate([ids, new], axis=1)
            values = np.concatenate([values, queries[which] @ passages.T], axis=1)
            order = np.argsort(-values, axis=1, kind="stable")[:, :k]
            best[which] = (
                np.take_along_axis(ids, order, axis=1),
                np.take_along_axis(values, order, axis=1),
            )
        done += len(texts)
        corpus.progress(Progress("measuring", done, corpus.passages, "passages"))
    return best


def _blocks(index: Index) -> Iterator[tuple[list[str], Vectors]]:
    """Yield passages with their vectors, a few thousand at a time."""
    import numpy as np

    texts: list[str] = []
    rows: list[Vectors] = []
    for _, passages, vectors in _passages(index):
        texts += passages
        rows.append(vectors)
        if len(texts) >= _PASSAGES_AT_ONCE:
            yield texts, np.concatenate(rows)
            texts, rows = [], []
    if texts:
        yield texts, np.concatenate(rows)
