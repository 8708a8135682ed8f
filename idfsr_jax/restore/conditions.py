"""From LR faces and what is known of their persons to the conditions of their restoration."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from idfsr_jax.config import Config
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.identity import Identity
from idfsr_jax.method.condition import Condition, References, make_condition
from idfsr_jax.method.degrade import ResamplingTables, enlarge, resampling_tables
from idfsr_jax.method.landmarks import estimate_landmarks
from idfsr_jax.method.references import nearest_first
from idfsr_jax.pictures import to_float
from idfsr_jax.weights import Model


@dataclass(frozen=True)
class Known:
    """What is known of a person when one of their faces is restored.

    Attributes:
      identity: e, unit vectors of all recognisers, one after the other.
      token_offsets: of fitting; 0 where nothing was fitted.
      shape: proportions of the face, `landmarks.person_shape`.
      images: photographs that can be references, canonical crops at the model's side; k may be 0.
      landmarks: of each, unit coordinates.
      frames: `face.align.photograph_frame` of each.
      units: unit vectors of each by all recognisers.
    """

    identity: Float[np.ndarray, " d"]
    token_offsets: Float[np.ndarray, "t e"]
    shape: Float[np.ndarray, "68 2"]
    images: UInt8[np.ndarray, "k s s 3"]
    landmarks: Float32[np.ndarray, "k 68 2"]
    frames: Float32[np.ndarray, "k 2 3"]
    units: Float[np.ndarray, "k d"]


def conditions_of(
    landmark_net: Any,
    y_up: Float[Array, "b s s 3"],
    n: Float[Array, " b"],
    people: Sequence[Known],
    reveal: float,
    config: Config,
) -> tuple[Condition, list[list[int]]]:
    """The conditions of LR faces.

    Args:
      landmark_net: LandmarkNet's parameters.
      y_up: enlargements of the LR crops, in [-1, 1].
      n: widths of the LR crops, pixels.
      people: whose faces they are.
      reveal: how much of each is shown, 0 to 1.
      config: the model's.

    Returns:
      The conditions, and for each the positions of the photographs that it holds, the nearest in pose and expression
      first.
    """
    b, k, size = len(people), config.model.references, config.data.size
    shapes = jnp.asarray(np.stack([known.shape for known in people]), jnp.float32)
    landmarks = _estimate_landmarks(landmark_net, y_up, n, shapes, jnp.ones(b), config.landmarks)
    images = np.zeros((b, k, size, size, 3), np.uint8)
    points = np.repeat(np.asarray(landmarks)[:, None], k, axis=1)
    frames = np.tile(np.eye(3, dtype=np.float32)[:2], (b, k, 1, 1))
    units = np.zeros((b, k, len(people[0].identity)), np.float32)
    chosen = []
    for row, (known, face) in enumerate(zip(people, np.asarray(landmarks), strict=True)):
        order = nearest_first(face, known.landmarks)[:k]
        places = slice(len(order))
        images[row, places] = known.images[order]
        points[row, places], frames[row, places] = known.landmarks[order], known.frames[order]
        units[row, places] = known.units[order]
        chosen.append(order.tolist())
    present = (np.arange(k) < np.array([[len(order)] for order in chosen])).astype(np.float32)
    references = References(to_float(images), *map(jnp.asarray, (points, frames, present, units)))
    condition = _make_condition(
        y_up,
        landmarks,
        references,
        jnp.asarray(np.stack([known.identity for known in people])),
        jnp.asarray(np.stack([known.token_offsets for known in people])),
        size / n,
        jnp.full((b,), reveal, jnp.float32),
        patch=config.model.pixels_per_place,
        mouth=config.model.mouth,
    )
    return condition, chosen


def condition_of(
    model: Model,
    y: UInt8[np.ndarray, "n n 3"],
    identity: Identity,
    crops: Sequence[FaceCrop],
    units: Float[np.ndarray, "k d"],
    reveal: float,
) -> tuple[Condition, FaceCrop | None]:
    """The condition of one LR face, and the photograph nearest to it in pose and expression, if there is any.

    Args:
      model: the model.
      y: the LR crop.
      identity: of whom it is to become.
      crops: photographs of the person; may be empty.
      units: unit vectors of each by all recognisers, empty without photographs.
      reveal: how much of the LR face is shown, 0 to 1.
    """
    size, side = model.config.data.size, y.shape[0]
    tables = tables_of(size)
    filled = np.zeros((1, tables.down.shape[2], tables.down.shape[2], 3), np.float32)
    filled[0, :side, :side] = to_float(y)
    y_up = _enlarge(filled, np.array([side], np.int32), tables)
    known = Known(
        identity=identity.embedding,
        token_offsets=identity.token_offsets,
        shape=identity.shape,
        images=np.array([resize_crop(crop.image, size) for crop in crops], np.uint8).reshape(-1, size, size, 3),
        landmarks=np.array([crop.landmarks for crop in crops], np.float32).reshape(-1, 68, 2),
        frames=np.array([crop.frame for crop in crops], np.float32).reshape(-1, 2, 3),
        units=units,
    )
    n = jnp.full((1,), side, jnp.float32)
    condition, (order,) = conditions_of(model.landmark_net, y_up, n, [known], reveal, model.config)
    return condition, crops[order[0]] if order else None


@functools.lru_cache(maxsize=2)
def tables_of(size: int) -> ResamplingTables:
    """`resampling_tables`, made once."""
    return resampling_tables(size)


_enlarge = jax.jit(enlarge)
_estimate_landmarks = jax.jit(estimate_landmarks, static_argnames="config")
_make_condition = jax.jit(make_condition, static_argnames=("patch", "mouth"))
