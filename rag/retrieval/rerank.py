"""question, hits -> hits, ordered anew by models that read a passage with the question."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from rag.config import Config
from rag.errors import ConfigError, ModelError, first_line
from rag.models import LocalModel, resolve, without_progress_bars
from rag.models.checkpoints import hub_options
from rag.models.devices import chosen_device
from rag.plugins import plugin
from rag.protocols import (
    Embedder,
    LanguageModel,
    LikelihoodModel,
    Reranker,
    TokenEmbedder,
)
from rag.text.normalization import prefix, searchable
from rag.types import Hit, Message, ProgressCallback, Stage

if TYPE_CHECKING:
    from rag.types import Vectors

Scorer = Callable[[Sequence[str]], Sequence[float]]
"""Passages -> how well each of them suits one question; higher is better."""

Begin = Callable[[str], Scorer]
"""Question -> its scorer, with all loaded that it needs."""

_BATCH = 8
# What a small model makes of a passage weighs this much against the score that the passage came
# with, which knows other things. By itself it makes the order of a hybrid search worse: on
# Cranfield, XQuAD and Climate-FEVER nDCG@10 goes from 0.568, 0.976 and 0.494 to 0.525, 0.982 and
# 0.435 with late interaction, and with this weight to 0.565, 0.982 and 0.515.
_WEIGHT = 0.25
# Passages whose vectors are kept, about 30 MB with their texts.
_KEPT = 10_000
_METHODS = ("none", "embedder", "late-interaction", "likelihood")
_LIKELIHOOD_PROMPT = "Passage: {}. Please write a question based on this passage."


def load_reranker(
    config: Config,
    embedder: Embedder,
    generator: Callable[[], LanguageModel],
    progress: ProgressCallback | None = None,
) -> Reranker | None:
    """The reranker that `config.retrieval.rerank` names; its weights are loaded at first use.

    That is `none`, `embedder` and `late-interaction` (with `embedder`, which need not be that of
    the index), `likelihood` (with the generator, which is not called for otherwise), a name of the
    entry-point group `rag.rerankers`, or a cross-encoder: a model directory, or a hub name with an
    optional `@revision`. A cross-encoder runs on `config.embedding.device`, and its scores alone
    count.

    Raises:
        ModelError: if there is no such model.
        ConfigError: if the embedder or the generator cannot do what the method takes.
    """
    spec = config.retrieval.rerank
    if spec == "none":
        return None
    load = plugin("rag.rerankers", spec)
    if load is not None:
        reranker: Reranker = load(config)
        return reranker
    if spec == "embedder":
        # In a dense search its cosine takes the place of another one; in others words count too.
        # Weights of 0.25 to 0.75 make 0.01 of nDCG@10: docs/static.md.
        weight = 1.0 if config.retrieval.mode == "dense" else config.retrieval.dense_weight
        ready = ScoringReranker(spec, PassageVectors(embedder).begin, weight=weight)
    elif spec == "late-interaction":
        ready = ScoringReranker(spec, late_interaction(embedder), weight=_WEIGHT)
    elif spec == "likelihood":
        ready = ScoringReranker(spec, likelihood(generator()), weight=_WEIGHT, batch_size=1)
    else:
        model = _resolved(spec, progress)
        ready = ScoringReranker(model.name, CrossEncoder(model, config.embedding.device).begin)
    depth, budget = config.retrieval.rerank_depth, config.retrieval.rerank_budget_ms
    return replace(ready, depth=depth, budget_ms=budget)


@dataclass(frozen=True, slots=True)
class ScoringReranker:
    """A Reranker out of a way to score passages.

    `begin(question)` loads what it needs and gives the scorer of that question. The scorer reads
    the `depth` best hits, `batch_size` at a time, for `budget_ms` milliseconds (0: until all are
    read): it reads the first batch in any case, and another one if at the pace so far there is
    time enough. Loading and reading the question come before that time.

    With a `weight` below 1 a hit keeps a part of the score it came with: `weight` times the
    scorer's score and 1 - `weight` times that one, each scaled to 0 to 1 over the hits read.
    """

    name: str
    begin: Begin
    depth: int = 30
    budget_ms: float = 0
    weight: float = 1.0
    batch_size: int = _BATCH

    def rerank(self, question: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        """The `k` best, best first; hits with the same score keep their order.

        Hits that were read have their new score, and a stage more in their trace. The others
        follow in the order they came in, with scores shifted as a whole, so that the first of them
        has the lowest score above it: scores never grow from one hit to the next.

        Raises:
            ModelError: if the scorer cannot be loaded, or gives something that is not a number.
        """
        if not hits:
            return []
        scorer = self.begin(searchable(question))
        scores = self._scores(scorer, [passage_text(hit) for hit in hits[: self.depth]])
        if self.weight < 1:
            before = [hit.score for hit in hits[: len(scores)]]
            scores = _blended(scores, before, self.weight)
        order = sorted(range(len(scores)), key=lambda at: -scores[at])
        read = [
            replace(
                hits[at],
                score=scores[at],
                rank=rank,
                trace=(*hits[at].trace, Stage(self.name, rank, scores[at])),
            )
            for rank, at in enumerate(order, start=1)
        ]
        return [*read, *_shifted_below(read[-1], hits[len(read) :])][:k]

    def _scores(self, scorer: Scorer, passages: Sequence[str]) -> list[float]:
        scores: list[float] = []
        started = time.perf_counter()
        while batch := passages[len(scores) : len(scores) + self.batch_size]:
            spent_ms = (time.perf_counter() - started) * 1000
            if self.budget_ms and scores:
                expected_ms = spent_ms * (len(scores) + len(batch)) / len(scores)
                if expected_ms > self.budget_ms:
                    break
            scores += [float(score) for score in scorer(batch)]
        if not all(map(math.isfinite, scores)):
            raise ModelError(
                f"{self.name} gave scores that are NaN or infinite: its weights are damaged, or do "
                "not fit this device"
            )
        return scores


def passage_text(hit: Hit) -> str:
    """What a reranker reads of a hit: its title and headings, unless it holds them, and its text.

    Not the widened text: a reranker says how good the passage is that was found. Headings come as
    they do before what is embedded, but with the document's title, which helps: late interaction
    by itself over a dense search of Climate-FEVER has an nDCG@10 of 0.319 with it, 0.259 without.
    """
    text = searchable(hit.chunk.text)
    titles = [searchable(" ".join(title.split())) for title in (hit.title, *hit.chunk.heading)]
    return prefix([title for title in dict.fromkeys(titles) if title and title not in text]) + text


class PassageVectors:
    """Score by the cosine of the question's vector and the passage's, of any embedder.

    Vectors of passages are kept, `kept` of them, those that were wanted last.
    """

    def __init__(self, embedder: Embedder, kept: int = _KEPT) -> None:
        self._embedder = embedder
        self._kept = kept
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    def begin(self, question: str) -> Scorer:
        """The scorer of a question."""
        asked = self._embedder.embed_query(question)

        def score(passages: Sequence[str]) -> list[float]:
            return [float(asked @ vector) for vector in self._of(passages)]

        return score

    def _of(self, passages: Sequence[str]) -> list[Vectors]:
        with self._lock:
            found = {each: self._vectors[each] for each in passages if each in self._vectors}
        missing = [each for each in dict.fromkeys(passages) if each not in found]
        if missing:
            # A copy of each row: a view would keep all of its batch in memory.
            rows = self._embedder.embed_documents(missing)
            found.update((each, row.copy()) for each, row in zip(missing, rows, strict=True))
        with self._lock:
            for each, vector in found.items():
                self._vectors[each] = vector
                self._vectors.move_to_end(each)
            while len(self._vectors) > self._kept:
                self._vectors.popitem(last=False)
        return [found[each] for each in passages]


def late_interaction(embedder: Embedder) -> Begin:
    """Score by the sum over the question's tokens of the greatest cosine with a passage's token.

    Khattab & Zaharia, SIGIR 2020 (ColBERT), equation 3, over the vectors that a common embedder
    has for its tokens.

    Raises:
        ConfigError: if the embedder has no vectors of tokens.
    """
    if not isinstance(embedder, TokenEmbedder):
        raise ConfigError(
            f"{embedder.name} gives no vectors of tokens, which `late-interaction` compares: set "
            "another `retrieval.rerank`, or name one that does with `retrieval.rerank_model`"
        )

    def begin(question: str) -> Scorer:
        asked = embedder.embed_tokens([question])[0]

        def score(passages: Sequence[str]) -> list[float]:
            # A passage without a token (of control characters alone) is as far off as can be.
            return [
                float((asked @ tokens.T).max(axis=1, initial=-1.0).sum())
                for tokens in embedder.embed_tokens(passages)
            ]

        return score

    return begin


def likelihood(generator: LanguageModel) -> Begin:
    """Score by how likely the question is after a passage: the mean log p of its tokens.

    Sachan et al., EMNLP 2022 (unsupervised passage re-ranking).

    Raises:
        ConfigError: if the generator does not tell how likely a text is.
    """
    if not isinstance(generator, LikelihoodModel):
        raise ConfigError(
            f"{generator.name} does not tell how likely a question is, which `likelihood` goes by: "
            "set another `retrieval.rerank`, or another `generation.model`"
        )

    def begin(question: str) -> Scorer:
        # Loads the model, which is not to count as time for reading.
        generator.count_tokens([Message("user", question)])

        def score(passages: Sequence[str]) -> list[float]:
            return [
                generator.log_likelihood(_LIKELIHOOD_PROMPT.format(passage), f" {question}")
                for passage in passages
            ]

        return score

    return begin


class CrossEncoder:
    """A model that reads question and passage as one text, through sentence-transformers.

    CUDA or MPS where there is one, else the CPU, as `device` says (`auto`, `cpu`, `cuda`, `mps`).
    """

    def __init__(self, model: LocalModel, device: str = "auto") -> None:
        self._model = model
        self._device = device
        self._lock = threading.Lock()
        self._loaded: Any = None

    def begin(self, question: str) -> Scorer:
        """The scorer of a question.

        Raises:
            ModelError: if the model cannot be loaded, or gives other than one score for a pair.
            ConfigError: if there is no such device.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = self._open()
        model = self._loaded

        def score(passages: Sequence[str]) -> list[float]:
            pairs = [(question, passage) for passage in passages]
            scores = model.predict(pairs, batch_size=len(pairs), show_progress_bar=False)
            return [float(score) for score in scores]

        return score

    def _open(self) -> Any:
        import sentence_transformers

        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        device = chosen_device(self._device, "`embedding.device`")
        try:
            with without_progress_bars():
                loaded = sentence_transformers.CrossEncoder(
                    self._model.location, device=device, **hub_options(self._model)
                )
        # Broken files come back as errors of every kind.
        except Exception as error:
            raise self._unfit(first_line(error)) from error
        architectures = getattr(loaded.config, "architectures", None) or ["?"]
        if len(loaded) == 1 and not architectures[0].endswith("ForSequenceClassification"):
            # It would be given a head of random weights, and score at random.
            raise self._unfit(f"{architectures[0]} has no head that scores a pair of texts")
        if loaded.num_labels != 1:
            raise self._unfit(f"it gives {loaded.num_labels} scores for a passage, not one")
        return loaded

    def _unfit(self, reason: str) -> ModelError:
        return ModelError(f"{self._model.location}: is no cross-encoder that can be used: {reason}")


def _resolved(spec: str, progress: ProgressCallback | None) -> LocalModel:
    try:
        return resolve(spec, kind="reranker", progress=progress)
    except ModelError as error:
        raise ModelError(f"{error}, or one of {', '.join(_METHODS)}") from error


def _blended(scores: Sequence[float], before: Sequence[float], weight: float) -> list[float]:
    return [
        weight * new + (1 - weight) * old
        for new, old in zip(_scaled(scores), _scaled(before), strict=True)
    ]


def _scaled(scores: Sequence[float]) -> list[float]:
    """`scores` on a scale of 0 to 1; all 0 where they are all the same."""
    least, most = min(scores), max(scores)
    return [(score - least) / ((most - least) or 1.0) for score in scores]


def _shifted_below(lowest: Hit, hits: Sequence[Hit]) -> Iterator[Hit]:
    """`hits` in their order and ranked on, with scores that begin with that of `lowest`."""
    drops = accumulate((hit.score - hits[0].score for hit in hits), min)
    for rank, (hit, drop) in enumerate(zip(hits, drops, strict=True), start=lowest.rank + 1):
        yield replace(hit, score=lowest.score + drop, rank=rank)
