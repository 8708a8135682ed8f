"""Identities of photographs, and of faces so small that they can only be compared with photographs made as small."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8
from PIL import Image

from idfsr_jax.config import Config
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.io.images import to_float
from idfsr_jax.method.degrade import resampling_matrix
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import MEAN_SHAPE, estimate_landmarks
from idfsr_jax.networks.chips import face_chips
from idfsr_jax.networks.id_encoder import IdEncoder
from idfsr_jax.networks.recognisers import Recognisers, dimensions
from idfsr_jax.networks.recognisers import photograph_descriptors as descriptors_of_chips
from idfsr_jax.runtime.programs import kept_jit

_ENCODER_SIDE = 256
_FINE_SIDE = 192
SEEN_SIDES = (4, 6, 8, 12, 16, 24, 32, 48, 64)
"""At which faces are compared, in pixels."""


def locate(landmark_net: Any, y: UInt8[np.ndarray, "n n 3"], config: Config) -> Float[np.ndarray, "68 2"]:
    """The landmarks of a crop of nobody in particular, at most as wide as LandmarkNet's pictures."""
    # Enlarged on the host, so that one program serves all widths.
    matrix = resampling_matrix(len(y), config.landmarks.size, "bicubic")
    rows = np.tensordot(matrix, np.asarray(to_float(y[None]))[0], 1)
    y_up = np.clip(np.tensordot(matrix, rows.swapaxes(0, 1), 1).swapaxes(0, 1), -1.0, 1.0)
    return np.asarray(_located(landmark_net, y_up[None], np.full(1, len(y), np.float32), config))[0]


@partial(kept_jit, static_argnames="config")
def _located(
    landmark_net: Any, y_up: Float[Array, "1 s s 3"], n: Float[Array, "1"], config: Config
) -> Float[Array, "1 68 2"]:
    shapes, known = jnp.asarray(MEAN_SHAPE)[None], jnp.zeros(1)
    return estimate_landmarks(landmark_net, y_up, n, shapes, known, config.landmarks)


def photograph_descriptors(encoder: Any, crops: Sequence[FaceCrop]) -> Float[np.ndarray, "k d"]:
    """Raw descriptors of photographs, as `idfsr prepare` computes them."""
    rows = []
    for crop in crops:  # One at a time: a single compiled shape, whatever the number of photographs.
        image, landmarks = resize_crop(crop.image, _ENCODER_SIDE), jax.device_put(crop.landmarks[None])
        rows.append(_describe_photograph(encoder, to_float(image[None]), landmarks))
    return np.concatenate(rows)


@kept_jit
def _describe_photograph(
    encoder: IdEncoder, images: Float[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"]
) -> Float[Array, "b d"]:
    return descriptors_of_chips(encoder, face_chips(images, landmarks, encoder.chip))


def seen_side(side: float | int) -> int:
    """The resolution at which a face of a crop of `side` px is compared: one of those whose thresholds are known."""
    return max(each for each in SEEN_SIDES if each <= max(side, SEEN_SIDES[0]))


def small_unit(
    image: UInt8[np.ndarray, "n n 3"],
    recognisers: Recognisers,
    landmark_net: Any,
    center: Float[np.ndarray, " d"],
    config: Config,
) -> tuple[Float32[np.ndarray, " d"], Float[np.ndarray, "68 2"]]:
    """What the recognisers see in a small crop, enlarged: their unit vectors, one after the other; and its landmarks.

    Args:
      image: canonical crop.
      recognisers: who look.
      landmark_net: parameters of LandmarkNet, which finds the landmarks.
      center: mean raw descriptor of the training people, by each of them.
      config: of the model.
    """
    size = config.landmarks.size
    shown = image if image.shape[0] <= size else reduce_crop(image, size)
    landmarks = locate(landmark_net, shown, config)
    large = Image.fromarray(image).resize((_ENCODER_SIDE, _ENCODER_SIDE), Image.Resampling.BICUBIC)
    seen, where = to_float(np.asarray(large)[None]), jax.device_put(landmarks[None])
    found = [_describe_photograph(each, seen, where) for each in recognisers]
    return unit_parts(np.concatenate(found, axis=1)[0] - center, dimensions(recognisers)), landmarks


def reduce_crop(image: UInt8[np.ndarray, "n n 3"], side: int) -> UInt8[np.ndarray, "m m 3"]:
    """A crop made small, by the area of pixels, whatever its own side."""
    fine = Image.fromarray(resize_crop(image, _FINE_SIDE))
    return np.array(fine.resize((side, side), Image.Resampling.BOX))
