"""Mirrored faces: which landmark becomes which."""

from typing import Any

import numpy as np


def _flip_68() -> np.ndarray:
    pairs = [*((i, 16 - i) for i in range(8))]  # jaw
    pairs += [(i, 43 - i) for i in range(17, 22)]  # brows
    pairs += [(31, 35), (32, 34)]  # nostrils
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]  # eyes
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58)]  # lips, outside
    pairs += [(60, 64), (61, 63), (65, 67)]  # lips, inside
    order = np.arange(68)
    for left, right in pairs:
        order[[left, right]] = right, left
    return order


FLIP_68 = _flip_68()
"""Point i of a mirrored face is the mirrored point FLIP_68[i] of the face: dlib names points by side of the picture."""


def mirror_landmarks(landmarks: Any) -> Any:
    """Landmarks of mirrored crops.

    Args:
      landmarks: float32 [..., 68, 2], unit coordinates; a NumPy or a JAX array, as is the result.
    """
    return np.array([1, 0], np.float32) + np.array([-1, 1], np.float32) * landmarks[..., FLIP_68, :]
