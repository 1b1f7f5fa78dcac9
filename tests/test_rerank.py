"""Reranking against the models asked directly, a brute-force MaxSim, and a clock."""

from __future__ import annotations

import http.server
import json
import math
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import (
    QUESTION,
    TEXTS,
    break_config,
    break_weights,
    cut_weights,
    empty_folder,
    lose_weights,
    make_hits,
    no_generator,
    train_tokenizer,
    widen_config,
)
from hypothesis import given
from hypothesis import strategies as st
from making import make_cross_encoder

from rag import (
    ConfigError,
    GenerationError,
    LanguageModel,
    ModelError,
    Reranker,
)
from rag.config import Config, EmbeddingConfig, GenerationConfig, RetrievalConfig
from rag.embedding import load_embedder
from rag.generation import from_callable, load_generator
from rag.models import resolve
from rag.protocols import Embedder, LikelihoodModel, TokenEmbedder
from rag.retrieval.rerank import (
    ScoringReranker,
    late_interaction,
    likelihood,
    load_reranker,
    passage_text,
)
from rag.types import Chunk, Hit, Stage, Widened


def load(embedder: Embedder, rerank: str, generator: Any = no_generator, **settings: Any) -> Any:
    config = Config(
        embedding=EmbeddingConfig(device="cpu"),
        retrieval=RetrievalConfig(rerank=rerank, **settings),
    )
    return load_reranker(config, embedder, generator)


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("models") / "tiny-cross-encoder")


