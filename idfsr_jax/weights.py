"""Model folders: weights as safetensors, with a `model.json` that says what they are and carries their SHA-256 sums."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util
import ml_dtypes
import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from idfsr_jax.config import Config, from_dict
from idfsr_jax.errors import BadWeights
from idfsr_jax.files import write_atomically


@dataclass(frozen=True)
class Model:
    """All that restoring needs.

    Attributes:
      config: how the model was trained.
      denoiser: its averaged parameters.
      landmark_net: parameters of LandmarkNet.
      center: mean raw descriptor of the training people, [D].
      digest: SHA-256 of the denoiser's file, which names the model in identity files and pictures.
      steps: training steps.
    """

    config: Config
    denoiser: Any
    landmark_net: Any
    center: Float[np.ndarray, " d"]
    digest: str
    steps: int


def save_tree(path: Path, tree: Any, dtype: str = "float32") -> str:
    """Writes a parameter tree as safetensors; returns the file's SHA-256.

    Args:
      path: the file.
      tree: nested dict of arrays.
      dtype: "float32" or "bfloat16"; vectors stay float32, as they are few and sensitive.
    """
    target = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32
    flat = flax.traverse_util.flatten_dict(tree, sep="/")
    arrays = {
        name: np.ascontiguousarray(np.asarray(value, np.float32).astype(target if np.ndim(value) > 1 else np.float32))
        for name, value in flat.items()
    }
    data = save_safetensors(arrays)
    write_atomically(path, lambda file: file.write(data))
    return hashlib.sha256(data).hexdigest()


def load_tree(path: Path, sha256: str | None = None) -> dict:
    """Reads a parameter tree as float32.

    Args:
      path: the file.
      sha256: what its sum must be; safetensors itself does not notice a flipped bit.

    Raises:
      BadWeights: missing, damaged, or not the file that was meant.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}); give the folder of a trained model.") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise BadWeights(f"{path}: its SHA-256 sum is not the recorded one, so it is damaged; get it again.")
    try:
        arrays = load_safetensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadWeights(f"{path}: is not a readable safetensors file; get it again.") from error
    flat = {name: value.astype(np.float32) for name, value in arrays.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def save_model(
    folder: Path,
    config: Config,
    denoiser: Any,
    landmark_net: Any,
    center: Float[np.ndarray, " d"],
    steps: int,
    dtype: str = "float32",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model folder; `model.json` last, so that an interrupted write never passes for a model.

    Args:
      folder: made if missing.
      config: how the model was trained.
      denoiser: its averaged parameters.
      landmark_net: parameters of LandmarkNet.
      center: mean raw descriptor of the training people.
      steps: training steps done.
      dtype: precision of the matrices on disk.
      facts: anything else to record (images seen, minutes).
    """
    sums = {
        "denoiser.safetensors": save_tree(folder / "denoiser.safetensors", denoiser, dtype),
        "landmark_net.safetensors": save_tree(folder / "landmark_net.safetensors", landmark_net, dtype),
        "center.safetensors": save_tree(folder / "center.safetensors", {"center": center}),
    }
    description = {"config": asdict(config), "sha256": sums, "steps": steps, "facts": dict(facts or {})}
    text = json.dumps(description, indent=2, sort_keys=True) + "\n"
    write_atomically(folder / "model.json", lambda file: file.write(text.encode()))


def load_model(folder: Path | None = None) -> Model:
    """Reads a model folder, checking every sum.

    Args:
      folder: None means the model that ships with the package.

    Raises:
      BadWeights: the folder holds no model, or a damaged one.
    """
    folder = shipped_model() if folder is None else Path(folder)
    try:
        description = json.loads((folder / "model.json").read_text())
        sums, config = description["sha256"], from_dict(Config, description["config"])
    except OSError as error:
        raise BadWeights(f"{folder}: holds no model.json; give the `model` folder of a training run.") from error
    except (ValueError, KeyError) as error:
        raise BadWeights(f"{folder / 'model.json'}: is not a model description of this version; get it again.") from error
    read = lambda name: load_tree(folder / f"{name}.safetensors", sums.get(f"{name}.safetensors", ""))  # noqa: E731
    return Model(
        config=config,
        denoiser=read("denoiser"),
        landmark_net=read("landmark_net"),
        center=read("center")["center"],
        digest=sums["denoiser.safetensors"],
        steps=int(description["steps"]),
    )


def shipped_model() -> Path:
    """The model folder inside the package, or the one that the variable IDFSR_MODEL names."""
    return Path(os.environ.get("IDFSR_MODEL") or Path(__file__).parent / "assets" / "lfw64")
