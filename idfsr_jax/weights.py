"""Model folders: weights as safetensors, and a `model.json` that says what they are and carries all SHA-256 sums."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import ml_dtypes
import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as save_safetensors

from idfsr_jax.config import Config, from_dict
from idfsr_jax.errors import BadWeights
from idfsr_jax.files import file_sha256, read_summed_json, write_atomically, write_summed_json
from idfsr_jax.interop.diffusers_vae import FILES, write_autoencoder
from idfsr_jax.models.id_encoder import DLIB_NAME
from idfsr_jax.models.latent import Autoencoder, read_autoencoder_of

_AUTOENCODER = "vae"
"""Folder of the autoencoder within a model's; the name that diffusers' pipelines give it."""


@dataclass(frozen=True)
class Model:
    """All that restoring needs.

    Attributes:
      config: how the model was trained.
      denoiser: its averaged parameters.
      landmark_net: parameters of LandmarkNet.
      center: mean raw descriptor of the training people, [D].
      digest: SHA-256 over the sums of all its files, which names the model in identity files and pictures.
      steps: training steps.
      encoder: name of the ID encoder that it was trained with.
      autoencoder: of the latents that it was trained on, or None where these are pixels.
    """

    config: Config
    denoiser: Any
    landmark_net: Any
    center: Float[np.ndarray, " d"]
    digest: str
    steps: int
    encoder: str = DLIB_NAME
    autoencoder: Autoencoder | None = None


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


def save_model(
    folder: Path,
    config: Config,
    denoiser: Any,
    landmark_net: Any,
    center: Float[np.ndarray, " d"],
    steps: int,
    dtype: str = "float32",
    facts: Mapping[str, Any] | None = None,
    encoder: str = DLIB_NAME,
    autoencoder: Autoencoder | None = None,
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
      encoder: name of the ID encoder that made the training identities.
      autoencoder: of the latents, if it was trained on them; written to `vae/` in diffusers' layout, float32.

    Raises:
      ValueError: the configuration diffuses latents and no autoencoder is given, or one is and it does not.
    """
    if (autoencoder is None) == bool(config.model.autoencoder):
        raise ValueError("an autoencoder belongs to a model of latents, and to no other")
    sums = save_parts(folder, "denoiser", denoiser, dtype) | {
        "landmark_net.safetensors": save_tree(folder / "landmark_net.safetensors", landmark_net, dtype),
        "center.safetensors": save_tree(folder / "center.safetensors", {"center": center}),
    }
    if autoencoder is not None:
        write_autoencoder(folder / _AUTOENCODER, autoencoder.config, jax.device_get(autoencoder.params))
        sums |= {f"{_AUTOENCODER}/{name}": file_sha256(folder / _AUTOENCODER / name) for name in FILES}
    described = {"config": asdict(config), "encoder": encoder, "sha256": sums, "steps": steps}
    write_description(folder, described | {"facts": dict(facts or {})})


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Writes `model.json`, with a SHA-256 of its own content in it, `self_sha256`.

    Args:
      folder: of the model.
      description: JSON-able: `config`, `encoder`, `sha256` (of each file), `steps`, `facts`.
    """
    write_summed_json(folder / "model.json", description)


def read_description(folder: Path) -> dict[str, Any]:
    """Reads `model.json`.

    Returns:
      What `write_description` was given.

    Raises:
      BadWeights: it is missing, no JSON, or not as it was written.
    """
    path = folder / "model.json"
    try:
        description = read_summed_json(path)
    except OSError as error:
        raise BadWeights(f"{folder}: holds no model.json; give the `model` folder of a training run.") from error
    except ValueError as error:
        raise BadWeights(f"{path}: is damaged, or of another version; get it again.") from error
    del description["self_sha256"]
    return description


def load_model(folder: Path | None = None) -> Model:
    """Reads a model folder, checking every sum.

    Args:
      folder: None means the model that ships with the package.

    Raises:
      BadWeights: the folder holds no model, or a damaged one.
    """
    folder = shipped_model() if folder is None else Path(folder)
    description = read_description(folder)
    try:
        sums, steps = dict(description["sha256"]), int(description["steps"])
        encoder = str(description.get("encoder", DLIB_NAME))  # there once was no other
        config = from_dict(Config, description["config"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadWeights(
            f"{folder / 'model.json'}: is not a model description of this version; get it again."
        ) from error
    read = lambda name: load_tree(folder / f"{name}.safetensors", sums.get(f"{name}.safetensors", ""))  # noqa: E731
    return Model(
        config=config,
        denoiser=load_parts(folder, "denoiser", sums),
        landmark_net=read("landmark_net"),
        center=read("center")["center"],
        digest=hashlib.sha256("".join(sums[name] for name in sorted(sums)).encode()).hexdigest(),
        steps=steps,
        encoder=encoder,
        autoencoder=_load_autoencoder(folder, config, sums),
    )


def _load_autoencoder(folder: Path, config: Config, sums: Mapping[str, str]) -> Autoencoder | None:
    """The model's own copy of the autoencoder, its sums checked."""
    if not config.model.autoencoder:
        return None
    for name in FILES:
        path = folder / _AUTOENCODER / name
        try:
            found = file_sha256(path)
        except OSError as error:
            raise BadWeights(f"{path}: cannot be read ({error.strerror}); get the model folder again.") from error
        if found != sums.get(f"{_AUTOENCODER}/{name}"):
            raise BadWeights(f"{path}: its SHA-256 sum is not the recorded one, so it is damaged; get it again.")
    return read_autoencoder_of(config.model, folder / _AUTOENCODER)


def shipped_model() -> Path:
    """The model folder inside the package, or the one that the variable IDFSR_MODEL names."""
    return Path(os.environ.get("IDFSR_MODEL") or Path(__file__).parent / "assets" / "lfw64")
