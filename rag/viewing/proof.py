"""An answer as a file that anybody can check against the documents, without index or model.

The file holds the answer, each quote with its place, and the SHA-256 of each document's text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from rag import private
from rag.config import SourcesConfig
from rag.errors import SourceError, first_line
from rag.parsing import parse_json
from rag.sources import SourceFile, is_address, read_files
from rag.types import Answer, Document, location

_FORMAT = "rag answer"
_VERSION = 1
_LONGEST_FILE = 1 << 26
_MARK = re.compile(r"\[(\d{1,9})\]")


@dataclass(frozen=True, slots=True)
class ProvenQuote:
    """A quote with its place; `sha256` is that of the document's text in UTF-8, hexadecimal."""

    number: int
    source: str
    start: int
    end: int
    quote: str
    sha256: str
    page: int | None = None
    line: int | None = None
    heading: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        """`path:page or line › heading`, as the command line shows it."""
        return location(self.source, self.page, self.line, self.heading)


@dataclass(frozen=True, slots=True)
class Proof:
    """An answer with what it rests on; `answered_at` is in UTC as ISO 8601."""

    question: str
    text: str
    abstained: bool
    model: str
    answered_at: str
    quotes: tuple[ProvenQuote, ...]


@dataclass(frozen=True, slots=True)
class CheckedQuote:
    """A quote of a proof, checked against the file that it came from.

    `state` is `same` where the document is unchanged, `there` where it was changed but still holds
    the quote at its place, `moved` where it holds it elsewhere, at `start`, `changed` where it does
    not hold it, and `gone` where the file cannot be read, for the `reason` given.
    """

    quote: ProvenQuote
    state: Literal["same", "there", "moved", "changed", "gone"]
    start: int
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether the document still says it."""
        return self.state in ("same", "there", "moved")


@dataclass(frozen=True, slots=True)
class ProofReport:
    """A proof, checked: each quote, and the marks in the text that name none."""

    proof: Proof
    quotes: tuple[CheckedQuote, ...]
    unproven: tuple[int, ...]

    @property
    def holds(self) -> bool:
        """Whether the documents still say all of it."""
        return all(each.holds for each in self.quotes) and not self.unproven


def prove(answer: Answer, document: Callable[[str], Document]) -> Proof:
    """Make the proof of an answer; `document` gives the document of an id."""
    quotes = [
        ProvenQuote(
            each.number,
            each.source,
            each.start,
            each.end,
            each.quote,
            _hash(document(each.document_id).text),
            each.page,
            each.line,
            each.heading,
        )
        for each in answer.citations
    ]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Proof(answer.question, answer.text, answer.abstained, answer.model, now, tuple(quotes))


def as_data(proof: Proof) -> dict[str, Any]:
    """Return a proof as its file holds it."""
    return {"format": _FORMAT, "version": _VERSION, **asdict(proof)}


def save_proof(proof: Proof, file: Path) -> None:
    """Write a proof as JSON; a file that is there is replaced.

    Raises:
        SourceError: if it cannot be written.
    """
    text = json.dumps(as_data(proof), ensure_ascii=False, indent=1) + "\n"
    try:
        with open(
            file, "w", encoding="utf-8", errors="backslashreplace", opener=private.open_for_owner
        ) as opened:
            opened.write(text)
    except OSError as error:
        raise SourceError(str(file), f"cannot be written: {error.strerror}") from error


def load_proof(file: Path) -> Proof:
    """Read a proof that `save_proof` wrote.

    Raises:
        SourceError: if the file cannot be read, or holds something else.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_LONGEST_FILE + 1)
        if len(data) > _LONGEST_FILE:
            raise SourceError(str(file), "is too long for an answer")
        value = parse_json(data.decode("utf-8-sig"))
        if not isinstance(value, dict) or value.get("format") != _FORMAT:
            raise ValueError("it was not written by `rag ask --save`")
        if value.get("version") != _VERSION:
            raise ValueError(f"it has version {value.get('version')!r:.40}; {_VERSION} is known")
        proof = msgspec.convert(value, Proof)
    except OSError as error:
        raise SourceError(str(file), f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        reason = first_line(error)
        raise SourceError(str(file), f"is no saved answer: {reason}") from error
    for each in proof.quotes:
        if not 0 <= each.start <= each.end:
            raise SourceError(str(file), f"is no saved answer: {each.start}-{each.end} is no span")
    return proof


def check_proof(proof: Proof, folder: Path, config: SourcesConfig) -> ProofReport:
    """Read the documents again and look for each quote; sources are relative to `folder`."""
    texts: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for file, sources in _files_of(proof, folder).items():
        for source, text, reason in _read(file, sources, config):
            if reason:
                reasons[source] = reason
            else:
                texts[source] = text
    checked = tuple(
        _check(each, texts.get(each.source), reasons.get(each.source, "")) for each in proof.quotes
    )
    named = {each.number for each in proof.quotes}
    marks = {int(mark) for mark in _MARK.findall(proof.text)}
    # Numbers in brackets that the quoted words hold themselves are no marks.
    held = {int(mark) for each in proof.quotes for mark in _MARK.findall(each.quote)}
    return ProofReport(proof, checked, tuple(sorted(marks - named - held)))


def _files_of(proof: Proof, folder: Path) -> dict[Path, set[str]]:
    """Return the files to read, each with the sources of documents wanted of it."""
    found: dict[Path, set[str]] = {}
    for each in proof.quotes:
        path = folder / each.source
        # A document within a file is named after it: `mail.mbox#3`, `a.zip!b.md`.
        while not path.is_file() and path.parent != path and not is_address(each.source):
            shorter = re.sub(r"[#!/][^#!/]*$", "", str(path))
            if shorter in (str(path), str(folder)) or len(shorter) < len(str(folder)):
                break
            path = Path(shorter)
        found.setdefault(path, set()).add(each.source)
    return found


def _read(path: Path, sources: set[str], config: SourcesConfig) -> Iterator[tuple[str, str, str]]:
    """Yield each source with its text, or the reason why there is none."""
    missing = set(sources)
    try:
        state = path.stat()
        if not path.is_file():
            raise FileNotFoundError
    except OSError:
        reasons = ("is an address: save the page, and name its folder with --in", "no such file")
        for source in sources:
            yield source, "", reasons[0] if is_address(source) else reasons[1]
        return
    # A document is called by its file as the proof names it.
    name = min(sources, key=len)
    file_name = name[: name.rfind(path.name) + len(path.name)] if path.name in name else name
    file = SourceFile(str(path.resolve()), file_name, state.st_size, state.st_mtime_ns)
    reason = "holds no such document"
    for result in read_files([(file, None)], config, within=[str(path.resolve())]):
        if isinstance(result.item, Document) and result.item.source in missing:
            missing.discard(result.item.source)
            yield result.item.source, result.item.text, ""
        elif hasattr(result.item, "reason"):
            reason = result.item.reason
    for source in missing:
        yield source, "", reason


def _check(quoted: ProvenQuote, text: str | None, reason: str) -> CheckedQuote:
    if text is None:
        return CheckedQuote(quoted, "gone", quoted.start, reason)
    if text[quoted.start : quoted.end] == quoted.quote:
        same = _hash(text) == quoted.sha256
        return CheckedQuote(quoted, "same" if same else "there", quoted.start)
    starts = [match.start() for match in re.finditer(re.escape(quoted.quote), text)]
    if not starts or not quoted.quote.strip():
        return CheckedQuote(quoted, "changed", quoted.start)
    nearest = min(starts, key=lambda start: abs(start - quoted.start))
    return CheckedQuote(quoted, "moved", nearest)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
