"""Looking through all that an index consists of, and mending what can be mended."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from rag.errors import LockedError, RagError, StoreError, first_line
from rag.index import rows, schema, terms
from rag.index.caches import CacheRow, Digests
from rag.index.disk import commits, database, steps
from rag.index.disk.lock import hold_lock
from rag.index.disk.mounts import network_disk
from rag.index.store import Index
from rag.index.upkeep import salvage
from rag.index.vectors import cache
from rag.index.vectors.cache import remove_leftovers
from rag.query import LexicalQuery
from rag.types import Examination, Finding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

_SAMPLE = 50
# float16 leaves the length of a unit vector within a thousandth of 1.
_NORM_TOLERANCE = 0.01
_BLOCK_ROWS = 4096
_NAMED = 5
_OURS = re.compile(
    r"index\.sqlite(-wal|-shm|-journal|-salvaged)?|commits|writer\.(lock|json|json\.tmp)|"
    r"optimize\.lock|optimized\.faiss.*|salvage\.tmp|"
    r"(vectors|recent)-\d+\.faiss|terms-\d+"
)
# What is being optimized has a lock of its own.
_LEFT = re.compile(r"((vectors|recent)-\d+\.faiss|terms-\d+|writer\.json|salvage)(\.tmp)?")
_KEPT_NAMES = frozenset({"writer.json", "salvage"})


@dataclass
class _Look:
    """What has been found so far."""

    directory: Path
    findings: list[Finding] = field(default_factory=list)
    # The database is to be salvaged.
    damaged: bool = False
    # It can be worked with at all: of this format, with all its pages.
    usable: bool = False
    # Caches to be written anew, by kind, and names that nothing points to.
    caches: set[str] = field(default_factory=set)
    left: list[Path] = field(default_factory=list)
    # Documents that break the laws, with their reason.
    broken: dict[str, str] = field(default_factory=dict)
    orphans: bool = False
    counter: bool = False

    def say(self, check: str, status: Any, text: str, file: Path | None = None) -> None:
        self.findings.append(Finding(check, status, text, str(file) if file else ""))


def examine(directory: Path) -> Examination:
    """Check everything, change nothing.

    Raises:
        StoreError: if there is no index.
    """
    _check_there(directory)
    return _examination(_look(directory))


def repair(index: Index, *, wait: float = 5.0) -> Examination:
    """Check everything and mend what can be mended; what is well is left alone.

    It can be run again after a crash, and goes on from there.

    Raises:
        StoreError: if there is no index, or the folder cannot be written.
        LockedError: if another writer is at work for longer than `wait` seconds.
    """
    directory = index.directory
    _check_there(directory)
    done: list[Finding] = []
    lost: set[str] = set()
    kept = ""
    try:
        with hold_lock(directory, wait=wait):
            look, kept = _mend_database(_look(directory, alone=True), done)
            if look.usable:
                lost |= _told(look, done)
        if look.usable:
            lost |= _mend_contents(index, look, done, wait)
            with hold_lock(directory, wait=wait):
                _clear(directory, done)
    except LockedError:
        raise
    except (apsw.Error, OSError, RagError) as error:
        said = database.reason(error) if isinstance(error, apsw.Error) else first_line(error)
        done.append(Finding("repair", "problem", said, str(directory)))
    after = _look(directory, alone=True)
    after.findings += done
    return _examination(after, tuple(sorted(lost)), kept)


def _check_there(directory: Path) -> None:
    names = (database.NAME, database.SALVAGED, f"{database.NAME}-wal", commits.NAME)
    if not any((directory / name).is_file() for name in names):
        raise StoreError(f"{directory}: holds no index: build one with `rag index PATH...`")


def _examination(look: _Look, lost: tuple[str, ...] = (), kept: str = "") -> Examination:
    well = all(finding.status != "problem" for finding in look.findings)
    return Examination(str(look.directory), well, tuple(look.findings), lost, kept)


# --- Looking

_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.FormatError)
_DAMAGED_READ = (apsw.SQLITE_IOERR_DATA, apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_CORRUPTFS)


def _look(directory: Path, *, alone: bool = False) -> _Look:
    look = _Look(directory)
    _look_at_database(look)
    if look.usable:
        _look_at_rest(look)
    _look_at_folder(look)
    if not alone:
        _look_at_lock(look)
    return look


def _look_at_database(look: _Look) -> None:
    path = look.directory / database.NAME
    if (look.directory / database.SALVAGED).exists():
        look.damaged = True
        look.say("database", "problem", "a repair of it was interrupted", path)
        return
    if not path.is_file() or database.is_cut_off(path):
        look.damaged = True
        said = "is empty or cut off" if path.is_file() else "is missing"
        look.say("database", "problem", said, path)
        return
    try:
        least = commits.read(look.directory)
        with _opened(look.directory) as connection:
            found = schema.format_of(connection)
            if found is not None and found != schema.FORMAT:
                schema.check_format(found, look.directory)
                text = f"has index format {found}, which is brought up when it is first used"
                look.say("format", "note", text, path)
                return
            said = _broken_structure(connection)
            if said:
                look.damaged = True
                look.say("database", "problem", said, path)
                return
            count = connection.pragma("page_count")
            look.say("database", "ok", f"all {count:,} pages are whole", path)
            _look_at_manifest(look, connection)
            _look_at_commits(look, connection, least)
    except StoreError as error:
        # Of another format, or on a disk that cannot be written: nothing is damaged.
        text = str(error).removeprefix(f"{look.directory}: ").removeprefix(f"{path}: ")
        look.say("database", "problem", text, path)
    except apsw.Error as error:
        look.damaged = _is_damage(error)
        look.say("database", "problem", database.reason(error), path)


@contextmanager
def _opened(directory: Path) -> Iterator[apsw.Connection]:
    with database.open_to_read(directory) as connection:
        # What is looked at stays as it is: the log is not cleared away behind it.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("BEGIN")
        yield connection


def _is_damage(error: apsw.Error) -> bool:
    """Whether it will be so again: a full disk or a lock is of the moment."""
    return isinstance(error, _DAMAGE) or getattr(error, "extendedresult", 0) in _DAMAGED_READ


def _broken_structure(connection: apsw.Connection) -> str:
    if not database.has_checksums(connection):
        return "its first page is damaged"
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        return (
            "its tables do not fit together: " + " ".join("; ".join(map(str, found)).split())[:300]
        )
    there = set(connection.execute(_NAMES_OF_SCHEMA))
    missing = [f"{kind} {name}" for kind, name in _fresh_schema() if (kind, name) not in there]
    return f"has no {', '.join(missing[:_NAMED])}" if missing else ""


_NAMES_OF_SCHEMA = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"


def _fresh_schema() -> list[Any]:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(schema.SCHEMA).fetchall()
        return connection.execute(_NAMES_OF_SCHEMA).fetchall()


def _look_at_manifest(look: _Look, connection: apsw.Connection) -> None:
    path = look.directory / database.NAME
    try:
        found = rows.manifest(connection)
        rows.commits(connection)
    except (ValueError, TypeError):
        look.damaged = True
        look.say("manifest", "problem", "cannot be read", path)
        return
    if found is None:
        if connection.execute("SELECT count(*) FROM chunks").get:
            look.say("manifest", "problem", "does not say what the vectors are of", path)
        else:
            look.say("manifest", "note", "holds nothing yet: run `rag index PATH...`", path)
        return
    if not found.embedder or found.dim < 1:
        look.say("manifest", "problem", f"names no embedder, or dimension {found.dim}", path)
        return
    look.usable = True
    look.say("manifest", "ok", f"{found.embedder}, dimension {found.dim}, format {schema.FORMAT}")


def _look_at_commits(look: _Look, connection: apsw.Connection, least: int) -> None:
    path = look.directory / commits.NAME
    count = rows.commits(connection)
    look.counter = True
    if count < least:
        text = (
            f"{least - count:,} of {least:,} are lost, as when the log is damaged or an older "
            "database was put back"
        )
        look.say("commits", "problem", text, path)
    elif count and not path.exists():
        look.say("commits", "note", "is missing: a lost log would not be noticed", path)
    elif count and not least:
        look.say("commits", "problem", "cannot be read: a lost log would not be noticed", path)
    elif count > least:
        look.say("commits", "note", f"{count - least:,} were not noted by who was killed", path)
    elif not commits.is_whole(look.directory):
        look.say("commits", "problem", "one of its two halves is damaged", path)
    else:
        look.counter = False
        look.say("commits", "ok", f"all {count:,} are there")


def _look_at_rest(look: _Look) -> None:
    """What is in the tables, and in the caches beside them."""
    try:
        with _opened(look.directory) as connection:
            manifest = rows.manifest(connection)
            if manifest is None:
                return
            _look_at_references(look, connection)
            _look_at_documents(look, connection)
            _look_at_vectors(look, connection, manifest.dim)
            _look_at_roots(look, connection)
            _look_at_files(look, connection)
            if not look.broken and not look.orphans:
                _look_at_caches(look, connection)
    except (apsw.Error, StoreError) as error:
        said = database.reason(error) if isinstance(error, apsw.Error) else first_line(error)
        look.say("database", "problem", said, look.directory / database.NAME)


def _look_at_references(look: _Look, connection: apsw.Connection) -> None:
    found = Counter(row[0] for row in connection.execute("PRAGMA foreign_key_check"))
    if found:
        look.orphans = True
        named = ", ".join(f"{count:,} rows of {table}" for table, count in found.items())
        path = look.directory / database.NAME
        look.say("references", "problem", f"{named} belong to nothing", path)
    else:
        look.say("references", "ok", "every chunk has its document, every document its file")


def _look_at_documents(look: _Look, connection: apsw.Connection) -> None:
    before, number = len(look.broken), 0
    cursor = connection.execute(f"SELECT {rows.DOCUMENT_COLUMNS} FROM documents ORDER BY id")
    for row in cursor:
        number += 1
        reason = _breach(connection, row)
        if reason:
            look.broken[str(row[0])] = reason
    _say_broken(look, "documents", before, f"{number:,} with their chunks")


def _breach(connection: apsw.Connection, row: tuple[Any, ...]) -> str:
    """Which law a document breaks; empty if none."""
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


def _look_at_vectors(look: _Look, connection: apsw.Connection, dim: int) -> None:
    import numpy as np

    before, number = len(look.broken), 0
    cursor = connection.execute("SELECT document_id, vector FROM chunks ORDER BY id")
    while block := list(islice(cursor, _BLOCK_ROWS)):
        number += len(block)
        wrong = [name for name, blob in block if not _has_length(blob, 2 * dim)]
        kept = [(name, blob) for name, blob in block if _has_length(blob, 2 * dim)]
        halves = np.frombuffer(b"".join(blob for _, blob in kept), dtype="<f2")
        norms = np.linalg.norm(halves.astype(np.float32).reshape(-1, dim), axis=1)
        # What is not finite is not near 1 either.
        off = ~(np.abs(norms - 1) <= _NORM_TOLERANCE)
        wrong += [kept[at][0] for at in np.flatnonzero(off)]
        for name in wrong:
            look.broken.setdefault(str(name), "a vector of it is not of the length it must be")
    _say_broken(look, "vectors", before, f"{number:,} of dimension {dim} and length 1")


def _has_length(blob: object, length: int) -> bool:
    return isinstance(blob, bytes) and len(blob) == length


def _say_broken(look: _Look, check: str, before: int, well: str) -> None:
    found = list(look.broken.items())[before:]
    if not found:
        look.say(check, "ok", well)
        return
    named = "; ".join(f"{name}: {reason}" for name, reason in found[:_NAMED])
    more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    path = look.directory / database.NAME
    look.say(check, "problem", f"{len(found):,} documents are not whole: {named}{more}", path)


def _look_at_roots(look: _Look, connection: apsw.Connection) -> None:
    path = look.directory / database.NAME
    try:
        found = rows.stored_roots(connection)
    except (ValueError, TypeError):
        look.say("folders", "problem", "the folders that it keeps to cannot be read", path)
    else:
        look.say("folders", "ok", f"keeps to {len(found):,} folder{'' if len(found) == 1 else 's'}")


def _look_at_files(look: _Look, connection: apsw.Connection) -> None:
    number, open_ones = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE NOT complete AND id NOT IN "
        "(SELECT file_id FROM problems)) FROM files"
    ).get
    if open_ones:
        text = f"{open_ones:,} of {number:,} are to be read again by the next `rag index`"
        look.say("files", "note", text)
    else:
        look.say("files", "ok", f"{number:,} are in")


def _look_at_caches(look: _Look, connection: apsw.Connection) -> None:
    live = rows.chunk_ids(connection)
    kinds = [kind for (kind,) in connection.execute("SELECT kind FROM caches ORDER BY kind")]
    for kind in kinds:
        row = None
        try:
            row = rows.cache_row(connection, kind)
            said = _wrong(look.directory, connection, kind, row, live)
        except (ValueError, TypeError, AttributeError, RuntimeError, MemoryError, OSError) as error:
            said = f"cannot be read ({first_line(error)})"
        path = look.directory / row.name if row else None
        if said is None:
            look.say(f"cache of {kind}", "ok", f"{row.count if row else 0:,} chunks", path)
        elif _points_elsewhere(look.directory, kind, row):
            look.say(f"cache of {kind}", "note", "was written anew meanwhile", path)
        else:
            look.caches.add(kind)
            text = f"{said}: whoever searches builds it in memory"
            look.say(f"cache of {kind}", "problem", text, path)
    if len(live) and "terms" not in kinds:
        look.caches.add("terms")
        look.say("cache of terms", "problem", "there is none: nothing is found by its words")
    if len(live) and "vectors" not in kinds:
        look.caches.add("vectors")
        look.say("cache of vectors", "note", "there is none yet: searches go through all rows")


_NAMES = re.compile(r"[a-z]+-\d+(\.faiss)?")


def _wrong(
    directory: Path, connection: apsw.Connection, kind: str, row: CacheRow | None, live: Ids
) -> str | None:
    if row is None or not _NAMES.fullmatch(row.name):
        return "its name cannot be read"
    look_at = _wrong_terms if kind == "terms" else _wrong_vectors
    return next(look_at(directory, connection, row, live), None)


def _points_elsewhere(directory: Path, kind: str, row: CacheRow | None) -> bool:
    """Whether a writer has come in between."""
    with _opened(directory) as connection:
        try:
            now = rows.cache_row(connection, kind)
        except (ValueError, TypeError):
            return False
    return row is not None and now != row


def _wrong_vectors(
    directory: Path, connection: apsw.Connection, row: CacheRow, live: Ids
) -> Iterator[str]:
    """What is wrong with a cache of vectors; what comes first is enough."""
    import faiss
    import numpy as np

    if not (directory / row.name).is_file():
        yield "is missing"
    if not cache.is_intact(directory, row, Digests()):
        yield "is damaged: its sha256 is another"
    # Read whole: it is not changed, and let go of at once.
    data = np.fromfile(directory / row.name, dtype=np.uint8)
    opened = faiss.deserialize_index(data)
    held = cache.ids_of(opened)
    if len(held) != row.count or opened.ntotal != row.count:
        yield f"holds {len(held):,} vectors, not the {row.count:,} that were noted"
    distinct = np.unique(held)
    if len(distinct) != len(held):
        yield "holds a chunk twice"
    buried = np.array(
        connection.execute("SELECT chunk_id FROM tombstones").fetchall(), dtype=np.int64
    ).reshape(-1)
    if len(np.setdiff1d(np.setdiff1d(held, live), buried)):
        yield "holds chunks that are gone"
    if row.max_id >= 0 and _is_full(connection, row):
        wanted = live[live <= row.max_id]
        if len(np.setdiff1d(wanted, held)):
            yield "lacks chunks"
    if row.details.get("kind", "flat") != "flat" or not len(held):
        # What is approximate is not what is stored.
        return
    inner: Any = faiss.downcast_index(opened.index)  # type: ignore[attr-defined]
    here = np.isin(held, live).nonzero()[0]
    for at in here[:: max(1, len(here) // _SAMPLE)]:
        blob = connection.execute("SELECT vector FROM chunks WHERE id = ?", (int(held[at]),)).get
        stored = np.frombuffer(blob, dtype="<f2").astype(np.float32)
        if not np.array_equal(inner.reconstruct(int(at)), stored):
            yield f"holds another vector of chunk {int(held[at])}"


def _is_full(connection: apsw.Connection, row: CacheRow) -> bool:
    """Whether a cache holds all chunks up to its last one, and not only newer ones."""
    named = connection.execute("SELECT name FROM caches WHERE kind = 'vectors'").get
    return bool(named == row.name)


def _wrong_terms(
    directory: Path, connection: apsw.Connection, row: CacheRow, live: Ids
) -> Iterator[str]:
    """What is wrong with the cache of terms; what comes first is enough."""
    if not (directory / row.name).is_dir():
        yield "is missing"
    if not terms.is_intact(directory, row, Digests()):
        yield "is damaged: its sha256 is another"
    opened = terms.load(directory, row, Digests())
    if opened is None:
        yield "cannot be opened"
        return
    if opened.count != row.count:
        yield f"holds {opened.count:,} chunks, not the {row.count:,} that were noted"
    if row.count != len(live) or (len(live) and row.max_id < live[-1]):
        yield f"holds {row.count:,} chunks, not the {len(live):,} that there are"
    import numpy as np

    for chunk_id in live[:: max(1, len(live) // _SAMPLE)]:
        passage = next(rows.passages(connection, "id = ?", (int(chunk_id),)))
        word = next((word for word in terms.entry(*passage).words.split() if word.isalnum()), None)
        if word is None:
            continue
        asked = LexicalQuery(((word,),), (), (), (), word)
        if not opened.search(asked, 1, within=np.array([chunk_id])):
            yield f"does not find chunk {int(chunk_id)} by its own words"


def _look_at_folder(look: _Look) -> None:
    directory = look.directory
    named: set[str] = set()
    with suppress(apsw.Error, StoreError), _opened(directory) as connection:
        named = {str(name) for (name,) in connection.execute("SELECT name FROM caches")}
        look.left = [
            path
            for path in sorted(directory.iterdir())
            if _LEFT.fullmatch(path.name) and path.name not in named | _KEPT_NAMES
        ]
    left = {path.name for path in look.left}
    if left:
        text = f"left by what was interrupted, or for readers: {', '.join(sorted(left))}"
        look.say("folder", "note", text, directory)
    for path in sorted(directory.iterdir()):
        if path.name.startswith(salvage.KEPT) and path.is_dir():
            look.say("folder", "note", "what was damaged before: delete it at will", path)
        elif not _OURS.fullmatch(path.name) and path.name not in left:
            look.say("folder", "note", "is not of the index, and is left alone", path)
    network = network_disk(directory)
    if network is not None:
        kind, place = network
        text = f"lies on a network disk ({kind} at {place}): let one machine alone use it"
        look.say("disk", "note", text, directory)
    size = sum(path.stat().st_size for path in directory.glob("index.sqlite*"))
    with suppress(OSError):
        free = shutil.disk_usage(directory).free
        # A repair and `rag compact` write all of it anew.
        status = "ok" if free > 2 * size else "note"
        look.say("disk", status, f"{free / 1e6:,.0f} MB are free")


def _look_at_lock(look: _Look) -> None:
    path = look.directory / "writer.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        process, host = int(record["process"]), str(record["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    here = host == os.uname().nodename if hasattr(os, "uname") else True
    if here and not _is_running(process):
        text = f"process {process} was writing when it ended: the next writer goes on"
    else:
        text = f"process {process} on {host} is writing"
    look.say("writer", "note", text, path)


def _is_running(process: int) -> bool:
    import psutil

    return psutil.pid_exists(process)


# --- Mending


def _mend_database(look: _Look, done: list[Finding]) -> tuple[_Look, str]:
    """Make it one that can be worked with.

    Returns how it is then, and the folder of what was damaged.
    """
    path = look.directory / database.NAME
    kept = ""
    if (look.directory / database.SALVAGED).exists():
        kept = str(salvage.finish(look.directory))
    elif look.damaged:
        kept = str(salvage.salvage(look.directory))
    if kept:
        text = f"was made anew; what was damaged is in {kept}"
        done.append(Finding("database", "mended", text, str(path)))
        look = _look(look.directory, alone=True)
    if look.usable and look.counter:
        done.append(_settle_commits(look.directory))
    return look, kept


def _settle_commits(directory: Path) -> Finding:
    """Let the database and what is noted outside of it agree, upwards: nothing is forgotten."""
    least = commits.read(directory)
    with closing(database.open_to_write(directory)) as connection:
        count = rows.commits(connection)
        if count < least:
            with steps.step("commit", directory / database.NAME):
                connection.execute(
                    "INSERT OR REPLACE INTO manifest VALUES ('commits', ?)", (str(least),)
                ).fetchall()
    most = max(count, least)
    if most > 1:
        commits.note(directory, most - 1)
    commits.note(directory, most)
    text = f"{most:,} are noted"
    if count < least:
        text = (
            f"{least - count:,} are lost for good: run `rag index`, or `rag index --rebuild`, to "
            "bring back what was in them"
        )
    return Finding("commits", "mended", text, str(directory / commits.NAME))


def _told(look: _Look, done: list[Finding]) -> set[str]:
    """What a salvage has noted, of this run or of one that was interrupted after it."""
    with closing(database.open_to_write(look.directory)) as connection:
        told = connection.execute(
            "SELECT value FROM manifest WHERE key = ?", (salvage.LOST_KEY,)
        ).get
    if not told:
        return set()
    lost, remarks = json.loads(told)
    done += [Finding("database", "note", remark) for remark in remarks]
    return set(lost)


def _mend_contents(index: Index, look: _Look, done: list[Finding], wait: float) -> set[str]:
    """Take out what is not whole, and write caches anew; returns the sources that went."""
    lost: set[str] = set()
    if look.broken or look.orphans:
        with index.write(wait=wait) as writer:
            lost = set(writer.take_out(list(look.broken)))
            writer.commit()
        text = f"{len(look.broken):,} documents that were not whole are taken out"
        done.append(Finding("documents", "mended", text))
        # Caches can be compared with what is whole only.
        look = _look(index.directory, alone=True)
    if look.caches:
        with index.write(wait=wait) as writer:
            writer.forget_caches(look.caches)
            writer.commit()
            writer.refresh_cache()
        done += [
            Finding(f"cache of {kind}", "mended", "written anew") for kind in sorted(look.caches)
        ]
    return lost


def _clear(directory: Path, done: list[Finding]) -> None:
    """Remove what is left over, and what was told."""
    look = _Look(directory)
    _look_at_folder(look)
    remove_leftovers(directory)
    for path in look.left:
        steps.remove(path)
        done.append(Finding("folder", "mended", "was left over, and is removed", str(path)))
    with closing(database.open_to_write(directory)) as connection:
        if connection.execute("SELECT 1 FROM manifest WHERE key = ?", (salvage.LOST_KEY,)).get:
            connection.execute("DELETE FROM manifest WHERE key = ?", (salvage.LOST_KEY,)).fetchall()