class Clock:
    """Time that passes when the test says so: a busy machine must not fail it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("rag.retrieval.rerank.time.perf_counter", clock)
    return clock


def score_with(
    scores: Sequence[float], takes: Callable[[int], None] = lambda _: None, **settings: Any
) -> ScoringReranker:
    """A scorer that gives these scores in turn; `takes` is told the size of each batch."""

    def begin(_: str) -> Any:
        left = iter(scores)

        def score(passages: Sequence[str]) -> list[float]:
            takes(len(passages))
            return [next(left) for _ in passages]

        return score

    return ScoringReranker("given", begin, **settings)


def test_none_is_none_and_asks_for_nothing(embedder: Embedder) -> None:
    assert load(embedder, "none") is None


def test_the_best_come_first_with_their_place_in_the_trace() -> None:
    hits = make_hits(["a", "b", "c"])
    found = score_with([1.0, 3.0, 2.0]).rerank("q", hits, 2)
    assert [(hit.chunk.text, hit.rank, hit.score) for hit in found] == [
        ("b", 1, 3.0),
        ("c", 2, 2.0),
    ]
    assert found[0].trace == (*hits[1].trace, Stage("given", 1, 3.0))
    assert isinstance(score_with([]), Reranker)
    assert score_with([]).rerank("q", [], 3) == []


def test_what_is_below_the_depth_keeps_its_order_and_trace() -> None:
    hits = make_hits(["a", "b", "c", "d"], [0.9, 0.8, 0.7, 0.4])
    found = score_with([-2.0, 5.0], depth=2).rerank("q", hits, 4)
    assert [hit.chunk.text for hit in found] == ["b", "a", "c", "d"]
    # 0.7 is moved to the lowest score above, -2, and 0.4 along with it.
    assert [hit.score for hit in found] == pytest.approx([5.0, -2.0, -2.0, -2.3])
    assert [hit.rank for hit in found] == [1, 2, 3, 4]
    assert [len(hit.trace) for hit in found] == [2, 2, 1, 1]


def test_a_weight_leaves_a_part_of_the_score_before() -> None:
    hits = make_hits(["a", "b", "c", "d"], [0.8, 0.6, 0.4, 0.3])
    found = score_with([10.0, 30.0, 20.0], depth=3, weight=0.75).rerank("q", hits, 4)
    # Scaled, the new scores are 0, 1, 0.5 and the old ones 1, 0.5, 0.
    assert [hit.chunk.text for hit in found] == ["b", "c", "a", "d"]
    expected = [0.75 + 0.125, 0.375, 0.25, 0.25]
    assert [hit.score for hit in found] == pytest.approx(expected)
    assert found[1].trace[-1] == Stage("given", 2, pytest.approx(0.375))
    same = score_with([7.0, 7.0], weight=0.5).rerank("q", make_hits(["a", "b"], [0.5, 0.5]), 2)
    assert [(hit.chunk.text, hit.score) for hit in same] == [("a", 0.0), ("b", 0.0)]


@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 1.0, -3.25]), min_size=1, max_size=12),
    before=st.lists(st.floats(-5, 5), min_size=12, max_size=12),
    depth=st.integers(1, 14),
    k=st.integers(1, 14),
    batch_size=st.integers(1, 5),
)
def test_the_order_is_that_of_a_stable_sort(
    scores: list[float], before: list[float], depth: int, k: int, batch_size: int
) -> None:
    size = len(scores)
    hits = make_hits([str(at) for at in range(size)], before[:size])
    found = score_with(scores, depth=depth, batch_size=batch_size).rerank("q", hits, k)
    expected = sorted(range(size)[:depth], key=lambda at: (-scores[at], at))
    expected += range(depth, size)
    assert [int(hit.chunk.text) for hit in found] == expected[:k]
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
    shown = [hit.score for hit in found]
    assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize(
    ("budget_ms", "read"),
    # A passage takes 20 ms: the second batch ends at 80 ms, the third at 120.
    [(121, 6), (119, 4), (81, 4), (79, 2), (1, 2), (0, 6)],
)
def test_it_stops_before_the_batch_that_does_not_fit(
    clock: Clock, budget_ms: int, read: int
) -> None:
    def slowly(passages: int) -> None:
        clock.now += 0.02 * passages

    scores = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    slow = score_with(scores, slowly, budget_ms=budget_ms, batch_size=2)
    found = slow.rerank("q", make_hits(list("abcdef")), 6)
    order = "abcdef"[:read][::-1] + "abcdef"[read:]
    assert "".join(hit.chunk.text for hit in found) == order
    assert sum(hit.trace[-1].name == "given" for hit in found) == read


def test_the_last_batch_counts_as_small_as_it_is(clock: Clock) -> None:
    def slowly(passages: int) -> None:
        clock.now += 0.02 * passages

    slow = score_with([1.0, 2.0, 3.0], slowly, budget_ms=61, batch_size=2)
    found = slow.rerank("q", make_hits(list("abc")), 3)
    assert [hit.chunk.text for hit in found] == list("cba")


def test_loading_does_not_count_as_reading(clock: Clock) -> None:
    fast = score_with([1.0, 2.0, 3.0, 4.0])

    def begin(question: str) -> Any:
        clock.now += 60
        return fast.begin(question)

    slow_to_load = ScoringReranker("given", begin, budget_ms=1, batch_size=1)
    found = slow_to_load.rerank("q", make_hits(list("abcd")), 4)
    assert [hit.chunk.text for hit in found] == list("dcba")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_told(bad: float) -> None:
    with pytest.raises(ModelError, match="gave scores with NaN or infinite"):
        score_with([1.0, bad]).rerank("q", make_hits(["a", "b"]), 2)


def test_a_passage_is_read_under_the_titles_that_it_lacks() -> None:
    (hit,) = make_hits(["## Lamp\n\nIt burns oil."])
    chunk = Chunk(1, "d", hit.chunk.text, 0, 10, 0, heading=("Lighthouses", "Stone Point", "Lamp"))
    titled = Hit(chunk, 0.5, 1, "d.md", "Lighthouses", widened=Widened("much more", 0, 9))
    assert passage_text(titled) == "Lighthouses\nStone Point\n\n## Lamp\n\nIt burns oil."
    assert passage_text(hit) == hit.chunk.text


def test_a_cross_encoder_orders_as_it_scores(embedder: Embedder, cross_encoder: Path) -> None:
    from sentence_transformers import CrossEncoder

    found = load(embedder, str(cross_encoder)).rerank(QUESTION, make_hits(TEXTS), 5)
    direct = CrossEncoder(str(cross_encoder), device="cpu", local_files_only=True)
    scores = [float(direct.predict([(QUESTION, text)])[0]) for text in TEXTS]
    assert len(set(scores)) == len(scores)
    assert [hit.chunk.text for hit in found] == [
        text for _, text in sorted(zip(scores, TEXTS, strict=True), reverse=True)
    ]
    assert [hit.score for hit in found] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
    assert found[0].trace[-1].name == "tiny-cross-encoder"


def test_a_cross_encoder_that_counts_one_word(embedder: Embedder, tmp_path: Path) -> None:
    """A model without layers, whose score is worked out by hand.

    The head reads the first token, [CLS], which is the same for every text: all scores are equal,
    and the hits keep their order.
    """
    import torch
    from transformers import BertForSequenceClassification

    folder = make_cross_encoder(tmp_path / "flat")
    model = BertForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.fill_(math.log(3))
    model.save_pretrained(folder)
    found = load(embedder, str(folder)).rerank(QUESTION, make_hits(TEXTS), 5)
    assert [hit.chunk.text for hit in found] == list(TEXTS)
    # A single score goes through a sigmoid: 1 / (1 + e^-ln 3) = 3/4.
    assert [hit.score for hit in found] == pytest.approx([0.75] * 5)


@pytest.mark.parametrize(
    "spoil",
    [break_weights, cut_weights, lose_weights, break_config, widen_config, empty_folder],
)
def test_a_broken_model_is_named_in_one_line(
    embedder: Embedder, cross_encoder: Path, tmp_path: Path, spoil: Any
) -> None:
    folder = Path(shutil.copytree(cross_encoder, tmp_path / "broken"))
    spoil(folder)
    with pytest.raises(ModelError, match="broken: cannot be loaded as a cross-encoder") as caught:
        load(embedder, str(folder)).rerank(QUESTION, make_hits(TEXTS), 5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"labels": 3}, "it gives 3 scores for a passage, not one"),
        ({"head": False}, "BertModel has no head that judges a pair of texts"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    embedder: Embedder, tmp_path: Path, shape: dict[str, Any], message: str
) -> None:
    reranker = load(embedder, str(make_cross_encoder(tmp_path, **shape)))
    with pytest.raises(ModelError, match=message):
        reranker.rerank(QUESTION, make_hits(TEXTS), 5)


def test_an_embedder_is_no_reranker(embedder: Embedder) -> None:
    folder = resolve("all-minilm-l6-v2", kind="embedder").location
    with pytest.raises(ModelError, match="has no head that judges a pair of texts"):
        load(embedder, folder).rerank(QUESTION, make_hits(TEXTS), 5)
    with pytest.raises(ModelError, match="is an embedder, not a reranker"):
        load(embedder, "all-minilm-l6-v2")


def test_an_unknown_name_says_what_is_known(embedder: Embedder) -> None:
    with pytest.raises(ModelError, match="likelyhood: no such reranker") as caught:
        load(embedder, "likelyhood")
    assert "late-interaction, likelihood" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_device_is_a_setting(embedder: Embedder, cross_encoder: Path) -> None:
    config = Config(
        embedding=EmbeddingConfig(device="nonsense"),
        retrieval=RetrievalConfig(rerank=str(cross_encoder)),
    )
    reranker = load_reranker(config, embedder, no_generator)
    assert reranker is not None
    with pytest.raises(ConfigError, match=r"`embedding\.device` nonsense"):
        reranker.rerank(QUESTION, make_hits(TEXTS), 5)


def test_a_reranker_of_an_entry_point(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("by-length", f"{__name__}:by_length", "rag.rerankers")

    monkeypatch.setattr("rag.plugins.plugins", lambda group: {entry.name: entry})
    found = load(embedder, "by-length", rerank_depth=4).rerank("q", make_hits(TEXTS), 5)
    assert [hit.chunk.text for hit in found[:4]] == sorted(TEXTS[:4], key=len, reverse=True)


def by_length(config: Config) -> Reranker:
    return ScoringReranker(
        "by-length", lambda _: lambda texts: [len(t) for t in texts], config.retrieval.rerank_depth
    )


@pytest.mark.slow
def test_token_vectors_are_those_of_the_last_layer() -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = resolve("all-minilm-l6-v2", kind="embedder").location
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    texts = [*TEXTS, "漢字 🙂", ""]
    embedder = load_embedder(EmbeddingConfig(precision="float32"))
    assert isinstance(embedder, TokenEmbedder)
    for text, vectors in zip(texts, embedder.embed_tokens(texts), strict=True):
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
        expected = states.numpy() / np.linalg.norm(states.numpy(), axis=1, keepdims=True)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(embedder.token_offsets(text)), embedder.dim)
        np.testing.assert_allclose(vectors, expected, atol=1e-4)


def test_token_vectors_of_what_is_too_long_end_at_the_window(embedder: Embedder) -> None:
    assert isinstance(embedder, TokenEmbedder)
    (vectors,) = embedder.embed_tokens(["word " * 400])
    assert len(vectors) == embedder.max_tokens - embedder.special_tokens


def maximal_similarity(embedder: Embedder, question: str, passage: str) -> float:
    """The sum of the best cosines, pair by pair."""
    assert isinstance(embedder, TokenEmbedder)
    asked, tokens = embedder.embed_tokens([question, passage])
    return sum(
        max(sum(float(a) * float(b) for a, b in zip(q, p, strict=True)) for p in tokens)
        for q in asked
    )


def scaled(scores: Sequence[float]) -> list[float]:
    return [(score - min(scores)) / (max(scores) - min(scores)) for score in scores]


def test_late_interaction_is_the_sum_of_the_best_cosines(embedder: Embedder) -> None:
    scores = [maximal_similarity(embedder, QUESTION, text) for text in TEXTS]
    assert late_interaction(embedder)(QUESTION)(TEXTS) == pytest.approx(scores, abs=1e-4)
    assert max(zip(scores, TEXTS, strict=True))[1] == TEXTS[1]
    (own,) = late_interaction(embedder)(TEXTS[0])([TEXTS[0]])
    assert own == pytest.approx(len(embedder.token_offsets(TEXTS[0])), abs=1e-3)


def test_late_interaction_moves_a_hit_by_a_quarter_of_its_score(embedder: Embedder) -> None:
    before = [0.9, 0.86, 0.85, 0.8, 0.1]
    found = load(embedder, "late-interaction").rerank(QUESTION, make_hits(TEXTS, before), 5)
    new = scaled([maximal_similarity(embedder, QUESTION, text) for text in TEXTS])
    mixed = [0.25 * a + 0.75 * b for a, b in zip(new, scaled(before), strict=True)]
    expected = dict(zip(TEXTS, mixed, strict=True))
    assert {hit.chunk.text: hit.score for hit in found} == pytest.approx(expected, abs=1e-4)
    assert [hit.chunk.text for hit in found] == sorted(TEXTS, key=lambda text: -expected[text])
    assert {hit.trace[-1].name for hit in found} == {"late-interaction"}


def test_a_passage_without_a_token_is_as_far_off_as_can_be(embedder: Embedder) -> None:
    (score,) = late_interaction(embedder)(QUESTION)(["\x01"])
    assert score == -len(embedder.token_offsets(QUESTION))


class PlainEmbedder:
    """An embedder that knows nothing of tokens' vectors."""

    name = "plain"


