"""From a ground-truth crop to its LR picture and back to size: any width, clean or as cameras and messengers leave it.

One traced program serves every width, filter and quality: resampling is a product with rows of a table, and what an
example is spared is computed and not taken. Next to a denoiser this costs nothing.
"""

import functools
from typing import Literal

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, PRNGKeyArray

Kind = Literal["area", "bicubic", "lanczos", "nearest"]

KINDS: tuple[Kind, ...] = ("area", "bicubic", "lanczos", "nearest")
"""The filters of down-sampling; `Degradation.kind` is an index into them."""
KIND_WEIGHTS = (0.55, 0.3, 0.1, 0.05)
"""How often each of `KINDS` is drawn."""
BLUR_STD_LR_PIXELS = (0.3, 1.2)
"""Range of the Gaussian blur, standard deviation in LR pixels."""
NOISE_STD_LEVELS = (0.5, 15.0)
"""Range of the white noise, standard deviation in levels of 0..255; mild noise is drawn more often."""
SHARPENING = (0.2, 2.0)
"""Range of the amount of unsharp masking; mild sharpening is drawn more often."""
SHARPENING_STD_LR_PIXELS = 1.0
"""Width of the Gaussian of unsharp masking."""
JPEG_QUALITY = (30, 95)
"""Range of the JPEG quality on libjpeg's scale, both ends included."""
BLUR_SHARE, NOISE_SHARE, SHARPENING_SHARE, JPEG_SHARE = 0.7, 0.6, 0.3, 0.7
"""How many of the examples that are not clean are blurred, noisy, over-sharpened, compressed; each by itself."""
COLOURED_SHARE, SUBSAMPLED_SHARE, TWICE_SHARE, CUT_SHARE = 0.5, 0.7, 0.25, 0.5
"""How much of the noise is coloured, of JPEG is 4:2:0, is compressed again, was cut out of a larger JPEG."""


@flax.struct.dataclass
class ResamplingTables:
    """Matrices that resample one axis, for every width n of an LR picture; rows and columns past n are zero.

    Attributes:
      down: from S pixels to n, by kind and n - least.
      up: from n pixels to S, bicubic, by n - least.
      least: the smallest n.
    """

    down: Float[np.ndarray | Array, "4 sizes most S"]
    up: Float[np.ndarray | Array, "sizes S most"]
    least: int = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class Degradation:
    """What is done to each picture of a batch; strength zero is none of it.

    Attributes:
      n: width of the LR picture.
      kind: index into `KINDS`.
      blur: standard deviation of a Gaussian, in LR pixels.
      noise: standard deviation of white noise, in levels of 0..255.
      colour: share of the noise's variance that is drawn for each channel apart, 0 (grey grain) to 1.
      sharpening: amount a of unsharp masking, y + a (y - G y).
      order: 0: blur, down, sharpen, noise; 1: blur, down, noise, sharpen; 2: down, noise, blur, sharpen.
      quality: JPEG quality 1 to 100; 0 is no JPEG.
      subsampled: whether JPEG halves the chroma's width and height (4:2:0).
      shift: rows and columns by which the blocks of the first JPEG are off the picture's corner, 0 to 15.
      second_quality: quality of a second JPEG, whose blocks start in the corner; 0 is none.
    """

    n: Int[Array, "b"]
    kind: Int[Array, "b"]
    blur: Float32[Array, "b"]
    noise: Float32[Array, "b"]
    colour: Float32[Array, "b"]
    sharpening: Float32[Array, "b"]
    order: Int[Array, "b"]
    quality: Int[Array, "b"]
    subsampled: Bool[Array, "b"]
    shift: Int[Array, "b 2"]
    second_quality: Int[Array, "b"]


def resampling_tables(size: int = 128, least: int = 4, most: int | None = None) -> ResamplingTables:
    """Tables for crops of `size` pixels and LR pictures of `least` to `most` (default: half of `size`) pixels.

    Weights are Pillow's: the filter is stretched by the reduction, sampled at pixel centres and scaled to sum to 1.
    """
    most = size // 2 if most is None else most
    down = np.zeros((len(KINDS), most - least + 1, most, size), np.float32)
    up = np.zeros((most - least + 1, size, most), np.float32)
    for n in range(least, most + 1):
        for index, kind in enumerate(KINDS):
            down[index, n - least, :n] = _resampling_matrix(size, n, kind)
        up[n - least, :, :n] = _resampling_matrix(n, size, "bicubic")
    return ResamplingTables(down=down, up=up, least=least)


