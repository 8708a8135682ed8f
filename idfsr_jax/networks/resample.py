"""Bilinear sampling at arbitrary points, which the warp and the face chips share; and smoothing."""

import jax
import jax.numpy as jnp
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
