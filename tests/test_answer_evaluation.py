"""What `rag eval --answers` measures, against numbers worked out by hand and brute force."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random

import click
import numpy as np
import pytest
from conftest import ROOT, RunMain
from hypothesis import given
from hypothesis import strategies as st

from rag import RAG
from rag.config import Config
from rag.errors import ConfigError, SourceError
from rag.evaluation import (
    AnswerReport,
    AnswerRow,
    HiddenPart,
    Report,
    apply_configuration,
    best_value,
    compare,
    evaluate,
    evaluate_answers,
    load_dataset,
    write_answer_page,
)
from rag.evaluation.answer_metrics import (
    ROW_METRICS,
    RiskPoint,
    auroc,
    contains,
    exact_match,
    judge_citations,
    normalise,
    remove_marks,
    risk_coverage,
    shares_words,
    token_f1,
)
from rag.evaluation.hiding import search_without
from rag.protocols import Embedder
from rag.types import Answer, Citation, Hit, Message, Prompt, Sentence

DATA = ROOT / "data"


@pytest.fixture(scope="module")
def measured(sample: RAG) -> AnswerReport:
    return evaluate_answers(sample, load_dataset(DATA), every=5)


def test_squad_s_normalisation_by_hand() -> None:
    assert normalise("  The  U.S.A.'s an-swer, a\n theme!") == ["usas", "answer", "theme"]
    # Not of ASCII, and so kept.
    assert normalise("“An” answer") == ["“", "”", "answer"]


def test_exact_match_by_hand() -> None:
    assert exact_match("The 175 billion.", ["GPT", "175 Billion"]) == 1
    assert exact_match("175 billion parameters", ["175 billion"]) == 0
    assert exact_match("", ["the"]) == 1


def test_token_f1_by_hand() -> None:
    # Precision 2/4, recall 2/2 of the first; 1/4 and 1/3 of the second.
    assert token_f1("it has 175 billion", ["175 billion", "a billion or so"]) == pytest.approx(
        2 / 3
    )
    # A token counts as often as both have it: precision 2/3, recall 2/4.
    assert token_f1("no no no", ["no no yes yes"]) == pytest.approx(4 / 7)
    assert token_f1("none of it", ["all"]) == 0
    assert token_f1("", ["all"]) == 0
    assert token_f1("the", ["an"]) == 1


words = st.lists(st.sampled_from(["a", "one", "two", "Two", "three.", "!"]), max_size=6)


@given(words, st.lists(words, min_size=1, max_size=3))
def test_the_text_metrics_are_what_brute_force_says(said: list[str], gold: list[list[str]]) -> None:
    def plain(text: list[str]) -> list[str]:
        bare = [word.lower().strip(".!") for word in text]
        return [word for word in bare if word not in {"", "a"}]

    def f1(a: list[str], b: list[str]) -> float:
        left, shared = list(b), 0
        for word in a:
            if word in left:
                left.remove(word)
                shared += 1
        if not a or not b:
            return float(a == b)
        precision, recall = shared / len(a), shared / len(b)
        return 2 * precision * recall / (precision + recall) if shared else 0.0

    text, texts = " ".join(said), [" ".join(each) for each in gold]
    answer, golds = plain(said), [plain(each) for each in gold]
    assert exact_match(text, texts) == (answer in golds)
    assert token_f1(text, texts) == pytest.approx(max(f1(answer, each) for each in golds))
    starts = range(len(answer) + 1)
    assert contains(text, texts) == any(
        each and answer[at : at + len(each)] == each for at, each in product(starts, golds)
    )


def test_only_whole_tokens_are_contained() -> None:
    assert contains("Of GPT-3's 175 billion.", ["75 billion", "175 billion"]) == 1
    assert contains("Of 175 billion.", ["75 billion"]) == 0
    assert contains("Of 175 and a billion.", ["175 billion"]) == 0
    assert contains("anything", ["the"]) == 0


def test_a_premise_shares_all_numbers_and_half_of_the_words() -> None:
    zoo = "The zoo in Basel keeps 12 flamingos. They are fed at noon."
    assert shares_words(zoo, "The zoo keeps 12 birds.")  # zoo, keep, 12 of 4
    assert not shares_words(zoo, "The zoo keeps 13 flamingos.")
    assert not shares_words(zoo, "The museum owns 12 pictures.")  # 12 of 4
    assert not shares_words(zoo, "And so on.")


def test_marks_are_taken_out_and_other_brackets_stay() -> None:
    text = "First [1]. Second [2][3], third [1, 3] and x[4] or [1, 4]."
    assert remove_marks(text, {1, 2, 3}) == "First. Second, third and x[4] or [1, 4]."


def holds(premise: str, sentence: str) -> bool:
    """A verifier by which the letters of a sentence have to stand in the premise."""
    return set(sentence) <= set(premise)


@pytest.mark.parametrize(
    ("quotes", "supported", "precise"),
    [
        ([], False, []),
        (["a"], False, [False]),
        (["ab"], True, [True]),
        # Each is needed.
        (["a", "b"], True, [True, True]),
        # The second is neither enough nor needed.
        (["ab", "x"], True, [True, False]),
        # Each is enough, though neither is needed.
        (["ab", "abx"], True, [True, True]),
        # The third is enough: without it the others are enough, too.
        (["a", "b", "ab"], True, [False, False, True]),
        (["a", "x"], False, [False, False]),
    ],
)
def test_alce_by_hand(quotes: list[str], supported: bool, precise: list[bool]) -> None:
    assert judge_citations("ab", quotes, holds) == (supported, tuple(precise))


@given(
    st.text(alphabet="abc", min_size=1, max_size=3),
    st.lists(st.text(alphabet="abcd", max_size=3), max_size=5),
)
def test_alce_is_what_its_definition_says(sentence: str, quotes: list[str]) -> None:
    def together(chosen: Sequence[int]) -> bool:
        return set(sentence) <= {letter for at in chosen for letter in quotes[at]}

    every = range(len(quotes))
    recall = bool(quotes) and together(every)
    irrelevant = [not together([at]) and together([e for e in every if e != at]) for at in every]
    expected = [recall and not each for each in irrelevant]
    assert judge_citations(sentence, quotes, holds) == (recall, tuple(expected))


def test_risk_and_coverage_by_hand() -> None:
    # Of six questions two are refused. The surest answer is right, the next two are equally sure.
    confidences = [0.9, 0.6, 0.2, 0.6, 0.4, 0.1]
    losses = [0.0, 1.0, None, 0.5, 0.25, None]
    points, area = risk_coverage(confidences, losses)
    assert points == (
        RiskPoint(0.9, 1 / 6, 0.0),
        # (0 + 1 + 0.5) / 3
        RiskPoint(0.6, 3 / 6, 0.5),
        # (0 + 1 + 0.5 + 0.25) / 4
        RiskPoint(0.4, 4 / 6, 0.4375),
    )
    # Of the two of equal confidence each counts 0.75: 0, 0.75 / 2, 1.5 / 3 and 1.75 / 4.
    assert area == pytest.approx((0 + 0.375 + 0.5 + 0.4375) / 4)
    assert risk_coverage([0.5, 0.1], [None, None]) == ((), None)
    assert risk_coverage([], []) == ((), None)


answers_given = st.tuples(st.integers(0, 4), st.none() | st.sampled_from([0.0, 0.25, 1.0]))


@given(st.lists(answers_given, max_size=12), st.randoms())
def test_the_curve_does_not_depend_on_the_order_of_the_questions(
    given_answers: list[tuple[int, float | None]], chance: Random
) -> None:
    points, area = risk_coverage(*_columns(given_answers))
    shuffled = chance.sample(given_answers, len(given_answers))
    assert risk_coverage(*_columns(shuffled)) == (points, pytest.approx(area))
    for point in points:
        kept = [loss for sure, loss in given_answers if sure >= point.confidence]
        losses = [loss for loss in kept if loss is not None]
        assert point.risk == pytest.approx(sum(losses) / len(losses))
        assert point.coverage == pytest.approx(len(losses) / len(given_answers))


def _columns(
    rows: list[tuple[int, float | None]],
) -> tuple[list[int], list[float | None]]:
    return [sure for sure, _ in rows], [loss for _, loss in rows]


def test_auroc_by_hand() -> None:
    # Of 2 * 3 pairs: 0.8 beats 0.3, 0.4 and 0.1; 0.4 beats 0.3 and 0.1 and ties with 0.4.
    scores, positive = [0.8, 0.4, 0.3, 0.4, 0.1], [True, True, False, False, False]
    assert auroc(scores, positive) == pytest.approx(5.5 / 6)
    assert auroc([1.0, 1.0, 1.0], [True, False, True]) == 0.5
    assert auroc([0.1, 0.2], [True, True]) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_auroc_is_what_all_pairs_say(given_scores: list[tuple[int, bool]]) -> None:
    positives = [score for score, positive in given_scores if positive]
    negatives = [score for score, positive in given_scores if not positive]
    found = auroc([score for score, _ in given_scores], [each for _, each in given_scores])
    if not positives or not negatives:
        assert found is None
        return
    pairs = [(p > n) + (p == n) / 2 for p, n in product(positives, negatives)]
    assert found == pytest.approx(sum(pairs) / len(pairs))


def dataset_of(folder: Path, *queries: dict) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"_id": f"q{n}", **query}) for n, query in enumerate(queries, start=1)]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    (folder / "qrels.tsv").write_text("q1\ta\t1\n")
    return folder


def test_answers_are_read_with_the_questions(tmp_path: Path) -> None:
    folder = dataset_of(
        tmp_path / "set",
        {"text": "One?", "answers": ["1", " one "], "answerable": True},
        {"text": "Two?", "answers": ["2"]},
        {"text": "None?", "answers": ["3"], "answerable": False},
        {"text": "Unknown?", "answers": []},
        {"text": "Unknown?"},
    )
    assert load_dataset(folder).answers == {"q1": ("1", "one"), "q2": ("2",), "q3": ()}
    file = tmp_path / "questions.csv"
    file.write_text(
        "question,source,answer,answerable\n"
        "One?,a.md,1; one,\nTwo?,a.md,2,True\nNone?,,,false\nUnknown?,a.md,,\n"
    )
    assert load_dataset(file).answers == {"q1": ("1", "one"), "q2": ("2",), "q3": ()}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"answers": "one"}, "line 1: `answers` is not a list of texts"),
        ({"answers": [1]}, "line 1: `answers` is not a list of texts"),
        ({"answerable": "perhaps"}, "line 1: `answerable` is 'perhaps', not true or false"),
    ],
)
def test_answers_that_cannot_be_used_are_named(tmp_path: Path, query: dict, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        load_dataset(dataset_of(tmp_path / "set", {"text": "One?", **query}))


def test_a_dataset_without_answers_is_refused(sample: RAG, tmp_path: Path) -> None:
    dataset = load_dataset(dataset_of(tmp_path / "set", {"text": "One?"}))
    with pytest.raises(SourceError, match="no question has `answers`"):
        evaluate_answers(sample, dataset)


def test_the_sample_s_answers_are_measured(sample: RAG, measured: AnswerReport) -> None:
    dataset = load_dataset(DATA)
    assert [row.id for row in measured.rows] == list(dataset.questions)[::5]
    assert measured.every == 5
    assert not measured.false_quotes
    assert not measured.left_out
    assert measured.unanswerable == tuple(
        question for question in list(dataset.questions)[::5] if not dataset.answers[question]
    )
    assert measured.metrics["gold cited"] == 1
    assert measured.fingerprint == sample.embedder.fingerprint
    assert measured.index["documents"] == 20
    assert 0 < measured.timings["total"]["median"] <= measured.timings["total"]["p95"]
    for row in measured.rows:
        assert row.answerable == bool(row.gold) == (dataset.answers[row.id] != ())
        for quote in row.citations:
            text = sample.document(quote.document_id).text
            assert text[quote.start : quote.end] == quote.quote
            assert quote.verbatim
    answerable = [row for row in measured.rows if row.answerable]
    for metric in ("EM", "F1", "contains"):
        values = [row.metrics[metric] for row in answerable]
        assert measured.metrics[metric] == pytest.approx(sum(values) / len(values))
        assert all(metric not in row.metrics for row in measured.rows if not row.answerable)
    # Each question is counted once, by what became of it.
    for row in measured.rows:
        if row.answerable:
            assert sum(row.metrics[name] for name in ("contains", "wrong", "lost")) == 1
            assert row.metrics["lost"] == row.abstained
        else:
            assert row.metrics == {"refused": row.abstained}
    # Extracts bear themselves out, which is no result.
    assert {row.way for row in measured.rows} == {"extract", "none"}
    assert not any("citation" in metric for metric in measured.metrics)
    assert not any(row.sentences for row in measured.rows)
    answered = [row for row in measured.rows if not row.abstained]
    last = measured.risk_coverage[-1]
    assert last.coverage == pytest.approx(len(answered) / len(measured.rows))
    assert last.risk == pytest.approx(sum(1 - row.score for row in answered) / len(answered))


def test_a_saved_report_loads_equal_and_equals_itself(
    measured: AnswerReport, tmp_path: Path
) -> None:
    measured.save(tmp_path / "report.json")
    saved = AnswerReport.load(tmp_path / "report.json")
    assert saved == measured
    comparison = compare([measured, saved])
    assert comparison.metrics == tuple(each for each in ROW_METRICS if each in measured.metrics)
    for each in comparison.differences:
        assert (each.mean, each.p, each.better, each.worse) == (0, 1, 0, 0)
    assert comparison.difference(1, "F1").equal == sum(row.answerable for row in measured.rows)
    with pytest.raises(SourceError, match="is not a report"):
        Report.load(tmp_path / "report.json")
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(SourceError, match="is not a report"):
        AnswerReport.load(tmp_path / "report.json")


def test_only_questions_with_a_value_in_both_are_compared(measured: AnswerReport) -> None:
    answered = [row for row in measured.rows if row.answerable and not row.abstained]
    right = next(row for row in answered if row.metrics["contains"])
    lost = next(row for row in answered if row.id != right.id)
    changed = {
        right.id: {**right.metrics, "gold cited": 0.0, "contains": 0.0, "wrong": 1.0},
        lost.id: {"EM": 0.0, "F1": 0.0, "contains": 0.0, "wrong": 0.0, "lost": 1.0},
    }
    rows = tuple(replace(r, metrics=changed.get(r.id, r.metrics)) for r in measured.rows)
    comparison = compare([measured, replace(measured, rows=rows)])
    cited = comparison.difference(1, "gold cited")
    assert (cited.better, cited.worse, cited.equal) == (0, 1, len(answered) - 2)
    assert cited.mean == pytest.approx(-1 / (len(answered) - 1))
    # More wrong answers are worse, and the difference is above 0.
    wrong = comparison.difference(1, "wrong")
    assert (wrong.better, wrong.worse) == (int(lost.metrics["wrong"]), 1)
    assert comparison.difference(1, "lost").worse == 1
    assert comparison.difference(1, "lost").mean > 0
    for other in (
        replace(measured.rows[0], gold=("something else",)),
        replace(measured.rows[0], hidden=("a.md:0-9",)),
    ):
        with pytest.raises(SourceError, match="is not asked and judged as in"):
            compare([measured, replace(measured, rows=(other, *measured.rows[1:]))])


def test_the_best_value_of_what_should_be_low_is_the_lowest(measured: AnswerReport) -> None:
    low = replace(measured, metrics={"F1": 0.2, "wrong": 0.1, "AURC": 0.3})
    high = replace(measured, metrics={"F1": 0.4, "wrong": 0.2, "lost": 0.5})
    assert [best_value([low, high], each) for each in ("F1", "wrong", "AURC", "lost")] == [
        *(0.4, 0.1, 0.3, 0.5)
    ]
    assert best_value([low, high], "refused") is None


def test_the_worst_answers_come_first_the_surest_of_them_before(measured: AnswerReport) -> None:
    def row(name: str, f1: float, confidence: float, *, abstained: bool = False) -> AnswerRow:
        return replace(
            measured.rows[0],
            id=name, gold=("gold",), metrics={"F1": f1}, confidence=confidence, abstained=abstained,
        )  # fmt: skip

    rows = (
        row("good", 0.9, 0.9),
        row("lost", 0.0, 0.2, abstained=True),
        row("right", 1.0, 0.1),
        row("unsure", 0.0, 0.6),
        row("sure", 0.0, 0.99),
    )
    assert [each.id for each in replace(measured, rows=rows).failures(9)] == [
        *("sure", "unsure", "lost", "good")
    ]


def citation(sample: RAG, quote: str, number: int, at: int = 0) -> Citation:
    """A citation of a quote from the sample; `at` moves it away from its place."""
    for document in sample.documents():
        if quote in document.text:
            start = document.text.index(quote) + at
            end = start + len(quote)
            return Citation(
                number=number,
                document_id=document.id,
                source=document.source,
                page=None,
                line=None,
                heading=(),
                start=start,
                end=end,
                quote=quote,
            )
    raise LookupError(quote)


def test_another_system_is_measured_by_what_it_says(
    sample: RAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(
        dataset_of(
            tmp_path / "set",
            {"text": "Who introduced adapters?", "answers": ["Houlsby"]},
            {"text": "How tall is it?", "answerable": False},
            {"text": "Of what?", "answers": ["nothing"]},
            {"text": "How large is GPT-3?", "answers": ["175 billion"]},
            {"text": "Not known?"},
        )
    )
    text = next(sample.documents()).text
    first, second = text[:40], text[50:80]
    known = "Nobody knows the height of Kilimanjaro."

    def answer(question: str) -> Answer:
        prompt = Prompt(question, (), (), 10)
        said, sentences, citations, abstained, confidence = {
            # The second citation of the sentence is not to the point.
            "Who introduced adapters?": (
                f"{first} [1] [2]",
                (Sentence(first, 0, 40, 1.0, (1, 2)),),
                (citation(sample, first, 1), citation(sample, second, 2, at=1)),
                False,
                0.9,
            ),
            "How tall is it?": (known, (Sentence(known, 0, len(known), 0.0),), (), False, 0.3),
            "Of what?": ("The documents do not say.", (), (), True, 0.3),
            "How large is GPT-3?": ("175 billion [9]", (), (), False, 0.8),
        }[question]
        return Answer(
            question, said, citations, sentences, (), abstained, prompt, "theirs",
            way="none" if abstained else "generate", confidence=confidence,
        )  # fmt: skip

    monkeypatch.setitem(vars(sample), "generator", Counting())
    report = evaluate_answers(sample, dataset, "theirs", ask=answer)
    cited, unknown, silent, marked = report.rows
    assert report.generator == "theirs"
    assert report.left_out == ("q5",)
    # The second quote is not what stands at its place.
    assert report.false_quotes == 1
    assert [quote.verbatim for quote in cited.citations] == [True, False]
    assert cited.metrics["citation recall (shared words)"] == 1
    assert cited.metrics["citation precision (shared words)"] == 0.5
    assert cited.metrics["gold cited"] == 0
    # An answer that cites nothing is not borne out.
    assert unknown.metrics == {
        "refused": 0, "citation recall (shared words)": 0, "citation precision (shared words)": 0,
    }  # fmt: skip
    assert (unknown.score, silent.score) == (0, 0)
    assert (unknown.loss, silent.loss) == (1, None)
    assert silent.metrics == {"EM": 0, "F1": 0, "contains": 0, "wrong": 0, "lost": 1}
    # `[9]` cites nothing, and is left for what it is: precision 2/3, recall 2/2.
    assert marked.metrics == {
        "EM": 0, "F1": pytest.approx(4 / 5), "contains": 1, "gold cited": 0, "wrong": 0, "lost": 0,
    }  # fmt: skip
    assert (cited.answer, silent.answer, marked.answer) == (first, "", "175 billion [9]")
    # Of the three with an answer one is right, one wrong, one lost.
    assert report.metrics["contains"] == report.metrics["wrong"] == pytest.approx(1 / 3)
    assert report.metrics["lost"] == pytest.approx(1 / 3)
    assert report.metrics["refused"] == 0
    # Of the three pairs one is a tie, and the one without an answer is less sure in two.
    assert report.metrics["AUROC"] == pytest.approx(2.5 / 3)
    # The surest is wrong, the next loses 1 - 4/5, the last answers where there is none.
    assert report.risk_coverage == (
        RiskPoint(0.9, 0.25, 1.0),
        RiskPoint(0.8, 0.5, pytest.approx(1.2 / 2)),
        RiskPoint(0.3, 0.75, pytest.approx(2.2 / 3)),
    )
    assert report.metrics["AURC"] == pytest.approx((1 + 1.2 / 2 + 2.2 / 3) / 3)
    assert report.tokens == {"prompt": 10, "written": pytest.approx((40 + len(known) + 15) / 4)}
    assert set(report.timings) == {"total"}


def test_the_marked_part_is_compared_and_the_whole_is_read(sample: RAG, tmp_path: Path) -> None:
    dataset = load_dataset(
        dataset_of(
            tmp_path / "set",
            {"text": "How large is GPT-3?", "answers": ["175 billion"]},
            {"text": "What are its parts?", "answers": ["encoder, decoder"]},
            {"text": "When?", "answers": ["2020"]},
        )
    )
    texts = {
        "How large is GPT-3?": ("GPT-3 has 175 billion parameters [1].", ((10, 21),)),
        "What are its parts?": ("An encoder and a decoder [1].", ((3, 10), (17, 24))),
        "When?": ("It came in 2019, not in 2020.", ((11, 15),)),
    }

    def ask(question: str) -> Answer:
        text, spans = texts[question]
        return Answer(
            question, text, (), (), (), False, Prompt(question, (), (), 0), "", way="extract",
            spans=spans,
        )  # fmt: skip

    one, several, mistaken = evaluate_answers(sample, dataset, ask=ask).rows
    assert (one.answer, one.metrics["EM"], one.metrics["F1"]) == ("175 billion", 1, 1)
    assert (several.answer, several.metrics["EM"]) == ("encoder, decoder", 1)
    assert (mistaken.metrics["F1"], mistaken.metrics["contains"], mistaken.metrics["wrong"]) == (
        *(0, 1, 0),
    )


class Counting:
    """A generator whose tokens are letters."""

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content) for message in messages)


class Letters:
    """An NLI model of one rule: a text entails what it holds word for word."""

    name = "letters"

    def entail(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        rows = [(1, 0, 0) if sentence in premise else (0, 1, 0) for premise, sentence in pairs]
        return np.array(rows, dtype=np.float32)


def test_an_nli_model_judges_what_a_generator_wrote_beside_our_own_verifier(
    sample: RAG, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(DATA)
    # Extracts stand in for what a generator wrote.
    answers = {
        question: replace(answer, way="none" if answer.abstained else "generate")
        for question in list(dataset.questions.values())[::9]
        for answer in [sample.ask(question)]
    }
    monkeypatch.setitem(vars(sample), "generator", Counting())
    before = evaluate_answers(sample, dataset, every=9, ask=answers.__getitem__)
    monkeypatch.setitem(vars(sample), "entailment", Letters())
    report = evaluate_answers(sample, dataset, every=9, ask=answers.__getitem__)
    assert report.verifiers == ("shares_words", "letters")
    for row in report.rows:
        if row.abstained:
            assert not [metric for metric in row.metrics if "NLI" in metric]
            continue
        held = [
            any(sentence.text in q.quote for q in row.citations if q.number in sentence.citations)
            for sentence in row.sentences
        ]
        assert row.metrics["citation recall (NLI)"] == pytest.approx(sum(held) / len(held))
    ours = {name: value for name, value in report.metrics.items() if "NLI" not in name}
    assert ours == before.metrics
    assert report.metrics.keys() - ours.keys() == {
        "citation recall (NLI)",
        "citation precision (NLI)",
    }


def test_a_way_to_answer_is_a_configuration(sample: RAG) -> None:
    config = Config()
    assert apply_configuration(config, "extract").answering.way == "extract"
    assert apply_configuration(config, "extract").retrieval == config.retrieval
    assert (
        apply_configuration(config, "generate+answering.threshold=0.7").answering.threshold == 0.7
    )
    assert apply_configuration(config, "auto+hyde").retrieval.expansion == (
        "rm3",
        "rocchio",
        "hyde",
    )
    with pytest.raises(ConfigError, match="is a way to answer"):
        evaluate(sample, load_dataset(DATA), "extract")


def test_the_page_of_answers_is_one_file_and_escapes_what_it_shows(
    measured: AnswerReport, tmp_path: Path
) -> None:
    hostile = "<script>alert('$x$')</script>"
    at = next(n for n, row in enumerate(measured.rows) if row.citations and row.answerable)
    row = measured.rows[at]
    quote = replace(row.citations[0], quote=hostile, location=hostile, verbatim=False)
    row = replace(row, text=hostile, citations=(quote,), interrupted=hostile)
    rows = (*measured.rows[:at], row, *measured.rows[at + 1 :])
    other = replace(measured, configuration=hostile, rows=rows, false_quotes=1)
    write_answer_page(tmp_path / "page.html", compare([measured, other]))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 6
    assert "✗ not in the document" in page
    # Risk and coverage, the confidence of both, and the gains.
    assert page.count("<svg") == 4
    outside = set(re.findall(r"""\b(?:https?:)?//[\w.]+[^\s"'<]*""", page))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert f"{measured.metrics['F1']:.3f}" in page


