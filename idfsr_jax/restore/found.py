"""A small face that was found and is ready to be sampled, and the sampling of many of them at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, UInt8

from idfsr_jax.config import Config
from idfsr_jax.face.blend import tinted_like
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.images import to_uint8
from idfsr_jax.method.condition import Condition
from idfsr_jax.restore.conditions import agreement_of
from idfsr_jax.restore.find_face import LowResolutionFace
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.likeness import Likeness
from idfsr_jax.restore.sampling import Networks, sample_many

_MONOCHROME = 2.5
"""Colours of a crop within so many grey levels, root mean square, of a tint of their lightness are none: a
scanned one of val has 1, the least colourful others 6 at 8 px and 3.5 at 4."""


@dataclass(frozen=True)
class Found:
    """A face that `Restorer.find` found in a picture, with all that its restoration needs but the noise.

    Attributes:
      face: the LR face.
      cleaned: what is left of it without blur, noise and JPEG, and how far that is to be believed.
      identity: of whom it is to become.
      condition: what the denoiser will see, batch of one.
      reference: the photograph chosen as the (nearest) reference, canonical crop; None without photographs.
      likeness: of a small crop to the photographs made as small; None without photographs.
      reveal: how much of the LR face the denoiser will see.
    """

    face: LowResolutionFace
    cleaned: tuple[UInt8[np.ndarray, "y y 3"], float]
    identity: Identity
    condition: Condition
    reference: UInt8[np.ndarray, "n n 3"] | None
    likeness: Callable[[UInt8[np.ndarray, "m m 3"]], Likeness] | None
    reveal: float

    @property
    def pixels(self) -> int:
        """Of the photograph, which is kept for pasting."""
        return 0 if self.face.photo is None else self.face.photo.shape[0] * self.face.photo.shape[1]

    def unfitted(self) -> "Found":
        """The same with the identity that the fit started at."""
        start = jnp.asarray(self.identity.start)[None]
        return replace(self, condition=self.condition.replace(identity=start))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Sampling:
    """How faces are sampled.

    Attributes:
      config: the model's, with the sampling that is wanted.
      seed: of the noise, the same for each face.
      variants: samples of each face.
      consistency: strength of the projection onto pictures that down-sample to the input, 0 to 1; None: see
        `conditions.agreement_of`.
      sizes: length of each recogniser's part of an identity.
    """

    config: Config
    seed: int
    variants: int
    consistency: float | None
    sizes: tuple[int, ...]


def sampling_of(
    config: Config,
    steps: int | None,
    seed: int,
    variants: int,
    consistency: float | None,
    guidance: int | None,
    sizes: tuple[int, ...],
) -> Sampling:
    """What is asked for of a model; None leaves its own choice.

    Raises:
      InputError: no variant, or a consistency or guidance that is none.
    """
    if guidance is not None and guidance < 0:
        raise InputError(f"guidance={guidance}: give a number of steps, 0 for none.")
    given = {"steps": steps, "guidance": guidance}
    changes: Any = {name: value for name, value in given.items() if value is not None}
    config = replace(config, sample=replace(config.sample, **changes))
    if variants < 1 or not (consistency is None or 0.0 <= consistency <= 1.0):
        raise InputError(f"variants={variants}, consistency={consistency}: give 1 or more, and a number from 0 to 1.")
    return Sampling(config, seed, variants, consistency, sizes)


def sample_found(
    networks: Networks, found: Sequence[Found], mesh: Mesh, sampling: Sampling
) -> list[UInt8[np.ndarray, "v s s 3"]]:
    """Samples of each face, by `restore.sampling.sample_many`.

    Args:
      networks: see there.
      found: any number of faces.
      mesh: see there.
      sampling: how.
    """
    if not found:
        return []
    variants, config = sampling.variants, sampling.config

    def repeated(*leaves: np.ndarray | Array) -> Array:
        # On the host, as on a device every number of them would be a program.
        return jax.device_put(np.repeat(np.concatenate(leaves), variants, axis=0))

    condition = jax.tree.map(repeated, *(each.condition for each in found))
    pictures, cleaned = [each.face.y for each in found], [each.cleaned for each in found]
    held = jax.tree.map(repeated, agreement_of(pictures, cleaned, sampling.consistency, config))
    variant = np.tile(np.arange(variants, dtype=np.int32), len(found))
    keys = jnp.broadcast_to(jax.random.key(sampling.seed), variant.shape)
    drawn = sample_many(networks, condition, keys, config, sampling.sizes, mesh, held, variant)
    images = to_uint8(drawn).reshape(len(found), variants, *drawn.shape[1:])
    return [_without_foreign_colours(own, each) for own, each in zip(images, found, strict=True)]


def _without_foreign_colours(images: UInt8[np.ndarray, "v s s 3"], found: Found) -> UInt8[np.ndarray, "v s s 3"]:
    """An aligned crop's results in its tint where it has no other colours; in a photograph blending sees to that."""
    if found.face.photo is not None:
        return images
    given = found.face.y.astype(np.float32)
    tinted = [tinted_like(image.astype(np.float32), given, _MONOCHROME) for image in images]
    return np.rint(np.stack(tinted).clip(0.0, 255.0)).astype(np.uint8)
