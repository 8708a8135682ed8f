"""Stable Diffusion's UNet in Flax (Rombach et al. 2022), with diffusers' weights.

The architecture is that of diffusers' `UNet2DConditionModel` as Stable Diffusion 1.5 and 2.1 have it; modules carry
diffusers' names, so that `idfsr_jax.interop.diffusers_layout` need not know the network.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import UNetConfig
from idfsr_jax.latent.transformer_2d import Transformer2D
from idfsr_jax.networks.blocks import GroupNorm, upsample_nearest

_PADDING = ((1, 1), (1, 1))


class UNet2DCondition(nn.Module):
    """What is predicted of noisy latents at a timestep, under tokens.

    Attributes:
      config: its shape.
      out_channels: of what is predicted.
      dtype: of the arithmetic, but for norms, softmax and what is made of the timestep.
      remat: each block computed anew on the way back, as `ModelConfig.remat`.
    """

    config: UNetConfig
    out_channels: int
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], timestep: Float[Array, " b"], tokens: Float[Array, "b n k"]
    ) -> Float[Array, "b h w o"]:
        """Predicts noise or v, float32.

        Args:
          x: noisy latents, and with them any further channels; sides are multiples of 2^(resolutions - 1).
          timestep: of each example, fractions too.
          tokens: what stands in for the encoded text, of width `cross_attention_dim`.
        """
        config, last = self.config, len(self.config.block_out_channels) - 1
        widths = config.block_out_channels
        features = timestep_features(timestep, widths[0], flip=config.flip_sin_to_cos, shift=config.freq_shift)
        embedding = nn.silu(_TimeEmbedding(4 * widths[0], name="time_embedding")(features)).astype(self.dtype)
        tokens, shared = tokens.astype(self.dtype), (config, self.dtype, self.remat)

        x = _conv(widths[0], self.dtype, "conv_in")(x.astype(self.dtype))
        skips = [x]
        for level, down in enumerate(config.down_block_types):
            attends = down == "CrossAttnDownBlock2D"
            block = _DownBlock(level, attends, level < last, *shared, name=f"down_blocks_{level}")
            x, made = block(x, embedding, tokens)
            skips += made
        x = _MiddleBlock(last, True, False, *shared, name="mid_block")(x, embedding, tokens)
        for place, up in enumerate(config.up_block_types):
            attends, count = up == "CrossAttnUpBlock2D", config.layers_per_block + 1
            block = _UpBlock(last - place, attends, place < last, *shared, name=f"up_blocks_{place}")
            x, skips = block(x, skips[-count:], embedding, tokens), skips[:-count]
        x = nn.silu(GroupNorm(config.norm_num_groups, config.norm_eps, name="conv_norm_out")(x))
        return _conv(self.out_channels, jnp.float32, "conv_out")(x.astype(jnp.float32))


def timestep_features(
    timestep: Float[Array, " b"], width: int, *, flip: bool = True, shift: int = 0
) -> Float[Array, "b width"]:
    """Sinusoidal features of timesteps (Vaswani et al. 2017; Ho et al. 2020).

    Args:
      timestep: 0 to some 1000, fractions too.
      width: even.
      flip: cosines first.
      shift: subtracted from the number of frequencies, so that the lowest is 1/10000 at 1.
    """
    half = width // 2
    exponents = jnp.arange(half, dtype=jnp.float32) / (half - shift)
    angles = timestep[:, None] * jnp.exp(-math.log(10_000.0) * exponents)
    parts = (jnp.cos(angles), jnp.sin(angles)) if flip else (jnp.sin(angles), jnp.cos(angles))
    return jnp.concatenate(parts, axis=-1)


class _TimeEmbedding(nn.Module):
    width: int

    @nn.compact
    def __call__(self, features: Float[Array, "b f"]) -> Float[Array, "b e"]:
        # float32: this vector is tiny and sensitive
        return nn.Dense(self.width, name="linear_2")(nn.silu(nn.Dense(self.width, name="linear_1")(features)))


class _Block(nn.Module):
    """What blocks of a resolution share; `level` counts resolutions from the finest, 0."""

    level: int
    attends: bool
    resizes: bool
    config: UNetConfig
    dtype: Any
    remat: bool


class _DownBlock(_Block):
    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], embedding: Float[Array, "b e"], tokens: Float[Array, "b n k"]
    ) -> tuple[Float[Array, "b h2 w2 d"], list[Float[Array, "b _ _ d"]]]:
        made = []
        for index in range(self.config.layers_per_block):
            x = _layer(self, index, x, embedding, tokens)
            made.append(x)
        if self.resizes:
            x = _Resized(x.shape[-1], 2, self.dtype, name="downsamplers_0")(x)
            made.append(x)
        return x, made


class _UpBlock(_Block):
    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        skips: list[Float[Array, "b h w _"]],
        embedding: Float[Array, "b e"],
        tokens: Float[Array, "b n k"],
    ) -> Float[Array, "b h2 w2 d"]:
        for index, skip in enumerate(reversed(skips)):
            x = _layer(self, index, jnp.concatenate([x, skip], axis=-1), embedding, tokens)
        if self.resizes:
            x = _Resized(x.shape[-1], 1, self.dtype, name="upsamplers_0")(upsample_nearest(x))
        return x


class _MiddleBlock(_Block):
    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], embedding: Float[Array, "b e"], tokens: Float[Array, "b n k"]
    ) -> Float[Array, "b h w c"]:
        return _residual(self, 1)(_layer(self, 0, x, embedding, tokens), embedding)


class _Residual(nn.Module):
    """Pre-activation residual block; the timestep shifts its second half."""

    width: int
    config: UNetConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], embedding: Float[Array, "b e"]) -> Float[Array, "b h w d"]:
        norm = lambda name: GroupNorm(self.config.norm_num_groups, self.config.norm_eps, name=name)  # noqa: E731
        y = _conv(self.width, self.dtype, "conv1")(nn.silu(norm("norm1")(x)))
        y = y + nn.Dense(self.width, dtype=self.dtype, name="time_emb_proj")(embedding)[:, None, None]
        y = _conv(self.width, self.dtype, "conv2")(nn.silu(norm("norm2")(y)))
        if x.shape[-1] != self.width:
            x = nn.Conv(self.width, (1, 1), dtype=self.dtype, name="conv_shortcut")(x)
        return x + y


class _Resized(nn.Module):
    """A convolution at every place, or every other; diffusers keeps it one level further down."""

    width: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        return _conv(self.width, self.dtype, "conv", self.stride)(x)


def _conv(width: int, dtype: Any, name: str, stride: int = 1) -> nn.Conv:
    return nn.Conv(width, (3, 3), strides=(stride, stride), padding=_PADDING, dtype=dtype, name=name)


def _layer(
    block: _Block,
    index: int,
    x: Float[Array, "b h w c"],
    embedding: Float[Array, "b e"],
    tokens: Float[Array, "b n k"],
) -> Float[Array, "b h w d"]:
    """Within a block: a residual block, and attention after it where there is some."""
    x = _residual(block, index)(x, embedding)
    if not block.attends:
        return x
    kind, config = nn.remat(Transformer2D) if block.remat else Transformer2D, block.config
    attention = kind(config.heads[block.level], config.norm_num_groups, block.dtype, name=f"attentions_{index}")
    return attention(x, tokens)


def _residual(block: _Block, index: int) -> nn.Module:
    kind, config = nn.remat(_Residual) if block.remat else _Residual, block.config
    return kind(config.block_out_channels[block.level], config, block.dtype, name=f"resnets_{index}")