def test_a_page_of_questions_without_answers_alone(measured: AnswerReport, tmp_path: Path) -> None:
    rows = tuple(row for row in measured.rows if not row.answerable)
    few = replace(measured, rows=rows, metrics={"refused": 1.0}, timings={}, risk_coverage=())
    write_answer_page(tmp_path / "page.html", compare([few, few]))
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<svg") == 3


def test_the_command_measures_answers(
    run_main: RunMain, sample: RAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    common = (DATA, "--answers", "--index", sample.path, "--generator", "extractive")
    result = run_main(
        "eval",
        *common,
        "--every",
        8,
        "--compare",
        "extract,current",
        "--save",
        "a.json",
        "--html",
        "a.html",
    )
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert "20 documents" in lines[0]
    assert "14 questions, 3 without an answer, one in 8 asked" in lines[1]
    report = AnswerReport.load("a-extract.json")
    (shown,) = [line.split() for line in lines if line.startswith("extract ")]
    assert shown[1] == f"{report.metrics['F1']:.3f}"
    last = report.risk_coverage[-1]
    assert f"{last.risk:.2f} at {last.coverage:.0%}" in result.out
    assert "quotes are not in" not in result.out
    # Nobody wrote anything: no column says how well it is cited.
    assert "precise" not in result.out
    worst = report.failures(1)[0]
    assert worst.question in result.out
    assert Path("a.html").read_text(encoding="utf-8").count("<svg") == 4
    result = run_main(
        "eval", *common, "--every", 8, "--against", "a-extract.json", "--compare", "extract"
    )
    assert result.code == 0, result.err
    assert "extract: F1 +0.000 (+0.000 to +0.000), p 1.0000" in result.out
    result = run_main("eval", *common, "--every", 20, "--json")
    (printed,) = json.loads(result.out)["reports"]
    assert [row["id"] for row in printed["rows"]] == [*("q01", "q21", "q41", "q61", "q81", "q101")]


FACTS = (
    "The reservoir of Harding holds 400 litres.",
    "Its walls are made of granite.",
    "The pump was built in 1893.",
)


@pytest.fixture(scope="module")
def harding(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> RAG:
    """Two documents about a pump, of which the first holds three facts in one passage."""
    folder = tmp_path_factory.mktemp("harding")
    (folder / "docs").mkdir()
    (folder / "docs" / "pump.md").write_text(" ".join(FACTS))
    (folder / "docs" / "town.md").write_text("Harding is a town of 900 people on a river.")
    rag = RAG(folder / "index", embedder=embedder, settings={"generation.model": "extractive"})
    rag.index(folder / "docs")
    return rag


def test_a_question_is_asked_without_what_is_hidden(harding: RAG, tmp_path: Path) -> None:
    end = len(FACTS[0])
    question = {"text": "How many litres does the reservoir of Harding hold?"}
    dataset = load_dataset(
        dataset_of(
            tmp_path / "set",
            {**question, "answers": ["400"]},
            {**question, "answerable": False, "hidden": [f"pump.md:0-{end}"]},
            {**question, "answerable": False, "hidden": ["docs/pump.md:0-40", "pump.md:30-101"]},
        )
    )
    text = harding.find("pump.md").text
    assert text[:end] == FACTS[0]
    before = harding.info()
    report = evaluate_answers(harding, dataset)
    known, sentence, whole = report.rows
    assert "400" in known.text
    assert (known.hidden, sentence.hidden) == ((), (f"pump.md:0-{end}",))
    for row in (sentence, whole):
        assert "400" not in row.text
        assert not any("400" in quote.quote for quote in row.citations)
        assert all(quote.verbatim for quote in row.citations)
    assert not report.false_quotes
    # The index is as it was, and is searched as before.
    assert harding.info() == before
    assert "400" in harding.ask(question["text"]).text
    # Another system searches by itself: nothing can be hidden from it.
    theirs = evaluate_answers(harding, dataset, "theirs", ask=harding.ask)
    assert [row.id for row in theirs.rows] == ["q1"]
    assert theirs.left_out == ("q2", "q3")


@pytest.mark.parametrize(
    ("spans", "left"),
    [
        ([(0, 42)], [(43, 101)]),
        ([(43, 73)], [(0, 42), (74, 101)]),
        ([(74, 101)], [(0, 73)]),
        # Overlapping spans, one of them beyond the passage.
        ([(0, 50), (40, 73)], [(74, 101)]),
        ([(0, 101)], []),
        ([(41, 42), (43, 101)], [(0, 41)]),
    ],
)
def test_what_is_left_of_a_passage_is_found_in_stretches(
    harding: RAG, spans: list[tuple[int, int]], left: list[tuple[int, int]]
) -> None:
    document = harding.find("pump.md")
    assert len(document.text) == 101
    found = search_without(
        lambda k: harding.search("the pump", k), 5, {document.id: spans}, harding.document
    )
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
    pieces = [hit for hit in found if hit.chunk.document_id == document.id]
    assert [(hit.start, hit.end) for hit in pieces] == left
    for hit in pieces:
        assert hit.text == hit.chunk.text == document.text[hit.start : hit.end]
        # What was measured of the whole passage is not told of its stretch.
        assert not hit.trace
    (other,) = [hit for hit in found if hit.chunk.document_id != document.id]
    assert other.trace


def test_more_is_searched_for_where_much_is_hidden(harding: RAG) -> None:
    document, asked = harding.find("pump.md"), []

    def search(k: int) -> list[Hit]:
        asked.append(k)
        return harding.search("the pump", k)

    hidden = {document.id: [(0, len(document.text))]}
    (hit,) = search_without(search, 1, hidden, harding.document)
    assert hit.source.endswith("town.md")
    assert asked == [1, 2]


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [
        (["lost.md:0-9"], "q1: hides lost.md:0-9, of which the index holds no such document"),
        (["pump.md:0-102"], "q1: hides pump.md:0-102, of which the index holds 101 of it"),
    ],
)
def test_what_cannot_be_hidden_is_named(
    harding: RAG, tmp_path: Path, hidden: list[str], reason: str
) -> None:
    query = {"text": "One?", "answerable": False, "hidden": hidden}
    with pytest.raises(SourceError, match=reason):
        evaluate_answers(harding, load_dataset(dataset_of(tmp_path / "set", query)))


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [
        ("pump.md:0-9", "line 1: `hidden` is not a list of texts"),
        (["pump.md"], "line 1: `hidden`: 'pump.md' is not SOURCE:START-END"),
        (["pump.md:9-9"], "line 1: `hidden`: 'pump.md:9-9' is not SOURCE:START-END"),
    ],
)
def test_hidden_parts_that_cannot_be_read_are_named(
    tmp_path: Path, hidden: object, reason: str
) -> None:
    query = {"text": "One?", "answerable": False, "hidden": hidden}
    with pytest.raises(SourceError, match=reason):
        load_dataset(dataset_of(tmp_path / "set", query))


