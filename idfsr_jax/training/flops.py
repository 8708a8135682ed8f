"""How much arithmetic a program is."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core


def of_leaves(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Callable[..., Any], list[Any]]:
    """A function as one of single arrays, and its arguments as these.

    JAX describes arguments by their shapes while it compiles, which our types of whole trees do not take.
    """
    leaves, structure = jax.tree.flatten(tuple(arguments))
    return lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), leaves


def flops_of(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of a function of arrays, as XLA counts them in the program before it is optimised.

    After that, parts may hide in calls of libraries, which are not counted on every device. XLA counts what is in a
    loop once; here it counts as often as `lax.scan` and `lax.map` go round. Of a `lax.while_loop` nobody knows how
    often that is.

    Args:
      function: of pytrees of arrays.
      arguments: these, or their shapes.
    """
    flat, leaves = of_leaves(function, arguments)
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
