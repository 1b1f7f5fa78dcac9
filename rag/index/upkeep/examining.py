"""Look through all that an index consists of, and change nothing."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import apsw

from rag.errors import StoreError, first_line
from rag.index import rows, schema, terms
from rag.index.caches import KINDS, CacheRow, DamagedCacheError, Digests, kind_of
from rag.index.disk import commits, database, files, lock
from rag.index.disk.database import WrongValueError
from rag.index.disk.mounts import network_disk
from rag.index.upkeep import salvage
from rag.index.vectors import cache
from rag.query import LexicalQuery
from rag.types import Finding

if TYPE_CHECKING:
    from rag.index.rows import Ids

Status = Literal["ok", "note", "problem"]

# What libraries, or we for them, raise over a cache that is not what it must be.
_UNREADABLE = (
    *(AttributeError, DamagedCacheError, MemoryError, OSError, RuntimeError, TypeError),
    ValueError,
)
_SAMPLE = 50
# float16 leaves the length of a unit vector within a thousandth of 1.
_NORM_TOLERANCE = 0.01
_BLOCK_ROWS = 4096
_MOST_NAMED = 5
_NO_NAME = "its name cannot be read"
# A cache that `optimize` is building has a lock of its own, and is no leftover.
_LEFTOVERS = frozenset({"writer.json.tmp", salvage.WORK})
_OURS = re.compile(r"writer\.json|optimized\.faiss.*")
_DAMAGE = (
    *(apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.FormatError),
    apsw.InterruptError,
)
_DAMAGED_READ = (apsw.SQLITE_IOERR_DATA, apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_CORRUPTFS)


@dataclass
class Findings:
    """What was found in the folder of an index, and what a repair has to mend.

    Only where the database is `usable` (of this format, with all its pages and a manifest) were
    its rows and the caches looked at.
    """

    directory: Path
    items: list[Finding] = field(default_factory=list)
    usable: bool = False
    # To mend: the database as a whole, the counter of commits, documents with what is wrong with
    # them, rows that belong to nothing, and caches by kind.
    database_is_damaged: bool = False
    counter_is_off: bool = False
    broken: dict[str, str] = field(default_factory=dict)
    has_orphans: bool = False
    caches: set[str] = field(default_factory=set)

    def add(self, check: str, status: Status, text: str, file: Path | None = None) -> None:
        """Add one finding."""
        self.items.append(Finding(check, status, text, str(file) if file else ""))


def look_through(directory: Path, *, alone: bool = False) -> Findings:
    """Check everything in an index folder; `alone` says that the caller holds the writer's lock."""
    findings = Findings(directory)
    _check_database(findings)
    if findings.usable:
        _check_contents(findings)
    findings.items += _check_folder(directory)
    findings.items += _check_disk(directory)
    if not alone:
        findings.items += _check_writer(directory)
    return findings


@contextmanager
def _open(directory: Path) -> Iterator[apsw.Connection]:
    with database.open_to_read(directory) as connection:
        # The log stays as it is: closing must not bring it into the database.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("BEGIN")
        yield connection


def _check_database(findings: Findings) -> None:
    directory, path = findings.directory, findings.directory / database.NAME
    try:
        files.check_names(directory)
    except StoreError as error:
        findings.add("database", "problem", str(error).removeprefix(f"{directory}: "), path)
        return
    said = ""
    if (directory / database.SALVAGED).exists():
        said = "a repair of it was interrupted"
    elif not path.is_file():
        said = "is missing"
    elif database.is_cut_off(path):
        said = "is empty or cut off"
    if said:
        findings.database_is_damaged = True
        findings.add("database", "problem", said, path)
        return
    try:
        least = commits.read(directory)
        with _open(directory) as connection:
            found = schema.format_of(connection)
            if found is not None and found != schema.FORMAT:
                schema.check_format(found, directory)
                text = f"has index format {found}, which is brought up when it is first used"
                findings.add("format", "note", text, path)
                return
            said = _find_broken_structure(connection)
            if said:
                findings.database_is_damaged = True
                findings.add("database", "problem", said, path)
                return
            count = connection.pragma("page_count")
            findings.add("database", "ok", f"all {count:,} pages are whole", path)
            _check_manifest(findings, connection)
            _check_commits(findings, connection, least)
    except StoreError as error:
        # An index of another format, or on a disk that cannot be written, is not damaged.
        text = str(error).removeprefix(f"{directory}: ").removeprefix(f"{path}: ")
        findings.add("database", "problem", text, path)
    except (apsw.Error, ValueError) as error:
        findings.database_is_damaged = _is_lasting(error)
        findings.add("database", "problem", database.reason(error), path)


