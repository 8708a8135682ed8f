"""MobileFaceNet in Flax: a small face recogniser, fast on CPUs forwards and backwards.

Chen et al. 2018, "MobileFaceNets: Efficient CNNs for accurate real-time face verification on mobile devices"
(arXiv 1804.07573): MobileNetV2's inverted bottlenecks with PReLUs, and a depthwise convolution as large as the picture
in place of the last mean.
"""

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

STEM = 64
"""Channels of the 3 x 3 convolution of stride 2, the depthwise and the pointwise one that come first."""

BOTTLENECKS = (
    *((128, 64, 2), *((128, 64, 1),) * 4),
    *((256, 128, 2), *((256, 128, 1),) * 6),
    *((512, 128, 2), *((256, 128, 1),) * 2),
)
"""Channels inside, channels out and stride of each bottleneck, input side first; added to its input at stride 1."""

HEAD = 512
"""Channels of the pointwise convolution before the 7 x 7 depthwise one."""

Padding = Literal["SAME", "VALID", "BOTH"]
"""TensorFlow's two; and a pixel of zeros at both ends, as PyTorch and MXNet pad a kernel of 3."""


class MobileFaceNet(nn.Module):
    """MobileFaceNet of 192 numbers, with the batch norms folded into the convolutions."""

    dimension = 192

    @nn.compact
    def __call__(self, chips: Float[Array, "b 112 112 3"]) -> Float[Array, "b 192"]:
        """Raw descriptors of chips; their directions are compared.

        Args:
          chips: RGB from 0 to 255, as `face_chips` or `cut_chip` cut them by `ARCFACE_CHIP`.
        """
        x = (chips - 127.5) / 128.0
        x = PReLU(name="stem_activation")(nn.Conv(STEM, (3, 3), strides=(2, 2), name="stem")(x))
        x = PReLU(name="depthwise_activation")(Depthwise(name="depthwise")(x))
        x = nn.Dense(STEM, name="project")(x)
        for index, (inside, width, stride) in enumerate(BOTTLENECKS):
            y = Bottleneck(inside, width, stride, name=f"block_{index}")(x)
            x = x + y if stride == 1 else y
        x = PReLU(name="head_activation")(nn.Dense(HEAD, name="head")(x))
        x = Depthwise(size=7, padding="VALID", name="pool")(x)
        return nn.Dense(self.dimension, name="embed")(x[:, 0, 0])


class Bottleneck(nn.Module):
    """Widened, convolved in each channel, and narrowed without an activation.

    Attributes:
      inside: channels of the depthwise convolution.
      width: channels that come out.
      stride: of the depthwise convolution, pixels.
      padding: likewise.
      relu6: whether the activations are ReLU6 and not PReLUs.
    """

    inside: int
    width: int
    stride: int
    padding: Padding = "SAME"
    relu6: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        x = self._active("expand_activation", nn.Dense(self.inside, name="expand")(x))
        x = Depthwise(stride=self.stride, padding=self.padding, name="depthwise")(x)
        return nn.Dense(self.width, name="project")(self._active("depthwise_activation", x))

    def _active(self, name: str, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return nn.relu6(x) if self.relu6 else PReLU(name=name)(x)


class PReLU(nn.Module):
    """A leaky ReLU with a slope of its own for each channel (He et al. 2015)."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.where(x >= 0, x, slope * x)


class Depthwise(nn.Module):
    """A depthwise convolution with a bias.

    Attributes:
      size: of the kernel, pixels.
      stride: pixels.
      padding: see `Padding`.
    """

    size: int = 3
    stride: int = 1
    padding: Padding = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        channels = x.shape[-1]
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=(0, 1), out_axis=(2,))
        kernel = self.param("kernel", init, (self.size, self.size, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        return depthwise_convolution(x, kernel, self.stride, self.padding) + bias


def depthwise_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k l c"], stride: int = 1, padding: Padding = "SAME"
) -> Float[Array, "b h2 w2 c"]:
    """Each channel convolved with a kernel of its own, y[i, j] = sum over u, v of kernel[u, v] x[s i + u, s j + v].

    The sum is written out as products of shifted arrays, which XLA makes one loop of; its grouped convolution is many
    times as slow on a CPU, most of all backwards. A kernel as large as x leaves one pixel, a mere contraction.

    Args:
      x: the input.
      kernel: one k x l kernel for each channel.
      stride: s, in both directions.
      padding: "SAME" pads with zeros, the odd one at the far end, so that h2 = ceil(h / s); "VALID" with none,
        "BOTH" with one at both ends.
    """
    if padding == "VALID" and x.shape[1:3] == kernel.shape[:2]:
        return jnp.einsum("bhwc,hwc->bc", x, kernel)[:, None, None]
    convolve = functools.partial(_shifted_products, stride=stride, padding=padding)
    # XLA would fuse this loop into those of its neighbours and compute each element again for every shift: 81 products
    # for 9 in a gradient behind a PReLU. It fuses nothing across the border of a branch, and drops barriers on CPUs.
    return jax.lax.cond(
        jnp.isfinite(kernel[0, 0, 0]),
        convolve,
        lambda x, kernel: jnp.full_like(convolve(x, kernel), jnp.nan),
        x,
        kernel,
    )


def _shifted_products(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k l c"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 c"]:
    both = ((1, 1), (1, 1))
    pads = (
        both if padding == "BOTH" else jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride,) * 2, padding)
    )
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = ((x.shape[axis] - kernel.shape[axis - 1]) // stride * stride + 1 for axis in (1, 2))
    total = jnp.zeros((), x.dtype)
    for u, v in np.ndindex(kernel.shape[:2]):
        total = total + x[:, u : u + rows : stride, v : v + columns : stride] * kernel[u, v]
    return total
