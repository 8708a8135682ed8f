"""Baseline JPEG (ITU T.81) as libjpeg writes and reads it, traced: a picture in 8-bit levels in, and out.

One program serves every width, quality, chroma and place of the blocks; `jax.vmap` makes a batch of it.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def jpeg(
    levels: Float[Array, "3 m m"],
    n: Int[Array, ""],
    quality: Int[Array, ""],
    subsampled: Bool[Array, ""],
    shift: Int[Array, "2"],
) -> Float[Array, "3 m m"]:
    """What libjpeg makes of the first n rows and columns of a picture.

    Args:
      levels: whole numbers of 0..255, colours first. What is past n is not looked at, and not to be looked at in the
        result.
      n: width.
      quality: 1 to 100, on libjpeg's scale; 0 leaves the picture as it is.
      subsampled: 4:2:0 (means of 2 x 2 chroma, enlarged by a triangle) or 4:4:4.
      shift: rows and columns by which the blocks are off the corner, at most as far as m (as a multiple of 16) has
        room for.
    """
    # Chroma of 4:2:0 is put into the corner of its plane, so that one transform serves both.
    side = -(-levels.shape[1] // 16) * 16
    place, half = jnp.arange(side), side // 2
    odd = (place % 2).astype(jnp.float32)
    shift = jnp.minimum(shift, side - n)
    top, left = shift
    last_row, last_column = (shift + n - 1) // 2  # of the halved chroma

    # The encoder. Past its edge a picture is continued by it.
    within = jnp.clip(place - shift[:, None], 0, n - 1)
    rgb = levels[:, within[0][:, None], within[1]]
    luma = jnp.floor(_mixed(_YCBCR[:1], rgb) + 0.5)
    chroma = jnp.floor(_mixed(_YCBCR[1:], rgb) + 128.0 + 32767 / 65536)
    # libjpeg rounds sums of four up and down by turns, and continues the halved picture downwards, not the whole one.
    halved = chroma.reshape(2, half, 2, half, 2).sum(axis=(2, 4))
    halved = jnp.floor((halved + 1.0 + odd[:half]) / 4.0)[:, jnp.minimum(place[:half], last_row)]
    halved = jnp.pad(halved, ((0, 0), (0, half), (0, half)))
    planes = jnp.concatenate([luma, jnp.where(subsampled, halved, chroma)])
    planes = _quantised_blocks(planes, quality)

    # The decoder. Halved chroma is enlarged by a triangle (weights 3 and 1 along each axis), unless it is tiny.
    luma, chroma = planes[:1], planes[1:]
    near, beside = place // 2, place // 2 + 2 * (place % 2) - 1
    fancy = last_column >= 2
    far_row = jnp.where(fancy, jnp.clip(beside, 0, last_row), near)
    far_column = jnp.where(fancy, jnp.clip(beside, 0, last_column), near)
    doubled = 3.0 * chroma[:, near] + chroma[:, far_row]
    doubled = 3.0 * doubled[:, :, near] + doubled[:, :, far_column]
    chroma = jnp.where(subsampled, jnp.floor((doubled + 8.0 - odd) / 16.0), chroma)
    rgb = jnp.floor(luma + _mixed(_RGB_OF_CHROMA, chroma - 128.0) + 0.5)
    place = place[: levels.shape[1]]
    rows, columns = jnp.minimum(place + top, side - 1), jnp.minimum(place + left, side - 1)
    rgb = jnp.clip(rgb, 0.0, 255.0)[:, rows[:, None], columns]
    return jnp.where(quality > 0, rgb, levels)


def _mixed(matrix: Float[np.ndarray, "d c"], planes: Float[Array, "c h w"]) -> Float[Array, "d h w"]:
    return jnp.einsum("dc,chw->dhw", matrix, planes, precision="highest")


def _quantised_blocks(planes: Float[Array, "3 m m"], quality: Int[Array, ""]) -> Float[Array, "3 m m"]:
    """Y, Cb and Cr in levels after transform, rounding and back; rounded in between as libjpeg's integers are."""
    quality = jnp.clip(quality, 1, 100)
    percent = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality).astype(jnp.float32)
    steps = jnp.clip(jnp.floor((QUANTISATION * percent + 50.5) / 100.0), 1.0, 255.0)
    blocks = planes.shape[1] // 8
    steps = jnp.tile(steps, (1, blocks, blocks))
    # Each pass is sqrt(8) times orthonormal; the first keeps two bits more.
    dct = np.kron(np.eye(blocks), _dct_matrix()).astype(np.float32)
    product = functools.partial(jnp.matmul, precision="highest")
    coefficients = jnp.floor(4.0 * product(planes - 128.0, dct.T) + 0.5)
    coefficients = jnp.floor(product(dct, coefficients) / 4.0 + 0.5)  # eight times orthonormal
    whole = jnp.floor((jnp.abs(coefficients) + 4.0 * steps + 0.25) / (8.0 * steps))
    coefficients = jnp.sign(coefficients) * whole * steps
    planes = jnp.floor(4.0 * product(dct.T, coefficients) + 0.5)
    planes = jnp.floor(product(planes, dct) / 32.0 + 0.5)
    return jnp.clip(planes + 128.0, 0.0, 255.0)


_YCBCR = np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], dtype=np.float32) / 65536
"""RGB to YCbCr without offsets (JFIF, ITU T.871), in libjpeg's 16 bits: sums are exact in single precision."""

_RGB_OF_CHROMA = np.array([[0, 91881], [-22554, -46802], [116130, 0]], dtype=np.float32) / 65536
"""What Cb and Cr add to the luma in R, G and B, in libjpeg's 16 bits."""


def _dct_matrix() -> Float[np.ndarray, "8 8"]:
    """The DCT-II of 8 points, frequency first, sqrt(8) times orthonormal, in the integers of libjpeg's "islow".

    Loeffler, Ligtenberg and Moschytz (1989) in 13 bits: a rounded cosine differs by where it was rounded, and a
    coefficient that falls on the other side of a step is seen.
    """
    even = [
        [8192, 8192, 8192, 8192],
        [10703, 4433, -4433, -10703],
        [8192, -8192, -8192, 8192],
        [4433, -10704, 10704, -4433],
    ]
    odd = [
        [11363, 9633, 6437, 2260],
        [9633, -2259, -11362, -6436],
        [6437, -11362, 2261, 9633],
        [2260, -6436, 9633, -11363],
    ]
    half = np.stack([even, odd], axis=1).reshape(8, 4)
    sign = np.array([1, -1] * 4)[:, None]
    return np.concatenate([half, sign * half[:, ::-1]], axis=1) / 8192.0


def _quantisation_tables() -> Float[np.ndarray, "3 8 8"]:
    luminance = [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
    chrominance = np.full((8, 8), 99)
    chrominance[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
    return np.stack([luminance, chrominance, chrominance]).astype(np.float32)


QUANTISATION = _quantisation_tables()
"""ITU T.81's tables K.1 (luminance) and K.2 (chrominance), vertical frequency first, for Y, Cb, Cr."""