def _is_lasting(error: Exception) -> bool:
    """Return whether a second look would meet the same error, unlike that of a full disk."""
    damaged_read = getattr(error, "extendedresult", 0) in _DAMAGED_READ
    return damaged_read or isinstance(error, (ValueError, *_DAMAGE))


def _find_broken_structure(connection: apsw.Connection) -> str:
    if not database.has_checksums(connection):
        return "its first page is damaged"
    # This comes first: a check would compute whatever a foreign index or column asks for.
    said = schema.differences(connection, schema.FORMAT)
    if said:
        return said
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        said = " ".join("; ".join(map(str, found)).split())
        return f"its tables do not fit together: {said[:300]}"
    return ""


def _check_manifest(findings: Findings, connection: apsw.Connection) -> None:
    path = findings.directory / database.NAME
    try:
        found = rows.manifest(connection)
        rows.commits(connection)
        rows.reading_settings(connection)
        rows.next_generation(connection)
        salvage.read_losses(connection)
    except (ValueError, TypeError):
        findings.database_is_damaged = True
        findings.add("manifest", "problem", "cannot be read", path)
        return
    if found is None and connection.execute("SELECT count(*) FROM chunks").get:
        findings.add("manifest", "problem", "does not say what the vectors are of", path)
    elif found is None:
        findings.add("manifest", "note", "holds nothing yet: run `rag index PATH...`", path)
    else:
        findings.usable = True
        text = f"{found.embedder}, dimension {found.dim}, format {schema.FORMAT}"
        findings.add("manifest", "ok", text)


def _check_commits(findings: Findings, connection: apsw.Connection, least: int) -> None:
    path = findings.directory / commits.NAME
    count = rows.commits(connection)
    findings.counter_is_off = True
    if count < least:
        text = (
            f"{least - count:,} of {least:,} are lost, as when the log is damaged or an older "
            "database was put back"
        )
        findings.add("commits", "problem", text, path)
    elif count and not path.exists():
        findings.add("commits", "note", "is missing: a lost log would not be noticed", path)
    elif count and not least:
        findings.add("commits", "problem", "cannot be read: a lost log would not be noticed", path)
    elif count > least:
        findings.add("commits", "note", f"{count - least:,} were not noted by who was killed", path)
    elif count and not commits.is_whole(findings.directory):
        findings.add("commits", "problem", "one of its two halves is damaged", path)
    else:
        findings.counter_is_off = False
        findings.add("commits", "ok", f"all {count:,} are there")


def _check_contents(findings: Findings) -> None:
    """Check the rows of the tables, and the caches against them."""
    try:
        with _open(findings.directory) as connection:
            manifest = rows.manifest(connection)
            if manifest is None:
                return
            _check_references(findings, connection)
            _check_documents(findings, connection)
            _check_vectors(findings, connection, manifest.dim)
            findings.items += _check_roots(connection)
            findings.items += _check_files(connection)
            rows.languages(connection)
            if not findings.broken and not findings.has_orphans:
                _check_caches(findings, connection)
    except (apsw.Error, StoreError, ValueError) as error:
        said = first_line(error) if isinstance(error, StoreError) else database.reason(error)
        findings.database_is_damaged = _is_lasting(error)
        findings.add("database", "problem", said, findings.directory / database.NAME)


