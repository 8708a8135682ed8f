"""Model folders: weights as safetensors, and a `model.json` that says what they are and carries all SHA-256 sums."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from idfsr_jax.config import Config, from_dict
from idfsr_jax.interop.diffusers_layout import FILES, read_parameters
from idfsr_jax.interop.diffusers_unet import PIPELINE_FILES, UNET, write_unet
from idfsr_jax.interop.diffusers_vae import write_autoencoder
from idfsr_jax.io.errors import BadWeights
from idfsr_jax.io.files import file_sha256, read_summed_json, write_summed_json
from idfsr_jax.io.parameters import load_parts, load_tree, save_parts, save_tree
from idfsr_jax.networks.id_encoder import DLIB_NAME

_AUTOENCODER = "vae"
"""Folder of the autoencoder within a model's; the name that diffusers' pipelines give it."""
_FINISH = "finish.safetensors"
_AUTOENCODER_FILES = tuple(f"{_AUTOENCODER}/{name}" for name in FILES)


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
      autoencoder: `latent.space.Autoencoder` of the latents that it was trained on, or None where these are pixels.
      finish: parameters of `method.finish.Finish` made for it, or None.
    """

    config: Config
    denoiser: Any
    landmark_net: Any
    center: Float[np.ndarray, " d"]
    digest: str
    steps: int
    encoder: str = DLIB_NAME
    autoencoder: Any = None
    finish: Any = None


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
    autoencoder: Any = None,
    finish: Any = None,
) -> None:
    """Writes a model folder; `model.json` last, so that an interrupted write never passes for a model.

    Args:
      folder: made if missing.
      config: how the model was trained.
      denoiser: its averaged parameters; a pretrained UNet is written to `unet/` in diffusers' layout, and its schedule
        to `scheduler/`.
      landmark_net: parameters of LandmarkNet.
      center: mean raw descriptor of the training people.
      steps: training steps done.
      dtype: precision of the matrices on disk.
      facts: anything else to record (images seen, minutes).
      encoder: name of the ID encoder that made the training identities.
      autoencoder: of the latents, if it was trained on them; written to `vae/` in diffusers' layout, float32.
      finish: parameters of `method.finish.Finish`, if one was made for it.

    Raises:
      ValueError: the configuration diffuses latents and no autoencoder is given, or one is and it does not.
    """
    if (autoencoder is None) == bool(config.model.autoencoder):
        raise ValueError("an autoencoder belongs to a model of latents, and to no other")
    unet = denoiser["unet"] if config.model.unet.folder else None
    rest = denoiser if unet is None else {name: part for name, part in denoiser.items() if name != "unet"}
    sums = save_parts(folder, "denoiser", rest, dtype) | {
        "landmark_net.safetensors": save_tree(folder / "landmark_net.safetensors", landmark_net, dtype),
        "center.safetensors": save_tree(folder / "center.safetensors", {"center": center}),
    }
    if finish is not None:
        sums[_FINISH] = save_tree(folder / _FINISH, finish, dtype)
    if autoencoder is not None:
        write_autoencoder(folder / _AUTOENCODER, autoencoder.config, jax.device_get(autoencoder.params))
        sums |= _sums_of(folder, _AUTOENCODER_FILES)
    if unet is not None:
        side = config.model.diffused_side(config.data.size)
        write_unet(folder, config.model.unet, config.diffusion, jax.device_get(unet), side, dtype)
        sums |= _sums_of(folder, PIPELINE_FILES)
    described = {"config": asdict(config), "encoder": encoder, "sha256": sums, "steps": steps}
    write_summed_json(folder / "model.json", described | {"facts": dict(facts or {})})


def read_description(folder: Path) -> dict[str, Any]:
    """Reads `model.json`.

    Returns:
      `config`, `encoder`, `sha256` (of each file), `steps` and `facts`.

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
    folder = shipped_model() if folder is None else Path(folder).expanduser()
    description = read_description(folder)
    try:
        sums, steps = dict(description["sha256"]), int(description["steps"])
        encoder = str(description.get("encoder", DLIB_NAME))  # there once was no other
        sampling = description["config"]["sample"]
        if isinstance(sampling.get("guidance"), float):
            sampling["guidance"] = 0  # Once the weight of classifier-free guidance, 1 in every model: none.
        del description["config"]["evaluate"]  # What is measured, and how, says nothing of a model.
        config = from_dict(Config, description["config"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadWeights(
            f"{folder / 'model.json'}: is not a model description of this version; get it again."
        ) from error
    read = lambda name: load_tree(folder / f"{name}.safetensors", sums.get(f"{name}.safetensors", ""))  # noqa: E731
    return Model(
        config=config,
        denoiser=load_parts(folder, "denoiser", sums) | _load_unet(folder, config, sums),
        landmark_net=read("landmark_net"),
        center=read("center")["center"],
        digest=hashlib.sha256("".join(sums[name] for name in sorted(sums)).encode()).hexdigest(),
        steps=steps,
        encoder=encoder,
        autoencoder=_load_autoencoder(folder, config, sums),
        finish=read("finish") if _FINISH in sums else None,
    )


def _load_autoencoder(folder: Path, config: Config, sums: Mapping[str, str]) -> Any:
    """The model's own copy of the autoencoder, its sums checked; None where it has none."""
    if not config.model.autoencoder:
        return None
    from idfsr_jax.latent.space import autoencoder_of

    _require_sums(folder, _AUTOENCODER_FILES, sums)
    return autoencoder_of(config.model, folder / _AUTOENCODER)


def _load_unet(folder: Path, config: Config, sums: Mapping[str, str]) -> dict[str, Any]:
    """The part of the denoiser that is in diffusers' layout, if it has one, its sums checked."""
    if not config.model.unet.folder:
        return {}
    _require_sums(folder, PIPELINE_FILES, sums)
    return {"unet": read_parameters(folder / UNET)}


def _sums_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in names}


def _require_sums(folder: Path, names: Iterable[str], sums: Mapping[str, str]) -> None:
    for name in names:
        path = folder / name
        try:
            found = file_sha256(path)
        except OSError as error:
            raise BadWeights(f"{path}: cannot be read ({error.strerror}); get the model folder again.") from error
        if found != sums.get(name):
            raise BadWeights(f"{path}: its SHA-256 sum is not the recorded one, so it is damaged; get it again.")


def shipped_model() -> Path:
    """The model folder inside the package, or the one that the variable IDFSR_MODEL names."""
    return Path(os.environ.get("IDFSR_MODEL") or Path(__file__).parents[1] / "assets" / "lfw128").expanduser()
