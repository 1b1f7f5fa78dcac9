"""What `rag eval` measures, against numbers worked out by hand, ranx's own, and brute force."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from conftest import ROOT, RunMain
from hypothesis import given
from hypothesis import strategies as st

from rag import RAG
from rag.config import Config
from rag.errors import ConfigError, SourceError
from rag.evaluation import (
    METRICS,
    RankedDocument,
    Report,
    Row,
    apply_configuration,
    cache_folder,
    compare,
    evaluate,
    evaluate_run,
    index_corpus,
    load_dataset,
    make_questions,
    read_run,
    write_page,
    write_questions,
    write_run,
)
from rag.evaluation.matching import match
from rag.evaluation.metrics import score
from rag.evaluation.significance import holm
from rag.generation import from_callable
from rag.protocols import Embedder
from rag.types import Document, Prompt

DATA = ROOT / "data"

# q1: b, x, a of a (3) and b (1). q2: x, d of d. q3: nothing of e. q4 is judged to have none.
QRELS = """query-id\tcorpus-id\tscore
q1\ta\t3
q1\tb\t1
q1\tc\t0
q2\td\t1
q3\te\t2
q4\ta\t0
"""
RUN = """q1 Q0 b 1 9.5 ours
q1 Q0 x 2 7.25 ours
q1 Q0 a 3 7 ours
q2 Q0 d 1 0.5 ours
q2 Q0 x 2 0.75 ours
q9 Q0 a 1 1 ours
"""
BY_HAND = {
    # (1 / log2 2 + 7 / log2 4) / (7 / log2 2 + 1 / log2 3); 1/log2 3; 0
    "nDCG@10": (4.5 / (7 + 1 / math.log2(3)), 1 / math.log2(3), 0),
    "recall@1": (1 / 2, 0, 0),
    "recall@5": (1, 1, 0),
    "recall@10": (1, 1, 0),
    "recall@20": (1, 1, 0),
    "recall@100": (1, 1, 0),
    "MRR@10": (1, 1 / 2, 0),
    "MAP": ((1 / 1 + 2 / 3) / 2, 1 / 2, 0),
}


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    folder = tmp_path / "judged"
    folder.mkdir()
    queries = [{"_id": f"q{n}", "text": f"What is {n}?"} for n in range(1, 5)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)) + "\n")
    (folder / "qrels.tsv").write_text(QRELS)
    (folder / "run.trec").write_text(RUN)
    return folder


@pytest.fixture(scope="module")
def measured(sample: RAG) -> Report:
    return evaluate(sample, load_dataset(DATA), "dense")


@pytest.mark.slow
def test_a_run_written_by_hand_has_the_metrics_worked_out_by_hand(judged: Path) -> None:
    report = evaluate_run(load_dataset(judged), read_run(judged / "run.trec"), "ours")
    assert [row.id for row in report.rows] == ["q1", "q2", "q3"]
    assert report.unanswerable == ("q4",)
    assert set(BY_HAND) == set(METRICS)
    for metric, values in BY_HAND.items():
        assert [row.metrics[metric] for row in report.rows] == pytest.approx(values)
        assert report.metrics[metric] == pytest.approx(sum(values) / 3)


@pytest.mark.slow
def test_the_metrics_are_what_ranx_says_itself(tmp_path: Path) -> None:
    rng = random.Random(0)  # noqa: S311
    documents = [f"d{n}" for n in range(150)]
    qrels = {
        f"q{q:02}": {d: rng.randint(1, 3) for d in rng.sample(documents, rng.randint(1, 30))}
        for q in range(40)
    }
    run = {question: rng.sample(documents, rng.randint(1, 120)) for question in qrels}
    names = {"nDCG@10": "ndcg_burges@10", "MRR@10": "mrr@10", "MAP": "map"}
    script = (
        "import json, sys; from ranx import Qrels, Run, evaluate; given = json.load(sys.stdin);"
        "values = evaluate(Qrels(given['qrels']), Run(given['run']), given['metrics'],"
        " return_mean=False); print(json.dumps({m: list(v) for m, v in values.items()}))"
    )
    given_to_ranx = {
        "qrels": qrels,
        "run": {q: {d: float(-rank) for rank, d in enumerate(ds)} for q, ds in run.items()},
        "metrics": [names.get(metric, metric) for metric in METRICS],
    }
    # Interpreted, since compiling takes longer than all else here.
    theirs = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        input=json.dumps(given_to_ranx),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "IR_DATASETS_HOME": str(tmp_path)},
    )
    expected = json.loads(theirs.stdout)
    ours = score(qrels, run)
    for metric in METRICS:
        values = [ours[question][metric] for question in qrels]
        assert values == pytest.approx(expected[names.get(metric, metric)])


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 4), min_size=1),
            st.lists(st.sampled_from("abcdefghxyz"), unique=True),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_metrics_are_what_brute_force_says(
    questions: list[tuple[dict[str, int], list[str]]],
) -> None:
    qrels = {str(n): gains for n, (gains, _) in enumerate(questions)}
    run = {str(n): ranking for n, (_, ranking) in enumerate(questions)}
    found = score(qrels, run)
    for question, gains in qrels.items():
        ranking = run[question]
        right = [rank for rank, each in enumerate(ranking, start=1) if each in gains]

        def dcg(values: list[int]) -> float:
            return sum((2**v - 1) / math.log2(n + 1) for n, v in enumerate(values[:10], start=1))

        ideal = dcg(sorted(gains.values(), reverse=True))
        values = found[question]
        assert values["nDCG@10"] == pytest.approx(dcg([gains.get(e, 0) for e in ranking]) / ideal)
        assert values["MRR@10"] == pytest.approx(1 / right[0] if right and right[0] <= 10 else 0)
        precisions = [number / rank for number, rank in enumerate(right, start=1)]
        assert values["MAP"] == pytest.approx(sum(precisions) / len(gains))
        for k in (1, 5):
            assert values[f"recall@{k}"] == pytest.approx(
                len(set(ranking[:k]) & gains.keys()) / len(gains)
            )


def test_without_ranx_one_line_says_what_to_install(
    judged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ConfigError, match=r"pip install 'checkable-rag\[eval\]'"):
        evaluate_run(load_dataset(judged), read_run(judged / "run.trec"), "ours")


def test_a_run_is_ordered_as_trec_eval_does_whatever_its_ranks_say(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("q Q0 a 1 0.5 t\nq Q0 b 2 0.5 t\nq Q0 The c: d 3 2 t\n")
    assert read_run(file) == {"q": [("The c: d", 2.0), ("b", 0.5), ("a", 0.5)]}


@pytest.mark.slow
@given(
    st.dictionaries(
        st.from_regex(r"\A[a-z0-9]{1,4}\Z"),
        st.lists(st.from_regex(r"\A[a-z/]([a-z. ]{0,6}[a-z])?\Z"), unique=True, min_size=1),
    )
)
def test_a_run_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, list[str]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "run"
    write_run(file, run, "tag")
    read = {q: [name for name, _ in documents] for q, documents in read_run(file).items()}
    assert read == run


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q Q0 a 1 high t", "line 1 is not"),
        ("q Q0 a", "line 1 is not"),
        ("q Q0 a 1 2 t\nq Q0 a 2 1 t", "line 2 ranks 'a' again"),
    ],
)
def test_a_line_that_is_no_run_is_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "run").write_text(line)
    with pytest.raises(SourceError, match=reason):
        read_run(tmp_path / "run")


def test_a_run_cannot_hold_an_id_of_two_words(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'the first' cannot stand in a run"):
        write_run(tmp_path / "run", {"the first": ["a"]}, "tag")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("queries.jsonl", '{"_id": "q1"}', "line 1 lacks"),
        ("queries.jsonl", "[]", "line 1 is not a JSON object"),
        ("queries.jsonl", "{", "line 1 is not JSON"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n' * 2, "line 2: 'q1' again"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}', "judges 'q2', which queries.jsonl"),
        ("qrels.tsv", "q1\ta\n", "line 1 is not|names no relevant"),
        ("qrels.tsv", "q1\ta\t1\nq1\tb\tvery\n", "line 2 is not question"),
        ("qrels.tsv", "q1\ta\t1\nq1\ta\t2\n", "line 2 judges 'a' again"),
        ("qrels.tsv", "q1\ta\t0\n", "names no relevant document"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(
    judged: Path, name: str, text: str, reason: str
) -> None:
    (judged / name).write_text(text)
    with pytest.raises(SourceError, match=reason):
        load_dataset(judged)


def test_a_dataset_that_is_not_there_is_named(tmp_path: Path, judged: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        load_dataset(tmp_path / "none")
    (judged / "qrels.tsv").rename(judged / "judgements.tsv")
    with pytest.raises(SourceError, match=r"holds neither qrels.tsv nor qrels/test.tsv"):
        load_dataset(judged)


def test_qrels_may_lie_in_a_folder_as_in_beir(judged: Path) -> None:
    (judged / "qrels").mkdir()
    (judged / "qrels.tsv").rename(judged / "qrels" / "test.tsv")
    (judged / "corpus.jsonl").write_text("")
    dataset = load_dataset(judged)
    assert dataset.qrels["q1"] == {"a": 3, "b": 1, "c": 0}
    assert dataset.corpus == judged / "corpus.jsonl"


def test_a_table_of_questions(tmp_path: Path) -> None:
    file = tmp_path / "questions.csv"
    file.write_text(
        "\ufeffsource,question,note\n"
        'a.md; b/c.md,"What, then?",x\n'
        ",Who knows?,\n"
        '"d.md","Two\nlines?",\n',
        encoding="utf-8",
    )
    dataset = load_dataset(file)
    assert dataset.questions == {"q1": "What, then?", "q2": "Who knows?", "q3": "Two\nlines?"}
    assert dataset.qrels == {"q1": {"a.md": 1, "b/c.md": 1}, "q2": {}, "q3": {"d.md": 1}}
    assert dataset.unanswerable == ("q2",)
    file.write_text("question,answer\na,b\n")
    with pytest.raises(SourceError, match="has no column source"):
        load_dataset(file)


def document(name: str, identity: str = "") -> Document:
    return Document(identity or f"hash of {name}", name, "text", "", "text/plain", "")


def test_names_mean_an_id_then_a_path_below_the_corpus_then_the_end_of_a_source() -> None:
    documents = [
        document("set/corpus/a.md"),
        document("set/corpus/deep/a.md"),
        document("set/corpus/b.md"),
        document("set/corpus.jsonl#17", "17"),
        document("other/17"),
    ]
    found = match({"a.md", "deep/a.md", "b.md", "17", "none"}, documents, Path("set/corpus"))
    assert {name: each.source for name, each in found.items()} == {
        "a.md": "set/corpus/a.md",
        "deep/a.md": "set/corpus/deep/a.md",
        "b.md": "set/corpus/b.md",
        "17": "set/corpus.jsonl#17",
    }
    with pytest.raises(SourceError, match=r"may mean several documents: set/corpus/a.md, set/"):
        match({"a.md"}, documents)
    assert not match({".md", "md", "ab.md"}, documents)


def test_the_sample_is_measured(sample: RAG, measured: Report) -> None:
    dataset = load_dataset(DATA)
    assert len(measured.rows) == 85
    assert len(measured.unanswerable) == 20
    assert not measured.missing
    assert measured.embedder == sample.embedder.name
    assert measured.index["documents"] == 20
    assert measured.qrels == dataset.relevant
    for row in measured.rows:
        names = [each.name for each in row.ranking]
        # The qrels' own names for all: every document of the corpus is judged somewhere.
        assert len(names) == len(set(names)) <= 20
        assert set(row.relevant) <= set(names)
        assert all(each.gain == row.relevant.get(each.name, 0) for each in row.ranking)
        best = sample.find(row.ranking[0].name)
        assert row.ranking[0].location.startswith(best.source)
    assert measured.metrics["nDCG@10"] == pytest.approx(0.9418, abs=0.005)
    assert 0 < measured.timings["median"] <= measured.timings["p95"]


def test_fewer_documents_are_the_beginning_of_more(sample: RAG, measured: Report) -> None:
    dataset = load_dataset(DATA)
    few = replace(dataset, qrels={q: dataset.qrels[q] for q in list(dataset.qrels)[:8]})
    report = evaluate(sample, few, "dense", depth=3)
    assert len(report.rows) == 8
    full = measured.run
    for question, names in report.run.items():
        assert names == full[question][:3]


def test_a_report_can_be_repeated_from_its_own_contents(
    measured: Report, embedder: Embedder, tmp_path: Path
) -> None:
    measured.save(tmp_path / "report.json")
    saved = Report.load(tmp_path / "report.json")
    assert saved == measured
    assert score(saved.qrels, saved.run) == {row.id: row.metrics for row in measured.rows}
    rag = RAG(saved.index["path"], embedder=embedder, settings=dict(saved.settings))
    again = evaluate(rag, load_dataset(saved.dataset), depth=saved.depth)
    assert again.metrics == measured.metrics
    assert again.fingerprint == measured.fingerprint


def test_what_is_not_a_report_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", '{"rows": [{}]}'):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(SourceError, match="is not a report"):
            Report.load(tmp_path / "report.json")


def test_a_source_that_is_not_in_the_index_counts_as_not_found(sample: RAG, tmp_path: Path) -> None:
    file = tmp_path / "questions.csv"
    file.write_text(
        "question,source\n"
        "Who introduced adapters?,fine-tuning.rst;lost.md\n"
        "What is lost?,lost.md\n"
        "How is text cut?,corpus/retrieval/chunking.ipynb;retrieval/chunking.ipynb\n"
    )
    report = evaluate(sample, load_dataset(file), "dense")
    assert report.missing == ("lost.md",)
    first, lost, twice = report.rows
    assert first.metrics["recall@100"] == 0.5
    assert not any(lost.metrics.values())
    # Two names of one document are one document.
    assert twice.relevant == {"corpus/retrieval/chunking.ipynb": 1}
    assert twice.metrics["recall@100"] == 1
    file.write_text("question,source\nWhat is lost?,lost.md\n")
    with pytest.raises(SourceError, match="holds none of its 1 relevant documents"):
        evaluate(sample, load_dataset(file))


def test_a_corpus_is_indexed_beside_the_configured_index(
    embedder: Embedder, tmp_path: Path, judged: Path
) -> None:
    records = [{"_id": name, "title": "", "text": f"All about {name}."} for name in "abcde"]
    (judged / "corpus.jsonl").write_text("\n".join(map(json.dumps, records)))
    dataset = load_dataset(judged)
    config = Config()
    folder = cache_folder(dataset, config)
    assert folder.parent == Path("indexes")
    assert folder.name.startswith("eval-judged-")
    other = replace(config, chunking=replace(config.chunking, size=100))
    assert cache_folder(dataset, other) != folder
    rag = RAG(tmp_path / folder, config=config, embedder=embedder)
    assert index_corpus(rag, dataset).embedded == 5
    assert index_corpus(rag, dataset).embedded == 0
    report = evaluate(rag, dataset, "dense", depth=2)
    assert not report.missing
    assert all(len(row.ranking) == 2 for row in report.rows)
    with pytest.raises(SourceError, match="questions without documents"):
        index_corpus(rag, replace(dataset, corpus=None))


def test_a_configuration_is_a_mode_and_what_is_added() -> None:
    config = Config()
    busy = replace(config.retrieval, rerank="late-interaction", expansion=("rm3",), diversity=0.4)
    config = replace(config, retrieval=busy)
    assert apply_configuration(config, "current") == config
    dense = apply_configuration(config, "dense").retrieval
    assert (dense.mode, dense.rerank, dense.expansion, dense.diversity) == ("dense", "none", (), 0)
    assert apply_configuration(config, "rrf").retrieval.fusion == "rrf"
    full = apply_configuration(
        config, "hybrid+rerank+rocchio+hyde+mmr+retrieval.dense_weight=0.7"
    ).retrieval
    assert (full.mode, full.fusion, full.rerank) == ("hybrid", "convex", "late-interaction")
    assert full.expansion == ("rocchio", "hyde")
    assert (full.diversity, full.dense_weight) == (0.3, 0.7)
    assert apply_configuration(config, "current+hyde").retrieval.expansion == ("rm3", "hyde")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("densely", "did you mean `dense`"),
        ("", "is not a way to search"),
        ("dense+rernk", "did you mean `rerank`"),
        ("dense+retrieval.dens_weight=1", "did you mean `retrieval.dense_weight`"),
        ("dense+chunking.size=100", "cannot be set for a comparison"),
        ("dense+retrieval.candidates=many", "must be a whole number"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        apply_configuration(Config(), name)


def report_of(name: str, values: list[float]) -> Report:
    rows = tuple(
        Row(f"q{n}", f"Question {n}?", {"a": 1}, (), dict.fromkeys(METRICS, value))
        for n, value in enumerate(values)
    )
    mean = dict.fromkeys(METRICS, sum(values) / len(values))
    return Report(name, "set", mean, rows, (), (), 10, "1", "2026-01-01T00:00:00+00:00")


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_the_p_value_is_near_that_of_all_exchanges() -> None:
    before = [0.1, 0.5, 0.3, 0.9, 0.2, 0.4, 0.6, 0.7, 0.0, 0.8]
    gains = [0.3, 0.1, -0.1, 0.1, 0.4, 0.2, 0.0, -0.2, 0.5, 0.1]
    after = [value + gain for value, gain in zip(before, gains, strict=True)]
    signs = itertools.product((1, -1), repeat=len(gains))
    sums = [abs(sum(s * g for s, g in zip(each, gains, strict=True))) for each in signs]
    exact = sum(total >= abs(sum(gains)) - 1e-9 for total in sums) / len(sums)
    comparison = compare([report_of("before", before), report_of("after", after)])
    difference = comparison.difference(1, "MAP")
    assert difference.p == pytest.approx(exact, abs=0.02)
    assert difference.corrected == difference.p
    assert difference.mean == pytest.approx(0.14)
    assert difference.low < 0.14 < difference.high
    assert (difference.better, difference.worse, difference.equal) == (7, 2, 1)


def test_many_equal_gains_are_significant_and_none_are_not() -> None:
    reports = [report_of("a", [0.5] * 20), report_of("b", [0.6] * 20), report_of("c", [0.5] * 20)]
    comparison = compare(reports)
    up, same = comparison.difference(1, "nDCG@10"), comparison.difference(2, "nDCG@10")
    assert (up.configuration, same.configuration) == ("b", "c")
    # Of 9,999 exchanges none is expected to be as far; the observed one is counted.
    assert up.p == pytest.approx(1e-4, abs=2e-4)
    assert up.corrected == pytest.approx(2 * up.p)
    assert up.significant
    assert (same.p, same.mean, same.significant) == (1.0, 0.0, False)


def test_reports_of_other_judgements_are_not_compared() -> None:
    report = report_of("a", [0.1, 0.2])
    rejudged = replace(report.rows[1], relevant={"b": 1})
    for rows in (report.rows[:1], (report.rows[0], rejudged)):
        with pytest.raises(SourceError, match="'q1' is not asked and judged as in a"):
            compare([report, replace(report, rows=rows)])


def test_failures_are_the_worst_questions() -> None:
    report = report_of("a", [1.0, 0.2, 0.0, 0.7])
    assert [row.id for row in report.failures(2)] == ["q2", "q1"]
    assert [row.id for row in report.failures(9)] == ["q2", "q1", "q3"]


def test_the_page_is_one_file_and_escapes_what_it_shows(measured: Report, tmp_path: Path) -> None:
    hostile = "<script>alert('$x$')</script>"
    row = measured.rows[0]
    found = RankedDocument(hostile, 0.5, 0, hostile)
    row = replace(row, ranking=(found, *row.ranking), metrics=dict.fromkeys(METRICS, 0.25))
    other = replace(measured, configuration=hostile, rows=(row, *measured.rows[1:]))
    write_page(tmp_path / "page.html", compare([measured, other]))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 4
    assert page.count("<svg") == 2
    assert "currentColor" in page
    outside = set(re.findall(r"""\b(?:https?:)?//[\w.]+[^\s"'<]*""", page))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert f"{measured.metrics['nDCG@10']:.3f}" in page
    assert measured.rows[5].question.replace("'", "&#39;") in page


