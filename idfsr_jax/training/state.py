"""What training changes: parameters, their moving average, the optimiser's moments and the step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from idfsr_jax.config import TrainConfig


@flax.struct.dataclass
class TrainState:
    """Everything that a checkpoint must hold, beside the data iterator.

    `step` is an int32 scalar. Its type is left open, as tree utilities build states of shapes, shardings or None.
    """

    step: Any
    params: Any
    ema: Any
    opt_state: Any


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """Linear warm-up, then cosine to a hundredth of the peak."""
    warmup = min(config.warmup_steps, max(config.steps - 1, 0))
    peak = config.learning_rate
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, max(config.steps, warmup + 1), 0.01 * peak)


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Clipped AdamW (Loshchilov and Hutter 2019); biases and norms are not decayed."""
    kernels = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)  # noqa: E731
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(learning_rate(config), b1=0.9, b2=config.beta2, weight_decay=config.weight_decay, mask=kernels),
    )


def create_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state at step 0; the average is a copy, so that buffers can be donated."""
    return TrainState(jnp.zeros((), jnp.int32), params, jax.tree.map(jnp.copy, params), optimizer.init(params))


def state_on_host(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """What `create_state` makes, whole and in NumPy, so that no device ever has all of it.

    The average is the same arrays, and the moments are zeros, which take no memory until they are written to; so this
    is as large as the parameters while the run lasts, and not four times that.
    """
    params = jax.device_get(params)
    state = jax.eval_shape(lambda tree: create_state(tree, optimizer), params)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    return zeros.replace(params=params, ema=params)


def ema_decay(step: Int[Array, ""], batch: int, halflife_images: float, from_random: bool = True) -> Float[Array, ""]:
    """Decay of the moving average at `step`, given as a half-life in images, with EDM's ramp-up.

    From random weights the half-life never exceeds a tenth of the images seen (Karras et al. 2022, table 7 uses a
    twentieth), so that they are forgotten in short runs as well. Trained weights are not to be forgotten: what the
    first steps at a high rate do to them is mostly noise, which only an average over many steps takes out.
    """
    if not from_random:
        return jnp.exp2(jnp.float32(-batch / halflife_images))
    seen = (step.astype(jnp.float32) + 1.0) * batch
    return jnp.exp2(-batch / jnp.minimum(halflife_images, 0.1 * seen + batch))


def apply_gradients(
    state: TrainState, gradients: Any, optimizer: optax.GradientTransformation, decay: Float[Array, ""]
) -> TrainState:
    """One optimiser step, and one of the float32 moving average."""
    updates, opt_state = update_in_optax(optimizer, gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = jax.tree.map(lambda average, new: average + (1.0 - decay) * (new - average), state.ema, params)
    return TrainState(state.step + 1, params, ema, opt_state)


def update_in_optax(
    optimizer: optax.GradientTransformation, gradients: Any, opt_state: Any, params: Any
) -> tuple[Any, Any]:
    """`optimizer.update` under standard type promotion: strict forbids Optax to raise floats to an int32 count."""
    with jax.numpy_dtype_promotion("standard"):
        return optimizer.update(gradients, opt_state, params)
