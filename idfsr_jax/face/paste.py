"""A restored crop back into its photograph."""

import math

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image

from idfsr_jax.face.align import apply_transform, crop_side
from idfsr_jax.face.window import sample_affine

_BORDER = 1 / 16  # Share of the crop's side over which the mask fades to nothing at the crop's edge.


def warp_crop(
    shape: tuple[int, ...],
    crop: UInt8[np.ndarray, "s s 3"],
    transform: Float64[np.ndarray, "3 3"],
    mask: Float[np.ndarray, "m m"],
) -> tuple[tuple[slice, slice], Float32[np.ndarray, "rows columns 3"], Float32[np.ndarray, "rows columns 1"]] | None:
    """A canonical crop as it lies in a photo.

    Args:
      shape: height and width of the photo.
      crop: uint8 RGB, of any side; it is reduced first where it is finer than the photo.
      transform: from unit coordinates to continuous photo pixels, as in `FaceCrop`.
      mask: weights in 0..1 over the crop, of any side; they additionally fade out towards the crop's edge.

    Returns:
      The window of the photo that the crop touches, the crop's colours there (0..255, not rounded), and its weights
      (0..1); None if it lies outside the photo.
    """
    height, width = shape
    corners = apply_transform(transform, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    left, top = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(0)), (width, height)).astype(int)
    if left >= right or top >= bottom:
        return None
    to_unit = np.linalg.inv(transform) @ np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]])
    size = (int(right - left), int(bottom - top))
    side = max(1, math.ceil(crop_side(transform)))
    face = _sample(Image.fromarray(np.ascontiguousarray(crop)), side, to_unit, size, Image.Resampling.BICUBIC)
    weight = _sample(Image.fromarray(_faded(mask)), side, to_unit, size, Image.Resampling.BILINEAR).clip(0.0, 1.0)
    return (slice(top, bottom), slice(left, right)), face, weight


def _sample(
    image: Image.Image,
    side: int,
    to_unit: Float64[np.ndarray, "3 3"],
    size: tuple[int, int],
    filter: Image.Resampling,
) -> Float32[np.ndarray, "h w c"]:
    """Samples a square image, reduced to at most `side` pixels, where `to_unit` takes the output's pixels."""
    if image.width > side:
        # The mask has no use for Lanczos's overshoot.
        kind = Image.Resampling.BOX if image.mode == "F" else Image.Resampling.LANCZOS
        image = image.resize((side, side), kind)
    return sample_affine(image, np.diag([image.width, image.height, 1.0]) @ to_unit, size, filter)


def _faded(mask: Float[np.ndarray, "m m"]) -> Float32[np.ndarray, "m m"]:
    """The mask times a smoothstep that falls to 0 at the edge."""
    position = (np.arange(mask.shape[0]) + 0.5) / mask.shape[0]
    ramp = np.clip(np.minimum(position, 1.0 - position) / _BORDER, 0.0, 1.0)
    ramp = ramp * ramp * (3.0 - 2.0 * ramp)
    return (mask * ramp[:, None] * ramp[None, :]).astype(np.float32)
