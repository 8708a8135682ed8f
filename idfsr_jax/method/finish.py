"""The finish: a small network that mends at full resolution what the sampler leaves.

Moved by gradients and by projections, a picture that was made of patches of 4 x 4 pixels in two steps has halos along
outlines and ragged lips. The network sees it beside its condition, and was trained on such pictures
(`tools/finish.py`), the model's own weights left alone. It does not read who is to come out.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.method.condition import Condition
from idfsr_jax.networks.blocks import (
    GroupNorm,
    ResidualBlock,
    depth_to_space,
    fourier_features,
    space_to_depth,
    upsample_nearest,
)
from idfsr_jax.networks.convolution import Conv3x3

_SHARE = 0.4
"""Of what it makes in the result, beside the sampler's own: a mean of two estimates is nearer to the truth than one,
and more the person than either (configs/lfw128.py has the figures)."""
_WIDTHS = (32, 80, 112)
"""Channels at a half, a quarter and an eighth of the side."""
_HEAD = 12
"""Channels at full resolution."""
_UNIT = 0.2
"""What the last layer's 1 changes in a pixel."""


class Finish(nn.Module):
    """A small UNet that says what to add to pictures; its last kernel starts at zero, which adds nothing."""

    @nn.compact
    def __call__(
        self, pictures: Float[Array, "b s s 3"], condition: Condition, strength: Float[Array, " b"]
    ) -> Float[Array, "b s s 3"]:
        """The pictures, finished; they may leave [-1, 1] a little.

        Args:
          pictures: the sampler's results, in [-1, 1].
          condition: of each, in pixels.
          strength: how far each was made to agree with its LR picture, 0 to 1.
        """
        fine, middle, coarse = _WIDTHS
        n = pictures.shape[1] / condition.scale
        told = jnp.concatenate([fourier_features(jnp.log2(n), 32), strength[:, None]], axis=-1)
        told = nn.silu(nn.Dense(64, name="told")(told))
        stack = [pictures, condition.hidden, condition.references[:, 0], condition.valid[:, 0], condition.mask]

        at_half = Conv3x3(fine, name="stem")(space_to_depth(jnp.concatenate(stack, axis=-1), 2))
        at_half = ResidualBlock(fine, name="down_0")(at_half, told)
        at_quarter = nn.Conv(middle, (3, 3), strides=(2, 2), name="down_1_in")(at_half)
        at_quarter = at_quarter + Conv3x3(middle, name="pose")(condition.pose)
        at_quarter = ResidualBlock(middle, name="down_1")(at_quarter, told)
        h = nn.Conv(coarse, (3, 3), strides=(2, 2), name="middle_in")(at_quarter)
        for block in range(3):
            h = ResidualBlock(coarse, name=f"middle_{block}")(h, told)
        h = Conv3x3(middle, name="up_1_in")(upsample_nearest(h)) + nn.Dense(middle, name="skip_1")(at_quarter)
        for block in range(2):
            h = ResidualBlock(middle, name=f"up_1_{block}")(h, told)
        h = Conv3x3(fine, name="up_0_in")(upsample_nearest(h)) + nn.Dense(fine, name="skip_0")(at_half)
        for block in range(2):
            h = ResidualBlock(fine, name=f"up_0_{block}")(h, told)

        h = nn.Dense(4 * _HEAD, name="detail")(nn.silu(GroupNorm(name="norm_out")(h)))
        h = nn.silu(Conv3x3(_HEAD, name="head_in")(pictures) + depth_to_space(h, 2))
        return pictures + _UNIT * Conv3x3(3, kernel_init=nn.initializers.zeros, name="head_out")(h)


def finished(
    params: Any,
    drawn: Float[Array, "b s s 3"],
    condition: Condition,
    strength: Float[Array, " b"],
    agreeing: Callable[[Float[Array, "b s s 3"]], Float[Array, "b s s 3"]],
) -> Float[Array, "b s s 3"]:
    """A mean of the sampler's pictures and of what `Finish` makes of them.

    Args:
      params: of `Finish`.
      drawn: the sampler's pictures; they may leave [-1, 1].
      condition: of each, in pixels.
      strength: how far each agrees with its LR picture, 0 to 1.
      agreeing: clips pictures to [-1, 1] and makes them agree so far.
    """
    made: Any = Finish().apply({"params": params}, jnp.clip(drawn, -1.0, 1.0), condition, strength)
    return drawn + _SHARE * (agreeing(made) - drawn)
