"""Schedules of a fixed number of steps, as Stable Diffusion was trained with, in log-SNR as everything here has it.

A model that was trained on timestep t of such a schedule is one of ours at the level `discrete_log_snr(...)[t]`.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int64

from idfsr_jax.config import DiffusionConfig
from idfsr_jax.io.errors import BadConfig


def levels_of(config: DiffusionConfig) -> Float32[np.ndarray, "timesteps"]:
    """Of a schedule of timesteps, each one's log-SNR."""
    assert config.schedule != "cosine"
    steps = config.num_train_timesteps
    levels = discrete_log_snr(config.schedule, start=config.beta_start, end=config.beta_end, steps=steps)
    return levels.astype(np.float32)


def timestep_of(log_snr: Float[Array, "*b"], config: DiffusionConfig) -> Float[Array, "*b"]:
    """The timestep of a noise level on a schedule of timesteps: inverse of its levels, and linear between two of them.

    A whole number for a level of the schedule; levels beyond its ends are taken for the ends.
    """
    levels = jnp.asarray(levels_of(config))
    return jnp.interp(-log_snr, -levels, jnp.arange(levels.shape[0], dtype=jnp.float32))


def sampling_timesteps(steps: int, config: DiffusionConfig) -> Int64[np.ndarray, "steps"]:
    """Timesteps at which to sample by a schedule of timesteps; see `spaced_timesteps`."""
    count, offset = config.num_train_timesteps, config.steps_offset
    return spaced_timesteps(config.timestep_spacing, steps, train_steps=count, offset=offset)


def discrete_log_snr(
    betas: Literal["linear", "scaled_linear"] = "scaled_linear",
    *,
    start: float = 0.00085,
    end: float = 0.012,
    steps: int = 1000,
) -> Float64[np.ndarray, "steps"]:
    """The log-SNR of every timestep: log(a / (1 - a)) of a = prod (1 - beta), the cumulative product (Ho et al. 2020).

    Args:
      betas: "linear" spaces them evenly (Ho et al. 2020), "scaled_linear" their square roots (Rombach et al. 2022).
      start: the first beta; the defaults are Stable Diffusion's.
      end: the last.
      steps: how many timesteps.

    Returns:
      Decreasing, in float64: near zero noise a float32 product would lose it.
    """
    power = {"linear": 1.0, "scaled_linear": 0.5}[betas]
    values = np.linspace(start**power, end**power, steps, dtype=np.float64) ** (1.0 / power)
    log_alphas = np.cumsum(np.log1p(-values))
    return log_alphas - np.log(-np.expm1(log_alphas))


def spaced_timesteps(
    spacing: Literal["trailing", "leading", "linspace"], steps: int, *, train_steps: int = 1000, offset: int = 0
) -> Int64[np.ndarray, "steps"]:
    """Timesteps at which to sample, noisiest first (Lin et al. 2024, "Common diffusion noise schedules", table 2).

    Args:
      spacing: "trailing" starts at the noisiest timestep, which Lin et al. advise; "leading" ends at `offset`, as
        Stable Diffusion 1.5's own samplers do (offset 1); "linspace" holds both ends.
      steps: how many; at most `train_steps`.
      train_steps: length of the schedule.
      offset: added to leading timesteps.

    Raises:
      BadConfig: there are not as many timesteps.
    """
    if steps > train_steps:
        raise BadConfig(f"{steps} sampling steps are more than the schedule's {train_steps} timesteps; take fewer.")
    if spacing == "leading" and (steps - 1) * (train_steps // steps) + offset >= train_steps:
        raise BadConfig(f"{steps} leading steps, each {offset} later, leave the {train_steps} timesteps; take fewer.")
    if spacing == "trailing":
        return np.round(np.arange(train_steps, 0, -train_steps / steps)).astype(np.int64)[:steps] - 1
    if spacing == "leading":
        return (np.arange(steps) * (train_steps // steps))[::-1].astype(np.int64) + offset
    return np.round(np.linspace(0, train_steps - 1, steps))[::-1].astype(np.int64)
