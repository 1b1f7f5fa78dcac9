"""An embedder -> a static one, fitted to the passages of an index, with what that loses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rag.chunking import embedded_texts
from rag.config import Config
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
"""That a static model is fitted to, unless another number is given."""

DIMENSIONS = 256

# Passages of the index that are searched with where there are no questions.
_QUERIES = 256
# Of so many passages the best documents are taken, each by its best passage.
_DEPTH = 1000
_PASSAGES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Loss:
    """How a static model compares with its teacher, over `queries`.

    With questions: `teacher` and `student` are nDCG@10 of a dense search, each its own. Without:
    passages of the index are searched with that the model was not fitted to, and `at_10` and
    `at_100` are the shares of the teacher's nearest that are among as many of the student's.
    """

    queries: int
    passages: int
    teacher: float = 0.0
    student: float = 0.0
    at_10: float = 0.0
    at_100: float = 0.0


@dataclass(frozen=True, slots=True)
class Distillation:
    """A static model at `path`, fitted to so many `passages`; `loss` where it was measured."""

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
    """Make a static model of the embedder that `config` names, in a directory of its own.

    It is fitted to passages of the index at `config.index.path`, whose vectors are the embedder's,
    or, if `data` is an evaluation set with documents of its own, of these; without an index it is
    made of the embedder alone. What it loses is measured with the questions of `data`, or, without
    them, with passages of the index.

    Args:
        directory: a new one, or one of an earlier static model, which is replaced.
        config: names the embedder and the index.
        dim: dimensions; 0 for as many as the embedder has.
        passages: how many to fit it to, drawn at random; 0 for none.
        data: an evaluation set, as `load_dataset` takes it.
        progress: called with signs of life.

    Raises:
        ConfigError: if the embedder has fewer dimensions.
        ModelError: if the embedder cannot be loaded, or the directory not be written.
        StoreError: if the index was built with another embedder.
        SourceError: if `data` cannot be read.
    """
    from rag.training.static import fitted, read_tokens, write_static

    dataset = load_dataset(data) if data is not None else None
    teacher = load_embedder(config.embedding, progress)
    index = _index(config, teacher, dataset, progress)
    sample = _sampled(index, passages, questions=dataset is not None) if index else _NOTHING
    table = read_tokens(config.embedding, progress)
    if sample.texts:
        table = fitted(table, sample.texts, sample.vectors)
    student = write_static(table, Path(directory), dim)
    loss = None
    if index is not None:
        told = _Told(progress, sample.of)
        if dataset is not None:
            loss = _by_questions(index, dataset, teacher, student, told)
        elif sample.queries:
            loss = _by_passages(index, sample, student, told)
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
    """Passages with the teacher's vectors; `queries` are places among the `of` passages."""

    texts: Sequence[str]
    vectors: Vectors
    queries: Sequence[int]
    query_texts: Sequence[str]
    query_vectors: Vectors
    of: int


class _Told(NamedTuple):
    progress: ProgressCallback
    passages: int


_NOTHING = _Sample((), (), (), (), (), 0)  # type: ignore[arg-type]


