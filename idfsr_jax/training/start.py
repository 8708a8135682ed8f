"""Where a run begins: at random weights, at another model's, or at a pretrained UNet's; and with which LandmarkNet."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from idfsr_jax.config import Config
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.io.parameters import load_tree
from idfsr_jax.method.model import Model, load_model
from idfsr_jax.training.checkpoint import any_saved
from idfsr_jax.training.state import TrainState, make_optimizer, state_on_host
from idfsr_jax.training.step import random_weights


def beginning(config: Config, sizes: tuple[int, ...], name: str, autoencoder: Any) -> tuple[TrainState | None, Any]:
    """The state at step 0, None where that is `step.initial_state`, and LandmarkNet, None where it is to be trained.

    Args:
      config: the run; `train.start_from` is a model whose weights and LandmarkNet it begins with, `train.landmark_net`
        another LandmarkNet.
      sizes: length of each recogniser's descriptor.
      name: of the recognisers, `recognisers_name`.
      autoencoder: of the latents that are diffused; None of pixels.

    Raises:
      BadWeights: a folder or file is missing or damaged.
      BadConfig: it holds another network, other recognisers or other latents.
    """
    state, net, folder, file = None, None, config.train.start_from, config.train.landmark_net
    optimizer = make_optimizer(config.train)
    if folder:
        model, what = load_model(Path(folder)), f"train.start_from={folder}"
        _require_same_latents(model, config, autoencoder, what)
        if model.encoder != name:
            raise BadConfig(f"{what}: was trained with the recognisers {model.encoder}, not {name}.")
        wanted = jax.eval_shape(lambda: random_weights(config, sizes))
        if jax.tree.map(np.shape, model.denoiser) != jax.tree.map(np.shape, wanted):
            raise BadConfig(f"{what}: is another network than this config.model.")
        if model.config.landmarks.channels != config.landmarks.channels:
            raise BadConfig(f"{what}: has another LandmarkNet than this config.landmarks.")
        state, net = state_on_host(model.denoiser, optimizer), model.landmark_net
    # A run that goes on has these weights no more.
    elif config.model.unet.folder and not any_saved(config.train):
        from idfsr_jax.latent.unet_weights import begun_with_unet

        state = state_on_host(begun_with_unet(partial(random_weights, config, sizes), config), optimizer)
    return state, load_tree(Path(file)) if file else net


def autoencoder_of_run(config: Config) -> Any:
    """The autoencoder of the latents that a run diffuses, None of pixels; see `latent.space.autoencoder_of`."""
    if not config.model.autoencoder:
        return None
    from idfsr_jax.latent.space import autoencoder_of

    return autoencoder_of(config.model)


def _require_same_latents(model: Model, config: Config, autoencoder: Any, what: str) -> None:
    """Refuses to start from a model of other latents, or of a UNet that means something else."""
    if model.autoencoder is not None or autoencoder is not None:
        from idfsr_jax.latent.space import require_autoencoder

        require_autoencoder(model.autoencoder, autoencoder, what)
    if model.config.model.unet.folder or config.model.unet.folder:
        from idfsr_jax.latent.unet_weights import require_same_unet

        require_same_unet(model.config, config, what)
