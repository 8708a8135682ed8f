"""Resampling of pictures: rectangles that may reach beyond the edges, and affine warps."""

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image


def reflected_window(
    image: UInt8[np.ndarray, "h w 3"], left: int, top: int, right: int, bottom: int
) -> UInt8[np.ndarray, "rows columns 3"]:
    """The pixels [top, bottom) x [left, right); beyond the edges the photo is mirrored, as often as needed."""
    height, width = image.shape[:2]
    if 0 <= left and 0 <= top and right <= width and bottom <= height:
        return image[top:bottom, left:right]
    return image[_mirror(top, bottom, height)[:, None], _mirror(left, right, width)[None, :]]


def sample_affine(
    image: Image.Image, to_image: Float64[np.ndarray, "3 3"], size: tuple[int, int], filter: Image.Resampling
) -> Float32[np.ndarray, "rows columns channels"]:
    """Samples an image (mode RGB or F) at the points that a matrix takes the output's continuous pixels to.

    Args:
      image: what is sampled; outside it everything is 0.
      to_image: from continuous output pixels to continuous pixels of `image`.
      size: width and height of the output.
      filter: `BILINEAR` or `BICUBIC`.

    Returns:
      float32, not rounded and not clipped: Pillow's own 8-bit warp cuts fractions off, which darkens by half a level.
    """
    coefficients = tuple(float(value) for value in to_image[:2].ravel())
    planes = [
        plane.convert("F").transform(size, Image.Transform.AFFINE, coefficients, filter) for plane in image.split()
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def to_bytes(image: Float32[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """Rounds values around 0..255 to 8 bits."""
    return np.rint(image).clip(0, 255).astype(np.uint8)


def _mirror(start: int, stop: int, length: int) -> np.ndarray:
    index = np.arange(start, stop) % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)
