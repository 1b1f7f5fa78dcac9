"""texts -> float32 vectors of unit length: by an ONNX graph, by torch, or by a table."""

from __future__ import annotations

from rag.config import EmbeddingConfig
from rag.embedding.static import StaticEmbedder, is_static
from rag.errors import ConfigError, ModelError
from rag.models import CATALOGUE, resolve
from rag.models.devices import has_cuda
from rag.plugins import plugin
from rag.protocols import Embedder
from rag.types import ProgressCallback

__all__ = ["load_embedder"]


def load_embedder(config: EmbeddingConfig, progress: ProgressCallback | None = None) -> Embedder:
    """Return the configured embedder, its weights fetched now if need be and loaded at first use.

    `config.model` is a catalogued name, a name of the entry-point group `rag.embedders`, a model
    directory, or a hub name with an optional `@revision`.

    Raises:
        ConfigError: if the device does not have the precision.
        ModelError: if there is no such model, it cannot be fetched, or it cannot be computed in
            the precision that is asked for.
    """
    if config.model not in CATALOGUE:
        # Looking through all installed packages takes a while, which the default model is spared.
        load = plugin("rag.embedders", config.model)
        if load is not None:
            embedder: Embedder = load(config)
            return embedder
    model = resolve(config.model, kind="embedder", progress=progress)
    if is_static(model):
        return StaticEmbedder(model)
    if _wants_graph(config):
        from rag.embedding.onnx import OnnxEmbedder
        from rag.models.onnx.graph import Unsupported, graph_of

        graph = graph_of(model, progress)
        if isinstance(graph, Unsupported):
            _refuse(model.name, config.precision, graph.reason)
        elif config.precision in ("auto", *graph.precisions):
            return OnnxEmbedder(model, graph, config.precision)
        else:
            mean, _ = graph.facts.agreement[config.precision]
            reason = f"in 8 bits it agrees with itself only to a mean cosine of {mean:.4f}"
            _refuse(model.name, config.precision, reason)
    from rag.embedding.transformer import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(model, config)


def _wants_graph(config: EmbeddingConfig) -> bool:
    """Tell whether to compute on the processor's cores, in a precision that graphs have."""
    if config.precision in ("float16", "bfloat16"):
        return False
    if config.precision == "int8" and config.device not in ("auto", "cpu"):
        raise ConfigError(
            f"`embedding.precision` int8 is for the CPU, `embedding.device` is {config.device}: "
            "set the precision to auto or float16"
        )
    if config.device != "auto" or config.precision == "int8":
        return config.device in ("auto", "cpu")
    return not has_cuda()


def _refuse(name: str, precision: str, reason: str) -> None:
    if precision == "int8":
        raise ModelError(
            f"{name}: cannot be computed in int8 ({reason}): "
            "set `embedding.precision` to auto or float32"
        )
