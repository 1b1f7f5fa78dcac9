"""One input, and what came of it."""

from __future__ import annotations

import io
import json
import re
import resource
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzzers import containment, mutation

FINE, REFUSED = "fine", "refused"
TRACEBACK, HANG, MEMORY, WRONG = "traceback", "hang", "memory", "wrong"
OUTCOMES = (FINE, REFUSED, TRACEBACK, HANG, MEMORY, WRONG)
BAD = (TRACEBACK, HANG, MEMORY, WRONG)
MOST_MEMORY = 1500 << 20
MOST_SECONDS = 10.0

# Done; nothing found; and what `rag check` says of claims.
_DONE = (0, 3, 4, 5)
# Numbers in a message differ from input to input, and tell no two faults apart.
_VARYING = re.compile(r"[0-9]+|'[^']*'|/\S+")


class WrongError(Exception):
    """An answer or a span contradicts the documents, or something was touched that must not be."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of an input; attempts with one `signature` have one cause."""

    outcome: str
    signature: str = ""
    detail: str = ""


class Target(ABC):
    """A parser, or commands, that take what somebody else made.

    `prepare` is called once in a process; `folder` is then a folder of its own.
    """

    name: str
    # An input whose bytes have no structure is also changed by the engine.
    plain = False
    starts_processes = False

    folder: Path

    def __init__(self) -> None:
        # Set before each command, so that the watch knows when it began.
        self.began: Callable[[], None] = lambda: None

    def prepare(self, folder: Path) -> None:
        """Make what all inputs share."""
        self.folder = folder

    def unpack(self, name: str, data: bytes) -> Path:
        """Write an input that is files, in JSON by name, into a folder; return the folder."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for file, text in json.loads(data).items():
            (folder / Path(file).name).write_bytes(text.encode("utf-8", "surrogatepass"))
        return folder

    def warm(self) -> None:
        """Import what the first use imports, which takes its time and is no fault of an input."""
        attempt(self, next(iter(self.seeds())))

    @abstractmethod
    def seeds(self) -> Iterable[bytes]:
        """Yield good inputs, from which others are made."""

    @abstractmethod
    def run(self, data: bytes) -> str:
        """Use an input as a user's, and return FINE or REFUSED.

        Raises:
            WrongError: if what is answered contradicts the documents.
        """

    def mutate(self, data: bytes, random: Random) -> bytes:
        """Change an input a little."""
        return mutation.change_bytes(data, random)

    def smaller(self, data: bytes) -> Iterator[bytes]:
        """Yield smaller inputs, of which one may do the same."""
        return mutation.smaller_bytes(data)

    def command(self, *arguments: object, typed: bytes = b"") -> Ran:
        """Run `rag` with its arguments within this process, as a user's command."""
        self.began()
        return run_command(*arguments, typed=typed)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed, and its exit code."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def outcome(self) -> str:
        """FINE, or REFUSED for a command that ended in an error line.

        Raises:
            WrongError: if it ended otherwise, or printed a traceback, or nothing.
        """
        called = " ".join(("rag", *self.arguments[:1]))
        if "Traceback (most recent" in self.err:
            raise WrongError(f"{called}: printed {self.err[-500:]}")
        if self.code not in (*_DONE, 1, 2):
            raise WrongError(f"{called}: ended with exit code {self.code}")
        if self.code in (1, 2) and not (self.err + self.out).strip():
            raise WrongError(f"{called}: failed without a word")
        return FINE if self.code in _DONE else REFUSED

    @property
    def data(self) -> Any:
        """The JSON that was printed; None if the command failed."""
        return json.loads(self.out) if self.code in _DONE and self.out.strip() else None


def run_command(*arguments: object, typed: bytes = b"") -> Ran:
    """Run `rag` as `main` does, and return what it printed; what it raises passes."""
    from rag.cli import main

    given = tuple(map(str, arguments))
    kept = (sys.argv, sys.stdin, sys.stdout, sys.stderr)
    # As Python opens them where the locale is UTF-8.
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    typing = io.TextIOWrapper(io.BytesIO(typed), "utf-8")
    sys.argv, sys.stdin, sys.stdout, sys.stderr = ["rag", *given], typing, out, err
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = kept
    printed = [each.buffer.getvalue().decode("utf-8") for each in (out, err)]
    return Ran(given, code if isinstance(code, int) else 0, *printed)


def together(outcomes: Iterable[str]) -> str:
    """Return REFUSED if any of several commands refused."""
    return REFUSED if REFUSED in set(outcomes) else FINE


def check_spans(found: Any, texts: Mapping[str, str]) -> None:
    """Hold every quotation and passage in a command's JSON against the documents' texts.

    Raises:
        WrongError: if one is not `text[start:end]` of its document.
    """
    if isinstance(found, list):
        for each in found:
            check_spans(each, texts)
    if not isinstance(found, dict):
        return
    if {"document_id", "start", "end"} <= found.keys():
        quoted = found.get("quote", found.get("text"))
        text = texts.get(found["document_id"])
        if quoted is not None and text is None:
            raise WrongError(f"{quoted[:80]!r} is of no document")
        if (
            quoted is not None
            and text is not None
            and text[found["start"] : found["end"]] != quoted
        ):
            raise WrongError(f"{quoted[:80]!r} does not stand at {found['start']}-{found['end']}")
    for each in found.values():
        check_spans(each, texts)


def attempt(target: Target, data: bytes) -> Attempt:
    """Run one input, and say what came of it; a hang is for the watch to see."""
    target.began()
    _forget_peak()
    containment.escapes.clear()
    try:
        outcome = target.run(data)
    except MemoryError:
        return Attempt(MEMORY, f"memory: {_place()}", traceback.format_exc(limit=-6))
    except WrongError as error:
        return Attempt(WRONG, f"wrong: {_VARYING.sub('#', str(error))[:120]}", str(error))
    # A panic of a library in Rust is no Exception.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        name = type(error).__name__
        return Attempt(TRACEBACK, f"{name}: {_place()}", traceback.format_exc(limit=-12))
    if containment.escapes:
        what = containment.escapes[0]
        return Attempt(WRONG, f"escape: {what.split()[0]}", what)
    peak = _peak()
    if peak > MOST_MEMORY:
        return Attempt(MEMORY, f"memory: peak of {target.name}", f"{peak >> 20} MB at its peak")
    return Attempt(outcome)


def limit_memory() -> None:
    """Let this process take MOST_MEMORY more than it has."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + MOST_MEMORY, hard))


def grown(since: int) -> bool:
    """Return whether this process holds so much more than once that it should be started anew."""
    return _status("VmSize") - since > MOST_MEMORY // 3


def size() -> int:
    """Return how many bytes of address space this process has."""
    return _status("VmSize")


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Wait until a condition holds; False if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _place() -> str:
    """Return the innermost line of this package in the traceback at hand."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    ours = [each for each in frames if "/rag/" in each.filename] or list(frames)
    return f"{ours[-1].filename.rpartition('/rag/')[2]}:{ours[-1].lineno}" if ours else "nowhere"


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    return _status("VmHWM")


def _status(line: str) -> int:
    for each in Path("/proc/self/status").read_text().splitlines():
        if each.startswith(f"{line}:"):
            return int(each.split()[1]) << 10
    return 0