def test_an_embedder_without_token_vectors_is_named() -> None:
    with pytest.raises(ConfigError, match="plain gives no vectors of tokens"):
        load(PlainEmbedder(), "late-interaction")  # type: ignore[arg-type]


PROMPT = "Passage: {}. Please write a question based on this passage."


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models of random weights behind a tokenizer of bytes and a few pairs of them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

    tokenizer = train_tokenizer([*TEXTS, QUESTION], 256, prefix_space=False)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}
    config = LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.3, **shape, **heads)
    causal = LlamaForCausalLM(config)
    shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=len(tokenizer), **shape, **ends)
    seq2seq = T5ForConditionalGeneration(config)
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, model in (("causal", causal), ("seq2seq", seq2seq)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in ("causal", "seq2seq")}


def direct_log_likelihood(folder: Path, context: str, text: str) -> float:
    """Minus the loss that transformers itself gives for these labels."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    before, after = tokenizer(context)["input_ids"], tokenizer(text)["input_ids"]
    with torch.inference_mode():
        if folder.name == "causal":
            model = AutoModelForCausalLM.from_pretrained(folder).eval()
            labels = torch.tensor([[-100] * len(before) + after])
            return -float(model(input_ids=torch.tensor([before + after]), labels=labels).loss)
        model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        asked, labels = torch.tensor([before]), torch.tensor([after])
        return -float(model(input_ids=asked, labels=labels).loss)


def load_model(model: object, **settings: Any) -> LanguageModel:
    return load_generator(GenerationConfig(model=str(model), device="cpu", **settings))


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_the_likelihood_is_minus_the_loss(checkpoints: dict[str, Path], kind: str) -> None:
    generator = load_model(checkpoints[kind])
    assert isinstance(generator, LikelihoodModel)
    for text in TEXTS:
        expected = direct_log_likelihood(checkpoints[kind], text, f" {QUESTION}")
        found = generator.log_likelihood(text, f" {QUESTION}")
        assert found == pytest.approx(expected, abs=1e-4)


def test_a_long_context_loses_its_beginning(checkpoints: dict[str, Path]) -> None:
    generator = load_model(checkpoints["causal"])
    assert isinstance(generator, LikelihoodModel)
    # A token a byte: the window of 256 holds 250 beside the text's 6.
    long = generator.log_likelihood("0" * 300 + "1" * 200 + "2" * 50, "345678")
    assert long == pytest.approx(generator.log_likelihood("1" * 200 + "2" * 50, "345678"), abs=1e-4)
    assert long != pytest.approx(generator.log_likelihood("2" * 50, "345678"), abs=1e-4)


@pytest.mark.parametrize(
    ("context", "text", "message"),
    [
        ("", "what?", "takes a token of each text"),
        ("what?", "", "takes a token of each text"),
        ("what?", "0" * 256, "takes 256 tokens, the window holds 256"),
    ],
)
def test_what_has_no_likelihood_is_told(
    checkpoints: dict[str, Path], context: str, text: str, message: str
) -> None:
    generator = load_model(checkpoints["causal"])
    assert isinstance(generator, LikelihoodModel)
    with pytest.raises(GenerationError, match=message):
        generator.log_likelihood(context, text)


def test_likelihood_orders_by_how_likely_the_question_is(
    embedder: Embedder, checkpoints: dict[str, Path]
) -> None:
    generator = load_model(checkpoints["causal"])
    new = [
        direct_log_likelihood(checkpoints["causal"], PROMPT.format(text), f" {QUESTION}")
        for text in TEXTS
    ]
    assert likelihood(generator)(QUESTION)(TEXTS) == pytest.approx(new, abs=1e-4)
    before = [0.9, 0.86, 0.85, 0.8, 0.1]
    found = load(embedder, "likelihood", lambda: generator).rerank(
        QUESTION, make_hits(TEXTS, before), 5
    )
    mixed = [0.25 * a + 0.75 * b for a, b in zip(scaled(new), scaled(before), strict=True)]
    expected = dict(zip(TEXTS, mixed, strict=True))
    assert {hit.chunk.text: hit.score for hit in found} == pytest.approx(expected, abs=1e-3)
    assert [hit.chunk.text for hit in found] == sorted(TEXTS, key=lambda text: -expected[text])
    assert found[0].trace[-1].name == "likelihood"


def test_a_generator_without_likelihoods_is_named(embedder: Embedder) -> None:
    generator = from_callable("mine", lambda prompt: [prompt.question])
    with pytest.raises(ConfigError, match="mine does not tell how likely a question is"):
        load(embedder, "likelihood", lambda: generator)


@pytest.fixture(scope="session")
def llama(generator_path: Path) -> LanguageModel:
    return load_model(generator_path, context_tokens=256)


def test_llama_gives_the_probabilities_that_it_lists(
    llama: LanguageModel, generator_path: Path
) -> None:
    """Against the whole distribution after each token, asked for one token at a time."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(generator_path)
    params.verbosity = -1
    params.n_ctx = 256
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    server = xllamacpp.Server(params)
    context, words = "The capital of France", [" is", " the", " city"]
    logs = []
    for at, word in enumerate(words):
        asked = {"prompt": context + "".join(words[:at]), "max_tokens": 1, "logprobs": 60_000}
        reply = server.handle_completions(asked)
        listed = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        assert sum(math.exp(each["logprob"]) for each in listed) == pytest.approx(1, abs=0.01)
        logs += [each["logprob"] for each in listed if each["token"] == word]
    assert len(logs) == len(words)
    assert isinstance(llama, LikelihoodModel)
    found = llama.log_likelihood(context, "".join(words))
    assert found == pytest.approx(sum(logs) / len(words), abs=0.01)


