"""Embedding by a graph of ONNX, against sentence-transformers in float32."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import PASSAGES, TEMPLATE, cosines, make_causal
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import RAG, ConfigError, EmbeddingError, ModelError, Progress
from rag.config import EmbeddingConfig
from rag.embedding import load_embedder
from rag.embedding.batching import Batcher
from rag.embedding.onnx import OnnxEmbedder
from rag.embedding.transformer import SentenceTransformerEmbedder
from rag.models import LocalModel, resolve
from rag.models.devices import short_switch_interval
from rag.models.onnx.graph import Graph, Unsupported, calibration, graph_of
from rag.models.onnx.runtimes import (
    choose_fastest,
    choose_question_cores,
    installed_runtimes,
    machine_key,
    open_session,
)
from rag.protocols import Embedder, TokenEmbedder

CONFIG = EmbeddingConfig()


@pytest.fixture(scope="module")
def minilm() -> LocalModel:
    return resolve(CONFIG.model, kind="embedder")


@pytest.fixture(scope="module")
def graph(minilm: LocalModel) -> Graph:
    made = graph_of(minilm)
    assert isinstance(made, Graph)
    return made


@pytest.fixture(scope="module")
def reference(minilm: LocalModel) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(minilm, replace(CONFIG, device="cpu"))


@pytest.fixture(scope="module")
def int8(minilm: LocalModel, graph: Graph) -> OnnxEmbedder:
    return OnnxEmbedder(minilm, graph, "int8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, minilm: LocalModel) -> Path:
    """A model of random weights with the real tokenizer: its graph is made in seconds."""
    import torch
    from transformers import BertConfig, BertModel

    # How well a model of random weights agrees with itself in 8 bits varies with the weights.
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(minilm.location, folder)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(**shape, intermediate_size=128)).save_pretrained(folder)
    pooling = folder / "1_Pooling" / "config.json"
    known = json.loads(pooling.read_text(encoding="utf-8"))
    known = {**known, "word_embedding_dimension": 64}
    pooling.write_text(json.dumps(known), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("precision", "mean", "least"), [("int8", 0.999, 0.995), ("float32", 1, 1)]
)
def test_a_graph_agrees_with_its_model(
    minilm: LocalModel,
    graph: Graph,
    reference: SentenceTransformerEmbedder,
    precision: str,
    mean: float,
    least: float,
) -> None:
    embedder = OnnxEmbedder(minilm, graph, precision)
    found = cosines(embedder.embed_documents(PASSAGES), reference.embed_documents(PASSAGES))
    assert found.mean() > mean - 1e-5
    assert found.min() > least - 1e-5
    assert cosines(embedder.embed_query("what?"), reference.embed_query("what?")) > least - 1e-5


def test_it_says_the_same_of_itself_as_the_model_does(
    int8: OnnxEmbedder, reference: SentenceTransformerEmbedder
) -> None:
    for name in ("name", "fingerprint", "former_fingerprint", "revision", "dim", "max_tokens"):
        assert getattr(int8, name) == getattr(reference, name), name
    assert int8.special_tokens == reference.special_tokens
    for passage in PASSAGES:
        assert list(int8.token_offsets(passage)) == list(reference.token_offsets(passage))


def test_vectors_of_tokens_are_those_of_the_model(
    minilm: LocalModel, graph: Graph, reference: SentenceTransformerEmbedder
) -> None:
    texts = ["A short text.", "another one, of other length", "sentence of a few words. " * 200]
    for precision, least in (("float32", 0.9999), ("int8", 0.98)):
        embedder = OnnxEmbedder(minilm, graph, precision)
        assert isinstance(embedder, TokenEmbedder)
        for found, wanted in zip(
            embedder.embed_tokens(texts), reference.embed_tokens(texts), strict=True
        ):
            assert found.shape == wanted.shape
            assert cosines(found, wanted).mean() > least


@settings(max_examples=10)
@given(order=st.permutations(range(6)), count=st.integers(1, 6))
def test_a_vector_does_not_depend_on_its_company(
    int8: OnnxEmbedder, order: list[int], count: int
) -> None:
    texts = [PASSAGES[at * 3] for at in order[:count]]
    together = int8.embed_documents(texts)
    for text, vector in zip(texts, together, strict=True):
        assert np.array_equal(int8.embed_documents([text])[0], vector)
        assert np.array_equal(int8.embed_query(text), vector)


def test_threads_that_ask_at_once_have_the_same_vectors(int8: OnnxEmbedder) -> None:
    alone = [int8.embed_query(passage) for passage in PASSAGES]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(int8.embed_query, PASSAGES * 3))
    for at, vector in enumerate(found):
        assert np.array_equal(vector, alone[at % len(PASSAGES)])


def test_searching_and_indexing_load_no_torch(tmp_path: Path, graph: Graph) -> None:
    (tmp_path / "note.txt").write_text("Bronze is an alloy of copper and tin.", encoding="utf-8")
    code = """
