"""Answers by system: `python benchmarks/ways.py DATASET... [--every N] [--systems NAMES]`.

DATASET is a folder with `queries.jsonl` (`answers`, `answerable`), `qrels.tsv` and a corpus; the
whole corpus is searched, and every system reads the same passages. Systems:

- `default`: as installed;
- `extract`: quoted from the passages;
- `auto`: the small default model writes, and the extract replaces what the passages do not support;
- `generate`: the small default model writes, and what the passages do not support is marked;
- `framework`: a plain prompt as in frameworks for this task, with the same model and passages;
  numbers in brackets count as citations of whole passages, unchecked;
- `closed`: the same model without passages.

Prints a Markdown table for each data set.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rag import (
    RAG,
    Answer,
    Citation,
    Hit,
    LanguageModel,
    Message,
    Prompt,
    Sentence,
)
from rag.config import GenerationConfig
from rag.evaluation import AnswerReport, evaluate_answers, index_corpus, load_dataset
from rag.generation import load_generator
from rag.text.sentences import split_sentences

SYSTEMS = ("default", "extract", "auto", "generate", "framework", "closed")
MODEL = "smollm2-135m-instruct"
# The plain prompt is longer than the default room for the small model.
ROOM = 2048
_SILENT = re.compile(r"\b(?:don't|do not|does not|doesn't|cannot|can't)\b.{0,30}\b(?:know|answer)")
_NUMBERS = re.compile(r"\[(\d+)\]")
METRICS = {
    "EM": "EM",
    "F1": "F1",
    "holds gold": "contains",
    "gold cited": "gold cited",
    "wrong": "wrong",
    "lost": "lost",
    "refused": "refused",
    "AUROC": "AUROC",
    "citation recall, shared words": "citation recall (shared words)",
    "citation precision, shared words": "citation precision (shared words)",
}


def framework(rag: RAG, generator: LanguageModel) -> Callable[[str], Answer]:
    """Answer by the usual chain: retrieve, put the passages into one prompt, take the reply."""

    def ask(question: str) -> Answer:
        hits = rag.search(question)
        passages = "\n\n".join(f"[{hit.rank}] {hit.text}" for hit in hits)
        content = (
            "You help to answer questions. Answer the question by the context below. Say that you "
            "don't know if you don't know the answer. Use three sentences at most, keep it short, "
            f"and name the passages that you use, as in [1].\n\nContext:\n{passages}\n\n"
            f"Question: {question}\n\nAnswer:"
        )
        return _write_answer(rag, generator, question, hits, content)

    return ask


def closed_book(rag: RAG, generator: LanguageModel) -> Callable[[str], Answer]:
    """Answer by the model alone."""

    def ask(question: str) -> Answer:
        content = f"Answer the question in a few words.\n\nQuestion: {question}"
        return _write_answer(rag, generator, question, [], content)

    return ask


def _write_answer(
    rag: RAG, generator: LanguageModel, question: str, hits: list[Hit], content: str
) -> Answer:
    messages = (Message("user", content),)
    prompt = Prompt(question, messages, tuple(hits), generator.count_tokens(messages))
    started = time.perf_counter()
    text = ""
    timings: dict[str, float] = {}
    for piece in generator.stream(prompt):
        timings.setdefault("first_token", (time.perf_counter() - started) * 1000)
        text += piece
    timings["generation"] = (time.perf_counter() - started) * 1000
    sentences = []
    for start, end in split_sentences(text):
        numbers = {int(each) for each in _NUMBERS.findall(text[start:end])}
        cited = tuple(sorted(numbers & set(range(1, len(hits) + 1))))
        sentences.append(Sentence(text[start:end], start, end, 0.0, cited))
    used = {number for sentence in sentences for number in sentence.citations}
    silent = _SILENT.search(text.lower()) is not None
    return Answer(
        question=question,
        text=text,
        citations=tuple(
            Citation.of(hit, 0, len(hit.text), rag.document(hit.chunk.document_id), number=number)
            for number, hit in enumerate(hits, start=1)
            if number in used
        ),
        sentences=tuple(sentences),
        unsupported=(),
        abstained=silent,
        prompt=prompt,
        model=generator.name,
        timings=timings,
        confidence=0.0 if silent else 1.0,
    )


def measure(folder: Path, systems: list[str], every: int) -> list[AnswerReport]:
    """Measure each system; return one report for each."""
    dataset = load_dataset(folder)
    reports = []
    with tempfile.TemporaryDirectory() as index:
        rag = RAG(index)
        index_corpus(rag, dataset)
        small = load_generator(GenerationConfig(model=MODEL))
        roomy = load_generator(GenerationConfig(model=MODEL, context_tokens=ROOM))
        for system in systems:
            if system in ("framework", "closed"):
                asked, generator = rag, roomy
                ask = (framework if system == "framework" else closed_book)(asked, generator)
            else:
                way = {"default": "auto"}.get(system, system)
                # `auto` uses a generator that is passed in, whatever the catalogue knows of it.
                given = None if system == "default" else small
                asked = RAG(
                    index,
                    embedder=rag.embedder,
                    generator=given,
                    settings={"answering.way": way},
                )
                ask = asked.ask
            reports.append(evaluate_answers(asked, dataset, system, ask=ask, every=every))
    return reports


def print_table(reports: list[AnswerReport]) -> None:
    """One row for each system."""
    first = reports[0]
    answerable = sum(bool(row.gold) for row in first.rows)
    others = len(first.rows) - answerable
    print(f"\n{Path(first.dataset).name}: {answerable} + {others} questions\n")
    names = [*METRICS, "false quotes"]
    print(f"| system | {' | '.join(names)} | first token | total |")
    print("| --- " * (len(names) + 3) + "|")
    for report in reports:
        values = [_format(report.metrics.get(metric)) for metric in METRICS.values()]
        values.append(f"{report.false_quotes}")
        times = [report.timings.get(name, {}) for name in ("first_token", "total")]
        values += [f"{t['median'] / 1000:.2f} s" if t else "" for t in times]
        print(f"| {report.configuration} | {' | '.join(values)} |", flush=True)


def _format(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def main() -> None:
    """Measure every system on every data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--every", type=int, default=1, help="take every Nth question")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="separated by commas")
    arguments = parser.parse_args()
    for folder in arguments.datasets:
        print_table(measure(folder, arguments.systems.split(","), arguments.every))


if __name__ == "__main__":
    main()
