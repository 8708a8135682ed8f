"""Schedules of a fixed number of steps, as Stable Diffusion was trained with, in log-SNR as everything here has it.

A model that was trained on timestep t of such a schedule is one of ours at the level `levels_of(config)[t]`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int64

from idfsr_jax.config import DiffusionConfig
from idfsr_jax.io.errors import BadConfig


def levels_of(config: DiffusionConfig) -> Float32[np.ndarray, "timesteps"]:
    """The log-SNR of every timestep: log(a / (1 - a)) of a = prod (1 - beta), the cumulative product (Ho et al. 2020).

    Args:
      config: of a schedule of timesteps: "linear" spaces the betas evenly (Ho et al. 2020), "scaled_linear" their
        square roots (Rombach et al. 2022).

    Returns:
      Decreasing.
    """
    power = {"linear": 1.0, "scaled_linear": 0.5}[config.schedule]
    # In float64: near zero noise a float32 product would lose it.
    roots = np.linspace(config.beta_start**power, config.beta_end**power, config.num_train_timesteps, dtype=np.float64)
    log_alphas = np.cumsum(np.log1p(-(roots ** (1.0 / power))))
    return (log_alphas - np.log(-np.expm1(log_alphas))).astype(np.float32)


def timestep_of(log_snr: Float[Array, "*b"], config: DiffusionConfig) -> Float[Array, "*b"]:
    """The timestep of a noise level on a schedule of timesteps: inverse of its levels, and linear between two of them.

    A whole number for a level of the schedule; levels beyond its ends are taken for the ends.
    """
    levels = jnp.asarray(levels_of(config))
    return jnp.interp(-log_snr, -levels, jnp.arange(levels.shape[0], dtype=jnp.float32))


def sampling_timesteps(steps: int, config: DiffusionConfig) -> Int64[np.ndarray, "steps"]:
    """Timesteps at which to sample, noisiest first (Lin et al. 2024, "Common diffusion noise schedules", table 2).

    Args:
      steps: how many; at most as many as the schedule has.
      config: of a schedule of timesteps. Its spacing "trailing" starts at the noisiest timestep, which Lin et al.
        advise; "leading" ends at `steps_offset`, as Stable Diffusion 1.5's own samplers do (offset 1); "linspace" holds
        both ends.

    Raises:
      BadConfig: there are not as many timesteps.
    """
    spacing, count, offset = config.timestep_spacing, config.num_train_timesteps, config.steps_offset
    if steps > count:
        raise BadConfig(f"{steps} sampling steps are more than the schedule's {count} timesteps; take fewer.")
    if spacing == "leading" and (steps - 1) * (count // steps) + offset >= count:
        raise BadConfig(f"{steps} leading steps, each {offset} later, leave the {count} timesteps; take fewer.")
    if spacing == "trailing":
        return np.round(np.arange(count, 0, -count / steps)).astype(np.int64)[:steps] - 1
    if spacing == "leading":
        return (np.arange(steps) * (count // steps))[::-1].astype(np.int64) + offset
    return np.round(np.linspace(0, count - 1, steps))[::-1].astype(np.int64)
