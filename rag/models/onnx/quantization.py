"""A float32 ONNX graph -> one that multiplies in 8 bits and agrees with it closely.

Every product of activations with constant weights is done in 8-bit integers: weights with one scale
a column, fixed; activations with one scale a text, found while running ("dynamic"). Two things keep
the result close to float32:

- Weights take over a part of the range of the activations' channels, as in SmoothQuant (Xiao et al.
  2023, section 4): channel j is divided by `a_j ** 0.5 / w_j ** 0.5` and the row of weights
  multiplied by it, where `a_j` and `w_j` are the largest absolute values of both.
- The few channels that are much larger than all others for some tokens, and would take the range
  from them, are multiplied in float32 besides, as in LLM.int8() (Dettmers et al. 2022, section
  3.2). They are chosen beforehand, by the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.helper import make_node, make_tensor_value_info

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

Floats = NDArray[np.float32]

_SHIFT = 0.5
# Without instructions for dot products of bytes (VNNI), processors add pairs of products in 16
# bits, which saturate. Two weights of at most 100 with two activations of up to 163 do not.
_LARGEST = 100


@dataclass(frozen=True, slots=True)
class _Site:
    """A tensor of activations, and the products with constant weights that read it."""

    source: str
    products: tuple[NodeProto, ...]


def quantize(
    graph: Path, target: Path, samples: Iterable[dict[str, Any]], outliers: float = 1 / 96
) -> None:
    """Write `graph` with 8-bit products to `target`.

    Args:
        graph: a float32 ONNX file.
        target: the file to write; large tensors go into `target` + `.data` beside it.
        samples: typical inputs of the graph.
        outliers: the share of channels that is multiplied in float32.
    """
    model = onnx.load(str(graph))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    sites = _sites(model.graph, constants)
    largest = _largest_values(model, [site.source for site in sites], samples)
    changed: dict[str, list[NodeProto]] = {}
    for site in sites:
        _rewrite(model.graph, constants, site, largest[site.source], outliers, changed)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += changed.get(node.output[0], [node])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused(model.graph)
    save(model, target)


def save(model: ModelProto, target: Path) -> None:
    """Write a graph with its tensors in a file beside it, which can be mapped into memory."""
    data = target.with_name(target.name + ".data")
    data.unlink(missing_ok=True)
    onnx.save(
        model,
        str(target),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data.name,
        size_threshold=1024,
    )


def _sites(graph: GraphProto, constants: dict[str, Any]) -> list[_Site]:
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        weights = constants.get(node.input[1]) if node.op_type == "MatMul" else None
        if weights is not None and len(weights.dims) == 2:
            found.setdefault(node.input[0], []).append(node)
    return [_Site(source, tuple(products)) for source, products in found.items()]


def _largest_values(
    model: ModelProto, names: Sequence[str], samples: Iterable[dict[str, Any]]
) -> dict[str, Floats]:
    """Return each channel's largest absolute value in the tensors `names`, over all samples."""
    import onnxruntime

    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    for name in names:
        observed.graph.output.append(make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        observed.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    largest: dict[str, Floats] = {}
    for sample in samples:
        for name, values in zip(names, session.run(list(names), sample), strict=True):
            seen = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
            largest[name] = np.maximum(largest.get(name, 0), seen)
    return largest


def _rewrite(
    graph: GraphProto,
    constants: dict[str, Any],
    site: _Site,
    largest: Floats,
    outliers: float,
    changed: dict[str, list[NodeProto]],
) -> None:
    weights = [numpy_helper.to_array(constants[node.input[1]]) for node in site.products]
    strongest = np.max([np.abs(each).max(axis=1) for each in weights], axis=0)
    divisor = (largest + 1e-6) ** _SHIFT / (strongest + 1e-9) ** (1 - _SHIFT)
    divisor /= np.exp(np.log(divisor).mean())
    count = int(np.ceil(outliers * len(largest) / 8)) * 8
    apart = np.sort(np.argsort(largest / divisor)[len(largest) - count :])
    factor = 1 / divisor
    factor[apart] = 0

    def constant(name: str, value: NDArray[Any]) -> str:
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    source = site.source
    scaled, bytes_, scale, zero = (f"{source}:{name}" for name in ("scaled", "u8", "scale", "zero"))
    factors = constant(f"{source}:factor", factor.astype(np.float32))
    before = [
        make_node("Mul", [source, factors], [scaled]),
        make_node("DynamicQuantizeLinear", [scaled], [bytes_, scale, zero]),
    ]
    if count:
        places = constant(f"{source}:apart", apart.astype(np.int64))
        before.append(make_node("Gather", [source, places], [f"{source}:outliers"], axis=-1))
    for node, matrix in zip(site.products, weights, strict=True):
        output, bias = node.output[0], _bias_after(graph, node, constants)
        scaled_weights = matrix * divisor[:, None]
        scaled_weights[apart] = 0
        steps = np.abs(scaled_weights).max(axis=0) / _LARGEST + 1e-12
        integers = np.round(scaled_weights / steps).astype(np.int8)
        columns = constant(f"{output}:steps", steps.astype(np.float32))
        zeros = constant(f"{output}:zeros", np.zeros(len(steps), np.int8))
        result = f"{output}:integer" if count else output
        if count and bias is not None:
            # Runtimes fuse a bias that is added here into the 8-bit product.
            constant_input = bias.input[1] if bias.input[0] == output else bias.input[0]
            biased = make_node("Add", [result, constant_input], [f"{output}:biased"])
        in_bytes = constant(f"{output}:i8", integers)
        nodes = [
            make_node("MatMulInteger", [bytes_, in_bytes, zero, zeros], [f"{output}:sums"]),
            make_node("Cast", [f"{output}:sums"], [f"{output}:floats"], to=1),
            make_node("Mul", [scale, columns], [f"{output}:scale"]),
            make_node("Mul", [f"{output}:floats", f"{output}:scale"], [result]),
        ]
        if count:
            outlier_weights = constant(f"{output}:kept", matrix[apart].astype(np.float32))
            if bias is not None:
                nodes.append(biased)
                changed[bias.output[0]] = []
                result, output = biased.output[0], bias.output[0]
            nodes += [
                make_node("MatMul", [f"{source}:outliers", outlier_weights], [f"{output}:float"]),
                make_node("Add", [result, f"{output}:float"], [output]),
            ]
        changed[node.output[0]] = before + nodes
        before = []


def _bias_after(
    graph: GraphProto, product: NodeProto, constants: dict[str, Any]
) -> NodeProto | None:
    """Return the node that adds a constant to a product, if no other node reads the product."""
    readers = [node for node in graph.node if product.output[0] in node.input]
    if len(readers) == 1 and readers[0].op_type == "Add":
        other = [name for name in readers[0].input if name != product.output[0]]
        if other and other[0] in constants:
            found: NodeProto = readers[0]
            return found
    return None


def _drop_unused(graph: GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
