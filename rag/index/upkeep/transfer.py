"""Export all that an index holds into one file, and import it elsewhere."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from rag.errors import StoreError, first_line
from rag.index import FileState, Index, StoredRoot
from rag.index.disk import steps as durable
from rag.index.upkeep import archive
from rag.index.upkeep.archive import Archive, RowCounter
from rag.index.upkeep.lines import WrongError
from rag.types import CopyReport, ProgressCallback, no_progress


def export_index(
    index: Index, path: Path, *, force: bool = False, progress: ProgressCallback | None = None
) -> CopyReport:
    """Write one state of an index into a file, whole or not at all.

    Raises:
        StoreError: if there is no index or it is damaged, or the file exists already (unless
            `force`) or cannot be written.
    """
    started = time.monotonic()
    if path.is_dir():
        raise StoreError(f"{path}: is a folder: name a file")
    if path.exists() and not force:
        raise StoreError(f"{path}: exists already: name another file, or pass --force")
    with index.contents() as contents:
        counts = contents.counts
        total = counts["files"] + counts["roots"] + counts["documents"] + 2 * counts["chunks"]
        # Raises, before anything is written, if nothing was ever committed.
        contents.manifest  # noqa: B018
        counter = RowCounter("export", total, progress or no_progress)
        try:
            durable.write(path, lambda write: archive.write(write, contents, counter))
        except BrokenPipeError:
            # This is no error of the file: who watched its progress has left.
            raise
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error
        finally:
            durable.remove(path.with_name(f"{path.name}.tmp"))
    return _report(path, counts, path.stat().st_size, started)


def import_index(
    index: Index, path: Path, *, wait: float | None = None, progress: ProgressCallback | None = None
) -> CopyReport:
    """Import an exported file into a folder that holds no index, all of it or nothing.

    Everything is checked before the folder is touched, and once more while it is read into it. What
    the exported index followed waits until somebody names it to `rag index`.

    Raises:
        StoreError: if the folder holds an index already or cannot be written, or the file is
            damaged or no export.
    """
    started = time.monotonic()
    if index.exists():
        _refuse(index)
    with _explain_errors(path), Archive(path) as carried:
        for _ in carried.contents(RowCounter("check", carried.rows, progress or no_progress)):
            pass
        counter = RowCounter("import", carried.rows, progress or no_progress)
        with index.write(wait=wait) as writer:
            if writer.manifest() is not None:
                _refuse(index)
            writer.set_manifest(carried.manifest)
            writer.set_reading_settings(carried.reading_settings)
            ids: dict[str, int] = {}
            # Whoever made the file chose them: the next run must not read them unasked.
            waiting: list[StoredRoot] = []
            for item in carried.contents(counter):
                if isinstance(item, FileState):
                    ids[item.record.path] = writer.restore_file(item)
                elif isinstance(item, StoredRoot):
                    waiting.append(item)
                else:
                    file, document, chunks = item
                    writer.restore_document(ids[file], document, chunks)
            writer.set_waiting_roots(waiting)
            writer.commit()
            writer.refresh_cache()
    report = _report(index.directory, carried.counts, index.size(), started)
    return replace(report, waiting=tuple(root.source for root in waiting))


def _report(path: Path, counts: Mapping[str, int], size: int, started: float) -> CopyReport:
    seconds = time.monotonic() - started
    return CopyReport(
        str(path), counts["files"], counts["documents"], counts["chunks"], size, seconds
    )


def _refuse(index: Index) -> NoReturn:
    raise StoreError(
        f"{index.directory}: holds an index already: name another folder with --index, or delete "
        "that one first"
    )


@contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    """Turn the errors of reading an exported file into our own, which say what to do.

    Raises:
        StoreError: in place of them.
    """
    cure = "nothing was imported; bring the file anew"
    try:
        yield
    except (StoreError, BrokenPipeError):
        raise
    except WrongError as error:
        raise StoreError(f"{path}: cannot be imported: {error}; {cure}") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from error
    # What zipfile raises for files that are no archives; NotImplementedError is a RuntimeError.
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, OverflowError) as error:
        raise StoreError(
            f"{path}: is damaged, or not an export of this program: {first_line(error)}; {cure}"
        ) from error
