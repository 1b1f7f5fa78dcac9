"""An index, or any system that answers, and a dataset -> AnswerReport."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import fmean

from rag.config import check_argument
from rag.engine import RAG
from rag.errors import QuestionError, SourceError, StoreError
from rag.evaluation import answer_metrics
from rag.evaluation.answer_metrics import Verifier, remove_marks
from rag.evaluation.answer_report import AnswerReport, AnswerRow, JudgedCitation, JudgedSentence
from rag.evaluation.configurations import CURRENT, apply_configuration
from rag.evaluation.dataset import Dataset
from rag.evaluation.hiding import Spans, find_hidden, search_without
from rag.evaluation.retrieval import flatten, index_facts, median_and_p95, share_models
from rag.protocols import EntailmentModel
from rag.types import Answer, Citation, Hit, Message, Progress, ProgressCallback, no_progress

Ask = Callable[[str], Answer]

# The name of our own verifier in reports.
_OURS = answer_metrics.shares_words.__name__


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
    place of `rag.ask`: then `configuration` is the name of that system, its citations point into
    the index of `rag`, and questions that hide parts of documents are left out. Others answer those
    from the passages that `search_without` leaves. Only every `every`th question is asked.

    Raises:
        ConfigError: if the configuration cannot be used.
        SourceError: if the dataset holds no answers.
        QuestionError: if a question cannot be asked.
        StoreError: if there is no index, or it was built with another embedder.
        GenerationError: if the generator cannot be reached.
    """
    every = check_argument("every", every)
    config = rag.config if ask else apply_configuration(rag.config, configuration)
    asked = rag if ask else share_models(rag, config, generator=True)
    hidden = find_hidden(dataset, rag.documents())
    known = _questions_with_answers(dataset)
    questions = [each for each in known if ask is None or each not in hidden][::every]
    if not questions:
        raise SourceError(str(dataset.path), "every question hides parts of documents from RAG.ask")
    # The same model judges every configuration, whatever model answers.
    entailment: EntailmentModel | None = getattr(rag, "entailment", None)
    verifiers: dict[str, Verifier] = {_OURS: answer_metrics.shares_words}
    if entailment is not None:
        verifiers[entailment.name] = _entailment_verifier(entailment)
    rows = []
    asking = [(question, _asking(asked, hidden.get(question), ask)) for question in questions]
    for question, answer, total in _ask_each(asking, dataset):
        rows.append(_row(asked, dataset, question, answer, verifiers, total))
        progress(Progress(f"answering {configuration}", len(rows), len(questions), "questions"))
    points, area = answer_metrics.risk_coverage(
        [row.confidence for row in rows], [row.loss for row in rows]
    )
    metrics = _mean_metrics(rows)
    if area is not None:
        metrics[answer_metrics.AURC] = area
    return AnswerReport(
        configuration=configuration,
        dataset=str(dataset.path),
        metrics=metrics,
        risk_coverage=points,
        rows=tuple(rows),
        false_quotes=sum(not quote.verbatim for row in rows for quote in row.citations),
        left_out=tuple(
            each
            for each in dataset.questions
            if each not in dataset.answers or (ask is not None and each in hidden)
        ),
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


def _asking(rag: RAG, hidden: Mapping[str, Spans] | None, ask: Ask | None) -> Ask:
    """Return what answers a question, over an index that lacks what is `hidden`."""
    if hidden is None:
        return ask or rag.ask
    k = rag.config.retrieval.top_k

    def ask_without(question: str) -> Answer:
        def search(wanted: int) -> list[Hit]:
            return rag.search(question, wanted)

        return rag.stream(
            question, find=lambda: search_without(search, k, hidden, rag.document)
        ).answer

    return ask_without


def _ask_each(
    asking: Sequence[tuple[str, Ask]], dataset: Dataset
) -> Iterator[tuple[str, Answer, float]]:
    """Yield for each question the answer, and the milliseconds that it took."""
    for number, (question, ask) in enumerate(asking):
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
    verifiers: Mapping[str, Verifier],
    milliseconds: float,
) -> AnswerRow:
    quotes = tuple(_compare_with_document(rag, citation) for citation in answer.citations)
    gold = dataset.answers[question]
    metrics = _answer_metrics(answer, gold, quotes)
    sentences: tuple[JudgedSentence, ...] = ()
    # Whoever quotes is borne out by the quote: only what a generator wrote is judged.
    if answer.way == "generate" and not answer.abstained:
        suffixes = (answer_metrics.BY_WORDS, answer_metrics.BY_NLI)
        judged = [_judge_sentences(answer, quotes, verify) for verify in verifiers.values()]
        sentences = judged[0]
        for suffix, each in zip(suffixes, judged, strict=False):
            metrics |= _citation_metrics(each, suffix)
    return AnswerRow(
        id=question,
        question=dataset.questions[question],
        gold=gold,
        text=answer.text,
        abstained=answer.abstained,
        confidence=answer.confidence,
        way=answer.way,
        model=answer.model,
        sentences=sentences,
        citations=quotes,
        metrics=metrics,
        tokens={"prompt": answer.prompt.tokens, "written": _count_written(rag, answer)},
        timings={**answer.timings, "total": milliseconds},
        interrupted=answer.interrupted,
        answer="" if answer.abstained else _without_marks(answer.brief, answer),
        hidden=tuple(map(str, dataset.hidden.get(question, ()))),
    )


def _answer_metrics(
    answer: Answer, gold: Sequence[str], quotes: Sequence[JudgedCitation]
) -> dict[str, float]:
    """Compare the answering parts with the gold answers; what is `wrong` holds none anywhere."""
    if not gold:
        return {answer_metrics.REFUSED: float(answer.abstained)}
    names = (answer_metrics.F1, answer_metrics.EXACT_MATCH, answer_metrics.CONTAINS)
    if answer.abstained:
        return {
            **dict.fromkeys(names, 0.0),
            answer_metrics.WRONG: 0.0,
            answer_metrics.LOST: 1.0,
        }
    brief = _without_marks(answer.brief, answer)
    contains = answer_metrics.contains(_without_marks(answer.text, answer), gold)
    values = (
        answer_metrics.token_f1(brief, gold),
        answer_metrics.exact_match(brief, gold),
        contains,
    )
    return {
        **dict(zip(names, values, strict=True)),
        answer_metrics.GOLD_CITED: max(
            (answer_metrics.contains(each.quote, gold) for each in quotes), default=0.0
        ),
        answer_metrics.WRONG: 1 - contains,
        answer_metrics.LOST: 0.0,
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
    area = answer_metrics.auroc([row.confidence for row in rows], [row.answerable for row in rows])
    return metrics if area is None else {**metrics, answer_metrics.AUROC: area}


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
    texts = ("", _without_marks(answer.text, answer))
    empty, full = (rag.generator.count_tokens([Message("user", each)]) for each in texts)
    return full - empty


def _without_marks(text: str, answer: Answer) -> str:
    return remove_marks(text, {citation.number for citation in answer.citations})


def _entailment_verifier(model: EntailmentModel) -> Verifier:
    return lambda premise, sentence: bool(model.entail([(premise, sentence)])[0, 0] > 0.5)


def _corpus_fingerprint(rag: RAG) -> str:
    digest = hashlib.sha256()
    for document in rag.documents():
        digest.update(f"{document.id} {document.content_hash}\n".encode())
    return digest.hexdigest()[:16]
