"""Cutting a recogniser's chips out of canonical crops, differentiably."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from idfsr_jax.face.chip import DLIB_CHIP, ChipTemplate, similarity_to_landmarks
from idfsr_jax.networks.resample import sample_bilinear


def face_chips(
    images: Float[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"], template: ChipTemplate = DLIB_CHIP
) -> Float[Array, "b n n 3"]:
    """Cuts the recogniser's chips out of canonical crops; differentiable with respect to both arguments.

    A chip lies where the recogniser's own alignment puts it (`similarity_to_landmarks`). Sampling is bilinear; beyond
    the crop the edge is repeated. Crops much finer than the chip are reduced first, so that no chip is aliased.

    Args:
      images: square crops, RGB in [-1, 1].
      landmarks: unit coordinates of the crops.
      template: the chip; dlib's, 150 px, by default.

    Returns:
      Chips, RGB from 0 to 255.
    """
    side = images.shape[1]
    if side >= 1.5 * template.crop_side:
        side = template.crop_side
        images = jax.image.resize(images, (images.shape[0], side, side, 3), "linear", antialias=True)
    a, b, x, y = (value[:, None, None] for value in similarity_to_landmarks(landmarks, template))
    centres = jnp.arange(template.side, dtype=landmarks.dtype) + 0.5
    u, v = centres[None, None, :], centres[None, :, None]
    points = jnp.stack([a * u - b * v + x, b * u + a * v + y], axis=-1)
    return (sample_bilinear(images, points) + 1.0) * 127.5


def moved_landmarks(key: PRNGKeyArray, landmarks: Float[Array, "b 68 2"], deviation: float) -> Float[Array, "b 68 2"]:
    """Landmarks under small similarities of chance, so that chips cut by them show the faces moved.

    Each face is turned and scaled about its middle and shifted: x -> m + (1 + a, -b; b, 1 + a) (x - m) + t with normal
    a, b and t.

    Args:
      key: draws the similarities.
      landmarks: unit coordinates.
      deviation: of a (scale), b (radians) and t (share of the side); 0 moves nothing.
    """
    a, b, *t = deviation * jax.random.normal(key, (4, landmarks.shape[0], 1))
    middle = landmarks.mean(axis=1, keepdims=True)
    x, y = jnp.moveaxis(landmarks - middle, -1, 0)
    turned = jnp.stack([(1.0 + a) * x - b * y, b * x + (1.0 + a) * y], axis=-1)
    return middle + turned + jnp.stack(t, axis=-1)
