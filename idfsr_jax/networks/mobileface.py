"""Two more small face recognisers in Flax, of inverted bottlenecks with ReLU6; they guide beside MobileFaceNet.

What is felt by one recogniser alone is a pattern that only it sees; several that were trained apart agree on faces. One
has MobileFaceNet's shape (Chen et al. 2018) with another activation, the other is MobileFace, which is narrower.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.networks.mobilefacenet import BOTTLENECKS, Bottleneck, Depthwise


class MobileFace(nn.Module):
    """A recogniser with the batch norms folded into the convolutions, padded by a pixel at both ends, as PyTorch pads.

    Attributes:
      dimension: length of a descriptor.
      stem: channels of the 3 x 3 convolution of stride 2 that comes first.
      blocks: channels inside, channels out and stride of each bottleneck, input side first; added to its input at
        stride 1.
      head: channels of the pointwise convolution before a 7 x 7 depthwise one; with one, a depthwise and a pointwise
        one follow the stem too. 0: the last map is flattened instead.
      mean: of chips, by which they are centred; one number for each of red, green, blue, 0 to 255.
      deviation: by which they are then divided.
    """

    dimension: int
    stem: int
    blocks: tuple[tuple[int, int, int], ...]
    head: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    @nn.compact
    def __call__(self, chips: Float[Array, "b 112 112 3"]) -> Float[Array, "b d"]:
        """Raw descriptors of chips; their directions are compared.

        Args:
          chips: RGB from 0 to 255, as `face_chips` or `cut_chip` cut them by `ARCFACE_CHIP`.
        """
        mean, deviation = (jnp.asarray(each).reshape(1, 1, 1, 3) for each in (self.mean, self.deviation))
        x = (chips - mean) / deviation
        x = nn.relu6(nn.Conv(self.stem, (3, 3), strides=(2, 2), padding=1, name="stem")(x))
        if self.head:
            x = nn.relu(Depthwise(padding="BOTH", name="depthwise")(x))
            x = nn.relu(nn.Dense(self.stem, name="project")(x))
        for index, (inside, width, stride) in enumerate(self.blocks):
            y = Bottleneck(inside, width, stride, "BOTH", relu6=True, name=f"block_{index}")(x)
            x = x + y if stride == 1 else y
        if self.head:
            x = nn.relu6(nn.Dense(self.head, name="head")(x))
            x = Depthwise(size=7, padding="VALID", name="pool")(x)
        return nn.Dense(self.dimension, name="embed")(x.reshape(len(x), -1))


MOBILEFACENET_RELU6 = MobileFace(
    dimension=128,
    stem=64,
    blocks=BOTTLENECKS,
    head=512,
    mean=(123.675, 116.28, 103.53),
    deviation=(58.395, 57.12, 57.375),
)
"""MobileFaceNet with ReLU6, as github.com/foamliu/MobileFaceNet trained it on a cleaned MS-Celeb-1M."""

MOBILEFACE = MobileFace(
    dimension=256,
    stem=32,
    blocks=(
        *((96, 32, 2), *((96, 32, 1),) * 2),
        *((96, 32, 2), *((96, 32, 1),) * 2),
        *((96, 64, 2), *((192, 64, 1),) * 2),
        *((192, 128, 2), *((384, 128, 1),) * 2),
    ),
    head=0,
    mean=(127.5, 127.5, 127.5),
    deviation=(128.0, 128.0, 128.0),
)
"""MobileFace, version 2, of github.com/becauseofAI/MobileFace."""
