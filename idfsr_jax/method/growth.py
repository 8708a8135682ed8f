"""Weights of a model that knew less -> weights of one that is told more and, so far, does the same."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from idfsr_jax.errors import BadConfig


def grown(params: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict:
    """Weights that go on where `params` ended.

    What both have in one shape is taken over. A kernel with more inputs keeps its rows and gets zeros for the new ones;
    what is wholly new begins as in `fresh`, whose output kernels are zero. So the grown network's output is the old
    one's, whatever the new inputs say.

    Args:
      params: of the smaller network.
      fresh: of the larger network, as initialised.

    Raises:
      BadConfig: an array fits in neither way.
    """
    old = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def one(path: Any, leaf: Array) -> Array:
        name = jax.tree_util.keystr(path)
        if name not in old:
            return leaf
        before = jnp.asarray(old[name])
        if before.shape[1:] != leaf.shape[1:] or before.shape[0] > leaf.shape[0]:
            raise BadConfig(f"{name}: has the shape {before.shape}, which does not grow to {leaf.shape}.")
        return jnp.zeros_like(leaf).at[: before.shape[0]].set(before)

    return jax.tree_util.tree_map_with_path(one, dict(fresh))
