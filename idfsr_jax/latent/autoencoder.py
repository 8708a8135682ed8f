"""Latent diffusion's image autoencoder in Flax (Rombach et al. 2022), with diffusers' weights.

The architecture is that of diffusers' `AutoencoderKL` with plain encoder and decoder blocks, as Stable Diffusion 1.5, 2
and XL have it; modules carry diffusers' names, so that `idfsr_jax.interop.diffusers_layout` need not know the network.
"""

import math
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from idfsr_jax.config import AutoencoderConfig
from idfsr_jax.interop.diffusers_layout import require_shapes
from idfsr_jax.interop.diffusers_vae import read_autoencoder

_PADDING = ((1, 1), (1, 1))


@flax.struct.dataclass
class Posterior:
    """q(z | image): a Gaussian with independent elements (Kingma and Welling 2014).

    Attributes:
      mean: latents, as the decoder takes them.
      log_variance: within [-30, 20].
    """

    mean: Float[Array, "b h w c"]
    log_variance: Float[Array, "b h w c"]

    def sample(self, key: PRNGKeyArray) -> Float[Array, "b h w c"]:
        """Draws latents: mean + exp(log_variance / 2) noise."""
        return self.mean + jnp.exp(0.5 * self.log_variance) * jax.random.normal(key, self.mean.shape, self.mean.dtype)


