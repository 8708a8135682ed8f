"""diffusers' `UNet2DModel` made of this package's blocks, and its weights: an equal network to compare speed with."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.networks.blocks import GroupNorm, upsample_nearest

GROUPS, HEAD_WIDTH = 32, 32


def diffusers_options(channels: tuple[int, ...], layers: int, size: int) -> dict[str, Any]:
    """Arguments of `UNet2DModel` for the network of `UNet2D`: attention at the coarsest resolution."""
    plain = len(channels) - 1
    return {
        "sample_size": size,
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": ("DownBlock2D",) * plain + ("AttnDownBlock2D",),
        "up_block_types": ("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
        "attention_head_dim": HEAD_WIDTH,
        "norm_num_groups": GROUPS,
    }


class _Residual(nn.Module):
    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], time: Float[Array, "b d"]) -> Float[Array, "b h w o"]:
        h = nn.Conv(self.channels, (3, 3), name="conv1")(nn.silu(GroupNorm(GROUPS, name="norm1")(x)))
        h = h + nn.Dense(self.channels, name="time_emb_proj")(nn.silu(time))[:, None, None]
        h = nn.Conv(self.channels, (3, 3), name="conv2")(nn.silu(GroupNorm(GROUPS, name="norm2")(h)))
        if x.shape[-1] != self.channels:
            x = nn.Conv(self.channels, (1, 1), name="conv_shortcut")(x)
        return x + h


class _Attention(nn.Module):
    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        normed = GroupNorm(GROUPS, name="group_norm")(x).reshape(b, h * w, c)
        heads = [nn.Dense(c, name=f"to_{n}")(normed).reshape(b, -1, c // HEAD_WIDTH, HEAD_WIDTH) for n in "qkv"]
        out = jax.nn.dot_product_attention(*heads).reshape(b, h, w, c)
        return x + nn.Dense(c, name="to_out_0")(out)


class UNet2D(nn.Module):
    """`UNet2DModel` of `diffusers_options`, on pictures of three channels, NHWC.

    Attributes:
      channels: of each resolution, finest first.
      layers: residual blocks of each resolution on the way down.
    """

    channels: tuple[int, ...]
    layers: int

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"], timestep: Float[Array, " b"]) -> Float[Array, "b s s 3"]:
        width, last = self.channels[0], len(self.channels) - 1
        frequencies = jnp.exp(-jnp.log(10_000.0) * jnp.arange(width // 2, dtype=jnp.float32) / (width // 2))
        angles = timestep[:, None] * frequencies
        time = nn.Dense(4 * width, name="time_embedding_linear_1")(
            jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        )
        time = nn.Dense(4 * width, name="time_embedding_linear_2")(nn.silu(time))
        h = nn.Conv(width, (3, 3), name="conv_in")(x)
        skips = [h]
        for level, channels in enumerate(self.channels):
            for i in range(self.layers):
                h = _Residual(channels, name=f"down_blocks_{level}_resnets_{i}")(h, time)
                if level == last:
                    h = _Attention(name=f"down_blocks_{level}_attentions_{i}")(h)
                skips.append(h)
            if level < last:
                name = f"down_blocks_{level}_downsamplers_0_conv"
                h = nn.Conv(channels, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)), name=name)(h)
                skips.append(h)
        h = _Residual(self.channels[-1], name="mid_block_resnets_0")(h, time)
        h = _Attention(name="mid_block_attentions_0")(h)
        h = _Residual(self.channels[-1], name="mid_block_resnets_1")(h, time)
        for place, channels in enumerate(reversed(self.channels)):
            for i in range(self.layers + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = _Residual(channels, name=f"up_blocks_{place}_resnets_{i}")(h, time)
                if place == 0:
                    h = _Attention(name=f"up_blocks_{place}_attentions_{i}")(h)
            if place < last:
                h = nn.Conv(channels, (3, 3), name=f"up_blocks_{place}_upsamplers_0_conv")(upsample_nearest(h))
        return nn.Conv(3, (3, 3), name="conv_out")(nn.silu(GroupNorm(GROUPS, name="conv_norm_out")(h)))


def converted(state: Mapping[str, np.ndarray], like: Any) -> Any:
    """Weights of diffusers' module for `UNet2D`.

    Args:
      state: arrays by diffusers' names.
      like: parameters of `UNet2D`, for their names.
    """
    flat = {}
    taken = set()
    for path, value in flax.traverse_util.flatten_dict(like).items():
        *modules, leaf = path
        kind = "bias" if leaf == "bias" else "weight"
        name = next(n for n in state if n.replace(".", "_") == "_".join([*modules, kind]))
        taken.add(name)
        array = np.asarray(state[name], np.float32)
        if leaf == "kernel":
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        assert array.shape == value.shape, (name, array.shape, value.shape)
        flat[path] = jnp.asarray(array)
    assert taken == set(state), sorted(set(state) - taken)
    return flax.traverse_util.unflatten_dict(flat)
