"""How good `rag check` is, by judge.

    python benchmarks/checking.py DATASET [-k 10] [--every 8] [--entailment NAME] [--fit]
                                          [--written CLAIMS]

DATASET is a folder in BEIR's layout whose queries.jsonl has claims with a `label`: SUPPORTS,
REFUTES or NOT_ENOUGH_INFO, as Climate-FEVER's (Diggelmann et al., 2020). Passages come from its
whole corpus. One half of the claims, by a hash of the id, is for fitting and the other for testing:
all that is printed is of the test half. The generator is asked about every Nth claim only.

Printed is a Markdown table of macro-F1, one of the confusions of minilm-entailment, and one of made
claims: sentences of the corpus as they are, negated, with another number, or turned around, and
sentences about other things. `--fit` first writes the coefficients of the baseline anew.

Then minilm-entailment is asked about the claims of `--written` (by default those that were written
for this, over data/corpus), and about every sentence of data/corpus and data/xquad word for word.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from calibration import write_regressions

from rag import RAG, Embedder, Hit, Verdict
from rag.answering.claims import LABELS, check, lexicon, search_text
from rag.answering.claims.baseline import features
from rag.answering.claims.statements import find_statements
from rag.answering.entailment import SHIPPED, load_entailment
from rag.answering.logistic import Logistic, regression
from rag.answering.passages import Passages
from rag.evaluation import index_corpus, load_dataset
from rag.text.sentences import split_sentences
from rag.text.words import content_words

ROOT = Path(__file__).parent.parent
WRITTEN = ROOT / "benchmarks" / "questions" / "claims.jsonl"
NAMES = {"SUPPORTS": LABELS[0], "REFUTES": LABELS[1], "NOT_ENOUGH_INFO": LABELS[2]}

# Chosen by cross-validation on the fitting half.
STRENGTH = 0.03
MADE_WEIGHT = 0.5
MADE = 40

_AUXILIARY = re.compile(r"\b(?:is|are|was|were|has|have|had|can|could|will|would|does|do|did)\b")
_NUMBER = re.compile(r"\b\d+(?=[ %.,°])")
_TURNS = "increase decrease, increased decreased, increasing decreasing, higher lower, rise fall, \
rising falling, warmer colder, warming cooling, more less, gain loss, larger smaller, \
faster slower, warmest coldest, highest lowest, growth decline"
_PAIRS = [pair.split() for pair in _TURNS.split(", ")]
_OPPOSITE = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}


@dataclass(frozen=True)
class Claim:
    """A claim with its label, and of what kind it is (`real`, or how it was made)."""

    text: str
    label: str
    hits: list[Hit]
    kind: str = "real"


def main() -> None:
    """Measure the judges, after fitting the baseline where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("-k", type=int, default=10, help="passages for a claim")
    parser.add_argument("--every", type=int, default=8, help="the generator's claims; 0 for none")
    parser.add_argument("--entailment", default="", help="another model to measure")
    parser.add_argument("--written", type=Path, default=WRITTEN, help="claims over data/corpus")
    parser.add_argument("--fit", action="store_true", help="write the coefficients anew")
    parser.add_argument("--indexes", type=Path, default=Path("indexes"), help="kept between runs")
    arguments = parser.parse_args()
    rag = RAG(
        arguments.indexes / f"benchmark-{arguments.dataset.name}",
        settings={"retrieval.top_k": arguments.k},
    )
    index_corpus(rag, load_dataset(arguments.dataset))
    claims = list(read_claims(rag, arguments.dataset, fitting=arguments.fit))
    made = list(make_claims(rag, fitting=arguments.fit))
    if arguments.fit:
        for embedder, kind in ((rag.embedder, "by meaning"), (None, "by words")):
            write_regressions(fit_baseline(claims, made, embedder, kind))
        regression.cache_clear()
        fitting, claims = claims, list(read_claims(rag, arguments.dataset, fitting=False))
        made = list(make_claims(rag, fitting=False))
    else:
        fitting = list(read_claims(rag, arguments.dataset, fitting=True))
    print_judges(rag, fitting, claims, arguments.every, arguments.entailment)
    print_made(rag, made)
    print_written(arguments.written)


