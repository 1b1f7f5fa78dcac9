"""The terms' cache: a tantivy index, a folder for each generation, immutable once it is named.

A generation is made from the one before: its files are linked, new chunks are added as a segment,
and the folder gets a name of its own. So it costs as much as has changed, and readers keep theirs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from rag.errors import StoreError, first_line
from rag.index.caches import CacheRow, DamagedCacheError, Digests, list_files, name_of
from rag.index.disk import files, steps
from rag.query import LexicalQuery
from rag.text.terms import analyse

if TYPE_CHECKING:
    from rag.index.rows import Ids
    from rag.types import Chunk

# The weight of two words that follow one another in a passage as in the question, without stop
# words: the ordered pairs of Metzler & Croft, SIGIR 2005. docs/retrieval.md compares weights.
PAIR_WEIGHT = 0.4

_ID, _WORDS, _COMPOUNDS = "chunk", "words", "compounds"
# It stands between headings and text, so that no phrase goes across.
_BORDER = "¶"
_HEAP_BYTES = 64_000_000
LOCK_TO_OPEN = ".tantivy-meta.lock"
_FIELDS = [(_ID, "i64"), (_WORDS, "text"), (_COMPOUNDS, "text")]
# What tantivy notes of an index and of the files that are its own, and how it names these.
_META, _MANAGED = "meta.json", ".managed.json"
_MOST_NOTED_BYTES = 4 << 20
_FILE_NAME = re.compile(r"[0-9a-f]{32}(\.[0-9]+)?\.[a-z]+|meta\.json|\.managed\.json")
# A filter that lets more ids through is applied to the hits, most of which pass it.
_LOOKED_UP = 20_000
# A set of ids makes tantivy walk through all of them; a few are found faster one by one.
_ASKED_ONE_BY_ONE = 500
_MOST_VARIANTS = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """The terms of one chunk, joined by spaces, as they are indexed."""

    chunk_id: int
    words: str
    compounds: str


def entry(chunk: Chunk, title: str, language: str) -> Entry:
    """Make the entry of a chunk: its document's title, the headings above it, and its text."""
    above = analyse(" \n".join(dict.fromkeys((title, *chunk.heading))), language)
    own = analyse(chunk.text, language)
    return Entry(
        chunk.id,
        " ".join((*above.words, _BORDER, *own.words)),
        " ".join((*above.compounds, *own.compounds)),
    )


_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]


class _Deletes(msgspec.Struct, frozen=True):
    num_deleted_docs: _Count


class _Segment(msgspec.Struct, frozen=True):
    max_doc: _Count
    deletes: _Deletes | None = None

    @property
    def deleted(self) -> int:
        return self.deletes.num_deleted_docs if self.deletes else 0


class _Field(msgspec.Struct, frozen=True):
    name: str
    type: str


class _Meta(msgspec.Struct, frozen=True):
    """What tantivy notes of an index."""

    segments: list[_Segment]
    fields: list[_Field] = msgspec.field(name="schema")


class TermsIndex:
    """An open cache. Scores are BM25 (Robertson et al., TREC-3 1994) with k1 = 1.2 and b = 0.75."""

    def __init__(self, index: Any) -> None:
        with _explain_failures():
            # Generations never change, so that tantivy need not watch for changes.
            index.config_reader(reload_policy="manual")
            index.reload()
            self._searcher = index.searcher()

    @property
    def count(self) -> int:
        """How many chunks it holds."""
        with _explain_failures():
            return int(self._searcher.num_docs)

    def search(
        self,
        query: LexicalQuery,
        k: int,
        *,
        within: Ids | None = None,
        related: Mapping[str, float] | None = None,
    ) -> list[tuple[int, float]]:
        """Find the `k` best (chunk id, BM25 score), best first, of ids `within`.

        `related` holds further words with their weights; a word of the question weighs 1.
        """
        wanted = _query(query, related or {})
        if wanted is None or (within is not None and not len(within)):
            return []
        if within is None:
            return self._best(wanted, k)
        if len(within) <= _LOOKED_UP:
            return self._best(_restrict(wanted, within), k)
        allowed = set(within.tolist())
        limit = k
        while True:
            found = self._best(wanted, limit)
            passing = [pair for pair in found if pair[0] in allowed]
            if len(passing) >= k or len(found) < limit:
                return passing[:k]
            limit *= 4

    def holding(self, phrase: Sequence[Sequence[str]]) -> Ids:
        """Return the ids of all chunks that hold a phrase, or one word."""
        import numpy as np

        found = self._best(_phrase(phrase), max(1, self.count))
        return np.array([each for each, _ in found], dtype=np.int64)

    def with_prefix(self, prefix: str) -> list[tuple[str, int]]:
        """Return the words that begin so, as they are indexed, and how many chunks hold each."""
        with _explain_failures():
            found: list[tuple[str, int]] = self._searcher.terms_with_prefix(_WORDS, prefix)
            return found

    def frequency(self, term: str) -> int:
        """Return how many chunks hold a word; some may be removed since."""
        with _explain_failures():
            return int(self._searcher.doc_freq(_WORDS, term))

    def _best(self, query: Any, k: int) -> list[tuple[int, float]]:
        with _explain_failures():
            found = self._searcher.search(query, limit=k, count=False).hits
            ids = self._searcher.fast_field_values(_ID, [address for _, address in found])
            if None in ids:
                raise DamagedCacheError("it holds passages without their numbers")
            pairs = zip(ids, (score for score, _ in found), strict=True)
            return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


