"""A small face that was found and is ready to be sampled, and the sampling of many of them at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8

from idfsr_jax.config import Config
from idfsr_jax.identity import Identity
from idfsr_jax.models.condition import Condition
from idfsr_jax.picture import LowResolutionFace
from idfsr_jax.pictures import to_float, to_uint8
from idfsr_jax.sampling import in_corner, restore_many

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

    def unfitted(self) -> "Found":
        """The same with the identity that the fit started at."""
        start = jnp.asarray(self.identity.start)[None]
        return replace(self, condition=self.condition.replace(identity=start))  # type: ignore[attr-defined]


def sample_found(
    networks: Any, found: Sequence[Found], config: Config, mesh: Mesh, seed: int, variants: int, consistency: float
) -> list[UInt8[np.ndarray, "v s s 3"]]:
    """Samples of each face, by `sampling.restore_many`, whose arguments these are; in as many goes as memory wants.

    Args:
      networks: put `devices.everywhere` on the mesh.
      found: any number of faces, each with the same noise.
      config: the model's, with the sampling that is wanted.
      mesh: of `devices.data_mesh`.
      seed: of the noise.
      variants: v, of each face.
      consistency: strength, 0 to 1.
    """
    length = max(1, _AT_ONCE // variants) * mesh.size
    images: list[UInt8[np.ndarray, "v s s 3"]] = []
    for group in [found[start : start + length] for start in range(0, len(found), length)]:
        # On the host: joined on a device, every number of faces would be a program.
        condition = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(each.condition for each in group))
        small = None
        if consistency > 0:
            small = np.concatenate([in_corner(np.asarray(to_float(each.face.y[None])), config) for each in group])
        keys = jnp.broadcast_to(jax.random.key(seed), (len(group),))
        given = {"low_resolution": small, "consistency": consistency, "variants": variants}
        images += list(to_uint8(restore_many(networks, condition, keys, config, mesh, **given)))  # type: ignore[arg-type]
    return images
