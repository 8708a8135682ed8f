"""A small face that was found and is ready to be sampled, and the sampling of many of them at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from idfsr_jax.config import Config
from idfsr_jax.data.degrade import bicubic_upsample
from idfsr_jax.data.pairs import nearest_in_pose
from idfsr_jax.errors import InputError
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.identity import Identity
from idfsr_jax.models.condition import Condition, make_condition
from idfsr_jax.picture import LowResolutionFace
from idfsr_jax.pictures import to_float, to_uint8
from idfsr_jax.recognition import locate
from idfsr_jax.sampling import in_corner, restore_many, with_sampling
from idfsr_jax.weights import Model

_AT_ONCE = 16
"""Samples that a device draws at once: more gain nothing, and need memory."""


@dataclass(frozen=True)
class Found:
    """A face that `Restorer.find` found in a picture, with all that its restoration needs but the noise.

    Attributes:
      face: the LR face.
      identity: of whom it is to become.
      condition: what the denoiser will see, batch of one.
      reference: the photograph chosen as reference, canonical crop.
      likeness: the cosine between a small crop and the photographs made as small.
      truth: the true crop, where it is known.
    """

    face: LowResolutionFace
    identity: Identity
    condition: Condition
    reference: UInt8[np.ndarray, "n n 3"]
    likeness: Callable[[UInt8[np.ndarray, "m m 3"]], float]
    truth: UInt8[np.ndarray, "t t 3"] | None = None

    @property
    def pixels(self) -> int:
        """Of the photograph, which is kept for pasting."""
        return 0 if self.face.photo is None else self.face.photo.shape[0] * self.face.photo.shape[1]

    def unfitted(self) -> "Found":
        """The same with the identity that the fit started at."""
        start = jnp.asarray(self.identity.start)[None]
        return replace(self, condition=self.condition.replace(identity=start))  # type: ignore[attr-defined]


def condition_of(
    model: Model, face: LowResolutionFace, embedding: Float[np.ndarray, " d"], crops: Sequence[FaceCrop]
) -> tuple[Condition, FaceCrop]:
    """The condition of one LR face, and the photograph that was chosen as its reference.

    The reference is the photograph whose landmarks, moved and scaled onto those of the LR face, lie closest.
    """
    size = model.config.data.size
    y_up = bicubic_upsample(to_float(face.y[None]), size)
    landmarks = locate(model.landmark_net, y_up, model.config.landmarks)
    reference = crops[nearest_in_pose(np.asarray(landmarks[0]), np.stack([crop.landmarks for crop in crops]))]
    condition = make_condition(
        y_up,
        landmarks,
        to_float(resize_crop(reference.image, size))[None],
        jnp.asarray(reference.landmarks)[None],
        jnp.asarray(embedding)[None],
        jnp.full((1,), size / face.y.shape[0], jnp.float32),
        model.config.model,
    )
    return condition, reference


@dataclass(frozen=True)
class Sampling:
    """How faces are sampled.

    Attributes:
      config: the model's, with the sampling that is wanted.
      seed: of the noise, the same for each face.
      variants: samples of each face.
      consistency: strength of the projection onto pictures that down-sample to the input, 0 to 1.
    """

    config: Config
    seed: int
    variants: int
    consistency: float


def sampling_of(
    config: Config, steps: int | None, seed: int, variants: int, consistency: float | None, guidance: float | None
) -> Sampling:
    """What is asked for of a model; None leaves its own choice.

    Raises:
      InputError: no variant, or a consistency that is none.
    """
    config = with_sampling(config, steps, guidance)
    strength = config.sample.consistency if consistency is None else consistency
    if variants < 1 or not 0.0 <= strength <= 1.0:
        raise InputError(f"variants={variants}, consistency={strength}: give 1 or more, and a number from 0 to 1.")
    return Sampling(config, seed, variants, strength)


def at_once(variants: int, mesh: Mesh) -> int:
    """Faces that are sampled in one go; further ones in another."""
    return max(1, _AT_ONCE // variants) * mesh.size


def sample_found(
    networks: Any, found: Sequence[Found], mesh: Mesh, sampling: Sampling
) -> list[UInt8[np.ndarray, "v s s 3"]]:
    """Samples of each face, by `sampling.restore_many`, in as many goes as memory wants.

    Args:
      networks: see there.
      found: any number of faces.
      mesh: see there.
      sampling: how.
    """
    length = at_once(sampling.variants, mesh)
    images: list[UInt8[np.ndarray, "v s s 3"]] = []
    for group in [found[start : start + length] for start in range(0, len(found), length)]:
        small = None
        if sampling.consistency > 0:
            crops = [np.asarray(to_float(each.face.y[None])) for each in group]
            small = np.concatenate([in_corner(crop, sampling.config) for crop in crops])
        drawn = restore_many(
            networks,
            jax.tree.map(_joined, *(each.condition for each in group)),
            jnp.broadcast_to(jax.random.key(sampling.seed), (len(group),)),
            sampling.config,
            mesh,
            low_resolution=small,
            consistency=sampling.consistency,
            variants=sampling.variants,
        )
        images += list(to_uint8(drawn))
    return images


def _joined(*leaves: Array) -> Array:
    """Batches as one; on the host, as on a device every number of them would be a program."""
    return jnp.asarray(np.concatenate(leaves))
