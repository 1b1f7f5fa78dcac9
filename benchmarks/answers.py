"""Ask every question of the sets that answers are judged by, and count what became of it.

    python benchmarks/answers.py ask --data DIR --output ROWS.jsonl [SET...] [--packages DIR]
        [--every N] [--seed N] [--titles TITLE...] [--set KEY=VALUE...]
    python benchmarks/answers.py tables ROWS.jsonl... [--verdicts VERDICTS.jsonl] [--rows SET...]
    python benchmarks/answers.py plot ROWS.jsonl... --output reliability.png

`ask` builds an index for each set, asks its questions through `RAG.ask` with the default settings
and no generator, and writes a row for each: what was asked and expected, what came, how sure it
was, and whether the passage that answers was found and cited. Rows that are there already are kept,
and asked again only if the models or settings are others. Then it prints the figures, and the rows,
bad ones first.

| set | questions | over |
| --- | --- | --- |
| `squad2` | SQuAD 2.0's, near misses among them | all its paragraphs |
| `xquad` | XQuAD's, others on other subjects | its paragraphs, without squad2's articles |
| `data` | the sample corpus's | the sample corpus |
| `debian-docs` | of newcomers | three Debian packages |
| `manuals` | `benchmarks/questions` | three others |

One file holds the rows of one model: rows of another are dropped. To report article by article,
each with a model that was fitted without it, write a file for each (`--titles`), and give all of
them to `tables`.

`--data` is the folder that holds `squad2`, `xquad` and `debian-docs`. Packages are fetched with
`apt-get download`, unless `--packages` holds them unpacked, each in a folder of its name.

`tables` prints rows as docs/answers.md has them: for the first three sets by the gold answers, for
the others by regular expressions, which only sort, or by the verdicts of whoever read the answers:
a line of JSON each with `set`, `id`, `text` (of the answer) and `right`. A verdict on another text
is not counted.

`plot` draws how often answers are right that are given with about the same probability: on the
diagonal, "p = 0.9" is right nine times in ten.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rag import RAG, Answer
from rag.evaluation import index_corpus, load_dataset, match_qrels
from rag.evaluation.answer_metrics import (
    auroc,
    contains,
    exact_match,
    remove_marks,
    risk_coverage,
    token_f1,
)

Row = dict[str, Any]

SETS = ("squad2", "xquad", "data", "debian-docs", "manuals")
ROOT = Path(__file__).parent.parent
# Of each package, the files that are indexed, without pages that repeat or list the others.
PACKAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "debian-docs": {
        "postgresql-doc-15": ("*.html",),
        "git-doc": ("*.html", "*.txt"),
        "borgbackup-doc": ("*.html",),
    },
    "manuals": {
        "saods9-doc": ("*.html",),
        "developers-reference": ("*.html",),
        "r-doc-html": ("*.html",),
    },
}
LEFT_OUT = {"developers-reference.html", "genindex.html", "search.html"}
# Where what is shipped with the package differs, answers may.
MODEL_FILES = (".json", ".onnx", ".safetensors", ".npz", ".npy", ".toml", ".bin")
# As sure as this, a wrong answer is stated with confidence.
SURE = 0.95


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a set: `kind` is what is asked for, or why there is no answer.

    `gold` are gold answers or, with `must`, the answer in words. `title` is its article's, where it
    has one. The answer is held by the documents of the ids `documents`, or by pages so called.
    """

    id: str
    text: str
    kind: str
    gold: tuple[str, ...]
    answerable: bool
    must: tuple[str, ...] = ()
    title: str = ""
    documents: frozenset[str] = frozenset()
    pages: frozenset[str] = frozenset()

    def is_held_by(self, document_id: str, source: str) -> bool:
        """Tell whether a document holds the answer."""
        path = Path(source)
        # A page, or a folder of pages.
        named = {path.stem, path.parent.name}
        return document_id in self.documents or not self.pages.isdisjoint(named)


