"""From a ground-truth crop to its LR picture and back to size, on the device; and the constraint that this implies.

Everything linear here is separable and small, so each axis is one matrix product: several times faster on CPU than
reducing blocks, and one code path for all scales.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from idfsr_jax.errors import BadConfig
from idfsr_jax.method.jpeg import QUANTISATION

Kind = Literal["area", "classical"]

BLUR_STD_LR_PIXELS = (0.0, 0.8)
"""Range of the Gaussian blur of `classical`: standard deviation in LR pixels (s times as many pixels of the crop)."""
NOISE_STD_LEVELS = (0.0, 20.0)
"""Range of the white noise of `classical`, standard deviation in levels of 0..255."""
JPEG_QUALITY = (30.0, 100.0)
"""Range of the JPEG quality of `classical`, on libjpeg's scale."""


def area_downsample(images: Float[Array, "b S S 3"], s: int) -> Float[Array, "b n n 3"]:
    """Means of s x s blocks; n = S / s.

    Raises:
      BadConfig: s does not divide S.
    """
    return _on_both_axes(_area_matrix(images.shape[1], s), images)


def bicubic_upsample(y: Float[Array, "b n n 3"], size: int) -> Float[Array, "b {size} {size} 3"]:
    """Bicubic enlargement as by `jax.image.resize(..., "cubic")` and Pillow; may overshoot [-1, 1]."""
    return _on_both_axes(_bicubic_matrix(y.shape[1], size), y)


