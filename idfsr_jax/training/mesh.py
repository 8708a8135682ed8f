"""The mesh of devices, and where the state and the batch lie on it.

Everything here is the same on one device, on eight, and in each of many processes: a step is one `jit` of global
arrays, whose shardings say who computes what, and XLA puts in the exchange.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from idfsr_jax.config import Config, DeviceConfig
from idfsr_jax.io.errors import BadConfig

DATA, FSDP = "data", "fsdp"


def make_mesh(config: Config) -> Mesh:
    """The mesh [data, fsdp] that `config.devices` asks for.

    Devices stand in the order of their processes, so that each process has one run of every batch, and a group that
    shares the state lies within one process wherever it can.

    Raises:
      BadConfig: there are not that many devices, or the batch cannot be spread over them.
    """
    wanted, devices = config.devices, sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    data = wanted.data or len(devices) // wanted.fsdp
    count = data * wanted.fsdp
    if count == 0 or count > len(devices) or (wanted.data == 0 and count != len(devices)):
        asked = f"devices.data={wanted.data}, devices.fsdp={wanted.fsdp}"
        raise BadConfig(f"{asked}: there are {len(devices)} devices; give numbers whose product is that or less.")
    if jax.process_count() > 1 and count != len(devices):
        raise BadConfig(
            f"devices.data={wanted.data}: {jax.process_count()} processes have {len(devices)} devices and must use "
            "all of them; give 0."
        )
    if config.train.batch % count:
        raise BadConfig(
            f"train.batch is {config.train.batch}, which cannot be spread evenly over {count} devices; "
            f"give a multiple of {count}, or fewer devices (--devices.data)."
        )
    return Mesh(np.array(devices[:count]).reshape(data, wanted.fsdp), (DATA, FSDP), axis_types=(AxisType.Auto,) * 2)


def state_shardings(shapes: Any, mesh: Mesh | AbstractMesh, config: DeviceConfig) -> Any:
    """Where each array of a state lies.

    A function of its shape alone, so that averages and moments lie where their parameters do.

    Args:
      shapes: a pytree of arrays or `jax.ShapeDtypeStruct`.
      mesh: of `make_mesh`, or one of devices that need not exist.
      config: says which arrays are too small to be shared.

    Returns:
      A `NamedSharding` for each.
    """
    return jax.tree.map(lambda leaf: NamedSharding(mesh, _state_spec(np.shape(leaf), mesh, config)), shapes)


def _state_spec(shape: tuple[int, ...], mesh: Mesh | AbstractMesh, config: DeviceConfig) -> PartitionSpec:
    """The largest axis that the group's devices can share evenly (the last of equal ones), or none."""
    among = mesh.shape[FSDP]
    shared = [axis for axis, size in enumerate(shape) if size % among == 0]
    if among == 1 or not shared or np.prod(shape) < config.fsdp_least:
        return PartitionSpec()
    axis = max(shared, key=lambda axis: (shape[axis], axis))
    return PartitionSpec(*(FSDP if each == axis else None for each in range(axis + 1)))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """That of anything whose first axis is the examples of a batch: every device has a share of them."""
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def replicated(mesh: Mesh) -> NamedSharding:
    """That of what every device has whole."""
    return NamedSharding(mesh, PartitionSpec())


def abstract_state(make: Callable[[], Any], mesh: Mesh, config: DeviceConfig) -> Any:
    """Shapes, types and shardings of the state that `make` makes; nothing is computed."""
    shapes = jax.eval_shape(make)
    to_struct = lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)  # noqa: E731
    return jax.tree.map(to_struct, shapes, state_shardings(shapes, mesh, config))


def born_sharded(make: Callable[[], Any], like: Any) -> Any:
    """What `make` makes, each device computing its own part only, so that no device ever holds all of it.

    Args:
      make: a function of nothing that can be compiled.
      like: of `abstract_state`.
    """
    return jax.jit(make, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, like))()


def placed(tree: Any, shardings: Any) -> Any:
    """Puts arrays that every process has whole where they belong.

    Args:
      tree: arrays, equal in all processes.
      shardings: one for each, or one for all.
    """
    if isinstance(shardings, NamedSharding):
        return jax.tree.map(lambda leaf: _place(leaf, shardings), tree)
    return jax.tree.map(_place, tree, shardings)


def _place(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def global_batch(local: Any, mesh: Mesh) -> Any:
    """The batch of all processes from this one's share of it.

    Args:
      local: a pytree of NumPy arrays, this process's run of the examples, first axis b / processes.
      mesh: of `make_mesh`.

    Returns:
      Arrays of first axis b, of `batch_sharding`.
    """
    return jax.tree.map(partial(jax.make_array_from_process_local_data, batch_sharding(mesh)), local)


def whole(tree: Any) -> Any:
    """A state as NumPy arrays in every process, wherever its parts lie.

    All processes must call it, as they exchange parts.
    """

    def fetch(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
        return np.asarray(leaf)

    return jax.tree.map(fetch, tree)
