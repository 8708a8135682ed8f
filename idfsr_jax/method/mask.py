"""The soft mask of the face, from its landmarks, and what of the LR picture may be seen beside it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_JAW = slice(0, 17)
_BROWS = slice(17, 27)
_EYES = slice(36, 48)
_MOUTH = slice(48, 68)
_BROW_RAISE = 0.6
"""How far the brows are raised onto the forehead, as a share of the distance from mouth to eyes."""


def face_outline(landmarks: Float[Array, "b 68 2"]) -> Float[Array, "b 27 2"]:
    """The polygon of the face: the jaw from ear to ear, then the brows, raised onto the forehead, on the way back.

    The brows are raised along the line from the mouth to the eyes, which follows the head's tilt, by 0.6 of its length.
    That length is about the height of the forehead, in the classical thirds of the face.

    Args:
      landmarks: dlib's 68 points, in any coordinates.

    Returns:
      The corners, in the landmarks' coordinates.
    """
    up = landmarks[:, _EYES].mean(axis=1) - landmarks[:, _MOUTH].mean(axis=1)
    raised = landmarks[:, _BROWS] + _BROW_RAISE * up[:, None]
    return jnp.concatenate([landmarks[:, _JAW], raised[:, ::-1]], axis=1)


def face_mask(landmarks: Float[Array, "b 68 2"], size: int, *, feather: float = 0.04) -> Float[Array, "b size size 1"]:
    """The soft mask of the face region: 1 on the face, 0 away from it, 1/2 on the outline.

    The signed distance to the outline, through a smoothstep, so that the mask is exactly 1 and 0 beyond the feather
    and differentiable almost everywhere in the landmarks. What the outline winds around at all is inside (the non-zero
    rule), so a small loop, tied by noisy landmarks, makes no hole.

    Args:
      landmarks: dlib's 68 points in unit coordinates of the crop; they may lie outside it.
      size: side of the mask in pixels.
      feather: how far the ramp reaches to either side of the outline, as a share of the mask's side; positive.

    Returns:
      The mask in [0, 1], in the landmarks' dtype.
    """
    ends = face_outline(landmarks)[:, :, None, None]
    starts = jnp.roll(ends, 1, axis=1)
    centres = (jnp.arange(size, dtype=landmarks.dtype) + 0.5) / size
    x, y = centres[None, None, None, :], centres[None, None, :, None]
    # Every pixel against every edge, [b, edges, size, size]; XLA fuses it with the reductions, so it is never stored.
    edge_x, edge_y = ends[..., 0] - starts[..., 0], ends[..., 1] - starts[..., 1]
    from_x, from_y = x - starts[..., 0], y - starts[..., 1]
    # The floor stands for an edge of no length, where two landmarks coincide.
    along = (from_x * edge_x + from_y * edge_y) / jnp.maximum(edge_x * edge_x + edge_y * edge_y, 1e-12)
    along = jnp.clip(along, 0.0, 1.0)
    nearest = ((from_x - along * edge_x) ** 2 + (from_y - along * edge_y) ** 2).min(axis=1)
    left = edge_x * from_y > edge_y * from_x
    downwards = (starts[..., 1] <= y) & (y < ends[..., 1]) & left
    upwards = (ends[..., 1] <= y) & (y < starts[..., 1]) & ~left
    winding = (downwards.astype(jnp.int32) - upwards.astype(jnp.int32)).sum(axis=1)
    # sqrt has no gradient at 0, on the outline itself.
    distance = jnp.sqrt(jnp.maximum(nearest, 1e-12))
    inside = jnp.where(winding == 0, -distance, distance)
    ramp = jnp.clip(0.5 + inside / (2 * feather), 0.0, 1.0)
    return (ramp * ramp * (3.0 - 2.0 * ramp))[..., None]


def low_frequency_tone(
    y_up: Float[Array, "b s s c"], mask: Float[Array, "b s s 1"], *, share: float | Float[Array, " b"] = 1 / 3
) -> Float[Array, "b s s c"]:
    """The light and tone of the face, so coarse that its features are gone.

    A Gaussian mean over the face alone (normalised by the mask: neither hair nor background bleeds in). Its full width
    at half maximum is `share` of the diameter of the face, which is that of a disk of the mask's area. At the default,
    a wave as long as 0.76 diameters keeps half of its amplitude, one as long as a third of the diameter 3%.

    Args:
      y_up: the enlarged LR crop.
      mask: the face, 0 to 1. Where it is empty, the tone is 0.
      share: width of the mean, as a share of the diameter of the face; one for all, or one for each picture.

    Returns:
      The tone on the face, continued smoothly around it.
    """
    size = y_up.shape[1]
    diameter = jnp.sqrt(mask.mean(axis=(1, 2, 3)) * (4 / jnp.pi) + 1e-8)
    sigma = diameter * (share / 2.3548)
    centres = (jnp.arange(size, dtype=y_up.dtype) + 0.5) / size
    offsets = (centres[:, None] - centres[None, :])[None] / sigma[:, None, None]
    # Rows that sum to one keep the quotient below well scaled; their normalisation cancels in it.
    weights = jax.nn.softmax(-0.5 * offsets * offsets, axis=2)
    weighted = jnp.concatenate([y_up * mask, mask], axis=3)
    blurred = jnp.einsum("bij,bjkc->bikc", weights, weighted)
    blurred = jnp.einsum("blk,bikc->bilc", weights, blurred)
    return blurred[..., :-1] / jnp.maximum(blurred[..., -1:], 1e-6)
