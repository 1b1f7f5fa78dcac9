"""How well the reader answers: over gold paragraphs, and over what our own search finds.

    python benchmarks/reader.py hits DATASET --output HITS.json [--leave-out TITLE...]
    python benchmarks/reader.py ask HITS.json --weights W.safetensors --config CONFIG.toml
        --output READ.json [--every N] [--base DIRECTORY]
    python benchmarks/reader.py ask HITS.json --model DIRECTORY --output READ.json
    python benchmarks/reader.py report READ.json... [--wrong N]
    python benchmarks/reader.py questions QUESTIONS.jsonl INDEX --model DIRECTORY

`hits` indexes a corpus (`corpus.jsonl`, `queries.jsonl`) and keeps the five passages that
`rag.search` finds for each question. `ask` reads them together, and the paragraph that a question
was written about alone; with the trained weights in bfloat16, or with the 8-bit graph that ships.
`report` prints the figures: F1 where an answer that is withheld counts 0, and the threshold is
chosen on other articles than the one it is applied to (two halves in turn), the AUROC of
answerable questions against near misses, and the reliability of the probability. `questions`
prints what the reader finds for questions over an index, to be read by eye.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from calibration import write_regressions
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from rag import RAG
from rag.answering.evidence import measures
from rag.answering.logistic import Logistic
from rag.answering.passages import Passages
from rag.answering.reader.onnx import open_reader
from rag.evaluation import index_corpus, load_dataset
from rag.evaluation.answer_metrics import exact_match, token_f1

if TYPE_CHECKING:
    from rag.training.loop import Config

Row = dict[str, Any]
# question, passages -> the best span as (passage, start, end), log-odds of any answer, of the span.
Read = Callable[[str, Sequence[str]], tuple[tuple[int, int, int], float, float]]

K = 5
# Of the questions about other subjects, every so manieth is asked.
STRAYS = 10
MOST_LOST = 0.10


def find_hits(folder: Path, output: Path, left_out: Sequence[str]) -> None:
    """Keep what search finds for each question of a data set."""
    import tempfile

    corpus = {row["_id"]: row for row in _lines(folder / "corpus.jsonl")}
    gold: dict[str, str] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        name, paragraph, _ = line.split("\t")
        gold.setdefault(name, paragraph)
    rows = []
    with tempfile.TemporaryDirectory() as index:
        rag = RAG(index)
        index_corpus(rag, load_dataset(folder))
        for query in _lines(folder / "queries.jsonl"):
            near = query.get("near") or gold.get(query["_id"])
            title = corpus[near]["title"] if near else ""
            if title in left_out:
                continue
            rows.append(
                {
                    "id": query["_id"],
                    "question": query["text"],
                    "answers": query["answers"],
                    "answerable": query["answerable"],
                    "title": title,
                    "near": corpus[near]["text"] if near else "",
                    "hits": [hit.text for hit in rag.search(query["text"], K)],
                }
            )
    output.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    print(f"{len(rows)} questions")


def open_graph(folder: Path) -> Read:
    """Read with the 8-bit graph."""
    reader = open_reader(folder)

    def read(question: str, passages: Sequence[str]) -> tuple[tuple[int, int, int], float, float]:
        found = reader.read(question, passages, most=1)
        if not found.spans:
            return (0, 0, 0), -20.0, -20.0
        span = found.spans[0]
        return (span.number - 1, span.start, span.end), found.log_odds, span.log_odds

    return read


def ask_weights(rows: Sequence[Row], weights: Path, config: Config, base: str) -> None:
    """Read all rows with trained weights, many passages at once; fills in `gold` and `joint`."""
    import torch
    from torch.nn import functional

    from rag.training.loop import load_weights
    from rag.training.reader.encoding import collate, encode, open_tokenizer
    from rag.training.reader.examples import Example
    from rag.training.reader.model import WIDTH, build, span_odds
    from rag.training.reader.train import locate

    location, words_of = locate(config, base)
    model, embeddings = build(location, layers=config.layers, packed=config.packed)
    load_weights(model, weights)
    model.eval()
    embeddings = embeddings.to(torch.bfloat16)
    tokenizer = open_tokenizer(words_of)
    chance = random.Random(0)  # noqa: S311
    pairs = sorted(
        {(row["question"], text) for row in rows for text in [*row["hits"], row["near"]] if text}
    )
    encoded = [
        (pair, encode(tokenizer, Example(pair[0], (pair[1],)), 256, chance)[0]) for pair in pairs
    ]
    encoded.sort(key=lambda each: len(each[1].ids))
    found: dict[tuple[str, str], tuple[int, int, float, float]] = {}
    for at in range(0, len(encoded), 24):
        part = encoded[at : at + 24]
        batch = collate([[row] for _, row in part])
        with torch.no_grad():
            starts, ends, silence = model(
                functional.embedding(batch.ids, embeddings), batch.types, batch.mask
            )
            odds = span_odds(starts, ends, silence, batch.inside).flatten(1)
        best = odds.max(1)
        totals = odds.logsumexp(1)
        for number, (pair, tokens) in enumerate(part):
            start, width = divmod(int(best.indices[number]), WIDTH)
            offsets = tokenizer.encode(pair[1], add_special_tokens=False).offsets
            first, last = start - tokens.begin, start + width - tokens.begin
            found[pair] = (
                offsets[first][0],
                offsets[min(last, len(offsets) - 1)][1],
                float(totals[number]),
                float(best.values[number]),
            )
    for row in rows:
        keep_result(row, lambda question, passages: _join(found, question, passages))


def _join(
    found: dict[tuple[str, str], tuple[int, int, float, float]],
    question: str,
    passages: Sequence[str],
) -> tuple[tuple[int, int, int], float, float]:
    each = [found[question, passage] for passage in passages]
    at = int(np.argmax([one[3] for one in each]))
    total = float(np.logaddexp.reduce([one[2] for one in each]))
    return (at, each[at][0], each[at][1]), total, each[at][3]


def keep_result(row: Row, read: Read) -> None:
    """Read a row's own paragraph alone, and its hits together."""
    for name, passages in (("gold", [row["near"]]), ("joint", row["hits"])):
        if passages and passages[0]:
            (at, start, end), odds, span_odds = read(row["question"], passages)
            text = passages[at][start:end]
            row[name] = {
                "text": text,
                "odds": odds,
                "span_odds": span_odds,
                "passage": at,
                "f1": token_f1(text, row["answers"]) if row["answerable"] else 0.0,
                "em": exact_match(text, row["answers"]) if row["answerable"] else 0.0,
            }


