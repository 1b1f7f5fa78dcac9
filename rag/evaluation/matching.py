"""Names of documents, as qrels and tables give them -> documents of the index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from rag.errors import SourceError
from rag.evaluation.dataset import Dataset
from rag.types import Document


@dataclass(frozen=True, slots=True)
class Matched:
    """Qrels with one name for each document, above 0 alone.

    `called` is that name by the document's id; `missing` are relevant names of no document.
    """

    qrels: Mapping[str, Mapping[str, int]]
    called: Mapping[str, str]
    missing: tuple[str, ...]


def match_qrels(dataset: Dataset, documents: Iterable[Document]) -> Matched:
    """Find the documents that a dataset's qrels name; two names of one document become the first.

    Raises:
        SourceError: if none of the relevant documents is there, or a name may mean several.
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
    return Matched(qrels, called, tuple(missing))


def match(
    names: Set[str], documents: Iterable[Document], corpus: Path | None = None
) -> dict[str, Document]:
    """The document that each name means; names of none are left out.

    In this order: its id or whole source; its path below `corpus`; the end of its source.

    Raises:
        SourceError: if a name may mean several documents.
    """
    found: dict[str, dict[int, list[Document]]] = defaultdict(lambda: defaultdict(list))
    for document in documents:
        for order, name in _names(document, corpus):
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


def own_name(document_id: str, source: str, corpus: Path | None = None) -> str:
    """What a document that no qrels name is called: the path below `corpus`, the id that its
    corpus file gives, or its source.

    The ids of other files are hashes, which tell a reader nothing.
    """
    if source.endswith(f"#{document_id}"):
        return document_id
    return source.removeprefix(f"{corpus}/") if corpus is not None else source


def _names(document: Document, corpus: Path | None) -> Iterator[tuple[int, str]]:
    yield from ((0, name) for name in {document.id, document.source})
    if corpus is not None and document.source.startswith(f"{corpus}/"):
        yield 1, document.source.removeprefix(f"{corpus}/")
    _, _, rest = document.source.partition("/")
    while rest:
        yield 2, rest
        _, _, rest = rest.partition("/")