def is_fitting(name: str) -> bool:
    """Whether something is in the half for fitting, by its id or text."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 0


def read_claims(rag: RAG, dataset: Path, *, fitting: bool) -> Iterator[Claim]:
    """Read the claims of one half, with the passages for each."""
    for line in (dataset / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if is_fitting(entry["_id"]) == fitting:
            yield Claim(
                entry["text"], NAMES[entry["label"]], rag.search(search_text(entry["text"]))
            )


def make_claims(rag: RAG, *, fitting: bool) -> Iterator[Claim]:
    """Make claims with a known verdict of sentences of one half."""
    draw = np.random.default_rng(0)
    own = sorted(sentences(document.text for document in rag.documents()))
    files = (ROOT / "data" / "corpus").rglob("*.md")
    foreign = sorted(sentences(path.read_text(encoding="utf-8") for path in files))
    for kind, label, source, change in (
        ("as it is", LABELS[0], own, str),
        ("negated", LABELS[1], own, negate),
        ("another number", LABELS[1], own, renumber),
        ("turned around", LABELS[1], own, turn_around),
        ("about other things", LABELS[2], foreign, str),
    ):
        chosen = [sentence for sentence in source if is_fitting(sentence) == fitting]
        drawn = (chosen[at] for at in draw.permutation(len(chosen)))
        changed = filter(None, map(change, drawn))
        for text in islice(changed, MADE):
            yield Claim(text, label, rag.search(search_text(text)), kind)


def sentences(texts: Iterator[str]) -> set[str]:
    """Collect the sentences of 8 to 28 words."""
    found = {text[start:end] for text in texts for start, end in split_sentences(text)}
    return {each for each in found if 8 <= len(each.split()) <= 28 and each.endswith(".")}


def negate(sentence: str) -> str | None:
    """Insert `not` after the first auxiliary; None without one, or if the sentence negates."""
    found = _AUXILIARY.search(sentence)
    if found is None or lexicon.is_negated(lexicon.words(sentence)):
        return None
    return f"{sentence[: found.end()]} not{sentence[found.end() :]}"


def renumber(sentence: str) -> str | None:
    """Change the first number of a sentence; None if it has none."""
    found = _NUMBER.search(sentence)
    if found is None:
        return None
    return f"{sentence[: found.start()]}{int(found[0]) + 7}{sentence[found.end() :]}"


def turn_around(sentence: str) -> str | None:
    """Replace the first word that has an opposite by it; None if no word has one."""
    for found in re.finditer(r"\w+", sentence):
        if found[0] in _OPPOSITE:
            return sentence[: found.start()] + _OPPOSITE[found[0]] + sentence[found.end() :]
    return None


def fit_baseline(
    claims: Sequence[Claim], made: Sequence[Claim], embedder: Embedder | None, kind: str
) -> dict[str, Logistic]:
    """Fit the baseline on standardised features; return weights for features as they are."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rows, labels, weights = [], [], []
    for group, weight in ((claims, 1.0), (made, MADE_WEIGHT)):
        counts = Counter(claim.label for claim in group)
        for claim in group:
            statements = find_statements(claim.text, Passages(claim.hits, embedder))
            rows.append(features(claim.text, statements))
            labels.append(LABELS.index(claim.label))
            # Each verdict has the same weight; all made claims have that share of the real ones.
            weights.append(weight * len(claims) / 3 / counts[claim.label])
    names = list(rows[0])
    values = np.array([[row[name] for name in names] for row in rows])
    scaler = StandardScaler().fit(values)
    model = LogisticRegression(C=STRENGTH, max_iter=5000)
    model.fit(scaler.transform(values), labels, sample_weight=weights)
    slopes = model.coef_ / scaler.scale_
    constants = model.intercept_ - slopes @ scaler.mean_
    return {
        f"claim {label} {kind}": Logistic(
            round(float(constants[at]), 3),
            dict(zip(names, np.round(slopes[at], 3).tolist(), strict=True)),
        )
        for at, label in enumerate(LABELS)
    }


def print_judges(
    rag: RAG, fitting: Sequence[Claim], claims: Sequence[Claim], every: int, entailment: str
) -> None:
    """Print macro-F1 by judge, and the confusions of minilm-entailment."""

    def verdict(claim: Claim, **judges: Any) -> str:
        return check(claim.text, claim.hits, rag.document, **judges).label

    def by_baseline(claim: Claim) -> str:
        return verdict(claim, embedder=rag.embedder)

    most = Counter(claim.label for claim in fitting).most_common(1)[0][0]
    threshold = best_threshold(fitting)
    print("| judge | claims | macro-F1 | supported | refuted | not enough | accuracy | ms |")
    print("| --- " * 8 + "|")
    print_row("majority", claims, lambda _: most)
    print_row("word overlap and negation", claims, lambda claim: by_overlap(claim, threshold))
    print_row("baseline, by words", claims, verdict)
    print_row("baseline", claims, by_baseline)
    shipped = load_entailment(SHIPPED)
    print_row(f"{SHIPPED}, by words", claims, lambda each: verdict(each, entailment=shipped))
    verdicts = print_row(SHIPPED, claims, lambda each: verdict(each, entailment=shipped,
                                                               embedder=rag.embedder))  # fmt: skip
    if entailment:
        model = load_entailment(entailment)
        print_row(model.name, claims, lambda each: verdict(each, entailment=model,
                                                           embedder=rag.embedder))  # fmt: skip
    if every:
        sample = claims[::every]
        print_row("baseline", sample, by_baseline)
        print_row(rag.generator.name, sample, lambda each: verdict(
            each, generator=rag.generator, embedder=rag.embedder))  # fmt: skip
    print("\n| is | " + " | ".join(f"judged {label}" for label in LABELS) + " |")
    print("| --- " * 4 + "|")
    pairs = Counter((claim.label, label) for claim, label in zip(claims, verdicts, strict=True))
    for label in LABELS:
        print(f"| {label} | " + " | ".join(str(pairs[label, other]) for other in LABELS) + " |")


