"""Mirroring, recolouring and slight movement of a crop, on the host."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from idfsr_jax.face import apply_transform, cut_crop

# How far a photograph as its own reference is moved (degrees; shift as a share of the side) and recoloured.
MAX_DEGREES = 6.0
MAX_LOG_SCALE = 0.08
MAX_SHIFT = 0.04
MAX_LOG_GAMMA = 0.3
MAX_LOG_GAIN = 0.2
MAX_LOG_CHANNEL_GAIN = 0.08


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


def mirror(
    image: UInt8[np.ndarray, "n n 3"], landmarks: Float32[np.ndarray, "68 2"]
) -> tuple[UInt8[np.ndarray, "n n 3"], Float32[np.ndarray, "68 2"]]:
    """A crop and its landmarks (unit coordinates), left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1]), mirror_landmarks(landmarks)


def mirror_landmarks(landmarks: Any) -> Any:
    """Landmarks of mirrored crops.

    Args:
      landmarks: float32 [..., 68, 2], unit coordinates; a NumPy or a JAX array, as is the result.
    """
    return np.array([1, 0], np.float32) + np.array([-1, 1], np.float32) * landmarks[..., FLIP_68, :]


def recolour(rng: np.random.Generator, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Another light: a random gamma and gain for the picture, and a small gain of each channel."""
    gamma = math.exp(rng.uniform(-MAX_LOG_GAMMA, MAX_LOG_GAMMA))
    gains = np.exp(
        rng.uniform(-MAX_LOG_GAIN, MAX_LOG_GAIN) + rng.uniform(-MAX_LOG_CHANNEL_GAIN, MAX_LOG_CHANNEL_GAIN, 3)
    )
    curve = (np.arange(256) / 255) ** gamma
    table = np.clip(np.rint(255 * gains[:, None] * curve), 0, 255).astype(np.uint8)
    return np.stack([table[channel][image[..., channel]] for channel in range(3)], axis=-1)


def slight_movement(rng: np.random.Generator) -> Float64[np.ndarray, "3 3"]:
    """A similarity close to the identity, about the middle of unit coordinates."""
    angle = math.radians(rng.uniform(-MAX_DEGREES, MAX_DEGREES))
    scale = math.exp(rng.uniform(-MAX_LOG_SCALE, MAX_LOG_SCALE))
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = 0.5 - linear @ np.array([0.5, 0.5]) + shift
    return matrix


def own_reference(
    rng: np.random.Generator, image: UInt8[np.ndarray, "n n 3"], landmarks: Float[np.ndarray, "68 2"], size: int
) -> tuple[UInt8[np.ndarray, "m m 3"], Float32[np.ndarray, "68 2"]]:
    """A crop as a reference for itself: mirrored, in another light and slightly moved, so that copying does not pay.

    Args:
      rng: consumed.
      image: the crop.
      landmarks: unit coordinates.
      size: side of the result, pixels.

    Returns:
      The new crop and its landmarks in unit coordinates.
    """
    movement = slight_movement(rng)
    side = image.shape[0]
    moved = cut_crop(image, np.diag([side, side, 1.0]) @ movement, size)
    points = apply_transform(np.linalg.inv(movement), landmarks).astype(np.float32)
    return mirror(recolour(rng, moved), points)
