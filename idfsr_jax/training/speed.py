"""How much arithmetic a step is, and how much a device can do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.extend.core


@dataclass(frozen=True)
class Accelerator:
    """A device as its maker's data sheet has it.

    Attributes:
      kinds: parts of JAX's names for it, `jax.Device.device_kind`.
      peak: dense bfloat16 operations a second.
      memory: GiB of the largest common variant.
    """

    kinds: tuple[str, ...]
    peak: float
    memory: float


ACCELERATORS: Mapping[str, Accelerator] = MappingProxyType(
    {
        "h200": Accelerator(("H200",), 989e12, 141.0),
        "h100": Accelerator(("H100",), 989e12, 80.0),
        "a100": Accelerator(("A100",), 312e12, 80.0),
        "l40": Accelerator(("L40",), 181e12, 48.0),
        "l4": Accelerator(("L4",), 121e12, 24.0),
        "v4": Accelerator(("TPU v4",), 275e12, 32.0),
        "v5e": Accelerator(("TPU v5 lite", "TPU v5e"), 197e12, 16.0),
        "v5p": Accelerator(("TPU v5",), 459e12, 95.0),
        "v6e": Accelerator(("TPU v6 lite", "TPU v6e"), 918e12, 32.0),
    }
)
"""By the names that `idfsr plan` knows; a name that is part of another one stands after it."""


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 operations a second of a device by JAX's name for it; None if it is not known."""
    named = device_kind.lower()
    return next((each.peak for each in ACCELERATORS.values() if any(k.lower() in named for k in each.kinds)), None)


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
    """Operations of a function of arrays, as XLA counts them in the program before it is optimised.

    XLA counts what is in a loop once; here it counts as often as `lax.scan` and `lax.map` go round. Of a
    `lax.while_loop` nobody knows how often that is.
    """
    leaves, structure = jax.tree.flatten(arguments)
    flat = lambda *leaves: function(*jax.tree.unflatten(structure, leaves))  # noqa: E731
    return _counted(flat, leaves) + _in_further_rounds(jax.make_jaxpr(flat)(*leaves).jaxpr)


def _counted(function: Callable[..., Any], leaves: Sequence[Any]) -> float:
    """What XLA counts, loops once."""
    cost: Any = jax.jit(function).lower(*leaves).cost_analysis()
    return float((cost[0] if isinstance(cost, list) else cost)["flops"])


def _in_further_rounds(program: Any) -> float:
    """Operations of all rounds of a program's loops after their first."""
    total = 0.0
    for equation in program.eqns:
        parts = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda value: hasattr(value, "eqns"))
        for part in parts:
            inner = part if hasattr(part, "eqns") else getattr(part, "jaxpr", None)
            if hasattr(inner, "eqns"):
                total += _in_further_rounds(inner)
        if equation.primitive.name == "scan" and equation.params["length"] > 1:
            body = equation.params["jaxpr"]
            one = _counted(jax.extend.core.jaxpr_as_fun(body), body.in_avals) + _in_further_rounds(body.jaxpr)
            total += (equation.params["length"] - 1) * one
    return total