def report(rows: Sequence[Row], name: str, wrong: int) -> dict[str, float]:
    """Print the figures of one way of reading, and some of the wrong rows."""
    rows = [row for row in rows if name in row]
    yes = [row for row in rows if row["answerable"]]
    no = [row for row in rows if not row["answerable"]]
    if not yes or not no:
        return {}
    figures = {
        "questions": float(len(rows)),
        "F1 without silence": float(np.mean([row[name]["f1"] for row in yes])),
        "EM without silence": float(np.mean([row[name]["em"] for row in yes])),
        "AUROC": auroc(odds_of(yes, name), odds_of(no, name)),
    }
    # A threshold for each half of the articles, chosen on the other half.
    titles = sorted({row["title"] for row in yes})
    halves = [set(titles[0::2]), set(titles[1::2])]
    judged: list[Row] = []
    for number, half in enumerate(halves):
        other = [row for row in rows if row["title"] in halves[1 - number]]
        mine = [row for row in rows if row["title"] in half]
        if any(not row["title"] for row in rows):
            # Off-topic questions belong to no article: every second one to each half.
            stray = [row for row in rows if not row["title"]]
            mine += stray[number::2]
            other += stray[1 - number :: 2]
        limit = float(
            np.quantile(odds_of([row for row in other if row["answerable"]], name), MOST_LOST)
        )
        best = _best_limit(other, name)
        judged += [
            {**row, "kept": row[name]["odds"] >= limit, "balanced": row[name]["odds"] >= best}
            for row in mine
        ]
    for rule in ("kept", "balanced"):
        right = [row[name]["f1"] * row[rule] for row in judged if row["answerable"]]
        lost = [not row[rule] for row in judged if row["answerable"]]
        refused = [not row[rule] for row in judged if not row["answerable"]]
        label = "10% lost" if rule == "kept" else "balanced"
        figures[f"F1 at {label}"] = float(np.mean(right))
        figures[f"lost at {label}"] = float(np.mean(lost))
        figures[f"refused at {label}"] = float(np.mean(refused))
    print(f"\n{name}")
    for label, value in figures.items():
        print(f"  {label:24s} {value:.3f}")
    by_title = {title: [row for row in rows if row["title"] == title] for title in titles}
    for title, own in by_title.items():
        told = [row for row in own if row["answerable"]]
        untold = [row for row in own if not row["answerable"]]
        print(
            f"    {title[:32]:32s} F1 {np.mean([row[name]['f1'] for row in told]):.3f}"
            + (f" AUROC {auroc(odds_of(told, name), odds_of(untold, name)):.3f}" if untold else "")
        )
    bad = [row for row in judged if row["balanced"] and row[name]["f1"] < 0.3]
    bad += [row for row in judged if not row["balanced"] and row["answerable"]]
    random.Random(5).shuffle(bad)  # noqa: S311
    for row in bad[:wrong]:
        gold = row["answers"][:2] if row["answerable"] else "SILENT"
        found, withheld = row[name], "" if row["balanced"] else "WITHHELD"
        print(
            f"- {row['question']} | gold {gold} | read {found['text']!r} {found['odds']:+.1f} "
            f"{withheld}"
        )
    return figures


