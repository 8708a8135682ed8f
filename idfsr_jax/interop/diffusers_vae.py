"""diffusers' files of an `AutoencoderKL`: `config.json` beside `diffusion_pytorch_model.safetensors`.

Parameter names are translated without knowing the network: `down_blocks.0.resnets.1.conv1.weight` there is
`down_blocks_0/resnets_1/conv1/kernel` here, and axes are transposed between the two.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import flax.traverse_util
import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as save_safetensors

from idfsr_jax.config import AutoencoderConfig
from idfsr_jax.errors import BadWeights, InputError
from idfsr_jax.files import write_atomically

_CONFIG = "config.json"
_WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = (_CONFIG, _WEIGHTS)
"""What `write_autoencoder` writes."""
_HALF_WEIGHTS = "diffusion_pytorch_model.fp16.safetensors"
_TYPES = {"F16": np.dtype(np.float16), "F32": np.dtype(np.float32), "BF16": np.dtype(ml_dtypes.bfloat16)}
_BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What diffusers called the attention's layers before 0.15, in many files still."""


def read_autoencoder(folder: Path) -> tuple[AutoencoderConfig, dict[str, Any]]:
    """Reads config and parameters; whether they fit together is for the network to say.

    Args:
      folder: the autoencoder's, or a pipeline's, with `vae/` in it.

    Returns:
      The config, and a tree of float32 arrays.

    Raises:
      BadWeights: a file is missing or damaged, or the network is of another kind.
    """
    if not (folder / _CONFIG).is_file() and (folder / "vae" / _CONFIG).is_file():
        folder = folder / "vae"
    config = _read_config(folder / _CONFIG)
    path = folder / _WEIGHTS
    if not path.is_file() and (folder / _HALF_WEIGHTS).is_file():
        path = folder / _HALF_WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}); give a folder that diffusers saved.") from error
    try:
        arrays = {
            name: np.frombuffer(entry["data"], _TYPES[entry["dtype"]]).reshape(entry["shape"]).astype(np.float32)
            for name, entry in deserialize(data)
        }
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadWeights(f"{path}: is damaged, or not in float16, bfloat16 or float32; get it again.") from error
    return config, tree_of(arrays)


def write_autoencoder(folder: Path, config: AutoencoderConfig, params: Any) -> None:
    """Writes what diffusers' `AutoencoderKL.from_pretrained(folder)` reads; float32, config last.

    Raises:
      InputError: the folder cannot be written to.
    """
    levels = len(config.block_out_channels)
    described = {"_class_name": "AutoencoderKL", "act_fn": "silu", **dataclasses.asdict(config)}
    described |= {name: [block] * levels for name, block in _BLOCKS.items()}
    text = json.dumps(described, indent=2, sort_keys=True) + "\n"
    data = save_safetensors(state_of(params), {"format": "pt"})
    try:
        write_atomically(folder / _WEIGHTS, lambda file: file.write(data))
        write_atomically(folder / _CONFIG, lambda file: file.write(text.encode()))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); choose another place.") from error


def tree_of(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """A state dict of PyTorch's names and axes as a Flax tree."""
    flat: dict[tuple[str, ...], np.ndarray] = {}
    for name, value in state.items():
        *modules, kind = name.split(".")
        if "attentions" in modules:
            modules = ".".join(_OLD_ATTENTION.get(each, each) for each in modules).split(".")
            # Linear layers were 1x1 convolutions once.
            value = value[:, :, 0, 0] if value.ndim == 4 and value.shape[2:] == (1, 1) else value
        path = re.sub(r"/(\d+)(?=/|$)", r"_\1", "/".join(modules))
        leaf = kind if kind == "bias" else "scale" if value.ndim == 1 else "kernel"
        flat[(*path.split("/"), leaf)] = _to_flax(value)
    return flax.traverse_util.unflatten_dict(flat)


def state_of(params: Any) -> dict[str, np.ndarray]:
    """Inverse of `tree_of`."""
    state = {}
    for path, value in flax.traverse_util.flatten_dict(params).items():
        *modules, leaf = path
        name = ".".join(re.sub(r"_(\d+)$", r".\1", module) for module in modules)
        state[f"{name}.{'bias' if leaf == 'bias' else 'weight'}"] = _to_torch(np.asarray(value, np.float32))
    return state


def _to_flax(value: np.ndarray) -> np.ndarray:
    """Axes [out, in, height, width] to [height, width, in, out], [out, in] to [in, out]."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(value.ndim)
    return value if axes is None else np.ascontiguousarray(value.transpose(axes))


def _to_torch(value: np.ndarray) -> np.ndarray:
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim)
    return np.ascontiguousarray(value if axes is None else value.transpose(axes))


def _read_config(path: Path) -> AutoencoderConfig:
    try:
        values = json.loads(path.read_bytes())
        kind = values.get("_class_name", "AutoencoderKL")
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}); give a folder that diffusers saved.") from error
    except (ValueError, AttributeError) as error:
        raise BadWeights(f"{path}: is no JSON of a model; get it again.") from error
    other = {each for name, plain in _BLOCKS.items() for each in values.get(name, [plain]) if each != plain}
    other |= {str(value) for name, value, plain in [("", kind, "AutoencoderKL")] if value != plain}
    other |= {values["act_fn"]} if values.get("act_fn", "silu") not in ("silu", "swish") else set()
    if other:
        raise BadWeights(f"{path}: describes another network ({', '.join(sorted(other))}); give a plain AutoencoderKL.")
    fields = {field.name for field in dataclasses.fields(AutoencoderConfig)}
    given: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in fields
    }
    try:
        return AutoencoderConfig(**given)
    except TypeError as error:
        raise BadWeights(f"{path}: is not a config of this version ({error}); get it again.") from error
