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
from idfsr_jax.method.condition import Condition as ConditionOfPerson
from idfsr_jax.method.sample import agreement_with
from idfsr_jax.models.condition import Condition, make_condition
from idfsr_jax.picture import LowResolutionFace
from idfsr_jax.pictures import to_float, to_uint8
from idfsr_jax.recognition import locate
from idfsr_jax.restore.conditions import condition_of as condition_of_person
from idfsr_jax.restore.conditions import tables_of
from idfsr_jax.restore.sampling import sample_many
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
      reference: the photograph chosen as the (nearest) reference, canonical crop; None without photographs.
      likeness: the cosine between a small crop and the photographs made as small.
      reveal: how much of the LR face the denoiser will see.
      truth: the true crop, where it is known.
    """

    face: LowResolutionFace
    identity: Identity
    condition: Condition | ConditionOfPerson
    reference: UInt8[np.ndarray, "n n 3"] | None
    likeness: Callable[[UInt8[np.ndarray, "m m 3"]], float]
    reveal: float = 0.0
    truth: UInt8[np.ndarray, "t t 3"] | None = None

    @property
    def pixels(self) -> int:
        """Of the photograph, which is kept for pasting."""
        return 0 if self.face.photo is None else self.face.photo.shape[0] * self.face.photo.shape[1]

    def unfitted(self) -> "Found":
        """The same with the identity that the fit started at."""
        changed = {"identity": jnp.asarray(self.identity.start)[None]}
        if isinstance(self.condition, ConditionOfPerson):
            changed["token_offsets"] = jnp.zeros_like(self.condition.token_offsets)
        return replace(self, condition=self.condition.replace(**changed))  # type: ignore[union-attr]


def condition_of(
    model: Model,
    face: LowResolutionFace,
    identity: Identity,
    crops: Sequence[FaceCrop],
    reveal: float,
    units: Float[np.ndarray, "k d"] | None = None,
) -> tuple[Condition | ConditionOfPerson, FaceCrop | None]:
    """The condition of one LR face, and the photograph that was chosen as its (nearest) reference.

    The nearest is the photograph whose landmarks, moved and scaled onto those of the LR face, lie closest. `units` are
    the photographs' by all recognisers, for models of several.
    """
    if model.config.model.recognisers:
        assert units is not None
        return condition_of_person(model, face.y, identity, crops, units, reveal)
    size, embedding = model.config.data.size, identity.embedding
    y_up = bicubic_upsample(to_float(face.y[None]), size)
    landmarks = locate(model.landmark_net, y_up, np.float32(face.y.shape[0]), model.config)
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
      sizes: length of each recogniser's part of an identity, where there are several.
    """

    config: Config
    seed: int
    variants: int
    consistency: float
    sizes: tuple[int, ...] = ()


def sampling_of(
    config: Config,
    steps: int | None,
    seed: int,
    variants: int,
    consistency: float | None,
    guidance: float | None,
    sizes: tuple[int, ...] = (),
) -> Sampling:
    """What is asked for of a model; None leaves its own choice.

    Raises:
      InputError: no variant, or a consistency that is none.
    """
    config = with_sampling(config, steps, guidance)
    strength = config.sample.consistency if consistency is None else consistency
    if variants < 1 or not 0.0 <= strength <= 1.0:
        raise InputError(f"variants={variants}, consistency={strength}: give 1 or more, and a number from 0 to 1.")
    return Sampling(config, seed, variants, strength, sizes)


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
        if sampling.sizes:
            images += list(to_uint8(_of_people(networks, group, mesh, sampling)))
            continue
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


def _of_people(networks: Any, group: Sequence[Found], mesh: Mesh, sampling: Sampling) -> Float[np.ndarray, "b v s s 3"]:
    agreement = None
    if sampling.consistency > 0:
        tables = tables_of(sampling.config.data.size)
        held = [agreement_with(each.face.y, sampling.consistency, tables) for each in group]
        agreement = jax.tree.map(lambda *rows: np.concatenate(rows), *held)
    return sample_many(
        networks,
        jax.tree.map(_joined, *(each.condition for each in group)),
        jnp.broadcast_to(jax.random.key(sampling.seed), (len(group),)),
        sampling.config,
        sampling.sizes,
        mesh,
        agreement=agreement,
        variants=sampling.variants,
    )


def _joined(*leaves: Array) -> Array:
    """Batches as one; on the host, as on a device every number of them would be a program."""
    return jnp.asarray(np.concatenate(leaves))