def test_llama_finds_the_passage_of_a_question(llama: LanguageModel) -> None:
    for question, best in ((QUESTION, TEXTS[1]), ("How do penguins sleep?", TEXTS[0])):
        scores = likelihood(llama)(question)(TEXTS[:3])
        assert max(zip(scores, TEXTS, strict=False))[1] == best
    assert likelihood(llama)("How do penguins sleep?")(TEXTS[:1]) == scores[:1]


def test_llama_counts_what_it_can_tell(llama: LanguageModel) -> None:
    assert isinstance(llama, LikelihoodModel)
    plain = llama.log_likelihood("A question:", " What is it?")
    # The dove's tokens are parts of a character: they are read, and the words before count alone.
    assert llama.log_likelihood("A question:", " What is it?\U0001f54a") == pytest.approx(
        plain, abs=0.01
    )
    # Marks of the chat format are text like any other.
    assert llama.log_likelihood("A question:", "<|im_end|>") < -3
    with pytest.raises(GenerationError, match="whose script it hardly knows") as caught:
        llama.log_likelihood("A question:", "日本語日本語")
    assert "\n" not in str(caught.value)
    with pytest.raises(GenerationError, match="takes 300 tokens, the window holds 256"):
        llama.log_likelihood("A question:", " a" * 300)