def draw_degradations(
    key: PRNGKeyArray,
    batch: int,
    *,
    least: int = 4,
    most: int = 64,
    favoured: tuple[int, int] = (8, 32),
    favour: float = 2.0,
    clean_share: float = 0.5,
) -> Degradation:
    """Draws what is done to each picture of a batch, strengths from the ranges at the top of this module.

    Args:
      key: source of randomness.
      batch: number of examples.
      least: smallest width n.
      most: largest width n. Widths are drawn log-uniformly: p(n) proportional to 1 / n.
      favoured: widths (both ends included) that are drawn more often than that.
      favour: how many times as often.
      clean_share: probability that a picture is only down-sampled.
    """
    keys = iter(jax.random.split(key, 20))

    def happens(share: float) -> Bool[Array, "b"]:
        return jax.random.bernoulli(next(keys), share, (batch,))

    def between(low: float, high: float) -> Float[Array, "b"]:
        return jax.random.uniform(next(keys), (batch,), minval=low, maxval=high)

    def mostly_low(low: float, high: float) -> Float[Array, "b"]:
        return low + (high - low) * jnp.square(between(0.0, 1.0))

    def integer(low: int, high: int, *shape: int) -> Int[Array, "..."]:
        return jax.random.randint(next(keys), (batch, *shape), low, high + 1)

    widths = np.arange(least, most + 1)
    weights = np.where((widths >= favoured[0]) & (widths <= favoured[1]), favour, 1.0) / widths
    n = least + jax.random.categorical(next(keys), jnp.log(jnp.asarray(weights, jnp.float32)), shape=(batch,))
    kind = jax.random.categorical(next(keys), jnp.log(jnp.array(KIND_WEIGHTS)), shape=(batch,))
    spoilt = ~happens(clean_share)
    jpeg_too = spoilt & happens(JPEG_SHARE)
    zero = jnp.zeros((), jnp.int32)
    return Degradation(
        n=n.astype(jnp.int32),
        kind=kind.astype(jnp.int32),
        blur=jnp.where(spoilt & happens(BLUR_SHARE), between(*BLUR_STD_LR_PIXELS), 0.0),
        noise=jnp.where(spoilt & happens(NOISE_SHARE), mostly_low(*NOISE_STD_LEVELS), 0.0),
        colour=jnp.where(happens(COLOURED_SHARE), between(0.0, 1.0), 0.0),
        sharpening=jnp.where(spoilt & happens(SHARPENING_SHARE), mostly_low(*SHARPENING), 0.0),
        order=integer(0, 2),
        quality=jnp.where(jpeg_too, integer(*JPEG_QUALITY), zero),
        subsampled=happens(SUBSAMPLED_SHARE),
        shift=jnp.where(happens(CUT_SHARE)[:, None], integer(0, 15, 2), zero),
        second_quality=jnp.where(jpeg_too & happens(TWICE_SHARE), integer(*JPEG_QUALITY), zero),
    )


def fixed_degradation(
    batch: int,
    n: int | Int[Array, "b"],
    kind: Kind = "area",
    *,
    blur: float = 0.0,
    noise: float = 0.0,
    quality: int = 0,
    subsampled: bool = True,
) -> Degradation:
    """The same for every picture, but n, which may differ: blur, down-sampling, noise (half of it coloured), JPEG.

    See `Degradation` for units; strength zero is none.
    """

    def same(value: float | int, dtype: type = jnp.float32) -> Array:
        return jnp.full((batch,), value, dtype)

    return Degradation(
        n=jnp.broadcast_to(jnp.asarray(n, jnp.int32), (batch,)),
        kind=same(KINDS.index(kind), jnp.int32),
        blur=same(blur),
        noise=same(noise),
        colour=same(0.5),
        sharpening=same(0.0),
        order=same(0, jnp.int32),
        quality=same(quality, jnp.int32),
        subsampled=same(subsampled, jnp.bool_),
        shift=jnp.zeros((batch, 2), jnp.int32),
        second_quality=same(0, jnp.int32),
    )


def camera_like(batch: int, n: int | Int[Array, "b"]) -> Degradation:
    """The degradation that evaluation names so: blur of 0.7 LR pixels, noise of 8 levels, JPEG 40 with 4:2:0."""
    return fixed_degradation(batch, n, blur=0.7, noise=8.0, quality=40)


