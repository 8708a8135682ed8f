"""Attention over a feature map and over tokens, as latent diffusion has it (Rombach et al. 2022, appendix E.2).

Modules carry the names of diffusers' `Transformer2DModel`, whose weights they take.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.networks.blocks import GroupNorm


class Transformer2D(nn.Module):
    """Self-attention among all places of the map, cross-attention to the tokens, and a gated layer; added to the map.

    Attributes:
      heads: of the attention; they divide the channels.
      groups: of the first norm.
      dtype: of the arithmetic, but for norms and softmax.
    """

    heads: int
    groups: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], tokens: Float[Array, "b n d"]) -> Float[Array, "b h w c"]:
        batch, height, width, channels = x.shape
        # A 1x1 convolution here is a matrix there.
        flat = GroupNorm(self.groups, eps=1e-6, name="norm")(x).reshape(batch, height * width, channels)
        flat = nn.Dense(channels, dtype=self.dtype, name="proj_in")(flat)
        flat = _Block(self.heads, self.dtype, name="transformer_blocks_0")(flat, tokens)
        return x + nn.Dense(channels, dtype=self.dtype, name="proj_out")(flat).reshape(x.shape)


class _Block(nn.Module):
    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b m c"], tokens: Float[Array, "b n d"]) -> Float[Array, "b m c"]:
        normed = _layer_norm("norm1", x)
        x = x + _Attention(self.heads, self.dtype, name="attn1")(normed, normed)
        x = x + _Attention(self.heads, self.dtype, name="attn2")(_layer_norm("norm2", x), tokens)
        return x + _FeedForward(self.dtype, name="ff")(_layer_norm("norm3", x))


class _Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017), without biases on the way in."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b m c"], seen: Float[Array, "b n d"]) -> Float[Array, "b m c"]:
        batch, _, channels = x.shape

        def project(z: Float[Array, "b p e"], name: str) -> Float[Array, "b p heads k"]:
            dense = nn.Dense(channels, use_bias=False, dtype=self.dtype, name=name)
            return dense(z).reshape(batch, -1, self.heads, channels // self.heads)

        # Strict promotion forbids JAX's own float32 softmax of bfloat16 products.
        with jax.numpy_dtype_promotion("standard"):
            out = jax.nn.dot_product_attention(project(x, "to_q"), project(seen, "to_k"), project(seen, "to_v"))
        return nn.Dense(channels, dtype=self.dtype, name="to_out_0")(out.reshape(x.shape))


class _FeedForward(nn.Module):
    """Four times as wide, gated by GELU (Shazeer 2020, "GEGLU")."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b m c"]) -> Float[Array, "b m c"]:
        channels = x.shape[-1]
        hidden, gate = jnp.split(_Gated(8 * channels, self.dtype, name="net_0")(x), 2, axis=-1)
        return nn.Dense(channels, dtype=self.dtype, name="net_2")(hidden * nn.gelu(gate, approximate=False))


class _Gated(nn.Module):
    """A dense layer that diffusers keeps one level further down."""

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b m c"]) -> Float[Array, "b m d"]:
        return nn.Dense(self.width, dtype=self.dtype, name="proj")(x)


def _layer_norm(name: str, x: Float[Array, "b m c"]) -> Float[Array, "b m c"]:
    # In float32, and the variance from squared differences, as PyTorch has it.
    norm = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)
    return norm(x.astype(jnp.float32)).astype(x.dtype)