def quantise(images: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Clips to [-1, 1] and rounds to the 256 levels of an 8-bit picture."""
    # Clipped last: compiled, the division is a product with a rounded reciprocal and may end just above 1.
    return jnp.clip(jnp.round((images + 1.0) * 127.5) / 127.5 - 1.0, -1.0, 1.0)


def degrade(key: PRNGKeyArray, images: Float[Array, "b S S 3"], s: int, kind: Kind) -> Float[Array, "b n n 3"]:
    """The 8-bit LR picture of every crop, in [-1, 1], n = S / s pixels wide.

    `area`: block means; `key` is not used. `classical`: Gaussian blur, block means, white noise, JPEG; the strength of
    each is drawn per example, uniformly in the ranges at the top of this module.

    Raises:
      BadConfig: s does not divide S.
    """
    if kind == "area":
        return quantise(area_downsample(images, s))
    b, size = images.shape[:2]
    blur_key, noise_std_key, noise_key, quality_key = jax.random.split(key, 4)
    blur_std = s * jax.random.uniform(blur_key, (b,), minval=BLUR_STD_LR_PIXELS[0], maxval=BLUR_STD_LR_PIXELS[1])
    noise_std = jax.random.uniform(noise_std_key, (b, 1, 1, 1), minval=NOISE_STD_LEVELS[0], maxval=NOISE_STD_LEVELS[1])
    quality = jax.random.uniform(quality_key, (b,), minval=JPEG_QUALITY[0], maxval=JPEG_QUALITY[1])
    shrink = jnp.einsum("nh,bhk->bnk", _area_matrix(size, s), blur_matrix(blur_std, size), precision="highest")
    y = jnp.einsum("bnh,bhwc->bnwc", shrink, images, precision="highest")
    y = jnp.einsum("bmw,bnwc->bnmc", shrink, y, precision="highest")
    y = y + noise_std / 127.5 * jax.random.normal(noise_key, y.shape)
    return jpeg(quantise(y), quality)


def enlarge_mixed(
    key: PRNGKeyArray,
    images: Float[Array, "b S S 3"],
    scale_index: Int[Array, "b"],
    scales: tuple[int, ...],
    kind: Kind,
) -> Float[Array, "b S S 3"]:
    """Degrades each crop by its own scale and enlarges it again: y_up of a training batch.

    Every scale is computed and one selected: next to the denoiser this costs nothing, and shapes stay static.

    Args:
      key: source of the degradations' randomness.
      images: crops in [-1, 1].
      scale_index: index into `scales` for each example.
      scales: down-sampling factors, each a divisor of S.
      kind: see `degrade`.

    Raises:
      BadConfig: a scale does not divide S.
    """
    y_up = jnp.zeros_like(images)
    for index, s in enumerate(scales):
        enlarged = bicubic_upsample(degrade(key, images, s, kind), images.shape[1])
        y_up = jnp.where((scale_index == index)[:, None, None, None], enlarged, y_up)
    return y_up


def data_consistency(
    y: Float[Array, "b n n 3"], size: int, strength: float | Float[Array, ""]
) -> Callable[[Float[Array, "b S S 3"]], Float[Array, "b S S 3"]]:
    """The projection onto pictures that down-sample to y (Wang et al. 2023, "DDNM"), for `diffusion.samplers.sample`.

    project(x0) = x0 + strength * R (y - D x0), with D the block mean and R a right inverse of it, D R = I: with
    strength 1 the block means of the result are y. The pseudo-inverse of D repeats pixels and would print its blocks
    into the face; here R = U (D U)^-1 with U the bicubic enlargement: as exact, and smooth.

    Args:
      y: the LR picture, in [-1, 1].
      size: side S of the pictures to project.
      strength: 0 (nothing) to 1 (exact); may be traced.

    Raises:
      BadConfig: the side of y does not divide S.
    """
    n = y.shape[1]
    if size % n:
        raise BadConfig(
            f"An LR picture {n} pixels wide does not fit into side {size} a whole number of times; resize it."
        )
    shrink, enlarge = _area_matrix(size, size // n), _bicubic_matrix(n, size)
    right_inverse = (enlarge @ np.linalg.inv((shrink @ enlarge).astype(np.float64))).astype(np.float32)

    def project(x0: Float[Array, "b S S 3"]) -> Float[Array, "b S S 3"]:
        return x0 + strength * _on_both_axes(right_inverse, y - area_downsample(x0, size // n))

    return project


def blur_matrix(std: Float[Array, "b"], size: int) -> Float[Array, "b {size} {size}"]:
    """Gaussian blur along one axis of `size` pixels; std in pixels. Rows sum to 1, so borders keep their brightness."""
    distance = jnp.arange(size, dtype=jnp.float32)[:, None] - jnp.arange(size, dtype=jnp.float32)[None, :]
    # Below a tenth of a pixel nothing is blurred, and 0 / 0 is to be kept out.
    return jax.nn.softmax(-0.5 * jnp.square(distance / jnp.maximum(std, 0.1)[:, None, None]), axis=-1)


def jpeg(images: Float[Array, "b n n 3"], quality: Float[Array, "b"]) -> Float[Array, "b n n 3"]:
    """What JPEG without chroma subsampling loses: DCT coefficients of YCbCr, rounded to libjpeg's steps (ITU T.81).

    Args:
      images: 8-bit pictures in [-1, 1]; sides that are no multiple of 8 are continued by their edge, as libjpeg does.
      quality: 1 to 100, per picture.

    Returns:
      8-bit pictures in [-1, 1].
    """
    b, n = images.shape[:2]
    percent = jnp.where(quality < 50.0, 5000.0 / quality, 200.0 - 2.0 * quality)[:, None, None, None, None, None]
    quantisation = np.moveaxis(QUANTISATION, 0, -1)[None, None, :, None, :, :]
    steps = jnp.clip(jnp.floor((quantisation * percent + 50.0) / 100.0), 1.0, 255.0)
    # T.81 centres 0..255 on 128, our [-1, 1] on 127.5; only the luminance feels the difference.
    shift = jnp.array([0.5, 0.0, 0.0])
    levels = jnp.round(jnp.einsum("bhwc,dc->bhwd", images * 127.5, _YCBCR, precision="highest") - shift)
    padded = jnp.pad(levels, ((0, 0), (0, -n % 8), (0, -n % 8), (0, 0)), mode="edge")
    blocks = padded.reshape(b, padded.shape[1] // 8, 8, padded.shape[2] // 8, 8, 3)
    dct = _dct_matrix()
    coefficients = jnp.einsum("ui,vj,bxiyjc->bxuyvc", dct, dct, blocks, precision="highest")
    # libjpeg rounds halves away from zero, and among the coefficients of small integers halves are common.
    coefficients = jnp.sign(coefficients) * jnp.floor(jnp.abs(coefficients) / steps + 0.50001) * steps
    blocks = jnp.einsum("ui,vj,bxuyvc->bxiyjc", dct, dct, coefficients, precision="highest")
    levels = jnp.round(blocks.reshape(padded.shape)[:, :n, :n]) + shift
    return quantise(jnp.einsum("bhwc,dc->bhwd", levels, np.linalg.inv(_YCBCR), precision="highest") / 127.5)


def _on_both_axes(matrix: Float[np.ndarray, "m n"], images: Float[Array, "b n n c"]) -> Float[Array, "b m m c"]:
    """Forms matrix @ image @ matrix.T in full precision: 8-bit rounding must not depend on a GPU's short floats."""
    rows = jnp.einsum("mn,bnwc->bmwc", matrix, images, precision="highest")
    return jnp.einsum("kw,bmwc->bmkc", matrix, rows, precision="highest")


def _area_matrix(size: int, s: int) -> Float[np.ndarray, "n {size}"]:
    """Block means along one axis."""
    if s < 1 or size % s:
        raise BadConfig(f"The down-sampling factor {s} does not divide the crop's side {size}; choose a divisor.")
    return np.repeat(np.eye(size // s, dtype=np.float32), s, axis=1) / np.float32(s)


def _bicubic_matrix(n: int, size: int) -> Float[np.ndarray, "{size} {n}"]:
    """Bicubic enlargement along one axis (Keys 1981, a = -1/2); at borders the weights are scaled to sum to 1."""
    centres = (np.arange(size) + 0.5) * n / size - 0.5
    x = np.abs(centres[:, None] - np.arange(n)[None, :])
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    weights = np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], dtype=np.float32
)
"""RGB to YCbCr without offsets (JFIF, ITU T.871)."""


def _dct_matrix() -> Float[np.ndarray, "8 8"]:
    """The orthonormal DCT-II of 8 points, frequency first."""
    frequency, place = np.arange(8)[:, None], np.arange(8)[None, :]
    cosines = 0.5 * np.cos((2 * place + 1) * frequency * np.pi / 16)
    cosines[0] /= np.sqrt(2.0)
    return cosines.astype(np.float32)
