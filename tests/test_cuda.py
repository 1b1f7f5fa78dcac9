"""What runs on a GPU of NVIDIA's, against the same on the CPU in float32. Skipped without one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import (
    PAIRS,
    PASSAGES,
    PROMPT,
    QUESTION,
    TEXT,
    TEXTS,
    cosines,
    make_causal,
    make_hits,
    make_reader,
    make_seq2seq,
    no_generator,
    read,
)
from conftest import CORPUS
from making import make_cross_encoder, make_entailment

from rag import RAG
from rag.answering.entailment import load_entailment
from rag.answering.reader.transformer import load_transformer
from rag.config import (
    AnsweringConfig,
    Config,
    EmbeddingConfig,
    GenerationConfig,
    RetrievalConfig,
)
from rag.embedding import load_embedder
from rag.embedding.measuring import measure_speeds
from rag.embedding.transformer import SentenceTransformerEmbedder
from rag.generation import load_generator
from rag.models import resolve
from rag.models.devices import has_cuda
from rag.protocols import TokenEmbedder
from rag.retrieval.rerank import load_reranker

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.model,
    pytest.mark.skipif(not has_cuda(), reason="there is no GPU"),
]

CONFIG = EmbeddingConfig()
QUESTIONS = ["What is LoRA?", "How are embeddings compared?", "What is RLHF?", "Who wrote BERT?"]


@pytest.fixture(scope="module")
def reference() -> SentenceTransformerEmbedder:
    model = resolve(CONFIG.model, kind="embedder")
    return SentenceTransformerEmbedder(model, replace(CONFIG, device="cpu", precision="float32"))


@pytest.fixture(scope="module")
def on_gpu() -> SentenceTransformerEmbedder:
    embedder = load_embedder(CONFIG)
    assert isinstance(embedder, SentenceTransformerEmbedder)
    return embedder


@pytest.mark.parametrize(
    ("precision", "least"), [("float32", 0.9999), ("float16", 0.9999), ("bfloat16", 0.999)]
)
def test_every_precision_agrees_with_the_cpu(
    reference: SentenceTransformerEmbedder, precision: str, least: float
) -> None:
    embedder = load_embedder(replace(CONFIG, device="cuda", precision=precision))
    found = embedder.embed_documents(PASSAGES)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert cosines(found, reference.embed_documents(PASSAGES)).min() > least
    assert cosines(embedder.embed_query("what?"), reference.embed_query("what?")) > least


def test_by_itself_it_takes_the_gpu_in_half_precision(on_gpu: SentenceTransformerEmbedder) -> None:
    import torch

    weights = next(on_gpu._sentence_model.model.parameters())
    assert weights.device.type == "cuda"
    assert weights.dtype == torch.float16


@pytest.mark.parametrize("tokens", [1, 300, 4096, 10**6])
def test_batches_of_any_size_give_the_same(
    reference: SentenceTransformerEmbedder, tokens: int
) -> None:
    embedder = load_embedder(replace(CONFIG, batch_tokens=tokens))
    found = embedder.embed_documents(PASSAGES)
    assert cosines(found, reference.embed_documents(PASSAGES)).min() > 0.9999


def test_vectors_of_tokens_are_those_of_the_cpu(
    on_gpu: SentenceTransformerEmbedder, reference: SentenceTransformerEmbedder
) -> None:
    assert isinstance(on_gpu, TokenEmbedder)
    texts = ["A short text.", "another one, of other length", "sentence of a few words. " * 200]
    for found, wanted in zip(
        on_gpu.embed_tokens(texts), reference.embed_tokens(texts), strict=True
    ):
        assert found.shape == wanted.shape
        assert cosines(found, wanted).min() > 0.999


def test_questions_of_many_threads_are_those_of_one(on_gpu: SentenceTransformerEmbedder) -> None:
    alone = [on_gpu.embed_query(passage) for passage in PASSAGES]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(on_gpu.embed_query, PASSAGES * 3))
    for at, vector in enumerate(found):
        assert cosines(vector, alone[at % len(PASSAGES)]) > 0.9999


def test_what_does_not_fit_into_its_memory_is_done_in_parts(
    reference: SentenceTransformerEmbedder,
) -> None:
    import torch

    embedder = load_embedder(replace(CONFIG, batch_tokens=10**7))
    embedder.embed_query("what?")
    texts = ["sentence of a few words. " * 60] * 20_000
    before = torch.cuda.memory_allocated()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    # Room for a part of what one batch of all would take.
    torch.cuda.set_per_process_memory_fraction((before + 2 * 2**30) / whole)
    try:
        found = embedder.embed_documents(texts)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert cosines(found, reference.embed_documents(texts[:1])).min() > 0.9999


def test_an_index_of_the_gpu_is_found_in_as_one_of_the_cpu(tmp_path: Path) -> None:
    settings = {"retrieval.mode": "dense", "retrieval.expansion": ()}
    found = []
    for device, other in (("cpu", "cuda"), ("cuda", "cpu")):
        place = tmp_path / device
        rag = RAG(place, settings={**settings, "embedding.device": device})
        rag.index(CORPUS)
        # Whichever computed the vectors, both can ask.
        asked = RAG(place, settings={**settings, "embedding.device": other})
        found += [[each.search(question, 5) for question in QUESTIONS] for each in (rag, asked)]
    # In 8 bits on one, in 16 on the other: what is nearly as good may change places.
    for hits in zip(*found, strict=True):
        places = [[hit.location for hit in each] for each in hits]
        assert all(places[0][0] in each[:2] for each in places)
        assert all(len(set(places[0]) & set(each)) >= 4 for each in places)
        scores = np.array([[hit.score for hit in each] for each in hits])
        assert np.abs(scores - scores[0]).max() < 0.02


def test_its_speed_is_measured_beside_the_others() -> None:
    speeds = {(each.runtime, each.precision): each for each in measure_speeds(CONFIG)}
    chosen = [way for way, speed in speeds.items() if speed.chosen]
    assert chosen == [("torch on CUDA", "float16")]
    assert all(speed.agreement > 0.999 for speed in speeds.values())


@pytest.mark.parametrize("make", [make_causal, make_seq2seq])
def test_a_generator_writes_streams_and_weighs(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    import torch

    folder = str(make(tmp_path / "model"))
    models = {
        device: load_generator(GenerationConfig(model=folder, device=device, max_tokens=12))
        for device in ("cpu", "auto")
    }
    gpu = models["auto"]
    model = gpu._checkpoint.model  # type: ignore[attr-defined]
    assert (model.device.type, model.dtype) == ("cuda", torch.bfloat16)
    pieces = list(read(gpu, PROMPT))
    assert 3 < len([piece for piece in pieces if piece.strip()]) <= 12
    assert list(read(gpu, PROMPT)) == pieces
    stream = gpu.stream(PROMPT)
    assert next(stream) == pieces[0]
    stream.close()  # type: ignore[attr-defined]
    assert list(read(gpu, PROMPT)) == pieces
    weights = [each.log_likelihood(TEXT, "The lamp burns oil.") for each in models.values()]  # type: ignore[attr-defined]
    assert weights[0] == pytest.approx(weights[1], rel=0.02)


def test_a_reader_an_entailment_model_and_a_reranker_agree_with_the_cpu(tmp_path: Path) -> None:
    reader = AnsweringConfig(reader=str(make_reader(tmp_path / "reader")))
    quotes = [
        "".join(load_transformer(reader, device).stream(PROMPT)) for device in ("cpu", "cuda")
    ]
    assert quotes[0] == quotes[1]
    judge = str(make_entailment(tmp_path / "judge"))
    verdicts = [load_entailment(judge, device=device).entail(PAIRS) for device in ("cpu", "cuda")]
    # Of random weights far apart, which three digits move more than those of a trained model.
    assert np.allclose(*verdicts, atol=0.2)
    assert np.array_equal(*(each.argmax(axis=1) for each in verdicts))
    scorer = RetrievalConfig(rerank=str(make_cross_encoder(tmp_path / "scorer")))
    orders = []
    for device in ("cpu", "cuda"):
        config = Config(embedding=EmbeddingConfig(device=device), retrieval=scorer)
        reranker = load_reranker(config, load_embedder(config.embedding), no_generator)
        assert reranker is not None
        orders.append([hit.chunk.id for hit in reranker.rerank(QUESTION, make_hits(TEXTS), 5)])
    assert orders[0] == orders[1]
