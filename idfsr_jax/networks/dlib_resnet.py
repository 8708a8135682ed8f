"""dlib's face-recognition ResNet in Flax.

King 2017, "High quality face recognition with deep metric learning" (dlib.net): a ResNet-29 with half the usual
filters, trained with a metric loss on faces aligned by a similarity transform. Its weights are CC0.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.networks.blocks import block_means

_PIXEL_MEAN = (122.782, 117.001, 104.298)
_BLOCKS = (
    *((32, 1),) * 3,
    *((64, 2), (64, 1), (64, 1), (64, 1)),
    *((128, 2), (128, 1), (128, 1)),
    *((256, 2), (256, 1), (256, 1)),
    (256, 2),
)
"""Width and stride of each residual block, input side first."""


class DlibResNet(nn.Module):
    """dlib's `anet_type`: 29 convolutions, then a linear map to 128 numbers.

    The affine layers (frozen batch norms) are folded into the convolutions.
    """

    dimension = 128

    @nn.compact
    def __call__(self, chips: Float[Array, "b 150 150 3"]) -> Float[Array, "b 128"]:
        """Raw descriptors of chips.

        Args:
          chips: RGB from 0 to 255, as `face_chips` or `idfsr_jax.face.chip.cut_chip` cut them.

        Returns:
          What dlib's `compute_face_descriptor` gives for the same chips; close to, but not of, unit length.
        """
        x = (chips - jnp.asarray(_PIXEL_MEAN, chips.dtype)) / 256.0
        x = nn.relu(nn.Conv(32, (7, 7), strides=(2, 2), padding="VALID", name="stem")(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2))
        for index, (width, stride) in enumerate(_BLOCKS):
            x = _Block(width, stride, name=f"block_{index}")(x)
        return nn.Dense(self.dimension, use_bias=False, name="embed")(x.mean(axis=(1, 2)))


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is average-pooled where the block halves the resolution."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        # dlib pads a convolution by (k - 1) / 2 at stride 1 and not at all otherwise.
        padding: Any = "SAME" if self.stride == 1 else "VALID"
        strides = (self.stride, self.stride)
        y = nn.relu(nn.Conv(self.width, (3, 3), strides=strides, padding=padding, name="conv_1")(x))
        y = nn.Conv(self.width, (3, 3), name="conv_2")(y)
        if self.stride > 1:
            height, width = x.shape[1:3]
            x = block_means(x[:, : height // 2 * 2, : width // 2 * 2])
        return nn.relu(_add_zero_extended(x, y))


def _add_zero_extended(x: Float[Array, "b h1 w1 c1"], y: Float[Array, "b h2 w2 c2"]) -> Float[Array, "b h3 w3 c3"]:
    """dlib's `add_prev`: the smaller tensor counts as zero where it does not reach (at the far end of each axis)."""
    shape = tuple(max(sizes) for sizes in zip(x.shape, y.shape, strict=True))
    x, y = (jnp.pad(z, [(0, full - size) for full, size in zip(shape, z.shape, strict=True)]) for z in (x, y))
    return x + y