def writing(question: str, answer: str = "") -> object:
    """A generator that asks about the longest word of its text, and answers so, or `answer`."""

    def write(prompt: Prompt) -> Iterator[str]:
        text, _, asked = prompt.messages[-1].content.partition("\n\n")
        word = max(re.findall(r"[a-z]{5,}", text.lower()), key=len)
        yield (answer or word) if asked.startswith("Question: ") else question.format(word=word)

    return from_callable("fake", write)


def asking(sample: RAG, question: str, answer: str = "") -> RAG:
    return RAG(sample.path, embedder=sample.embedder, generator=writing(question, answer))


def test_questions_are_made_of_passages_of_different_documents(sample: RAG, tmp_path: Path) -> None:
    rag = asking(sample, 'Question 1: "What does {word} mean in practice?" Answer: much')
    made = make_questions(rag, 10, seed=3)
    assert made == make_questions(rag, 10, seed=3)
    assert made.questions != make_questions(rag, 10, seed=4).questions
    asked = [each for each in made.questions if each.answerable]
    assert len(asked) == 10
    assert len({each.source for each in asked}) >= 10 - sum(made.dropped.values())
    for each in asked:
        assert re.fullmatch(r"What does \w+ mean in practice\?", each.question)
        passage = rag.find(each.source).text[each.start : each.end]
        assert len(passage.split()) >= 25
        assert each.answer in passage.lower()
        assert each.answer in each.question
    write_questions(tmp_path / "made.csv", made)
    rows = list(csv.DictReader((tmp_path / "made.csv").open()))
    assert list(rows[0]) == [
        *("question", "source", "start", "end", "answer", "answerable", "hidden")
    ]
    dataset = load_dataset(tmp_path / "made.csv")
    assert list(dataset.questions.values()) == [each.question for each in made.questions]
    assert list(dataset.answers.values()) == [
        (each.answer,) if each.answerable else () for each in made.questions
    ]
    # No document is relevant to a question whose answer is hidden.
    assert len(dataset.relevant) == 10
    assert not evaluate(sample, dataset, "dense").missing


