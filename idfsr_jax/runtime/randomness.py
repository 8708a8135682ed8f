"""Random keys as a function of (seed, stream, step): none is ever carried along or saved."""

import zlib

import jax
from jaxtyping import Array, Int, PRNGKeyArray


def step_key(seed: int, stream: str, step: int | Int[Array, ""]) -> PRNGKeyArray:
    """The key of one use ("noise", "dropout", ...) at one step of one run.

    Args:
      seed: seed of the run.
      stream: name of the use; different names give independent keys.
      step: step number, a Python int or a traced scalar.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode())), step)
