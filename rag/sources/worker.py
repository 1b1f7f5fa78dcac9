"""Read files in a process of its own: one job a line on standard input, one result a line back.

A parser that hangs, explodes or crashes takes this process with it and nothing else. Results are
JSON, so that their reader gets nothing but data, whatever a document has made of its parser.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from rag.config import SourcesConfig
from rag.errors import RagError, SourceError, first_line
from rag.sources.discovery import SourceFile
from rag.sources.document import problem_of
from rag.sources.files import check_file, read_file
from rag.sources.ocr import AskedEngine, TimedEngine, install_engine, open_rapid
from rag.sources.opening import name_for, open_file, was_replaced
from rag.types import Document, Heading, Page, Problem

# The alarm comes this much after the pool's own limit: it ends a reader whose pool has died.
_SPARE_SECONDS = 10
# An archive within archives takes a few for each.
_OPEN_FILES = 256
# What libraries unpack for themselves, such as the model that detects languages, in MB.
_LEAST_FILE_MB = 256
# What the models of rapidocr take besides, for a page of A4 at 300 dots per inch.
_MODELS_MB = 2048


def main() -> None:
    """Serve jobs until standard input ends."""
    jobs, results = sys.stdin.buffer, reserve_output()
    sent: dict[str, Any] = json.loads(jobs.readline())
    given = sent["config"]
    lists = {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    config = SourcesConfig(**{**given, **lists})
    scratch = Path(tempfile.gettempdir())
    # This alarm ends the process when one result takes too long, even within a C library.
    most_seconds = config.seconds + _SPARE_SECONDS
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given_up: tuple[str, ...] = ()
    if config.confined:
        from rag.sources.confinement import confine

        given_up = confine(sent["within"], scratch)
    limit_resources(config, given_up)
    results.write(encode({"ready": os.getpid(), "given_up": given_up}))
    results.flush()
    if config.ocr == "tesseract":
        install_engine(AskedEngine(jobs, results, lambda: _set_alarm(most_seconds)))
    elif config.ocr == "rapidocr":

        def tell() -> None:
            _set_alarm(most_seconds)
            results.write(encode({"alive": True}))
            results.flush()

        install_engine(TimedEngine(open_rapid(), tell))
    for line in jobs:
        job = json.loads(line)
        file = SourceFile(**job["file"])
        _set_alarm(most_seconds)
        for result in _read_job(file, job["sha256"], config, scratch):
            # The clock stops while the process waits for someone to take its results.
            _set_alarm(0)
            results.write(encode(result))
            results.flush()
            _set_alarm(most_seconds)
        _set_alarm(0)
    # The owner of this process may have been killed before it could delete this folder.
    if scratch.name.startswith("rag-"):
        shutil.rmtree(scratch, ignore_errors=True)


def encode(result: dict[str, Any]) -> bytes:
    """Return a result as a line for `json.loads`; lone surrogates in file names survive."""
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def document_from(fields: dict[str, Any]) -> Document:
    """Return the document that was sent as these fields."""
    pages = tuple(Page(**page) for page in fields.pop("pages"))
    headings = tuple(Heading(**heading) for heading in fields.pop("headings"))
    return Document(**fields, pages=pages, headings=headings)


def _read_job(
    file: SourceFile, known_sha256: str | None, config: SourcesConfig, scratch: Path
) -> Iterator[dict[str, Any]]:
    try:
        with open_file(file.place) as handle, name_for(handle, file.place, scratch) as path:
            before = _file_state(os.fstat(handle))
            check_file(file, config, path)
            with path.open("rb") as opened:
                sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            if sha256 == known_sha256:
                yield {"unchanged": sha256}
                return
            for item in read_file(file, config, path):
                yield {"problem" if isinstance(item, Problem) else "document": asdict(item)}
            now = Path(file.place).lstat()
            if _file_state(now) != before or _file_state(os.fstat(handle)) != before:
                raise SourceError(
                    file.source, "changed while it was being read: run again", lasting=False
                )
            yield {"end": sha256}
    except SourceError as error:
        yield {"error": asdict(problem_of(error))}
    except OSError as error:
        reason = f"cannot be read: {error.strerror or first_line(error)}"
        if was_replaced(error):
            reason = "was found, and then a link or another thing took its place: run again"
        yield {"error": asdict(Problem(file.source, reason, lasting=False))}
    except MemoryError:
        reason = f"needs more than {config.memory_mb} MB to be read (`sources.memory_mb`)"
        yield {"error": asdict(Problem(file.source, reason))}
    except RagError as error:
        yield {"error": asdict(Problem(file.source, str(error), lasting=False))}


def _file_state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def reserve_output() -> BinaryIO:
    """Reserve standard output for results, so that a library that prints cannot garble them."""
    results = os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    return results


def limit_resources(config: SourcesConfig, given_up: tuple[str, ...]) -> None:
    """Bound memory, what is written to one file, open files, and processes."""
    try:
        import resource
    except ImportError:
        return
    limits = {
        "RLIMIT_AS": config.memory_mb + (_MODELS_MB if config.ocr == "rapidocr" else 0) << 20,
        "RLIMIT_FSIZE": max(config.max_unpacked_mb, _LEAST_FILE_MB) << 20,
        "RLIMIT_NOFILE": _OPEN_FILES,
        # What a crash leaves behind could hold what other documents said.
        "RLIMIT_CORE": 0,
    }
    if config.confined and "calls" not in given_up:
        # On Linux this would count threads too, and those of everything that the user runs.
        limits["RLIMIT_NPROC"] = 0
    for name, most in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError, OverflowError):
            kind = getattr(resource, name)
            _, hard = resource.getrlimit(kind)
            lower = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (lower, lower))


def _set_alarm(seconds: float) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(int(seconds))
