"""Makes the recognisers that guide beside MobileFaceNet: `python -m tools.mobileface NETWORK FILE OUT.safetensors`.

NETWORK is `mobilefacenet-relu6`, of `weights/MobileFaceNet.onnx` in github.com/foamliu/MobileFaceNet (at 408e13c), or
`mobileface`, of `MobileFace_Identification/MobileFace_Identification_V2-0000.params`, which MXNet wrote, in
github.com/becauseofAI/MobileFace (at 6e98dd3). Reading the first needs the package onnx.
"""

import hashlib
import struct
import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from idfsr_jax.io.errors import InputError
from idfsr_jax.io.files import write_atomically
from idfsr_jax.networks.mobileface import MOBILEFACE, MOBILEFACENET_RELU6, MobileFace
from tools.mobilefacenet_ms1m import shipped

Network = Literal["mobilefacenet-relu6", "mobileface"]
NETWORKS: dict[Network, MobileFace] = {"mobilefacenet-relu6": MOBILEFACENET_RELU6, "mobileface": MOBILEFACE}
SHA256: dict[Network, str] = {
    "mobilefacenet-relu6": "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507",
    "mobileface": "750057619a1eef8acb320339aebf0bbcf191497e1396a361c8aaba517bbe825e",
}
METADATA: dict[Network, dict[str, str]] = {
    "mobilefacenet-relu6": {
        "source": "github.com/foamliu/MobileFaceNet, weights/MobileFaceNet.onnx at 408e13c",
        "source_sha256": SHA256["mobilefacenet-relu6"],
        "network": "MobileFaceNet (arXiv 1804.07573) with ReLU6, trained on a cleaned MS-Celeb-1M",
        "licence": "Apache-2.0; trained on MS-Celeb-1M: for research only",
    },
    "mobileface": {
        "source": "github.com/becauseofAI/MobileFace, MobileFace_Identification_V2-0000.params at 6e98dd3",
        "source_sha256": SHA256["mobileface"],
        "network": "MobileFace, version 2",
        "licence": "MIT; trained on faces from the web: for research only",
    },
}
_EPSILON = 1e-3
"""MXNet's in a batch norm that names none."""


def layers(network: MobileFace) -> list[str]:
    """A network's convolutions in order, by the port's names; the last is the product that makes the descriptor."""
    parts = ("expand", "depthwise", "project")
    blocks = [f"block_{index}/{part}" for index in range(len(network.blocks)) for part in parts]
    return ["stem", *(("depthwise", "project") if network.head else ()), *blocks, *_last(network)]


def _last(network: MobileFace) -> tuple[str, ...]:
    return ("head", "pool", "embed") if network.head else ("embed",)


def ported(kernel: np.ndarray) -> np.ndarray:
    """A kernel [out, in, h, w] as the port has it: a depthwise one [h, w, out], a pointwise one [in, out]."""
    if kernel.shape[1] == 1:
        return kernel[:, 0].transpose(1, 2, 0)
    return kernel[:, :, 0, 0].T if kernel.shape[2:] == (1, 1) else kernel.transpose(2, 3, 1, 0)


def of_onnx(content: bytes) -> dict[str, np.ndarray]:
    """Parameters of an ONNX graph whose batch norms are folded: its convolutions, in order."""
    import onnx

    graph = onnx.load_from_string(content).graph
    values = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    flat, convolutions = {}, [node for node in graph.node if node.op_type == "Conv"]
    for name, node in zip(layers(MOBILEFACENET_RELU6), convolutions, strict=True):
        flat[f"{name}/kernel"], flat[f"{name}/bias"] = ported(values[node.input[1]]), values[node.input[2]]
    return flat


def mxnet_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file of `mx.nd.save`, by name, in order; float32, dense, of a CPU.

    The layout is `NDArray::Save` and `dmlc::Stream`'s: a number that says what it is, a reserved one, the arrays'
    count, the arrays (what they are, dimensions, device, type, values), the names' count, the names.
    """
    place = 0

    def read(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from("<" + kind, content, place)
        place += struct.calcsize("<" + kind)
        return value

    if (read("Q"), read("Q")) != (0x112, 0):
        raise InputError("is no file of MXNet's arrays.")
    arrays = []
    for _ in range(read("Q")):
        first = read("I")
        dense = first == 0xF993FAC9 and read("i") == 0
        if not dense and first != 0xF993FAC8:
            raise InputError("holds arrays of another layout.")
        shape = [read("q") for _ in range(read("I"))]
        if (read("i"), read("i"), read("i")) != (1, 0, 0):
            raise InputError("holds arrays that are not float32 on a CPU.")
        arrays.append(np.frombuffer(content, "<f4", int(np.prod(shape)), place).reshape(shape))
        place += arrays[-1].nbytes
    names = []
    for _ in range(read("Q")):
        length = read("Q")
        names.append(content[place : place + length].decode())
        place += length
    return dict(zip(names, arrays, strict=True))


def of_mxnet(content: bytes) -> dict[str, np.ndarray]:
    """Parameters of MXNet's file: convolutions, each with the batch norm that follows it."""
    arrays, names = mxnet_arrays(content), layers(MOBILEFACE)
    between = [(f"convolution{index}", f"batchnorm{index}") for index in range(len(names) - 2)]
    flat = {}
    for name, (product, norm) in zip(names, [("conv1", "bn1"), *between, ("fc5", "fc5_bn")], strict=True):
        scale = arrays[f"arg:{norm}_gamma"] / np.sqrt(arrays[f"aux:{norm}_moving_var"] + _EPSILON)
        bias = arrays.get(f"arg:{product}_bias", 0.0)
        flat[f"{name}/bias"] = arrays[f"arg:{norm}_beta"] + scale * (bias - arrays[f"aux:{norm}_moving_mean"])
        kernel = arrays[f"arg:{product}_weight"]
        if name == "embed":  # [out, channels x h x w]; the port flattens h, w and channels.
            kernel = kernel.reshape(len(kernel), MOBILEFACE.blocks[-1][1], -1).transpose(0, 2, 1)
            flat["embed/kernel"] = scale * kernel.reshape(len(kernel), -1).T
        else:
            flat[f"{name}/kernel"] = ported(scale[:, None, None, None] * kernel)
    return flat


def convert(
    network: tyro.conf.Positional[Network], file: tyro.conf.Positional[Path], out: Annotated[Path, tyro.conf.Positional]
) -> int:
    """Writes a recogniser as safetensors.

    Args:
      network: Which.
      file: Its weights, of the repository.
      out: To write to.
    """
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != SHA256[network]:
            raise InputError(f"{file}: is not {METADATA[network]['source']}; its SHA-256 differs.")
        flat = of_onnx(content) if network == "mobilefacenet-relu6" else of_mxnet(content)
    except (InputError, OSError) as error:
        print(f"mobileface: {error}", file=sys.stderr)
        return 2
    written = shipped(
        {name: np.ascontiguousarray(value, np.float32) for name, value in flat.items()}, METADATA[network]
    )
    write_atomically(out, lambda file: file.write(written))
    print(hashlib.sha256(written).hexdigest())
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(convert))
