"""Maps of the plane by points and where they go: similarities, and thin-plate splines."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Coordinates need float32 products: TF32, the default on a GPU, would move pixels.
_EXACT = jax.lax.Precision.HIGHEST
# The smoothed spline at nodes this far apart, joined by cubics, is right to a hundredth of a pixel on average.
_NODE_SPACING = 4
_FEWEST_CELLS = 16


def similarity_transform(
    source: Float[Array, "b n 2"], target: Float[Array, "b n 2"]
) -> tuple[Float[Array, "b 2 2"], Float[Array, "b 2"]]:
    """The similarity (rotation, uniform scale, shift; no reflection) that takes source to target in least squares.

    Umeyama 1991, in the closed form of the plane: with centred points as complex numbers the factor of rotation and
    scale is sum(conj(source) target) / sum(|source|^2), which never reflects and needs no SVD.

    Args:
      source: n >= 2 points, not all in one place.
      target: as many points.

    Returns:
      (matrix, shift): target ~ source @ matrix^T + shift.
    """
    source_mean, target_mean = source.mean(axis=1), target.mean(axis=1)
    p, q = source - source_mean[:, None], target - target_mean[:, None]
    power = jnp.maximum((p * p).sum(axis=(1, 2)), 1e-12)
    cosine = (p * q).sum(axis=(1, 2)) / power
    sine = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(axis=1) / power
    matrix = jnp.stack([jnp.stack([cosine, -sine], axis=-1), jnp.stack([sine, cosine], axis=-1)], axis=1)
    return matrix, target_mean - jnp.einsum("bij,bj->bi", matrix, source_mean, precision=_EXACT)


def thin_plate_spline(
    source: Float[Array, "b n 2"],
    target: Float[Array, "b n 2"],
    points: Float[Array, "b m 2"],
    *,
    regularisation: float = 0.0,
) -> Float[Array, "b m 2"]:
    """Where the thin-plate spline that takes source to target takes other points.

    Bookstein 1989: f(p) = A p + t + sum_i w_i U(|p - source_i|) with U(r) = r^2 log r^2, of least bending energy;
    smoothed by `regularisation` on the diagonal (Wahba 1990), which trades the misfit against the bending.

    Args:
      source: the control points, n >= 3 and not in one line.
      target: where they are to go.
      points: the points to be taken along.
      regularisation: 0 interpolates, infinity leaves the best affine map; for a source with an RMS radius of 1.

    Returns:
      The images of the points.
    """
    b, n, _ = source.shape
    # Centred and scaled, the system is well enough conditioned for float32.
    centre = source.mean(axis=1, keepdims=True)
    scale = 1.0 / jnp.sqrt(((source - centre) ** 2).sum(axis=2).mean(axis=1) + 1e-12)[:, None, None]
    controls, points = (source - centre) * scale, (points - centre) * scale
    # The least diagonal keeps coincident landmarks (a closed mouth) from making the system singular.
    bending = _bending(controls, controls) + (regularisation + 1e-6) * jnp.eye(n, dtype=source.dtype)
    affine = jnp.concatenate([jnp.ones((b, n, 1), source.dtype), controls], axis=2)
    corner = jnp.zeros((b, 3, 3), source.dtype)
    system = jnp.concatenate(
        [jnp.concatenate([bending, affine], axis=2), jnp.concatenate([affine.mT, corner], axis=2)], axis=1
    )
    values = jnp.concatenate([target, jnp.zeros((b, 3, 2), target.dtype)], axis=1)
    solution = jnp.linalg.solve(system, values)
    weights, shift, matrix = solution[:, :n], solution[:, n : n + 1], solution[:, n + 1 :]
    return _product(_bending(points, controls), weights) + _product(points, matrix) + shift


def _product(a: Float[Array, "b m n"], c: Float[Array, "b n k"]) -> Float[Array, "b m k"]:
    return jnp.matmul(a, c, precision=_EXACT)


def _bending(points: Float[Array, "b m 2"], controls: Float[Array, "b n 2"]) -> Float[Array, "b m n"]:
    """U(r) = r^2 log r^2 between all pairs; U(0) = 0."""
    apart = points[:, :, None] - controls[:, None]
    squared = apart[..., 0] ** 2 + apart[..., 1] ** 2
    return squared * jnp.log(jnp.maximum(squared, 1e-12))


def grid_nodes(size: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "size n"]]:
    """Nodes along one axis of the crop, unit coordinates, and the matrix that takes values there to the pixel centres.

    Cubic Lagrange interpolation through the four nearest nodes: exact for the similarity, fourth order for the spline.
    """
    n = max(size // _NODE_SPACING, _FEWEST_CELLS) + 1
    positions = (np.arange(size) + 0.5) / size * (n - 1)
    first = np.clip(np.floor(positions).astype(int) - 1, 0, n - 4)
    spread = np.zeros((size, n), np.float32)
    for k in range(4):
        others = [j for j in range(4) if j != k]
        value = np.prod([(positions - first - j) / (k - j) for j in others], axis=0)
        spread[np.arange(size), first + k] = value
    return np.linspace(0.0, 1.0, n, dtype=np.float32), spread
