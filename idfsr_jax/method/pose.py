"""Landmarks drawn as heat maps: pose and expression without the look of anybody."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_LINES: dict[str, list[Sequence[int]]] = {
    "jaw": [range(0, 17)],
    "brows": [range(17, 22), range(22, 27)],
    "eyes": [[*range(36, 42), 36], [*range(42, 48), 42]],
    "nose": [range(27, 31), range(31, 36)],
    "outer lips": [[*range(48, 60), 48]],
    "inner lips": [[*range(60, 68), 60]],
}
CHANNELS = len(_LINES)
_WIDTH = 1.0
"""Standard deviation of a line, in pixels of the map."""


def heat_maps(landmarks: Float[Array, "b 68 2"], side: int) -> Float[Array, "b side side 6"]:
    """Brows, eyes, nose, lips and jaw as soft lines: exp(-d^2 / 2 w^2), d the distance to the nearest line of a part.

    Drawn at the side of the network's finest feature map: a soft line's values tell its place to a part of a pixel.

    Args:
      landmarks: dlib's 68 points, unit coordinates.
      side: of the maps.
    """
    centres = (jnp.arange(side, dtype=landmarks.dtype) + 0.5) / side
    x, y = centres[None, None, None, :], centres[None, None, :, None]
    maps = []
    for lines in _LINES.values():
        starts, ends = np.array([pair for line in lines for pair in itertools.pairwise(line)]).T
        a, b = landmarks[:, starts, :, None, None], landmarks[:, ends, :, None, None]
        along_x, along_y = b[:, :, 0] - a[:, :, 0], b[:, :, 1] - a[:, :, 1]
        from_x, from_y = x - a[:, :, 0], y - a[:, :, 1]
        # The floor stands for a segment of no length, where two landmarks coincide.
        share = (from_x * along_x + from_y * along_y) / jnp.maximum(along_x**2 + along_y**2, 1e-12)
        share = jnp.clip(share, 0.0, 1.0)
        squared = jnp.min((from_x - share * along_x) ** 2 + (from_y - share * along_y) ** 2, axis=1)
        maps.append(jnp.exp(-0.5 * squared * (side / _WIDTH) ** 2))
    return jnp.stack(maps, axis=-1)