def main() -> None:
    """Ask, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    ask = commands.add_parser("ask", help="ask the questions, and write rows")
    ask.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    ask.add_argument("--data", type=Path, required=True, help="holds squad2, xquad, debian-docs")
    ask.add_argument("--output", type=Path, required=True, help="the file of rows")
    ask.add_argument("--packages", type=Path, help="unpacked packages, in folders by name")
    ask.add_argument("--indexes", type=Path, default=Path("indexes"), help="where indexes are kept")
    ask.add_argument("--every", type=int, default=1, help="ask one question in N, drawn by --seed")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--titles", nargs="+", default=[], help="of squad2, these articles alone")
    ask.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    tables = commands.add_parser("tables", help="print rows as tables")
    tables.add_argument("files", nargs="+", type=Path, metavar="ROWS.jsonl")
    tables.add_argument("--verdicts", type=Path, help="what a person says of the answers")
    tables.add_argument("--rows", nargs="+", default=[], help="print every row of these sets")
    plot = commands.add_parser("plot", help="draw how far the probability can be believed")
    plot.add_argument("files", nargs="+", type=Path, metavar="ROWS.jsonl")
    plot.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "ask":
        unknown = set(arguments.sets) - set(SETS)
        if unknown:
            parser.error(f"no such set: {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
        ask_sets(arguments)
        rows = read_rows(arguments.output)
        print_tables(rows)
        for name in arguments.sets:
            print_rows([row for row in rows if row["set"] == name])
        return
    rows = [row for file in arguments.files for row in read_rows(file)]
    if arguments.command == "plot":
        draw_reliability(rows, arguments.output)
        return
    if arguments.verdicts:
        rows = apply_verdicts(rows, read_rows(arguments.verdicts))
    print_tables(rows)
    for name in arguments.rows:
        print_rows([row for row in rows if row["set"] == name])


def ask_sets(arguments: argparse.Namespace) -> None:
    """Ask the questions that these models have not been asked yet."""
    settings = {"generation.model": "extractive"}
    settings |= dict(each.split("=", 1) for each in arguments.settings)
    for name in arguments.sets:
        rag, questions = open_set(name, arguments, settings)
        if name == "squad2" and arguments.titles:
            questions = [each for each in questions if each.title in arguments.titles]
        questions = sample(questions, arguments.every, arguments.seed)
        models = fingerprint(rag, settings)
        asked = drop_others(arguments.output, name, models)
        left = [each for each in questions if each.id not in asked]
        print(f"{name}: {len(questions)} questions, {len(left)} to ask", file=sys.stderr)
        if left:
            # Models are loaded before the first time is taken.
            rag.ask(left[0].text)
        facts = {"set": name, "models": models, "commit": commit(), "seed": arguments.seed}
        with arguments.output.open("a", encoding="utf-8") as file:
            for question in left:
                row = facts | ask_one(rag, question)
                # A run that is stopped goes on here.
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()


def ask_one(rag: RAG, question: Question) -> Row:
    """Ask one question, and compare the answer with what is expected."""
    started = time.perf_counter()
    answer = rag.ask(question.text)
    taken = time.perf_counter() - started
    numbers = {citation.number for citation in answer.citations}
    text, brief = (remove_marks(each, numbers) for each in (answer.text, answer.brief))
    hits = answer.prompt.hits
    ranks = [hit.rank for hit in hits if question.is_held_by(hit.chunk.document_id, hit.source)]
    cited = any(question.is_held_by(each.document_id, each.source) for each in answer.citations)
    row: Row = {
        "id": question.id,
        "question": question.text,
        "kind": question.kind,
        "title": question.title,
        "answerable": question.answerable,
        "gold": question.gold,
        "must": question.must,
        "text": answer.text,
        "answer": "" if answer.abstained else brief,
        "spans": answer.spans,
        "probability": answer.confidence,
        "refused": answer.abstained,
        "way": answer.way,
        "model": answer.model,
        "gold_cited": cited and not answer.abstained if question.answerable else None,
        "gold_rank": min(ranks, default=None),
        "citations": [
            {"location": each.location, "quote": each.quote} for each in answer.citations
        ],
        "milliseconds": round(taken * 1000, 1),
    }
    if question.answerable:
        row |= judge(question, answer, text, brief)
    return row


def judge(question: Question, answer: Answer, text: str, brief: str) -> Row:
    """Return whether an answer is right, and where gold answers are known how near it is."""
    if question.must:
        right = all(re.search(each, text, re.IGNORECASE) for each in question.must)
        return {"right": right and not answer.abstained}
    if answer.abstained:
        return {"right": False, "F1": 0.0, "EM": 0.0}
    return {
        "right": bool(contains(text, question.gold)),
        "F1": token_f1(brief, question.gold),
        "EM": exact_match(brief, question.gold),
    }


def open_set(
    name: str, arguments: argparse.Namespace, settings: dict[str, str]
) -> tuple[RAG, list[Question]]:
    """Bring the index of a set up to date, and read its questions."""
    if name in PACKAGES:
        return open_packages(name, arguments, settings)
    folder = ROOT / "data" if name == "data" else arguments.data / name
    if name == "xquad":
        known = {row["title"] for row in read_rows(arguments.data / "squad2" / "corpus.jsonl")}
        folder = leave_out(folder, known, arguments.indexes / "xquad-without-squad2")
    dataset = load_dataset(folder)
    rag = RAG(arguments.indexes / f"answers-{name}", settings=settings)
    index_corpus(rag, dataset)
    matched = match_qrels(dataset, rag.documents())
    ids: dict[str, set[str]] = {}
    for document, called in matched.names.items():
        ids.setdefault(called, set()).add(document)
    titles, near = read_titles(folder), read_near(folder)
    questions = []
    for identity, text in dataset.questions.items():
        gold = dataset.answers.get(identity)
        if gold is None:
            continue
        relevant = matched.qrels.get(identity, {})
        holds = frozenset[str]().union(*(ids.get(each, set()) for each in relevant))
        about = next(iter(relevant), near.get(identity, ""))
        kind = "answerable" if gold else "near miss" if near.get(identity) else "off topic"
        questions.append(
            Question(
                id=identity,
                text=text,
                kind=kind,
                gold=gold,
                answerable=bool(gold),
                title=titles.get(about, ""),
                documents=holds,
            )
        )
    return rag, questions


def open_packages(
    name: str, arguments: argparse.Namespace, settings: dict[str, str]
) -> tuple[RAG, list[Question]]:
    """Index the packages of a set, and read its questions."""
    folder = arguments.packages or fetch(PACKAGES[name], arguments.indexes / "packages")
    files = []
    for package, patterns in PACKAGES[name].items():
        found = {path for each in patterns for path in (folder / package).rglob(each)}
        files += [
            str(path)
            for path in sorted(found)
            if path.is_file() and not path.is_symlink() and path.name not in LEFT_OUT
        ]
    rag = RAG(arguments.indexes / f"answers-{name}", settings=settings)
    rag.index(files)
    source = (
        ROOT / "benchmarks" / "questions" / "manuals.jsonl"
        if name == "manuals"
        else arguments.data / name / "questions.jsonl"
    )
    questions = [
        Question(
            id=row["_id"],
            text=row["text"],
            kind=row["type"],
            gold=(row["gold"],),
            answerable=row["answerable"],
            must=tuple(row.get("must", ())),
            title=row["source"].partition("/")[0],
            pages=page_names(row["source"]),
        )
        for row in read_rows(source)
    ]
    return rag, questions


def page_names(source: str) -> frozenset[str]:
    """Return the names of pages, or folders, in a source such as `borg/usage / init`."""
    paths = [Path(each.strip()) for each in source.split(" / ")]
    return frozenset(
        path.name.removesuffix(".html")
        for path in paths
        if len(path.parts) > 1 or path.suffix or len(paths) > 1
    )


def fetch(packages: Iterable[str], folder: Path) -> Path:
    """Fetch packages of the Debian release that this machine runs, and unpack them by name."""
    for package in packages:
        unpacked = folder / package
        if unpacked.is_dir():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-qq", "download", package], cwd=folder, check=True)  # noqa: S607
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)  # noqa: S607
    return folder


def leave_out(folder: Path, titles: set[str], into: Path) -> Path:
    """Copy a data set without the articles of some titles, and without the questions about them."""
    corpus = [row for row in read_rows(folder / "corpus.jsonl") if row["title"] not in titles]
    kept = {row["_id"] for row in corpus}
    head, *judged = (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()
    qrels = [line for line in judged if line.split("\t")[1] in kept]
    about = {line.split("\t")[0] for line in qrels}
    queries = [
        row
        for row in read_rows(folder / "queries.jsonl")
        if not row["answerable"] or row["_id"] in about
    ]
    into.mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (into / name).write_text("".join(lines), encoding="utf-8")
    (into / "qrels.tsv").write_text("\n".join([head, *qrels]) + "\n", encoding="utf-8")
    return into


def read_titles(folder: Path) -> dict[str, str]:
    """Return the titles of a corpus by document, if it has any."""
    file = folder / "corpus.jsonl"
    return {row["_id"]: row.get("title", "") for row in read_rows(file)}


def read_near(folder: Path) -> dict[str, str]:
    """Return by question the document that it was written about, where the set says so."""
    rows = read_rows(folder / "queries.jsonl")
    return {row["_id"]: row["near"] for row in rows if row.get("near")}


def sample(questions: Sequence[Question], every: int, seed: int) -> list[Question]:
    """Draw one question in `every`, and keep their order."""
    count = -(-len(questions) // every)
    drawn = set(random.Random(seed).sample(range(len(questions)), count))  # noqa: S311
    return [question for at, question in enumerate(questions) if at in drawn]


def fingerprint(rag: RAG, settings: dict[str, str]) -> str:
    """Return a digest of what answers: settings, the embedder, models of the package and named."""
    digest = hashlib.sha256(json.dumps(sorted(settings.items())).encode())
    digest.update(rag.embedder.fingerprint.encode())
    folders = [ROOT / "rag", *(Path(each) for each in settings.values() if Path(each).is_dir())]
    for folder in folders:
        for file in sorted(each for each in folder.rglob("*") if each.suffix in MODEL_FILES):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def commit() -> str:
    """Return the commit of this checkout, with a `+` if files differ from it."""

    def git(*arguments: str) -> str:
        ran = subprocess.run(
            ["git", *arguments],  # noqa: S607
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return ran.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "rag")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def drop_others(file: Path, name: str, models: str) -> set[str]:
    """Drop the rows of a set that other models gave; return the ids of those that are left."""
    rows = read_rows(file)
    kept = [row for row in rows if row["set"] != name or row["models"] == models]
    if len(kept) < len(rows) or not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        file.write_text("".join(lines), encoding="utf-8")
    return {row["id"] for row in kept if row["set"] == name}


def read_rows(file: Path) -> list[Row]:
    """Read JSON lines; none if there is no such file. A line that was not finished is left out."""
    if not file.exists():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").split("\n"):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def apply_verdicts(rows: Sequence[Row], verdicts: Sequence[Row]) -> list[Row]:
    """Put the verdicts of a person in the place of what expressions sorted."""
    said = {(each["set"], each["id"], each["text"]): each["right"] for each in verdicts}
    missing = 0
    judged = []
    for row in rows:
        key = (row["set"], row["id"], row["text"])
        if row["must"] and not row["refused"] and key not in said:
            missing += 1
        judged.append({**row, "right": said.get(key, row["right"])} if row["answerable"] else row)
    if missing:
        print(f"{missing} answers have no verdict: the expressions stand", file=sys.stderr)
    return judged


def outcome(row: Row) -> str:
    """Return what became of a question."""
    if row["answerable"]:
        return "lost" if row["refused"] else "right" if row["right"] else "wrong"
    return "refused" if row["refused"] else "answered"


def figures(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return the figures of a set's rows; None where nothing is counted."""
    asked = [row for row in rows if row["answerable"]]
    missing = [row for row in rows if not row["answerable"]]
    sure = [outcome(row) == "wrong" and row["probability"] > SURE for row in asked]
    losses: list[float | None] = [
        None if row["refused"] else 1 - row.get("F1", float(row.get("right", False)))
        for row in rows
    ]
    probabilities = [row["probability"] for row in rows]
    answered = [row for row in asked if not row["refused"]]
    return {
        "F1": _mean(row["F1"] for row in asked if "F1" in row),
        "EM": _mean(row["EM"] for row in asked if "EM" in row),
        **{name: _mean(outcome(row) == name for row in asked) for name in ("right", "wrong")},
        f"wrong, p > {SURE}": _mean(sure),
        "lost": _mean(outcome(row) == "lost" for row in asked),
        "refused": _mean(row["refused"] for row in missing),
        "AUROC": auroc(probabilities, [row["answerable"] for row in rows]),
        "AURC": risk_coverage(probabilities, losses)[1],
        "gold cited": _mean(row["gold_cited"] for row in answered),
        "gold found": _mean(row["gold_rank"] is not None for row in asked),
    }


