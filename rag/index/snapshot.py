"""One state of an index, to search: nearest chunks, chunks that match words, what they hold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from rag.errors import StoreError
from rag.index import rows, terms
from rag.index.caches import KINDS, CacheRow, DamagedCacheError, Digests
from rag.index.disk.database import WrongValueError
from rag.index.vectors import cache
from rag.index.vectors.kinds import CacheSettings, Shape
from rag.index.vectors.nearest import Part, Scored, Tombstones, are_possible
from rag.types import Chunk, Document

if TYPE_CHECKING:
    from rag.index.rows import Ids
    from rag.index.terms import TermsIndex
    from rag.query import LexicalQuery
    from rag.query.filters import Filter
    from rag.types import Vectors

T = TypeVar("T")

# SQLite takes 32,766 values in one statement.
_MOST_VALUES = 10_000
# The text, source, title and metadata of a document.
_HELD = rows.Cells(str, str, str, str)


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored chunk with the source, title and language of its document."""

    chunk: Chunk
    source: str
    title: str
    language: str

    @property
    def whole(self) -> str:
        """Its title, headings and text, which are indexed as its words."""
        return "\n".join(dict.fromkeys((self.title, *self.chunk.heading, self.chunk.text)))


class OpenCaches:
    """The caches that were opened last, shared by all readers of one process.

    A cache that is lost or damaged is built in memory from SQLite, which costs time and no more.
    """

    def __init__(self, directory: Path, digests: Digests, settings: CacheSettings) -> None:
        self.settings = settings
        self._directory = directory
        self._digests = digests
        self._locks = {kind: threading.Lock() for kind in KINDS}
        self._opened: dict[str, tuple[str, Any]] = {}
        self._tombstones: tuple[tuple[Any, ...], Tombstones] | None = None

    def vectors(
        self, connection: apsw.Connection, kind: str, row: CacheRow, after: int, dim: int
    ) -> cache.OpenCache:
        """Open the FAISS index that a row of `kind` names, which holds chunks above `after`."""

        def build() -> cache.OpenCache:
            if row.count > self.settings.rebuilt_rows:
                raise StoreError(
                    f"{self._directory / row.name}: is damaged or missing, and too large to be "
                    f"built for one search: run `rag doctor --repair --index {self._directory}`"
                )
            ids = rows.chunk_ids(connection, after)
            ids = ids[ids <= row.max_id]
            faiss_index, _, _ = cache.build(lambda: nullcontext(connection), dim, ids, "flat", 1.0)
            return cache.prepare(faiss_index, Shape())

        mapped = self.settings.mapped_bytes
        load = partial(
            cache.load, self._directory, row, self._digests, dim=dim, mapped_bytes=mapped
        )
        return self._open(kind, row.sha256, load, build)

    def tombstones(self, connection: apsw.Connection) -> Tombstones:
        """Return the removed chunks that caches may still hold."""
        # The number of commits alone does not identify a state: an older copy that was put back
        # counts on from its own. Two subqueries use the index; in one SELECT, count and max would
        # read all rows.
        counted = connection.execute(
            "SELECT (SELECT count(*) FROM tombstones), (SELECT max(chunk_id) FROM tombstones)"
        ).get
        state = (rows.commits(connection), *counted)
        known = self._tombstones
        if known is None or known[0] != state:
            ids = rows.sorted_ids(
                connection.execute("SELECT group_concat(chunk_id) FROM tombstones").get
            )
            known = self._tombstones = (state, Tombstones(ids))
        return known[1]

    def terms(
        self, connection: apsw.Connection, row: CacheRow | None, *, anew: bool = False
    ) -> TermsIndex:
        """Open the index of terms that a row names; `anew` builds it, as does no row."""

        def build() -> TermsIndex:
            found = rows.passages(connection, "true", ())
            return terms.in_memory(terms.entry(*passage) for passage in found)

        if row is None or anew:
            return self._open("terms", f"commit {rows.commits(connection)}", _load_none, build)
        return self._open("terms", row.sha256, self._terms_loader(row), build)

    def has_terms(self, row: CacheRow) -> bool:
        """Return whether the index of terms that a row names is open, or can be opened."""
        return self._open("terms", row.sha256, self._terms_loader(row), lambda: None) is not None

    def _terms_loader(self, row: CacheRow) -> Callable[[], TermsIndex | None]:
        return partial(terms.load, self._directory, row, self._digests)

    def _open(
        self, kind: str, state: str, load: Callable[[], T | None], build: Callable[[], T]
    ) -> T:
        """Open a cache, once for each state of it."""
        with self._locks[kind]:
            known = self._opened.get(kind)
            if known is None or known[0] != state:
                opened = load()
                known = (state, build() if opened is None else opened)
                if known[1] is not None:
                    self._opened[kind] = known
            found: T = known[1]
            return found