def test_near_misses_hide_the_sentence_or_the_document(sample: RAG) -> None:
    rag = asking(sample, "What does {word} mean in practice?")
    made = make_questions(rag, 12, seed=1)
    assert len(made.near_misses) >= 6
    lengths = []
    for question, miss in itertools.pairwise(made.questions):
        if miss.answerable:
            continue
        assert question.answerable
        assert (question.question, question.source) == (miss.question, miss.source)
        source, _, span = miss.hidden.rpartition(":")
        start, end = map(int, span.split("-"))
        assert source == miss.source
        text = rag.find(source).text
        # What is asked about is hidden.
        assert question.answer in text[start:end].lower()
        lengths.append("document" if (start, end) == (0, len(text)) else "sentence")
        assert lengths[-1] == "document" or len(text[start:end].split()) <= 60
        assert miss.answer == ""
    assert set(lengths) == {"document", "sentence"}
    assert not make_questions(rag, 12, seed=1, near_misses=False).near_misses


def test_what_is_said_twice_is_not_hidden(embedder: Embedder, tmp_path: Path) -> None:
    fact = "The pump of the northern station delivers 400 litres of water in a minute."
    more = (
        "It was built by hand, painted, tested and shipped to the station by train in the spring."
    )
    (tmp_path / "docs").mkdir()
    for name in ("a.md", "b.md"):
        (tmp_path / "docs" / name).write_text(f"{fact} {more} Nobody knows who had ordered it.")
    generator = writing("What does {word} mean in practice?")
    rag = RAG(tmp_path / "index", embedder=embedder, generator=generator)
    rag.index(tmp_path / "docs")
    # Whichever is asked about, the other is its copy, which a search would fold into it.
    for seed in range(4):
        made = make_questions(rag, 1, seed=seed)
        assert len(made.questions) == 1
        assert made.dropped == {"near misses, as their answer is said elsewhere": 1}
    rag.remove(tmp_path / "docs" / "b.md")
    (miss,) = make_questions(rag, 1).near_misses
    assert miss.hidden.endswith(f"a.md:0-{len(fact)}")


