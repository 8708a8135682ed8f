"""The noise schedule and its conversions, as functions of log-SNR.

Variance preserving: x_t = alpha x0 + sigma noise with alpha^2 + sigma^2 = 1 and log_snr = log(alpha^2 / sigma^2), so
that one number says all about a noise level. The network predicts v = alpha noise - sigma x0 (Salimans and Ho 2022).

All arithmetic is float32; a low-precision network casts at its own border.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from idfsr_jax.config import DiffusionConfig


def log_snr(t: Float[Array, "*b"], size: int, config: DiffusionConfig) -> Float[Array, "*b"]:
    """The noise level at a time, on the schedule that `config.schedule` names.

    A schedule of T timesteps has level n at n / T <= t < (n + 1) / T. The continuous one is the cosine, shifted by
    resolution (Hoogeboom et al. 2023, "simple diffusion"):

    log_snr = -2 log tan(angle) + 2 log(shift_base / size), where the angle runs linearly in t between the two angles at
    which the *shifted* schedule meets its bounds. Hence t = 0 gives `config.log_snr_max` and t = 1 `config.log_snr_min`
    at every size.

    Args:
      t: diffusion time in [0, 1]; 0 is the clean picture.
      size: side of the picture, pixels, or of its latents.
      config: the schedule, its bounds and base size.
    """
    if config.schedule != "cosine":
        from idfsr_jax.latent.discrete import levels_of

        count = config.num_train_timesteps
        # The product can round up to the number of timesteps.
        timestep = jnp.minimum((t * count).astype(jnp.int32), count - 1)
        return jnp.asarray(levels_of(config))[timestep]
    shift = 2.0 * math.log(config.shift_base / size)
    first = math.atan(math.exp(-0.5 * (config.log_snr_max - shift)))
    # Near pi/2 an angle has lost its digits in float32, so the rest up to pi/2 is tracked too: tan = sin / sin(rest).
    last_rest = math.atan(math.exp(0.5 * (config.log_snr_min - shift)))
    span = 0.5 * math.pi - first - last_rest
    angle, rest = first + t * span, last_rest + (1.0 - t) * span
    return shift - 2.0 * (jnp.log(jnp.sin(angle)) - jnp.log(jnp.sin(rest)))


def draw_log_snr(key: PRNGKeyArray, batch: int, size: int, config: DiffusionConfig) -> Float[Array, "batch"]:
    """Noise levels for a training batch: each t uniform on [0, 1), together evenly spread (Kingma et al. 2021, "VDM").

    They stand in the order of t, from a random start on; the examples of the batch must not be sorted by anything.
    """
    t = (jax.random.uniform(key, ()) + jnp.arange(batch, dtype=jnp.float32) / batch) % 1.0
    return log_snr(t, size, config)


def sampling_levels(steps: int, size: int, config: DiffusionConfig) -> Float[Array, "steps"]:
    """The log-SNR of every step of sampling, noisiest first.

    On the cosine at t = 1, 1 - 1 / steps, ..., 1 / steps; of a schedule of timesteps those of `timestep_spacing`.

    Args:
      steps: how many.
      size: as for `log_snr`.
      config: the schedule.

    Raises:
      BadConfig: more steps than the schedule has.
    """
    if config.schedule == "cosine":
        return log_snr(1.0 - jnp.arange(steps, dtype=jnp.float32) / steps, size, config)
    from idfsr_jax.latent.discrete import levels_of, sampling_timesteps

    return jnp.asarray(levels_of(config)[sampling_timesteps(steps, config)])


def alpha_sigma(log_snr: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """The pair alpha = sqrt(sigmoid(log_snr)) and sigma = sqrt(sigmoid(-log_snr)), both in (0, 1)."""
    return jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))


def _alpha_sigma_for(log_snr: Float[Array, "b"], x: Float[Array, "b *d"]) -> tuple[Array, Array]:
    """`alpha_sigma` with trailing unit axes, so that it multiplies x example by example."""
    return alpha_sigma(log_snr.reshape(log_snr.shape + (1,) * (x.ndim - 1)))


def q_sample(x0: Float[Array, "b *d"], noise: Float[Array, "b *d"], log_snr: Float[Array, "b"]) -> Float[Array, "b *d"]:
    """The forward process: x_t = alpha x0 + sigma noise."""
    alpha, sigma = _alpha_sigma_for(log_snr, x0)
    return alpha * x0 + sigma * noise


def v_from_x0_and_noise(
    x0: Float[Array, "b *d"], noise: Float[Array, "b *d"], log_snr: Float[Array, "b"]
) -> Float[Array, "b *d"]:
    """Forms v = alpha noise - sigma x0."""
    alpha, sigma = _alpha_sigma_for(log_snr, x0)
    return alpha * noise - sigma * x0


def x0_from_v(x_t: Float[Array, "b *d"], v: Float[Array, "b *d"], log_snr: Float[Array, "b"]) -> Float[Array, "b *d"]:
    """Forms x0 = alpha x_t - sigma v."""
    alpha, sigma = _alpha_sigma_for(log_snr, x_t)
    return alpha * x_t - sigma * v


def v_from_x0(x_t: Float[Array, "b *d"], x0: Float[Array, "b *d"], log_snr: Float[Array, "b"]) -> Float[Array, "b *d"]:
    """Forms v = (alpha x_t - x0) / sigma; loses digits where sigma is small."""
    alpha, sigma = _alpha_sigma_for(log_snr, x_t)
    return (alpha * x_t - x0) / sigma


def noise_from_x0(
    x_t: Float[Array, "b *d"], x0: Float[Array, "b *d"], log_snr: Float[Array, "b"]
) -> Float[Array, "b *d"]:
    """Forms noise = (x_t - alpha x0) / sigma; loses digits where sigma is small."""
    alpha, sigma = _alpha_sigma_for(log_snr, x_t)
    return (x_t - alpha * x0) / sigma


def v_from_noise(
    x_t: Float[Array, "b *d"], noise: Float[Array, "b *d"], log_snr: Float[Array, "b"]
) -> Float[Array, "b *d"]:
    """Forms v = (noise - sigma x_t) / alpha; loses digits where alpha is small."""
    alpha, sigma = _alpha_sigma_for(log_snr, x_t)
    return (noise - sigma * x_t) / alpha


def min_snr_weight(log_snr: Float[Array, "*b"], gamma: float) -> Float[Array, "*b"]:
    """Min-SNR weight of the squared error of v: min(snr, gamma) / (snr + 1) (Hang et al. 2023).

    The squared error of v is (snr + 1) times that of x0, so this is min(snr, gamma) on x0. Written in sigmoids, which
    neither overflow nor divide.
    """
    return jnp.minimum(jax.nn.sigmoid(log_snr), gamma * jax.nn.sigmoid(-log_snr))