def test_the_command_says_when_refusing_everything_would_do(
    run_main: RunMain, harding: RAG, tmp_path: Path
) -> None:
    query = {"text": "How tall is it?", "answerable": False, "hidden": ["pump.md:0-42"]}
    dataset = dataset_of(tmp_path / "set", query)
    common = ("--answers", "--index", harding.path, "--generator", "extractive")
    result = run_main("eval", dataset, *common)
    assert result.code == 0, result.err
    assert "whoever refuses everything gets all of these right" in result.out


def test_hidden_parts_of_a_table(tmp_path: Path) -> None:
    file = tmp_path / "made.csv"
    file.write_text(
        "question,source,answer,answerable,hidden\n"
        "One?,a.md,1,,\nOne?,a.md,,false,a.md:0-9;c:b.md:3-5\n"
    )
    dataset = load_dataset(file)
    assert dataset.hidden == {"q2": (HiddenPart("a.md", 0, 9), HiddenPart("c:b.md", 3, 5))}
    assert dataset.answers == {"q1": ("1",), "q2": ()}
    assert dataset.relevant == {"q1": {"a.md": 1}}


def test_what_is_shown_leaves_the_terminal_alone(
    run_main: RunMain, sample: RAG, tmp_path: Path
) -> None:
    query = {"text": "Who\x1b[31m introduced\nadapters?", "answers": ["\x1b[2Jnobody"]}
    folder = dataset_of(tmp_path / "set", query)
    result = run_main(
        "eval", folder, "--answers", "--index", sample.path, "--generator", "extractive"
    )
    assert result.code == 0, result.err
    assert "adapters?" in result.out
    assert "\x1b" not in result.out


@pytest.mark.parametrize(
    "arguments", [("--every", 2), ("--answers", "--run", "a"), ("--answers", "--compare", ",")]
)
def test_the_command_refuses_what_makes_no_sense(
    run_main: RunMain, arguments: tuple[object, ...]
) -> None:
    assert run_main("eval", DATA, *arguments).code == click.UsageError.exit_code