def test_an_answer_that_its_sentence_lacks_is_none(sample: RAG) -> None:
    for answer in ("a word that is nowhere", "one; two", "\n"):
        rag = asking(sample, "What does {word} mean in practice?", answer)
        made = make_questions(rag, 3, near_misses=False)
        assert [each.answer for each in made.questions] == [""] * 3


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        ("This is about {word}.", "no question"),
        ("{word}?", "too short or too long"),
        ("What is the main point of the passage on {word}?", "points at its text"),
        ("Where do polar bears hibernate nowadays?", "shares no word with its sentence"),
    ],
)
def test_questions_of_no_use_are_dropped(sample: RAG, question: str, fault: str) -> None:
    made = make_questions(asking(sample, question), 2)
    assert not made.questions
    assert made.dropped == {fault: 10}


def test_a_copied_sentence_and_the_same_again_are_dropped(sample: RAG) -> None:
    def copy(prompt: Prompt) -> Iterator[str]:
        text = prompt.messages[-1].content.removeprefix("Text: ").partition("\n\n")[0]
        yield " ".join(re.findall(r"\w+", text)[:12]) + "?"

    rag = RAG(sample.path, embedder=sample.embedder, generator=from_callable("fake", copy))
    made = make_questions(rag, 2)
    assert not made.questions
    assert made.dropped["copies its sentence"] >= 8
    made = make_questions(
        asking(sample, "What is a language model good for, then?"), 3, near_misses=False
    )
    assert len(made.questions) <= 1
    assert made.dropped["the same again"] >= 1


