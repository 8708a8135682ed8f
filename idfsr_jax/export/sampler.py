"""The whole restoration of a small face as one function of arrays, and that function as an artifact.

What `Restorer.restore` does from the LR crop on: enlarge, find the landmarks, choose the reference nearest in pose,
mask, warp, sample, and round to 8 bits. No step of it is left to whoever calls the artifact.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, Int, Num, UInt8

from idfsr_jax.config import Config
from idfsr_jax.data.degrade import bicubic_upsample, data_consistency
from idfsr_jax.models.condition import make_condition
from idfsr_jax.models.landmark_net import estimate_landmarks
from idfsr_jax.pictures import to_float
from idfsr_jax.sampling import sample_crops
from idfsr_jax.weights import Model

PLATFORMS = ("cpu", "cuda", "tpu")
INPUTS = ("y", "scale", "references", "landmarks", "identity", "consistency", "seed")
"""Of the artifact, in this order, after the weights."""


def restore_faces(
    weights: dict[str, Any],
    y: UInt8[Array, "b m m 3"],
    scale: Int[Array, ""],
    references: UInt8[Array, "b k s s 3"],
    landmarks: Float[Array, "b k 68 2"],
    identity: Float[Array, "b d"],
    consistency: Float[Array, ""],
    seed: Num[Array, ""],
    *,
    config: Config,
) -> UInt8[Array, "b s s 3"]:
    """Restores faces of one scale; to be compiled or exported with `config` closed over.

    Args:
      weights: of `flat_weights`.
      y: LR crops; those of n = S / scale pixels lie in the upper left corner of m = S / (least scale) pixels.
      scale: one of `config.data.scales`.
      references: k photographs of each person, canonical crops.
      landmarks: of the references, unit coordinates.
      identity: unit identity vectors.
      consistency: strength of the projection onto pictures that down-sample to y, 0 to 1.
      seed: uint32, of the noise.
      config: static.
    """
    size, scales = config.data.size, config.data.scales
    networks: Any = flax.traverse_util.unflatten_dict(weights, sep="/")
    place = jnp.argmax(jnp.asarray(scales) == scale)
    # Each scale has shapes of its own, so each is a branch.
    crops = [to_float(y[:, : size // s, : size // s]) for s in scales]
    y_up = jax.lax.switch(place, [partial(bicubic_upsample, crop, size) for crop in crops])
    points = estimate_landmarks(networks["landmark_net"], y_up, config.landmarks)
    nearest = nearest_in_pose(points, landmarks)[:, None]
    condition = make_condition(
        y_up,
        points,
        to_float(jnp.take_along_axis(references, nearest[..., None, None, None], axis=1)[:, 0]),
        jnp.take_along_axis(landmarks, nearest[..., None, None], axis=1)[:, 0],
        identity,
        jnp.broadcast_to(scale.astype(jnp.float32), identity.shape[:1]),
        config.model,
    )
    projections: list[Callable[[Array], Array]] = [data_consistency(crop, size, consistency) for crop in crops]
    project = lambda x0: jax.lax.switch(place, projections, x0)  # noqa: E731
    restored = sample_crops(networks["denoiser"], condition, jax.random.key(seed), config, project)
    return jnp.clip((restored + 1.0) * 127.5 + 0.5, 0.0, 255.0).astype(jnp.uint8)


def nearest_in_pose(landmarks: Float[Array, "b 68 2"], candidates: Float[Array, "b k 68 2"]) -> Int[Array, " b"]:
    """Which of each face's candidates lies closest to its landmarks, as `data.pairs.nearest_in_pose` has it."""

    def shape(points: Float[Array, "*b 68 2"]) -> Float[Array, "*b 68 2"]:
        centred = points - points.mean(axis=-2, keepdims=True)
        extent = jnp.sqrt(jnp.mean(jnp.sum(centred**2, axis=-1), axis=-1))
        return centred / jnp.maximum(extent, 1e-6)[..., None, None]

    return jnp.argmin(jnp.sum((shape(candidates) - shape(landmarks)[:, None]) ** 2, axis=(-2, -1)), axis=1)


def flat_weights(model: Model) -> dict[str, Float[np.ndarray, "..."]]:
    """Weights of LandmarkNet and denoiser by their paths (`denoiser/unet/...`), the artifact's first argument."""
    tree = {"denoiser": model.denoiser, "landmark_net": model.landmark_net}
    return {name: np.asarray(leaf, np.float32) for name, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items()}


def input_shapes(config: Config, batch: int | None = None) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and types of `INPUTS`; the number of references is free, and of faces where `batch` is None."""
    size, small = config.data.size, config.data.size // min(config.data.scales)
    b, k = export.symbolic_shape("b, k") if batch is None else (batch, *export.symbolic_shape("k"))
    shapes: list[tuple[tuple[Any, ...], Any]] = [
        ((b, small, small, 3), jnp.uint8),
        ((), jnp.int32),
        ((b, k, size, size, 3), jnp.uint8),
        ((b, k, 68, 2), jnp.float32),
        ((b, config.model.identity_dim), jnp.float32),
        ((), jnp.float32),
        ((), jnp.uint32),
    ]
    return tuple(jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes)


def export_sampler(model: Model, config: Config, batch: int | None = None) -> export.Exported:
    """`restore_faces` for CPU, CUDA and TPU.

    All that it calls outside of StableHLO (the factorisation of the warp's linear system) is among what JAX promises
    to keep; `jax.export` refuses anything else.

    Args:
      model: whose weights' shapes count.
      config: the model's, with the sampling that is wanted.
      batch: faces at once; any number if None.
    """
    weights = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in flat_weights(model).items()}
    function = jax.jit(partial(restore_faces, config=config))
    return export.export(function, platforms=PLATFORMS)(weights, *input_shapes(config, batch))