def _best_limit(rows: Sequence[Row], name: str) -> float:
    """The odds at which the mean of answerable kept and near misses refused is largest."""
    yes = np.sort([row[name]["odds"] for row in rows if row["answerable"]])
    no = np.sort([row[name]["odds"] for row in rows if not row["answerable"]])
    limits = np.concatenate([yes, no])
    kept = 1 - np.searchsorted(yes, limits) / len(yes)
    refused = np.searchsorted(no, limits) / len(no)
    return float(limits[np.argmax(kept + refused)])


def odds_of(rows: Sequence[Row], name: str) -> Any:
    """The log-odds of any answer, of each row."""
    return np.array([row[name]["odds"] for row in rows])


def auroc(yes: Any, no: Any) -> float:
    """The chance that an answerable question has higher odds than one that is not."""
    ranks = np.argsort(np.argsort(np.concatenate([yes, no]))) + 1
    return float((ranks[: len(yes)].sum() - len(yes) * (len(yes) + 1) / 2) / (len(yes) * len(no)))


def calibrate(rows: Sequence[Row]) -> dict[str, float]:
    """The temperature and bias that fit "the best span is right" best, by logistic regression.

    Right is an F1 of at least one half.
    """
    odds = np.array([row["joint"]["odds"] for row in rows])
    right = np.array([float(row["joint"]["f1"] >= 0.5) for row in rows])
    best = (float("inf"), 1.0, 0.0)
    for temperature in np.linspace(0.4, 6, 57):
        for bias in np.linspace(-6, 8, 57):
            value = (odds - bias) / temperature
            loss = float(np.mean(np.logaddexp(0, value) - right * value))
            best = min(best, (loss, float(temperature), float(bias)))
    return {"temperature": round(best[1], 3), "bias": round(best[2], 3)}


def reliability(rows: Sequence[Row], fitted: dict[str, float]) -> None:
    """Print how often answers of about one probability are right."""
    odds = np.array([row["joint"]["odds"] for row in rows])
    right = np.array([row["joint"]["f1"] >= 0.5 for row in rows])
    chance = 1 / (1 + np.exp(-(odds - fitted["bias"]) / fitted["temperature"]))
    edges = np.linspace(0, 1, 11)
    error = 0.0
    print("  probability, right, questions")
    for low, high in itertools.pairwise(edges):
        chosen = (chance >= low) & (chance < high + (high == 1))
        if chosen.any():
            print(f"    {chance[chosen].mean():.2f} {right[chosen].mean():.2f} {chosen.sum()}")
            error += chosen.mean() * abs(chance[chosen].mean() - right[chosen].mean())
    print(f"  expected calibration error {error:.3f}")


