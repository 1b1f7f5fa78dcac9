"""Judge claims by the best judge there is, and collect evidence for and against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.answering.claims import baseline, entailed
from rag.answering.claims.baseline import LABELS, Probabilities
from rag.answering.claims.generator import ask
from rag.answering.claims.statements import NearStatement, find_statements
from rag.answering.entailment import SHIPPED
from rag.answering.passages import Passages
from rag.errors import QuestionError
from rag.protocols import Embedder, EntailmentModel, LanguageModel
from rag.stopwatch import Stopwatch
from rag.text.sentences import split_sentences
from rag.text.words import content_words
from rag.types import Document, Evidence, Hit, Verdict

BASELINE = "baseline"

_MOST_EVIDENCE = 5
_NOTHING_FOUND: Probabilities = (0.0, 0.0, 1.0)
_CERTAIN: Probabilities = (1.0, 0.0, 0.0)

_Finding = tuple[float, bool, NearStatement]
"""The strength of a statement, whether it speaks for the claim, and the statement."""


@dataclass(frozen=True, slots=True)
class _Judgement:
    """The judgement on one sentence of a claim, and on each statement by itself."""

    probabilities: Probabilities
    statements: Sequence[NearStatement] = ()
    each: Sequence[Probabilities] = ()
    judge: str = BASELINE

    @property
    def label(self) -> int:
        return max(range(3), key=lambda at: self.probabilities[at])

    def findings(self) -> list[_Finding]:
        """List statements that more likely speak for or against the claim than say nothing."""
        return [
            (max(found[:2]), found[0] >= found[1], statement)
            for statement, found in zip(self.statements, self.each, strict=True)
            if max(found[:2]) > found[2]
        ]

    def deciding(self) -> list[_Finding]:
        """Return the statement that supports the verdict best; none if there is no verdict."""
        if not self.statements or self.label == 2:
            return []
        at = max(range(len(self.each)), key=lambda at: self.each[at][self.label])
        return [(self.each[at][self.label], self.label == 0, self.statements[at])]


def check(
    claim: str,
    hits: Sequence[Hit],
    document: Callable[[str], Document],
    *,
    entailment: EntailmentModel | None = None,
    generator: LanguageModel | None = None,
    embedder: Embedder | None = None,
) -> Verdict:
    """Judge a claim by passages, with evidence for and against, strongest first.

    Each sentence of the claim is judged: by the entailment model if there is one, else by the
    generator, else by the baseline. The claim is refuted if one sentence is, and supported if all
    are; the probabilities are those of the sentence that decided it. Instructions to a
    model are no evidence.

    Args:
        claim: one or more statements.
        hits: the passages that were found for it.
        document: gives the document of an id, to check quotes against.
        entailment: judges every statement of one or two sentences, unless one is the claim word
            for word.
        generator: is asked for a verdict on the passages nearest to the claim.
        embedder: tells how near statements are to the claim; without one their words do.

    Raises:
        QuestionError: if the claim says nothing.
        GenerationError: if the generator cannot be reached.
        StoreError: if a hit is not what its document holds at its place.
    """
    clock = Stopwatch()
    with clock("check"):
        passages = Passages(hits, embedder, document)
        judgements = [
            _judge_sentence(sentence, passages, entailment, generator)
            for sentence in _split_claim(claim)
        ]
        decisive = _choose_decisive(judgements)
        probabilities = decisive.probabilities
        evidence = tuple(
            Evidence.of(
                near.hit,
                near.start,
                near.end,
                document(near.hit.chunk.document_id),
                relation="for" if supports else "against",
                score=score,
            )
            for score, supports, near in _choose_findings(judgements, decisive)
        )
    return Verdict(
        claim=claim.strip(),
        label=LABELS[decisive.label],
        score=probabilities[decisive.label],
        probabilities=dict(zip(LABELS, probabilities, strict=True)),
        evidence=evidence,
        judge=decisive.judge,
        timings=clock.times,
    )


def _split_claim(claim: str) -> list[str]:
    sentences = [claim[start:end] for start, end in split_sentences(claim)]
    telling = [sentence for sentence in sentences if content_words(sentence)]
    if not telling:
        raise QuestionError("the claim says nothing that could be checked: give a statement")
    return telling


def _judge_sentence(
    sentence: str,
    passages: Passages,
    entailment: EntailmentModel | None,
    generator: LanguageModel | None,
) -> _Judgement:
    statements = find_statements(sentence, passages)
    if not statements:
        return _Judgement(_NOTHING_FOUND)
    by_meaning = passages.embedder is not None
    if entailment is not None:
        return _judge_by_entailment(sentence, statements, entailment, by_meaning=by_meaning)
    found = _judge_by_baseline(sentence, statements, by_meaning=by_meaning)
    if generator is not None:
        asked = ask(sentence, statements, generator, found.probabilities)
        if asked is not None:
            return _Judgement(asked, statements, found.each, generator.name)
    return found


def _judge_by_entailment(
    sentence: str,
    statements: Sequence[NearStatement],
    entailment: EntailmentModel,
    *,
    by_meaning: bool,
) -> _Judgement:
    same = entailed.find_word_for_word(sentence, statements)
    if same is not None:
        # What is said word for word needs no judge.
        return _Judgement(_CERTAIN, [same], [_CERTAIN], entailment.name)
    each = entailed.ask(sentence, statements, entailment)
    if entailment.name != SHIPPED:
        each = entailed.weigh_by_similarity(each, statements)
        return _Judgement(entailed.combine(each), statements, each, entailment.name)
    each = entailed.weigh_by_words(sentence, each, statements)
    decided = entailed.decide(each)
    if decided is None:
        return _judge_by_baseline(sentence, statements, by_meaning=by_meaning)
    return _Judgement(decided, statements, each, entailment.name)


def _judge_by_baseline(
    sentence: str, statements: Sequence[NearStatement], *, by_meaning: bool
) -> _Judgement:
    each = [
        baseline.judge(sentence, [statement], by_meaning=by_meaning) for statement in statements
    ]
    return _Judgement(baseline.judge(sentence, statements, by_meaning=by_meaning), statements, each)


def _choose_decisive(judgements: Sequence[_Judgement]) -> _Judgement:
    """Choose the surest refutation, else the surest unknown, else the least sure support."""
    for label in (1, 2):
        found = [judgement for judgement in judgements if judgement.label == label]
        if found:
            return max(found, key=lambda judgement: judgement.probabilities[label])
    return min(judgements, key=lambda judgement: judgement.probabilities[0])


def _choose_findings(judgements: Sequence[_Judgement], decisive: _Judgement) -> list[_Finding]:
    """Choose the strongest findings, strongest first, without overlaps."""
    findings = [finding for judgement in judgements for finding in judgement.findings()]
    # The evidence for the verdict comes first, even if other findings are stronger.
    taken = decisive.deciding()
    for finding in sorted(findings, key=_strength):
        if len(taken) < _MOST_EVIDENCE and not any(finding[2].meets(each[2]) for each in taken):
            taken.append(finding)
    return sorted(taken, key=_strength)


def _strength(finding: _Finding) -> float:
    return -finding[0]