class AutoencoderKL(nn.Module):
    """Pictures to latents and back.

    Use `apply(variables, x, method="encode")` and `method="decode"`.
    """

    config: AutoencoderConfig

    def setup(self) -> None:
        """Names the parts as diffusers does."""
        latent = self.config.latent_channels
        self.encoder, self.decoder = _Encoder(self.config), _Decoder(self.config)
        if self.config.use_quant_conv:
            self.quant_conv = nn.Conv(2 * latent, (1, 1))
        if self.config.use_post_quant_conv:
            self.post_quant_conv = nn.Conv(latent, (1, 1))

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """The pictures that the posteriors' means decode to."""
        return self.decode(self.encode(images).mean)

    def encode(self, images: Float[Array, "b h w c"]) -> Posterior:
        """The posterior of pictures.

        Args:
          images: in [-1, 1]; sides are multiples of `reduction(config)`.
        """
        moments = self.encoder(images)
        if self.config.use_quant_conv:
            moments = self.quant_conv(moments)
        mean, log_variance = jnp.split(moments, 2, axis=-1)
        return Posterior(mean, jnp.clip(log_variance, -30.0, 20.0))

    def decode(self, latents: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """The pictures of latents as a posterior has them (not scaled), in about [-1, 1]."""
        return self.decoder(self.post_quant_conv(latents) if self.config.use_post_quant_conv else latents)


def reduction(config: AutoencoderConfig) -> int:
    """Pixels per latent along a side."""
    return 2 ** (len(config.block_out_channels) - 1)


def scale_latents(latents: Float[Array, "*b c"], config: AutoencoderConfig) -> Float[Array, "*b c"]:
    """Latents of a posterior as diffusion wants them, of about zero mean and unit variance."""
    shift, factor = _latent_statistics(config)
    return (latents - shift) * factor


def unscale_latents(latents: Float[Array, "*b c"], config: AutoencoderConfig) -> Float[Array, "*b c"]:
    """Inverse of `scale_latents`."""
    shift, factor = _latent_statistics(config)
    return latents / factor + shift


def _latent_statistics(config: AutoencoderConfig) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    shift = config.latents_mean if config.latents_mean is not None else config.shift_factor or 0.0
    spread = config.latents_std if config.latents_std is not None else 1.0
    return jnp.asarray(shift, jnp.float32), config.scaling_factor / jnp.asarray(spread, jnp.float32)


def load_autoencoder(folder: str | Path) -> tuple[AutoencoderConfig, Any]:
    """Reads an autoencoder that diffusers, or `write_autoencoder`, saved.

    Args:
      folder: with `config.json` and `diffusion_pytorch_model.safetensors`, or a pipeline's, with `vae/`.

    Returns:
      What it is, and its parameters, float32.

    Raises:
      BadWeights: it is missing or damaged, or another kind of autoencoder.
    """
    config, params = read_autoencoder(Path(folder))
    image = jax.ShapeDtypeStruct((1, 2 * reduction(config), 2 * reduction(config), config.in_channels), jnp.float32)
    wanted = jax.eval_shape(AutoencoderKL(config).init, jax.random.key(0), image)["params"]
    require_shapes(wanted, params, folder)
    return config, jax.tree.map(jnp.asarray, params)


class _Encoder(nn.Module):
    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        config = self.config
        widths, last = config.block_out_channels, len(config.block_out_channels) - 1
        x = nn.Conv(widths[0], (3, 3), padding=_PADDING, name="conv_in")(x)
        for level, width in enumerate(widths):
            x = _DownBlock(width, config, halves=level < last, name=f"down_blocks_{level}")(x)
        x = _MiddleBlock(widths[-1], config, name="mid_block")(x)
        x = nn.silu(_norm(config, "conv_norm_out")(x))
        return nn.Conv(2 * config.latent_channels, (3, 3), padding=_PADDING, name="conv_out")(x)


class _Decoder(nn.Module):
    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        config = self.config
        widths, last = config.block_out_channels[::-1], len(config.block_out_channels) - 1
        x = nn.Conv(widths[0], (3, 3), padding=_PADDING, name="conv_in")(x)
        x = _MiddleBlock(widths[0], config, name="mid_block")(x)
        for level, width in enumerate(widths):
            x = _UpBlock(width, config, doubles=level < last, name=f"up_blocks_{level}")(x)
        x = nn.silu(_norm(config, "conv_norm_out")(x))
        return nn.Conv(config.out_channels, (3, 3), padding=_PADDING, name="conv_out")(x)


class _DownBlock(nn.Module):
    width: int
    config: AutoencoderConfig
    halves: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        for index in range(self.config.layers_per_block):
            x = _Residual(self.width, self.config, name=f"resnets_{index}")(x)
        return _Downsample(self.width, name="downsamplers_0")(x) if self.halves else x


class _UpBlock(nn.Module):
    width: int
    config: AutoencoderConfig
    doubles: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        for index in range(self.config.layers_per_block + 1):
            x = _Residual(self.width, self.config, name=f"resnets_{index}")(x)
        return _Upsample(self.width, name="upsamplers_0")(x) if self.doubles else x


class _MiddleBlock(nn.Module):
    width: int
    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        x = _Residual(self.width, self.config, name="resnets_0")(x)
        if self.config.mid_block_add_attention:
            x = _Attention(self.config, name="attentions_0")(x)
        return _Residual(self.width, self.config, name="resnets_1")(x)


class _Residual(nn.Module):
    width: int
    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        y = nn.Conv(self.width, (3, 3), padding=_PADDING, name="conv1")(nn.silu(_norm(self.config, "norm1")(x)))
        y = nn.Conv(self.width, (3, 3), padding=_PADDING, name="conv2")(nn.silu(_norm(self.config, "norm2")(y)))
        if x.shape[-1] != self.width:
            x = nn.Conv(self.width, (1, 1), name="conv_shortcut")(x)
        return x + y


class _Attention(nn.Module):
    """One head over all positions."""

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        batch, height, width, channels = x.shape
        flat = _norm(self.config, "group_norm")(x).reshape(batch, height * width, channels)
        query, key, value = (nn.Dense(channels, name=name)(flat) for name in ("to_q", "to_k", "to_v"))
        weights = nn.softmax(jnp.einsum("bqc,bkc->bqk", query, key) / math.sqrt(channels), axis=-1)
        y = nn.Dense(channels, name="to_out_0")(jnp.einsum("bqk,bkc->bqc", weights, value))
        return x + y.reshape(x.shape)


class _Downsample(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        # Padded at the far end only, as in the original.
        return nn.Conv(self.width, (3, 3), strides=(2, 2), padding=((0, 1), (0, 1)), name="conv")(x)


class _Upsample(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        return nn.Conv(self.width, (3, 3), padding=_PADDING, name="conv")(x)


def _norm(config: AutoencoderConfig, name: str) -> nn.GroupNorm:
    # The variance from squared differences, as PyTorch has it: the fast one loses digits in wide, large features.
    return nn.GroupNorm(config.norm_num_groups, epsilon=1e-6, use_fast_variance=False, name=name)
