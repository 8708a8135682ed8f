"""The layout in which diffusers saves a network: `config.json` beside `diffusion_pytorch_model.safetensors`.

Parameter names are translated without knowing the network: `down_blocks.0.resnets.1.conv1.weight` there is
`down_blocks_0/resnets_1/conv1/kernel` here, and axes are transposed between the two.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as save_safetensors

from idfsr_jax.io.errors import BadWeights, InputError
from idfsr_jax.io.files import write_atomically

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = (CONFIG, WEIGHTS)
"""What `write_network` writes."""
_HALF_WEIGHTS = "diffusion_pytorch_model.fp16.safetensors"
_TYPES = {"F16": np.dtype(np.float16), "F32": np.dtype(np.float32), "BF16": np.dtype(ml_dtypes.bfloat16)}
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What diffusers called the attention's layers before 0.15, in many files still."""
_NUMBERED_LAYERS = ("linear_1", "linear_2")
"""Their numbers are part of their names and no places in a list."""


def network_folder(folder: Path, name: str) -> Path:
    """Where a network's files lie: the folder given, or of a pipeline's the one called `name` in it."""
    within = folder / name
    return within if not (folder / CONFIG).is_file() and (within / CONFIG).is_file() else folder


def read_json(path: Path) -> dict[str, Any]:
    """A config of diffusers as it stands.

    Raises:
      BadWeights: it is missing, or no JSON of a model.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}); give a folder that diffusers saved.") from error
    except ValueError as error:
        raise BadWeights(f"{path}: is no JSON of a model; get it again.") from error
    if not isinstance(values, dict):
        raise BadWeights(f"{path}: is no JSON of a model; get it again.")
    return values


def read_parameters(folder: Path) -> dict[str, Any]:
    """The weights in a folder, of full or else of half precision, as a Flax tree of float32 arrays.

    Raises:
      BadWeights: they are missing or damaged.
    """
    path = folder / WEIGHTS
    if not path.is_file() and (folder / _HALF_WEIGHTS).is_file():
        path = folder / _HALF_WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}); give a folder that diffusers saved.") from error
    try:
        entries = deserialize(data)
        # These are gigabytes: nothing is kept twice that need not be.
        del data
        arrays = {
            name: np.frombuffer(entry["data"], _TYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in entries
        }
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadWeights(f"{path}: is damaged, or not in float16, bfloat16 or float32; get it again.") from error
    return tree_of(arrays)


def require_shapes(wanted: Any, found: Any, folder: str | Path) -> None:
    """Checks that the weights read from a folder are those of the network that its config describes.

    Args:
      wanted: a tree of arrays, or of their shapes.
      found: of arrays.
      folder: for the complaint.

    Raises:
      BadWeights: an array is missing, one too many, or of another shape.
    """
    expected, there = (
        {name: leaf.shape for name, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (wanted, found)
    )
    for name in sorted(set(expected) | set(there)):
        if expected.get(name) != there.get(name):
            raise BadWeights(
                f"{folder}: {name} has the shape {there.get(name)}, and by config.json should have "
                f"{expected.get(name)} (None: it is not there); get both files again."
            )


def write_network(folder: Path, described: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> None:
    """Writes what `from_pretrained(folder)` of a class of diffusers reads; the config comes last.

    Args:
      folder: made if missing.
      described: the config.
      state: arrays by PyTorch's names, with its axes.

    Raises:
      InputError: the folder cannot be written to.
    """
    data = save_safetensors(dict(state), {"format": "pt"})
    try:
        write_atomically(folder / WEIGHTS, lambda file: file.write(data))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); choose another place.") from error
    write_json(folder / CONFIG, described)


def write_json(path: Path, described: Mapping[str, Any]) -> None:
    """Writes a config as diffusers does, sorted.

    Raises:
      InputError: its folder cannot be written to.
    """
    text = json.dumps(described, indent=2, sort_keys=True) + "\n"
    try:
        write_atomically(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written to ({error.strerror}); choose another place.") from error


def tree_of(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """A state dict of PyTorch's names and axes as a Flax tree, float32; 1x1 convolutions of attention are matrices."""
    flat: dict[tuple[str, ...], np.ndarray] = {}
    for name, value in state.items():
        *modules, kind = name.split(".")
        if "attentions" in modules:
            modules = ".".join(_OLD_ATTENTION.get(each, each) for each in modules).split(".")
            # Linear layers were 1x1 convolutions once.
            value = value[:, :, 0, 0] if value.ndim == 4 and value.shape[2:] == (1, 1) else value
        path = re.sub(r"/(\d+)(?=/|$)", r"_\1", "/".join(modules))
        leaf = kind if kind == "bias" else "scale" if value.ndim == 1 else "kernel"
        flat[(*path.split("/"), leaf)] = _to_flax(value).astype(np.float32, copy=False)
    return flax.traverse_util.unflatten_dict(flat)


def state_of(params: Any) -> dict[str, np.ndarray]:
    """Inverse of `tree_of`, where no matrix was a convolution."""
    state = {}
    for path, value in flax.traverse_util.flatten_dict(params).items():
        *modules, leaf = path
        name = ".".join(each if each in _NUMBERED_LAYERS else re.sub(r"_(\d+)$", r".\1", each) for each in modules)
        state[f"{name}.{'bias' if leaf == 'bias' else 'weight'}"] = _to_torch(np.asarray(value, np.float32))
    return state


def _to_flax(value: np.ndarray) -> np.ndarray:
    """Axes [out, in, height, width] to [height, width, in, out], [out, in] to [in, out]."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(value.ndim)
    return value if axes is None else np.ascontiguousarray(value.transpose(axes))


def _to_torch(value: np.ndarray) -> np.ndarray:
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim)
    return np.ascontiguousarray(value if axes is None else value.transpose(axes))
