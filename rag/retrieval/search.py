"""Take one question through the stages of a search, over one snapshot of the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rag.config import RetrievalConfig
from rag.errors import QuestionError, StoreError
from rag.index import Passage, Snapshot
from rag.protocols import Embedder, LanguageModel
from rag.query import LexicalQuery, matching_spans, parse_question, words_at
from rag.retrieval.diversity import collapse, diversify
from rag.retrieval.feedback import rm3, rocchio
from rag.retrieval.fusion import convex, rrf
from rag.retrieval.renditions import fold_renditions
from rag.retrieval.rewording import hyde, multi_query
from rag.retrieval.widening import merge, widen
from rag.stopwatch import Stopwatch
from rag.text.normalization import searchable
from rag.text.terms import content_terms
from rag.types import Hit, Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.query.filters import Filter
    from rag.types import Vectors

    Ids = NDArray[np.int64]

# Chosen on Cranfield and XQuAD and confirmed on Climate-FEVER: see docs/retrieval.md.
FEEDBACK_PASSAGES = 2
ROCCHIO_WEIGHT = 0.3
RM3_TERMS = 80
RM3_WEIGHT = 0.3

# So many more passages than asked for are looked at, since some may be duplicates.
_SPARE = 5

# Feedback scores at least so many candidates again.
_SCORED_AGAIN = 50

Scores = dict[int, float]
"""Scores by chunk id, best first."""


class Search:
    """A question and what is known of its candidates so far; each public method is a stage.

    `stages` has the ranking of each stage in order, `clock` their times.
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
        """Take in a question, how many passages it asks for, and the filter that they must pass.

        Raises:
            QuestionError: if the question is longer than the embedder reads.
        """
        self.asked = asked
        self._candidates = count + _SPARE
        if self._config.mode == "hybrid" or set(self._config.expansion) - {"hyde"}:
            # A passage that one side, or the first search, ranks low may be the best in the end.
            self._candidates = max(self._config.candidates, self._candidates)
        with self.clock("filter"):
            if wanted is not None:
                self._within = self._snapshot.passing(wanted)
            if asked.phrases or asked.excluded:
                self._restrict()
        if self._config.mode != "lexical":
            with self.clock("embed"):
                self._vector = self._embed(asked.text)

    def _restrict(self) -> None:
        """Restrict the search to passages that hold the phrases and nothing excluded.

        Prose may quote what stands nowhere else. Where no passage holds the phrases, and the
        question has other words too, the phrases count as words like others.
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
        """Move the question's vector half-way to that of an answer the generator makes up."""
        if self._vector is None:
            return
        with self.clock("hyde"):
            passage = hyde(self.asked.text, generator)
            if passage:
                vectors = self._embedder.embed_documents([searchable(passage)])
                self._vector = rocchio(self._vector, vectors, [1.0], weight=0.5)

    def rank(self) -> None:
        """Search by meaning and by words, and fuse what both found."""
        dense, lexical = self._search(self.asked, self._vector)
        self._note("dense", dense)
        self._note("lexical", {each: score for each, score in lexical.items() if score > 0})
        self._ranking = self._fuse(dense, lexical)
        if self._config.mode == "hybrid":
            self._note("fusion", self._ranking)

    def reword(self, generator: LanguageModel) -> None:
        """Search for other wordings of the question, too, and fuse all rankings by ranks."""
        with self.clock("multi-query"):
            self.wordings = tuple(multi_query(self.asked.text, generator))
        rankings = [self._ranking]
        for wording in self.wordings:
            asked = parse_question(wording, self._snapshot.languages)
            asked = replace(asked, phrases=self.asked.phrases, excluded=self.asked.excluded)
            vector = None
            if self._vector is not None:
                with self.clock("embed"):
                    vector = self._embed(asked.text)
            rankings.append(self._fuse(*self._search(asked, vector)))
        if self.wordings:
            self._ranking = rrf([list(ranking) for ranking in rankings])
            self._note("multi-query", self._ranking)

    def feed_back(self, count: int) -> None:
        """Score the best candidates again by the question and what the first of them say.

        They are so many that the `count` best will be among them; the others are dropped.
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
                self.related = self._find_related(best, weights)
                lexical = self._add_related(again, lexical)
                self._note("rm3", lexical)
            self._ranking = self._fuse(_best_first(dense), _best_first(lexical))
            self._note("feedback", self._ranking)

    def hits(self, count: int) -> list[Hit]:
        """Return the `count` best passages so far, and a few more."""
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

    def select(self, hits: list[Hit], k: int) -> list[Hit]:
        """Return the `k` hits to show: without copies, varied and widened as the settings say."""
        settings = self._config
        with self.clock("shown"):
            if settings.collapse:
                hits = collapse(hits, self._vectors_of(hits), settings.collapse)
                vectors = self._vectors_of(hits)
                hits = fold_renditions(hits, vectors, settings.prefer, self._snapshot.documents)
            if settings.diversity:
                hits = diversify(hits, self._vectors_of(hits), settings.diversity, k)
            hits = hits[:k]
            if settings.context == "passage":
                return hits
            documents = self._snapshot.documents({hit.chunk.document_id for hit in hits})
            return merge(widen(hits, documents, settings.context), documents)

    def with_matches(self, hits: list[Hit]) -> list[Hit]:
        """Return the hits with what the question matches in them: the spans, and the words."""
        return [self._with_matches(hit) for hit in hits]

    def _with_matches(self, hit: Hit) -> Hit:
        language = self._passages[hit.chunk.id].language
        matches = matching_spans(hit.text, self.asked, language)
        own = (
            matches if hit.widened is None else matching_spans(hit.chunk.text, self.asked, language)
        )
        return replace(hit, matches=matches, terms=words_at(hit.chunk.text, own))

    def _embed(self, text: str) -> Vectors:
        text = searchable(text)
        room = self._embedder.max_tokens - self._embedder.special_tokens
        # No tokenizer makes more tokens than bytes, except for one that it may put first.
        short = len(text.encode()) < room
        length = 0 if short else len(self._embedder.token_offsets(text))
        if length > room:
            raise QuestionError(
                f"the question has {length} tokens, {self._embedder.name} reads at most {room}: "
                "shorten it"
            )
        return self._embedder.embed_query(text)

    def _search(self, asked: LexicalQuery, vector: Vectors | None) -> tuple[Scores, Scores]:
        """Return the dense and the lexical scores of all that either side finds."""
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
        # Each side scores what only the other one found.
        with self.clock("dense"):
            missing = [each for each in lexical if each not in dense]
            found_dense = {**dense, **self._similarities(vector, missing)}
        with self.clock("lexical"):
            missing = [each for each in dense if each not in lexical]
            found_lexical = {**lexical, **self._matches(asked, missing)}
        return _best_first(found_dense), _best_first(found_lexical)

    def _fuse(self, dense: Scores, lexical: Scores) -> Scores:
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

    def _add_related(self, candidates: Sequence[int], lexical: Scores) -> Scores:
        """Return the lexical scores of the candidates by the question's words and the related ones.

        BM25 is a sum over words, and the question's words are in `lexical` already.
        """
        nothing = LexicalQuery((), (), (), (), "")
        added = self._matches(nothing, candidates, self.related)
        both = dict.fromkeys((*lexical, *added))
        return _best_first({e: lexical.get(e, 0.0) + added.get(e, 0.0) for e in both})

    def _find_related(self, best: Sequence[int], weights: Sequence[float]) -> dict[str, float]:
        """Return words of the best passages with weights, where a word of the question weighs 1."""
        self._look_up(best)
        counted = [
            (Counter(content_terms(passage.whole, passage.language)), weight)
            for passage, weight in zip((self._passages[e] for e in best), weights, strict=True)
        ]
        found = rm3({}, counted, terms=RM3_TERMS, weight=1.0)
        scale = len(self.asked.words) * RM3_WEIGHT / (1 - RM3_WEIGHT)
        return {term: weight * scale for term, weight in found.items()}

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
        if any(each not in self._passages for each in missing):
            raise StoreError(
                f"{self._snapshot.directory}: its caches name passages that it does not hold: run "
                "`rag doctor --repair`"
            )

    def _note(self, stage: str, scores: Scores) -> None:
        if scores:
            self.stages[stage] = scores


def _best_first(scores: Scores) -> Scores:
    return dict(sorted(scores.items(), key=lambda pair: (-pair[1], pair[0])))


def _ranks(scores: Scores) -> dict[int, int]:
    return {each: rank for rank, each in enumerate(scores, start=1)}
