"""Decoding large latents tile by tile, in memory that does not grow with the picture."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from idfsr_jax.io.errors import BadConfig


def decode_tiled(
    decode: Callable[[Float[Array, "b h w c"]], Float[Array, "b h2 w2 d"]],
    latents: Float[Array, "b h w c"],
    factor: int,
    *,
    tile: int = 64,
    overlap: int = 24,
    margin: int = 4,
) -> Float[Array, "b h3 w3 d"]:
    """Decodes overlapping tiles and blends them without a seam.

    Every pixel is a weighted mean of the tiles that it lies in, with weights that add up to one, fall linearly towards
    a tile's inner borders, and are zero on a margin, which the decoder saw without its surroundings. Of a decoder that
    looks no further than the margin, the result is what it makes of the whole. A decoder with norms or attention over
    all positions sees a tile's statistics in place of the picture's, so that tones can drift over the picture, slowly.

    To be jitted by the caller; `decode` is traced once.

    Args:
      decode: latents to pictures, `factor` times as wide.
      latents: of any size.
      factor: pixels per latent along a side.
      tile: side of a tile, latents; what is no larger is decoded at once.
      overlap: least overlap of neighbours, latents.
      margin: latents at inner borders whose pixels are not used.

    Raises:
      BadConfig: the overlap has no room for two margins, or the tile none for the overlap.
    """
    if not 0 <= 2 * margin < overlap < tile:
        raise BadConfig(f"tile={tile}, overlap={overlap}, margin={margin}: give 0 <= 2 margin < overlap < tile.")
    batch, height, width, channels = latents.shape
    if height <= tile and width <= tile:
        return decode(latents)
    (rows, row_weights), (columns, column_weights) = (
        _axis(size, min(size, tile), overlap, margin, factor) for size in (height, width)
    )
    size = (batch, min(height, tile), min(width, tile), channels)
    out = jax.eval_shape(decode, jax.ShapeDtypeStruct(size, latents.dtype))

    def add(canvas: Array, place: tuple[Array, ...]) -> tuple[Array, None]:
        row, column, down, across = place
        picture = decode(jax.lax.dynamic_slice(latents, (0, row, column, 0), size))
        weight = (down[:, None] * across[None, :])[None, :, :, None].astype(out.dtype)
        corner = (0, row * factor, column * factor, 0)
        there = jax.lax.dynamic_slice(canvas, corner, out.shape)
        return jax.lax.dynamic_update_slice(canvas, there + weight * picture, corner), None

    row_of, column_of = (each.ravel() for each in np.indices((len(rows), len(columns))))
    places = (rows[row_of], columns[column_of], row_weights[row_of], column_weights[column_of])
    canvas = jnp.zeros((batch, height * factor, width * factor, out.shape[-1]), out.dtype)
    canvas, _ = jax.lax.scan(add, canvas, tuple(jnp.asarray(each) for each in places))
    return canvas


def _axis(
    size: int, tile: int, overlap: int, margin: int, factor: int
) -> tuple[Int[np.ndarray, "n"], Float32[np.ndarray, "n p"]]:
    """Where tiles begin along an axis, and the weights of each one's pixels."""
    count = max(1, -(-(size - overlap) // (tile - overlap))) if size > tile else 1
    starts = np.round(np.linspace(0, size - tile, count)).astype(np.int32)
    pixels = np.arange(tile * factor) + 0.5
    weights = np.ones((count, tile * factor))
    ramp = (overlap - 2 * margin) * factor
    for index in range(count):
        if index > 0:
            weights[index] *= np.clip((pixels - margin * factor) / ramp, 0, 1)
        if index < count - 1:
            weights[index] *= np.clip((tile * factor - margin * factor - pixels) / ramp, 0, 1)
    total = np.zeros(size * factor)
    for start, weight in zip(starts, weights, strict=True):
        total[start * factor : (start + tile) * factor] += weight
    shares = [w / total[s * factor : (s + tile) * factor] for s, w in zip(starts, weights, strict=True)]
    return starts, np.stack(shares).astype(np.float32)
