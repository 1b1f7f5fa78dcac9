"""Fit what answers rest on: `python benchmarks/calibration.py XQUAD [DATASET...] [--write]`.

XQUAD is a folder with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv`. Everything is fitted on the
questions about its articles with even numbers (and every other question that has no answer there)
and measured on the others, and on each further DATASET whole. Prints Markdown tables and the
coefficients; `--write` writes them into the package.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import msgspec
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import rag.answering
from rag import RAG, Embedder
from rag.answering.extraction import candidates_of, extract, features
from rag.answering.extraction.answerability import answerability, measures
from rag.answering.grounding import Grounding, support
from rag.answering.logistic import Logistic, regression
from rag.answering.passages import Passages
from rag.config import EmbeddingConfig
from rag.embedding import load_embedder
from rag.evaluation.answer_metrics import exact_match, token_f1

WEIGHTS = Path(rag.answering.__file__).with_name("weights.json")
QUESTION_WORD = re.compile(
    r"^(?:(?:in|at|on|by|to|of|for|from)\s+)?(?:what|which|who|whom|whose|when|where|why|how)\b"
    r"(?:\s+(?:is|are|was|were|did|does|do|many|much|year))*\s*",
    re.IGNORECASE,
)
FEATURES = 60
L2 = 1e-2


@dataclass(frozen=True)
class Case:
    """A question with its passages and their sentences."""

    text: str
    answers: list[str]
    answerable: bool
    fitted: bool
    hits: Any
    question: Any
    sentences: Any


class CachedEmbedder:
    """An embedder that embeds each text once, since many questions find the same sentences."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed_documents(self, texts: Sequence[str]) -> Any:
        """float32 `[len(texts), dim]`, each row of length 1."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            vectors = self._embedder.embed_documents(new)
            self._known.update(zip(new, vectors, strict=True))
        return np.stack([self._known[text] for text in texts])


def search_all(folder: Path, embedder: Embedder, *, split: bool) -> list[Case]:
    """Search the whole corpus of a set for each of its questions."""
    corpus = next(folder / name for name in ("corpus.jsonl", "corpus") if (folder / name).exists())
    articles = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        identity, document, _ = line.split("\t")
        articles[identity] = document
    found = []
    with tempfile.TemporaryDirectory() as index:
        searcher = RAG(index, embedder=embedder)
        searcher.index(corpus)
        lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
        for number, query in enumerate(map(json.loads, lines)):
            hits = searcher.search(query["text"])
            question, sentences = candidates_of(query["text"], Passages(hits, embedder))
            article = articles.get(query["_id"], "")
            part = int(article[1:].split("p")[0]) if split and article else number
            found.append(
                Case(
                    query["text"],
                    query["answers"],
                    query["answerable"],
                    split and part % 2 == 0,
                    hits,
                    question,
                    sentences,
                )
            )
    return found


def write_regressions(fitted: dict[str, Logistic]) -> None:
    """Write regressions by name into the package, in place of those that it has there."""
    every = msgspec.json.decode(WEIGHTS.read_bytes(), type=dict[str, Logistic]) | fitted
    WEIGHTS.write_text(json.dumps(msgspec.to_builtins(every), indent=1) + "\n", encoding="utf-8")
    regression.cache_clear()


def fit_spans(fitting: Sequence[Case]) -> Logistic:
    """Fit weights that make those spans likely which overlap with a gold answer."""
    names: dict[str, int] = {}
    rows: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    groups: list[int] = []
    every = []
    for case in fitting:
        if case.answerable:
            spans = features(case.question, case.sentences)
            every.append((spans, [token_f1(text, case.answers) for text, _ in spans]))
            for _, facts in spans:
                for name in facts:
                    names.setdefault(name, len(names))
    for group, (spans, overlaps) in enumerate(every):
        table = torch.zeros(len(spans), len(names))
        for row, (_, facts) in enumerate(spans):
            for name, value in facts.items():
                table[row, names[name]] = value
        rows.append(table)
        targets.append(torch.tensor(overlaps))
        groups += [group] * len(spans)
    table, target, group_of = torch.cat(rows), torch.cat(targets) ** 2 + 1e-4, torch.tensor(groups)
    spread = table.std(0) + 1e-6
    table = table / spread
    weights = _minimise(table, target, group_of, torch.ones(len(names)))
    # The features that do least are left out, and the others fitted again.
    kept = torch.zeros(len(names))
    kept[torch.argsort(-weights.abs())[:FEATURES]] = 1.0
    weights = _minimise(table, target, group_of, kept) / spread
    return Logistic(
        0.0,
        {
            name: round(float(weights[at]), 4)
            for name, at in sorted(names.items())
            if kept[at] and abs(float(weights[at])) >= 5e-5
        },
    )


def _minimise(
    table: torch.Tensor, target: torch.Tensor, group: torch.Tensor, kept: torch.Tensor
) -> torch.Tensor:
    weights = torch.zeros(table.shape[1], requires_grad=True)
    count = int(group.max()) + 1
    optimizer = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def log_sum(scores: torch.Tensor) -> torch.Tensor:
        highest = torch.full((count,), -1e9).scatter_reduce(0, group, scores, "amax")
        parts = torch.exp(scores - highest[group])
        return highest + torch.log(torch.zeros(count).index_add(0, group, parts))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        scores = table @ (weights * kept)
        gained = log_sum(scores + torch.log(target)) - log_sum(scores)
        loss = -gained.mean() + L2 * (weights**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach() * kept


def fit_answerability(fitting: Sequence[Case]) -> Logistic:
    """Fit the regression that separates questions whose answer was found from the others."""
    table = [measures(c.question, c.hits, c.sentences) for c in fitting]
    return fit_logistic(table, [c.answerable for c in fitting])


def fit_logistic(table: Sequence[dict[str, float]], truth: Sequence[bool]) -> Logistic:
    """Fit a regression over all features of `table`, rounded to two digits."""
    model = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)
    model.fit([list(row.values()) for row in table], truth)
    weights = dict(zip(table[0], np.round(model.coef_[0], 2).tolist(), strict=True))
    return Logistic(round(float(model.intercept_[0]), 2), weights)


def statements(
    part: Sequence[Case], embedder: Embedder
) -> list[tuple[list[dict[str, float]], bool]]:
    """Return the features of grounding for statements that are true, and for ones that are not.

    A question without its question word together with a gold answer makes a statement that the
    passages support; with the best wrong span, or the answer to another question, it makes one that
    they do not support.
    """
    answered = [case for case in part if case.answerable]
    found = []
    for number, case in enumerate(answered):
        grounding = Grounding(case.text, Passages(case.hits, embedder))
        spans = [text for text, _ in features(case.question, case.sentences)]
        wrong = next((t for t in spans[number:] if token_f1(t, case.answers) == 0), None)
        other = answered[(number + 7) % len(answered)].answers[0]
        statement = QUESTION_WORD.sub("", case.text).rstrip("? ")
        for text, true in ((case.answers[0], True), (wrong, False), (other, False)):
            values = grounding.measures(f"{statement} {text}.") if text else []
            if text and values:
                found.append((values, true))
    return found


def fit_support(found: Sequence[tuple[list[dict[str, float]], bool]]) -> Logistic:
    """Fit the regression that separates true statements from others, by their best windows."""
    best = [max(values, key=lambda row: (row["share"], row["cosine"])) for values, _ in found]
    return fit_logistic(best, [true for _, true in found])


def separation(truth: Any, probabilities: Any) -> str:
    """How many there are, the AUROC, and the shares right of the true and of the false ones."""
    right = (probabilities >= 0.5) == truth
    auroc = roc_auc_score(truth, probabilities)
    return f"{len(truth)} | {auroc:.3f} | {right[truth].mean():.3f} | {right[~truth].mean():.3f}"


def print_support(parts: dict[str, list[Case]], embedder: Embedder) -> None:
    """Print how well supported statements are separated from others."""
    print("\n| statements | n | AUROC | true kept | false found | support 0.5 to 0.8: mean, true |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, part in parts.items():
        found = statements(part, embedder)
        truth = np.array([true for _, true in found])
        p = np.array([max(map(support, values)) for values, _ in found])
        middle = (p >= 0.5) & (p < 0.8)
        calibrated = f"{p[middle].mean():.2f}, {truth[middle].mean():.2f}"
        print(f"| {name} | {separation(truth, p)} | {calibrated} |")


def print_spans(parts: dict[str, list[Case]]) -> None:
    """Print how good the extracts are, and their spans by probability."""
    print("\n| questions | n | EM | token F1 | F1, sentence alone | spans shown | F1 of these |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, part in parts.items():
        answered = [c for c in part if c.answerable and c.sentences]
        made = [(c, extract(c.question, c.sentences)) for c in answered]
        texts = [(c, e.text if e else "") for c, e in made]
        f1 = [token_f1(text, c.answers) for c, text in texts]
        em = fmean(exact_match(text, c.answers) for c, text in texts)
        whole = fmean(token_f1(c.sentences[0].text, c.answers) for c in answered)
        shown = [value for value, (_, e) in zip(f1, made, strict=True) if e and e.expected]
        print(
            f"| {name} | {len(answered)} | {em:.3f} | {fmean(f1):.3f} | {whole:.3f} "
            f"| {len(shown) / len(answered):.0%} | {fmean(shown):.3f} |"
        )


def print_answerability(parts: dict[str, list[Case]]) -> None:
    """Print how well questions without an answer are separated from the others."""
    print("\n| questions | n | AUROC | answerable kept | unanswerable found | Brier |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, part in parts.items():
        truth = np.array([c.answerable for c in part])
        p = np.array([answerability(c.question, c.hits, c.sentences) for c in part])
        print(f"| {name} | {separation(truth, p)} | {((p - truth) ** 2).mean():.3f} |")


def main() -> None:
    """Fit, and measure on other questions than those of the fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("xquad", type=Path)
    parser.add_argument("others", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true", help="write the weights")
    arguments = parser.parse_args()
    embedder = cast(Embedder, CachedEmbedder(load_embedder(EmbeddingConfig())))
    xquad = search_all(arguments.xquad, embedder, split=True)
    fitting = [c for c in xquad if c.fitted]
    fitted = {
        "answerability": fit_answerability(fitting),
        "support": fit_support(statements(fitting, embedder)),
    }
    for name, found in fitted.items():
        print(f"{name}:", found.intercept, found.weights)
    if arguments.write:
        write_regressions({**fitted, "span": fit_spans(fitting)})
    parts = {"XQuAD, fitted": fitting, "XQuAD, held out": [c for c in xquad if not c.fitted]}
    parts |= {folder.name: search_all(folder, embedder, split=False) for folder in arguments.others}
    print_spans(parts)
    print_answerability(parts)
    print_support(parts, embedder)


if __name__ == "__main__":
    main()
