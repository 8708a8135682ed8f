"""The ID embedding: the recognisers' unit vectors, averaged over photographs, one after the other."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from idfsr_jax.method.condition import Condition


def unit_parts(vectors: Float[np.ndarray, "*n d"], sizes: Sequence[int]) -> Float32[np.ndarray, "*n d"]:
    """Vectors with each recogniser's part made a unit vector.

    Args:
      vectors: parts of all recognisers, one after the other.
      sizes: length of each part.
    """
    parts = np.split(vectors, np.cumsum(sizes)[:-1], axis=-1)
    scaled = [part / np.maximum(np.linalg.norm(part, axis=-1, keepdims=True), 1e-6) for part in parts]
    return np.concatenate(scaled, axis=-1).astype(np.float32)


def scaled_identity(
    condition: Condition, null_identity: Float[np.ndarray | Array, " d"], sizes: Sequence[int]
) -> Float[Array, "b d"]:
    """Identities as a network wants them, each recogniser's part of unit variance; where there is none, the null one.

    Args:
      condition: of each example.
      null_identity: what is learnt to stand in.
      sizes: length of each part.
    """
    present = condition.identity_present[:, None]
    # A unit vector has elements of about 1/sqrt(D); the network wants about 1.
    lengths = jnp.asarray(np.sqrt(np.repeat(sizes, sizes)), jnp.float32)
    return present * condition.identity * lengths + (1.0 - present) * null_identity
