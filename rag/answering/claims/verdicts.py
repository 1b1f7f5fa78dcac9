"""claim, hits -> Verdict, by whichever judge there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.answering.claims import baseline
from rag.answering.claims.asking import ask
from rag.answering.claims.baseline import LABELS, Probabilities
from rag.answering.claims.windows import Window, as_evidence, find_windows
from rag.answering.passages import Passages
from rag.errors import QuestionError
from rag.protocols import Embedder, EntailmentModel, LanguageModel
from rag.stopwatch import Stopwatch
from rag.text.sentences import split_sentences
from rag.text.words import content_words
from rag.types import Document, Hit, Verdict

BASELINE = "baseline"

_MOST_EVIDENCE = 5
_NOTHING_FOUND: Probabilities = (0.0, 0.0, 1.0)

_Finding = tuple[float, bool, Window]
"""How strongly a window speaks, and whether for the claim."""


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What was made of one sentence, and of each window by itself."""

    probabilities: Probabilities
    windows: Sequence[Window] = ()
    each: Sequence[Probabilities] = ()
    judge: str = BASELINE

    @property
    def label(self) -> int:
        return max(range(3), key=lambda at: self.probabilities[at])

    def findings(self) -> list[_Finding]:
        """What speaks for or against, as far as that is likelier than that it says nothing."""
        return [
            (max(found[:2]), found[0] >= found[1], window)
            for window, found in zip(self.windows, self.each, strict=True)
            if max(found[:2]) > found[2]
        ]

    def grounds(self) -> list[_Finding]:
        """The window that bears the verdict out best; none where nothing is told."""
        if not self.windows or self.label == 2:
            return []
        at = max(range(len(self.each)), key=lambda at: self.each[at][self.label])
        return [(self.each[at][self.label], self.label == 0, self.windows[at])]


def check(
    claim: str,
    hits: Sequence[Hit],
    document: Callable[[str], Document],
    *,
    entailment: EntailmentModel | None = None,
    generator: LanguageModel | None = None,
    embedder: Embedder | None = None,
) -> Verdict:
    """What passages say about a claim, with evidence for and against, strongest first.

    Each sentence of the claim is judged: by the entailment model if there is one, else by the
    generator, else by the baseline. The claim is refuted if one sentence is, and supported if all
    are; the probabilities are those of the sentence that decided it. Passages that give orders to
    a model are no evidence.

    Args:
        claim: one or more statements.
        hits: the passages that were found for it.
        document: gives the document of an id, to check quotes against.
        entailment: judges every window of one or two sentences.
        generator: is asked for a verdict on the passages nearest to the claim.
        embedder: tells how near windows are to the claim; without one their words do.

    Raises:
        QuestionError: if the claim says nothing.
        GenerationError: if the generator cannot be reached.
        StoreError: if a hit is not what its document holds at its place.
    """
    clock = Stopwatch()
    with clock("check"):
        passages = Passages(hits, embedder)
        judgements = [
            _judged(sentence, passages, entailment, generator) for sentence in _sentences(claim)
        ]
        decisive = _decisive(judgements)
        probabilities = decisive.probabilities
        evidence = tuple(
            as_evidence(window, supports, score, document(window.hit.chunk.document_id))
            for score, supports, window in _findings(judgements, decisive)
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


def _sentences(claim: str) -> list[str]:
    sentences = [claim[start:end] for start, end in split_sentences(claim)]
    telling = [sentence for sentence in sentences if content_words(sentence)]
    if not telling:
        raise QuestionError("the claim says nothing that could be checked: give a statement")
    return telling


def _judged(
    sentence: str,
    passages: Passages,
    entailment: EntailmentModel | None,
    generator: LanguageModel | None,
) -> _Judgement:
    windows = find_windows(sentence, passages)
    if not windows:
        return _Judgement(_NOTHING_FOUND)
    if entailment is not None:
        each = _entailed(sentence, windows, entailment)
        return _Judgement(_settled(each), windows, each, entailment.name)
    by_meaning = passages.embedder is not None
    probabilities = baseline.judge(sentence, windows, by_meaning=by_meaning)
    each = [baseline.judge(sentence, [window], by_meaning=by_meaning) for window in windows]
    asked = ask(sentence, windows, generator, probabilities) if generator is not None else None
    if generator is not None and asked is not None:
        return _Judgement(asked, windows, each, generator.name)
    return _Judgement(probabilities, windows, each)


def _entailed(
    sentence: str, windows: Sequence[Window], entailment: EntailmentModel
) -> list[Probabilities]:
    """How likely each window entails or contradicts a sentence, less so the farther it is off."""
    rows = entailment.entail([(window.text, sentence) for window in windows])
    nearest = max(window.similarity for window in windows)
    found = []
    for window, (entails, _, contradicts) in zip(windows, rows.tolist(), strict=True):
        weight = max(0.0, window.similarity) / nearest if nearest > 0 else 1.0
        supported, refuted = weight * entails, weight * contradicts
        found.append((supported, refuted, 1 - supported - refuted))
    return found


def _settled(each: Sequence[Probabilities]) -> Probabilities:
    """What windows say together: the strongest entailment against the strongest contradiction.

    With S and R for the two: S (1 - R) supported, R (1 - S) refuted. Passages that contradict each
    other settle nothing. The maximum over sentences is what systems for FEVER take (Thorne et al.,
    NAACL 2018, and later ones).
    """
    supported = max(found[0] for found in each)
    refuted = max(found[1] for found in each)
    sides = supported * (1 - refuted), refuted * (1 - supported)
    return (*sides, 1 - sum(sides))


def _decisive(judgements: Sequence[_Judgement]) -> _Judgement:
    """The surest of those that refute; else the surest that knows nothing; else the least sure."""
    for label in (1, 2):
        found = [judgement for judgement in judgements if judgement.label == label]
        if found:
            return max(found, key=lambda judgement: judgement.probabilities[label])
    return min(judgements, key=lambda judgement: judgement.probabilities[0])


def _findings(judgements: Sequence[_Judgement], decisive: _Judgement) -> list[_Finding]:
    """The strongest, strongest first, of those with text in common only one."""
    findings = [finding for judgement in judgements for finding in judgement.findings()]
    # What a verdict rests on is shown, whatever speaks louder.
    taken = decisive.grounds()
    for finding in sorted(findings, key=_strength):
        if len(taken) < _MOST_EVIDENCE and not any(finding[2].meets(each[2]) for each in taken):
            taken.append(finding)
    return sorted(taken, key=_strength)


def _strength(finding: _Finding) -> float:
    return -finding[0]
