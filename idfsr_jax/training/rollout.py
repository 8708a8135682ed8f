"""Training on the sampler's own course: the states that the model meets at use, not those that noising makes.

In training x_t is the noised truth; in sampling it is what earlier estimates led to, which a model of little training
has never seen, so that its errors add up from step to step. Here some examples of each batch are taken from a sampling
run of the present weights, at one of its steps each, and the estimate there is judged as a picture: by its pixels, by
LPIPS, by its identity. States of the learner's own making, with the right answer to each: DAgger (Ross et al. 2011).
The gradient goes through the last call of the denoiser alone, as in DRaFT-1 (Clark et al. 2023).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from idfsr_jax.config import Config, TrainConfig
from idfsr_jax.diffusion.samplers import course
from idfsr_jax.diffusion.schedule import noise_from_x0
from idfsr_jax.models.condition import Condition
from idfsr_jax.models.denoiser import denoiser_of


def rolled_out(
    params: Any,
    x0: Float[Array, "b s s c"],
    noise: Float[Array, "b s s c"],
    condition: Condition,
    config: Config,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "b s s c"], Float[Array, " b"]]:
    """Noise and log-SNR with which `q_sample` of the truth gives states of a sampling run, one of each example's.

    The steps take turns along the batch, from one that is drawn, so that small batches too come to the last of many
    steps. The first of the run is left out: there the state is noise alone, and nothing of a picture can be judged.

    Args:
      params: of the denoiser.
      x0: the truth.
      noise: standard normal; the run starts from it at the sampler's temperature.
      condition: of each example, likewise.
      config: its sampler, steps and temperature; without guidance and consistency.
      key: draws whose turn comes first.
    """
    network = partial(denoiser_of(config).apply, {"params": params})
    states, levels = course(
        lambda x_t, log_snr: network(x_t, log_snr, condition),  # type: ignore[arg-type, return-value]
        config.sample.temperature * noise,
        config.sample,
        config.diffusion,
        x0.shape[1],
    )
    rows, judged = jnp.arange(x0.shape[0]), config.sample.steps - 1
    step = 1 + (jax.random.randint(key, (), 0, judged) + rows) % judged
    return noise_from_x0(states[step, rows], x0, levels[step]), levels[step]


def load_perceptual(config: TrainConfig) -> Any:
    """LPIPS's parameters, where a run judges by it, else None.

    Args:
      config: of the run.

    Raises:
      BadWeights: those of the package are damaged.
    """
    if config.rollout_fraction == 0 or config.perceptual_loss == 0:
        return None
    from idfsr_jax.interop.lpips_weights import read_lpips

    return jax.tree.map(jnp.asarray, read_lpips("alexnet"))
