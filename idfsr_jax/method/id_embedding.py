"""Photographs of a person -> the ID embedding: the recognisers' unit vectors, averaged, one after the other."""

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


def mean_embedding(
    descriptors: Float[np.ndarray, "k d"], center: Float[np.ndarray, " d"], sizes: Sequence[int]
) -> Float32[np.ndarray, " d"]:
    """The ID embedding of a person before fitting: the mean of the photographs' unit vectors, each part made unit.

    Args:
      descriptors: raw, of k photographs by all recognisers.
      center: mean raw descriptor over the training people.
      sizes: length of each recogniser's part.
    """
    return unit_parts(unit_parts(descriptors - center, sizes).mean(axis=0), sizes)