def degrade(
    images: Float[Array, "b S S 3"], degradation: Degradation, tables: ResamplingTables, key: PRNGKeyArray
) -> tuple[Float[Array, "b S S 3"], Float[Array, "b most most 3"]]:
    """The 8-bit LR picture of every crop, and its bicubic enlargement.

    Args:
      images: crops in [-1, 1].
      degradation: what is done to each; n within the tables' range.
      tables: those of `resampling_tables`; their side is the crops'.
      key: source of the noise.

    Returns:
      y_up: y enlarged to S pixels, in [-1, 1].
      y: the LR pictures, in [-1, 1]; each fills the first n rows and columns, the rest is zero.
    """
    size, most = images.shape[1], tables.down.shape[2]
    n, order = degradation.n, degradation.order
    x = jnp.moveaxis(images, -1, 1)
    # Blur and reduction are both linear: one matrix for the two.
    early_blur = jnp.where(order < 2, degradation.blur, 0.0) * (size / n.astype(jnp.float32))
    down = jnp.asarray(tables.down)[degradation.kind, n - tables.least]
    down = jnp.einsum("bnh,bhk->bnk", down, _blur_matrix(early_blur, jnp.full_like(n, size), size), precision="highest")
    y = _resized(down, x)

    smooth = _blur_matrix(jnp.full_like(degradation.blur, SHARPENING_STD_LR_PIXELS), n, most)
    late_blur = _blur_matrix(jnp.where(order < 2, 0.0, degradation.blur), n, most)
    early_sharpening = jnp.where(order == 0, degradation.sharpening, 0.0)
    y = _sharpened(y, smooth, early_sharpening)
    y = y + _noise(key, degradation.noise, degradation.colour, most)
    y = _sharpened(_on_both_axes(late_blur, y), smooth, degradation.sharpening - early_sharpening)

    levels = jax.vmap(_jpeg)(_to_levels(y), n, degradation.quality, degradation.subsampled, degradation.shift)
    levels = jax.vmap(_jpeg)(
        levels, n, degradation.second_quality, degradation.subsampled, jnp.zeros_like(degradation.shift)
    )
    valid = jnp.arange(most) < n[:, None]
    y = jnp.where(valid[:, None, :, None] & valid[:, None, None, :], _from_levels(levels), 0.0)
    return _enlarged(y, n, tables), jnp.moveaxis(y, 1, -1)


def enlarge(y: Float[Array, "b most most 3"], n: Int[Array, "b"], tables: ResamplingTables) -> Float[Array, "b S S 3"]:
    """Bicubic enlargement of the LR pictures in the first n rows and columns of y, clipped to [-1, 1]."""
    return _enlarged(jnp.moveaxis(y, -1, 1), n, tables)


def jpeg(
    images: Float[Array, "b m m 3"],
    n: Int[Array, "b"],
    quality: Int[Array, "b"],
    subsampled: Bool[Array, "b"],
    shift: Int[Array, "b 2"] | None = None,
) -> Float[Array, "b m m 3"]:
    """What baseline JPEG (ITU T.81) as libjpeg writes and reads it makes of the first n rows and columns.

    Args:
      images: 8-bit pictures in [-1, 1]. What is past n is not looked at, and not to be looked at in the result.
      n: widths.
      quality: 1 to 100, on libjpeg's scale; 0 leaves a picture as it is.
      subsampled: 4:2:0 (means of 2 x 2 chroma, enlarged by a triangle) or 4:4:4.
      shift: rows and columns by which the blocks are off the corner, at most as far as m (as a multiple of 16) has
        room for; default 0.

    Returns:
      8-bit pictures in [-1, 1].
    """
    shift = jnp.zeros((images.shape[0], 2), jnp.int32) if shift is None else shift
    levels = jax.vmap(_jpeg)(_to_levels(jnp.moveaxis(images, -1, 1)), n, quality, subsampled, shift)
    return jnp.moveaxis(_from_levels(levels), 1, -1)


def _to_levels(images: Float[Array, "*b"]) -> Float[Array, "*b"]:
    return jnp.clip(jnp.floor((images + 1.0) * 127.5 + 0.5), 0.0, 255.0)


def _from_levels(levels: Float[Array, "*b"]) -> Float[Array, "*b"]:
    # Clipped: compiled, the division is a product with a rounded reciprocal and may end just above 1.
    return jnp.clip(levels / 127.5 - 1.0, -1.0, 1.0)


