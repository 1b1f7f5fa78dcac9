"""What trained models are shipped as: graphs that weights come back from, and words in 4 bits."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save_file

from rag.errors import ModelError
from rag.models.onnx.words import PackedWords, map_word_vectors, pack_words

VECTORS = np.random.default_rng(3).normal(size=(50, 64)).astype(np.float32)


def test_packed_words_are_near_what_was_packed() -> None:
    packed = pack_words(VECTORS)
    assert packed.codes.nbytes + packed.scales.nbytes == 50 * (64 // 2 + 2 * 64 // 32)
    lost = np.square(packed.unpack() - VECTORS).sum() / np.square(VECTORS).sum()
    # 4 bits of a normal distribution: about a hundredth of the power is lost.
    assert lost < 0.012
    np.testing.assert_array_equal(packed[np.array([7, 3, 7])], packed.unpack()[[7, 3, 7]])


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.just(64)),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_no_value_is_farther_than_a_step_and_packing_again_changes_nothing(
    vectors: np.ndarray,
) -> None:
    packed = pack_words(vectors)
    found = packed.unpack()
    largest = np.repeat(np.abs(vectors.reshape(-1, 2, 32)).max(-1), 32, axis=-1)
    off = np.abs(found - vectors).reshape(-1, 64)
    # A step is an eighth of the largest value; the largest one itself may be cut by a quarter.
    assert (off <= 0.27 * largest + 1e-6).all()
    np.testing.assert_array_equal(pack_words(found).unpack(), found)


def test_vectors_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="of 48 values do not divide into blocks of 32"):
        pack_words(np.zeros((2, 48), np.float32))


def test_both_forms_are_mapped_from_a_file(tmp_path: Path) -> None:
    packed = pack_words(VECTORS)
    file = tmp_path / "words.safetensors"
    save_file({"codes": packed.codes, "scales": packed.scales}, str(file))
    mapped = map_word_vectors(file)
    assert isinstance(mapped, PackedWords)
    np.testing.assert_array_equal(mapped[np.arange(50)], packed.unpack())
    save_file({"embeddings.word_embeddings.weight": VECTORS}, str(file))
    np.testing.assert_array_equal(map_word_vectors(file)[np.array([4, 9])], VECTORS[[4, 9]])


@pytest.mark.parametrize(
    "tensors",
    [
        {"codes": np.zeros((4, 32), np.uint8)},
        {"codes": np.zeros((4, 32), np.uint8), "scales": np.zeros((4, 3), np.float16)},
        {"codes": np.zeros((4, 32), np.uint8), "scales": np.zeros((3, 2), np.float16)},
        {"codes": np.zeros((4, 32), np.int8), "scales": np.zeros((4, 2), np.float16)},
        {"codes": np.zeros(128, np.uint8), "scales": np.zeros((4, 2), np.float16)},
        {"other": np.zeros((4, 4), np.float32)},
    ],
)
def test_words_of_another_form_are_refused_in_a_line(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    file = tmp_path / "words.safetensors"
    save_file(tensors, str(file))
    with pytest.raises(ModelError, match="its word embeddings cannot be read") as caught:
        map_word_vectors(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 20, 200])
def test_a_cut_file_of_words_is_refused(tmp_path: Path, kept: int) -> None:
    packed = pack_words(VECTORS)
    file = tmp_path / "words.safetensors"
    save_file({"codes": packed.codes, "scales": packed.scales}, str(file))
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelError, match="its word embeddings cannot be read"):
        map_word_vectors(file)


@pytest.mark.model
class TestWeights:
    def test_a_graph_gives_its_weights_back(self, tmp_path: Path) -> None:
        import onnxruntime
        import torch

        from rag.training.reader.model import Reader
        from rag.training.shipping import restore_weights, write_small_graph

        torch.manual_seed(5)
        shape = {
            "hidden_size": 96,
            "layer_norm_eps": 1e-12,
            "num_attention_heads": 4,
            "intermediate_size": 192,
            "relative_attention_num_buckets": 32,
            "max_position_embeddings": 66,
            "num_hidden_layers": 2,
        }
        model = Reader(shape).eval()
        sample = (
            np.random.default_rng(0).normal(size=(1, 30, 96)).astype(np.float32),
            np.array([[0] * 10 + [1] * 20]),
        )
        graph = tmp_path / "small.onnx"
        write_small_graph(
            model, graph, ["starts", "ends", "silence"], [sample], by_token=["starts", "ends"]
        )
        restored = restore_weights(graph)
        trained = {name: value.detach() for name, value in model.named_parameters()}
        assert restored.keys() == trained.keys()
        for name, value in restored.items():
            off = float((value - trained[name]).norm() / (trained[name].norm() + 1e-9))
            assert off < 0.02, name
        again = Reader(shape).eval()
        again.load_state_dict(restored)
        words, types = sample
        with torch.no_grad():
            starts, _, _ = again(*(torch.from_numpy(each) for each in (*sample, types * 0 + 1)))
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        found = session.run(None, {"words": words, "types": types})[0]
        assert np.corrcoef(found[0], starts[0].numpy())[0, 1] > 0.995

    def test_what_ships_can_be_trained_on(self) -> None:
        from rag.training.loop import read_weights

        folder = Path(str(files("rag.answering")))
        for name in ("entailment/minilm/entailment", "reader/mpnet/reader"):
            weights = read_weights(folder / f"{name}.int8.onnx")
            facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            assert f"layers.{facts.get('layers', 6) - 1}.down.weight" in weights
            card = (folder / name).parent / "README.md"
            text = " ".join(card.read_text(encoding="utf-8").split())
            assert f"{sum(each.numel() for each in weights.values()):,} weights" in text

    def test_a_graph_that_does_not_say_where_its_weights_are_is_refused(
        self, tmp_path: Path
    ) -> None:
        import onnx
        from onnx.helper import make_graph, make_model

        from rag.training.loop import read_weights

        onnx.save(make_model(make_graph([], "none", [], [])), str(tmp_path / "none.onnx"))
        with pytest.raises(ValueError, match="does not say where its weights are"):
            read_weights(tmp_path / "none.onnx")
