"""Find the documents of an index that qrels and tables name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from rag.errors import SourceError
from rag.evaluation.dataset import Dataset
from rag.types import Document


@dataclass(frozen=True, slots=True)
class MatchedQrels:
    """The qrels above 0, with one name for each document.

    `names` is that name by the document's id; `missing` are relevant names of no document.
    """

    qrels: Mapping[str, Mapping[str, int]]
    names: Mapping[str, str]
    missing: tuple[str, ...]


def match_qrels(dataset: Dataset, documents: Iterable[Document]) -> MatchedQrels:
    """Find the documents that a dataset's qrels name; of two names of one document, use the first.

    Raises:
        SourceError: if the index holds none of the relevant documents, or a name is ambiguous.
    """
    names = list(dict.fromkeys(name for gains in dataset.qrels.values() for name in gains))
    found = match(set(names), documents, dataset.corpus)
    called: dict[str, str] = {}
    for name in names:
        if name in found:
            called.setdefault(found[name].id, name)
    qrels: dict[str, dict[str, int]] = {}
    missing: dict[str, None] = {}
    for question, gains in dataset.relevant.items():
        judged = qrels[question] = {}
        for name, gain in gains.items():
            if name not in found:
                missing[name] = None
            one_name = called[found[name].id] if name in found else name
            judged[one_name] = max(gain, judged.get(one_name, 0))
    if all(name in missing for gains in qrels.values() for name in gains):
        raise SourceError(
            str(dataset.path),
            f"the index holds none of its {len(missing):,} relevant documents, such as "
            f"{next(iter(missing))!r}: index them, or name another index with --index",
        )
    return MatchedQrels(qrels, called, tuple(missing))


def match(
    names: Set[str], documents: Iterable[Document], corpus: Path | None = None
) -> dict[str, Document]:
    """Find the document that each name means; leave out names of no document.

    A name is, in this order: an id or a whole source; a path below `corpus`; the end of a source.

    Raises:
        SourceError: if a name may mean several documents.
    """
    found: dict[str, dict[int, list[Document]]] = defaultdict(lambda: defaultdict(list))
    for document in documents:
        for order, name in _names_of(document, corpus):
            if name in names:
                found[name][order].append(document)
    chosen = {}
    for name, by_order in found.items():
        best = by_order[min(by_order)]
        if len(best) > 1:
            sources = ", ".join(document.source for document in best[:3])
            raise SourceError(name, f"may mean several documents: {sources}: say more of the path")
        chosen[name] = best[0]
    return chosen


def name_document(document_id: str, source: str, corpus: Path | None = None) -> str:
    """Name a document that no qrels name: by its path below `corpus`, its id in a corpus file, or
    its source.

    The ids of other files are hashes, which tell a reader nothing.
    """
    if source.endswith(f"#{document_id}"):
        return document_id
    return source.removeprefix(f"{corpus}/") if corpus is not None else source


def _names_of(document: Document, corpus: Path | None) -> Iterator[tuple[int, str]]:
    yield from ((0, name) for name in {document.id, document.source})
    if corpus is not None and document.source.startswith(f"{corpus}/"):
        yield 1, document.source.removeprefix(f"{corpus}/")
    _, _, rest = document.source.partition("/")
    while rest:
        yield 2, rest
        _, _, rest = rest.partition("/")
