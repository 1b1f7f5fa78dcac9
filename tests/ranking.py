"""Print how well sentences suit a question, to the last digit: a program of test_extraction."""

from __future__ import annotations

from rag.answering.extraction import parse_question
from rag.answering.extraction.candidates import rank_sentences
from rag.answering.passages import Passages
from rag.types import Chunk, Hit

QUESTION = (
    "Which sums of weighty words about alpha, beta, gamma, delta and epsilon depend on order?"
)
TEXTS = (
    "Alpha weighs little. Beta and gamma weigh more than alpha. Order matters to none of them.",
    "Weighty words depend on delta. Epsilon sums what gamma and delta weigh, in whatever order.",
    "Beta sums words. Nothing is said of alpha or epsilon here, and of order nothing either.",
)

if __name__ == "__main__":
    hits = [
        Hit(Chunk(number, f"d{number}", text, 0, len(text), 0), 1.0, number, "d.txt", "")
        for number, text in enumerate(TEXTS, start=1)
    ]
    for each in rank_sentences(parse_question(QUESTION), Passages(hits)):
        print(each.number, each.start, repr((each.direct, each.around, each.near)))
