"""IResNets in ONNX, as insightface publishes them (`w600k_r50.onnx`).

Names in such a file mean nothing, so the graph is walked from its input to its output. Batch norms stand behind their
convolution or were folded into it when the file was made; both are read.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from idfsr_jax.interop.arcface_weights import (
    BatchNorm,
    IResNetWeights,
    NotThisNetwork,
    activation,
    convolution,
    embedding,
    unit,
)
from idfsr_jax.io.errors import BadWeights

_PASSING = frozenset({"Cast", "Dropout", "Identity"})
_RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


def parse_onnx(content: bytes, name: str) -> IResNetWeights:
    """Reads an IResNet.

    Args:
      content: of the file.
      name: of the file, for complaints.

    Raises:
      NotThisNetwork: it is another network.
      BadWeights: it is damaged, keeps its weights elsewhere, or `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise BadWeights(f"{name}: needs the package onnx to be read; install it (`pip install onnx`).") from None
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # a class of protobuf's that differs from version to version
        raise BadWeights(f"{name}: is damaged or no ONNX file; get it again.") from error
    if any(each.data_location == onnx.TensorProto.EXTERNAL for each in model.graph.initializer):
        raise BadWeights(f"{name}: keeps its weights in another file; save it as a single one.")
    return _network(_Graph(model.graph))


class _Graph:
    """An ONNX graph by its tensors: who reads each, and which are constant."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self.constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self.readers: dict[str, list[Any]] = {}
        for node in graph.node:
            known = [self.constants.get(each) for each in node.input]
            if node.op_type == "Constant":
                self.constants[node.output[0]] = np.asarray(attributes(node)["value"])
            elif known and known[0] is not None and node.op_type in _PASSING | _RESHAPING:
                # Of what is reshaped only slopes and biases are of interest, which are flattened anyway.
                self.constants[node.output[0]] = known[0]
            elif known and known[0] is not None and node.op_type == "Transpose":
                self.constants[node.output[0]] = known[0].transpose(attributes(node).get("perm"))
            else:
                for each in node.input:
                    self.readers.setdefault(each, []).append(node)
        entries = [each.name for each in graph.input if each.name not in self.constants]
        if len(entries) != 1 or len(graph.output) != 1:
            raise NotThisNetwork("a single input and a single output")
        self.entry, self.exit = entries[0], graph.output[0].name

    def passed(self, tensor: str, kinds: frozenset[str] = _PASSING) -> str:
        """Behind the nodes that change nothing."""
        while [node.op_type for node in self.readers.get(tensor, [])] in [[kind] for kind in kinds]:
            tensor = self.readers[tensor][0].output[0]
        return tensor

    def next(self, tensor: str, kind: str) -> Any:
        """The one node that reads a tensor; it must be of the kind."""
        nodes = self.readers.get(tensor, [])
        if [node.op_type for node in nodes] != [kind]:
            found = " and ".join(node.op_type for node in nodes) or "nothing"
            raise NotThisNetwork(f"a {kind} that reads {tensor!r} (there is {found})")
        return nodes[0]

    def is_next(self, tensor: str, kind: str) -> bool:
        return [node.op_type for node in self.readers.get(tensor, [])] == [kind]

    def constant(self, node: Any, position: int) -> np.ndarray:
        """A constant input of a node."""
        if position >= len(node.input) or node.input[position] not in self.constants:
            raise NotThisNetwork(f"constant weights of the {node.op_type} {node.name!r}")
        return self.constants[node.input[position]]


def attributes(node: Any) -> dict[str, Any]:
    """Attributes of a node as Python values; tensors as arrays."""
    from onnx import helper, numpy_helper

    values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "Constant":
        value = next(iter(values.values()))
        return {"value": numpy_helper.to_array(value) if hasattr(value, "raw_data") else value}
    return values


def _network(graph: _Graph) -> IResNetWeights:
    mean, deviation, tensor = _normalisation(graph)
    stem, stride, tensor = _convolution(graph, graph.next(tensor, "Conv"), 3)
    if stride != 1:
        raise NotThisNetwork("a first convolution of stride 1")
    slope, tensor = _slope(graph, tensor)
    params: dict[str, Any] = {"stem": stem, "stem_activation": activation(slope)}
    blocks: list[tuple[int, int]] = []
    # A residual unit begins where two nodes read one tensor.
    while len(graph.readers.get(tensor, [])) == 2:
        params[f"block_{len(blocks)}"], block, tensor = _unit(graph, tensor)
        blocks.append(block)
    if not blocks:
        raise NotThisNetwork("residual units")
    weight, params["embed"], tensor = _embedding(graph, tensor, blocks)
    if graph.passed(tensor) != graph.exit:
        raise NotThisNetwork("an output that is the embedding")
    return IResNetWeights(tuple(blocks), weight.shape[0], params, mean, deviation)


def _normalisation(graph: _Graph) -> tuple[float, float, str]:
    """What is subtracted from pixels of 0 to 255, what they are divided by, and the tensor behind.

    Files converted from MXNet subtract and multiply by themselves; all others want [-1, 1].
    """
    tensor, inside = graph.passed(graph.entry), False
    mean, deviation = 0.0, 1.0
    for kind in ("Sub", "Mul", "Div"):
        if graph.is_next(tensor, kind):
            node = graph.next(tensor, kind)
            value = graph.constant(node, 1)
            if value.size != 1:
                raise NotThisNetwork("one mean and one scale for all pixels")
            number = float(value.reshape(()))
            mean = number if kind == "Sub" else mean
            deviation = {"Sub": deviation, "Mul": deviation / number, "Div": deviation * number}[kind]
            tensor, inside = graph.passed(node.output[0]), True
    return (mean, deviation, tensor) if inside else (127.5, 127.5, tensor)


def _convolution(graph: _Graph, node: Any, size: int) -> tuple[dict[str, np.ndarray], int, str]:
    """A convolution and the batch norm behind it, its stride, and the tensor behind both."""
    given = attributes(node)
    strides, pads = tuple(given.get("strides", (1, 1))), tuple(given.get("pads", (0, 0, 0, 0)))
    plain = given.get("group", 1) == 1 and set(given.get("dilations", (1, 1))) == {1}
    plain &= given.get("auto_pad", b"NOTSET") in (b"NOTSET", "NOTSET") and strides[0] == strides[1]
    kernel = graph.constant(node, 1)
    if not plain or kernel.shape[2:] != (size, size) or set(pads) != {size // 2}:
        raise NotThisNetwork(f"a plain padded {size}x{size} convolution at {node.name!r}")
    bias = graph.constant(node, 2).reshape(-1) if len(node.input) > 2 else None
    tensor, norm = node.output[0], None
    if graph.is_next(tensor, "BatchNormalization"):
        norm, tensor = _norm(graph, graph.next(tensor, "BatchNormalization"))
    return convolution(kernel, bias, norm), strides[0], tensor


def _norm(graph: _Graph, node: Any) -> tuple[BatchNorm, str]:
    gamma, beta, mean, variance = (graph.constant(node, position).reshape(-1) for position in (1, 2, 3, 4))
    return BatchNorm(gamma, beta, mean, variance, attributes(node).get("epsilon", 1e-5)), node.output[0]


def _slope(graph: _Graph, tensor: str) -> tuple[np.ndarray, str]:
    node = graph.next(tensor, "PRelu")
    return graph.constant(node, 1), node.output[0]


def _unit(graph: _Graph, tensor: str) -> tuple[dict[str, Any], tuple[int, int], str]:
    """A residual unit: its weights, its width and stride, and the tensor behind it."""
    readers = graph.readers[tensor]
    heads = [node for node in readers if node.op_type == "BatchNormalization"]
    others = [node for node in readers if node.op_type in ("Add", "Conv")]
    if len(heads) != 1 or len(others) != 1:
        raise NotThisNetwork(f"a residual unit behind {tensor!r}")
    norm, y = _norm(graph, heads[0])
    first, stride, y = _convolution(graph, graph.next(y, "Conv"), 3)
    if stride != 1:
        raise NotThisNetwork("residual units whose second convolution has the stride")
    slope, y = _slope(graph, y)
    second, stride, y = _convolution(graph, graph.next(y, "Conv"), 3)
    shortcut = None
    if others[0].op_type == "Conv":
        shortcut, shortcut_stride, tensor = _convolution(graph, others[0], 1)
        if shortcut_stride != stride:
            raise NotThisNetwork("a shortcut of its unit's stride")
    elif stride != 1:
        raise NotThisNetwork("a convolution in the shortcut of a strided unit")
    total = graph.next(y, "Add")
    if set(total.input) != {y, tensor}:
        raise NotThisNetwork(f"a sum of {y!r} and its shortcut")
    return unit(norm, first, slope, second, shortcut), (second["bias"].shape[0], stride), total.output[0]


def _embedding(
    graph: _Graph, tensor: str, blocks: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """The last linear map with its batch norms: its own weight, all of it folded, and the tensor behind."""
    before = after = None
    if graph.is_next(tensor, "BatchNormalization"):
        before, tensor = _norm(graph, graph.next(tensor, "BatchNormalization"))
    tensor = graph.passed(tensor, _PASSING | _RESHAPING)
    if graph.is_next(tensor, "MatMul"):
        node = graph.next(tensor, "MatMul")
        weight, bias, tensor = graph.constant(node, 1).T, None, node.output[0]
        if graph.is_next(tensor, "Add"):
            node = graph.next(tensor, "Add")
            bias, tensor = graph.constant(node, 0 if node.input[1] == tensor else 1), node.output[0]
    else:
        node = graph.next(tensor, "Gemm")
        given = attributes(node)
        if given.get("transA", 0) or given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0:
            raise NotThisNetwork("a plain last layer")
        weight = graph.constant(node, 1) if given.get("transB", 0) else graph.constant(node, 1).T
        bias, tensor = graph.constant(node, 2) if len(node.input) > 2 else None, node.output[0]
    if graph.is_next(tensor, "BatchNormalization"):
        after, tensor = _norm(graph, graph.next(tensor, "BatchNormalization"))
    bias = None if bias is None else bias.reshape(-1)
    return weight, embedding(weight, bias, before, after, blocks), tensor
