"""Examine an index, and mend what can be mended."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from rag.errors import LockedError, RagError, StoreError, first_line
from rag.index import rows
from rag.index.disk import commits, database, steps
from rag.index.disk.lock import hold_lock
from rag.index.store import Index
from rag.index.upkeep import salvage
from rag.index.upkeep.examining import Findings, find_leftovers, look_through
from rag.index.vectors.cache import remove_leftovers
from rag.types import Examination, Finding


def examine(directory: Path) -> Examination:
    """Check everything, change nothing.

    Raises:
        StoreError: if there is no index.
    """
    _check_there(directory)
    return _report(look_through(directory))


def repair(index: Index, *, wait: float = 5.0) -> Examination:
    """Check everything and mend what can be mended; what is well is left alone.

    A repair that was killed goes on when it is run again.

    Raises:
        StoreError: if there is no index, or the folder cannot be written.
        LockedError: if another writer is at work for longer than `wait` seconds.
    """
    directory = index.directory
    _check_there(directory)
    done: list[Finding] = []
    lost: set[str] = set()
    damaged = ""
    try:
        with hold_lock(directory, wait=wait):
            findings, damaged = _mend_database(look_through(directory, alone=True), done)
            if findings.usable:
                lost |= _read_losses(directory, done)
        if findings.usable:
            lost |= _mend_contents(index, findings, done, wait)
            with hold_lock(directory, wait=wait):
                _clear(directory, done)
    except LockedError:
        raise
    except (apsw.Error, OSError, RagError, ValueError) as error:
        said = database.reason(error) if isinstance(error, apsw.Error) else first_line(error)
        done.append(Finding("repair", "problem", said, str(directory)))
    after = look_through(directory, alone=True)
    after.items += done
    return _report(after, tuple(sorted(lost)), damaged)


def _check_there(directory: Path) -> None:
    names = (database.NAME, database.SALVAGED, f"{database.NAME}-wal", commits.NAME)
    if not any((directory / name).is_file() for name in names):
        raise StoreError(f"{directory}: holds no index: build one with `rag index PATH...`")


def _report(findings: Findings, lost: tuple[str, ...] = (), damaged: str = "") -> Examination:
    well = all(finding.status != "problem" for finding in findings.items)
    return Examination(str(findings.directory), well, tuple(findings.items), lost, damaged)


def _mend_database(findings: Findings, done: list[Finding]) -> tuple[Findings, str]:
    """Make a damaged database anew, and let the commits agree.

    Returns what is found then, and the folder that keeps what was damaged.
    """
    directory = findings.directory
    damaged = ""
    if (directory / database.SALVAGED).exists():
        damaged = str(salvage.finish(directory))
    elif findings.database_is_damaged:
        damaged = str(salvage.salvage(directory))
    if damaged:
        text = f"was made anew; what was damaged is in {damaged}"
        done.append(Finding("database", "mended", text, str(directory / database.NAME)))
        findings = look_through(directory, alone=True)
    if findings.usable and findings.counter_is_off:
        done.append(_settle_commits(directory))
    return findings, damaged


def _settle_commits(directory: Path) -> Finding:
    """Let the database and the note outside it agree on the higher number of commits."""
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


def _read_losses(directory: Path, done: list[Finding]) -> set[str]:
    """Return what a salvage noted as lost, in this run or in one that was interrupted since."""
    with closing(database.open_to_write(directory)) as connection:
        lost, remarks = salvage.read_losses(connection)
    done += [Finding("database", "note", remark) for remark in remarks]
    return set(lost)


def _mend_contents(index: Index, findings: Findings, done: list[Finding], wait: float) -> set[str]:
    """Take out broken documents, and write caches anew; returns the sources that went."""
    lost: set[str] = set()
    if findings.broken or findings.has_orphans:
        with index.write(wait=wait) as writer:
            lost = set(writer.take_out(list(findings.broken)))
            writer.commit()
        text = f"{len(findings.broken):,} documents that were not whole are taken out"
        done.append(Finding("documents", "mended", text))
        # Caches can only be compared with documents that are whole.
        findings = look_through(index.directory, alone=True)
    if findings.caches:
        with index.write(wait=wait) as writer:
            writer.forget_caches(findings.caches)
            writer.commit()
            writer.refresh_cache()
        done += [
            Finding(f"cache of {kind}", "mended", "written anew")
            for kind in sorted(findings.caches)
        ]
    return lost


def _clear(directory: Path, done: list[Finding]) -> None:
    """Remove leftovers, and the note of losses that was read."""
    leftovers = find_leftovers(directory)
    remove_leftovers(directory)
    for path in leftovers:
        steps.remove(path)
        done.append(Finding("folder", "mended", "was left over, and is removed", str(path)))
    with closing(database.open_to_write(directory)) as connection:
        if connection.execute("SELECT 1 FROM manifest WHERE key = ?", (salvage.LOST_KEY,)).get:
            connection.execute("DELETE FROM manifest WHERE key = ?", (salvage.LOST_KEY,)).fetchall()
