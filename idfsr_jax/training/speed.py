"""How much arithmetic a step is, and how much a device can do."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax

_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40": 181e12, "L4": 121e12, "v5p": 459e12, "v5 lite": 197e12}
"""Dense bfloat16 operations a second of each device, from its maker's data sheet."""


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 operations a second of a device by JAX's name for it; None if it is not known."""
    return next((peak for name, peak in _PEAKS.items() if name.lower() in device_kind.lower()), None)


def flops_of_step(function: Callable[..., Any], arguments: Sequence[Any], config: Any, optimizer: Any) -> float:
    """Operations of one training step, as XLA counts them in the program before it is optimised.

    After that, parts may hide in calls of libraries, which are not counted on every device.

    Args:
      function: like `train_step`.
      arguments: state, batch and frozen, or their shapes.
      config: static.
      optimizer: static.
    """
    return flops_of(partial(function, config=config, optimizer=optimizer), *arguments)


def flops_of(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of a function of arrays, as XLA counts them in the program before it is optimised."""
    leaves, structure = jax.tree.flatten(arguments)
    flat = jax.jit(lambda *leaves: function(*jax.tree.unflatten(structure, leaves)))
    cost: Any = flat.lower(*leaves).cost_analysis()
    return float((cost[0] if isinstance(cost, list) else cost)["flops"])
