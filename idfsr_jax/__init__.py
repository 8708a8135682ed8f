"""Personalised face super-resolution: mask, warp, identity embedding (IDFSR, Yang et al. 2025, arXiv 2508.10937)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idfsr_jax.restore.identity import Identity
    from idfsr_jax.restore.restorer import Restorer

__all__ = ["Identity", "Restorer", "load"]
__version__ = "0.1.0"


def load(weights: Any = None) -> "Restorer":
    """`Restorer.load`: the model that ships with the package, or the model folder `weights`."""
    from idfsr_jax.restore.restorer import Restorer

    return Restorer.load(weights)


def __getattr__(name: str) -> Any:
    # Imported on first use: JAX takes a second to load, which `idfsr --help` need not wait for.
    if name == "Restorer":
        from idfsr_jax.restore.restorer import Restorer

        return Restorer
    if name == "Identity":
        from idfsr_jax.restore.identity import Identity

        return Identity
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