import sys
from rag import RAG
rag = RAG("index")
rag.index("note.txt")
assert rag.search("Of what is bronze made?")[0].text.startswith("Bronze")
heavy = {"torch", "transformers", "sentence_transformers", "onnx", "scipy", "sklearn"}
print(sorted(heavy & set(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_graph_is_made_once_and_anew_when_it_is_damaged(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    stages: list[str] = []

    def note(progress: Progress) -> None:
        stages.append(progress.stage)

    model = resolve(str(tiny), kind="embedder")
    made = graph_of(model, note)
    assert isinstance(made, Graph)
    assert "prepare" in stages
    stages.clear()
    assert graph_of(model, note) == made
    assert not stages
    data = made.file("float32").with_name("float32.onnx.data")
    data.write_bytes(data.read_bytes()[:-1])
    again = graph_of(model, note)
    assert stages
    assert again == made
    # Other weights under the same name have a graph of their own.
    shutil.copytree(tiny, tmp_path / "tiny")
    weights = tmp_path / "tiny" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    other = graph_of(resolve(str(tmp_path / "tiny"), kind="embedder"))
    assert isinstance(other, Graph)
    assert other.folder != made.folder


def test_a_graph_that_cannot_be_read_is_named(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    model = resolve(str(tiny), kind="embedder")
    made = graph_of(model)
    assert isinstance(made, Graph)
    file = made.file("float32")
    file.write_bytes(b"no graph".ljust(file.stat().st_size))
    for embed in (
        lambda embedder: embedder.embed_query("what?"),
        lambda embedder: embedder.embed_documents(["a", "b"]),
        lambda embedder: embedder.load(),
    ):
        for precision in ("auto", "float32"):
            with pytest.raises(ModelError, match="remove that folder, and it is made anew") as told:
                embed(OnnxEmbedder(model, made, precision))
            assert str(told.value).startswith(str(made.folder))
            assert str(told.value).count("cannot be loaded") == 1


def test_prompts_of_a_model_are_put_before_texts(tiny: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "prompted"
    shutil.copytree(tiny, folder)
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    model = resolve(str(folder), kind="embedder")
    made = graph_of(model)
    assert isinstance(made, Graph)
    direct = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    wanted = direct.encode_query("a text"), direct.encode_document("a text")
    assert not np.allclose(*wanted)
    for embedder in (
        OnnxEmbedder(model, made, "float32"),
        SentenceTransformerEmbedder(model, replace(CONFIG, device="cpu")),
    ):
        found = embedder.embed_query("a text"), embedder.embed_documents(["a text"])[0]
        assert np.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 500, 10**6])
def test_torch_gives_what_sentence_transformers_gives(minilm: LocalModel, tokens: int) -> None:
    from sentence_transformers import SentenceTransformer

    direct = SentenceTransformer(minilm.location, device="cpu", local_files_only=True)
    config = replace(CONFIG, device="cpu", batch_tokens=tokens)
    embedder = SentenceTransformerEmbedder(minilm, config)
    assert embedder._sentence_model.why_not_tokens_alone() == ""
    found = embedder.embed_documents(PASSAGES)
    assert np.allclose(found, direct.encode_document(PASSAGES), atol=1e-5)
    assert np.allclose(embedder.embed_query("what?"), direct.encode_query("what?"), atol=1e-5)
    assert embedder.embed_documents([]).shape == (0, embedder.dim)


def make_decoder(folder: Path, template: str | None, side: str) -> LocalModel:
    """A Llama whose last token is a text's vector."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    words = Transformer(str(make_causal(folder / "causal", template)))
    pooling = Pooling(words.get_embedding_dimension(), pooling_mode="lasttoken")
    place = folder / "model"
    SentenceTransformer(modules=[words, pooling], device="cpu").save(str(place))
    (settings,) = place.rglob("tokenizer_config.json")
    known = json.loads(settings.read_text(encoding="utf-8"))
    settings.write_text(json.dumps({**known, "padding_side": side}), encoding="utf-8")
    return resolve(str(place), kind="embedder")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "side", "plain"),
    [(None, "left", True), (None, "right", True), (TEMPLATE, "left", False)],
)
def test_a_decoder_is_padded_and_asked_as_it_was_taught(
    tmp_path: Path, template: str | None, side: str, plain: bool
) -> None:
    embedder = SentenceTransformerEmbedder(
        make_decoder(tmp_path, template, side), replace(CONFIG, device="cpu")
    )
    opened = embedder._sentence_model
    assert opened.model.tokenizer.padding_side == side
    # With a template for conversations, a text is more than its tokens.
    assert embedder._plain == plain
    made = graph_of(embedder._model)
    if not plain:
        assert isinstance(made, Unsupported)
        assert "its tokens alone give other vectors than its texts" in made.reason
    texts = ["The lighthouse was built in 1871", "by", "Ada Stone, whose lamp burns whale oil."]
    wanted = opened.model.encode(texts, normalize_embeddings=True)
    assert np.allclose(embedder.embed_documents(texts), wanted, atol=1e-5)


def test_a_model_that_no_graph_holds_is_computed_by_torch(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(tiny, folder)
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kind = "sentence_transformers.models.WeightedLayerPooling"
    odd = {"idx": 1, "name": "1", "path": "1_Layers", "type": kind}
    modules = [modules[0], odd, *({**each, "idx": each["idx"] + 1} for each in modules[1:])]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Layers").mkdir()
    config = {"word_embedding_dimension": 64, "layer_start": 1, "num_hidden_layers": 2}
    (folder / "1_Layers" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert isinstance(graph_of(resolve(str(folder), kind="embedder")), Unsupported)
    on_cpu = replace(CONFIG, model=str(folder), device="cpu")
    assert isinstance(load_embedder(on_cpu), SentenceTransformerEmbedder)
    with pytest.raises(ModelError, match="cannot be computed in int8"):
        load_embedder(replace(on_cpu, precision="int8"))


def test_what_agrees_too_little_in_8_bits_is_refused(tiny: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "wild"
    shutil.copytree(tiny, folder)
    weights = load_file(folder / "model.safetensors")
    random = np.random.default_rng(1)
    for name, values in weights.items():
        # Values of very different sizes in every row: no scale of a column suits them.
        if name.endswith("dense.weight") or ("self" in name and name.endswith("weight")):
            wild = random.standard_cauchy(values.shape)
            weights[name] = (wild * 0.1).astype(np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = resolve(str(folder), kind="embedder")
    made = graph_of(model)
    assert isinstance(made, Graph)
    assert made.facts.agreement["int8"][0] < 0.999
    assert made.precisions == ["float32"]
    config = replace(CONFIG, model=str(folder), device="cpu")
    assert isinstance(load_embedder(config), OnnxEmbedder)
    with pytest.raises(ModelError, match="agrees with itself only to a mean cosine of 0"):
        load_embedder(replace(config, precision="int8"))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_computed_by_torch(precision: str, reference: Embedder) -> None:
    embedder = load_embedder(EmbeddingConfig(precision=precision, device="cpu", batch_tokens=300))
    assert isinstance(embedder, SentenceTransformerEmbedder)
    found = embedder.embed_documents(PASSAGES[:6])
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert cosines(found, reference.embed_documents(PASSAGES[:6])).min() > 0.999


def test_batches_by_tokens_give_the_vectors_of_single_texts(minilm: LocalModel) -> None:
    narrow = SentenceTransformerEmbedder(minilm, replace(CONFIG, device="cpu", batch_tokens=64))
    wide = SentenceTransformerEmbedder(minilm, replace(CONFIG, device="cpu"))
    assert np.allclose(narrow.embed_documents(PASSAGES), wide.embed_documents(PASSAGES), atol=1e-5)
    assert narrow.embed_documents([]).shape == (0, narrow.dim)


def test_what_memory_does_not_hold_is_computed_in_halves(
    minilm: LocalModel, reference: SentenceTransformerEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    embedder = SentenceTransformerEmbedder(minilm, replace(CONFIG, device="cpu"))
    model = embedder._sentence_model.model
    sizes, most = [], 5
    forward = model[0].forward

    def computed(features: dict[str, torch.Tensor], **options: object) -> object:
        sizes.append(len(features["input_ids"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(features, **options)

    monkeypatch.setattr(model[0], "forward", computed)
    texts = [f"passage number {at}" for at in range(40)]
    wanted = reference.embed_documents(texts)
    assert cosines(embedder.embed_documents(texts), wanted).min() > 0.9999
    assert sizes[:4] == [40, 20, 10, 5]
    sizes.clear()
    # It has learnt how much there is room for.
    embedder.embed_documents([text * 50 for text in texts])
    assert len([size for size in sizes if size > most]) < len(sizes) / 2
    most = 0
    with pytest.raises(EmbeddingError, match=r"not enough memory .*: set `embedding.device` to"):
        embedder.embed_documents(texts)
    monkeypatch.setattr(model[0], "forward", lambda *_, **__: torch.empty(2) @ torch.empty(3))
    with pytest.raises(EmbeddingError, match=r"all-minilm-l6-v2 failed: "):
        embedder.embed_query("what?")


def test_while_torch_computes_threads_give_way_sooner() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(ValueError, match="stop"), short_switch_interval:
        with short_switch_interval:
            assert sys.getswitchinterval() == pytest.approx(1e-4)
        assert sys.getswitchinterval() == pytest.approx(1e-4)
        raise ValueError("stop")
    assert sys.getswitchinterval() == before


def test_int8_is_refused_on_a_gpu() -> None:
    with pytest.raises(ConfigError, match="int8 is for the CPU"):
        load_embedder(EmbeddingConfig(precision="int8", device="cuda"))


def test_the_fastest_is_measured_once_and_remembered(tiny: Path) -> None:
    made = graph_of(resolve(str(tiny), kind="embedder"))
    assert isinstance(made, Graph)
    (made.folder / "speeds.json").unlink(missing_ok=True)
    asked = []

    def texts() -> list[list[int]]:
        asked.append(1)
        return [[101, 2023, 102]]

    choices = [(precision, name) for precision in made.precisions for name in installed_runtimes()]
    first = choose_fastest(made, choices, texts)
    assert first in choices
    assert choose_fastest(made, choices, texts) == first
    assert len(asked) == 1
    known = json.loads((made.folder / "speeds.json").read_text(encoding="utf-8"))
    ((where, speeds),) = known.items()
    assert set(speeds) >= {f"{name} onnxruntime" for name in made.precisions}
    # A machine that is faster with another has another chosen.
    other = min(speeds, key=lambda name: speeds[name])
    made.remember_speeds(where, {**speeds, other: 1e9})
    assert " ".join(choose_fastest(made, choices, texts)) == other


def test_a_question_gets_the_cores_that_make_it_faster(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = graph_of(resolve(str(tiny), kind="embedder"))
    assert isinstance(made, Graph)
    choice = ("float32", "onnxruntime")

    def cores(number: int, speeds: dict[str, float]) -> int:
        monkeypatch.setattr("rag.models.onnx.runtimes.usable_cores", lambda: number)
        named = {f"float32 onnxruntime question {name}": each for name, each in speeds.items()}
        made.remember_speeds(machine_key(), named)
        return choose_question_cores(made, choice, lambda: [[101, 2023, 102], [101] * 99])

    assert cores(1, {}) == 0
    assert made.speeds(machine_key()) == {}
    assert cores(2, {}) in (0, 2)
    assert set(made.speeds(machine_key())) == {f"float32 onnxruntime question {n}" for n in (1, 2)}
    # More cores have to be worth it.
    assert cores(8, {"1": 100, "2": 103, "4": 104}) == 0
    assert cores(8, {"1": 100, "2": 150, "4": 155}) == 2
    assert cores(8, {"1": 100, "2": 150, "4": 200}) == 4
    assert cores(2, {"1": 100, "2": 150, "4": 200}) == 2


def test_openvino_gives_what_onnx_runtime_gives(graph: Graph) -> None:
    pytest.importorskip("openvino")
    ids = [101, 2054, 2003, 3019, 2550, 1997, 1029, 102]
    one, other = (
        open_session(name, graph.file("float32")).run(ids, "sentence_embedding")
        for name in ("onnxruntime", "openvino")
    )
    assert np.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_on_several_cores_a_text_has_the_vector_that_it_has_on_one(
    minilm: LocalModel, graph: Graph, precision: str, runtime: str
) -> None:
    pytest.importorskip(runtime)
    tokens = OnnxEmbedder(minilm, graph)._tokenizer()
    sessions = [open_session(runtime, graph.file(precision), cores) for cores in (0, 2)]
    for passage in PASSAGES:
        ids = tokens.encode(passage).ids[:256]
        one, other = (session.run(ids, "sentence_embedding") for session in sessions)
        assert np.array_equal(one, other)


def test_calibration_has_texts_of_many_lengths() -> None:
    lengths = [len(text) for text in calibration()]
    assert len(lengths) > 30
    assert min(lengths) < 40
    assert max(lengths) > 1000


def test_requests_of_threads_are_run_together() -> None:
    sizes: list[int] = []

    def run(given: list[int]) -> list[int]:
        sizes.append(len(given))
        if 13 in given:
            raise ValueError(13)
        return [each * 2 for each in given]

    together: Batcher[int, int] = Batcher(run)  # type: ignore[arg-type]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(together.result, range(14, 200))) == [2 * n for n in range(14, 200)]
    assert sum(sizes) == 186
    with pytest.raises(ValueError, match="13"):
        together.result(13)
    assert together.result(1) == 2


def test_searches_of_many_threads_find_what_one_finds(sample: RAG) -> None:
    questions = ["What is LoRA?", "How are embeddings compared?", "What is RLHF?"] * 8
    alone = [[hit.chunk.id for hit in sample.search(question)] for question in questions]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(sample.search, questions))
    assert [[hit.chunk.id for hit in hits] for hits in found] == alone
