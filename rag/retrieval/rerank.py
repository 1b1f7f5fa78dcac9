"""question, hits -> hits in a new order, by models that read each passage with the question."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from rag.config import Config
from rag.errors import ConfigError, ModelError
from rag.models import LocalModel, check_finite, resolve
from rag.models.checkpoints import check_pair_head, unusable
from rag.models.sentence_models import open_cross_encoder
from rag.once import once
from rag.plugins import plugin
from rag.protocols import Embedder, LanguageModel, LikelihoodModel, Reranker, TokenEmbedder
from rag.text.normalization import prefix, searchable
from rag.types import Hit, Message, ProgressCallback, Stage

if TYPE_CHECKING:
    from rag.types import Vectors

Scorer = Callable[[Sequence[str]], Sequence[float]]
"""Passages -> a score for how well each suits one question; higher is better."""

Begin = Callable[[str], Scorer]
"""Question -> its scorer, with everything loaded that it needs."""

_KIND = "a cross-encoder"
_BATCH = 8
# The weight of a small model's score against the score that the passage came with, which knows
# other things. The small model alone makes the order of a hybrid search worse: on Cranfield, XQuAD
# and Climate-FEVER nDCG@10 goes from 0.568, 0.976 and 0.494 to 0.525, 0.982 and 0.435 with late
# interaction, and with this weight to 0.565, 0.982 and 0.515.
_WEIGHT = 0.25
# Cached vectors of passages: about 30 MB with the texts.
_CACHE_SIZE = 10_000
_METHODS = ("none", "embedder", "late-interaction", "likelihood")
_LIKELIHOOD_PROMPT = "Passage: {}. Please write a question based on this passage."


def load_reranker(
    config: Config,
    embedder: Embedder,
    generator: Callable[[], LanguageModel],
    progress: ProgressCallback | None = None,
) -> Reranker | None:
    """Return the reranker that `config.retrieval.rerank` names; it loads weights at first use.

    The name is `none`, `embedder` or `late-interaction` (both use `embedder`, which need not be the
    index's), `likelihood` (which alone calls `generator`), a name of the entry-point group
    `rag.rerankers`, or a cross-encoder: a model directory, or a hub name with an optional
    `@revision`. A cross-encoder runs on `config.embedding.device`, and its scores alone count.

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
        # In a dense search its cosine replaces another cosine; in other searches words count too.
        # Weights of 0.25 to 0.75 change nDCG@10 by 0.01: docs/static.md.
        weight = 1.0 if config.retrieval.mode == "dense" else config.retrieval.dense_weight
        ready = ScoringReranker(spec, PassageVectors(embedder).begin, weight=weight)
    elif spec == "late-interaction":
        ready = ScoringReranker(spec, late_interaction(embedder), weight=_WEIGHT)
    elif spec == "likelihood":
        ready = ScoringReranker(spec, likelihood(generator()), weight=_WEIGHT, batch_size=1)
    else:
        model = _resolve(spec, progress)
        ready = ScoringReranker(model.name, CrossEncoder(model, config.embedding.device).begin)
    depth, budget = config.retrieval.rerank_depth, config.retrieval.rerank_budget_ms
    return replace(ready, depth=depth, budget_ms=budget)


@dataclass(frozen=True, slots=True)
class ScoringReranker:
    """A Reranker made of a way to score passages.

    `begin(question)` loads what it needs and returns the scorer of that question. The scorer reads
    the `depth` best hits, `batch_size` at a time, for `budget_ms` milliseconds (0: until all are
    read): it always reads the first batch, and another one if the pace so far leaves enough time.
    Loading the model and reading the question do not count.

    With a `weight` below 1 a hit keeps a part of the score it came with: the result is `weight`
    times the scorer's score plus 1 - `weight` times the former one, each scaled to 0 to 1 over the
    hits read.
    """

    name: str
    begin: Begin
    depth: int = 30
    budget_ms: float = 0
    weight: float = 1.0
    batch_size: int = _BATCH

    def rerank(self, question: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        """Return the `k` best, best first; hits with the same score keep their order.

        Hits that were read have their new score, and one more stage in their trace. The others
        follow in the order they came in. Their scores are shifted as a whole, so that the first of
        them has the lowest score above it: scores never grow from one hit to the next.

        Raises:
            ModelError: if the scorer cannot be loaded, or gives NaN or an infinite score.
        """
        if not hits:
            return []
        scorer = self.begin(searchable(question))
        scores = self._scores(scorer, [passage_text(hit) for hit in hits[: self.depth]])
        if self.weight < 1:
            before = [hit.score for hit in hits[: len(scores)]]
            scores = _blend(scores, before, self.weight)
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
        return [*read, *_shift_below(read[-1], hits[len(read) :])][:k]

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
        check_finite(scores, f"{self.name} gave scores")
        return scores


def passage_text(hit: Hit) -> str:
    """Return what a reranker reads of a hit: title and headings that it lacks, and its own text.

    The widened text is left out: a reranker judges the passage that was found. Headings come as
    they do before what is embedded, but with the document's title, which helps: late interaction
    by itself over a dense search of Climate-FEVER has an nDCG@10 of 0.319 with it, 0.259 without.
    """
    text = searchable(hit.chunk.text)
    titles = [searchable(" ".join(title.split())) for title in (hit.title, *hit.chunk.heading)]
    return prefix([title for title in dict.fromkeys(titles) if title and title not in text]) + text


class PassageVectors:
    """A scorer by the cosine of the question's and the passage's vectors, of any embedder.

    It caches the vectors of the `cache_size` passages that were used last.
    """

    def __init__(self, embedder: Embedder, cache_size: int = _CACHE_SIZE) -> None:
        self._embedder = embedder
        self._cache_size = cache_size
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    def begin(self, question: str) -> Scorer:
        """Return the scorer of a question."""
        query = self._embedder.embed_query(question)

        def score(passages: Sequence[str]) -> list[float]:
            return [float(query @ vector) for vector in self._of(passages)]

        return score

    def _of(self, passages: Sequence[str]) -> list[Vectors]:
        with self._lock:
            found = {each: self._vectors[each] for each in passages if each in self._vectors}
        missing = [each for each in dict.fromkeys(passages) if each not in found]
        if missing:
            # Rows are copied, since a view would keep all of its batch in memory.
            rows = self._embedder.embed_documents(missing)
            found.update((each, row.copy()) for each, row in zip(missing, rows, strict=True))
        with self._lock:
            for each, vector in found.items():
                self._vectors[each] = vector
                self._vectors.move_to_end(each)
            while len(self._vectors) > self._cache_size:
                self._vectors.popitem(last=False)
        return [found[each] for each in passages]


def late_interaction(embedder: Embedder) -> Begin:
    """Score by the sum over the question's tokens of the greatest cosine with a passage's token.

    Khattab & Zaharia, SIGIR 2020 (ColBERT), equation 3, over an ordinary embedder's vectors of
    tokens.

    Raises:
        ConfigError: if the embedder has no vectors of tokens.
    """
    if not isinstance(embedder, TokenEmbedder):
        raise ConfigError(
            f"{embedder.name} gives no vectors of tokens, which `late-interaction` compares: set "
            "another `retrieval.rerank`, or name one that does with `retrieval.rerank_model`"
        )

    def begin(question: str) -> Scorer:
        query = embedder.embed_tokens([question])[0]

        def score(passages: Sequence[str]) -> list[float]:
            # A passage without a token (of control characters alone) gets the least cosine.
            return [
                float((query @ tokens.T).max(axis=1, initial=-1.0).sum())
                for tokens in embedder.embed_tokens(passages)
            ]

        return score

    return begin


def likelihood(generator: LanguageModel) -> Begin:
    """Score by how likely the question is after a passage: the mean log p of its tokens.

    Sachan et al., EMNLP 2022 (unsupervised passage re-ranking).

    Raises:
        ConfigError: if the generator has no `log_likelihood`.
    """
    if not isinstance(generator, LikelihoodModel):
        raise ConfigError(
            f"{generator.name} does not tell how likely a question is, which `likelihood` goes by: "
            "set another `retrieval.rerank`, or another `generation.model`"
        )

    def begin(question: str) -> Scorer:
        # This loads the model, which must not count as time for reading.
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

    `device` is `auto` (CUDA or MPS if there is one, else the CPU), `cpu`, `cuda` or `mps`.
    """

    def __init__(self, model: LocalModel, device: str = "auto") -> None:
        self._model = model
        self._device = device
        self._lock = threading.Lock()

    def begin(self, question: str) -> Scorer:
        """Return the scorer of a question, with the model loaded.

        Raises:
            ModelError: if the model cannot be loaded, or gives other than one score for a pair.
            ConfigError: if there is no such device.
        """
        model = self._encoder

        def score(passages: Sequence[str]) -> list[float]:
            pairs = [(question, passage) for passage in passages]
            scores = model.predict(pairs, batch_size=len(pairs), show_progress_bar=False)
            return [float(score) for score in scores]

        return score

    @once
    def _encoder(self) -> Any:
        model = open_cross_encoder(self._model, device=self._device)
        if len(model) == 1:
            check_pair_head(self._model, model.config, _KIND)
        if model.num_labels != 1:
            reason = f"it gives {model.num_labels} scores for a passage, not one"
            raise unusable(self._model, _KIND, reason)
        return model


def _resolve(spec: str, progress: ProgressCallback | None) -> LocalModel:
    try:
        return resolve(spec, kind="reranker", progress=progress)
    except ModelError as error:
        raise ModelError(f"{error}, or one of {', '.join(_METHODS)}") from error


def _blend(scores: Sequence[float], before: Sequence[float], weight: float) -> list[float]:
    return [
        weight * new + (1 - weight) * old
        for new, old in zip(_scale(scores), _scale(before), strict=True)
    ]


def _scale(scores: Sequence[float]) -> list[float]:
    """Map scores to a scale of 0 to 1; all to 0 if they are all the same."""
    least, most = min(scores), max(scores)
    return [(score - least) / ((most - least) or 1.0) for score in scores]


def _shift_below(lowest: Hit, hits: Sequence[Hit]) -> Iterator[Hit]:
    """Rank `hits` on after `lowest`, in their order, with scores that begin with its score."""
    drops = accumulate((hit.score - hits[0].score for hit in hits), min)
    for rank, (hit, drop) in enumerate(zip(hits, drops, strict=True), start=lowest.rank + 1):
        yield replace(hit, score=lowest.score + drop, rank=rank)
