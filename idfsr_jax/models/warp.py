"""The reference photograph, warped so that its landmarks fall on those of the LR face."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.networks.resample import sample_bilinear

# Chosen on people in no test set: at landmark errors of 2-3% of the crop's side it gives pictures nearest to the truth;
# a softer spline loses identity fast, a stiffer one the pose.
_REGULARISATION = 1.0
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


def warp_map(
    reference_landmarks: Float[Array, "b n 2"],
    landmarks: Float[Array, "b n 2"],
    points: Float[Array, "b m 2"],
    kind: Literal["tps", "similarity"],
    *,
    regularisation: float = _REGULARISATION,
) -> Float[Array, "b m 2"]:
    """Where in the reference each point of the warped picture comes from (the backward map), in unit coordinates.

    `tps` is the best similarity plus a smoothed spline of what the similarity leaves over, held to zero at twelve
    points on the border of the crop: the face bends, while hair and background move as one rigid picture.

    Args:
      reference_landmarks: n landmarks of the reference.
      landmarks: where they are to be in the warped picture.
      points: of the warped picture.
      kind: `tps` or `similarity`.
      regularisation: see `thin_plate_spline`.
    """
    matrix, shift = similarity_transform(landmarks, reference_landmarks)
    rigid = _product(points, matrix.mT) + shift[:, None]
    if kind == "similarity":
        return rigid
    left_over = reference_landmarks - (_product(landmarks, matrix.mT) + shift[:, None])
    pins = jnp.broadcast_to(jnp.asarray(_border_points(), landmarks.dtype), (landmarks.shape[0], 12, 2))
    controls = jnp.concatenate([landmarks, pins], axis=1)
    displacements = jnp.concatenate([left_over, jnp.zeros_like(pins)], axis=1)
    return rigid + thin_plate_spline(controls, displacements, points, regularisation=regularisation)


def warp_reference(
    reference: Float[Array, "b s s 3"],
    reference_landmarks: Float[Array, "b 68 2"],
    landmarks: Float[Array, "b 68 2"],
    kind: Literal["tps", "similarity", "none"],
    *,
    regularisation: float = _REGULARISATION,
) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s 1"]]:
    """Warps the reference so that its landmarks fall on `landmarks`.

    Backwards, by `warp_map` and bilinear sampling. Differentiable in the reference and in both sets of landmarks.

    Args:
      reference: the reference crop, [-1, 1].
      reference_landmarks: its 68 points, unit coordinates.
      landmarks: where they are to be, unit coordinates of the warped picture.
      kind: `tps`, thin-plate spline; `similarity`; `none`, the reference as it is.
      regularisation: stiffness of the spline, see `thin_plate_spline`; 0 takes every landmark into its place.

    Returns:
      (warped, valid): the warped crop, its edge continued where the reference ends, and 1 where it shows the reference,
      0 outside of its frame, with a ramp of one pixel between.

    Raises:
      ValueError: `kind` is none of these.
    """
    if kind not in ("tps", "similarity", "none"):
        raise ValueError(f"warp kind {kind!r}: must be tps, similarity or none")
    b, size = reference.shape[:2]
    if kind == "none":
        return reference, jnp.ones((b, size, size, 1), reference.dtype)
    nodes, weights = grid_nodes(size)
    points = jnp.asarray(np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(1, -1, 2), landmarks.dtype)
    points = jnp.broadcast_to(points, (b, *points.shape[1:]))
    coarse = warp_map(reference_landmarks, landmarks, points, kind, regularisation=regularisation)
    coarse = coarse.reshape(b, len(nodes), len(nodes), 2)
    spread = jnp.asarray(weights, landmarks.dtype)
    origin = jnp.einsum("ij,bjkc->bikc", spread, coarse, precision=_EXACT)
    origin = jnp.einsum("lk,bikc->bilc", spread, origin, precision=_EXACT)
    inside = jnp.clip(jnp.minimum(origin, 1.0 - origin) * size + 0.5, 0.0, 1.0)
    valid = inside[..., :1] * inside[..., 1:]
    return sample_bilinear(reference, origin), valid.astype(reference.dtype)


def _product(a: Float[Array, "b m n"], c: Float[Array, "b n k"]) -> Float[Array, "b m k"]:
    return jnp.matmul(a, c, precision=_EXACT)


def _bending(points: Float[Array, "b m 2"], controls: Float[Array, "b n 2"]) -> Float[Array, "b m n"]:
    """U(r) = r^2 log r^2 between all pairs; U(0) = 0."""
    apart = points[:, :, None] - controls[:, None]
    squared = apart[..., 0] ** 2 + apart[..., 1] ** 2
    return squared * jnp.log(jnp.maximum(squared, 1e-12))


def _border_points() -> Float[np.ndarray, "12 2"]:
    """Corners and thirds of the crop's border."""
    thirds = np.linspace(0.0, 1.0, 4)
    x, y = np.meshgrid(thirds, thirds)
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    return points[((points == 0) | (points == 1)).any(axis=1)].astype(np.float32)


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
