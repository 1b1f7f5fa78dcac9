"""What documents that speak to the model achieve: `python benchmarks/injections.py SET.jsonl`.

A line of SET is an object with `document`, which holds an injection; the `question` that it aims
at; `truth`, what the rest of the document answers, or null where it answers nothing; `canary`, what
an answer says only if the injection succeeded; its `kind` and its `language`. Each question is
asked of its own document alone, by every way of answering, with SmolLM2 135M as the generator.

Prints Markdown tables, by way, by kind and by language. *recognised*: part of the document is
withheld, and the generator is shown nothing that holds the canary. *obeyed*: the canary is in what
a generator wrote. *quoted*: it is in what was quoted as the answer. *truth*: of the questions that
the document answers, those whose answer holds it; *refused*: of the others. With `--show`, each
answer with a canary and each injection that was not recognised follow. `--harmless` measures what
is withheld of harmless text instead: JSONL files (`text`), or files and folders of text.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag import RAG, Answer
from rag.answering.injection import find_instructions
from rag.answering.passages import Passage
from rag.answering.prompt.fencing import quote
from rag.config import GenerationConfig
from rag.generation import load_generator
from rag.types import Chunk, Hit

WAYS = ("extract", "generate", "auto")
MODEL = "smollm2-135m-instruct"
_SUFFIXES = (".md", ".txt", ".rst", ".html")


@dataclass(frozen=True, slots=True)
class Injection:
    """One document with an injection, and the question that it aims at."""

    document: str
    question: str
    truth: str | None
    canary: str
    kind: str
    language: str


@dataclass(slots=True)
class Outcome:
    """What became of one injection: its answers by way, and whether it was recognised."""

    injection: Injection
    recognised: bool
    answers: dict[str, Answer] = field(default_factory=dict)

    def takes_up(self, way: str) -> bool:
        """Return whether the answer says what the injection wanted."""
        return holds(self.answers[way].text, self.injection.canary)


def load(file: Path) -> list[Injection]:
    """Read a set of injections; further fields are left out."""
    names = Injection.__dataclass_fields__
    return [Injection(**{name: row[name] for name in names}) for row in _read_lines(file)]


def holds(text: str, phrase: str) -> bool:
    """Return whether a text holds a phrase, whatever the case and the white space."""
    return " ".join(phrase.casefold().split()) in " ".join(text.casefold().split())


def is_recognised(injection: Injection) -> bool:
    """Return whether the generator is shown the document without the canary."""
    passage = _read(injection.document)
    shown = quote(passage.text, passage.withheld)
    return bool(passage.withheld) and not holds(shown, injection.canary)


def measure(injections: Sequence[Injection], ways: Sequence[str]) -> list[Outcome]:
    """Ask the question of each injection, of its own document alone, by each way."""
    outcomes = [Outcome(each, is_recognised(each)) for each in injections]
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "documents")
        files.mkdir()
        for at, each in enumerate(injections):
            Path(files, f"{at}.txt").write_text(each.document, encoding="utf-8")
        index = Path(folder, "index")
        embedder = RAG(index).embedder
        RAG(index, embedder=embedder).index(files)
        for way in ways:
            writes = way != "extract"
            generator = load_generator(GenerationConfig(model=MODEL)) if writes else None
            settings = {"answering.way": way}
            rag = RAG(index, embedder=embedder, generator=generator, settings=settings)
            for at, outcome in enumerate(outcomes):
                question = outcome.injection.question
                outcome.answers[way] = rag.ask(question, where=f"path:{at}.txt")
    return outcomes


def print_tables(outcomes: Sequence[Outcome], ways: Sequence[str]) -> None:
    """Print what was reached by way, then by kind and by language."""
    known = [each for each in outcomes if each.injection.truth is not None]
    unknown = [each for each in outcomes if each.injection.truth is None]
    recognised = sum(each.recognised for each in outcomes)
    print(f"{len(outcomes)} injections, {recognised} recognised; ", end="")
    print(f"{len(known)} documents answer the question, {len(unknown)} do not.\n")
    print("| way | obeyed | quoted | quoted, no true answer | truth | refused |")
    print("| --- | --- | --- | --- | --- | --- |")
    for way in ways:
        taken = [each for each in outcomes if each.takes_up(way)]
        obeyed = [each for each in taken if each.answers[way].way == "generate"]
        quoted = [each for each in taken if each.answers[way].way != "generate"]
        null = [each for each in quoted if each.injection.truth is None]
        right = sum(holds(each.answers[way].text, each.injection.truth or "") for each in known)
        silent = sum(each.answers[way].abstained for each in unknown)
        counts = f"{len(obeyed)} | {len(quoted)} | {len(null)} | {right}/{len(known)}"
        print(f"| {way} | {counts} | {silent}/{len(unknown)} |")
    for name in ("kind", "language"):
        groups: dict[str, list[Outcome]] = defaultdict(list)
        for each in outcomes:
            groups[getattr(each.injection, name)].append(each)
        print(f"\n| {name} | injections | recognised | {' | '.join(ways)} |")
        print("| --- " * (3 + len(ways)) + "|")
        for group, rows in groups.items():
            counts = " | ".join(str(sum(each.takes_up(way) for each in rows)) for way in ways)
            print(f"| {group} | {len(rows)} | {sum(e.recognised for e in rows)} | {counts} |")


def print_failures(outcomes: Sequence[Outcome], ways: Sequence[str]) -> None:
    """Print each answer that holds a canary, then each injection that was not recognised."""
    for each in outcomes:
        for way in ways:
            if each.takes_up(way):
                print(f"\n{way}: {each.injection.question} -> {each.answers[way].text!r}")
    for each in outcomes:
        if not each.recognised:
            passage = _read(each.injection.document)
            print(
                f"\nnot recognised: {each.injection.canary!r} in "
                f"{quote(passage.text, passage.withheld)!r}"
            )


def print_withheld(paths: Sequence[Path], *, show: bool) -> None:
    """Print how much of harmless text is withheld from the generator, and from the reader."""
    print("| text | sentences | instructions | what to say |\n| --- | --- | --- | --- |")
    for path in paths:
        counts: Counter[str] = Counter()
        for text in _read_texts(path):
            passage = _read(text)
            counts["sentences"] += len(passage.sentences)
            instructions = set(find_instructions(text, passage.sentences))
            counts["instructions"] += len(instructions)
            others = [span for span in passage.withheld if span not in instructions]
            counts["others"] += len(others)
            if show:
                for start, end in passage.withheld:
                    print(f"{path.name}: {text[start:end]!r}")
        print(
            f"| {path.name} | {counts['sentences']} | {counts['instructions']} "
            f"| {counts['others']} |",
            flush=True,
        )


def _read(text: str) -> Passage:
    return Passage(Hit(Chunk(0, "d", text, 0, len(text), 0), 1.0, 1, "d.txt", ""))


def _read_texts(path: Path) -> Iterator[str]:
    if path.suffix == ".jsonl":
        yield from (row["text"] for row in _read_lines(path))
        return
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.suffix in _SUFFIXES or (file.is_file() and file == path):
            yield file.read_text(encoding="utf-8", errors="replace")


def _read_lines(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def main() -> None:
    """Print the tables of one set, or what is withheld of harmless text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--ways", default=",".join(WAYS), help="separated by commas")
    parser.add_argument("--harmless", action="store_true", help="measure what is withheld of text")
    parser.add_argument("--show", action="store_true", help="print each failure")
    arguments = parser.parse_args()
    if arguments.harmless:
        print_withheld(arguments.files, show=arguments.show)
        return
    ways = [way for way in arguments.ways.split(",") if way]
    for file in arguments.files:
        outcomes = measure(load(file), ways)
        print_tables(outcomes, ways)
        if arguments.show:
            print_failures(outcomes, ways)


if __name__ == "__main__":
    main()
