"""From an LR face, an identity and photographs of the person to the condition of its restoration."""

import functools
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.identity import Identity
from idfsr_jax.method.condition import Condition, References, make_condition
from idfsr_jax.method.degrade import ResamplingTables, enlarge, resampling_tables
from idfsr_jax.method.landmarks import estimate_landmarks
from idfsr_jax.method.references import nearest_first
from idfsr_jax.pictures import to_float
from idfsr_jax.weights import Model


def condition_of(
    model: Model, y: np.ndarray, identity: Identity, crops: Sequence[FaceCrop], reveal: float
) -> tuple[Condition, FaceCrop | None]:
    """The condition of one LR face.

    Args:
      model: the model.
      y: the LR crop, uint8 [n, n, 3].
      identity: of whom it is to become.
      crops: photographs of the person; may be empty.
      reveal: how much of the LR face is shown, 0 to 1.

    Returns:
      The condition, batch of one, and the photograph nearest in pose and expression, if there is any.
    """
    config, n = model.config, np.float32(y.shape[0])
    k, size = config.model.references, config.data.size
    tables = tables_of(size)
    filled = np.zeros((1, tables.down.shape[2], tables.down.shape[2], 3), np.float32)
    filled[0, : y.shape[0], : y.shape[0]] = to_float(y)
    y_up = _enlarge(filled, np.array([y.shape[0]], np.int32), tables)
    shape = np.asarray(identity.shape)
    landmarks = _locate(model.landmark_net, y_up, n, shape, config)
    order: list[int] = []
    if crops:
        order = nearest_first(np.asarray(landmarks[0]), np.stack([crop.landmarks for crop in crops]))[:k].tolist()
    images = np.zeros((1, k, size, size, 3), np.uint8)
    points, frames = (
        np.broadcast_to(shape, (1, k, 68, 2)).copy(),
        np.tile(np.eye(3, dtype=np.float32)[:2], (1, k, 1, 1)),
    )
    for place, position in enumerate(order):
        crop = crops[position]
        images[0, place], points[0, place] = resize_crop(crop.image, size), crop.landmarks
        frames[0, place] = crop.frame
    present = (np.arange(k) < len(order)).astype(np.float32)[None]
    references = References(to_float(images), jnp.asarray(points), jnp.asarray(frames), jnp.asarray(present))
    condition = _compiled(
        y_up,
        landmarks,
        references,
        jnp.asarray(identity.embedding)[None],
        jnp.asarray(identity.token_offsets)[None],
        jnp.full((1,), size / n, jnp.float32),
        jnp.full((1,), reveal, jnp.float32),
        config,
    )
    return condition, crops[order[0]] if order else None


@functools.lru_cache(maxsize=2)
def tables_of(size: int) -> ResamplingTables:
    """`resampling_tables`, made once."""
    return resampling_tables(size)


_enlarge = jax.jit(enlarge)


@partial(jax.jit, static_argnames="config")
def _locate(
    net: Any, y_up: Float[Array, "1 s s 3"], n: Any, shape: Float[Any, "68 2"], config: Config
) -> Float[Array, "1 68 2"]:
    known = jnp.ones(1)
    return estimate_landmarks(net, y_up, jnp.full((1,), n), shape[None], known, config.landmarks)


@partial(jax.jit, static_argnames="config")
def _compiled(
    y_up: Float[Array, "b s s 3"],
    landmarks: Float[Array, "b 68 2"],
    references: References,
    identity: Float[Array, "b d"],
    token_offsets: Float[Array, "b t e"],
    scale: Float[Array, " b"],
    reveal: Float[Array, " b"],
    config: Config,
) -> Condition:
    options: dict[str, Any] = {"patch": config.model.patch, "mouth": config.model.mouth}
    return make_condition(y_up, landmarks, references, identity, token_offsets, scale, reveal, **options)