def _load_none() -> None:
    """Load nothing, where no row names a cache."""


class Snapshot(rows.State):
    """One state of an index, to be searched."""

    def __init__(self, directory: Path, connection: apsw.Connection, caches: OpenCaches) -> None:
        super().__init__(directory, connection)
        self._caches = caches

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages (ISO 639-1) of the documents."""
        return rows.languages(self._connection)

    def is_timely(self) -> bool:
        """Return whether the index of terms of this state still exists, and open it if so.

        A writer removes it one commit after the next one took its place.
        """
        row = self._terms_row
        return row is None or (self._caches.has_terms(row) and self._terms is not None)

    @cached_property
    def _terms(self) -> TermsIndex:
        """Opened once, since readers of another state may replace it in the shared caches."""
        return self._caches.terms(self._connection, self._terms_row)

    def _ask_terms(self, ask: Callable[[TermsIndex], T]) -> T:
        """Ask the index of terms, and one that is built anew where it turns out to be damaged.

        Raises:
            StoreError: if that cannot be searched either.
        """
        try:
            return ask(self._terms)
        except DamagedCacheError:
            self._terms = self._caches.terms(self._connection, self._terms_row, anew=True)
        try:
            return ask(self._terms)
        except DamagedCacheError as error:
            raise StoreError(f"{self.directory}: its words cannot be searched: {error}") from error

    @cached_property
    def _terms_row(self) -> CacheRow | None:
        return rows.cache_row(self._connection, "terms")

    def open_vectors(self) -> None:
        """Open the caches of vectors now, and not at the first call of `nearest`.

        Raises:
            StoreError: if one is damaged, and too large to be built anew for one search.
        """
        _ = self._parts

    @cached_property
    def _parts(self) -> list[Part]:
        """The caches of vectors, each with chunks newer than those of the one before."""
        parts: list[Part] = []
        after = 0
        for kind in ("vectors", "recent"):
            row = rows.cache_row(self._connection, kind)
            if row is None:
                continue
            dim, settings = self.manifest.dim, self._caches.settings
            tombstones = self._caches.tombstones(self._connection)
            opened = self._caches.vectors(self._connection, kind, row, after, dim)
            parts.append(Part(self._connection, dim, row, after, opened, tombstones, settings))
            after = row.max_id
        return parts

    def passing(self, wanted: Filter) -> Ids:
        """Return the ids of the chunks that pass a filter, in order."""
        from rag.index import filtering

        return filtering.chunk_ids(self._connection, wanted)

    def nearest(self, query: Vectors, k: int, within: Ids | None = None) -> Scored:
        """Find the `k` chunks with the highest inner product with `query` (float32 `[dim]`).

        `within` limits the search to these ids. Scores are exact; so is the choice of chunks,
        unless the cache is of an approximate kind.
        """
        dim = self.manifest.dim
        if query.shape != (dim,):
            raise StoreError(
                f"{self.directory}: holds vectors of dimension {dim} "
                f"({self.manifest.embedder}), the question's has {query.shape[-1]}"
            )
        found: Scored = []
        for part in self._parts:
            found += part.nearest(query, k, within)
        after = self._parts[-1].row.max_id if self._parts else 0
        newer = rows.vector_blocks(self._connection, dim, "id > ?", (after,))
        if within is not None:
            newer = _only(newer, within)
        found += cache.score(newer, query, k)
        if not are_possible(found, query):
            raise WrongValueError("its table chunks holds vectors of another length than 1")
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]

    def matching(
        self,
        query: LexicalQuery,
        k: int,
        within: Ids | None = None,
        related: Mapping[str, float] | None = None,
    ) -> Scored:
        """Find the `k` chunks that match the words of a question best, by BM25.

        `related` holds further words with their weights; a word of the question weighs 1.
        """
        return self._ask_terms(lambda terms: terms.search(query, k, within=within, related=related))

    def terms_with_prefix(self, prefix: str) -> list[tuple[str, int]]:
        """Return the stems of the index that begin so, and how many chunks hold each."""
        return self._ask_terms(lambda terms: terms.with_prefix(prefix))

    def frequency(self, stem: str) -> int:
        """Return how many chunks hold a stem; some may be removed since."""
        return self._ask_terms(lambda terms: terms.frequency(stem))

    def holding(self, query: LexicalQuery, within: Ids | None = None) -> Ids:
        """Return the ids of the chunks that hold a query's phrases and nothing it excludes."""
        import numpy as np

        for phrase in query.phrases:
            held = self._holding(phrase)
            within = held if within is None else np.intersect1d(within, held)
        if within is None:
            within = rows.chunk_ids(self._connection)
        for phrase in query.excluded:
            within = np.setdiff1d(within, self._holding(phrase))
        return within

    def _holding(self, phrase: Sequence[Sequence[str]]) -> Ids:
        return self._ask_terms(lambda terms: terms.holding(phrase))

    def vectors(self, ids: Sequence[int]) -> Vectors:
        """Return the stored vectors of chunks, as float32 `[len(ids), dim]`."""
        found = dict(self._rows("SELECT id, vector FROM chunks WHERE id IN", ids))
        if any(each not in found for each in ids):
            raise WrongValueError("its caches name passages that its table chunks does not hold")
        return rows.vectors_of([found[each] for each in ids], self.manifest.dim)

    def passages(self, ids: Sequence[int]) -> dict[int, Passage]:
        """Return passages by chunk id, without those that are gone."""
        spans = list(self._rows(f"SELECT {rows.SPAN_COLUMNS} FROM chunks WHERE id IN", ids))
        # Each document is fetched once: its text may be long, and hold many of the chunks.
        names = list({span[1] for span in spans})
        select = "SELECT id, text, source, title, metadata FROM documents WHERE id IN"
        documents = {row[0]: row[1:] for row in self._rows(select, names)}
        found = {}
        for span in spans:
            held = documents.get(span[1], ())
            text, source, title, metadata = rows.check_cells(held, _HELD, "documents")
            language = rows.language_of(rows.metadata_of(metadata))
            found[span[0]] = Passage(rows.chunk(span, text), source, title, language)
        return found

    def documents(self, ids: Collection[str]) -> dict[str, Document]:
        """Return documents by id."""
        found = self._rows(f"SELECT {rows.DOCUMENT_COLUMNS} FROM documents WHERE id IN", list(ids))
        return {row[0]: rows.document(row) for row in found}

    def _rows(self, select: str, values: Sequence[Any]) -> Iterator[Any]:
        """Yield the rows of a SELECT that ends in IN, for any number of values."""
        for at in range(0, len(values), _MOST_VALUES):
            part = values[at : at + _MOST_VALUES]
            yield from self._connection.execute(f"{select} ({','.join('?' * len(part))})", part)


def _only(blocks: Iterator[tuple[Ids, Vectors]], within: Ids) -> Iterator[tuple[Ids, Vectors]]:
    import numpy as np

    for ids, block in blocks:
        wanted = np.isin(ids, within)
        yield ids[wanted], block[wanted]
