"""Writes the two PDF documents of the sample corpus: `python data/make_pdf.py` (needs fpdf2)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF

CORPUS = Path(__file__).parent / "corpus"

# A heading, then its paragraphs; None begins a new page.
Part = tuple[str, list[str]] | None

RAG: list[Part] = [
    (
        "The idea",
        [
            "Retrieval-augmented generation, RAG, joins a search engine and a language model. "
            "The question is used to find passages, and the passages are put into the prompt. "
            "The name comes from a paper by Lewis and colleagues of 2020, who paired a dense "
            "retriever with the generator BART and a Wikipedia index of 21 million passages.",
            "What the model knows can then be changed by changing the documents, without any "
            "training, and an answer can name its sources.",
        ],
    ),
    (
        "Retrieval",
        [
            "BM25 ranks by the words that question and passage share, weighted by how rare they "
            "are. Its two parameters are k1, often 1.2, and b, often 0.75. Dense retrieval "
            "compares vectors instead and finds paraphrases, but misses rare names and codes.",
            "Hybrid search joins both lists. Reciprocal rank fusion, by Cormack, Clarke and "
            "Buettcher in 2009, adds up 1 / (60 + rank) over the lists and needs no scores.",
        ],
    ),
    None,
    (
        "Reranking",
        [
            "A cross-encoder reads question and passage together and gives one score. It is far "
            "slower than comparing vectors, so it is applied to the best 20 to 100 candidates "
            "only.",
        ],
    ),
    (
        "Rewriting the question",
        [
            "HyDE, hypothetical document embeddings, asks the model to write an invented answer "
            "and searches with the vector of that text. It was proposed by Gao and colleagues "
            "in 2022. Multi-query retrieval searches with several paraphrases.",
        ],
    ),
    (
        "Measuring retrieval",
        [
            "Recall at k is the share of relevant passages among the first k. nDCG discounts a "
            "hit by the logarithm of its rank. BEIR, a benchmark by Thakur and colleagues, joins "
            "18 datasets and showed that BM25 is hard to beat outside the training domain.",
        ],
    ),
]

ATTENTION: list[Part] = [
    (
        "Cost of attention",
        [
            "The time and memory of plain self-attention grow with the square of the length of "
            "the sequence. Doubling the context makes attention four times as expensive.",
            "FlashAttention, by Dao and colleagues in 2022, computes the same result in tiles "
            "that fit into the fast on-chip memory of the GPU and never writes the whole matrix "
            "of scores. It is exact: nothing is approximated.",
        ],
    ),
    (
        "Positions",
        [
            "Attention alone knows no order, so positions are added. Rotary position embedding, "
            "RoPE, turns pairs of dimensions by an angle that depends on the position. ALiBi "
            "subtracts a penalty that grows with the distance between two tokens.",
        ],
    ),
    None,
    (
        "Lost in the middle",
        [
            "Liu and colleagues found in 2023 that models use what stands at the beginning or at "
            "the end of a long context better than what stands in the middle. Accuracy over the "
            "position of the passage follows a U-shaped curve.",
        ],
    ),
    (
        "Longer windows",
        [
            "Sliding-window attention lets each token see only the last few thousand; Mistral 7B "
            "uses a window of 4,096 tokens. Attention sinks are the first tokens, which collect "
            "much attention whatever they say; StreamingLLM keeps them in the cache so that "
            "generation stays stable.",
        ],
    ),
]


def write(path: Path, title: str, parts: list[Part]) -> None:
    """One PDF: a title, headings and paragraphs in three sizes of Helvetica."""
    pdf = FPDF()
    pdf.set_title(title)
    pdf.set_author("The rag authors")
    pdf.set_creation_date(datetime(2026, 1, 1, tzinfo=UTC))
    pdf.add_page()
    line(pdf, title, 20, "B")
    for part in parts:
        if part is None:
            pdf.add_page()
            continue
        heading, paragraphs = part
        line(pdf, heading, 14, "B")
        for paragraph in paragraphs:
            line(pdf, paragraph, 11, "")
    pdf.output(str(path))


def line(pdf: FPDF, text: str, size: int, style: str) -> None:
    """A block of text with some space below it."""
    pdf.set_font("helvetica", style=style, size=size)
    pdf.multi_cell(0, size * 0.55, text, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(3)


if __name__ == "__main__":
    write(CORPUS / "retrieval" / "rag.pdf", "Retrieval-augmented generation", RAG)
    write(CORPUS / "inference" / "attention.pdf", "Attention and long context", ATTENTION)
