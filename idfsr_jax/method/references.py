"""Which of a person's photographs stand beside a face: of those that show the person best, the nearest in pose."""

import math

import numpy as np
from jaxtyping import Float, Float32, Int

_SHOWN = 0.6
"""Share of a person's photographs that are shown."""


def normalised_shapes(landmarks: Float[np.ndarray, "n 68 2"]) -> Float32[np.ndarray, "n 136"]:
    """Landmarks centred on their mean and divided by their root mean square distance from it.

    Nothing is rotated: a crop is upright already, and what tilt is left is pose.

    Args:
      landmarks: in any coordinates.
    """
    centred = landmarks - landmarks.mean(axis=1, keepdims=True)
    size = np.sqrt(np.mean(np.sum(centred**2, axis=2), axis=1))
    return (centred / np.maximum(size, 1e-6)[:, None, None]).reshape(len(landmarks), -1).astype(np.float32)


def nearest_first(
    landmarks: Float[np.ndarray, "68 2"], candidates: Float[np.ndarray, "k 68 2"]
) -> Int[np.ndarray, " k"]:
    """Positions of the candidates, those whose landmarks lie closest to the given ones, up to shift and scale, first.

    Args:
      landmarks: of the face.
      candidates: of photographs, in coordinates of their own.
    """
    shapes = normalised_shapes(np.concatenate([landmarks[None], candidates]))
    return np.argsort(np.sum((shapes[1:] - shapes[0]) ** 2, axis=1), kind="stable")


def likest(identity: Float[np.ndarray, " d"], units: Float[np.ndarray, "k d"]) -> Int[np.ndarray, " m"]:
    """Positions of the photographs that show the person best, in their own order: three in five of them.

    The rest is turned away, blurred or in odd light more often than not, and whoever is shown it restores a little less
    of the person (configs/lfw128_person.py has the figures).

    Args:
      identity: e, the recognisers' unit vectors one after the other.
      units: of each photograph, likewise.
    """
    best = np.argsort(-(units @ identity), kind="stable")
    return np.sort(best[: math.ceil(_SHOWN * len(units))])
