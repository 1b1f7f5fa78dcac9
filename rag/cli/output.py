"""Print results, as text for people and as JSON for programs."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from rag.cli.terminal import one_line, say, say_json, say_link, say_text
from rag.text.excerpts import excerpt, wrap
from rag.viewing.links import link_to

if TYPE_CHECKING:
    from rag import types
    from rag.answering.stream import AnswerStream
    from rag.config import ConfigFile

T = TypeVar("T")

_QUOTE_COLUMNS = 240
# What is shown of a passage, which is indented. So many columns are lost at the end of a line.
_LINES = 3
_LOST = 6
_INDENT = "    "
_FEWEST_COLUMNS = 30
_MOST_COLUMNS = 1000
_CONTEXT_CHARACTERS = 1200
# How many problems of each kind are named; `rag status` names all.
_NAMED = 10
# Programs read the JSON: a field that has another name today keeps its key.
_KEYS = {"widened": "window"}


def as_json(value: Any) -> Any:
    """Turn dataclasses, and what they hold, into the types of JSON."""
    if is_dataclass(value):
        # What a class adds to the one that it extends comes first.
        own = type(value).__annotations__
        names = sorted((field.name for field in fields(value)), key=lambda name: name not in own)
        return {_KEYS.get(name, name): as_json(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    say_json(as_json(value), indent=2)


def print_result(value: T, print_text: Callable[[T], None], *, as_json: bool) -> None:
    """Print a value as JSON, or else as text."""
    (print_json if as_json else print_text)(value)


def describe_search(found: types.VectorSearch) -> str:
    """Say in one line how vectors are searched, and how well."""
    if found.kind == "flat":
        return f"flat, {found.vectors:,} vectors; exact"
    how = f"{found.lists:,} lists, {found.probed:,} probed" if found.lists else f"ef {found.probed}"
    return (
        f"{found.kind}, {found.vectors:,} vectors, {how}; recall@10 {found.recall_at_10:.3f}, "
        f"median {found.milliseconds:.1f} ms"
    )


def print_line(value: Any) -> None:
    """Print a value as one line of JSON."""
    say_json(as_json(value))


def describe_config_file(file: ConfigFile) -> str:
    """Name a file of settings, and say why it was read."""
    why = {"own": "your own", "named": "named", "found": "of this folder"}[file.kind]
    trusted = ""
    if file.kind == "found":
        trusted = ", trusted" if file.trusted else ", not trusted: `rag trust`"
    return f"{file.path} ({why}{trusted})"


def print_report(report: types.IngestionReport) -> None:
    """Print what a run of indexing changed, skipped and failed at, and where the time went."""
    by_reason = defaultdict(list)
    for problem in report.skipped:
        by_reason[problem.reason].append(problem.source)
    for reason, sources in by_reason.items():
        say(f"skipped: {name_three(sources)}: {reason}", err=True)
    for problem in report.failed[:_NAMED]:
        say(f"not indexed: {problem.source}: {problem.reason}", err=True)
    if len(report.failed) > _NAMED:
        say(f"and {len(report.failed) - _NAMED:,} more: `rag status` names all", err=True)
    for old, new in report.renamed[:_NAMED]:
        say(f"renamed: {old} -> {new}", err=True)
    say(
        f"{len(report.added):,} added, {len(report.updated):,} updated, "
        f"{len(report.removed):,} removed, {report.unchanged:,} unchanged, "
        f"{len(report.skipped):,} skipped, {len(report.failed):,} failed; "
        f"{report.embedded:,} passages embedded in {report.timings['total'] / 1000:.1f} s"
    )
    if report.embedded:
        stages = ("read", "chunk", "embed", "write")
        taken = ", ".join(f"{stage} {report.timings[stage] / 1000:.1f} s" for stage in stages)
        source, seconds = report.slowest
        say(f"time: {taken} (side by side); slowest: {source} {seconds:.1f} s")
    say(f"the index holds {report.documents:,} documents in {report.chunks:,} passages")


def print_examination(found: types.Examination) -> None:
    """Print what each check of an index found, one line each."""
    for finding in found.findings:
        place = f" ({finding.file})" if finding.file and finding.status != "ok" else ""
        say(f"{finding.status}: {finding.check}: {finding.text}{place}")
    for source in found.lost:
        say(f"lost: {source}")
    if found.lost:
        say("run `rag index` to read again what was lost")
    problems = sum(finding.status == "problem" for finding in found.findings)
    remain = "1 problem remains" if problems == 1 else f"{problems:,} problems remain"
    say("the index is well" if found.well else remain)


def print_status(status: types.IndexStatus) -> None:
    """Print what is new, changed or gone, and everything that could not be indexed."""
    if status.roots:
        say(f"indexed: {', '.join(status.roots)}")
    if status.texts:
        say(f"texts:    {status.texts:,} that were added without a file")
    for name in ("new", "changed", "gone", "left_out"):
        for source in getattr(status, name):
            label = name.replace("_", " ") + ":"
            say(f"{label:<9} {source}")
    for problem in (*status.skipped, *status.failed):
        say(f"{problem.kind + ':':<9} {problem.source}: {problem.reason}")
    left_out = f"{len(status.left_out):,} left out, " if status.left_out else ""
    say(
        f"{len(status.new):,} new, {len(status.changed):,} changed, {len(status.gone):,} gone, "
        f"{left_out}{status.unchanged:,} unchanged, {len(status.skipped):,} skipped, "
        f"{len(status.failed):,} failed"
    )


def print_hits(hits: Sequence[types.Hit]) -> None:
    """Print passages in order, each with its location and score."""
    for hit in hits:
        _print_hit(hit)


def print_explanation(found: types.Explanation) -> None:
    """Print passages in order, each with its rank and score in every stage, and the times."""
    say(f"looked for: {', '.join(found.words) or 'no words'}")
    if found.related:
        related = islice(found.related.items(), 12)
        words = ", ".join(f"{word} {weight:.2f}" for word, weight in related)
        say(f"and, from the best passages: {words}", "dim")
    for wording in found.wordings:
        say(f"also asked: {wording}", "dim")
    for hit in found.hits:
        _print_hit(hit)
        places = "  ".join(f"{s.name} #{s.rank} {s.score:.3f}" for s in hit.trace)
        say(f"    {places}", "green")
        if hit.terms:
            say(f"    words: {', '.join(hit.terms)}")
    taken = ", ".join(f"{stage} {ms:.1f}" for stage, ms in found.timings.items())
    say(f"milliseconds: {taken}", "dim")


def _print_hit(hit: types.Hit) -> None:
    say(f"[{hit.rank}] ", "bold", end="")
    # The best of a fused ranking scores 1 however far it is: the cosine tells.
    near = f", cosine {hit.cosine:.2f}" if hit.cosine is not None and len(hit.trace) > 1 else ""
    link = link_to(hit.source, hit.chunk.page)
    say_link(f"{hit.location}  ({hit.score:.3f}{near})", link, "cyan")
    if hit.widened is None:
        columns = _LINES * (count_columns() - len(_INDENT) - _LOST)
        found = excerpt(hit.text, hit.matches, columns=columns)
        _write_marked(one_line(found.text), found.marks)
    else:
        _write_marked(hit.text, hit.matches)
    if hit.duplicates:
        say(f"    the same in {name_three(hit.duplicates)}", "dim")


def count_columns() -> int:
    """Return how wide the terminal is; 80 where there is none and `COLUMNS` is not set."""
    return min(max(_FEWEST_COLUMNS, shutil.get_terminal_size().columns), _MOST_COLUMNS)


def _write_marked(text: str, marks: Sequence[tuple[int, int]], indent: str = _INDENT) -> None:
    """Print a text wrapped to the terminal and indented, with the marks in bold."""
    for start, end in wrap(text, count_columns() - len(indent)):
        say(indent, end="")
        at = start
        # A mark of several words may go on in the next line.
        for first, last in ((max(mark[0], start), min(mark[1], end)) for mark in marks):
            if first < last:
                say_text(text[at:first], end="")
                say_text(text[first:last], "bold", end="")
                at = last
        say_text(text[at:end])


def print_facts(facts: types.IndexInfo) -> None:
    """Print what an index holds and what it was built with."""
    rows = [
        ("index", facts.path),
        ("files", f"{facts.files:,}"),
        ("documents", f"{facts.documents:,}"),
        ("passages", f"{facts.chunks:,}"),
        ("on disk", f"{facts.bytes / 1e6:.1f} MB"),
    ]
    # Before anything was indexed, nothing of this is settled.
    if facts.embedder is not None:
        weights = " ".join(filter(None, (facts.fingerprint, facts.revision))) or "unknown"
        rows += [
            ("embedder", f"{facts.embedder} ({facts.dim} dimensions)"),
            ("weights", weights),
            ("cut to", f"{facts.chunk_size} tokens, {facts.chunk_overlap} overlapping"),
        ]
    if facts.search:
        rows.append(("search", describe_search(facts.search)))
    for name, value in rows:
        say(f"{name:<10} {value}")


def print_document(document: types.Document, span: tuple[int, int] | None) -> None:
    """Print a document, or the passage at `span` within its section."""
    say(document.source, "cyan")
    facts = {"title": document.title, "type": document.media_type, **document.metadata}
    for name, value in facts.items():
        say(f"{name}: {value}", "dim")
    say()
    if span is None:
        say_text(document.text)
        return
    start, end = span
    above, below = document.section_at(start)
    if document.heading_at(start):
        say(" › ".join(document.heading_at(start)), "dim")
    first = max(above, start - _CONTEXT_CHARACTERS)
    last = max(end, min(below, end + _CONTEXT_CHARACTERS))
    say_text(document.text[first:start], "dim", end="")
    say_text(f"▶{document.text[start:end]}◀", "bold", end="")
    say_text(document.text[end:last], "dim")


def print_stream(stream: AnswerStream, pieces: Iterator[str]) -> None:
    """Print an answer as it is written; one that is quoted, with the parts that answer bold.

    `pieces` are those of `stream` that are left to print.
    """
    first = next(pieces, "")
    # A quotation comes in one piece, which ends in its mark, and its answer tells which parts of it
    # answer. Anything else is shown at once, whenever more of it may come.
    if first.endswith("]"):
        second = next(pieces, None)
        if second is None and stream.answer.spans:
            _print_marked(stream.answer)
            return
        pieces = itertools.chain([second or ""], pieces)
    for piece in itertools.chain([first], pieces):
        say_text(piece, end="")
    say()


def _print_marked(answer: types.Answer) -> None:
    # A program that reads it gets the text as it is, in lines of any length.
    if sys.stdout.isatty():
        _write_marked(answer.text, answer.spans, indent="")
    else:
        say_text(answer.text)


def print_sources(answer: types.Answer) -> None:
    """Print what an answer rests on, and which of its sentences rest on nothing."""
    if answer.citations:
        say()
    for citation in answer.citations:
        link = link_to(citation.source, citation.page)
        say_link(f"[{citation.number}] {citation.location}", link, "cyan")
        say(f"    “{shorten(citation.quote)}”", "dim")
    for sentence in [] if answer.abstained else answer.unsupported:
        say(f"no passage supports: {sentence.text}", "yellow")
    if answer.abstained and answer.unsupported:
        say("No passage supports this.", "yellow")
    flagged = dict.fromkeys(word for sentence in answer.sentences for word in sentence.flagged)
    if flagged:
        say(f"in no passage: {', '.join(flagged)}", "yellow")
    if answer.missing:
        say(answer.missing, "yellow")
    if answer.abstained and answer.prompt.hits:
        nearest = answer.prompt.hits[0]
        say()
        say(f"Nearest: {nearest.location}", "cyan")
        say(f"    “{shorten(nearest.text)}”", "dim")
    if answer.prompt.left_out:
        say(f"{len(answer.prompt.left_out)} passages did not fit into the prompt", "dim")


def name_three(names: Sequence[str]) -> str:
    """Name the first three, and count the others."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(map(one_line, names[:3])) + more


def shorten(text: str) -> str:
    """Put a quote on one line, and cut it between words where it is long."""
    return one_line(excerpt(text, columns=_QUOTE_COLUMNS).text)
