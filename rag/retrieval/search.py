"""One question on its way through the stages, over one state of the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rag.config import RetrievalConfig
from rag.errors import QuestionError
from rag.index import Passage, Snapshot
from rag.protocols import Embedder, LanguageModel
from rag.query import LexicalQuery, matching_words, parse_question
from rag.retrieval.diversity import collapse, diversify
from rag.retrieval.feedback import rm3, rocchio
from rag.retrieval.fusion import convex, rrf
from rag.retrieval.rewording import hyde, multi_query
from rag.retrieval.widening import merge, widen
from rag.stopwatch import Stopwatch
from rag.text.content import content_terms
from rag.text.normalization import searchable
from rag.types import Hit, Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.query.filters import Filter
    from rag.types import Vectors

    Ids = NDArray[np.int64]

# Chosen on Cranfield and XQuAD, confirmed on Climate-FEVER: docs/retrieval.md.
FEEDBACK_PASSAGES = 2
ROCCHIO_WEIGHT = 0.3
RM3_TERMS = 80
RM3_WEIGHT = 0.3

# So many passages more than are wanted are looked at, since some may be each other's duplicates.
_SPARE = 5

# So many candidates are scored again at least.
_SCORED_AGAIN = 50

Scores = dict[int, float]
"""Chunk ids with their scores, best first."""


class Search:
    """A question and what is known of its candidates so far; each method is a stage.

    `stages` are the rankings of each stage in turn, `clock` has their times.
    """

    def __init__(self, snapshot: Snapshot, embedder: Embedder, config: RetrievalConfig) -> None:
        self.asked = LexicalQuery((), (), (), (), "")
        self.related: dict[str, float] = {}
        self.wordings: tuple[str, ...] = ()
        self.loosened = False
        self.clock = Stopwatch()
        self.stages: dict[str, Scores] = {"dense": {}, "lexical": {}}
        self._snapshot = snapshot
        self._embedder = embedder
        self._config = config
        self._candidates = 0
        self._within: Ids | None = None
        self._vector: Vectors | None = None
        self._ranking: Scores = {}
        self._passages: dict[int, Passage] = {}
        self._vectors: dict[int, Vectors] = {}

    def ask(self, asked: LexicalQuery, count: int, wanted: Filter | None) -> None:
        """Take a question in, and for how many passages of those that pass the filter.

        Raises:
            QuestionError: if the question is longer than the embedder reads.
        """
        self.asked = asked
        self._candidates = count + _SPARE
        if self._config.mode == "hybrid" or set(self._config.expansion) - {"hyde"}:
            # What either side, or a first look, ranks low may be the best when all is said.
            self._candidates = max(self._config.candidates, self._candidates)
        with self.clock("filter"):
            if wanted is not None:
                self._within = self._snapshot.passing(wanted)
            if asked.phrases or asked.excluded:
                self._restrict()
        if self._config.mode != "lexical":
            with self.clock("embed"):
                self._vector = self._embedded(asked.text)

    def _restrict(self) -> None:
        """Leave what holds the phrases and nothing excluded.

        Prose quotes what stands nowhere else so. Where no passage holds the phrases, and more was
        asked for than them, they are words like others.
        """
        held = self._snapshot.holding(self.asked, self._within)
        quoted = {stem for phrase in self.asked.phrases for word in phrase for stem in word}
        only_quoted = all(not quoted.isdisjoint(word) for word in self.asked.words)
        if self.asked.phrases and not len(held) and not only_quoted:
            self.asked = replace(self.asked, phrases=())
            self.loosened = True
            held = self._snapshot.holding(self.asked, self._within)
        self._within = held

    def imagine(self, generator: LanguageModel) -> None:
        """Move the question's vector to the middle between it and a made-up answer's."""
        if self._vector is None:
            return
        with self.clock("hyde"):
            passage = hyde(self.asked.text, generator)
            if passage:
                vectors = self._embedder.embed_documents([searchable(passage)])
                self._vector = rocchio(self._vector, vectors, [1.0], weight=0.5)

    def rank(self) -> None:
        """Search, and fuse what the two sides found."""
        dense, lexical = self._searched(self.asked, self._vector)
        self._note("dense", dense)
        self._note("lexical", {each: score for each, score in lexical.items() if score > 0})
        self._ranking = self._fused(dense, lexical)
        if self._config.mode == "hybrid":
            self._note("fusion", self._ranking)

    def reword(self, generator: LanguageModel) -> None:
        """Ask in other words too, and fuse all rankings by ranks."""
        with self.clock("multi-query"):
            self.wordings = tuple(multi_query(self.asked.text, generator))
        rankings = [self._ranking]
        for wording in self.wordings:
            asked = parse_question(wording, self._snapshot.languages)
            asked = replace(asked, phrases=self.asked.phrases, excluded=self.asked.excluded)
            vector = None
            if self._vector is not None:
                with self.clock("embed"):
                    vector = self._embedded(asked.text)
            rankings.append(self._fused(*self._searched(asked, vector)))
        if self.wordings:
            self._ranking = rrf([list(ranking) for ranking in rankings])
            self._note("multi-query", self._ranking)

    def feed_back(self, count: int) -> None:
        """Score the best candidates again, by the question and what the first of them say.

        Of so many that the `count` best will be among them; the others are dropped.
        """
        wanted = set(self._config.expansion) & {"rm3", "rocchio"}
        again = list(self._ranking)[: max(_SCORED_AGAIN, 2 * (count + _SPARE))]
        best = again[:FEEDBACK_PASSAGES]
        if not wanted or not best:
            return
        with self.clock("feedback"):
            weights = [self._ranking[each] for each in best]
            dense, lexical = (
                {each: self.stages[side][each] for each in again if each in self.stages[side]}
                for side in ("dense", "lexical")
            )
            if "rocchio" in wanted and self._vector is not None:
                passages = self._stored_vectors(best)
                moved = rocchio(self._vector, passages, weights, weight=ROCCHIO_WEIGHT)
                dense = self._similarities(moved, again)
                self._note("rocchio", dense)
            if "rm3" in wanted and self._config.mode != "dense" and self.asked.words:
                self.related = self._related(best, weights)
                lexical = self._with_related(again, lexical)
                self._note("rm3", lexical)
            self._ranking = self._fused(_best_first(dense), _best_first(lexical))
            self._note("feedback", self._ranking)

    def hits(self, count: int) -> list[Hit]:
        """The `count` best passages so far, and a few more."""
        with self.clock("passages"):
            best = dict(list(self._ranking.items())[: count + _SPARE])
            self._look_up(list(best))
            places = {name: _ranks(scores) for name, scores in self.stages.items()}
            return [
                Hit(
                    chunk=self._passages[each].chunk,
                    score=score,
                    rank=rank,
                    source=self._passages[each].source,
                    title=self._passages[each].title,
                    trace=tuple(
                        Stage(name, places[name][each], scores[each])
                        for name, scores in self.stages.items()
                        if each in scores
                    ),
                )
                for rank, (each, score) in enumerate(best.items(), start=1)
            ]

    def shown(self, hits: list[Hit], k: int) -> list[Hit]:
        """The `k` hits that are shown: none twice, varied and widened as the settings say."""
        settings = self._config
        with self.clock("shown"):
            if settings.collapse:
                hits = collapse(hits, self._vectors_of(hits), settings.collapse)
            if settings.diversity:
                hits = diversify(hits, self._vectors_of(hits), settings.diversity, k)
            hits = hits[:k]
            if settings.context == "passage":
                return hits
            documents = self._snapshot.documents({hit.chunk.document_id for hit in hits})
            return merge(widen(hits, documents, settings.context), documents)

    def matched(self, hits: list[Hit]) -> list[Hit]:
        """The hits with the words that they were found by."""
        return [replace(hit, terms=self._terms(hit)) for hit in hits]

    def _embedded(self, text: str) -> Vectors:
        text = searchable(text)
        room = self._embedder.max_tokens - self._embedder.special_tokens
        # No tokenizer makes more tokens than bytes, but for one of its own before them.
        short = len(text.encode()) < room
        length = 0 if short else len(self._embedder.token_offsets(text))
        if length > room:
            raise QuestionError(
                f"the question has {length} tokens, {self._embedder.name} reads at most {room}: "
                "shorten it"
            )
        return self._embedder.embed_query(text)

    def _searched(self, asked: LexicalQuery, vector: Vectors | None) -> tuple[Scores, Scores]:
        """Dense and lexical scores of all that either side finds."""
        count = self._candidates
        dense, lexical = {}, {}
        if vector is not None:
            with self.clock("dense"):
                dense = dict(self._snapshot.nearest(vector, count, self._within))
        if self._config.mode != "dense":
            with self.clock("lexical"):
                lexical = dict(self._snapshot.matching(asked, count, self._within))
        if self._config.mode != "hybrid" or vector is None:
            return dense, lexical
        # Each side is asked for what only the other one found.
        with self.clock("dense"):
            missing = [each for each in lexical if each not in dense]
            found_dense = {**dense, **self._similarities(vector, missing)}
        with self.clock("lexical"):
            missing = [each for each in dense if each not in lexical]
            found_lexical = {**lexical, **self._matches(asked, missing)}
        return _best_first(found_dense), _best_first(found_lexical)

    def _fused(self, dense: Scores, lexical: Scores) -> Scores:
        if self._config.mode == "dense":
            return dense
        if self._config.mode == "lexical":
            return lexical
        with self.clock("fusion"):
            if self._config.fusion == "rrf":
                return rrf([list(dense), list(lexical)])
            return convex(dense, lexical, weight=self._config.dense_weight)

    def _similarities(self, vector: Vectors, candidates: Sequence[int]) -> Scores:
        stored = self._stored_vectors(candidates)
        return _best_first(dict(zip(candidates, (stored @ vector).tolist(), strict=True)))

    def _matches(
        self,
        asked: LexicalQuery,
        candidates: Sequence[int],
        related: Mapping[str, float] | None = None,
    ) -> Scores:
        import numpy as np

        within = np.sort(np.array(candidates, dtype=np.int64))
        return dict(self._snapshot.matching(asked, len(candidates), within, related))

    def _with_related(self, candidates: Sequence[int], lexical: Scores) -> Scores:
        """Their scores by the question's words and the related ones.

        BM25 is a sum over words: those of the question are counted already.
        """
        nothing = LexicalQuery((), (), (), (), "")
        added = self._matches(nothing, candidates, self.related)
        both = dict.fromkeys((*lexical, *added))
        return _best_first({e: lexical.get(e, 0.0) + added.get(e, 0.0) for e in both})

    def _related(self, best: Sequence[int], weights: Sequence[float]) -> dict[str, float]:
        """Words of the best passages with their weights, where one of the question weighs 1."""
        self._look_up(best)
        counted = [
            (Counter(content_terms(passage.whole, passage.language)), weight)
            for passage, weight in zip((self._passages[e] for e in best), weights, strict=True)
        ]
        found = rm3({}, counted, terms=RM3_TERMS, weight=1.0)
        scale = len(self.asked.words) * RM3_WEIGHT / (1 - RM3_WEIGHT)
        return {term: weight * scale for term, weight in found.items()}

    def _terms(self, hit: Hit) -> tuple[str, ...]:
        language = self._passages[hit.chunk.id].language
        return matching_words(hit.chunk.text, self.asked, language)

    def _vectors_of(self, hits: Sequence[Hit]) -> Vectors:
        return self._stored_vectors([hit.chunk.id for hit in hits])

    def _stored_vectors(self, ids: Sequence[int]) -> Vectors:
        import numpy as np

        missing = [each for each in ids if each not in self._vectors]
        if missing:
            self._vectors.update(zip(missing, self._snapshot.vectors(missing), strict=True))
        rows = [self._vectors[each] for each in ids]
        return np.array(rows, dtype=np.float32).reshape(len(ids), self._snapshot.manifest.dim)

    def _look_up(self, ids: Sequence[int]) -> None:
        missing = [each for each in ids if each not in self._passages]
        if missing:
            self._passages.update(self._snapshot.passages(missing))

    def _note(self, stage: str, scores: Scores) -> None:
        if scores:
            self.stages[stage] = scores


def _best_first(scores: Scores) -> Scores:
    return dict(sorted(scores.items(), key=lambda pair: (-pair[1], pair[0])))


def _ranks(scores: Scores) -> dict[int, int]:
    return {each: rank for rank, each in enumerate(scores, start=1)}
