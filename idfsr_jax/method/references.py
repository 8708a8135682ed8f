"""Which of a person's photographs stand beside a face: those nearest to it in pose and expression."""

import numpy as np
from jaxtyping import Float, Float32, Int


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