@contextmanager
def _explain_failures() -> Iterator[None]:
    """Turn what tantivy raises for a damaged index into one error.

    It believes a file whose checksum somebody made to agree, and panics over what it finds in it; a
    panic is no Exception.

    Raises:
        DamagedCacheError: in place of it.
    """
    try:
        yield
    except (ValueError, OverflowError, TypeError, MemoryError) as error:
        raise DamagedCacheError(first_line(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DamagedCacheError(first_line(error)) from error


def write(
    directory: Path,
    digests: Digests,
    generation: int,
    before: CacheRow | None,
    added: Iterable[Entry],
    removed: Iterable[int],
    newest: int,
) -> CacheRow:
    """Write a generation durably, which goes on from the one `before`.

    Raises:
        DamagedCacheError: if tantivy cannot go on from it.
        StoreError: if tantivy cannot write a new one, as on a full disk.
    """
    import tantivy

    name = name_of("terms", generation)
    folder = directory / name
    # A process that was killed may have left a folder of this name.
    steps.make_directory(folder)
    try:
        if before is not None:
            # The files of a generation never change.
            for path in list_files(directory / before.name):
                steps.link(path, folder / path.name)
        with _explain_failures():
            index = tantivy.Index(_schema(), path=str(folder))
            writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)
            for chunk_id in removed:
                writer.delete_documents_by_term(_ID, chunk_id)
        for document in _documents(added):
            with _explain_failures():
                writer.add_document(document)
        with steps.step("write", folder), _explain_failures():
            writer.commit()
            writer.wait_merging_threads()
        count = _open(folder).count
    except DamagedCacheError as error:
        if before is not None:
            raise
        raise StoreError(f"{folder}: cannot be written: {first_line(error)}") from error
    # Tantivy makes some files for the owner alone, and others for all.
    mode = files.file_mode(directory)
    for path in list_files(folder):
        with suppress(PermissionError):
            path.chmod(mode)
        steps.sync_path(path)
    for path in folder.glob("*.lock"):
        path.chmod(mode)
    steps.sync_directory(folder)
    steps.sync_directory(directory)
    return CacheRow(generation, name, digests.of(folder), newest, count)


def load(directory: Path, row: CacheRow, digests: Digests) -> TermsIndex | None:
    """Open the cache that `row` names; None if it is missing or not what was written.

    Tantivy takes a lock beside the files that it opens. Where the lock cannot be written, this
    opens the cache through links in a folder where it can.
    """
    folder = directory / row.name
    if not is_whole(directory, row, digests):
        return None
    try:
        if os.access(folder / LOCK_TO_OPEN, os.W_OK):
            return _open(folder)
        with TemporaryDirectory(prefix="rag-terms-") as links:
            for path in list_files(folder):
                Path(links, path.name).symlink_to(path.absolute())
            return _open(Path(links))
    except (DamagedCacheError, OSError):
        return None


def _open(folder: Path) -> TermsIndex:
    import tantivy

    with _explain_failures():
        return TermsIndex(tantivy.Index.open(str(folder)))


def is_whole(directory: Path, row: CacheRow, digests: Digests) -> bool:
    """Return whether the cache that a row names is there, and is what a writer of ours wrote.

    Tantivy removes whatever file the list of its own names, wherever that is, so that this list,
    and what it notes of segments, is checked before it sees either.
    """
    folder = directory / row.name
    try:
        if not files.is_folder(folder) or not digests.agree(directory, row):
            return False
        names = {path.name for path in list_files(folder)}
        managed = msgspec.json.decode(_read_note(folder, _MANAGED), type=set[str])
        meta = msgspec.json.decode(_read_note(folder, _META), type=_Meta)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    if not all(_FILE_NAME.fullmatch(name) for name in (*names, *managed)):
        return False
    held = sum(each.max_doc - each.deleted for each in meta.segments)
    return held == row.count and [(each.name, each.type) for each in meta.fields] == _FIELDS


def _read_note(folder: Path, name: str) -> bytes:
    return files.read(folder / name, _MOST_NOTED_BYTES)


def in_memory(entries: Iterable[Entry]) -> TermsIndex:
    """Build an index in memory, in place of one that was lost."""
    import tantivy

    index = tantivy.Index(_schema())
    writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)
    for document in _documents(entries):
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    return TermsIndex(index)


