"""An index, or any system that answers, and a dataset -> AnswerReport."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import fmean

from rag.engine import RAG
from rag.errors import QuestionError, SourceError, StoreError
from rag.evaluation import answer_metrics
from rag.evaluation.answer_metrics import Verifier, remove_marks
from rag.evaluation.answer_report import AnswerReport, AnswerRow, JudgedCitation, JudgedSentence
from rag.evaluation.configurations import CURRENT, apply_configuration
from rag.evaluation.dataset import Dataset
from rag.evaluation.retrieval import flatten, index_facts, median_and_p95, share_models
from rag.protocols import EntailmentModel
from rag.types import Answer, Citation, Message, Progress, ProgressCallback, no_progress

Ask = Callable[[str], Answer]

# The name of our own verifier, `shares_words`, in reports.
_OURS = "bears_out"


def evaluate_answers(
    rag: RAG,
    dataset: Dataset,
    configuration: str = CURRENT,
    *,
    ask: Ask | None = None,
    every: int = 1,
    progress: ProgressCallback = no_progress,
) -> AnswerReport:
    """Ask the questions whose answers are known, and measure the replies.

    `configuration` is a name for `apply_configuration`. With `ask`, another system is asked in
    place of `rag.ask`: then `configuration` is the name of that system, and its citations point
    into the index of `rag`. Only every `every`th question is asked.

    Raises:
        ConfigError: if the configuration cannot be used.
        SourceError: if the dataset holds no answers.
        QuestionError: if a question cannot be asked.
        StoreError: if there is no index, or it was built with another embedder.
        GenerationError: if the generator cannot be reached.
    """
    config = rag.config if ask else apply_configuration(rag.config, configuration)
    asked = rag if ask else share_models(rag, config, generator=True)
    questions = _questions_with_answers(dataset)[::every]
    # The same model judges every configuration, whatever model answers.
    entailment: EntailmentModel | None = getattr(rag, "entailment", None)
    verifiers: dict[str, Verifier] = {_OURS: answer_metrics.shares_words}
    if entailment is not None:
        verifiers[entailment.name] = _entailment_verifier(entailment)
    rows = []
    for question, answer, total in _ask_each(ask or asked.ask, dataset, questions):
        rows.append(_row(asked, dataset, question, answer, verifiers.values(), total))
        progress(Progress(f"answering {configuration}", len(rows), len(questions), "questions"))
    return AnswerReport(
        configuration=configuration,
        dataset=str(dataset.path),
        metrics=_mean_metrics(rows),
        rows=tuple(rows),
        false_quotes=sum(not quote.verbatim for row in rows for quote in row.citations),
        left_out=tuple(each for each in dataset.questions if each not in dataset.answers),
        every=every,
        tokens={name: fmean(row.tokens[name] for row in rows) for name in ("prompt", "written")},
        timings=_summarise_timings(rows),
        generator=", ".join(dict.fromkeys(row.model for row in rows if row.model)),
        verifiers=tuple(verifiers),
        version=version("checkable-rag"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=flatten(config),
        embedder=asked.embedder.name,
        fingerprint=asked.embedder.fingerprint,
        index={**index_facts(asked.info()), "fingerprint": _corpus_fingerprint(asked)},
    )


def _questions_with_answers(dataset: Dataset) -> list[str]:
    if not dataset.answers:
        raise SourceError(
            str(dataset.path),
            "no question has `answers` (in a CSV: `answer`), or an `answerable` that is false",
        )
    return [question for question in dataset.questions if question in dataset.answers]


def _ask_each(
    ask: Ask, dataset: Dataset, questions: Sequence[str]
) -> Iterator[tuple[str, Answer, float]]:
    """Yield for each question the answer, and the milliseconds that it took."""
    for number, question in enumerate(questions):
        try:
            if number == 0:
                # The first answer also loads models: ask twice, and time the second answer.
                ask(dataset.questions[question])
            started = time.perf_counter()
            answer = ask(dataset.questions[question])
        except QuestionError as error:
            raise QuestionError(f"{dataset.path}: {question}: {error}") from error
        yield question, answer, (time.perf_counter() - started) * 1000


def _row(
    rag: RAG,
    dataset: Dataset,
    question: str,
    answer: Answer,
    verifiers: Iterable[Verifier],
    milliseconds: float,
) -> AnswerRow:
    quotes = tuple(_compare_with_document(rag, citation) for citation in answer.citations)
    gold = dataset.answers[question]
    judged = [_judge_sentences(answer, quotes, verify) for verify in verifiers]
    metrics = _answer_metrics(answer, gold)
    if not answer.abstained:
        for suffix, sentences in zip(("", answer_metrics.NLI), judged, strict=False):
            metrics |= _citation_metrics(sentences, suffix)
        if gold:
            metrics[answer_metrics.GOLD_CITED] = max(
                (answer_metrics.contains(each.quote, gold) for each in quotes), default=0.0
            )
    return AnswerRow(
        id=question,
        question=dataset.questions[question],
        gold=gold,
        text=answer.text,
        abstained=answer.abstained,
        confidence=answer.confidence,
        way=answer.way,
        model=answer.model,
        sentences=judged[0],
        citations=quotes,
        metrics=metrics,
        tokens={"prompt": answer.prompt.tokens, "written": _count_written(rag, answer)},
        timings={**answer.timings, "total": milliseconds},
        interrupted=answer.interrupted,
    )


def _answer_metrics(answer: Answer, gold: Sequence[str]) -> dict[str, float]:
    if not gold:
        return {}
    if answer.abstained:
        return dict.fromkeys(
            (answer_metrics.EXACT_MATCH, answer_metrics.F1, answer_metrics.CONTAINS), 0.0
        )
    text = _text_without_marks(answer)
    return {
        answer_metrics.EXACT_MATCH: answer_metrics.exact_match(text, gold),
        answer_metrics.F1: answer_metrics.token_f1(text, gold),
        answer_metrics.CONTAINS: answer_metrics.contains(text, gold),
    }


def _judge_sentences(
    answer: Answer, quotes: Sequence[JudgedCitation], verify: Verifier
) -> tuple[JudgedSentence, ...]:
    judged = []
    for sentence in answer.sentences:
        # One mark may stand for several spans of its passage: their quotes count as one.
        cited = [
            "\n".join(quote.quote for quote in quotes if quote.number == number)
            for number in sentence.citations
        ]
        supported, precise = answer_metrics.judge_citations(sentence.text, cited, verify)
        judged.append(JudgedSentence(sentence.text, sentence.citations, supported, precise))
    return tuple(judged)


def _citation_metrics(sentences: Sequence[JudgedSentence], suffix: str) -> dict[str, float]:
    """Count as ALCE does: an answer that cites nothing has a precision of 0."""
    if not sentences:
        return {}
    precise = [each for sentence in sentences for each in sentence.precise]
    return {
        answer_metrics.RECALL + suffix: fmean(sentence.supported for sentence in sentences),
        answer_metrics.PRECISION + suffix: fmean(precise) if precise else 0.0,
    }


def _mean_metrics(rows: Sequence[AnswerRow]) -> dict[str, float]:
    values = {
        name: [row.metrics[name] for row in rows if name in row.metrics]
        for name in answer_metrics.ROW_METRICS
    }
    metrics = {name: fmean(each) for name, each in values.items() if each}
    unanswerable = [not row.answerable for row in rows]
    metrics |= answer_metrics.abstention([row.abstained for row in rows], unanswerable)
    area = answer_metrics.auroc([-row.confidence for row in rows], unanswerable)
    return metrics if area is None else {**metrics, "AUROC": area}


def _summarise_timings(rows: Sequence[AnswerRow]) -> dict[str, dict[str, float]]:
    taken = {
        name: [row.timings[name] for row in rows if name in row.timings]
        for name in ("first_token", "total")
    }
    return {name: median_and_p95(values) for name, values in taken.items() if values}


def _compare_with_document(rag: RAG, citation: Citation) -> JudgedCitation:
    try:
        text = rag.document(citation.document_id).text
        verbatim = text[citation.start : citation.end] == citation.quote
    except StoreError:
        verbatim = False
    return JudgedCitation(
        number=citation.number,
        location=citation.location,
        document_id=citation.document_id,
        start=citation.start,
        end=citation.end,
        quote=citation.quote,
        verbatim=verbatim,
    )


def _count_written(rag: RAG, answer: Answer) -> int:
    """Count the tokens that a generator wrote, without those of the template around them."""
    if answer.way != "generate":
        return 0
    texts = ("", _text_without_marks(answer))
    empty, full = (rag.generator.count_tokens([Message("user", each)]) for each in texts)
    return full - empty


def _text_without_marks(answer: Answer) -> str:
    return remove_marks(answer.text, {citation.number for citation in answer.citations})


def _entailment_verifier(model: EntailmentModel) -> Verifier:
    return lambda premise, sentence: bool(model.entail([(premise, sentence)])[0, 0] > 0.5)


def _corpus_fingerprint(rag: RAG) -> str:
    digest = hashlib.sha256()
    for document in rag.documents():
        digest.update(f"{document.id} {document.content_hash}\n".encode())
    return digest.hexdigest()[:16]
