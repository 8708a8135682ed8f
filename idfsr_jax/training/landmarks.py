"""Teaching LandmarkNet dlib's points, from blurred and jittered crops."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from idfsr_jax.config import LandmarkConfig
from idfsr_jax.data.degrade import enlarge_mixed
from idfsr_jax.models.landmark_net import LandmarkNet, landmark_error
from idfsr_jax.networks.resample import sample_bilinear
from idfsr_jax.pictures import to_float
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.state import update_in_optax


def jitter(
    key: PRNGKeyArray,
    images: Float[Array, "b s s 3"],
    landmarks: Float[Array, "b 68 2"],
    config: LandmarkConfig,
) -> tuple[Float[Array, "b l l 3"], Float[Array, "b 68 2"]]:
    """Shifts, scales and turns every crop about its middle, as a hand-made crop would be, at the net's side.

    How much is drawn anew for every picture, from nothing to the configured limits: most crops at use time are
    aligned well, and a network that always saw the full jitter would move points about in 4 x 4 pixels that show none.
    Beyond the border the crop is mirrored: a flat border would tell the network how it was moved.
    """
    b, size = images.shape[0], config.size
    keys = jax.random.split(key, 4)
    amount = jax.random.uniform(keys[3], (b,))

    def draw(k: PRNGKeyArray, limit: float, shape: tuple[int, ...]) -> Array:
        sized = amount.reshape((b,) + (1,) * (len(shape) - 1))
        return limit * sized * jax.random.uniform(k, shape, minval=-1.0, maxval=1.0)

    angle = draw(keys[0], np.deg2rad(config.max_degrees), (b,))
    zoom = jnp.exp(draw(keys[1], config.max_log_scale, (b,)))
    shift = draw(keys[2], config.max_shift, (b, 2))
    rotation = jnp.stack([jnp.cos(angle), -jnp.sin(angle), jnp.sin(angle), jnp.cos(angle)], -1).reshape(b, 2, 2)
    forward = zoom[:, None, None] * rotation
    moved = jnp.einsum("bij,bnj->bni", forward, landmarks - 0.5) + 0.5 + shift[:, None]
    axis = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
    source = jnp.einsum("bij,bnj->bni", jnp.linalg.inv(forward), grid[None] - 0.5 - shift[:, None]) + 0.5
    source = 1.0 - jnp.abs(1.0 - jnp.abs(source))  # mirrored at 0 and at 1
    return sample_bilinear(images, source).reshape(b, size, size, 3), moved


def low_resolution_view(
    key: PRNGKeyArray, images: Float[Array, "b l l 3"], config: LandmarkConfig
) -> Float[Array, "b l l 3"]:
    """Degrades every crop to one of the configured widths, drawn evenly, and enlarges it again."""
    index_key, degrade_key = jax.random.split(key)
    factors = tuple(config.size // width for width in config.low_resolution_widths)
    index = jax.random.randint(index_key, (images.shape[0],), 0, len(factors))
    return enlarge_mixed(degrade_key, images, index, factors, "area")


def train_landmark_net(
    batches: Any, config: LandmarkConfig, seed: int, progress: Any = lambda step, metrics: None
) -> dict:
    """Trains LandmarkNet from scratch; a few minutes on two cores.

    Args:
      batches: iterator of batches with `target` uint8 [b, S, S, 3] and `target_landmarks` float32 [b, 68, 2].
      config: the network and its schedule.
      seed: seed of weights and jitter.
      progress: called with (step, metrics) after every step.

    Returns:
      The averaged parameters.
    """
    net = LandmarkNet(config)
    params = net.init(step_key(seed, "landmark-weights", 0), jnp.zeros((1, config.size, config.size, 3)))["params"]
    schedule = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, min(100, config.steps // 2), config.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-4))

    def loss_fn(params: Any, images: Array, landmarks: Array, key: PRNGKeyArray) -> Float[Array, ""]:
        jitter_key, view_key = jax.random.split(key)
        images, landmarks = jitter(jitter_key, to_float(images), landmarks, config)
        seen = low_resolution_view(view_key, images, config)
        return landmark_error(net.apply({"params": params}, seen), landmarks, smooth=1e-3).mean()

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, ema: Any, opt_state: Any, batch: Mapping[str, Array], index: Array) -> tuple:
        key = step_key(seed, "landmark-jitter", index)
        loss, gradients = jax.value_and_grad(loss_fn)(params, batch["target"], batch["target_landmarks"], key)
        updates, opt_state = update_in_optax(optimizer, gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        ema = optax.incremental_update(params, ema, 0.005)
        return params, ema, opt_state, loss

    ema, opt_state = jax.tree.map(jnp.copy, params), optimizer.init(params)
    for index in range(config.steps):
        batch = next(batches)
        wanted = {name: batch[name] for name in ("target", "target_landmarks")}
        params, ema, opt_state, loss = step(params, ema, opt_state, wanted, jnp.asarray(index, jnp.int32))
        progress(index + 1, {"nme": loss})
    return jax.device_get(ema)
