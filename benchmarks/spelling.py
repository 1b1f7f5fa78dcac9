"""Measure how typing errors are corrected, and whether right words are left alone.

    python benchmarks/spelling.py DATASET [--questions N] [--seed N] [--index DIR]

DATASET has corpus.jsonl, queries.jsonl and qrels.tsv (BEIR's layout); its questions without a
relevant document are left out. N of them, drawn at random, get one typing error in each of one or
two words that carry meaning: a letter left out, doubled, replaced by a neighbour on the keyboard,
or swapped with the next one, never the first. Recall@5 is of the questions as they are, with the
errors, and with the errors corrected. N others are asked as they are, and each that is read
otherwise is printed. The result is Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rag import RAG
from rag.text.stopwords import stop_words
from rag.text.terms import stems

KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
MOST_ERRORS = 2
K = 5


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the ids of its relevant documents."""

    text: str
    relevant: frozenset[str]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--questions", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--index", type=Path, metavar="DIR", help="Keep the index here.")
    options = parser.parse_args()
    questions = read_questions(options.dataset)
    random.Random(options.seed).shuffle(questions)  # noqa: S311
    with TemporaryDirectory() as folder:
        path = options.index or Path(folder, "index")
        report(path, options.dataset, questions, options.questions, options.seed)


def read_questions(dataset: Path) -> list[Question]:
    """Read the questions of a dataset that have a relevant document."""
    relevant: dict[str, set[str]] = {}
    for line in (dataset / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        if int(score) > 0:
            relevant.setdefault(query, set()).add(document)
    lines = (dataset / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = (json.loads(line) for line in lines)
    return [
        Question(query["text"], frozenset(relevant[query["_id"]]))
        for query in queries
        if query["_id"] in relevant
    ]


def report(path: Path, dataset: Path, questions: Sequence[Question], count: int, seed: int) -> None:
    """Index the corpus, and print what corrections restore, and what they change wrongly."""
    # Corrections come first in a search: that of a RAG without them is what the others had.
    settings = {"generation.model": "extractive"}
    rag = RAG(path, settings={**settings, "retrieval.correct": False})
    rag.index(dataset / "corpus.jsonl")
    correcting = RAG(path, settings=settings, embedder=rag.embedder)
    print(f"{len(questions)} questions; {count} with errors, {count} as they are; seed {seed}\n")
    print("| errors in | recall@5 as asked | with errors | corrected | words restored |", end="")
    print(" in another form | made another word | left |")
    print("| --- " * 8 + "|")
    for kind, pattern in (("small words", r"[a-z]{4,}"), ("any words", r"[A-Za-z]{4,}")):
        print(measure_errors(rag, correcting, questions[:count], kind, pattern, seed))
    changed = [
        (question.text, found)
        for question in questions[count : 2 * count]
        if (found := read_as(correcting, question.text)) != question.text
    ]
    print(f"\n{len(changed)} of {count} questions without errors are read otherwise")
    for asked, found in changed:
        print(f"- {asked} → {found}")


def measure_errors(
    rag: RAG, correcting: RAG, questions: Sequence[Question], kind: str, pattern: str, seed: int
) -> str:
    """Return a row of the table."""
    draw = random.Random(seed)  # noqa: S311
    outcomes = dict.fromkeys(("restored", "another form", "another word", "left"), 0)
    found = [0, 0, 0]
    for question in questions:
        typed, errors = mistype(question.text, pattern, draw)
        corrected = read_as(correcting, typed)
        words = dict(zip(typed.split(), corrected.split(), strict=True))
        for error, meant in errors.items():
            outcomes[judge(words[error], error, meant)] += 1
        for at, text in enumerate((question.text, typed, corrected)):
            hits = rag.search(text, K)
            found[at] += any(hit.chunk.document_id in question.relevant for hit in hits)
    total = sum(outcomes.values())
    shares = " | ".join(f"{each / len(questions):.3f}" for each in found)
    parts = " | ".join(f"{each} ({each / total:.0%})" for each in outcomes.values())
    return f"| {kind} | {shares} | {parts} |"


def judge(outcome: str, error: str, meant: str) -> str:
    """Return what became of a word with an error."""
    if outcome == error:
        return "left"
    one, other = (word.rstrip(".,?").casefold() for word in (outcome, meant))
    if one == other:
        return "restored"
    return "another form" if stems(one, "en") == stems(other, "en") else "another word"


def read_as(rag: RAG, question: str) -> str:
    """Return how a question is read."""
    return rag.query(question).question


def mistype(question: str, pattern: str, draw: random.Random) -> tuple[str, dict[str, str]]:
    """Return the question with errors in one or two words, and what each of them was."""
    words = question.split()
    unimportant = stop_words("en")
    places = [
        at
        for at, word in enumerate(words)
        if re.fullmatch(pattern + r"[.,?]?", word) and word.rstrip(".,?").lower() not in unimportant
    ]
    errors: dict[str, str] = {}
    for at in draw.sample(places, min(len(places), draw.randint(1, MOST_ERRORS))):
        word = words[at].rstrip(".,?")
        words[at] = mistype_word(word, draw) + words[at][len(word) :]
        errors[words[at]] = question.split()[at]
    return " ".join(words), errors


def mistype_word(word: str, draw: random.Random) -> str:
    """Return a word with one error that is not in its first letter."""
    while True:
        at = draw.randrange(1, len(word))
        letter = word[at]
        row = next((row for row in KEYBOARD if letter in row), letter)
        beside = row.find(letter) + draw.choice((-1, 1))
        wrong = draw.choice(
            (
                word[:at] + word[at + 1 :],
                word[:at] + letter + word[at:],
                word[:at] + row[beside % len(row)] + word[at + 1 :],
                word[:at] + word[at + 1 : at + 2] + letter + word[at + 2 :],
            )
        )
        if wrong != word:
            return wrong


if __name__ == "__main__":
    main()
