"""Sampling of many conditions, over the devices at hand."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

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
      finish: parameters of `method.finish.Finish`; None where nothing is to be finished.
    """

    denoiser: Any
    autoencoder: Any
    guide: Guide | None
    finish: Any = None


def sample_many(
    networks: Networks,
    condition: Condition,
    keys: Key[Array, " b"],
    config: Config,
    sizes: tuple[int, ...],
    mesh: Mesh,
    agreement: Agreement,
    variant: Int[np.ndarray, " b"] | None = None,
) -> Float[np.ndarray, "b s s 3"]:
    """Samples restorations of any number of conditions, in [-1, 1], in as many goes as memory wants.

    What comes of a condition depends neither on the batch that it is in nor on the devices, but for rounding. There is
    one program for each length of `runtime.devices.bucket`, on CPUs for a single length, which serves all LR widths,
    keys and strengths.

    Args:
      networks: put `runtime.devices.everywhere` on the mesh.
      condition: b of them, in pixels.
      keys: source of the noise of each.
      config: static; `config.sample` says how to sample.
      sizes: length of each recogniser's part of the identity.
      mesh: of `devices.data_mesh`.
      agreement: with the LR pictures.
      variant: which of the noises of its key each starts at; the first if None.
    """
    rows = _rows(condition, keys, agreement, variant)
    length = _at_once(mesh) * mesh.size
    drawn = []
    for start in range(0, len(keys), length):
        part = jax.tree.map(lambda leaf, start=start: leaf[start : start + length], rows)
        drawn.append(cut_rows(_sampled(*_placed(networks, part, config, sizes, mesh)), len(part["variant"])))
    return np.concatenate(drawn)


def read_sampler(
    networks: Networks,
    condition: Condition,
    keys: Key[Array, " 1"],
    config: Config,
    sizes: tuple[int, ...],
    mesh: Mesh,
    agreement: Agreement,
) -> None:
    """Gets `sample_many` ready for single pictures, if its program was kept; see `runtime.programs.kept_jit`.

    Args:
      networks: as there, and so are the others.
      condition: one, of which only the shapes matter, and so of the keys and the agreement.
      keys: one.
      config: static.
      sizes: static.
      mesh: of `devices.data_mesh`.
      agreement: one.
    """
    rows = _rows(condition, keys, agreement, None)
    _sampled(*_placed(networks, rows, config, sizes, mesh), only_read=True)


def _at_once(mesh: Mesh) -> int:
    """Samples that a device draws at once.

    A CPU is as fast with one, and has then one program to compile, which takes longer than many a sampling; of others
    more than 16 gain nothing, and need memory.
    """
    return 1 if mesh.devices.flat[0].platform == "cpu" else 16


def starting_noise(
    key: Key[Array, ""], variant: int | Int[Array, ""], shape: tuple[int, int, int]
) -> Float[Array, "h w c"]:
    """The standard normal noise that a sample starts at; a key has any number of variants."""
    return jax.random.normal(jax.random.fold_in(key, variant), shape)


def _rows(condition: Condition, keys: Key[Array, " b"], agreement: Agreement, variant: np.ndarray | None) -> Any:
    variant = np.zeros(len(keys), np.int32) if variant is None else variant
    given = {"condition": _fields(condition), "agreement": _fields(agreement)}
    # On the host, as on a device every place to cut at would be a program.
    return jax.tree.map(np.asarray, given | {"key": jax.random.key_data(keys), "variant": variant})


def _placed(networks: Networks, rows: dict[str, Any], config: Config, sizes: tuple[int, ...], mesh: Mesh) -> tuple:
    shared, devices = used(networks, mesh, len(rows["variant"]))
    return shared, placed_rows(rows, devices), config, sizes, devices


def _fields(tree: Any) -> dict[str, Any]:
    return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}


@partial(kept_jit, static_argnames=("config", "sizes", "mesh"))
def _sampled(
    networks: Networks, rows: dict[str, Any], config: Config, sizes: tuple[int, ...], mesh: Mesh
) -> Float[Array, "b s s 3"]:
    return by_shares(partial(_share, config=config, sizes=sizes), mesh)(networks, rows)


def _share(networks: Networks, rows: dict[str, Any], config: Config, sizes: tuple[int, ...]) -> Float[Array, "b s s 3"]:
    side = config.model.diffused_side(config.data.size)
    shape = (side, side, config.model.diffused_channels)
    noise = jax.vmap(partial(starting_noise, shape=shape))(jax.random.wrap_key_data(rows["key"]), rows["variant"])
    condition, agreement = Condition(**rows["condition"]), Agreement(**rows["agreement"])
    denoiser, autoencoder, guide, finish = networks
    return sample_pictures(denoiser, condition, noise, config, sizes, agreement, autoencoder, guide, finish)
