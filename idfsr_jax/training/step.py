"""One training step, a pure function; where its state begins, and what it reads and never changes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.data.examples import People, mean_identities, with_pictures
from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.method.degrade import resampling_tables
from idfsr_jax.method.denoiser import init_denoiser
from idfsr_jax.method.examples import Frozen, step_inputs
from idfsr_jax.method.loss import training_loss
from idfsr_jax.networks.recognisers import Recognisers
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.state import TrainState, apply_gradients, create_state, ema_decay, make_optimizer


def train_step(
    state: TrainState,
    batch: Mapping[str, Array],
    frozen: Frozen,
    *,
    config: Config,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One step; jit it with `config` and `optimizer` closed over and the state donated."""
    if frozen.images is not None:
        batch = with_pictures(batch, frozen.images)
    keys = (step_key(config.train.seed, "train", state.step), step_key(config.train.seed, "course", state.step))
    inputs = step_inputs(state.params, batch, frozen, config, keys)
    gradients, metrics = jax.grad(training_loss, has_aux=True)(state.params, *inputs, frozen, config)
    metrics["gradient_norm"] = optax.tree.norm(gradients)
    train = config.train
    decay = ema_decay(state.step, batch["target"].shape[0], train.ema_halflife_images, not train.start_from)
    return apply_gradients(state, gradients, optimizer, decay), metrics


def initial_state(config: Config, sizes: tuple[int, ...]) -> TrainState:
    """The state at step 0 with random weights; depends on the seed alone.

    Args:
      config: the run.
      sizes: length of each recogniser's descriptor.
    """
    return create_state(random_weights(config, sizes), make_optimizer(config.train))


def random_weights(config: Config, sizes: tuple[int, ...]) -> dict[str, Any]:
    """The denoiser's weights of `initial_state`."""
    return init_denoiser(step_key(config.train.seed, "weights", 0), config, sizes)


def frozen_parts(
    config: Config,
    recognisers: Recognisers,
    landmark_net: Any,
    center: Float[np.ndarray, " d"],
    people: People,
    autoencoder: Any = None,
) -> Frozen:
    """What a step reads and never changes, but for the pictures.

    Args:
      config: the run.
      recognisers: whose embeddings the condition holds, and which judge.
      landmark_net: parameters of LandmarkNet.
      center: mean raw descriptor over the training people.
      people: of training.
      autoencoder: of the latents that are diffused; None of pixels.
    """
    return Frozen(
        landmark_net=jax.tree.map(jnp.asarray, landmark_net),
        recognisers=recognisers,
        center=jnp.asarray(center),
        people=jnp.asarray(mean_identities(people)),
        perceptual=jax.tree.map(jnp.asarray, read_lpips("alexnet")),
        tables=jax.tree.map(jnp.asarray, resampling_tables(config.data.size)),
        autoencoder=autoencoder,
    )
