"""Training of the small networks beside the denoiser: AdamW, and the average of what it passes through."""

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from idfsr_jax.runtime.programs import compiler_options
from idfsr_jax.training.state import update_in_optax

Loss = Callable[[Any, Any, Int[Array, ""], Any], Float[Array, ""]]
"""(parameters, what is given, step, kind) -> scalar; the kind is static."""


def train_averaged(
    loss: Loss,
    params: Any,
    inputs: Iterable[tuple[Any, Hashable]],
    *,
    learning_rate: float,
    warmup: int,
    steps: int,
    weight_decay: float = 1e-4,
    average: float = 0.004,
    progress: Callable[[int, Any, Array], None] = lambda step, average, loss: None,
) -> Any:
    """Parameters averaged over `steps` steps of clipped AdamW, whose rate rises over `warmup` and falls as a cosine.

    Args:
      loss: what is lowered; all that is random in it has to follow from the step.
      params: where to begin; they are not donated.
      inputs: of each step what is given, arrays, and the kind of it, for each of which a program is compiled.
      learning_rate: the highest.
      warmup: steps.
      steps: how many.
      weight_decay: AdamW's.
      average: share of each step's parameters in the running average.
      progress: called with (steps done, the average, the loss) after every step.
    """
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, min(warmup, steps // 2), steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=weight_decay))

    @partial(jax.jit, donate_argnums=(0, 1, 2), static_argnames="kind", compiler_options=compiler_options())
    def step(params: Any, ema: Any, state: Any, given: Any, index: Array, kind: Hashable) -> tuple:
        value, gradients = jax.value_and_grad(loss)(params, given, index, kind)
        updates, state = update_in_optax(optimizer, gradients, state, params)
        params = optax.apply_updates(params, updates)
        # Beginning with few steps, so that a short run is not mostly its start.
        ema = optax.incremental_update(params, ema, jnp.maximum(average, 1.0 / (index.astype(jnp.float32) + 2.0)))
        return params, ema, state, value

    params = jax.tree.map(jnp.array, params)
    ema, state = jax.tree.map(jnp.copy, params), optimizer.init(params)
    for index, (given, kind) in zip(range(steps), inputs, strict=False):
        params, ema, state, value = step(params, ema, state, given, jnp.asarray(index, jnp.int32), kind=kind)
        progress(index + 1, ema, value)
    return jax.device_get(ema)
