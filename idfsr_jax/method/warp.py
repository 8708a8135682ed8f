"""References of a person, each moved onto the landmarks of the LR face."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.method.spline import grid_nodes, similarity_transform, thin_plate_spline
from idfsr_jax.networks.resample import sample_bilinear

MOUTH = np.arange(48, 68)
"""What moves in a face: the lips. Eyes' corners, nose and jaw stay the person's own, as bending them by landmarks that
are some percent off costs more identity than it gains of the moment."""

_RIGID = np.array([36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, *range(27, 36), 0, 8, 16])
_STIFFNESS = 0.01
_EXACT = jax.lax.Precision.HIGHEST


def warp_references(
    references: Float[Array, "b k s s 3"],
    reference_landmarks: Float[Array, "b k 68 2"],
    frames: Float[Array, "b k 2 3"],
    present: Float[Array, "b k"],
    landmarks: Float[Array, "b 68 2"],
    mouth: float | Float[Array, " b"] = 1.0,
) -> tuple[Float[Array, "b k s s 3"], Float[Array, "b k s s 1"]]:
    """Moves references so that their faces lie on the LR face's landmarks, and their mouths are as open.

    Backwards: a pixel at p of the result is taken from the reference at A p + d(p), with A the similarity that takes
    the LR face's landmarks to the reference's in least squares, and d a thin-plate spline (Bookstein 1989) that is
    what A leaves over at the lips, and zero at all other landmarks and on the border.

    Args:
      references: canonical crops, [-1, 1].
      reference_landmarks: their 68 points, unit coordinates.
      frames: from unit coordinates of each reference to those of its photograph, `face.align.photograph_frame`.
      present: 1, or 0 for a reference that is not there.
      landmarks: of the LR face, unit coordinates.
      mouth: share of the lips' movement, 0 to 1; 0 leaves the reference's own expression.

    Returns:
      (moved, valid): moved references, 0 where they show nothing; and where they do, 0 to 1.
    """
    b, k, size = references.shape[:3]
    flat = references.reshape(b * k, size, size, 3)
    origin = backward_map(
        reference_landmarks.reshape(b * k, 68, 2),
        jnp.repeat(landmarks, k, axis=0),
        size,
        jnp.repeat(jnp.broadcast_to(jnp.asarray(mouth, jnp.float32), (b,)), k),
    )
    photographed = inside_frame(frames.reshape(b * k, 2, 3), origin, size) * inside(origin, size)
    valid = photographed * present.reshape(b * k, 1, 1, 1)
    moved = sample_bilinear(flat, origin) * valid
    return moved.reshape(b, k, size, size, 3), valid.reshape(b, k, size, size, 1)


def backward_map(
    reference_landmarks: Float[Array, "n 68 2"],
    landmarks: Float[Array, "n 68 2"],
    size: int,
    mouth: Float[Array, " n"],
) -> Float[Array, "n size size 2"]:
    """Where in a reference each pixel of the moved picture comes from, unit coordinates; see `warp_references`."""
    n = landmarks.shape[0]
    matrix, shift = similarity_transform(landmarks[:, _RIGID], reference_landmarks[:, _RIGID])
    nodes, spread = grid_nodes(size)
    points = jnp.asarray(np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(1, -1, 2))
    points = jnp.broadcast_to(points, (n, *points.shape[1:]))
    rigid = _moved(points, matrix, shift)
    left_over = reference_landmarks - _moved(landmarks, matrix, shift)
    moves = jnp.zeros((1, 68, 1)).at[:, MOUTH].set(1.0) * mouth[:, None, None]
    pins = jnp.broadcast_to(jnp.asarray(_border()), (n, 12, 2))
    controls = jnp.concatenate([landmarks, pins], axis=1)
    displaced = jnp.concatenate([moves * left_over, jnp.zeros_like(pins)], axis=1)
    coarse = rigid + thin_plate_spline(controls, displaced, points, regularisation=_STIFFNESS)
    coarse = coarse.reshape(n, len(nodes), len(nodes), 2)
    weights = jnp.asarray(spread)
    origin = jnp.einsum("ij,njkc->nikc", weights, coarse, precision=_EXACT)
    return jnp.einsum("lk,nikc->nilc", weights, origin, precision=_EXACT)


def inside(origin: Float[Array, "n s s 2"], size: int) -> Float[Array, "n s s 1"]:
    """Whether points lie in the unit square, with a ramp of one pixel on its border."""
    within = jnp.clip(jnp.minimum(origin, 1.0 - origin) * size + 0.5, 0.0, 1.0)
    return within[..., :1] * within[..., 1:]


def inside_frame(frames: Float[Array, "n 2 3"], points: Float[Array, "n s s 2"], size: int) -> Float[Array, "n s s 1"]:
    """Whether points of crops were photographed, and not made up beyond their photographs' borders.

    Args:
      frames: `face.align.photograph_frame` of each crop.
      points: of the crops, unit coordinates.
      size: side of a crop, pixels; the ramp on a border is one of them wide.
    """
    place = jnp.einsum("nij,nhwj->nhwi", frames[..., :2], points, precision=_EXACT) + frames[:, None, None, :, 2]
    pixels = jnp.linalg.norm(frames[..., :2], axis=-1) / size  # a pixel of the crop, in the photograph's own unit
    within = jnp.clip(jnp.minimum(place, 1.0 - place) / pixels[:, None, None] + 0.5, 0.0, 1.0)
    return within[..., :1] * within[..., 1:]


def pixel_centres(size: int) -> Float[np.ndarray, "size size 2"]:
    """Unit coordinates (x, y) of a picture's pixel centres, float32."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.stack(np.meshgrid(centres, centres), axis=-1)


def _moved(points: Float[Array, "n m 2"], matrix: Float[Array, "n 2 2"], shift: Float[Array, "n 2"]) -> Array:
    return jnp.matmul(points, matrix.mT, precision=_EXACT) + shift[:, None]


def _border() -> Float[np.ndarray, "12 2"]:
    """Corners and thirds of the crop's border, where the spline is held."""
    thirds = np.linspace(0.0, 1.0, 4)
    points = np.stack(np.meshgrid(thirds, thirds), axis=-1).reshape(-1, 2)
    return points[((points == 0) | (points == 1)).any(axis=1)].astype(np.float32)
