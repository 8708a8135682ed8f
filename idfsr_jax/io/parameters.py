"""Parameter trees as safetensors files, whole or in parts of bounded size, with SHA-256 sums."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as save_safetensors

from idfsr_jax.io.errors import BadWeights
from idfsr_jax.io.files import write_atomically


def save_tree(path: Path, tree: Any, dtype: str = "float32") -> str:
    """Writes a parameter tree as one safetensors file; returns the file's SHA-256.

    Args:
      path: the file.
      tree: nested dict of arrays.
      dtype: "float32" or "bfloat16"; vectors stay float32, as they are few and sensitive.
    """
    return _save_flat(path, _flat_arrays(tree, dtype))


def load_tree(path: Path, sha256: str | None = None) -> dict:
    """Reads a parameter tree as float32.

    Args:
      path: the file.
      sha256: what its sum must be; safetensors itself does not notice a flipped bit.

    Raises:
      BadWeights: missing, damaged, or not the file that was meant.
    """
    return flax.traverse_util.unflatten_dict(_load_flat(path, sha256), sep="/")


def save_parts(folder: Path, name: str, tree: Any, dtype: str, part_bytes: int = 15_000_000) -> dict[str, str]:
    """Writes a parameter tree as `name-1.safetensors`, `name-2.safetensors`, ... of bounded size.

    Version control and package indices dislike large files.

    Returns:
      The SHA-256 of each file, by its name.
    """
    parts: list[dict[str, np.ndarray]] = [{}]
    for key, value in _flat_arrays(tree, dtype).items():
        if parts[-1] and sum(each.nbytes for each in parts[-1].values()) + value.nbytes > part_bytes:
            parts.append({})
        parts[-1][key] = value
    names = [f"{name}-{number}.safetensors" for number in range(1, len(parts) + 1)]
    return {file: _save_flat(folder / file, part) for file, part in zip(names, parts, strict=True)}


def load_parts(folder: Path, name: str, sums: Mapping[str, str]) -> dict:
    """Reads what `save_parts` wrote; `sums` says which files belong to it.

    Raises:
      BadWeights: a part is missing or damaged.
    """
    flat: dict[str, np.ndarray] = {}
    files = sorted(file for file in sums if file.startswith(f"{name}-"))
    if not files:
        raise BadWeights(f"{folder / 'model.json'}: records no file of the {name}; get it again.")
    for file in files:
        flat |= _load_flat(folder / file, sums[file])
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _flat_arrays(tree: Any, dtype: str) -> dict[str, np.ndarray]:
    target = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32
    flat = flax.traverse_util.flatten_dict(tree, sep="/")
    return {
        name: np.ascontiguousarray(np.asarray(value, np.float32).astype(target if np.ndim(value) > 1 else np.float32))
        for name, value in flat.items()
    }


def _save_flat(path: Path, arrays: dict[str, np.ndarray]) -> str:
    data = save_safetensors(arrays)
    write_atomically(path, lambda file: file.write(data))
    return hashlib.sha256(data).hexdigest()


def _load_flat(path: Path, sha256: str | None) -> dict[str, np.ndarray]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}); give the folder of a trained model.") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise BadWeights(f"{path}: its SHA-256 sum is not the recorded one, so it is damaged; get it again.")
    try:
        # safetensors' own NumPy reader knows no bfloat16.
        types = {"F32": np.dtype(np.float32), "BF16": np.dtype(ml_dtypes.bfloat16)}
        arrays = {
            name: np.frombuffer(entry["data"], types[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in deserialize(data)
        }
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadWeights(f"{path}: is not a readable safetensors file; get it again.") from error
    return {name: value.astype(np.float32) for name, value in arrays.items()}