def test_llama_reads_the_end_of_a_long_context(llama: LanguageModel) -> None:
    assert isinstance(llama, LikelihoodModel)
    # A word is a token here: of 256, the text takes 3.
    long = llama.log_likelihood(" word" * 2000, " the lighthouse keeper")
    assert long == llama.log_likelihood(" word" * 253, " the lighthouse keeper")


class Completions(http.server.BaseHTTPRequestHandler):
    """A server whose completions echo the prompt with what a real model makes of its tokens."""

    model: Any
    tokenizer: Any
    fault: str

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": "served"}]})

    def do_POST(self) -> None:
        import torch

        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/completions"
        assert (body["echo"], body["logprobs"], body["model"]) == (True, 1, "served")
        if self.fault == "refuses":
            self.reply(400, {"error": {"message": "echo is not supported"}})
            return
        ids = self.tokenizer(body["prompt"])["input_ids"]
        with torch.inference_mode():
            logs = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        following = int(logs[-1].argmax())
        told = [None, *(float(logs[at, ids[at + 1]]) for at in range(len(ids) - 1))]
        tokens = [self.tokenizer.decode([each]) for each in [*ids, following]]
        text = body["prompt"] + tokens[-1]
        told.append(float(logs[-1, following]))
        if self.fault == "does not echo":
            text, tokens, told = tokens[-1], tokens[-1:], told[-1:]
        logprobs = None if self.fault == "tells nothing" else {"tokens": tokens}
        if logprobs is not None:
            logprobs["token_logprobs"] = told
        self.reply(200, {"choices": [{"text": text, "logprobs": logprobs}]})

    def reply(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def completions(checkpoints: dict[str, Path]) -> Iterator[tuple[str, type[Completions]]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = checkpoints["causal"]
    handler = type(
        "Handler",
        (Completions,),
        {
            "model": AutoModelForCausalLM.from_pretrained(folder).eval(),
            "tokenizer": AutoTokenizer.from_pretrained(folder),
            "fault": "",
        },
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def test_a_server_gives_the_likelihood_of_its_model(
    completions: tuple[str, type[Completions]], checkpoints: dict[str, Path]
) -> None:
    generator = load_model(completions[0])
    assert isinstance(generator, LikelihoodModel)
    for text in TEXTS:
        expected = direct_log_likelihood(checkpoints["causal"], text, f" {QUESTION}")
        assert generator.log_likelihood(text, f" {QUESTION}") == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("refuses", "replied 400: echo is not supported"),
        ("does not echo", "gave no log probabilities of the prompt"),
        ("tells nothing", "gave no log probabilities of the prompt"),
    ],
)
def test_a_server_that_tells_no_likelihood_is_named(
    completions: tuple[str, type[Completions]], fault: str, message: str
) -> None:
    url, handler = completions
    handler.fault = fault
    generator = load_model(url, retries=0)
    assert isinstance(generator, LikelihoodModel)
    with pytest.raises(GenerationError, match=message) as caught:
        generator.log_likelihood(TEXTS[0], f" {QUESTION}")
    assert "set `retrieval.rerank`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_server_is_named() -> None:
    generator = load_model("http://127.0.0.1:9", retries=0, served_model="any")
    assert isinstance(generator, LikelihoodModel)
    with pytest.raises(GenerationError, match="cannot be reached"):
        generator.log_likelihood(TEXTS[0], f" {QUESTION}")