def _check_references(findings: Findings, connection: apsw.Connection) -> None:
    found = Counter(row[0] for row in connection.execute("PRAGMA foreign_key_check"))
    if found:
        findings.has_orphans = True
        named = ", ".join(f"{count:,} rows of {table}" for table, count in found.items())
        path = findings.directory / database.NAME
        findings.add("references", "problem", f"{named} belong to nothing", path)
    else:
        findings.add("references", "ok", "every chunk has its document, every document its file")


def _check_documents(findings: Findings, connection: apsw.Connection) -> None:
    before, number = len(findings.broken), 0
    cursor = connection.execute(f"SELECT {rows.DOCUMENT_COLUMNS} FROM documents ORDER BY id")
    for row in cursor:
        number += 1
        rows.check_cells(row[:1], rows.TEXT, "documents")
        reason = _find_breach(connection, row)
        if reason:
            findings.broken[str(row[0])] = reason
    _add_broken(findings, "documents", before, f"{number:,} with their chunks")


def _find_breach(connection: apsw.Connection, row: tuple[Any, ...]) -> str:
    """Return which law a document breaks; empty if none."""
    try:
        document = rows.document(row)
        length = len(document.text)
        spans = [(page.start, page.end) for page in document.pages]
        spans += [(heading.start, heading.end) for heading in document.headings]
        if not all(0 <= start <= end <= length for start, end in spans):
            return "its pages or headings are not within it"
        rows.language_of(document.metadata)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return "cannot be read"
    chunks = connection.execute(
        f"SELECT {rows.SPAN_COLUMNS} FROM chunks WHERE document_id = ? ORDER BY ordinal", (row[0],)
    )
    for ordinal, span in enumerate(chunks):
        try:
            chunk = rows.chunk(span, document.text)
            whole = all(isinstance(each, str) for each in chunk.heading)
            whole = whole and 0 <= chunk.start < chunk.end <= length and bool(chunk.text.strip())
        except (ValueError, TypeError, RecursionError):
            whole = False
        if not whole:
            return "a chunk of it is not a part of its text"
        if chunk.ordinal != ordinal:
            return "a chunk of it is missing, or there twice"
    return ""


def _check_vectors(findings: Findings, connection: apsw.Connection, dim: int) -> None:
    import numpy as np

    before, number = len(findings.broken), 0
    cursor = connection.execute("SELECT document_id, vector FROM chunks ORDER BY id")
    while block := list(islice(cursor, _BLOCK_ROWS)):
        number += len(block)
        wrong = [name for name, blob in block if not _has_length(blob, 2 * dim)]
        right = [(name, blob) for name, blob in block if _has_length(blob, 2 * dim)]
        halves = np.frombuffer(b"".join(blob for _, blob in right), dtype="<f2")
        norms = np.linalg.norm(halves.astype(np.float32).reshape(-1, dim), axis=1)
        # A vector that is not finite is not near 1 either.
        off = ~(np.abs(norms - 1) <= _NORM_TOLERANCE)
        wrong += [right[at][0] for at in np.flatnonzero(off)]
        for name in wrong:
            findings.broken.setdefault(str(name), "a vector of it is not of the length it must be")
    _add_broken(findings, "vectors", before, f"{number:,} of dimension {dim} and length 1")


def _has_length(blob: object, length: int) -> bool:
    return isinstance(blob, bytes) and len(blob) == length


def _add_broken(findings: Findings, check: str, before: int, well: str) -> None:
    """Name the documents that were found broken after the first `before`, or say what is well."""
    found = list(findings.broken.items())[before:]
    if not found:
        findings.add(check, "ok", well)
        return
    named = "; ".join(f"{name}: {reason}" for name, reason in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
    path = findings.directory / database.NAME
    findings.add(check, "problem", f"{len(found):,} documents are not whole: {named}{more}", path)


def _check_roots(connection: apsw.Connection) -> Iterator[Finding]:
    count = len(rows.stored_roots(connection))
    yield Finding("folders", "ok", f"follows {count:,} folder{'' if count == 1 else 's'}")


def _check_files(connection: apsw.Connection) -> Iterator[Finding]:
    for row in connection.execute(f"SELECT {rows.FILE_COLUMNS} FROM files"):
        rows.file_state(connection, row)
    number, due = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE NOT complete AND id NOT IN "
        "(SELECT file_id FROM problems)) FROM files"
    ).get
    if due:
        text = f"{due:,} of {number:,} are to be read again by the next `rag index`"
        yield Finding("files", "note", text)
    else:
        yield Finding("files", "ok", f"{number:,} are in")


