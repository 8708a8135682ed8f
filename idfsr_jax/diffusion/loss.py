"""The training loss: squared error of v under min-SNR weights."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.diffusion.schedule import v_from_x0_and_noise


def min_snr_weight(log_snr: Float[Array, "*b"], gamma: float) -> Float[Array, "*b"]:
    """Min-SNR weight of the squared error of v: min(snr, gamma) / (snr + 1) (Hang et al. 2023).

    The squared error of v is (snr + 1) times that of x0, so this is min(snr, gamma) on x0. Written in sigmoids, which
    neither overflow nor divide.
    """
    return jnp.minimum(jax.nn.sigmoid(log_snr), gamma * jax.nn.sigmoid(-log_snr))


def v_loss(
    v: Float[Array, "b *d"],
    x0: Float[Array, "b *d"],
    noise: Float[Array, "b *d"],
    log_snr: Float[Array, "b"],
    gamma: float,
) -> Float[Array, "b"]:
    """Weighted mean squared error of a predicted v, one number per example.

    Args:
      v: the network's output at x_t = alpha x0 + sigma noise, cast to float32.
      x0: clean pictures, in [-1, 1].
      noise: the standard normal noise that was mixed in.
      log_snr: noise level of each example.
      gamma: bound on the SNR in the weight (5 in the paper).
    """
    error = v - v_from_x0_and_noise(x0, noise, log_snr)
    return min_snr_weight(log_snr, gamma) * jnp.mean(jnp.square(error), axis=tuple(range(1, v.ndim)))
