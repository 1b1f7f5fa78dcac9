"""Measure what computing an embedder in fewer bits costs.

    python benchmarks/precision.py DATASET... [--precisions float32,int8] [--embedder NAME]

DATASET is a folder in BEIR's layout. Each is indexed anew in each precision, and searched with
questions embedded in the same precision: by vectors alone ("dense"), and as `rag search` does by
default. The table shows nDCG@10, its difference to the first precision in percent, the two-sided
p-value of a paired randomisation test, and the mean and the least cosine of the passages' vectors
with those of the first precision.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag import RAG
from rag.evaluation import Report, compare, evaluate, index_corpus, load_dataset

CONFIGURATIONS = ("dense", "current")


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--precisions", default="float32,int8")
    parser.add_argument("--embedder", default="all-minilm-l6-v2")
    arguments = parser.parse_args()
    print(f"{arguments.embedder}; {platform.processor() or platform.machine()}\n")
    print("| data | precision | search | nDCG@10 | difference | p | mean cosine | least |")
    print("| --- " * 8 + "|")
    for folder in arguments.datasets:
        print_dataset(folder, arguments.precisions.split(","), arguments.embedder)


def print_dataset(folder: Path, precisions: list[str], embedder: str) -> None:
    """Print a row for each precision and kind of search."""
    dataset = load_dataset(folder)
    first: dict[str, Report] = {}
    reference: NDArray[np.float32] | None = None
    for precision in precisions:
        with tempfile.TemporaryDirectory() as place:
            settings = {"embedding.precision": precision, "embedding.model": embedder}
            rag = RAG(Path(place) / "index", settings=settings)
            index_corpus(rag, dataset)
            texts = sorted(document.text[:1000] for document in rag.documents())
            vectors = rag.embedder.embed_documents(texts[:200])
            reference = vectors if reference is None else reference
            cosines = np.sum(vectors * reference, axis=1)
            for name in CONFIGURATIONS:
                report = evaluate(rag, dataset, name)
                before = first.setdefault(name, report)
                found = report.metrics["nDCG@10"]
                change = 100 * (found / before.metrics["nDCG@10"] - 1)
                p = p_value(before, report) if before is not report else ""
                row = [folder.name, precision, name, f"{found:.4f}", f"{change:+.2f}%", p]
                row += [f"{cosines.mean():.5f}", f"{cosines.min():.5f}"]
                print("|", " | ".join(row), "|", flush=True)


def p_value(first: Report, other: Report) -> str:
    """Return the p-value of the difference in nDCG@10."""
    found = compare([first, other]).differences
    return next(f"{each.p:.3f}" for each in found if each.metric == "nDCG@10")


if __name__ == "__main__":
    main()
