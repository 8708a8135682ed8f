"""The ID embedding: the recognisers' unit vectors, averaged over photographs, one after the other."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32


def unit_parts(vectors: Float[np.ndarray, "*n d"], sizes: Sequence[int]) -> Float32[np.ndarray, "*n d"]:
    """Vectors with each recogniser's part made a unit vector.

    Args:
      vectors: parts of all recognisers, one after the other.
      sizes: length of each part.
    """
    parts = np.split(vectors, np.cumsum(sizes)[:-1], axis=-1)
    scaled = [part / np.maximum(np.linalg.norm(part, axis=-1, keepdims=True), 1e-6) for part in parts]
    return np.concatenate(scaled, axis=-1).astype(np.float32)
