"""The judge of docs/results.md as ONNX: `python -m tools.mobilefacenet_onnx 068.ckpt mobilefacenet.onnx`.

MobileFaceNet (Chen et al. 2018) as github.com/Xiaoccer/MobileFaceNet_Pytorch trained it on CASIA-WebFace, whose file
`model/best/068.ckpt` has the SHA-256 e839247cdbdfc023fb7cadeaf53a4549d50c8fc24ad154c02e35920ea8910d99. It needs torch
and onnx, of requirements-test.txt.
"""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import torch
import tyro
from jaxtyping import Float
from onnx import TensorProto, helper, numpy_helper

from idfsr_jax.io.errors import InputError
from idfsr_jax.io.files import write_atomically

State = dict[str, Float[np.ndarray, "..."]]
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, channels, how many, and stride of the first of them."""


class Graph:
    """Nodes one after the other, each fed by the last."""

    def __init__(self, state: State) -> None:
        self.state, self.nodes, self.constants, self.last = state, [], [], "input"  # type: ignore[var-annotated]

    def add(self, kind: str, *others: str, **attributes: object) -> str:
        """Applies an operation to the last output and others."""
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *others], [output], **attributes))
        self.last = output
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant; its name."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, name: str, shape: tuple[int, ...] = ()) -> str:
        """A parameter of the state; its name."""
        if name not in self.state:
            raise InputError(f"the checkpoint has no {name}; give that of MobileFaceNet_Pytorch.")
        value = self.state[name]
        return self.constant(name, value.reshape(shape) if shape else value)

    def convolution(self, conv: str, norm: str, activation: str = "", stride: int = 1, pad: int = 0) -> None:
        """A convolution without bias, its batch norm, and a PReLU where it has one."""
        kernel = self.weight(f"{conv}.weight")
        out, width = self.state[kernel].shape[:2]
        # A kernel of one input channel is depthwise here, as no layer has a single input.
        groups = out if width == 1 else 1
        self.add("Conv", kernel, strides=[stride] * 2, pads=[pad] * 4, group=groups)
        fields = ("weight", "bias", "running_mean", "running_var")
        self.add("BatchNormalization", *(self.weight(f"{norm}.{field}") for field in fields), epsilon=1e-5)
        if activation:
            self.add("PRelu", self.weight(f"{activation}.weight", (-1, 1, 1)))

    def bottleneck(self, name: str, stride: int, skip: bool) -> None:
        """Widened, convolved in each channel, and narrowed; added to its input where it has the same shape."""
        before = self.last
        self.convolution(f"{name}.conv.0", f"{name}.conv.1", f"{name}.conv.2")
        self.convolution(f"{name}.conv.3", f"{name}.conv.4", f"{name}.conv.5", stride=stride, pad=1)
        self.convolution(f"{name}.conv.6", f"{name}.conv.7")
        if skip:
            self.add("Add", before)


def mobilefacenet(state: State) -> onnx.ModelProto:
    """The network, from aligned chips of 112 px in [-1, 1] (RGB, channels first) to vectors of 128.

    Args:
      state: PyTorch's state dict.

    Raises:
      InputError: it is another network's.
    """
    graph = Graph({name.removeprefix("module."): value for name, value in state.items()})
    # It was trained on the middle 96 columns.
    ends = (graph.constant(name, np.array([value])) for name, value in (("from", 8), ("to", 104), ("columns", 3)))
    graph.add("Slice", *ends)
    for name, stride in (("conv1", 2), ("dw_conv1", 1)):
        graph.convolution(f"{name}.conv", f"{name}.bn", f"{name}.prelu", stride=stride, pad=1)
    width, number = 64, 0
    for _, channels, count, stride in BOTTLENECKS:
        for index in range(count):
            first = stride if index == 0 else 1
            graph.bottleneck(f"blocks.{number}", first, skip=first == 1 and width == channels)
            width, number = channels, number + 1
    graph.convolution("conv2.conv", "conv2.bn", "conv2.prelu")
    for name in ("linear7", "linear1"):
        graph.convolution(f"{name}.conv", f"{name}.bn")
    embedding = graph.add("Flatten")
    described = helper.make_graph(
        graph.nodes,
        "MobileFaceNet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info(embedding, TensorProto.FLOAT, ["batch", 128])],
        graph.constants,
    )
    model = helper.make_model(described, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def read_state(path: Path) -> State:
    """The arrays of a checkpoint of PyTorch, and nothing else of it.

    Raises:
      InputError: it is missing, or no such file.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content.get("net_state_dict", content)
        return {name: value.numpy() for name, value in state.items()}
    # A file of another kind fails in torch in whatever way its bytes lead to.
    except Exception as error:
        raise InputError(f"{path}: cannot be read as a checkpoint; give 068.ckpt of MobileFaceNet_Pytorch.") from error


def convert(checkpoint: tyro.conf.Positional[Path], out: Annotated[Path, tyro.conf.Positional]) -> int:
    """Writes MobileFaceNet as ONNX.

    Args:
      checkpoint: Of MobileFaceNet_Pytorch.
      out: To write to.
    """
    try:
        content = mobilefacenet(read_state(checkpoint)).SerializeToString()
    except InputError as error:
        print(f"mobilefacenet_onnx: {error}", file=sys.stderr)
        return 2
    write_atomically(out, lambda file: file.write(content))
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(convert))
