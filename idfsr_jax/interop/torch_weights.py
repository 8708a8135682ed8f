"""PyTorch state dicts of insightface's `arcface_torch` (`conv1`, `bn1`, `layer1.0.bn1`, ..., `fc`, `features`).

Read from safetensors. A `.pth` is a pickle, which may run code when it is opened; `convert_checkpoint` has PyTorch read
the tensors of one and nothing else, once, on the user's demand.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

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
from idfsr_jax.io.files import write_atomically

_PREFIXES = ("module.", "backbone.", "model.")
"""What wrappers put before every name."""


def parse_safetensors(content: bytes) -> IResNetWeights:
    """Reads a state dict that was saved as safetensors.

    Raises:
      NotThisNetwork: it is another network's, or no safetensors.
    """
    try:
        return parse_state_dict(load_safetensors(content))
    except (SafetensorError, KeyError, TypeError) as error:
        raise NotThisNetwork(f"readable safetensors in float16, float32 or float64 ({error})") from error


def parse_state_dict(state: dict[str, np.ndarray]) -> IResNetWeights:
    """An IResNet of PyTorch's names.

    Raises:
      NotThisNetwork: a layer is missing or of another shape.
    """
    layers = _Layers(state)
    blocks: list[tuple[int, int]] = []
    params: dict[str, Any] = {
        "stem": convolution(layers.array("conv1.weight", 4), layers.optional("conv1.bias"), layers.norm("bn1")),
        "stem_activation": activation(layers.array("prelu.weight", 1)),
    }
    for resolution in range(1, 5):
        place = 0
        while f"layer{resolution}.{place}.conv1.weight" in layers.state or place == 0:
            tree, width = _unit(layers, f"layer{resolution}.{place}")
            params[f"block_{len(blocks)}"] = tree
            # Strides are not in a state dict: the first unit of every resolution halves it.
            blocks.append((width, 2 if place == 0 else 1))
            place += 1
    weight = layers.array("fc.weight", 2)
    after = layers.norm("features") if "features.running_mean" in layers.state else None
    params["embed"] = embedding(weight, layers.optional("fc.bias"), layers.norm("bn2"), after, blocks)
    return IResNetWeights(tuple(blocks), weight.shape[0], params)


class _Layers:
    """A state dict whose every missing or misshapen entry is named."""

    def __init__(self, state: dict[str, np.ndarray]) -> None:
        for prefix in _PREFIXES:
            if f"{prefix}conv1.weight" in state:
                state = {name.removeprefix(prefix): value for name, value in state.items()}
        self.state = state

    def array(self, name: str, dimensions: int) -> np.ndarray:
        if name not in self.state or self.state[name].ndim != dimensions:
            raise NotThisNetwork(f"{name} with {dimensions} dimensions")
        return self.state[name]

    def optional(self, name: str) -> np.ndarray | None:
        return self.array(name, 1) if name in self.state else None

    def norm(self, name: str) -> BatchNorm:
        part = lambda each: self.array(f"{name}.{each}", 1)  # noqa: E731
        return BatchNorm(part("weight"), part("bias"), part("running_mean"), part("running_var"))


def _unit(layers: _Layers, name: str) -> tuple[dict[str, Any], int]:
    def folded(conv: str, norm: str) -> dict[str, np.ndarray]:
        kernel = layers.array(f"{name}.{conv}.weight", 4)
        return convolution(kernel, layers.optional(f"{name}.{conv}.bias"), layers.norm(f"{name}.{norm}"))

    shortcut = folded("downsample.0", "downsample.1") if f"{name}.downsample.0.weight" in layers.state else None
    second = folded("conv2", "bn3")
    slope = layers.array(f"{name}.prelu.weight", 1)
    tree = unit(layers.norm(f"{name}.bn1"), folded("conv1", "bn2"), slope, second, shortcut)
    return tree, second["bias"].shape[0]


def convert_checkpoint(path: Path, out: Path) -> tuple[Path, str]:
    """Writes the tensors of a PyTorch checkpoint of an IResNet as safetensors, float32.

    Args:
      path: the `.pth`; a state dict, or a dict that holds one as `state_dict`.
      out: folder to write to.

    Returns:
      The file, which has the checkpoint's name, and its SHA-256.

    Raises:
      BadWeights: PyTorch is not installed; or the checkpoint is missing, holds more than tensors, or another network.
    """
    if not path.is_file():
        raise BadWeights(f"{path}: no such file; give a PyTorch checkpoint of an ArcFace recogniser.")
    try:
        import torch
    except ImportError:
        raise BadWeights(f"{path}: needs PyTorch to be opened; install it (`pip install torch`).") from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch has no common class for what it raises on a bad file
        raise BadWeights(f"{path}: is damaged, or holds more than tensors and so may run code; get another.") from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    tensors = {k: v for k, v in loaded.items() if isinstance(v, torch.Tensor)} if isinstance(loaded, dict) else {}
    state = {name: np.ascontiguousarray(value.float().numpy()) for name, value in tensors.items()}
    try:
        parse_state_dict(state)
    except NotThisNetwork as error:
        raise BadWeights(f"{path}: is no IResNet as insightface has them; it lacks {error}.") from error
    data = save_safetensors(state)
    target = out / f"{path.stem}.safetensors"
    write_atomically(target, lambda file: file.write(data))
    return target, hashlib.sha256(data).hexdigest()