def print_questions(file: Path, index: Path, model: Path) -> None:
    """Print what the reader finds for questions over an index."""
    reader = open_reader(model)
    rag = RAG(index)
    for question in _lines(file):
        hits = rag.search(question["text"], K)
        found = reader.read(question["text"], [hit.text for hit in hits], most=3)
        print(f"{question['_id']} [{question['type']}] {question['text']}")
        print(f"    gold: {question['gold']}{'' if question['answerable'] else ' (SILENT)'}")
        print(f"    answered with p {found.probability:.2f}")
        for span in found.spans:
            text = hits[span.number - 1].text
            around = text[max(0, span.start - 60) : span.end + 60].replace("\n", " ")
            quote = text[span.start : span.end].replace("\n", " ")
            source = hits[span.number - 1].source
            print(f"    {span.probability:.2f} {quote!r} in {source}: …{around}…")


@dataclass(frozen=True)
class Case:
    """A question, what was measured of the reader's best span, and whether that is right."""

    question: str
    title: str
    answerable: bool
    answers: list[str]
    text: str
    values: dict[str, float]

    @property
    def f1(self) -> float:
        """Token F1 of the best span with the nearest gold answer; 0 where there is none."""
        return token_f1(self.text, self.answers) if self.answerable else 0.0


def read_all(rag: RAG, questions: Iterable[tuple[dict[str, Any], str]], model: Path) -> list[Case]:
    """Search and read for each question (with the title of its article), and measure."""
    reader = open_reader(model)
    cases = []
    for row, title in questions:
        passages = Passages(rag.search(row["text"], K))
        reading = reader.read(row["text"], [each.readable for each in passages])
        if not reading.spans:
            continue
        best = reading.spans[0]
        text = passages[best.number - 1].text[best.start : best.end]
        values = measures(row["text"], passages, best, reading.log_odds)
        cases.append(
            Case(row["text"], title, row["answerable"], row.get("answers", []), text, values)
        )
    return cases


def fit(folder: Path, model: Path, titles: Sequence[str], strays: Path | None) -> None:
    """Fit the regression `reading` on articles that the reader was not trained on, and print.

    Each article is judged by a regression that was fitted on the others; the one that is written
    is fitted on all of them. `strays` are questions of other subjects, of which the documents hold
    no answer: half of them go to each fit.
    """
    import tempfile

    corpus = {row["_id"]: row for row in _lines(folder / "corpus.jsonl")}
    gold = dict(
        line.split("\t")[:2]
        for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    )
    questions = []
    for row in _lines(folder / "queries.jsonl"):
        near = row.get("near") or gold.get(row["_id"])
        title = corpus[near]["title"] if near else ""
        if title in titles or not title:
            questions.append((row, title))
    if strays is not None:
        with gzip.open(strays, "rt", encoding="utf-8") as opened:
            found = [json.loads(line) for line in opened][::STRAYS]
        questions += [({"text": row["question"], "answerable": False}, "") for row in found]
    with tempfile.TemporaryDirectory() as index:
        rag = RAG(index)
        index_corpus(rag, load_dataset(folder))
        cases = read_all(rag, questions, model)
    judged = []
    for title in titles:
        others = [case for number, case in enumerate(cases) if case.title != title]
        fitted = _fit(others)
        judged += [(case, fitted.probability(case.values)) for case in cases if case.title == title]
    print_decisions(judged)
    chosen = _fit(cases)
    print(chosen)
    write_regressions({"reading": chosen})


def _fit(cases: Sequence[Case]) -> Logistic:
    model = LogisticRegression(C=1.0, max_iter=2000)
    names = list(cases[0].values)
    table = np.array([[case.values[name] for name in names] for case in cases])
    spread = table.std(0) + 1e-9
    model.fit(table / spread, [case.f1 >= 0.5 for case in cases])
    weights = dict(zip(names, np.round(model.coef_[0] / spread, 4).tolist(), strict=True))
    return Logistic(round(float(model.intercept_[0]), 4), weights)