def test_a_small_model_writes_questions(sample: RAG, generator_path: Path) -> None:
    settings = {"generation.model": str(generator_path)}
    made = make_questions(RAG(sample.path, embedder=sample.embedder, settings=settings), 1)
    for each in made.questions:
        assert each.question.endswith("?")
        assert sample.find(each.source)
    assert len(made.questions) + sum(made.dropped.values()) in range(1, 6)


def test_what_only_quotes_cannot_write_questions(sample: RAG) -> None:
    with pytest.raises(ConfigError, match="cannot write questions: name another"):
        make_questions(sample, 1)


def test_the_command_compares_saves_and_writes_a_page(
    run_main: RunMain, sample: RAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_main(
        "eval",
        *(DATA, "--index", sample.path, "--compare", "lexical,lexical+mmr", "--failures", 1),
        *("--save", "a.json", "--run", "a.trec", "--html", "a.html"),
    )
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert "20 documents" in lines[0]
    assert "85 questions; 20 without a relevant document left out" in lines[1]
    lexical = Report.load("a-lexical.json")
    (shown,) = [line.split() for line in lines if line.startswith("lexical ")]
    assert shown[1] == f"{lexical.metrics['nDCG@10']:.3f}"
    assert "Worst questions of" in result.out
    assert "expected" in result.out
    assert Path("a.html").read_text(encoding="utf-8").count("<svg") == 2
    assert {each.name for each in tmp_path.iterdir()} == {
        *("a-lexical.json", "a-lexical+mmr.json", "a-lexical.trec", "a-lexical+mmr.trec", "a.html")
    }
    result = run_main("eval", DATA, "--from-run", "a-lexical.trec", "--against", "a-lexical.json")
    assert result.code == 0, result.err
    assert "a-lexical: nDCG@10 +0.000 (+0.000 to +0.000), p 1.0000" in result.out
    assert "Worst questions of a-lexical:" in result.out


@pytest.mark.slow
def test_the_command_prints_json(run_main: RunMain, judged: Path) -> None:
    result = run_main("eval", judged, "--from-run", judged / "run.trec", "--json")
    (report,) = json.loads(result.out)["reports"]
    assert report["metrics"]["MAP"] == pytest.approx((5 / 6 + 1 / 2) / 3)
    assert report["rows"][0]["ranking"][0] == {"name": "b", "score": 9.5, "gain": 1, "location": ""}


def test_the_command_makes_questions(run_main: RunMain, sample: RAG, tmp_path: Path) -> None:
    file = tmp_path / "made.csv"
    result = run_main("eval", "--make", file, "--index", sample.path, "--generator", "extractive")
    assert "cannot write questions" in result.complaint
    assert not file.exists()


@pytest.mark.parametrize("arguments", [(), (DATA, "--make", "a.csv"), (DATA, "--compare", ",")])
def test_the_command_refuses_what_makes_no_sense(
    run_main: RunMain, arguments: tuple[object, ...]
) -> None:
    assert run_main("eval", *arguments).code == click.UsageError.exit_code
