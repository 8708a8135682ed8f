"""Batches over the devices at hand.

A batch of any length is filled up to one of few lengths, every device takes an equal share of it, and what was filled
up is cut off again. So a function of rows is compiled once for each of these lengths, whatever the number of rows; and
as the devices exchange nothing, what becomes of a row does not depend on the others, or on how many devices there are.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from idfsr_jax.io.errors import BadConfig

DATA = "data"
"""Name of the mesh's axis, as in training."""


def data_mesh(count: int = 0) -> Mesh:
    """The first `count` devices of this process, in a row; all of them if 0.

    Raises:
      BadConfig: there are not that many.
    """
    devices = jax.local_devices()
    if not 0 <= count <= len(devices):
        raise BadConfig(
            f"{count} devices are asked for and there are {len(devices)}; give a number up to that, or 0 for all "
            "(devices.data of a config)."
        )
    return _mesh(np.array(devices[: count or None]))


def bucket(count: int, devices: int) -> int:
    """The length that a batch is filled up to: 1 for one row, else the number of devices times 1, 2, 4, 8, ...

    Args:
      count: rows, at least 1.
      devices: that share them; a single row is for one of them alone.
    """
    share = -(-count // devices)
    return 1 if count == 1 else devices * 2 ** (share - 1).bit_length()


def everywhere(tree: Any, mesh: Mesh) -> Any:
    """Arrays put whole on every device, once for many calls; what is there already stays."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def used(shared: Any, mesh: Mesh, count: int) -> tuple[Any, Mesh]:
    """What a batch of `count` rows needs of what is `everywhere`: all of it, or for a single row the first device's.

    No array is copied.
    """
    if count > 1 or mesh.size == 1:
        return shared, mesh
    device = mesh.devices.flat[0]
    own = lambda leaf: next(shard.data for shard in leaf.addressable_shards if shard.device == device)  # noqa: E731
    return jax.tree.map(own, shared), _mesh(mesh.devices[:1])


def placed_rows(rows: Any, mesh: Mesh) -> Any:
    """Rows filled up to their `bucket` by the last of them, each device's share on it.

    Args:
      rows: a pytree of arrays [b, ...].
      mesh: of `used`.
    """
    sharding = NamedSharding(mesh, PartitionSpec(DATA))

    def place(leaf: Any) -> jax.Array:
        # On the host, where no length needs a program of its own.
        leaf = np.asarray(leaf)
        missing = bucket(len(leaf), mesh.size) - len(leaf)
        return jax.device_put(np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)]), sharding)

    return jax.tree.map(place, rows)


def cut_rows(rows: Any, count: int) -> Any:
    """The first `count` rows, as NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], rows)


def by_shares(function: Callable[[Any, Any], Any], mesh: Mesh) -> Callable[[Any, Any], Any]:
    """Inside `jax.jit`: function(shared, rows) with every device computing its own rows, nothing being exchanged."""
    specs = (PartitionSpec(), PartitionSpec(DATA))
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(DATA), check_vma=False)


def _mesh(devices: np.ndarray) -> Mesh:
    return Mesh(devices, (DATA,), axis_types=(AxisType.Auto,))