def _check_caches(findings: Findings, connection: apsw.Connection) -> None:
    directory, live = findings.directory, rows.chunk_ids(connection)
    kinds = [kind for (kind,) in connection.execute("SELECT kind FROM caches ORDER BY kind")]
    if not set(kinds) <= set(KINDS):
        raise WrongValueError("its table caches names a kind that there is not")
    for kind in kinds:
        row = None
        try:
            row = rows.read_cache_row(connection, kind)
            said = _find_fault(directory, connection, kind, row, live) if row else ""
        except WrongValueError:
            said = _NO_NAME
        except _UNREADABLE as error:
            said = f"cannot be read ({first_line(error)})"
        path = directory / row.name if row else None
        if row and not said:
            findings.add(f"cache of {kind}", "ok", f"{row.count:,} chunks", path)
        elif _points_elsewhere(directory, kind, row):
            findings.add(f"cache of {kind}", "note", "was written anew meanwhile", path)
        else:
            findings.caches.add(kind)
            text = f"{said}: whoever searches does without it"
            findings.add(f"cache of {kind}", "problem", text, path)
    if len(live) and "terms" not in kinds:
        findings.caches.add("terms")
        findings.add("cache of terms", "problem", "there is none: whoever searches builds it")
    if len(live) and "vectors" not in kinds:
        findings.caches.add("vectors")
        findings.add("cache of vectors", "note", "there is none yet: searches go through all rows")


def _points_elsewhere(directory: Path, kind: str, row: CacheRow | None) -> bool:
    """Return whether a writer has named another cache since `row` was read."""
    with _open(directory) as connection:
        try:
            now = rows.cache_row(connection, kind)
        except (ValueError, TypeError):
            return False
    return row is not None and now != row


def _find_fault(
    directory: Path, connection: apsw.Connection, kind: str, row: CacheRow, live: Ids
) -> str:
    """Return the first fault of the cache that a row names; empty if there is none.

    It is compared with the ids of the `live` chunks.
    """
    path = directory / row.name
    if not (files.is_folder(path) if kind == "terms" else files.is_ordinary(path)):
        return "is missing"
    if not Digests().agree(directory, row):
        return "is damaged: its sha256 is another"
    if kind == "terms":
        return next(_faults_of_terms(directory, connection, row, live), "")
    return next(_faults_of_vectors(directory, connection, kind, row, live), "")