def bin_by_probability(rows: Sequence[Row], bins: int) -> list[tuple[float, float, int]]:
    """Return the mean probability, the share of right ones and their count, of rows in each bin.

    Bins hold as many rows each. A question that the documents do not answer has no right answer.
    """
    ranked = sorted(rows, key=lambda row: row["probability"])
    edges = [round(number * len(ranked) / bins) for number in range(bins + 1)]
    found = []
    for low, high in itertools.pairwise(edges):
        chosen = ranked[low:high]
        if chosen:
            right = fmean(bool(row.get("right")) for row in chosen)
            found.append((fmean(row["probability"] for row in chosen), right, len(chosen)))
    return found


def draw_reliability(rows: Sequence[Row], output: Path) -> None:
    """Plot the share of right answers by probability, a line a set; refusals are left out."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 4.5), dpi=110)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="as it says")
    for name, marker in zip(SETS, "os^Dv", strict=True):
        chosen = [row for row in rows if row["set"] == name and not row["refused"]]
        if chosen:
            found = bin_by_probability(chosen, max(2, min(10, len(chosen) // 25)))
            x, y, _ = zip(*found, strict=True)
            axes.plot(x, y, marker=marker, markersize=4, label=f"{name}, {len(chosen)} answers")
    axes.set(xlabel="probability", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.grid(color="0.9")
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(output)


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return fmean(numbers) if numbers else None


def print_tables(rows: Sequence[Row]) -> None:
    """Print the figures of each set, then by article or by what is asked for."""
    for name in SETS:
        chosen = [row for row in rows if row["set"] == name]
        if not chosen:
            continue
        asked = sum(row["answerable"] for row in chosen)
        facts = {
            heading: ", ".join(sorted({str(row[key]) for row in chosen}))
            for heading, key in (("commit", "commit"), ("models", "models"), ("seed", "seed"))
        }
        said = "; ".join(f"{heading} {value}" for heading, value in facts.items())
        print(f"\n{name}: {asked} with an answer, {len(chosen) - asked} without; {said}; "
              f"{median(row['milliseconds'] for row in chosen):.0f} ms median\n")  # fmt: skip
        groups = {"all": chosen}
        by = "title" if name in ("squad2", "xquad") else "kind"
        for value in sorted({row[by] for row in chosen} - {""}):
            groups[value] = [row for row in chosen if row[by] == value]
        _print_groups(groups)


def _print_groups(groups: dict[str, list[Row]]) -> None:
    every = {label: figures(rows) for label, rows in groups.items()}
    names = [name for name, value in every["all"].items() if value is not None]
    print(f"| | questions | {' | '.join(names)} |")
    print("| --- " * (len(names) + 2) + "|")
    for label, values in every.items():
        cells = ["" if values[name] is None else f"{values[name]:.3f}" for name in names]
        print(f"| {label} | {len(groups[label]):,} | {' | '.join(cells)} |")


def print_rows(rows: Sequence[Row]) -> None:
    """Print every row, the bad ones first and of these the surest."""
    order = ("wrong", "answered", "lost", "right", "refused")
    ranked = sorted(rows, key=lambda row: (order.index(outcome(row)), -row["probability"]))
    if ranked:
        print(f"\n{ranked[0]['set']}: every question\n")
    for row in ranked:
        gold = " / ".join(row["gold"]) if row["answerable"] else "not in the documents"
        place = next((each["location"] for each in row["citations"]), "")
        shown = " ".join(row["text"].split())
        print(f"- **{outcome(row)}**, p {row['probability']:.2f}: {row['question']} → {shown}"
              + (f" ({place})" if place and not row["refused"] else "")
              + f" — expected: {gold}")  # fmt: skip


if __name__ == "__main__":
    main()
