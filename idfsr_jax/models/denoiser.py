"""IDFSR's denoiser: v(x_t, log-SNR, condition), preconditioned around the pasted reference."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import Config, ModelConfig
from idfsr_jax.models.condition import Condition, paste
from idfsr_jax.models.unet import UNet
from idfsr_jax.networks.blocks import block_means, upsample_nearest


class Denoiser(nn.Module):
    """Predicts v = alpha eps - sigma x0 (Salimans and Ho 2022) of noisy pixels x_t under a condition.

    Karras et al. (2022, section 5) precondition a denoiser around the data's mean and deviation so that the network
    has a unit-variance input and target at every noise level. Here the best guess before any noise is seen is not the
    mean face but p, the reference pasted into the LR picture, and s is the deviation of the truth from it. With
    x0 ~ N(p, s^2) the best linear denoiser is x0 = p + alpha s^2 / k^2 (x_t - alpha p), k^2 = alpha^2 s^2 + sigma^2,
    its error has deviation s sigma / k, and in terms of v

        v = sigma / k^2 (alpha (1 - s^2) x_t - p) + s / k F((x_t - alpha p) / k, condition).

    An untrained F = 0 therefore already samples the pasted picture, and F spends nothing on learning to copy.

    With `prior_detail_std` all this is done for two parts of the picture apart, each with its own s: the means of 2 x 2
    pixels, and what they leave out (`_bands`). The noise of a part has the deviation c sigma, with c = 1/2 for the
    means, so that in general k^2 = alpha^2 s^2 + c^2 sigma^2 and

        v = sigma / k^2 (alpha (c^2 - s^2) x_t - c^2 p) + c s / k F.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self, x_t: Float[Array, "b s s c"], log_snr: Float[Array, " b"], condition: Condition
    ) -> Float[Array, "b s s c"]:
        cfg = self.config
        null = self.param("null_identity", nn.initializers.zeros, (cfg.identity_dim,), jnp.float32)
        present = condition.identity_present[:, None]
        # A unit vector has elements of about 1/sqrt(D); the network wants about 1.
        identity = present * condition.identity * cfg.identity_dim**0.5 + (1.0 - present) * null

        alpha = jnp.sqrt(jax.nn.sigmoid(log_snr))[:, None, None, None]
        sigma = jnp.sqrt(jax.nn.sigmoid(-log_snr))[:, None, None, None]
        guess = paste(condition, cfg.mask) if cfg.use_prior else jnp.zeros_like(x_t)
        bands = _bands(cfg)
        k = [jnp.sqrt(jnp.square(alpha * band.deviation) + jnp.square(sigma * band.noise_share)) for band in bands]
        scaled = sum(band.part(x_t - alpha * guess) / each for band, each in zip(bands, k, strict=True))

        stack = [scaled, condition.hidden, condition.mask, condition.reference, condition.valid]
        network = UNet(cfg, cfg.diffused_channels, name="unet")
        output = network(jnp.concatenate(stack, axis=-1), log_snr, condition.scale, identity)
        v = jnp.zeros_like(x_t)
        for band, each in zip(bands, k, strict=True):
            c, s = band.noise_share, band.deviation
            linear = sigma / jnp.square(each) * band.part(alpha * (c**2 - s**2) * x_t - c**2 * guess)
            v += linear + c * s / each * band.part(output)
        return v


class _Band(NamedTuple):
    """A part of a picture: its projection, s, and c."""

    part: Callable[[Float[Array, "b s s c"]], Float[Array, "b s s c"]]
    deviation: float
    noise_share: float


def _bands(config: ModelConfig) -> list[_Band]:
    """The whole picture; or the means of 2 x 2 pixels, and what they leave out.

    In the first of the two the problem is, to the letter, that of the picture of half the side, at a log-SNR that is
    2 log 2 higher: what a network has learnt there holds here.
    """
    if config.prior_detail_std == 0:
        return [_Band(lambda x: x, config.prior_std, 1.0)]
    return [_Band(_coarse, config.prior_std, 0.5), _Band(lambda x: x - _coarse(x), config.prior_detail_std, 1.0)]


def _coarse(x: Float[Array, "b s s c"]) -> Float[Array, "b s s c"]:
    return upsample_nearest(block_means(x))


def denoiser_of(config: Config) -> Denoiser:
    """The network that a configuration asks for."""
    return Denoiser(config.model)


def empty_inputs(batch: int, size: int, config: ModelConfig) -> tuple[Float[Array, "b s s c"], Array, Condition]:
    """Arguments of the denoiser, for their shapes.

    Args:
      batch: number of examples.
      size: side of the picture, pixels, also where latents are diffused.
      config: says what is diffused.
    """
    side = config.diffused_side(size)
    picture, plane = jnp.zeros((batch, side, side, config.diffused_channels)), jnp.zeros((batch, side, side, 1))
    identity, ones = jnp.zeros((batch, config.identity_dim)), jnp.ones(batch)
    return picture, jnp.zeros(batch), Condition(picture, plane, picture, plane, identity, ones, ones)


def init_denoiser(key: Array, config: Config) -> dict:
    """Fresh float32 parameters."""
    return jax.jit(denoiser_of(config).init)(key, *empty_inputs(1, config.data.size, config.model))["params"]
