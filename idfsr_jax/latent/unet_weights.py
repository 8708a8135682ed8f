"""From a UNet in diffusers' layout to the denoiser that begins as it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idfsr_jax.config import Config
from idfsr_jax.interop.diffusers_layout import require_shapes
from idfsr_jax.interop.diffusers_unet import UNetFiles, read_unet
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.latent.unet_2d_condition import UNet2DCondition
from idfsr_jax.latent.unet_denoiser import seen_channels

SCHEDULE_FIELDS = {
    "beta_schedule": "schedule",
    "beta_start": "beta_start",
    "beta_end": "beta_end",
    "num_train_timesteps": "num_train_timesteps",
}
"""Fields of `DiffusionConfig` by those of a scheduler: what a UNet was trained for."""


def read_unet_of(config: Config) -> dict[str, Any]:
    """The parameters of `UNet2DCondition` that a denoiser begins with, of the folder `model.unet.folder`.

    A UNet that sees latents alone is widened by channels whose weights are zero; one that one of our model folders
    holds has them.

    Returns:
      A tree of float32 NumPy arrays.

    Raises:
      BadConfig: it is another UNet than `model.unet` says, or was trained on another schedule than `diffusion`; the
        sentence gives the fields as they should be.
      BadWeights: it is missing, damaged, or not supported.
    """
    folder, model = Path(config.model.unet.folder), config.model
    found = read_unet(folder)
    differing = [f"{name}={value!r}" for name, value in _differences(found, config)]
    if differing:
        raise BadConfig(f"{folder}: is another UNet than the configuration says; give {', '.join(differing)}.")
    latents, seen = model.diffused_channels, seen_channels(model)
    if found.in_channels not in (latents, seen) or found.out_channels != latents:
        raise BadConfig(
            f"{folder}: has {found.in_channels} channels in and {found.out_channels} out; give a UNet of "
            f"{latents} in and out, or one of {seen} in, as our model folders hold."
        )
    _require_shapes(found, folder)
    params = found.params
    kernel = params["conv_in"]["kernel"]
    params["conv_in"]["kernel"] = np.pad(kernel, ((0, 0), (0, 0), (0, seen - kernel.shape[2]), (0, 0)))
    return params


def begun_with_unet(make: Callable[[], Mapping[str, Any]], config: Config) -> dict[str, Any]:
    """Parameters of a denoiser with those of `model.unet.folder` in place of its random UNet.

    Args:
      make: makes random parameters of a denoiser.
      config: the run's.

    Raises:
      BadConfig: see `read_unet_of`, as for `BadWeights`.
    """
    unet = read_unet_of(config)
    # What is random and replaced is never computed.
    rest = jax.jit(lambda: {name: value for name, value in make().items() if name != "unet"})()
    return {**rest, "unet": unet}


def require_same_unet(before: Config, now: Config, what: str) -> None:
    """Checks what is not seen from a UNet's parameters' shapes: what it predicts of which timesteps, and how.

    Raises:
      BadConfig: the two configurations have not the same.
    """
    if bool(before.model.unet.folder) != bool(now.model.unet.folder):
        raise BadConfig(f"{what}: is another network than this config; give the model.unet that it was trained with.")
    fields: list[tuple[str, Any, Any, str]] = [
        (f"diffusion.{name}", before.diffusion, now.diffusion, name) for name in SCHEDULE_FIELDS.values()
    ]
    for name in ("prediction_type", "norm_num_groups", "norm_eps", "flip_sin_to_cos", "freq_shift"):
        fields.append((f"model.unet.{name}", before.model.unet, now.model.unet, name))
    pairs = [(shown, getattr(one, name), getattr(other, name)) for shown, one, other, name in fields]
    pairs.append(("model.unet.attention_head_dim", before.model.unet.heads, now.model.unet.heads))
    differing = [f"{name}={value!r}" for name, value, wanted in pairs if value != wanted]
    if differing:
        raise BadConfig(f"{what}: has another UNet than this config; give {', '.join(differing)}.")


def _differences(found: UNetFiles, config: Config) -> list[tuple[str, Any]]:
    """The fields of the configuration that should be others, and as what."""
    unet, of_files = config.model.unet, found.config
    names = [field.name for field in dataclasses.fields(unet) if field.name not in ("folder", "prediction_type")]
    if unet.heads == of_files.heads:
        names.remove("attention_head_dim")
    pairs = [(f"model.unet.{name}", getattr(unet, name), getattr(of_files, name)) for name in names]
    for name, value in found.schedule.items():
        if name == "prediction_type":
            pairs.append(("model.unet.prediction_type", unet.prediction_type, value))
        else:
            field = SCHEDULE_FIELDS[name]
            pairs.append((f"diffusion.{field}", getattr(config.diffusion, field), value))
    return [(name, actual) for name, configured, actual in pairs if configured != actual]


def _require_shapes(found: UNetFiles, folder: Path) -> None:
    network, side = UNet2DCondition(found.config, found.out_channels), 2 ** len(found.config.block_out_channels)
    inputs = (1, side, side, found.in_channels), (1,), (1, 1, found.config.cross_attention_dim)
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    wanted = jax.eval_shape(network.init, jax.random.key(0), *arrays)["params"]
    require_shapes(wanted, found.params, folder)
