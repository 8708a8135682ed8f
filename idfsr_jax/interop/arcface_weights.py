"""Weights of ArcFace's IResNets as a Flax parameter tree, from whichever file the user has.

The readers of single formats name the layers; here they are folded, in float64, into what
`idfsr_jax.networks.iresnet.IResNet` holds.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from idfsr_jax.io.errors import BadWeights

CHIP_SIDE = 112
KINDS = (".onnx", ".safetensors")


@dataclass(frozen=True)
class BatchNorm:
    """A frozen batch norm: gamma (x - mean) / sqrt(variance + epsilon) + beta."""

    gamma: Float[np.ndarray, " c"]
    beta: Float[np.ndarray, " c"]
    mean: Float[np.ndarray, " c"]
    variance: Float[np.ndarray, " c"]
    epsilon: float = 1e-5

    def affine(self) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
        """As (scale, shift), float64: scale x + shift."""
        scale = self.gamma.astype(np.float64) / np.sqrt(self.variance.astype(np.float64) + self.epsilon)
        return scale, self.beta - self.mean * scale


@dataclass(frozen=True)
class IResNetWeights:
    """An IResNet as a file describes it.

    Attributes:
      blocks: width and stride of each residual unit.
      dimension: of the embedding.
      params: of `IResNet(blocks, dimension, mean, deviation)`, float32.
      mean: what the network wants subtracted from pixels of 0 to 255.
      deviation: and what it wants them divided by.
    """

    blocks: tuple[tuple[int, int], ...]
    dimension: int
    params: dict[str, Any]
    mean: float = 127.5
    deviation: float = 127.5


class NotThisNetwork(Exception):
    """What a file holds is no IResNet; the message says what was looked for."""


def convolution(
    kernel: Float[np.ndarray, "o i h w"], bias: Float[np.ndarray, " o"] | None, norm: BatchNorm | None
) -> dict[str, np.ndarray]:
    """A convolution, and the batch norm behind it if there is one, as one convolution with a bias."""
    scale, shift = norm.affine() if norm is not None else (np.ones(kernel.shape[0]), np.zeros(kernel.shape[0]))
    weights = kernel.astype(np.float64).transpose(2, 3, 1, 0) * scale
    total = shift if bias is None else shift + bias.astype(np.float64) * scale
    return {"kernel": np.ascontiguousarray(weights, np.float32), "bias": total.astype(np.float32)}


def activation(slope: np.ndarray) -> dict[str, np.ndarray]:
    """PReLU's slopes, of any shape with as many elements as channels."""
    return {"slope": np.ravel(slope).astype(np.float32)}


def unit(
    norm: BatchNorm,
    first: dict[str, np.ndarray],
    slope: np.ndarray,
    second: dict[str, np.ndarray],
    shortcut: dict[str, np.ndarray] | None,
) -> dict[str, Any]:
    """One residual unit of convolutions that are folded already."""
    scale, shift = (each.astype(np.float32) for each in norm.affine())
    tree = {"scale": scale, "shift": shift, "conv_1": first, "activation": activation(slope), "conv_2": second}
    return tree if shortcut is None else tree | {"shortcut": shortcut}


def embedding(
    weight: Float[np.ndarray, "o i"],
    bias: Float[np.ndarray, " o"] | None,
    before: BatchNorm | None,
    after: BatchNorm | None,
    blocks: Sequence[tuple[int, int]],
) -> dict[str, np.ndarray]:
    """The last linear map with the batch norms before and behind it, for features flattened as [h, w, c].

    Args:
      weight: of features flattened as [c, h, w].
      bias: of the outputs.
      before: of the c channels.
      after: of the outputs.
      blocks: the residual units, which say how many features there must be.

    Raises:
      NotThisNetwork: there are others.
    """
    channels, side = blocks[-1][0], CHIP_SIDE
    for _, stride in blocks:
        side = -(-side // stride)
    outputs = weight.shape[0]
    if weight.shape[1] != channels * side**2:
        raise NotThisNetwork(f"a last layer for {channels} x {side} x {side} features")
    kernel = weight.astype(np.float64).reshape(outputs, channels, side, side)
    total = np.zeros(outputs) if bias is None else bias.astype(np.float64)
    if before is not None:
        scale, shift = before.affine()
        total = total + np.einsum("ochw,c->o", kernel, shift)
        kernel = kernel * scale[:, None, None]
    if after is not None:
        scale, shift = after.affine()
        kernel, total = kernel * scale[:, None, None, None], total * scale + shift
    flat = kernel.transpose(2, 3, 1, 0).reshape(-1, outputs)
    return {"kernel": np.ascontiguousarray(flat, np.float32), "bias": total.astype(np.float32)}


def arcface_name(path: str | Path) -> str:
    """What data sets, models and identity files call the recogniser in a file: by the SHA-256 of its content.

    Raises:
      BadWeights: the file cannot be read.
    """
    return f"arcface-{hashlib.sha256(_content(Path(path))).hexdigest()[:16]}"


@functools.lru_cache(maxsize=1)
def read_arcface(path: Path) -> tuple[str, IResNetWeights]:
    """Reads an IResNet; kept, as the files are large.

    Args:
      path: `.onnx` as insightface publishes them, or `.safetensors` of a PyTorch state dict.

    Returns:
      The recogniser's name, and its weights.

    Raises:
      BadWeights: the file is missing, damaged, or holds another network; or `onnx` is not installed.
    """
    if path.suffix.lower() not in KINDS:
        hint = f"`idfsr convert --weights {path.name} --out DIR` makes one" if path.suffix in (".pth", ".pt") else ""
        raise BadWeights(f"{path}: give an ArcFace recogniser as .onnx or .safetensors{hint and '; '}{hint}.")
    content = _content(path)
    try:
        if path.suffix.lower() == ".onnx":
            from idfsr_jax.interop.arcface_onnx import parse_onnx

            weights = parse_onnx(content, str(path))
        else:
            from idfsr_jax.interop.torch_weights import parse_safetensors

            weights = parse_safetensors(content)
    except NotThisNetwork as error:
        raise BadWeights(f"{path}: is no IResNet as insightface has them; it lacks {error}.") from error
    return f"arcface-{hashlib.sha256(content).hexdigest()[:16]}", weights


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadWeights(
            f"{path}: cannot be read ({error.strerror}); give an ArcFace recogniser, by --encoder if it moved."
        ) from error
