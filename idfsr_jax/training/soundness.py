"""Whether a training state is worth keeping."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from idfsr_jax.io.errors import InputError
from idfsr_jax.training.state import TrainState

# Those of trained networks stay within some hundreds. A training that explodes passes this bound long before float32
# overflows, and what it leaves is finite but of no use: products over a few layers, or sums in an average, overflow.
LARGEST_PARAMETER = 1e4


class NonFiniteLoss(InputError):
    """The loss, its gradient or the parameters became NaN, infinite, or so large that nothing can come of them."""


@jax.jit
def is_sound(state: TrainState) -> Bool[Array, ""]:
    """Whether all floats of a state are finite, and no parameter, nor its average, is above `LARGEST_PARAMETER`.

    One flag for all devices and processes, wherever the parts lie; every process must ask.
    """
    bounded = [jnp.all(jnp.abs(leaf) <= LARGEST_PARAMETER) for leaf in _floats((state.params, state.ema))]
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in _floats(state.opt_state)]
    return jnp.all(jnp.stack(bounded + finite))


def _floats(tree: Any) -> list[Array]:
    return [leaf for leaf in map(jnp.asarray, jax.tree.leaves(tree)) if jnp.issubdtype(leaf.dtype, jnp.floating)]
