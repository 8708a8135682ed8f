"""Where a run begins: at random weights, or at another model's."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from idfsr_jax.config import Config
from idfsr_jax.errors import BadConfig
from idfsr_jax.models.denoiser import init_denoiser
from idfsr_jax.models.growth import grown, has_grown
from idfsr_jax.networks.id_encoder import DLIB_NAME
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.distributed import wait_for_all
from idfsr_jax.training.folder import save_landmark_net
from idfsr_jax.training.state import TrainState, create_state, make_optimizer, state_on_host
from idfsr_jax.weights import load_model


def initial_state(config: Config) -> TrainState:
    """The state at step 0 with random weights; depends on the seed alone."""
    return create_state(init_denoiser(step_key(config.train.seed, "weights", 0), config), make_optimizer(config.train))


def beginning(config: Config, encoder: str = DLIB_NAME) -> tuple[TrainState | None, Any]:
    """The state at step 0, and LandmarkNet; None where the one is `initial_state`, or the other is to be trained.

    Args:
      config: the run.
      encoder: see `started_from`.

    Raises:
      InputError: see `started_from`.
    """
    return started_from(config, encoder) if config.train.start_from else (None, None)


def started_from(config: Config, encoder: str = DLIB_NAME) -> tuple[TrainState, Any]:
    """The state at step 0 with the weights of the model folder `train.start_from`, and that model's LandmarkNet.

    Those of a model of smaller pictures and patches are enlarged; see `growth`. The state is of `state_on_host`.

    Args:
      config: the run.
      encoder: name of the ID encoder whose identities it will see.

    Raises:
      BadWeights: there is no model, or it is damaged.
      BadConfig: it is another network, or knows the identities of another encoder.
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
    if model.encoder != encoder:
        raise BadConfig(f"train.start_from={folder}: was trained with the ID encoder {model.encoder}, not {encoder}.")
    if model.config.landmarks.channels != config.landmarks.channels:
        raise BadConfig(f"train.start_from={folder}: has another LandmarkNet than this config.landmarks.")
    return state_on_host(denoiser, make_optimizer(config.train)), model.landmark_net


def bring_landmark_net(out: Path, params: Any) -> None:
    """Puts LandmarkNet into a run's folder, unless it has one, so that none is trained."""
    if not (out / "landmark_net.sha256").exists():
        save_landmark_net(out, params)
    wait_for_all("LandmarkNet is brought")
