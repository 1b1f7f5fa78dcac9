"""What `benchmarks/answers.py` counts, against figures worked out by hand, and its questions."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = ROOT / "benchmarks" / "answers.py"
    spec = importlib.util.spec_from_file_location("answers_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def row(name: str, probability: float, **values: object) -> dict:
    """A row about a question with an answer that was answered; `values` say otherwise."""
    return {
        "set": "squad2", "id": name, "answerable": True, "refused": False, "right": False,
        "probability": probability, "gold_cited": False, "gold_rank": None, "must": [],
        "text": name, "question": name, "gold": ["gold"], "citations": [], "title": "", "kind": "",
        "commit": "abc", "models": "m", "seed": 0, "milliseconds": 10.0, **values,
    }  # fmt: skip


ROWS = (
    row("right", 0.9, right=True, F1=1.0, EM=1.0, gold_cited=True, gold_rank=1),
    row("near", 0.8, right=True, F1=0.5, EM=0.0, gold_cited=True, gold_rank=2),
    row("wrong", 0.96, F1=0.0, EM=0.0),
    row("lost", 0.1, refused=True, F1=0.0, EM=0.0, gold_rank=3),
    row("answered", 0.85, answerable=False, gold_cited=None),
    row("refused", 0.05, answerable=False, gold_cited=None, refused=True),
)


def test_the_figures_by_hand(benchmark: ModuleType) -> None:
    assert benchmark.figures(ROWS) == pytest.approx(
        {
            "F1": 1.5 / 4,
            "EM": 1 / 4,
            "right": 2 / 4,
            "wrong": 1 / 4,
            "wrong, p > 0.95": 1 / 4,
            "lost": 1 / 4,
            "refused": 1 / 2,
            # Of 8 pairs: 0.9 and 0.96 beat both, 0.8 and 0.1 beat 0.05.
            "AUROC": 6 / 8,
            # By confidence the losses are 1 (wrong), 0, 1 (no answer to give) and 0.5.
            "AURC": (1 / 1 + 1 / 2 + 2 / 3 + 2.5 / 4) / 4,
            # Of the three that were answered; of the four that have an answer.
            "gold cited": 2 / 3,
            "gold found": 3 / 4,
        }
    )


def test_bad_rows_are_printed_first(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.print_rows(ROWS)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("- ")]
    assert [re.search(r": (\w+) →", line)[1] for line in lines] == [
        *("wrong", "answered", "lost", "right", "near", "refused")
    ]
    benchmark.print_tables(ROWS)
    out = capsys.readouterr().out
    assert "4 with an answer, 2 without; commit abc; models m; seed 0" in out
    assert "| all | 6 | 0.375 | 0.250 | 0.500 |" in out


def test_a_verdict_counts_for_the_answer_that_was_read(benchmark: ModuleType) -> None:
    rows = [
        row("a", 0.9, must=["x"], text="old answer"),
        row("b", 0.9, must=["x"], text="another", right=True),
    ]
    verdicts = [
        {"set": "squad2", "id": "a", "text": "old answer", "right": True},
        {"set": "squad2", "id": "b", "text": "what it said before", "right": False},
    ]
    assert [each["right"] for each in benchmark.apply_verdicts(rows, verdicts)] == [True, True]


def test_rows_of_other_models_are_dropped_and_half_a_line_is_no_row(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    kept = [
        {"set": "squad2", "id": "1", "models": "new"},
        {"set": "data", "id": "1", "models": "old"},
    ]
    lines = [json.dumps(each) for each in ({"set": "squad2", "id": "2", "models": "old"}, *kept)]
    file.write_text("\n".join([*lines, '{"set": "squ']))
    assert benchmark.drop_others(file, "squad2", "new") == {"1"}
    assert benchmark.read_rows(file) == kept
    assert benchmark.drop_others(tmp_path / "new.jsonl", "squad2", "new") == set()
    assert (tmp_path / "new.jsonl").exists()


def test_articles_are_left_out_with_their_questions(benchmark: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    corpus = [
        {"_id": "p1", "title": "Warsaw", "text": "."},
        {"_id": "p2", "title": "Tesla", "text": "."},
    ]
    queries = [
        {"_id": "q1", "text": "?", "answers": ["1"], "answerable": True},
        {"_id": "q2", "text": "?", "answers": ["2"], "answerable": True},
        {"_id": "q3", "text": "?", "answers": [], "answerable": False},
    ]
    for name, rows in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        (folder / name).write_text("\n".join(map(json.dumps, rows)))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tp1\t1\nq2\tp2\t1\n")
    left = benchmark.leave_out(folder, {"Warsaw"}, tmp_path / "left")
    assert [each["_id"] for each in benchmark.read_rows(left / "corpus.jsonl")] == ["p2"]
    assert [each["_id"] for each in benchmark.read_rows(left / "queries.jsonl")] == ["q2", "q3"]
    assert (left / "qrels.tsv").read_text() == "query-id\tcorpus-id\tscore\nq2\tp2\t1\n"


@pytest.mark.parametrize(
    ("source", "page", "held"),
    [
        ("git/git", "doc/git/html/git.html", True),
        ("git/git", "doc/git/html/git-reset.html", False),
        ("borg/usage / init", "doc/borg/html/usage/create.html", True),
        ("borg/usage / init", "doc/borg/html/init.html", True),
        ("saods9-doc/ref/file.html", "doc/saods9/ref/file.html", True),
        ("saods9-doc/", "doc/saods9-doc/faq.html", False),
    ],
)
def test_pages_are_told_by_their_names(
    benchmark: ModuleType, source: str, page: str, *, held: bool
) -> None:
    pages = benchmark.page_names(source)
    question = benchmark.Question("q", "?", "name", (), True, pages=pages)
    assert question.is_held_by("id", page) == held


def test_a_sample_is_drawn_by_its_seed_and_keeps_the_order(benchmark: ModuleType) -> None:
    numbers = list(range(100))
    drawn = benchmark.sample(numbers, 7, seed=1)
    assert len(drawn) == 15
    assert drawn == sorted(drawn)
    assert drawn == benchmark.sample(numbers, 7, seed=1) != benchmark.sample(numbers, 7, seed=2)
    assert benchmark.sample(numbers, 1, seed=3) == numbers


def test_the_questions_over_manuals_are_well_formed(benchmark: ModuleType) -> None:
    questions = benchmark.read_rows(ROOT / "benchmarks" / "questions" / "manuals.jsonl")
    assert len({each["_id"] for each in questions}) == len({each["text"] for each in questions})
    assert Counter(each["answerable"] for each in questions) == {True: 80, False: 40}
    assert {each["package"] for each in questions} == set(benchmark.PACKAGES["manuals"])
    for each in questions:
        assert bool(each.get("must")) == bool(each["file"]) == each["answerable"]
        assert each["source"].startswith(each["package"] + "/")
        # What is expected is sorted as right.
        for pattern in each.get("must", ()):
            assert re.search(pattern, each["gold"], re.IGNORECASE), each["text"]
