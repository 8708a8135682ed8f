"""Which of a person's photographs stand beside a face: of those that show the person best, the nearest in pose.

Arrays of NumPy are worked on by NumPy, and JAX's by JAX, which need not be there for the former.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

_SHOWN = 0.6
"""Share of a person's photographs that are shown."""


def normalised_shapes(landmarks: Float[Any, "n 68 2"]) -> Float32[Any, "n 136"]:
    """Landmarks centred on their mean and divided by their root mean square distance from it.

    Nothing is rotated: a crop is upright already, and what tilt is left is pose.

    Args:
      landmarks: in any coordinates.
    """
    numbers: Any = landmarks.__array_namespace__()
    centred = landmarks - landmarks.mean(axis=1, keepdims=True)
    size = numbers.sqrt(numbers.mean(numbers.sum(centred**2, axis=2), axis=1))
    scaled = centred / numbers.maximum(size, 1e-6)[:, None, None]
    return scaled.reshape(landmarks.shape[0], 136).astype(np.float32)


def shape_distances(landmarks: Float[Any, "68 2"], candidates: Float[Any, "k 68 2"]) -> Float[Any, " k"]:
    """Squared distance of each candidate's landmarks from the given ones, up to shift and scale.

    Args:
      landmarks: of the face.
      candidates: of photographs, in coordinates of their own.
    """
    return ((normalised_shapes(candidates) - normalised_shapes(landmarks[None])) ** 2).sum(axis=1)


def nearest_first(
    landmarks: Float[np.ndarray, "68 2"], candidates: Float[np.ndarray, "k 68 2"]
) -> Int[np.ndarray, " k"]:
    """Positions of the candidates, the least of `shape_distances` first; arguments as there."""
    return np.argsort(shape_distances(landmarks, candidates), kind="stable")


def likest(identity: Float[np.ndarray, " d"], units: Float[np.ndarray, "k d"]) -> Int[np.ndarray, " m"]:
    """Positions of the photographs that show the person best, in their own order: three in five of them.

    The rest is turned away, blurred or in odd light more often than not, and whoever is shown it restores a little less
    of the person (configs/lfw128.py has the figures).

    Args:
      identity: e, the recognisers' unit vectors one after the other.
      units: of each photograph, likewise.
    """
    best = np.argsort(-(units @ identity), kind="stable")
    return np.sort(best[: math.ceil(_SHOWN * len(units))])
