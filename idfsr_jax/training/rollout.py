"""Training on the sampler's own course: the states that the model meets at use, not those that noising makes.

In training x_t is the noised truth; in sampling it is what earlier estimates led to, which a model of little training
has never seen, so that its errors add up from step to step. Here some examples of each batch are taken from a sampling
run of the present weights, at one of its steps each, and the estimate there is judged as a picture: by its pixels, by
LPIPS, by the identity. No gradient flows into the run itself (as in DAgger, Ross et al. 2011; and DRaFT-1, Clark et al.
2023, for diffusion).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.diffusion.samplers import course
from idfsr_jax.diffusion.schedule import noise_from_x0
from idfsr_jax.models.condition import Condition
from idfsr_jax.models.denoiser import Denoiser


def rolled_out(
    params: Any, x0: Float[Array, "b s s c"], noise: Float[Array, "b s s c"], condition: Condition, config: Config
) -> tuple[Float[Array, "b s s c"], Float[Array, " b"]]:
    """Noise and log-SNR at which q_sample returns the states of a sampling run, each example at a step of its own.

    The first step is left out: there the state is pure noise, on which nothing of a picture can be judged.

    Args:
      params: of the denoiser; no gradient reaches them.
      x0: the truth.
      noise: standard normal, where the run starts.
      condition: of each example.
      config: its sampler, steps and temperature.
    """
    network = partial(Denoiser(config.model).apply, {"params": jax.lax.stop_gradient(params)})
    start = config.sample.temperature * noise
    states, levels = course(
        lambda x_t, log_snr: network(x_t, log_snr, condition),  # type: ignore[arg-type, return-value]
        start,
        config.sample,
        config.diffusion,
        x0.shape[1],
    )
    rows = jnp.arange(x0.shape[0])
    step = 1 + rows % (config.sample.steps - 1)
    log_snr = levels[step]
    x_t = jax.lax.stop_gradient(states[step, rows])
    return noise_from_x0(x_t, x0, log_snr), log_snr
