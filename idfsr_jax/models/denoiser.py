"""IDFSR's denoiser: v(x_t, log-SNR, condition), preconditioned around the pasted reference."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import Config, DiffusionConfig, ModelConfig
from idfsr_jax.models.condition import Condition, paste
from idfsr_jax.models.unet import UNet
from idfsr_jax.models.unet_denoiser import UNetDenoiser


class Denoiser(nn.Module):
    """Predicts v = alpha eps - sigma x0 (Salimans and Ho 2022) of noisy pixels or latents x_t under a condition.

    Karras et al. (2022, section 5) precondition a denoiser around the data's mean and deviation so that the network
    has a unit-variance input and target at every noise level. Here the best guess before any noise is seen is not the
    mean face but p, the reference pasted into the LR picture, and s is the deviation of the truth from it. With
    x0 ~ N(p, s^2) the best linear denoiser is x0 = p + alpha s^2 / k^2 (x_t - alpha p), k^2 = alpha^2 s^2 + sigma^2,
    its error has deviation s sigma / k, and in terms of v

        v = sigma / k^2 (alpha (1 - s^2) x_t - p) + s / k F((x_t - alpha p) / k, condition).

    An untrained F = 0 therefore already samples the pasted picture, and F spends nothing on learning to copy.
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
        deviation = cfg.prior_std
        guess = paste(condition, cfg.mask) if cfg.use_prior else jnp.zeros_like(x_t)
        k = jnp.sqrt(jnp.square(alpha * deviation) + jnp.square(sigma))

        stack = [(x_t - alpha * guess) / k, condition.hidden, condition.mask, condition.reference, condition.valid]
        network = UNet(cfg, cfg.diffused_channels, name="unet")
        output = network(jnp.concatenate(stack, axis=-1), log_snr, condition.scale, identity)
        linear = sigma / jnp.square(k) * (alpha * (1.0 - deviation**2) * x_t - guess)
        return linear + deviation / k * output


def denoiser_of(config: Config) -> Denoiser | UNetDenoiser:
    """The network that a configuration asks for; both are called alike."""
    return UNetDenoiser(config.model, config.diffusion) if config.model.unet.folder else Denoiser(config.model)


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


def init_denoiser(key: Array, config: ModelConfig, size: int) -> dict:
    """Fresh float32 parameters; `size` is the picture's side, pixels.

    Of a pretrained UNet too all are random here; `training.start` begins with those of its files.
    """
    # No parameter depends on the schedule.
    network = denoiser_of(Config(model=config, diffusion=DiffusionConfig(schedule="scaled_linear")))
    return jax.jit(network.init)(key, *empty_inputs(1, size, config))["params"]