def _faults_of_vectors(
    directory: Path, connection: apsw.Connection, kind: str, row: CacheRow, live: Ids
) -> Iterator[str]:
    """Yield what is wrong with a cache of vectors; the first fault is enough."""
    import faiss
    import numpy as np

    manifest = rows.manifest(connection)
    if manifest is None or not cache.has_layout_of(directory, row, manifest.dim):
        yield f"is not laid out as one of {row.count:,} vectors"
        return
    # Read whole: it is not changed, and let go of at once.
    opened = faiss.deserialize_index(np.fromfile(directory / row.name, dtype=np.uint8))
    held = cache.ids_of(opened)
    if len(held) != row.count or opened.ntotal != row.count:
        yield f"holds {len(held):,} vectors, not the {row.count:,} that were noted"
    if len(np.unique(held)) != len(held):
        yield "holds a chunk twice"
    gone = connection.execute("SELECT chunk_id FROM tombstones").fetchall()
    tombstones = np.array(gone, dtype=np.int64).reshape(-1)
    if len(np.setdiff1d(np.setdiff1d(held, live), tombstones)):
        yield "holds chunks that are gone"
    # The main cache holds all chunks up to its last, the other one only newer ones.
    if kind == "vectors" and len(np.setdiff1d(live[live <= row.max_id], held)):
        yield "lacks chunks"
    if row.details.get("kind", "flat") != "flat" or not len(held):
        # An approximate kind does not hold what is stored.
        return
    inner: Any = faiss.downcast_index(opened.index)  # type: ignore[attr-defined]
    here = np.isin(held, live).nonzero()[0]
    select = "SELECT vector FROM chunks WHERE id = ?"
    for at in here[:: max(1, len(here) // _SAMPLE)]:
        blob = connection.execute(select, (int(held[at]),)).get
        stored = np.frombuffer(blob, dtype="<f2").astype(np.float32)
        if not np.array_equal(inner.reconstruct(int(at)), stored):
            yield f"holds another vector of chunk {int(held[at])}"


def _faults_of_terms(
    directory: Path, connection: apsw.Connection, row: CacheRow, live: Ids
) -> Iterator[str]:
    """Yield what is wrong with the cache of terms; the first fault is enough."""
    import numpy as np

    opened = terms.load(directory, row, Digests())
    if opened is None:
        yield "cannot be opened"
        return
    if opened.count != row.count:
        yield f"holds {opened.count:,} chunks, not the {row.count:,} that were noted"
    if row.count != len(live) or (len(live) and row.max_id < live[-1]):
        yield f"holds {row.count:,} chunks, not the {len(live):,} that there are"
    for chunk_id in live[:: max(1, len(live) // _SAMPLE)]:
        passage = next(rows.passages(connection, "id = ?", (int(chunk_id),)))
        words = terms.entry(*passage).words.split()
        word = next((word for word in words if word.isalnum()), None)
        if word is None:
            continue
        asked = LexicalQuery(((word,),), (), (), (), word)
        if not opened.search(asked, 1, within=np.array([chunk_id])):
            yield f"does not find chunk {int(chunk_id)} by its own words"


def find_leftovers(directory: Path) -> list[Path]:
    """Return the files of an index that nothing points to; none if the database is unreadable."""
    with suppress(apsw.Error, StoreError), _open(directory) as connection:
        rows_found = (rows.cache_row(connection, kind) for kind in KINDS)
        named = {row.name for row in rows_found if row is not None}
        return [
            path
            for path in sorted(directory.iterdir())
            if path.name in _LEFTOVERS or (kind_of(path.name) and path.name not in named)
        ]
    return []


def _check_folder(directory: Path) -> Iterator[Finding]:
    left = [path.name for path in find_leftovers(directory)]
    if left:
        text = f"left by what was interrupted, or for readers: {', '.join(left)}"
        yield Finding("folder", "note", text, str(directory))
    for path in sorted(directory.iterdir()):
        if path.name.startswith(salvage.DAMAGED_PREFIX) and files.is_folder(path):
            text = "holds what was damaged before: delete it at will"
            yield Finding("folder", "note", text, str(path))
        elif not _is_ours(path.name) and path.name not in left:
            text = "is not of the index, and is left alone"
            yield Finding("folder", "note", text, str(path))


def _is_ours(name: str) -> bool:
    return name in files.FIXED_NAMES or bool(kind_of(name) or _OURS.fullmatch(name))


def _check_disk(directory: Path) -> Iterator[Finding]:
    network = network_disk(directory)
    if network is not None:
        kind, place = network
        text = f"lies on a network disk ({kind} at {place}): let one machine alone use it"
        yield Finding("disk", "note", text, str(directory))
    size = sum(path.lstat().st_size for path in directory.glob("index.sqlite*"))
    with suppress(OSError):
        free = shutil.disk_usage(directory).free
        # A repair and `rag compact` write all of it anew.
        status: Status = "ok" if free > 2 * size else "note"
        yield Finding("disk", status, f"{free / 1e6:,.0f} MB are free")


def _check_writer(directory: Path) -> Iterator[Finding]:
    import psutil

    path = directory / lock.RECORD
    record = lock.read_record(path)
    if record is None:
        return
    process, host = record["process"], record["host"]
    here = host == os.uname().nodename if hasattr(os, "uname") else True
    if here and not psutil.pid_exists(process):
        text = f"process {process} was writing when it ended: the next writer goes on"
    else:
        text = f"process {process} on {host} is writing"
    yield Finding("writer", "note", text, str(path))
