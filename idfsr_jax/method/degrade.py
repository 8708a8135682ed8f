"""From a ground-truth crop to its LR picture and back to size: any width, clean or as cameras and messengers leave it.

One traced program serves every width, filter and quality: resampling is a product with rows of a table, and what an
example is spared is computed and not taken. Next to a denoiser this costs nothing.
"""

from typing import Literal

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, PRNGKeyArray, UInt8

from idfsr_jax.io.images import to_float
from idfsr_jax.method.jpeg import jpeg

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
FAVOURED, FAVOUR = (8, 32), 2.0
"""Widths of the LR picture, both ends included, that are drawn more often, and how many times as often."""
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
            down[index, n - least, :n] = resampling_matrix(size, n, kind)
        up[n - least, :, :n] = resampling_matrix(n, size, "bicubic")
    return ResamplingTables(down=down, up=up, least=least)


def draw_degradations(
    key: PRNGKeyArray,
    batch: int,
    *,
    least: int = 4,
    most: int = 64,
    clean_share: float = 0.5,
) -> Degradation:
    """Draws what is done to each picture of a batch, strengths from the ranges at the top of this module.

    Args:
      key: source of randomness.
      batch: number of examples.
      least: smallest width n.
      most: largest width n. Widths are drawn log-uniformly, p(n) proportional to 1 / n, but for those of `FAVOURED`.
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
    weights = np.where((widths >= FAVOURED[0]) & (widths <= FAVOURED[1]), FAVOUR, 1.0) / widths
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

    levels = jax.vmap(jpeg)(_to_levels(y), n, degradation.quality, degradation.subsampled, degradation.shift)
    levels = jax.vmap(jpeg)(
        levels, n, degradation.second_quality, degradation.subsampled, jnp.zeros_like(degradation.shift)
    )
    valid = jnp.arange(most) < n[:, None]
    y = jnp.where(valid[:, None, :, None] & valid[:, None, None, :], _from_levels(levels), 0.0)
    return _enlarged(y, n, tables), jnp.moveaxis(y, 1, -1)


def on_canvas(y: UInt8[np.ndarray, "n n 3"], tables: ResamplingTables) -> Float32[np.ndarray, "1 most most 3"]:
    """An LR picture, in [-1, 1], in the upper left corner of what has room for the widest; a batch of one."""
    most = tables.down.shape[2]
    canvas = np.zeros((1, most, most, 3), np.float32)
    canvas[0, : len(y), : len(y)] = to_float(y)
    return canvas


def enlarge(y: Float[Array, "b most most 3"], n: Int[Array, "b"], tables: ResamplingTables) -> Float[Array, "b S S 3"]:
    """Bicubic enlargement of the LR pictures in the first n rows and columns of y, clipped to [-1, 1]."""
    return _enlarged(jnp.moveaxis(y, -1, 1), n, tables)


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


def resampling_matrix(size: int, n: int, kind: Kind) -> Float[np.ndarray, "{n} {size}"]:
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