def _index(
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
    """Each document with what was embedded for its passages, and the vectors."""
    import numpy as np

    with index.contents() as contents:
        vectors = contents.vectors()
        documents = (document for _, document in contents.documents())
        chunks = groupby(contents.chunks(), key=lambda chunk: chunk.document_id)
        for name, group in chunks:
            # Both come by the documents' ids; one without a passage has no group.
            document = next(each for each in documents if each.id == name)
            cut = [
                Chunk(0, name, document.text[each.start : each.end], each.start, each.end, number)
                for number, each in enumerate(group)
            ]
            rows = [np.frombuffer(next(vectors), dtype="<f2") for _ in cut]
            yield document, embedded_texts(document, cut), np.array(rows, dtype=np.float32)


def _sampled(index: Index, most: int, *, questions: bool) -> _Sample:
    """Passages to fit to; without questions, others to search with."""
    import numpy as np

    with index.contents() as contents:
        count = contents.counts["chunks"]
    order = np.random.default_rng(0).permutation(count)
    queries = set() if questions else set(order[: min(_QUERIES, count // 10)].tolist())
    wanted = set(order[len(queries) : len(queries) + most].tolist())
    texts: list[str] = []
    vectors: list[Vectors] = []
    asked: list[int] = []
    query_texts: list[str] = []
    query_vectors: list[Vectors] = []
    at = 0
    for _, passages, rows in _passages(index):
        for text, row in zip(passages, rows, strict=True):
            if at in wanted:
                texts.append(text)
                vectors.append(row)
            elif at in queries:
                asked.append(at)
                query_texts.append(text)
                query_vectors.append(row)
            at += 1
    return _Sample(texts, np.array(vectors), asked, query_texts, np.array(query_vectors), count)


def _by_questions(
    index: Index, dataset: Dataset, teacher: Embedder, student: Embedder, told: _Told
) -> Loss:
    import numpy as np

    with index.contents() as contents:
        matched = match_qrels(dataset, (document for _, document in contents.documents()))
    questions = list(matched.qrels)
    texts = [dataset.questions[each] for each in questions]
    asked = (
        np.array([teacher.embed_query(text) for text in texts]),
        np.array([student.embed_query(text) for text in texts]),
    )
    names: list[str] = []
    for document, passages, _ in _passages(index):
        names += [matched.names.get(document.id, document.id)] * len(passages)
    scores = []
    for ids, similarities in _nearest(index, student, asked, _DEPTH, told):
        run = {
            question: _ranked(names, found, values)
            for question, found, values in zip(questions, ids, similarities, strict=True)
        }
        scores.append(evaluate_run(dataset, run, "dense").metrics["nDCG@10"])
    return Loss(len(questions), len(names), teacher=scores[0], student=scores[1])


def _ranked(names: Sequence[str], ids: Ids, values: Vectors) -> list[tuple[str, float]]:
    best: dict[str, float] = {}
    for each, value in zip(ids.tolist(), values.tolist(), strict=True):
        best.setdefault(names[each], value)
    return list(best.items())


def _by_passages(index: Index, sample: _Sample, student: Embedder, told: _Told) -> Loss:
    asked = sample.query_vectors, student.embed_documents(sample.query_texts)
    (theirs, _), (ours, _) = _nearest(index, student, asked, 101, told)
    at_10, at_100 = (_shared(sample.queries, theirs, ours, k) for k in (10, 100))
    return Loss(len(sample.queries), sample.of, at_10=at_10, at_100=at_100)


def _shared(queries: Sequence[int], theirs: Ids, ours: Ids, k: int) -> float:
    """The share of the `k` nearest that are the same; a passage is not its own neighbour."""
    found = wanted = 0
    for own, first, second in zip(queries, theirs.tolist(), ours.tolist(), strict=True):
        nearest = [each for each in first if each != own][:k]
        found += len(set(nearest).intersection([each for each in second if each != own][:k]))
        wanted += len(nearest)
    return found / wanted


def _nearest(
    index: Index, student: Embedder, asked: tuple[Vectors, Vectors], k: int, told: _Told
) -> list[tuple[Ids, Vectors]]:
    """The places of the `k` nearest passages, best first, with their cosines: both models' own."""
    import numpy as np

    best = [
        (np.zeros((len(each), 0), dtype=np.int64), np.zeros((len(each), 0), dtype=np.float32))
        for each in asked
    ]
    done = 0
    for texts, rows in _blocks(index):
        for which, passages in enumerate((rows, student.embed_documents(texts))):
            ids, values = best[which]
            new = np.broadcast_to(np.arange(done, done + len(texts)), (len(ids), len(texts)))
            ids = np.concatenate([ids, new], axis=1)
            values = np.concatenate([values, asked[which] @ passages.T], axis=1)
            order = np.argsort(-values, axis=1, kind="stable")[:, :k]
            best[which] = (
                np.take_along_axis(ids, order, axis=1),
                np.take_along_axis(values, order, axis=1),
            )
        done += len(texts)
        told.progress(Progress("measuring", done, told.passages, "passages"))
    return best


def _blocks(index: Index) -> Iterator[tuple[list[str], Vectors]]:
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