def print_row(name: str, claims: Sequence[Claim], judge: Callable[[Claim], str]) -> list[str]:
    """Print a row of the table of judges; return its verdicts."""
    started = time.perf_counter()
    verdicts = [judge(claim) for claim in claims]
    taken = (time.perf_counter() - started) * 1000 / len(claims)
    scores = f1_scores([claim.label for claim in claims], verdicts)
    right = np.mean([claim.label == label for claim, label in zip(claims, verdicts, strict=True)])
    shown = [f"{np.mean(scores):.3f}", *(f"{score:.3f}" for score in scores), f"{right:.3f}"]
    print(f"| {name} | {len(claims)} | {' | '.join(shown)} | {taken:.0f} |", flush=True)
    return verdicts


def f1_scores(labels: Sequence[str], verdicts: Sequence[str]) -> list[float]:
    """Return the F1 of each verdict."""
    pairs = Counter(zip(labels, verdicts, strict=True))
    right = {label: pairs[label, label] for label in LABELS}
    sizes = Counter(labels) + Counter(verdicts)
    return [2 * right[label] / max(1, sizes[label]) for label in LABELS]


def by_overlap(claim: Claim, threshold: float) -> str:
    """Judge by words: supported if a passage holds enough of them, refuted if just one negates."""
    words = content_words(claim.text)
    share, text = max(
        (len(words & content_words(hit.text)) / max(1, len(words)), hit.text) for hit in claim.hits
    )
    if share < threshold:
        return LABELS[2]
    one, other = (lexicon.is_negated(lexicon.words(each)) for each in (claim.text, text))
    return LABELS[one != other]


def best_threshold(claims: Sequence[Claim]) -> float:
    """Find the share of words that gives the best macro-F1."""
    labels = [claim.label for claim in claims]

    def quality(threshold: float) -> float:
        return float(np.mean(f1_scores(labels, [by_overlap(each, threshold) for each in claims])))

    return max((at / 20 for at in range(21)), key=quality)


def print_made(rag: RAG, made: Sequence[Claim]) -> None:
    """Print the share of right verdicts by kind of made claim."""
    print("\n| a sentence | claims | is | judged so | judged otherwise |")
    print("| --- " * 5 + "|")
    for kind in dict.fromkeys(claim.kind for claim in made):
        group = [claim for claim in made if claim.kind == kind]
        verdicts: Counter[str] = Counter(
            check(
                claim.text, claim.hits, rag.document,
                embedder=rag.embedder,
            ).label
            for claim in group
        )  # fmt: skip
        label = group[0].label
        others = ", ".join(f"{each} {count}" for each, count in verdicts.items() if each != label)
        print(f"| {kind} | {len(group)} | {label} | {verdicts[label]} | {others} |")


def print_written(file: Path) -> None:
    """Print how written claims over data/corpus are judged, and its sentences word for word."""
    with tempfile.TemporaryDirectory() as place:
        rag = RAG(Path(place) / "index", settings={"answering.entailment": SHIPPED})
        rag.index([ROOT / "data" / "corpus"])
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        verdicts = [rag.check(row["text"]) for row in rows]
        print("\n| written claims | claims | right | judged supported | refuted | neither |")
        print("| --- " * 6 + "|")
        for kind in (*dict.fromkeys(row["kind"] for row in rows), "all"):
            group = [
                (row, verdict)
                for row, verdict in zip(rows, verdicts, strict=True)
                if kind in {row["kind"], "all"}
            ]
            right = sum(row["label"] == verdict.label for row, verdict in group)
            counts = Counter(verdict.label for _, verdict in group)
            shown = " | ".join(str(counts[label]) for label in LABELS)
            print(f"| {kind} | {len(group)} | {right} | {shown} |")
        print("\nWrong:\n")
        for row, verdict in zip(rows, verdicts, strict=True):
            if row["label"] != verdict.label:
                print(f"- {row['label']}, judged {verdict.label}: {row['text']}")
        print_word_for_word(rag, "data/corpus", [each.text for each in rag.documents()])
    with tempfile.TemporaryDirectory() as place:
        rag = RAG(Path(place) / "index", settings={"answering.entailment": SHIPPED})
        index_corpus(rag, load_dataset(ROOT / "data" / "xquad"))
        print_word_for_word(rag, "data/xquad", [each.text for each in rag.documents()])


def print_word_for_word(rag: RAG, name: str, texts: Sequence[str]) -> None:
    """Print how many sentences of texts are judged supported."""
    said = sorted({text[start:end] for text in texts for start, end in split_sentences(text)})
    telling = [each for each in said if content_words(each) and each[0] != "#"]
    wrong: list[Verdict] = []
    for sentence in telling:
        verdict = rag.check(sentence)
        if verdict.label != LABELS[0]:
            wrong.append(verdict)
    print(f"\n{name}: {len(telling) - len(wrong)} of {len(telling)} sentences supported")
    for verdict in wrong:
        print(f"- {verdict.label}: {verdict.claim!r}")


if __name__ == "__main__":
    main()