@cache
def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field(_ID, indexed=True, fast=True)
    builder.add_text_field(_WORDS, tokenizer_name="whitespace", index_option="position")
    builder.add_text_field(_COMPOUNDS, tokenizer_name="whitespace", index_option="freq")
    return builder.build()


def _documents(entries: Iterable[Entry]) -> Iterator[Any]:
    import tantivy

    for item in entries:
        document = tantivy.Document()
        document.add_integer(_ID, item.chunk_id)
        document.add_text(_WORDS, item.words)
        document.add_text(_COMPOUNDS, item.compounds)
        yield document


def _query(asked: LexicalQuery, related: Mapping[str, float]) -> Any | None:
    """Make the query of a question; None if there is nothing to look for."""
    from tantivy import Occur, Query

    should = [_either(word) for word in asked.words]
    should += [Query.boost_query(_term(_WORDS, word), by) for word, by in related.items()]
    should += [_term(_COMPOUNDS, compound) for compound in asked.compounds]
    should += [Query.boost_query(_phrase(pair), PAIR_WEIGHT) for pair in pairwise(asked.words)]
    must = [_phrase(phrase) for phrase in asked.phrases]
    if not should and not must:
        return None
    return Query.boolean_query(
        [
            *((Occur.Should, clause) for clause in should),
            *((Occur.Must, clause) for clause in must),
            *((Occur.MustNot, _phrase(phrase)) for phrase in asked.excluded),
        ]
    )


def _term(field: str, term: str | int) -> Any:
    return _term_query()(_schema(), field, term, "freq")


@cache
def _term_query() -> Any:
    # The look-up is cached, as a search has hundreds of terms.
    from tantivy import Query

    return Query.term_query


def _either(word: Sequence[str]) -> Any:
    """Match a word by any of its stems; it counts once."""
    return _any([_term(_WORDS, stem) for stem in word])


def _phrase(words: Sequence[Sequence[str]]) -> Any:
    """Match words that follow one another, each by any of its stems."""
    from tantivy import Query

    if len(words) == 1:
        return _either(words[0])
    return _any([Query.phrase_query(_schema(), _WORDS, [*stems]) for stems in _variants(words)])


def _variants(words: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """List the forms of a phrase, at most so many; first those with all words in one language."""
    longest = max(len(word) for word in words)
    alike = (tuple(word[min(at, len(word) - 1)] for word in words) for at in range(longest))
    return list(islice(dict.fromkeys(chain(alike, product(*words))), _MOST_VARIANTS))


def _any(queries: list[Any]) -> Any:
    from tantivy import Query

    return queries[0] if len(queries) == 1 else Query.disjunction_max_query(queries)


def _restrict(query: Any, within: Ids) -> Any:
    from tantivy import Occur, Query

    ids = within.tolist()
    if len(ids) <= _ASKED_ONE_BY_ONE:
        allowed = Query.boolean_query([(Occur.Should, _term(_ID, each)) for each in ids])
    else:
        allowed = Query.term_set_query(_schema(), _ID, ids)
    return Query.boolean_query(
        [(Occur.Must, query), (Occur.Must, Query.const_score_query(allowed, 0.0))]
    )
