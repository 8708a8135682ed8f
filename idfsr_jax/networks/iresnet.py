"""ArcFace's IResNet in Flax: any depth, weights from outside (`interop/arcface_onnx.py`, `interop/torch_weights.py`).

Deng et al. 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", with the residual unit of Duta et
al. 2020, "Improved Residual Networks" (normalise, convolve, PReLU, convolve), as insightface has it.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from idfsr_jax.networks.mobilefacenet import PReLU

_PADDING = ((1, 1), (1, 1))  # PyTorch's; Flax's "SAME" pads strided convolutions on the far side only


class IResNet(nn.Module):
    """Stem, residual units, and a linear map of all that is left to an embedding.

    Frozen batch norms are folded into the convolution before them, and those around the last layer into it. What
    remains is one before each unit, which padding keeps from being folded into the convolution behind it.

    Attributes:
      blocks: width and stride of each unit.
      dimension: of the embedding.
      mean: subtracted from chips.
      deviation: that chips are then divided by.
    """

    blocks: tuple[tuple[int, int], ...]
    dimension: int
    mean: float = 127.5
    deviation: float = 127.5

    @nn.compact
    def __call__(self, chips: Float[Array, "b 112 112 3"]) -> Float[Array, "b d"]:
        """Raw embeddings of chips; ArcFace compares their directions.

        Args:
          chips: RGB from 0 to 255, as `face_chips` or `cut_chip` cut them by `ARCFACE_CHIP`.
        """
        x = (chips - self.mean) / self.deviation
        x = nn.Conv(self.blocks[0][0], (3, 3), padding=_PADDING, name="stem")(x)
        x = PReLU(name="stem_activation")(x)
        for index, (width, stride) in enumerate(self.blocks):
            x = _Unit(width, stride, name=f"block_{index}")(x)
        return nn.Dense(self.dimension, name="embed")(x.reshape(x.shape[0], -1))


class _Unit(nn.Module):
    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        channels, strides = x.shape[-1], (self.stride, self.stride)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        shift = self.param("shift", nn.initializers.zeros, (channels,))
        y = nn.Conv(self.width, (3, 3), padding=_PADDING, name="conv_1")(x * scale + shift)
        y = PReLU(name="activation")(y)
        y = nn.Conv(self.width, (3, 3), strides=strides, padding=_PADDING, name="conv_2")(y)
        if self.stride > 1 or self.width != channels:
            x = nn.Conv(self.width, (1, 1), strides=strides, padding="VALID", name="shortcut")(x)
        return x + y
