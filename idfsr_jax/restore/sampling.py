"""Sampling of many conditions, over the devices at hand."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from idfsr_jax.config import Config
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.guidance import Guide
from idfsr_jax.method.sample import Agreement, sample_pictures
from idfsr_jax.runtime.devices import by_shares, cut_rows, placed_rows, used
from idfsr_jax.runtime.programs import kept_jit


class Networks(NamedTuple):
    """What a restoration runs, on each of the devices.

    Attributes:
      denoiser: its parameters.
      autoencoder: of the latents that are diffused; None of pixels.
      guide: who pulls towards the person; None where nobody shall.
    """

    denoiser: Any
    autoencoder: Any
    guide: Guide | None


def sample_many(
    networks: Networks,
    condition: Condition,
    keys: Key[Array, " b"],
    config: Config,
    sizes: tuple[int, ...],
    mesh: Mesh,
    *,
    agreement: Agreement | None = None,
    variants: int = 1,
) -> Float[np.ndarray, "b v s s 3"]:
    """Samples restorations of any number of conditions, in [-1, 1].

    What comes of a condition depends neither on the batch that it is in nor on the devices, but for rounding. There is
    one program for each length of `runtime.devices.bucket`, which serves all LR widths, keys and strengths.

    Args:
      networks: put `runtime.devices.everywhere` on the mesh.
      condition: b of them, in pixels.
      keys: source of the noise of each.
      config: static; `config.sample` says how to sample.
      sizes: length of each recogniser's part of the identity.
      mesh: of `devices.data_mesh`.
      agreement: with the LR pictures; None leaves it out.
      variants: v samples of each condition. More of them change none of the first.
    """
    count = condition.scale.shape[0]
    networks, mesh = used(networks, mesh, count)
    rows = placed_rows(_rows(condition, keys, agreement), mesh)
    return cut_rows(_sampled(networks, rows, config, sizes, variants, mesh), count)


def starting_noise(key: Key[Array, ""], variants: int, shape: tuple[int, int, int]) -> Float[Array, "v h w c"]:
    """The standard normal noise that samples of one condition start at; more of them change none of the first."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(variants))
    return jax.vmap(partial(jax.random.normal, shape=shape))(keys)


def _rows(condition: Condition, keys: Key[Array, " b"], agreement: Agreement | None) -> dict[str, Any]:
    """What each condition has of its own."""
    held = None if agreement is None else _fields(agreement)
    return {"condition": _fields(condition), "key": jax.random.key_data(keys), "agreement": held}


def _fields(tree: Any) -> dict[str, Any]:
    return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}


@partial(kept_jit, static_argnames=("config", "sizes", "variants", "mesh"))
def _sampled(
    networks: Networks, rows: dict[str, Any], config: Config, sizes: tuple[int, ...], variants: int, mesh: Mesh
) -> Float[Array, "b v s s 3"]:
    return by_shares(partial(_share, config=config, sizes=sizes, variants=variants), mesh)(networks, rows)


def _share(
    networks: Networks, rows: dict[str, Any], config: Config, sizes: tuple[int, ...], variants: int
) -> Float[Array, "b v s s 3"]:
    condition, agreement = jax.tree.map(
        lambda leaf: jnp.repeat(leaf, variants, axis=0), (rows["condition"], rows["agreement"])
    )
    keys = jax.random.wrap_key_data(rows["key"])
    side = config.model.diffused_side(config.data.size)
    shape = (side, side, config.model.diffused_channels)
    drawn = jax.vmap(partial(starting_noise, variants=variants, shape=shape))(keys).reshape(-1, *shape)
    held = None if agreement is None else Agreement(**agreement)
    denoiser, autoencoder, guide = networks
    pictures = sample_pictures(denoiser, Condition(**condition), drawn, config, sizes, held, autoencoder, guide)
    return pictures.reshape(-1, variants, *pictures.shape[1:])
