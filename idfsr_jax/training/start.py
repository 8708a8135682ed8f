"""Where a run begins: at random weights, at those of a pretrained UNet, or at another model's."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from idfsr_jax.config import Config
from idfsr_jax.errors import BadConfig
from idfsr_jax.models.denoiser import init_denoiser
from idfsr_jax.models.growth import grown, has_grown
from idfsr_jax.models.latent import Autoencoder, require_autoencoder
from idfsr_jax.models.unet_weights import SCHEDULE_FIELDS, read_unet_of
from idfsr_jax.networks.id_encoder import DLIB_NAME
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.checkpoint import any_saved
from idfsr_jax.training.distributed import wait_for_all
from idfsr_jax.training.folder import save_landmark_net
from idfsr_jax.training.state import TrainState, create_state, make_optimizer
from idfsr_jax.weights import load_model


def initial_state(config: Config) -> TrainState:
    """The state at step 0 with random weights; depends on the seed alone."""
    return create_state(_random_weights(config), make_optimizer(config.train))


def _random_weights(config: Config) -> dict:
    return init_denoiser(step_key(config.train.seed, "weights", 0), config)


def beginning(
    config: Config, encoder: str = DLIB_NAME, autoencoder: Autoencoder | None = None
) -> tuple[TrainState | None, Any]:
    """The state at step 0, and LandmarkNet; None where the one is `initial_state`, or the other is to be trained.

    Args:
      config: the run; that of `train.start_from` goes before a pretrained UNet.
      encoder: see `started_from`, as for the other.
      autoencoder: of the latents.

    Raises:
      InputError: see `started_from` and `started_with_unet`.
    """
    if config.train.start_from:
        return started_from(config, encoder, autoencoder)
    # A run that goes on has these weights no more.
    if config.model.unet.folder and not any_saved(config.train):
        return started_with_unet(config), None
    return None, None


def started_with_unet(config: Config) -> TrainState:
    """The state at step 0 with the weights of `model.unet.folder`, and random ones where it has none; see `_on_host`.

    Raises:
      BadConfig: the folder holds another UNet than `model.unet` says, or one of another schedule than `diffusion`.
      BadWeights: it is missing, damaged, or not supported.
    """
    unet = read_unet_of(config)
    # What is random and replaced is never computed.
    rest = jax.jit(lambda: {name: value for name, value in _random_weights(config).items() if name != "unet"})()
    return _on_host({**rest, "unet": unet}, config)


def _on_host(params: Any, config: Config) -> TrainState:
    """What `create_state` makes, whole and in NumPy, so that no device ever has all of it.

    The average is the same arrays, and the moments are zeros, which take no memory until they are written to; so this
    is as large as the parameters while the run lasts, and not four times that.
    """
    params = jax.device_get(params)
    state = jax.eval_shape(lambda tree: create_state(tree, make_optimizer(config.train)), params)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    return zeros.replace(params=params, ema=params)


def started_from(
    config: Config, encoder: str = DLIB_NAME, autoencoder: Autoencoder | None = None
) -> tuple[TrainState, Any]:
    """The state at step 0 with the weights of the model folder `train.start_from`, and that model's LandmarkNet.

    Those of a model of smaller pictures and patches are enlarged; see `growth`. The state is NumPy's; see `_on_host`.

    Args:
      config: the run.
      encoder: name of the ID encoder whose identities it will see.
      autoencoder: of the latents that it will see, if it does.

    Raises:
      BadWeights: there is no model, or it is damaged.
      BadConfig: it is another network, or knows the identities of another encoder or the latents of another
        autoencoder; or it began as a UNet that predicts something else or has another schedule.
    """
    folder = config.train.start_from
    model = load_model(Path(folder))
    wanted = jax.eval_shape(lambda: initial_state(config)).params
    denoiser, growing = model.denoiser, has_grown(model.config, config)
    if growing:
        denoiser = grown(denoiser, model.config.model.patch)
    if jax.tree.map(np.shape, denoiser) != jax.tree.map(np.shape, wanted):
        raise BadConfig(f"train.start_from={folder}: is another network than this config.model.")
    detail_std = model.config.model.prior_detail_std
    if not growing and detail_std != config.model.prior_detail_std:
        raise BadConfig(
            f"train.start_from={folder}: its output is scaled otherwise; give model.prior_detail_std={detail_std}, or, "
            "to let it grow, twice its data.size and model.patch."
        )
    _require_same_unet(model.config, config)
    if model.encoder != encoder:
        raise BadConfig(f"train.start_from={folder}: was trained with the ID encoder {model.encoder}, not {encoder}.")
    require_autoencoder(model.autoencoder, autoencoder, f"train.start_from={folder}")
    if model.config.landmarks.channels != config.landmarks.channels:
        raise BadConfig(f"train.start_from={folder}: has another LandmarkNet than this config.landmarks.")
    return _on_host(denoiser, config), model.landmark_net


def _require_same_unet(before: Config, now: Config) -> None:
    """What a pretrained UNet predicts of its timesteps is not seen from its parameters' shapes."""
    if not now.model.unet.folder:
        return
    fields: list[tuple[str, Any, Any, str]] = [
        (f"diffusion.{name}", before.diffusion, now.diffusion, name) for name in SCHEDULE_FIELDS.values()
    ]
    for name in ("prediction_type", "norm_num_groups", "norm_eps", "flip_sin_to_cos", "freq_shift"):
        fields.append((f"model.unet.{name}", before.model.unet, now.model.unet, name))
    pairs = [(shown, getattr(one, name), getattr(other, name)) for shown, one, other, name in fields]
    pairs.append(("model.unet.attention_head_dim", before.model.unet.heads, now.model.unet.heads))
    differing = [f"{name}={value!r}" for name, value, wanted in pairs if value != wanted]
    if differing:
        folder = now.train.start_from
        raise BadConfig(f"train.start_from={folder}: has another UNet than this config; give {', '.join(differing)}.")


def bring_landmark_net(out: Path, params: Any) -> None:
    """Puts LandmarkNet into a run's folder, unless it has one, so that none is trained."""
    if not (out / "landmark_net.sha256").exists():
        save_landmark_net(out, params)
    wait_for_all("LandmarkNet is brought")