def print_decisions(judged: Sequence[tuple[Case, float]]) -> None:
    """Print what a threshold lets through and what it withholds, and how far it can be believed."""
    yes = [(case.f1, p) for case, p in judged if case.answerable]
    no = [p for case, p in judged if not case.answerable]
    truth = [1] * len(yes) + [0] * len(no)
    score = [p for _, p in yes] + no
    print(f"{len(yes)} answerable, {len(no)} not")
    print(f"F1 {np.mean([f1 for f1, _ in yes]):.3f}, AUROC {roc_auc_score(truth, score):.3f}")
    for name in judged[0][0].values:
        alone = roc_auc_score(
            [case.answerable for case, _ in judged], [case.values[name] for case, _ in judged]
        )
        print(f"    {name} alone: AUROC {alone:.3f}")
    for limit in (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        kept = [f1 if p >= limit else 0.0 for f1, p in yes]
        lost = np.mean([p < limit for _, p in yes])
        refused = np.mean([p < limit for p in no])
        answered = [(case, p) for case, p in judged if p >= limit]
        wrong = np.mean([case.f1 < 0.5 for case, _ in answered]) if answered else 0.0
        print(
            f"  from {limit}: F1 {np.mean(kept):.3f}, lost {lost:.2f}, refused {refused:.2f}, "
            f"wrong of those answered {wrong:.2f}"
        )


def _lines(file: Path) -> Iterable[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="command", required=True)
    part = parts.add_parser("hits")
    part.add_argument("dataset", type=Path)
    part.add_argument("--output", type=Path, required=True)
    part.add_argument("--leave-out", nargs="*", default=[], help="titles that are not reported")
    part = parts.add_parser("ask")
    part.add_argument("hits", type=Path)
    part.add_argument("--weights", type=Path, help="as trained, read in bfloat16")
    part.add_argument("--config", type=Path, help="what the weights were trained by")
    part.add_argument("--base", default="", help="where their base lies, if not at its name")
    part.add_argument("--model", type=Path, help="as it ships, read in 8 bits")
    part.add_argument("--titles", nargs="*", default=[], help="of these articles only")
    part.add_argument("--every", type=int, default=1)
    part.add_argument("--output", type=Path, required=True)
    part = parts.add_parser("report")
    part.add_argument("read", type=Path, nargs="+")
    part.add_argument("--wrong", type=int, default=0, help="how many wrong rows are shown")
    part.add_argument("--calibration", type=Path, help="where temperature and bias are written")
    part = parts.add_parser("fit")
    part.add_argument("dataset", type=Path)
    part.add_argument("--model", type=Path, required=True)
    part.add_argument("--titles", nargs="+", required=True, help="not trained on by the model")
    part.add_argument("--strays", type=Path, help="questions of other subjects (jsonl.gz)")
    part = parts.add_parser("questions")
    part.add_argument("file", type=Path)
    part.add_argument("index", type=Path)
    part.add_argument("--model", type=Path, required=True)
    return parser.parse_args()


def ask(arguments: argparse.Namespace) -> None:
    """Read the questions of a file of hits."""
    rows: list[Row] = json.loads(arguments.hits.read_text(encoding="utf-8"))
    if arguments.titles:
        rows = [row for row in rows if row["title"] in arguments.titles]
    rows = rows[:: arguments.every]
    started = time.perf_counter()
    if arguments.weights:
        from rag.training.loop import read_config

        ask_weights(rows, arguments.weights, read_config(arguments.config), arguments.base)
    else:
        read = open_graph(arguments.model)
        for row in rows:
            keep_result(row, read)
    print(f"{len(rows)} questions in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    arguments.output.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def tell(arguments: argparse.Namespace) -> None:
    """Print the figures of one or more files, each article in one of them."""
    rows = [row for file in arguments.read for row in json.loads(file.read_text(encoding="utf-8"))]
    for name in ("gold", "joint"):
        report(rows, name, arguments.wrong)
    fitted = calibrate(rows)
    print(f"\n  {fitted}")
    reliability(rows, fitted)
    if arguments.calibration:
        limit = _best_limit([row for row in rows if "joint" in row], "joint")
        value = (limit - fitted["bias"]) / fitted["temperature"]
        fitted["threshold"] = round(float(1 / (1 + np.exp(-value))), 3)
        arguments.calibration.write_text(json.dumps(fitted) + "\n", encoding="utf-8")


def main() -> None:
    """Do what the command line asks for."""
    arguments = parse()
    if arguments.command == "hits":
        find_hits(arguments.dataset, arguments.output, arguments.leave_out)
    elif arguments.command == "ask":
        ask(arguments)
    elif arguments.command == "report":
        tell(arguments)
    elif arguments.command == "fit":
        fit(arguments.dataset, arguments.model, arguments.titles, arguments.strays)
    else:
        print_questions(arguments.file, arguments.index, arguments.model)


if __name__ == "__main__":
    main()
