"""Bilinear sampling at arbitrary points, which the warp and the face chips share; smoothing; bicubic enlargement."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def sample_bilinear(
    images: Float[Array, "b h w c"], points: Float[Array, "b *points 2"]
) -> Float[Array, "b *points c"]:
    """Samples every image at its own points, bilinearly; outside the image its edge is continued.

    Differentiable in the images and, almost everywhere, in the points (where the edge is continued, the gradient
    across that edge is zero).

    Args:
      images: float images of any range.
      points: unit coordinates (x, y): the pixel in column j and row i has its centre at ((j + .5) / w, (i + .5) / h).
        Must be finite.

    Returns:
      The samples, in the images' dtype.
    """
    b, h, w, c = images.shape
    column, across = _cell(points[..., 0], w)
    row, down = _cell(points[..., 1], h)
    # One gather of all four corners, since on CPU XLA pays per index, not per number.
    right = jnp.concatenate([images[:, :, 1:], images[:, :, -1:]], axis=2)
    pairs = jnp.concatenate([images, right], axis=3)
    below = jnp.concatenate([pairs[:, 1:], pairs[:, -1:]], axis=1)
    corners = jnp.concatenate([pairs, below], axis=3).reshape(b, h * w, 4 * c)
    # Image by image, not as one long table: a batch that is spread over devices stays where it is.
    found = jax.vmap(lambda table, index: jnp.take(table, index, axis=0, mode="clip"))(corners, row * w + column)
    across, down = across[..., None].astype(images.dtype), down[..., None].astype(images.dtype)
    upper = found[..., :c] + across * (found[..., c : 2 * c] - found[..., :c])
    lower = found[..., 2 * c : 3 * c] + across * (found[..., 3 * c :] - found[..., 2 * c : 3 * c])
    return upper + down * (lower - upper)


def smoothed(images: Float[Array, "b h w c"], times: int = 1) -> Float[Array, "b h w c"]:
    """Images under the binomial filter (1, 2, 1) / 4 along both axes; beyond the border the edge is continued.

    Once, waves of two pixels vanish, of four keep half of their amplitude along an axis, of eight 0.85.

    Args:
      images: any.
      times: how often; 0 leaves them as they are.
    """
    for _ in range(times):
        rows = jnp.pad(images, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
        images = (rows[:, :-2] + 2.0 * rows[:, 1:-1] + rows[:, 2:]) / 4.0
        columns = jnp.pad(images, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
        images = (columns[:, :, :-2] + 2.0 * columns[:, :, 1:-1] + columns[:, :, 2:]) / 4.0
    return images


def _cell(unit: Float[Array, "*points"], size: int) -> tuple[Int[Array, "*points"], Float[Array, "*points"]]:
    """The pixel whose centre is at or before each unit coordinate, and how far beyond it that lies, 0 to 1."""
    position = jnp.clip(unit * size - 0.5, 0.0, size - 1.0)
    # The last pixel has no successor: it is reached as the far end of the last cell (a one-pixel image has no cell).
    index = jnp.clip(jnp.floor(position), 0.0, max(size - 2.0, 0.0))
    return index.astype(jnp.int32), position - index


def bicubic_upsample(y: Float[Array, "b n n 3"], size: int) -> Float[Array, "b {size} {size} 3"]:
    """Bicubic enlargement as by `jax.image.resize(..., "cubic")` and Pillow; may overshoot [-1, 1]."""
    return _on_both_axes(_bicubic_matrix(y.shape[1], size), y)


def _on_both_axes(matrix: Float[np.ndarray, "m n"], images: Float[Array, "b n n c"]) -> Float[Array, "b m m c"]:
    """Forms matrix @ image @ matrix.T in full precision: 8-bit rounding must not depend on a GPU's short floats."""
    rows = jnp.einsum("mn,bnwc->bmwc", matrix, images, precision="highest")
    return jnp.einsum("kw,bmwc->bmkc", matrix, rows, precision="highest")


def _bicubic_matrix(n: int, size: int) -> Float[np.ndarray, "{size} {n}"]:
    """Bicubic enlargement along one axis (Keys 1981, a = -1/2); at borders the weights are scaled to sum to 1."""
    centres = (np.arange(size) + 0.5) * n / size - 0.5
    x = np.abs(centres[:, None] - np.arange(n)[None, :])
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    weights = np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