def _on_both_axes(matrix: Float[Array, "b m n"], planes: Float[Array, "b c n n"]) -> Float[Array, "b c m m"]:
    """Forms matrix @ plane @ matrix.T in full precision: 8-bit rounding must not depend on a GPU's short floats."""
    rows = jnp.einsum("bkw,bchw->bchk", matrix, planes, precision="highest")
    return jnp.einsum("bmh,bchk->bcmk", matrix, rows, precision="highest")


def _resized(matrix: Float[Array, "b m n"], planes: Float[Array, "b c n n"]) -> Float[Array, "b c m m"]:
    """As `_on_both_axes`; filters overshoot, and pictures of 8 bits are clipped after each axis."""
    rows = jnp.einsum("bkw,bchw->bchk", matrix, planes, precision="highest")
    return jnp.clip(jnp.einsum("bmh,bchk->bcmk", matrix, jnp.clip(rows, -1.0, 1.0), precision="highest"), -1.0, 1.0)


def _enlarged(y: Float[Array, "b 3 m m"], n: Int[Array, "b"], tables: ResamplingTables) -> Float[Array, "b S S 3"]:
    return jnp.moveaxis(_resized(jnp.asarray(tables.up)[n - tables.least], y), 1, -1)


def _blur_matrix(std: Float[Array, "b"], n: Int[Array, "b"], size: int) -> Float[Array, "b {size} {size}"]:
    """Gaussian blur of the first n of `size` pixels; std in pixels. Rows sum to 1: borders keep their brightness."""
    place = jnp.arange(size, dtype=jnp.float32)
    # Below a tenth of a pixel nothing is blurred, and 0 / 0 is to be kept out.
    logits = -0.5 * jnp.square((place[:, None] - place) / jnp.maximum(std, 0.1)[:, None, None])
    return jax.nn.softmax(logits, axis=-1, where=(jnp.arange(size) < n[:, None])[:, None, :])


def _sharpened(
    y: Float[Array, "b 3 m m"], smooth: Float[Array, "b m m"], amount: Float[Array, "b"]
) -> Float[Array, "b 3 m m"]:
    """Unsharp masking."""
    return y + amount[:, None, None, None] * (y - _on_both_axes(smooth, y))


def _noise(
    key: PRNGKeyArray, std: Float[Array, "b"], colour: Float[Array, "b"], side: int
) -> Float[Array, "b 3 {side} {side}"]:
    """Gaussian noise of the same strength in every channel, partly in common."""
    own, common = jnp.split(jax.random.normal(key, (std.shape[0], 4, side, side)), (3,), axis=1)
    colour = colour[:, None, None, None]
    return std[:, None, None, None] / 127.5 * (jnp.sqrt(colour) * own + jnp.sqrt(1.0 - colour) * common)


def _jpeg(
    levels: Float[Array, "3 m m"],
    n: Int[Array, ""],
    quality: Int[Array, ""],
    subsampled: Bool[Array, ""],
    shift: Int[Array, "2"],
) -> Float[Array, "3 m m"]:
    """`jpeg` of one picture, colours first, in levels of 0..255.

    Chroma of 4:2:0 is put into the corner of its plane, so that one transform serves both.
    """
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
    steps = jnp.clip(jnp.floor((_QUANTISATION * percent + 50.5) / 100.0), 1.0, 255.0)
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


def _resampling_matrix(size: int, n: int, kind: Kind) -> Float[np.ndarray, "{n} {size}"]:
    """Pillow's weights from `size` pixels to n along one axis."""
    scale = size / n
    centres = (np.arange(n) + 0.5) * scale
    if kind == "nearest":
        # A centre between two pixels falls to the side that Pillow's sum of steps errs to.
        centres = np.cumsum(np.concatenate([[0.5 * scale], np.full(n - 1, scale)]))
        return np.eye(size, dtype=np.float32)[np.floor(centres).astype(int)]
    x = (np.arange(size) + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = _FILTERS[kind](x)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _box(x: Float[np.ndarray, "n size"]) -> Float[np.ndarray, "n size"]:
    return ((-0.5 < x) & (x <= 0.5)).astype(np.float64)


def _cubic(x: Float[np.ndarray, "n size"]) -> Float[np.ndarray, "n size"]:
    """Keys (1981) with a = -1/2."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: Float[np.ndarray, "n size"]) -> Float[np.ndarray, "n size"]:
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


_FILTERS = {"area": _box, "bicubic": _cubic, "lanczos": _lanczos}

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
    """ITU T.81's tables K.1 (luminance) and K.2 (chrominance), vertical frequency first, for Y, Cb, Cr."""
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


_QUANTISATION = _quantisation_tables()
